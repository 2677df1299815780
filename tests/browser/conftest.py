"""A real browser before a real server: the demo's shop, measured, without its customers."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

sys.path.insert(0, str(Path(__file__).parent / "support"))

from browsing import CHROMIUM, Windows, launch

from wsgi_coverage import clock
from wsgi_coverage.demo.server import HOST, NOT_INHERITED, ShopServer, bind
from wsgi_coverage.demo.traffic import Browser as Client

UNMEASURED = """
import sys
from werkzeug.serving import make_server
from wsgi_coverage import CoverageMiddleware

application = CoverageMiddleware(lambda environ, start_response: [], debug=True)
make_server("127.0.0.1", 1, application, fd=int(sys.argv[1])).serve_forever()
"""

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page


@dataclass
class Shop:
    """A measured shop without a report and without snapshots."""

    address: str
    client: Client
    dashboard: str = field(init=False)

    def __post_init__(self) -> None:
        self.dashboard = f"{self.address}/debug/coverage/"

    def wait_until_loaded(self, workers: int) -> None:
        """Have each worker answer a request, so that none still imports after a reset."""
        deadline = time.monotonic() + 60
        while len(pids := self._worker_pids()) < workers:
            assert time.monotonic() < deadline, pids
        for pid in pids:
            others = pids - {pid}
            for other in others:
                os.kill(other, signal.SIGSTOP)
            try:
                self.client.open("/")
            finally:
                for other in others:
                    os.kill(other, signal.SIGCONT)

    def _worker_pids(self) -> set[int]:
        health = self.client.json("/debug/coverage/health")
        return {worker["pid"] for worker in health["workers"]}

    def note_building(self, *, done: int, total: int) -> Path:
        """Have a build under way, as another worker notes it: the file to remove at its end."""
        note = Path(self.client.json("/debug/coverage/health")["cache_dir"]) / "building.json"
        now = clock.now()
        known = {"files_done": done, "files_total": total, "started_at": clock.now_iso()}
        own = {"pid": os.getpid(), "boot": now.boot, "seconds": now.seconds}
        note.write_text(json.dumps({**own, **known}), encoding="utf-8")
        return note

    def forget(self) -> None:
        """Go back to where it began, and have one customer look at the shelf."""
        self.client.json("/debug/coverage/reset", method="POST")
        for snapshot in self.client.json("/debug/coverage/snapshots"):
            self.client.json(f"/debug/coverage/snapshots/{snapshot['id']}", method="DELETE")
        self.client.open("/")


@pytest.fixture(scope="module")
def measured_shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    if CHROMIUM is None:
        pytest.skip("there is no chromium")
    pytest.importorskip("gunicorn", reason="gunicorn is not installed")
    with bind(0) as listening, ShopServer(listening, tmp_path_factory.mktemp("shop"), 2) as server:
        # The socket listens already, so this waits until the server is there.
        urllib.request.build_opener(urllib.request.ProxyHandler({})).open(
            server.address, timeout=60
        ).close()
        shop = Shop(server.address, Client(server.address))
        shop.wait_until_loaded(2)
        yield shop


@pytest.fixture
def shop(measured_shop: Shop) -> Shop:
    measured_shop.forget()
    return measured_shop


@pytest.fixture
def unmeasured_address(tmp_path: Path) -> Iterator[str]:
    """A server whose configuration measures a folder that nothing runs from."""
    (tmp_path / "empty").mkdir()
    (tmp_path / ".coveragerc").write_text("[run]\nsource = empty\n")
    with bind(0) as listening:
        address = f"http://{HOST}:{listening.getsockname()[1]}"
        with subprocess.Popen(
            [sys.executable, "-c", UNMEASURED, str(listening.fileno())],
            cwd=tmp_path,
            env={k: v for k, v in os.environ.items() if not k.startswith(NOT_INHERITED)},
            pass_fds=[listening.fileno()],
            start_new_session=True,
        ) as server:
            try:
                yield address
            finally:
                server.kill()


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The dashboard of an application of 3,000 files; a report of it is published."""
    pytest.importorskip("gunicorn", reason="gunicorn is not installed")
    from large import serving_large

    with serving_large(tmp_path_factory.mktemp("large")) as dashboard:
        yield dashboard


@pytest.fixture(scope="module")
def chromium() -> Iterator["Browser"]:
    if CHROMIUM is None:
        pytest.skip("there is no chromium")
    playwright_api = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed"
    )
    with playwright_api.sync_playwright() as playwright:
        browser = launch(playwright)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def windows(chromium: "Browser") -> Windows:
    return Windows(chromium)


@pytest.fixture(
    params=[
        {"size": "wide", "scheme": "light"},
        {"size": "narrow", "scheme": "dark", "scripts": False},
    ],
    ids=["wide", "narrow-without-scripts"],
)
def page(request: pytest.FixtureRequest, windows: Windows) -> Iterator["Page"]:
    """A page that has to stay silent, for what scripts are not needed for."""
    with windows.silent_page(**request.param) as opened:
        yield opened


@pytest.fixture
def scripted(windows: Windows) -> Iterator["Page"]:
    """A wide page with scripts, for what only these do."""
    with windows.silent_page() as opened:
        yield opened


@pytest.fixture(params=["wide", "narrow"])
def size(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["light", "dark"])
def scheme(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With several test processes, one browser and one shop serve all tests of a module."""
    here = Path(__file__).parent
    for item in items if config.pluginmanager.hasplugin("xdist") else ():
        if here in item.path.parents:
            item.add_marker(pytest.mark.xdist_group(item.path.stem))
