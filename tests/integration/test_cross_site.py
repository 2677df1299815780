"""A page of another site changes nothing, and reads nothing by rebinding a name."""

import pytest
from stand_ins import Site, StandInWorker
from wsgi_calls import BROWSER, JSON, call

from wsgi_coverage import settings
from wsgi_coverage.control import Control
from wsgi_coverage.sideport.app import SideApp

CHANGES = [
    ("POST", "/refresh"),
    ("POST", "/reset"),
    ("POST", "/snapshot"),
    ("POST", "/nothing"),
    ("DELETE", "/snapshots/x"),
]
REFUSED = [
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "Cross-Site"},
    {"Sec-Fetch-Site": ""},
    {"Sec-Fetch-Site": "nonsense"},
    {"Sec-Fetch-Site": "cross-site", "Origin": "http://localhost"},
    {"Origin": "http://evil.example"},
    {"Origin": "http://localhost.evil.example"},
    {"Origin": "http://localhost:81"},
    {"Origin": "http://localhost:x@evil.example"},
    {"Origin": "http://localhost@evil.example"},
    {"Origin": "null"},
    {"Origin": ""},
    {"Origin": "localhost"},
    {"Origin": "//localhost"},
    {"Origin": "file://localhost"},
    {"Origin": "http://"},
    {"Origin": "http://[::1"},
    {"Origin": "http://[evil]"},
    {"Origin": "\xff"},
    {"Origin": "http://localhost http://evil.example"},
]
PASSED = [
    {},  # curl
    {"Sec-Fetch-Site": "same-origin"},
    {"Sec-Fetch-Site": "none"},
    {"Sec-Fetch-Site": "same-origin", "Origin": "http://behind.a.proxy"},
    {"Origin": "http://localhost"},
    {"Origin": "HTTP://LOCALHOST"},
    {"Origin": "https://localhost"},  # a proxy ended TLS
    {"Referer": "http://evil.example/"},  # says nothing that a browser would not say better
]


@pytest.mark.parametrize("headers", REFUSED)
@pytest.mark.parametrize(("method", "path"), CHANGES)
def test_another_sites_page_may_not_ask_for_a_change(
    site: Site, method: str, path: str, headers: dict[str, str]
) -> None:
    answer = site.call(method, path, headers)

    assert (answer.status, answer.error) == (403, "cross-site")


@pytest.mark.parametrize("headers", REFUSED)
def test_a_refused_request_has_changed_nothing(reported: Site, headers: dict[str, str]) -> None:
    identity = reported.post("/snapshot", JSON).json()["id"]
    before = reported.get("/files").body
    reported.worker.asked.clear()

    for path in ("/refresh", "/reset", "/snapshot", f"/snapshots/{identity}/delete"):
        assert reported.post(path, headers).status == 403
    assert reported.call("DELETE", f"/snapshots/{identity}", headers).status == 403

    assert reported.worker.asked == []
    assert reported.get("/files").body == before
    assert [each["id"] for each in reported.get("/snapshots").json()] == [identity]


@pytest.mark.parametrize("headers", PASSED)
def test_our_own_pages_and_curl_may(site: Site, headers: dict[str, str]) -> None:
    assert site.post("/refresh", {**JSON, **headers}).status == 200


@pytest.mark.parametrize("host", ["localhost:8000", "127.0.0.1:8000", "[::1]:8000"])
def test_our_own_origin_has_our_own_port(site: Site, host: str) -> None:
    def status(origin: str) -> int:
        return site.post("/refresh", {**JSON, "Origin": origin}, host=host).status

    assert status(f"http://{host}") == 200
    assert status(f"http://{host}1") == 403


def test_the_refusal_is_a_page_for_a_browser(site: Site) -> None:
    answer = site.post("/reset", {**BROWSER, "Sec-Fetch-Site": "cross-site"})

    assert (answer.status, answer.mimetype) == (403, "text/html")
    assert "403 cross-site" in answer.text


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_a_link_from_elsewhere_may_be_followed(reported: Site, method: str) -> None:
    assert reported.call(method, "/", {"Sec-Fetch-Site": "cross-site"}).status in (200, 204)


def test_it_holds_behind_a_password_too(wrap) -> None:
    site = wrap(password="secret")
    credentials = {"Authorization": "Basic YWRtaW46c2VjcmV0"}

    assert site.post("/reset", {**credentials, "Sec-Fetch-Site": "cross-site"}).status == 403
    assert site.worker.asked == []
    assert site.post("/reset", {**credentials, **JSON}).status == 200


def test_it_holds_behind_a_callback_too(wrap) -> None:
    site = wrap(auth=lambda environ: True)

    assert site.post("/reset", {"Origin": "http://evil.example"}).status == 403
    assert site.worker.asked == []


LOCAL = [
    "localhost",
    "LOCALHOST",
    "localhost:5000",
    "localhost.",
    "app.localhost",
    "127.0.0.1",
    "127.0.0.1:5000",
    "127.8.9.1",
    "[::1]",
    "[::1]:5000",
]
FOREIGN = [
    "evil.example",
    "evil.example:5000",
    "localhost.evil.example",
    "127.0.0.1.evil.example",
    "evil-localhost",
    "evil.example:localhost",
    "evil.example@localhost",
    "localhost@evil.example",
    "[::1].evil.example",
    "[::2]",
    "10.0.0.1",
    "0.0.0.0",
    "192.168.0.1:80",
    "2130706433",
    "localhost:80:80",
    "localhost/evil",
    "\xff",
]


@pytest.mark.parametrize("host", LOCAL)
def test_in_debug_a_local_host_name_is_served(site: Site, host: str) -> None:
    assert site.get("/", host=host).status == 200


@pytest.mark.parametrize("host", FOREIGN)
@pytest.mark.parametrize("path", ["/", "/nothing", "/static/style.css"])
def test_in_debug_any_other_host_name_is_refused(site: Site, host: str, path: str) -> None:
    answer = site.get(path, host=host)

    assert (answer.status, answer.error) == (403, "untrusted-host")
    assert "trusted_hosts" in answer.json()["message"]


def test_without_a_host_header_the_servers_name_counts(site: Site) -> None:
    assert site.get("/", host="", SERVER_NAME="127.0.0.1").status == 200
    assert site.get("/", host="", SERVER_NAME="evil.example").status == 403


def test_the_application_is_served_whatever_the_host(site: Site) -> None:
    assert site.call("GET", "x", host="evil.example").status == 200  # /debug/coveragex


@pytest.mark.parametrize(
    ("trusted", "host", "status"),
    [
        (("dev.example",), "dev.example:8000", 200),
        (("dev.example",), "sub.dev.example", 403),
        (("dev.example",), "evil-dev.example", 403),
        ((".dev.example",), "sub.dev.example", 200),
        ((".dev.example",), "dev.example", 200),
        ((".dev.example",), "evildev.example", 403),
        ("dev.example, 10.0.0.0/8", "10.1.2.3:80", 200),
        ("DEV.example", "dev.EXAMPLE", 200),
        (("[fe80::1]",), "[fe80::1]:80", 200),
    ],
)
def test_trusted_hosts_says_which_other_host_names_are_served(
    wrap, trusted: object, host: str, status: int
) -> None:
    assert wrap(trusted_hosts=trusted).get("/", host=host).status == status


def test_trusted_hosts_holds_with_a_password_too(wrap) -> None:
    site = wrap(password="secret", trusted_hosts=["dev.example"])
    credentials = {"Authorization": "Basic YWRtaW46c2VjcmV0"}

    assert site.get("/", credentials, host="dev.example").status == 200
    assert site.get("/", credentials, host="evil.example").status == 403


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"User-Agent": "Mozilla/5.0 (X11)"}, 403),
        ({"User-Agent": "Mozilla/5.0 (X11)", "Sec-Fetch-Site": "none"}, 200),
        ({"User-Agent": "curl/8.14.1"}, 200),
        ({}, 200),
    ],
)
def test_a_browsers_get_for_a_change_is_refused_where_it_does_not_say_its_site(
    worker: StandInWorker, headers: dict[str, str], status: int
) -> None:
    loaded = settings.load({"debug": True}, env={})
    side = SideApp(loaded, Control(worker, loaded))  # type: ignore[arg-type]

    assert call(side, "GET", "/coverage/reset", headers).status == status
    assert call(side, "POST", "/coverage/reset", headers).status == 200
    assert call(side, "GET", "/health", headers).status == 200
