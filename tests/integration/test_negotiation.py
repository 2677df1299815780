"""JSON, a page, or a 303: what the client asks for; and the headers that every answer has."""

import pytest
from stand_ins import Site
from wsgi_calls import BROWSER, JSON

from wsgi_coverage import CoverageMiddleware
from wsgi_coverage.errors import RefreshBusyError

POSTS = [("/refresh", "refreshed"), ("/reset", "reset"), ("/snapshot", "snapshot")]
NO_PREFERENCE: list[dict[str, str]] = [
    {},
    {"Accept": "*/*"},
    {"Accept": ""},
]
PREFERS_JSON = [
    {"Accept": "application/json"},
    {"Accept": "application/json, text/plain, */*"},
    {"Accept": "APPLICATION/JSON"},
    {"Accept": "application/json;q=0.9, text/html;q=0.1"},
    {"Accept": "application/*"},
    {"Accept": "application/json; charset=utf-8"},
]
PREFERS_A_PAGE = [
    BROWSER,
    {"Accept": "text/html"},
    {"Accept": "text/html, application/json;q=0.1"},
    {"Accept": "application/json;q=0, text/html"},
]
ODD = [
    {"Accept": "image/png"},
    {"Accept": ";;;,,,/"},
    {"Accept": "application/json;q=x"},
    {"Accept": "text/html;q=nan"},
    {"Accept": "\xe9/\xff"},
    {"Accept": ",".join(["a/b"] * 5000)},
]


@pytest.mark.parametrize(("path", "_"), POSTS)
@pytest.mark.parametrize("accept", PREFERS_JSON)
def test_a_post_that_prefers_json_gets_json(
    site: Site, path: str, _: str, accept: dict[str, str]
) -> None:
    answer = site.post(path, accept)

    assert (answer.status, answer.mimetype) == (200, "application/json")


@pytest.mark.parametrize(("path", "notice"), POSTS)
@pytest.mark.parametrize("accept", [*NO_PREFERENCE, *PREFERS_A_PAGE])
def test_any_other_post_gets_a_303_to_the_dashboard_with_a_message(
    site: Site, path: str, notice: str, accept: dict[str, str]
) -> None:
    answer = site.post(path, accept)

    assert answer.status == 303
    assert answer.headers["Location"] == f"./?notice={notice}"
    assert 'class="notice"' in site.get(f"/?notice={notice}").text


def test_a_post_with_a_trailing_slash_finds_its_way_to_the_dashboard_too(site: Site) -> None:
    assert site.post("/refresh/").headers["Location"] == "../?notice=refreshed"


def test_a_delete_from_a_browser_gets_a_303_to_the_dashboard(site: Site) -> None:
    identity = site.post("/snapshot", JSON).json()["id"]

    answer = site.call("DELETE", f"/snapshots/{identity}", BROWSER)

    assert (answer.status, answer.headers["Location"]) == (303, "../?notice=deleted")


@pytest.mark.parametrize("notice", ["", "no-such", "<script>", "%ff", "a" * 9000])
def test_a_message_that_is_not_ours_is_not_shown(site: Site, notice: str) -> None:
    page = site.get(f"/?notice={notice}")

    assert page.status == 200
    assert 'class="notice"' not in page.text


PAGES = ["/files", "/functions", "/snapshots", "/workers", "/health", "/diff?a=current&b=current"]


@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize("accept", [*PREFERS_JSON, *NO_PREFERENCE, {"Accept": "image/png"}])
def test_what_the_dashboard_shows_is_json_for_who_does_not_name_html(
    reported: Site, path: str, accept: dict[str, str]
) -> None:
    answer = reported.get(path, accept)

    assert (answer.status, answer.mimetype) == (200, "application/json")
    assert answer.headers["Vary"] == "Accept"


@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize("accept", PREFERS_A_PAGE)
def test_what_the_dashboard_shows_is_a_page_for_a_browser(
    reported: Site, path: str, accept: dict[str, str]
) -> None:
    answer = reported.get(path, accept)

    assert (answer.status, answer.mimetype) == (200, "text/html")
    assert answer.headers["Vary"] == "Accept"


@pytest.mark.parametrize("path", ["/files", "/functions"])
def test_a_snapshot_has_pages_for_a_browser_too(site: Site, path: str) -> None:
    identity = site.post("/snapshot?label=kept", JSON).json()["id"]

    page = site.get(f"/snapshots/{identity}{path}", BROWSER)

    assert (page.status, page.mimetype) == (200, "text/html")
    assert "kept" in page.text
    assert site.get(f"/snapshots/{identity}{path}").mimetype == "application/json"


def test_a_link_may_say_which_of_the_two_it_leads_to(reported: Site) -> None:
    assert reported.get("/files?format=json", BROWSER).mimetype == "application/json"
    assert reported.get("/files?format=html", JSON).mimetype == "text/html"
    assert reported.get("/files?format=xml").error == "bad-parameter"


@pytest.mark.parametrize(
    "query", ["view=x", "sort=x", "order=x", "page=0", "page=x", "page=-1", "page=9999999999"]
)
def test_a_parameter_of_a_page_that_makes_no_sense_is_named(reported: Site, query: str) -> None:
    answer = reported.get(f"/files?{query}", BROWSER)

    assert answer.status == 400
    assert query.partition("=")[0] in answer.text


def test_a_page_that_is_beyond_the_last_is_the_last(reported: Site) -> None:
    assert "app.py" in reported.get("/files?view=list&page=99", BROWSER).text


def test_functions_are_a_file_of_comma_separated_values_for_who_asks(reported: Site) -> None:
    answer = reported.get("/functions?format=csv&unused=1", BROWSER)

    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert answer.headers["Content-Disposition"] == 'attachment; filename="functions.csv"'
    assert answer.text.splitlines() == [
        "file,name,line,statements,covered,runtime,load_only,ran,"
        "first_seen,last_seen,seen_in,seen_reason",
        "app.py,never,3,1,0,0,0,never,,,,the report was made by a version without days",
    ]
    assert reported.get("/functions?format=csv&q=no-such").text.count("\n") == 1


@pytest.mark.parametrize("accept", [BROWSER, JSON])
def test_which_functions_are_asked_for_is_one_of_three(reported: Site, accept: str) -> None:
    for unused in ("0", "1", "runtime"):
        assert reported.get(f"/functions?unused={unused}", accept).status == 200

    answer = reported.get("/functions?unused=load", accept)

    assert answer.status == 400
    assert "unused must be 1, runtime or 0" in answer.text


@pytest.mark.parametrize("back", ["files", "functions", "snapshots", "workers", "health"])
def test_a_form_may_lead_back_to_a_page_of_the_dashboard(site: Site, back: str) -> None:
    answer = site.post(f"/refresh?back={back}", BROWSER)

    assert answer.headers["Location"] == f"./{back}?notice=refreshed"


@pytest.mark.parametrize("back", ["", "x", "//evil.example/", "https://evil.example", "../", "%0d"])
def test_a_form_leads_to_no_other_place(site: Site, back: str) -> None:
    answer = site.post(f"/refresh?back={back}", BROWSER)

    assert answer.headers["Location"] == "./?notice=refreshed"


@pytest.mark.parametrize("accept", ODD)
@pytest.mark.parametrize(("method", "path"), [("POST", "/refresh"), ("GET", "/x"), ("GET", "/")])
def test_an_odd_accept_header_is_no_error(
    site: Site, method: str, path: str, accept: dict[str, str]
) -> None:
    assert site.call(method, path, accept).status in (200, 303, 404)


@pytest.mark.parametrize("accept", [*PREFERS_JSON, *NO_PREFERENCE])
def test_an_error_is_json_unless_a_page_is_preferred(site: Site, accept: dict[str, str]) -> None:
    answer = site.get("/nothing", accept)

    assert answer.status == 404
    assert set(answer.json()) == {"error", "message"}
    assert answer.error == "not-found"


@pytest.mark.parametrize("accept", PREFERS_A_PAGE)
def test_an_error_for_a_browser_is_a_page_with_its_slug_and_a_way_back(
    site: Site, accept: dict[str, str]
) -> None:
    answer = site.get("/snapshots/nothing", accept)

    assert (answer.status, answer.mimetype) == (404, "text/html")
    assert "404 unknown-snapshot" in answer.text
    assert 'href="../"' in answer.text


@pytest.mark.parametrize(
    ("path", "allow"),
    [
        ("/", "GET, HEAD, OPTIONS"),
        ("/report", "GET, HEAD, OPTIONS"),
        ("/files", "GET, HEAD, OPTIONS"),
        ("/export", "GET, HEAD, OPTIONS"),
        ("/html/", "GET, HEAD, OPTIONS"),
        ("/health", "GET, HEAD, OPTIONS"),
        ("/workers", "GET, HEAD, OPTIONS"),
        ("/building", "GET, HEAD, OPTIONS"),
        ("/snapshots", "GET, HEAD, OPTIONS, POST"),
        ("/snapshots/x", "DELETE, GET, HEAD, OPTIONS"),
        ("/snapshots/x/delete", "OPTIONS, POST"),
        ("/refresh", "OPTIONS, POST"),
        ("/reset", "OPTIONS, POST"),
        ("/snapshot", "OPTIONS, POST"),
    ],
)
def test_what_a_path_allows_is_in_the_405_and_in_the_answer_to_options(
    site: Site, path: str, allow: str
) -> None:
    refused, options = site.call("PUT", path), site.call("OPTIONS", path)

    assert (refused.status, refused.error) == (405, "method-not-allowed")
    assert refused.headers["Allow"] == allow
    assert (options.status, options.body) == (204, b"")
    assert options.headers["Allow"] == allow


def test_a_405_for_a_browser_is_a_page(site: Site) -> None:
    answer = site.get("/refresh", BROWSER)

    assert (answer.status, answer.mimetype) == (405, "text/html")
    assert answer.headers["Allow"] == "OPTIONS, POST"


def test_options_on_an_unknown_path_is_not_found(site: Site) -> None:
    assert site.call("OPTIONS", "/nothing").status == 404


@pytest.mark.parametrize(
    "path",
    [
        *("/", "/report", "/files", "/export", "/html/", "/snapshots", "/nothing", "/functions"),
        *("/workers", "/building", "/static/style.css", "/static/script.js"),
    ],
)
def test_head_has_the_headers_of_get_and_no_body(reported: Site, path: str) -> None:
    get, head = reported.get(path), reported.call("HEAD", path)

    assert head.body == b""
    assert get.body != b""
    assert (head.status, sorted(head.headers)) == (get.status, sorted(get.headers))


def test_head_of_what_only_takes_post_changes_nothing(site: Site) -> None:
    answer = site.call("HEAD", "/refresh")

    assert answer.status == 405
    assert site.worker.asked == []


def test_a_busy_lock_says_when_to_try_again(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def busy(*_: object, **__: object) -> None:
        raise RefreshBusyError("another build is under way")

    monkeypatch.setattr("wsgi_coverage.control.Control.refresh", busy)

    answer = site.post("/refresh", JSON)

    assert (answer.status, answer.error) == (503, "refresh-busy")
    assert int(answer.headers["Retry-After"]) > 0


EVERYWHERE = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
}


@pytest.mark.parametrize("headers", [{}, BROWSER])
@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "", 308),
        ("GET", "/", 200),
        ("GET", "/report", 200),
        ("GET", "/html", 308),
        ("GET", "/html/", 200),
        ("GET", "/html/style.css", 200),
        ("GET", "/static/style.css", 200),
        ("GET", "/export", 200),
        ("POST", "/refresh", 303),
        ("POST", "/refresh?wait=x", 400),
        ("GET", "/nothing", 404),
        ("PUT", "/", 405),
        ("OPTIONS", "/", 204),
        ("HEAD", "/", 200),
    ],
)
def test_every_answer_has_the_protecting_headers(
    reported: Site, method: str, path: str, status: int, headers: dict[str, str]
) -> None:
    answer = reported.call(method, path, headers)

    assert answer.status == status
    assert_protected(answer.headers)


@pytest.mark.parametrize("headers", [{}, BROWSER])
def test_a_401_has_the_protecting_headers(wrap, headers: dict[str, str]) -> None:
    answer = wrap(password="secret").get("/", headers)

    assert answer.status == 401
    assert_protected(answer.headers)


@pytest.mark.parametrize("headers", [{"Sec-Fetch-Site": "cross-site"}, {"Host": "evil.example"}])
def test_a_403_has_the_protecting_headers(site: Site, headers: dict[str, str]) -> None:
    answer = site.post("/refresh", headers)

    assert answer.status == 403
    assert_protected(answer.headers)


@pytest.mark.parametrize("headers", [{}, BROWSER])
def test_an_unexpected_exception_is_a_500_with_a_slug_and_without_a_traceback(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog, headers: dict[str, str]
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("private detail")

    monkeypatch.setattr("wsgi_coverage.control.Control.health", broken)

    answer = site.get("/health", headers)

    assert answer.status == 500
    assert "internal" in answer.text
    assert not {"Traceback", "ZeroDivisionError", "private detail"} & set(answer.text.split('"'))
    assert "private detail" not in answer.text
    assert_protected(answer.headers)
    assert "ZeroDivisionError: private detail" in caplog.text


def test_an_exception_does_not_let_a_request_forge_lines_of_the_log(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("wsgi_coverage.control.Control.text", broken)

    site.get("/snapshots/a%0AERROR forged/report")

    assert len(caplog.records) == 1
    assert "\n" not in caplog.records[0].getMessage()


@pytest.mark.parametrize("headers", [{}, BROWSER])
@pytest.mark.parametrize("path", ["/", "/health", "/report"])
def test_where_measuring_could_not_start_every_answer_says_why(
    monkeypatch: pytest.MonkeyPatch, caplog, path: str, headers: dict[str, str]
) -> None:
    def broken(**_: object) -> None:
        raise OSError("no more file descriptors")

    monkeypatch.setattr("wsgi_coverage.collect.forks.start", broken)
    site = Site(CoverageMiddleware(lambda *_: [], debug=True), None)  # type: ignore[arg-type]

    answer = site.get(path, headers)

    assert answer.status == 503
    assert "not-measuring" in answer.text
    assert "no more file descriptors" in answer.text
    assert "measuring could not be started" in caplog.text


def assert_protected(headers) -> None:
    assert {name: headers[name] for name in EVERYWHERE} == EVERYWHERE
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
