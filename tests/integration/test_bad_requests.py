"""Whatever a client sends, the answer is a 4xx with a slug, or what was asked for."""

import io
from typing import Any
from urllib.parse import quote

import pytest
from stand_ins import Site
from wsgi_calls import JSON, PREFIX, environ_for, run

FORM = "application/x-www-form-urlencoded"


def test_a_body_over_the_limit_is_413(site: Site) -> None:
    answer = site.post("/snapshot", JSON, form={"label": "x" * 70_000})

    assert (answer.status, answer.error) == (413, "body-too-large")
    assert site.worker.asked == []


LIMIT = 65_536  # bytes


def chunked(body: bytes, content_type: str) -> dict[str, Any]:
    """A request as servers hand it on that decode chunks: nothing says how long it is."""
    environ = environ_for("POST", f"{PREFIX}/snapshot", {**JSON, "Content-Type": content_type})
    environ.pop("CONTENT_LENGTH", None)
    return environ | {"wsgi.input_terminated": True, "wsgi.input": io.BytesIO(body)}


def as_part(label: bytes) -> bytes:
    return b'--x\r\nContent-Disposition: form-data; name="label"\r\n\r\n%s\r\n--x--\r\n' % label


@pytest.mark.parametrize("callback", [False, True])
@pytest.mark.parametrize("more", [1, 10_000])
@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        (FORM, b"label=short&rest=".ljust(LIMIT, b"x")),
        (FORM, (b"rest=1&" * 10_000)[:LIMIT]),
        ("multipart/form-data; boundary=x", as_part(b"a").ljust(LIMIT)),
    ],
)
def test_a_body_over_the_limit_that_does_not_say_how_long_it_is_is_413(
    wrap, content_type: str, body: bytes, more: int, callback: bool
) -> None:
    site = wrap(auth=lambda environ: True) if callback else wrap()

    answer = run(site.app, chunked(body + b"x" * more, content_type))

    assert (answer.status, answer.error) == (413, "body-too-large")
    assert site.get("/snapshots").json() == []


def test_a_body_of_just_the_limit_is_read_whether_or_not_it_says_how_long_it_is(
    site: Site,
) -> None:
    body = b"label=short&rest=".ljust(LIMIT, b"x")

    answers = [
        run(site.app, chunked(body, FORM)),
        site.post("/snapshot", {**JSON, "Content-Type": FORM}, body=body),
    ]

    assert [answer.json().get("label") for answer in answers] == ["short", "short"]


def test_a_body_over_the_limit_is_413_behind_an_auth_callback_too(wrap) -> None:
    site = wrap(auth=lambda environ: True)

    answer = site.post("/snapshot", JSON, form={"label": "x" * 70_000})

    assert (answer.status, answer.error) == (413, "body-too-large")


def test_a_large_body_of_another_kind_is_not_read_where_none_is_wanted(site: Site) -> None:
    answer = site.post("/refresh", {**JSON, "Content-Type": "text/plain"}, body=b"x" * 70_000)

    assert answer.status == 200


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("multipart/form-data", b"no boundary"),
        ("multipart/form-data; boundary=x", b"--x\r\nbroken"),
        ("multipart/form-data; boundary=x", b"--x\r\n\r\n\xff\xfe\r\n--x--"),
        ("multipart/form-data; boundary=", b"--\r\n\r\n--"),
        (FORM, b"label=%zz&&&=&label"),
        (FORM, b"label=\xff\xfe"),
        (FORM, b"=" * 5000),
        ("application/json", b"{"),
        ("\xff/\xfe;;=", b"x"),
        ("", b"x"),
    ],
)
def test_a_malformed_body_is_no_500(site: Site, content_type: str, body: bytes) -> None:
    answer = site.post("/snapshot", {**JSON, "Content-Type": content_type}, body=body)

    assert answer.status in (200, 400, 413)
    if answer.status != 200:
        assert answer.error in ("bad-request", "body-too-large")


def test_too_many_parts_of_a_form_are_413(site: Site) -> None:
    part = b'--x\r\nContent-Disposition: form-data; name="label"\r\n\r\na\r\n'
    content_type = "multipart/form-data; boundary=x"

    answer = site.post(
        "/snapshot", {**JSON, "Content-Type": content_type}, body=part * 50 + b"--x--\r\n"
    )

    assert (answer.status, answer.error) == (413, "body-too-large")


class NoChunkError(Exception):
    """As each server has one of its own."""


class Broken(io.RawIOBase):
    """A chunked body whose server raises at the first chunk, which is none."""

    def readinto(self, buffer: object) -> int:
        raise NoChunkError("Invalid chunk size")


@pytest.mark.parametrize("callback", [False, True])
def test_a_body_that_the_server_cannot_read_is_400(wrap, callback: bool) -> None:
    site = wrap(auth=lambda environ: True) if callback else wrap()
    environ = environ_for("POST", f"{PREFIX}/snapshot", {**JSON, "Content-Type": FORM})

    answer = run(site.app, {**environ, "wsgi.input_terminated": True, "wsgi.input": Broken()})

    assert (answer.status, answer.error) == (400, "bad-request")
    assert "NoChunkError: Invalid chunk size" in answer.json()["message"]
    assert site.worker.asked == []


@pytest.mark.parametrize("length", ["-5", "x", "99999999999999999999", "5"])
def test_a_content_length_that_is_wrong_is_no_500(site: Site, length: str) -> None:
    environ = environ_for(
        "POST", f"{PREFIX}/snapshot", {**JSON, "Content-Type": FORM, "Content-Length": length}
    )

    answer = run(site.app, environ)

    assert answer.status in (200, 400, 413)
    if answer.status != 200:
        assert answer.error in ("bad-request", "body-too-large")


@pytest.mark.parametrize(
    "query",
    ["%", "%zz", "&&&", "=", "wait", "label=%ff%fe", "a=1;b=2", "?" * 50, "label=%00", "\xff\xfe"],
)
@pytest.mark.parametrize("path", ["/snapshot", "/refresh"])
def test_a_malformed_query_is_no_500(site: Site, path: str, query: str) -> None:
    answer = site.post(f"{path}?{query}", JSON)

    assert answer.status in (200, 400)


@pytest.mark.parametrize(
    ("query", "is_right"),
    [
        ("x=\xe9", True),
        ("q=caf\xe9&notice=\xe9", True),
        ("format=\x80", False),
        ("format=\xe9", False),
    ],
)
@pytest.mark.parametrize("path", ["/files", "/functions"])
def test_raw_bytes_in_a_query_are_as_if_they_were_quoted(
    reported: Site, path: str, query: str, is_right: bool
) -> None:
    environ = environ_for("GET", PREFIX + path, JSON)

    answer = run(reported.app, {**environ, "QUERY_STRING": query})

    assert answer.status == (200 if is_right else 400)
    assert answer == run(reported.app, {**environ, "QUERY_STRING": quote(query, "=&", "latin-1")})


def test_a_redirect_repeats_raw_bytes_of_a_query_quoted(site: Site) -> None:
    answer = run(site.app, {**environ_for("GET", PREFIX), "QUERY_STRING": "notice=\xe9"})

    assert (answer.status, answer.headers["Location"]) == (308, "coverage/?notice=%E9")


@pytest.mark.parametrize(
    "path",
    [
        "/%ff",
        "/html/%ff%fe",
        "/snapshots/%c3%28",
        "/%00",
        "/snapshots/%0d%0aX: y",
        "/" + "a" * 9000,
    ],
)
def test_a_path_of_any_bytes_is_not_found(reported: Site, path: str) -> None:
    answer = reported.get(path)

    assert answer.status == 404
    assert answer.error in ("not-found", "unknown-snapshot")


@pytest.mark.parametrize("method", ["BREW", "get ", "\xe9", "CONNECT", "PROPFIND", "G" * 5000])
def test_a_method_of_any_name_is_405(reported: Site, method: str) -> None:
    answer = run(reported.app, environ_for(method, f"{PREFIX}/report"))

    assert (answer.status, answer.error) == (405, "method-not-allowed")


@pytest.mark.parametrize(
    "headers",
    [
        {"Cookie": "a" * 100_000},
        {"X-Long": "x" * 100_000},
        {"Authorization": "x" * 100_000},
        {"Accept-Language": "\xff" * 1000},
        {"If-None-Match": '"x"', "Range": "bytes=5-1", "If-Modified-Since": "never"},
        {"X-Forwarded-For": "::::", "Forwarded": ";;;"},
    ],
)
def test_odd_headers_make_no_difference(reported: Site, headers: dict[str, str]) -> None:
    assert reported.get("/report", headers).status == 200
    assert reported.post("/refresh", {**JSON, **headers}).status == 200


@pytest.mark.parametrize("host", ["", "[", "[::1", "localhost:x", "a b", "\xff", ":", "]"])
def test_a_malformed_host_is_403_or_served_and_never_500(reported: Site, host: str) -> None:
    environ = environ_for("GET", f"{PREFIX}/files", JSON, host=host)

    assert run(reported.app, environ).status in (200, 403)
