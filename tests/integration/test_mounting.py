"""Wherever it is mounted, every link, form and Location leads somewhere."""

from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any
from urllib.parse import parse_qs, urljoin, urlsplit

import pytest
from stand_ins import Site, hello
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from wsgi_calls import BROWSER, JSON, Answer, call

HOST = "http://localhost"


class Links(HTMLParser):
    """Every address on a page: (method, address) pairs."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, str]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        for name in ("href", "src"):
            if given.get(name):
                self.found.append(("GET", str(given[name])))
        if tag == "form" and given["method"] == "post":  # others need what is typed in
            self.found.append(("POST", str(given["action"])))


class World:
    """A wrapped application behind its public address.

    `root` is where the application is for the public; a proxy strips `stripped` from the path, and
    the server makes `script_name` of what follows.
    """

    def __init__(
        self, app: Callable[..., Any], *, dashboard: str, script_name: str = "", stripped: str = ""
    ) -> None:
        self.app = app
        self.dashboard = f"{HOST}{dashboard}"
        self.script_name = script_name
        self.stripped = stripped

    def fetch(self, method: str, address: str, headers: dict[str, str] = BROWSER) -> Answer:
        parts = urlsplit(address)
        path = parts.path
        for lead in (self.stripped, self.script_name):
            assert path.startswith(lead), f"{address} left the mount"
            path = path.removeprefix(lead)
        url = f"{path}?{parts.query}"
        return call(self.app, method, url, headers, script_name=self.script_name)

    def crawl(self) -> dict[str, int]:
        """Follow every link that is reachable from the dashboard: the status of each address.

        Of links to one path that differ in the values of their queries alone, one is followed.
        """
        seen: dict[str, int] = {}
        kinds: set[tuple[str, frozenset[str]]] = set()
        waiting = [self.dashboard]
        while waiting:
            assert len(seen) < 200
            address = waiting.pop().partition("#")[0]
            if address.startswith("data:") or address in seen:
                continue
            parts = urlsplit(address)
            kind = parts.path, frozenset(parse_qs(parts.query))
            if kind in kinds:
                continue
            kinds.add(kind)
            answer = self.fetch("GET", address)
            seen[address] = answer.status
            links = [link for method, link in addresses(answer) if method == "GET"]
            waiting += [urljoin(address, link) for link in links]
        return seen


def addresses(answer: Answer) -> list[tuple[str, str]]:
    """What an answer leads to: (method, address) pairs."""
    found = Links(answer.text).found if answer.mimetype == "text/html" else []
    if "Location" in answer.headers:
        found.append(("GET", answer.headers["Location"]))
    return found


def plain(wrap) -> World:
    return World(wrap().app, dashboard="/debug/coverage/")


def behind_a_script_name(wrap) -> World:
    return World(wrap().app, dashboard="/shop/debug/coverage/", script_name="/shop")


def behind_a_dispatcher(wrap) -> World:
    app = DispatcherMiddleware(hello, {"/shop/inner": wrap().app})
    return World(app, dashboard="/shop/inner/debug/coverage/")


def behind_a_proxy_that_strips_a_prefix(wrap) -> World:
    return World(wrap().app, dashboard="/public/debug/coverage/", stripped="/public")


def at_the_root(wrap) -> World:
    return World(wrap(url_prefix="/").app, dashboard="/")


def at_the_root_behind_a_script_name(wrap) -> World:
    return World(wrap(url_prefix="/").app, dashboard="/shop/", script_name="/shop")


def at_a_prefix_of_other_letters(wrap) -> World:
    return World(wrap(url_prefix="/übersicht:1/x").app, dashboard="/%C3%BCbersicht:1/x/")


MOUNTS = [
    plain,
    behind_a_script_name,
    behind_a_dispatcher,
    behind_a_proxy_that_strips_a_prefix,
    at_the_root,
    at_the_root_behind_a_script_name,
    at_a_prefix_of_other_letters,
]


@pytest.mark.parametrize("mount", MOUNTS)
def test_every_link_leads_somewhere(wrap, mount: Callable[..., World]) -> None:
    world = mount(wrap)
    for verb in ("refresh", "snapshot?label=a", "snapshot?label=b"):
        assert world.fetch("POST", world.dashboard + verb, JSON).status == 200

    seen = world.crawl()

    assert set(seen.values()) == {200}
    assert f"{world.dashboard}html/style.css" in seen
    assert f"{world.dashboard}static/style.css" in seen
    assert f"{world.dashboard}static/script.js" in seen
    for page in ("files", "snapshots", "workers", "health"):
        assert f"{world.dashboard}{page}" in seen
    assert sum("/snapshots/" in address for address in seen) >= 8


@pytest.mark.parametrize("mount", MOUNTS)
@pytest.mark.parametrize("page", ["", "files", "functions", "snapshots", "workers", "health"])
def test_every_form_leads_back_to_its_page(wrap, mount: Callable[..., World], page: str) -> None:
    world = mount(wrap)
    for verb in ("refresh", "snapshot"):
        assert world.fetch("POST", world.dashboard + verb, JSON).status == 200
    address = world.dashboard + page
    forms = {
        urljoin(address, link)
        for method, link in addresses(world.fetch("GET", address))
        if method == "POST"
    }
    assert len(forms) == (5 if page == "snapshots" else 3)  # refresh, reset, pause; take, delete

    for form in sorted(forms):
        answer = world.fetch("POST", form)
        landed = urljoin(form, answer.headers["Location"])
        assert landed.partition("?")[0] == address
        assert "notice=" in landed


@pytest.mark.parametrize("mount", MOUNTS)
@pytest.mark.parametrize(
    "verb", ["refresh", "refresh/", "reset", "pause", "resume", "snapshot", "snapshot?label=x"]
)
def test_a_post_leads_back_to_the_dashboard(wrap, mount: Callable[..., World], verb: str) -> None:
    world = mount(wrap)
    address = world.dashboard + verb

    location = world.fetch("POST", address).headers["Location"]

    landed = urljoin(address, location)
    assert landed.partition("?")[0] == world.dashboard
    assert "Live coverage" in world.fetch("GET", landed).text


@pytest.mark.parametrize("mount", MOUNTS)
@pytest.mark.parametrize("path", ["x", "x/y", "snapshots/x/report", "html/a/b/c"])
def test_an_errors_page_leads_back_to_the_dashboard(
    wrap, mount: Callable[..., World], path: str
) -> None:
    world = mount(wrap)
    address = world.dashboard + path

    page = world.fetch("GET", address)

    assert page.status == 404
    links = [urljoin(address, link) for _, link in Links(page.text).found]
    assert world.dashboard in links
    assert f"{world.dashboard}static/style.css" in links


@pytest.mark.parametrize("mount", [m for m in MOUNTS if m is not at_the_root])
def test_without_its_slash_the_dashboards_address_redirects(
    wrap, mount: Callable[..., World]
) -> None:
    world = mount(wrap)
    address = world.dashboard.rstrip("/")

    answer = world.fetch("GET", f"{address}?notice=reset")

    assert answer.status == 308
    assert urljoin(address, answer.headers["Location"]) == f"{world.dashboard}?notice=reset"


@pytest.mark.parametrize("of", ["html", "snapshots/{}/html"])
def test_without_its_slash_the_address_of_the_html_report_redirects(
    reported: Site, of: str
) -> None:
    world = World(reported.app, dashboard="/debug/coverage/")
    address = world.dashboard + of.format(reported.post("/snapshot", JSON).json()["id"])

    answer = world.fetch("GET", address)

    assert answer.status == 308
    assert urljoin(address, answer.headers["Location"]) == f"{address}/"


@pytest.mark.parametrize(
    ("given", "prefix"),
    [("/x", "/x"), ("/x/", "/x"), ("x", "/x"), ("x/y/", "/x/y"), ("/ü", "/%C3%BC")],
)
def test_a_prefix_is_normalised(wrap, given: str, prefix: str) -> None:
    app = wrap(url_prefix=given).app

    assert "Live coverage" in call(app, "GET", f"{prefix}/").text
    assert call(app, "GET", "/debug/coverage/").headers["X-From"] == "application"


def test_at_the_root_nothing_reaches_the_application(wrap) -> None:
    app = wrap(url_prefix="/").app

    assert "Live coverage" in call(app, "GET", "/").text
    assert call(app, "GET", "/shop").error == "not-found"


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/debug",
        "/debug/",
        "/debug/coveragefoo",
        "/debug/coverag",
        "/debug/Coverage/",
        "//debug/coverage/",
        "/debug//coverage/",
        "/x/debug/coverage/",
        "/debug/coverage%ff",
    ],
)
def test_what_is_not_below_the_prefix_reaches_the_application(site: Site, path: str) -> None:
    assert call(site.app, "GET", path).headers["X-From"] == "application"


def test_an_empty_path_reaches_the_application(site: Site) -> None:
    answer = call(site.app, "GET", "", script_name="/shop")

    assert (answer.headers["X-From"], answer.body) == ("application", b"/shop|")
