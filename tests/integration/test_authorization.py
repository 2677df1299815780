"""Access: denied by default, and admitted by a password or a callback."""

import asyncio
import base64
import gc
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from functools import lru_cache, partial, singledispatch
from typing import Any

import pytest
from stand_ins import Site
from werkzeug.exceptions import Forbidden, Unauthorized
from werkzeug.utils import redirect
from wsgi_calls import JSON, PREFIX, environ_for, run

from wsgi_coverage import AuthNotConfiguredError, CoverageMiddleware, SettingsError

EVERY_PATH = ["", "/", "/report", "/static/style.css", "/nothing", "/snapshots/x", "/%ff"]


def basic(name: str, password: str, scheme: str = "Basic", encoding: str = "utf-8") -> str:
    return f"{scheme} {base64.b64encode(f'{name}:{password}'.encode(encoding)).decode()}"


def status(site: Site, authorization: str, path: str = "/") -> int:
    return site.get(path, {"Authorization": authorization}).status


# Nothing configured


def test_without_anything_that_says_who_may_look_construction_raises(worker) -> None:
    with pytest.raises(AuthNotConfiguredError, match="WSGI_COVERAGE_PASSWORD"):
        CoverageMiddleware(lambda *_: [])


@pytest.mark.parametrize("keywords", [{"password": ""}, {"debug": False}, {"username": "me"}])
def test_a_setting_that_lets_nobody_in_is_not_enough(worker, keywords: dict[str, Any]) -> None:
    with pytest.raises(RuntimeError, match="refusing"):
        CoverageMiddleware(lambda *_: [], **keywords)


@pytest.mark.parametrize("value", ["", "  "])
def test_an_empty_password_variable_is_no_password(
    worker, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("WSGI_COVERAGE_PASSWORD", value)

    with pytest.raises(AuthNotConfiguredError):
        CoverageMiddleware(lambda *_: [])


def test_an_empty_password_is_not_a_password_that_is_empty(wrap) -> None:
    site = wrap(auth=lambda environ: False, password="")

    assert status(site, basic("admin", "")) == 401


def test_a_refused_construction_starts_no_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[object] = []
    monkeypatch.setattr("wsgi_coverage.collect.forks.start", lambda **_: started.append(1))

    with pytest.raises(AuthNotConfiguredError):
        CoverageMiddleware(lambda *_: [])

    assert started == []


# HTTP Basic


def test_the_user_is_admin_unless_set(wrap) -> None:
    site = wrap(password="secret")

    assert status(site, basic("admin", "secret")) == 200


def test_user_name_and_password_come_from_the_environment(
    wrap, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WSGI_COVERAGE_USERNAME", "ada")
    monkeypatch.setenv("WSGI_COVERAGE_PASSWORD", "secret")
    site = wrap(debug=False)

    assert status(site, basic("ada", "secret")) == 200
    assert status(site, basic("admin", "secret")) == 401


@pytest.mark.parametrize("given", [("admin", "guess"), ("eve", "secret"), ("eve", "guess")])
def test_user_name_and_password_are_both_compared_in_constant_time(
    wrap, monkeypatch: pytest.MonkeyPatch, given: tuple[str, str]
) -> None:
    compared: list[bytes] = []

    def compare(one: bytes, other: bytes) -> bool:
        compared.append(other)
        return one == other

    monkeypatch.setattr("hmac.compare_digest", compare)

    assert status(wrap(password="secret"), basic(*given)) == 401
    assert compared == [b"admin", b"secret"]


@pytest.mark.parametrize("scheme", ["Basic", "basic", "BASIC", "bAsIc"])
def test_the_scheme_may_be_in_any_case(wrap, scheme: str) -> None:
    assert status(wrap(password="secret"), basic("admin", "secret", scheme)) == 200


@pytest.mark.parametrize("password", ["pässwörd", "密码", "with:colon", " spaces ", "🎉"])
def test_user_name_and_password_are_utf_8(wrap, password: str) -> None:
    site = wrap(username="jürgen", password=password)

    assert status(site, basic("jürgen", password)) == 200
    assert status(site, basic("jürgen", password + "x")) == 401


def test_a_password_in_another_encoding_is_wrong(wrap) -> None:
    site = wrap(password="pässwörd")

    assert status(site, basic("admin", "pässwörd", encoding="latin-1")) == 401


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        " ",
        "Basic",
        "Basic ",
        "Basic =",
        "Basic !!!!",
        "Basic YWRtaW4",  # padding is missing
        "Basic " + base64.b64encode(b"admin").decode(),  # no colon
        "Basic " + base64.b64encode(b"adminsecret").decode(),
        "Basic " + base64.b64encode(b":").decode(),
        "Basic " + base64.b64encode(b"\xff\xfe:secret").decode(),
        "Basic \xe9\xe8",
        "Bearer " + base64.b64encode(b"admin:secret").decode(),
        "Basic" + base64.b64encode(b"admin:secret").decode(),
        "admin:secret",
        basic("admin", "Secret"),
        basic("Admin", "secret"),
        basic("admin", "secret\x00"),
        basic("", "secret"),
        basic("admin", ""),
        basic("admin", "secret") + " " + basic("admin", "secret"),
    ],
)
@pytest.mark.parametrize("path", ["/", "/nothing"])
def test_a_malformed_or_wrong_authorization_header_is_401(
    wrap, authorization: str, path: str
) -> None:
    site = wrap(password="secret")

    answer = site.get(path, {"Authorization": authorization})

    assert (answer.status, answer.error) == (401, "unauthorized")
    assert answer.headers["WWW-Authenticate"] == 'Basic realm="wsgi-coverage", charset="UTF-8"'


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "DELETE", "OPTIONS", "PUT"])
@pytest.mark.parametrize("path", EVERY_PATH)
def test_without_credentials_every_path_is_401(wrap, path: str, method: str) -> None:
    site = wrap(password="secret")

    assert site.call(method, path).status == 401
    assert site.worker.asked == []


def test_with_a_password_debug_lets_nobody_in_without_it(wrap) -> None:
    site = wrap(password="secret", debug=True)

    assert site.get("/", host="localhost").status == 401
    assert status(site, basic("admin", "secret")) == 200


def test_with_a_password_every_host_is_served(wrap) -> None:
    site = wrap(password="secret", debug=True)

    answer = site.get("/", {"Authorization": basic("admin", "secret")}, host="app.example.org")

    assert answer.status == 200


def test_with_a_password_the_application_needs_none(wrap) -> None:
    site = wrap(password="secret")

    assert run(site.app, environ_for("GET", "/shop")).status == 200


# The callback


def test_the_callback_gets_the_environ_as_the_application_sees_it(wrap) -> None:
    seen: list[dict[str, Any]] = []
    site = wrap(auth=lambda environ: seen.append(environ) or True)
    environ = environ_for("GET", f"{PREFIX}/report?a=b", {"Cookie": "c=d"}, script_name="/shop")

    run(site.app, dict(environ))

    assert seen[0]["SCRIPT_NAME"] == "/shop"
    assert seen[0]["PATH_INFO"] == f"{PREFIX}/report"
    del seen[0]["wsgi.input"], environ["wsgi.input"]
    assert seen[0] == environ


@pytest.mark.parametrize("verdict", [True, 1, object()])
def test_whom_the_callback_says_yes_to_comes_in(wrap, verdict: object) -> None:
    assert wrap(auth=lambda environ: verdict).get("/").status == 200


@pytest.mark.parametrize("verdict", [False, None, 0, "", []])
def test_whom_the_callback_does_not_say_yes_to_is_401(wrap, verdict: object) -> None:
    answer = wrap(auth=lambda environ: verdict).get("/nothing")

    assert (answer.status, answer.error) == (401, "unauthorized")
    assert "Basic" not in answer.headers["WWW-Authenticate"]  # no browser asks for a password


@pytest.mark.parametrize(
    "verdict", ["False", b"no", ("no", 401), ["no"], {"error": "no"}, iter([False]), [].append]
)
def test_what_is_no_verdict_is_401_and_logged(wrap, caplog, verdict: object) -> None:
    site = wrap(auth=lambda environ: verdict)

    assert site.post("/reset", JSON).status == 401
    assert site.worker.asked == []
    assert f"returned a {type(verdict).__name__}, which is neither yes nor no" in caplog.text


def test_a_callback_that_returns_the_coroutine_of_another_denies_without_a_warning(
    wrap, caplog
) -> None:
    async def allow(environ: dict[str, Any]) -> bool:
        return False

    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        answer = wrap(auth=lambda environ: allow(environ)).get("/")
        gc.collect()

    assert (answer.status, answer.error) == (401, "unauthorized")
    assert "returned a coroutine" in caplog.text
    assert [str(each.message) for each in warned] == []


def test_a_verdict_whose_truth_raises_denies_and_is_logged(wrap, caplog) -> None:
    class Undecided:
        def __bool__(self) -> bool:
            raise LookupError("no database")

    answer = wrap(auth=lambda environ: Undecided()).get("/", JSON)

    assert (answer.status, answer.error) == (401, "unauthorized")
    assert "LookupError: no database" in caplog.text


class Allow:
    """A policy whose methods cannot answer at once."""

    async def coroutine(self, environ: dict[str, Any]) -> bool:
        return False

    async def async_generator(self, environ: dict[str, Any]) -> AsyncIterator[bool]:
        yield False

    def generator(self, environ: dict[str, Any]) -> Iterator[bool]:
        yield False

    async def __call__(self, environ: dict[str, Any]) -> bool:
        return False


@pytest.mark.parametrize(
    "auth",
    [
        Allow.coroutine,
        Allow.async_generator,
        Allow.generator,
        Allow().coroutine,
        Allow().generator,
        Allow(),
        partial(Allow.coroutine, None),
        partial(Allow()),
        lru_cache(Allow.coroutine),
        singledispatch(Allow.generator),
        staticmethod(Allow.coroutine),
    ],
)
def test_a_callback_that_cannot_answer_at_once_is_refused_at_construction(
    worker, auth: Callable[..., Any]
) -> None:
    with pytest.raises(SettingsError) as error:
        CoverageMiddleware(lambda *_: [], auth=auth)

    assert str(error.value) == (
        f"keyword auth: auth must be a plain function, neither async nor a generator, got {auth!r}"
    )


def test_a_callback_that_raises_denies_and_is_logged(wrap, caplog) -> None:
    def broken(environ: dict[str, Any]) -> bool:
        raise KeyError("no such user")

    answer = wrap(auth=broken).get("/", JSON)

    assert (answer.status, answer.error) == (401, "unauthorized")
    assert "no such user" not in answer.text
    assert "KeyError: 'no such user'" in caplog.text


def test_a_response_that_the_callback_returns_is_the_answer(wrap) -> None:
    answer = wrap(auth=lambda environ: redirect("/login")).post("/refresh", JSON)

    assert (answer.status, answer.headers["Location"]) == (302, "/login")
    assert answer.headers["Cache-Control"] == "no-store"


def test_an_http_exception_that_the_callback_raises_is_the_answer(wrap) -> None:
    def forbid(environ: dict[str, Any]) -> bool:
        raise Forbidden

    site = wrap(auth=forbid)

    assert site.post("/refresh", JSON).status == 403
    assert site.worker.asked == []


def test_an_http_exception_that_the_callback_returns_is_the_answer(wrap) -> None:
    site = wrap(auth=lambda environ: Forbidden())

    assert site.post("/refresh", JSON).status == 403
    assert site.worker.asked == []


def test_an_http_exception_that_cannot_be_answered_with_denies(wrap, caplog) -> None:
    class Broken(Forbidden):
        def get_response(self, *args: Any, **keywords: Any) -> Any:
            raise LookupError("no template")

    def forbid(environ: dict[str, Any]) -> bool:
        raise Broken

    assert wrap(auth=forbid).get("/", JSON).status == 401
    assert "LookupError: no template" in caplog.text


def test_a_401_of_the_callbacks_own_names_a_scheme_as_every_401_does(wrap) -> None:
    def refuse(environ: dict[str, Any]) -> bool:
        raise Unauthorized

    headers = wrap(auth=refuse).get("/").headers

    assert headers.getlist("WWW-Authenticate") == ['Callback realm="wsgi-coverage"']


def reads_all(environ: dict[str, Any]) -> bool:
    assert environ["wsgi.input"].read(-1) == b"label=read+twice"
    return True


def reads_nothing(environ: dict[str, Any]) -> bool:
    return True


@pytest.mark.parametrize("auth", [reads_all, reads_nothing])
def test_the_body_can_be_read_after_the_callback(wrap, auth: Callable[..., bool]) -> None:
    answer = wrap(auth=auth).post("/snapshot", JSON, form={"label": "read twice"})

    assert answer.json()["label"] == "read twice"


def test_what_the_callback_does_to_its_environ_changes_nothing(wrap) -> None:
    def confused(environ: dict[str, Any]) -> bool:
        environ.clear()
        return True

    assert wrap(auth=confused).get("/files").error == "no-report"


def test_the_callback_goes_before_password_and_debug(wrap) -> None:
    site = wrap(auth=lambda environ: False, password="secret", debug=True)

    assert status(site, basic("admin", "secret")) == 401


def test_the_callback_is_not_asked_about_requests_of_the_application(wrap) -> None:
    asked: list[object] = []
    site = wrap(auth=asked.append)

    run(site.app, environ_for("GET", "/shop"))

    assert asked == []


def test_a_callback_can_be_named_in_the_environment(wrap, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WSGI_COVERAGE_AUTH", "builtins:bool")
    site = wrap(debug=False)

    assert site.get("/").status == 200  # bool() of an environ is true


@pytest.mark.parametrize("kind", [asyncio.CancelledError, GeneratorExit, BaseException])
@pytest.mark.parametrize("in_truth", [False, True])
def test_a_callback_that_raises_no_exception_denies_and_is_logged_too(
    wrap, caplog, kind: type[BaseException], *, in_truth: bool
) -> None:
    class Undecided:
        def __bool__(self) -> bool:
            raise kind("timed out")

    def broken(environ: dict[str, Any]) -> object:
        if in_truth:
            return Undecided()
        raise kind("timed out")

    answer = wrap(auth=broken).get("/", JSON)

    assert (answer.status, answer.error) == (401, "unauthorized")
    assert f"{kind.__name__}: timed out" in caplog.text


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt])
def test_a_callback_that_ends_the_worker_does_so(wrap, kind: type[BaseException]) -> None:
    def end(environ: dict[str, Any]) -> bool:
        raise kind

    with pytest.raises(kind):
        wrap(auth=end).get("/", JSON)
