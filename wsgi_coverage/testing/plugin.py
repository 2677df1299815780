"""The plugin of pytest: `pytest --wsgi-coverage URL` labels the requests of each test by its id.

Requests to the application's own address get the label, whichever client sends them: `http.client`,
and so urllib, urllib3 and requests; httpx; and pages of Playwright. At the end it says what only
single tests ran. Under xdist each worker labels its own tests, and the controller says it.

pytest imports this module wherever wsgi-coverage is installed: it imports little, and changes
nothing without the option.

Concurrency: pytest runs one test at a time in a process; its threads send requests, which all have
the label of that test.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import importlib
import importlib.util
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

import pytest

if TYPE_CHECKING:
    from wsgi_coverage.client import Client

OPTION = "--wsgi-coverage"
DASHBOARD = f"{OPTION}-dashboard"
AFFECTED, DATA, IGNORE = f"{OPTION}-affected", f"{OPTION}-data", f"{OPTION}-ignore"
OF_WORKER = "wsgi_coverage_affected"  # what the controller of xdist passes to its workers
HEADER, BAGGAGE = "X-Coverage-Context", "baggage"
MOST = 200  # characters of a label
TRIES = 12  # characters of it that are left to tell the tries of a test apart
DIGEST = 4  # bytes of the hash at the end of a label that is too long
SHOWN = 10  # tests, or files, in each list of the summary
PORTS = {"http": 80, "https": 443}
TRY = re.compile(r" \(try \d+\)$")


class CoverageLabel(str):
    """The label of the current test, for clients that the plugin does not know."""

    __slots__ = ()

    @property
    def headers(self) -> dict[str, str]:
        """The headers of a request that is to be recorded for this label; none without one."""
        return _headers(self)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    group = parser.getgroup("wsgi-coverage")
    group.addoption(
        OPTION,
        metavar="URL",
        help="label the requests of each test to this running application, and say at the end "
        "what only single tests ran",
    )
    group.addoption(
        DASHBOARD,
        metavar="URL",
        help="where the dashboard is, if not at that address: under 'wsgi-coverage run' it has a "
        "port of its own",
    )
    group.addoption(
        AFFECTED,
        metavar="REVISION",
        help="run only tests that ran lines which have changed since a revision of Git, and those "
        "of which that is not known",
    )
    group.addoption(
        DATA,
        metavar="FILE",
        help=f"with {AFFECTED}: a data file that was exported when they ran, instead of the "
        "running application",
    )
    group.addoption(
        IGNORE,
        metavar="PATTERN",
        action="append",
        default=[],
        help=f"with {AFFECTED}: files that concern no test, docs/* for instance",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Label requests, and select tests, if the options are given."""
    url, data = config.getoption(OPTION), config.getoption(DATA)
    if url:
        config.pluginmanager.register(Labels(url, config), "wsgi-coverage-labels")
    if base := config.getoption(AFFECTED):
        if not (url or data or config.getoption(DASHBOARD)):
            raise pytest.UsageError(f"{AFFECTED} needs {OPTION} or {DATA}")
        config.pluginmanager.register(Selection(config, base), "wsgi-coverage-selection")


@pytest.fixture
def coverage_label(request: pytest.FixtureRequest) -> CoverageLabel:
    """The label of this test; `coverage_label.headers` are the headers that send it."""
    labels = request.config.pluginmanager.get_plugin("wsgi-coverage-labels")
    return CoverageLabel(labels.label if isinstance(labels, Labels) else "")


class Labels:
    """Labels the requests of tests to one application.

    Args:
        url: the address of the application, or of its dashboard.
        config: pytest's.

    Raises:
        pytest.UsageError: `url` is no address of an HTTP server.
    """

    def __init__(self, url: str, config: pytest.Config) -> None:
        parts = urlsplit(url)
        try:
            port = parts.port or PORTS[parts.scheme]
        except (ValueError, KeyError):
            port = 0
        if not parts.hostname or not port:
            raise pytest.UsageError(f"{OPTION} {url}: it is no address such as http://host:8000")
        self.label: str = ""  # of the current test; "": none runs
        self._origin = (parts.hostname, port)
        self._url = url
        self._dashboard: str = config.getoption(DASHBOARD) or url
        self._is_worker = hasattr(config, "workerinput")  # of xdist
        self._labels: list[str] = []  # of all tests that have run
        self._undo = contextlib.ExitStack()
        self._change_clients()

    # Tests

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Label the requests of a test that begins, or of its next try, fixtures included."""
        self.label = label_of(item.nodeid, getattr(item, "execution_count", 1))

    @pytest.hookimpl(hookwrapper=True)  # as every pluggy knows it
    def pytest_runtest_protocol(self) -> Iterator[None]:
        """Label no requests between two tests."""
        yield
        self.label = ""

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note the label of a test that has run, in this process or in a worker of xdist."""
        if report.when == "call" and not report.skipped:
            self._labels.append(label_of(report.nodeid, getattr(report, "rerun", 0) + 1))

    def pytest_unconfigure(self) -> None:
        """Leave the clients as they were."""
        self._undo.close()

    # Clients

    def _change_clients(self) -> None:
        connection = http.client.HTTPConnection
        self._change(connection, "putheader", self._noting_labels)
        self._change(connection, "endheaders", self._labelling_http_client)
        if importlib.util.find_spec("httpx") is not None:
            httpx = importlib.import_module("httpx")
            # Each request that a redirect leads to, too, which may be to another host.
            self._change(httpx.HTTPTransport, "handle_request", self._labelling_httpx)
            self._change(httpx.AsyncHTTPTransport, "handle_async_request", self._labelling_httpx)
        if importlib.util.find_spec("playwright") is not None:
            browser = importlib.import_module("playwright.sync_api").Browser
            async_browser = importlib.import_module("playwright.async_api").Browser
            for name in ("new_context", "new_page"):
                self._change(browser, name, self._labelling_pages)
                self._change(async_browser, name, self._labelling_async_pages)

    def _change(self, owner: type, name: str, change: Callable[[Any], Any]) -> None:
        before = getattr(owner, name)
        setattr(owner, name, change(before))
        self._undo.callback(setattr, owner, name, before)

    @staticmethod
    def _noting_labels(putheader: Callable[..., Any]) -> Callable[..., Any]:
        def noting(connection: Any, header: Any, *values: Any) -> Any:
            name = header.decode("latin-1") if isinstance(header, bytes) else str(header)
            if name.lower() in (HEADER.lower(), BAGGAGE):
                connection.has_coverage_label = True  # by the test itself
            return putheader(connection, header, *values)

        return noting

    def _labelling_http_client(self, endheaders: Callable[..., Any]) -> Callable[..., Any]:
        def labelled(connection: Any, *args: Any, **keywords: Any) -> Any:
            host, port = connection.host, connection.port
            is_to_it = (str(host).strip("[]").lower(), port) == self._origin
            has_label = getattr(connection, "has_coverage_label", False)
            connection.has_coverage_label = False
            if self.label and is_to_it and not has_label:
                for header, value in _headers(self.label).items():
                    connection.putheader(header, value)
            return endheaders(connection, *args, **keywords)

        return labelled

    def _labelling_httpx(self, send: Callable[..., Any]) -> Callable[..., Any]:
        def labelled(transport: Any, request: Any) -> Any:
            if self._is_to(str(request.url)):
                request.headers.update(_headers(self.label))
            return send(transport, request)

        return labelled

    def _labelling_pages(self, new: Callable[..., Any]) -> Callable[..., Any]:
        def labelled(browser: Any, **keywords: Any) -> Any:
            made = new(browser, **keywords)
            made.route(self._is_to, self._continue)
            return made

        return labelled

    def _labelling_async_pages(self, new: Callable[..., Any]) -> Callable[..., Any]:
        async def go_on(route: Any) -> None:
            await self._continue(route)

        async def labelled(browser: Any, **keywords: Any) -> Any:
            made = await new(browser, **keywords)
            await made.route(self._is_to, go_on)
            return made

        return labelled

    def _continue(self, route: Any) -> Any:
        """Send a browser's request with the label; other routes of the test come first."""
        return route.fallback(headers={**route.request.headers, **_headers(self.label)})

    def _is_to(self, url: str) -> bool:
        """Tell whether a request to an address has a label now."""
        parts = urlsplit(url)
        return bool(self.label) and self._origin == (
            parts.hostname,
            parts.port or PORTS.get(parts.scheme),
        )

    # The end

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Say which tests ran lines that no other did, and for which nothing was recorded."""
        if self._is_worker or not self._labels:
            return
        from wsgi_coverage.client import Client, ClientError

        write = terminalreporter.write_line
        terminalreporter.section("wsgi-coverage")
        try:
            for line in self._summary(Client(self._dashboard)):
                write(line)
        except ClientError as error:
            write(f"{self._dashboard} did not say what the tests ran: {error}")

    def _summary(self, client: Client) -> Iterator[str]:
        complete = client.refresh()["complete"]
        found = {each["label"]: each for each in client.contexts() if each["lines"]}
        labels = [*dict.fromkeys(self._labels)]
        ran = [found[label] for label in labels if label in found]
        yield f"{len(ran)} of {len(labels)} tests ran lines of the application"
        if not complete:
            yield "not all of its processes answered: some lines may be missing"
        own = [each for each in ran if each["own_lines"]]
        own.sort(key=lambda each: -each["own_lines"])
        if own:
            yield "lines that only one test ran, and all of its lines:"
        yield from _first(
            f"  {each['own_lines']:6} of {each['lines']:6}  {each['label']}" for each in own
        )
        nothing = [label for label in labels if label not in found]
        if nothing:
            yield f"tests for which nothing was recorded, by requests to {self._url}:"
        yield from _first(f"  {label}" for label in nothing)
        files = [each["file"] for each in client.files() if each.get("runtime") == 0]
        if files:
            yield "files of which nothing ran since the first request:"
        yield from _first(f"  {name}" for name in files)


class Selection:
    """Deselects tests that a change does not concern.

    Args:
        config: pytest's.
        base: the revision that the checkout is compared with.
    """

    def __init__(self, config: pytest.Config, base: str) -> None:
        self._config = config
        self._base = base
        self._found: dict[str, Any] | None = None
        self._said: list[str] = []

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Pass to a worker of xdist what has changed, so that all select the same."""
        node.workerinput[OF_WORKER] = self._affected()

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Deselect the tests that ran, and ran nothing that has changed."""
        found = self._affected()
        top = Path(found["top"])
        modules = {item: _below(item.path, top) for item in items}
        tests = {modules[item] for item in items if isinstance(item, pytest.Function)}
        reasons = [
            *found["every"],
            *(f"{file}: {why}" for file, why in found["unmapped"].items() if file not in tests),
        ]
        if reasons:
            self._said = ["all tests were run:", *(f"  {reason}" for reason in reasons)]
            return
        labels, known = {*found["labels"]}, {*found["known"]}
        changed = _using({item for item in items if modules[item] in found["unmapped"]}, items)
        wanted: list[pytest.Item] = []
        others: list[pytest.Item] = []
        for item in items:
            label = label_of(item.nodeid)
            is_wanted = label in labels or label not in known or item in changed
            (wanted if is_wanted else others).append(item)
        self._said = [
            f"{len(wanted)} of {len(items)} tests were run: what has changed concerns no others"
        ]
        if others:
            items[:] = wanted
            self._config.hook.pytest_deselected(items=others)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """Succeed where the change concerns no test."""
        is_none = exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED
        if is_none and self._found is not None and not self._found["every"]:
            session.exitstatus = pytest.ExitCode.OK

    def pytest_report_collectionfinish(self) -> list[str]:
        """Say which tests were selected."""
        return [f"since {self._base}: {line}" for line in self._said]

    def _affected(self) -> dict[str, Any]:
        found = self._found
        if found is None:
            given: dict[str, Any] | None = getattr(self._config, "workerinput", {}).get(OF_WORKER)
            found = self._found = given or self._ask()
        return found

    def _ask(self) -> dict[str, Any]:
        from wsgi_coverage.client import Client, ClientError
        from wsgi_coverage.client.affected import affected_by_change
        from wsgi_coverage.client.revision import top_of

        option: Any = self._config.getoption
        data, here = option(DATA), self._config.invocation_params.dir
        try:
            found = affected_by_change(
                here / data if data else Client(option(DASHBOARD) or option(OPTION)),
                here,
                self._base,
                ignored=option(IGNORE),
            )
            top = top_of(here)
        except ClientError as error:
            raise pytest.UsageError(f"{AFFECTED} {self._base}: {error}") from error
        return {
            "top": str(top),
            "labels": [*map(without_try, found.labels)],
            "known": [*map(without_try, found.known)],
            "every": [*found.all_of_them],
            "unmapped": dict(found.unmapped),
        }


def _using(changed: set[pytest.Item], items: list[pytest.Item]) -> set[pytest.Item]:
    """Return tests of modules that have changed, or that have something from these modules."""
    by_module: dict[ModuleType, set[pytest.Item]] = {}
    for item in items:
        module = getattr(item, "module", None)
        if isinstance(item, pytest.Function) and isinstance(module, ModuleType):
            by_module.setdefault(module, set()).add(item)
    names = {module.__name__ for module, tests in by_module.items() if tests & changed}
    while more := {
        module.__name__
        for module in by_module
        if module.__name__ not in names
        and any(_home(value) in names for value in list(vars(module).values()))
    }:
        names |= more
    found = (tests for module, tests in by_module.items() if module.__name__ in names)
    return changed.union(*found)


def _home(value: object) -> str:
    """Return the name of the module that something is from."""
    if isinstance(value, ModuleType):
        return value.__name__
    of = value if isinstance(value, type | FunctionType) else type(value)
    return str(of.__module__)


def _below(path: Path, top: Path) -> str:
    """Return a path relative to the top of the checkout, with slashes; "": it is not below."""
    try:
        return path.resolve().relative_to(top.resolve()).as_posix()
    except ValueError:
        return ""


def without_try(label: str) -> str:
    """Return the label of a test's first try."""
    return TRY.sub("", label)


def label_of(nodeid: str, execution: int = 1) -> str:
    """Return the label of a test: its id, or the beginning of it and a hash; and which try."""
    again = f" (try {execution})" if execution > 1 else ""
    if len(nodeid) > MOST - TRIES:
        raw = nodeid.encode("utf-8", "surrogatepass")
        end = f"~{hashlib.blake2b(raw, digest_size=DIGEST).hexdigest()}"
        nodeid = nodeid[: MOST - TRIES - len(end)] + end
    return nodeid + again


def _headers(label: str) -> dict[str, str]:
    if not label:
        return {}
    if label.isascii() and label.isprintable():
        return {HEADER: label}
    return {BAGGAGE: f"coverage.context={quote(label, safe='', errors='replace')}"}


def _first(lines: Iterator[str]) -> Iterator[str]:
    found = list(lines)
    yield from found[:SHOWN]
    if len(found) > SHOWN:
        yield f"  and {len(found) - SHOWN} more"
