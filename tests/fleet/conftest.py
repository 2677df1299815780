"""What the tests of a fleet get: a real Redis and a real Valkey in any state, and hosts that serve.

Nothing is measured in this process. Where a package is missing that all of it stands on, the
modules of tests are skipped before they are imported.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NoReturn

import pytest

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE / "support"), str(HERE.parent / "e2e")]

NEEDED = ("redis", "trustme", "gunicorn")
MISSING = [name for name in NEEDED if importlib.util.find_spec(name) is None]
if not MISSING:
    import fleet_hosts
    import proxies
    import servers
    import store_servers


class SkippedModule(pytest.Module):
    """A module that cannot be imported here."""

    def collect(self) -> NoReturn:
        pytest.skip(f"not installed: {', '.join(MISSING)}", allow_module_level=True)


def pytest_pycollect_makemodule(
    module_path: Path, parent: pytest.Collector
) -> SkippedModule | None:
    return SkippedModule.from_parent(parent, path=module_path) if MISSING else None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let hosts meet in Redis alone, unless every store is asked for.

    The tests without hosts try on both what is asked of a store.
    """
    for item in items:
        named = getattr(item, "callspec", None)
        if named and named.params.get("program") == "valkey" and "make_host" in item.fixturenames:
            item.add_marker("every_store")


@pytest.fixture(scope="session")
def until() -> Callable[[Callable[[], Any], str], Any]:
    """Call until it gives something true, or fail after TIMEOUT."""
    return servers.until


@pytest.fixture(params=["redis", "valkey"])
def program(request: pytest.FixtureRequest) -> store_servers.Program:
    """Each of the servers that are supported, in turn."""
    return store_servers.find(request.param)


@pytest.fixture
def closing() -> Iterator[Callable[[Any], Any]]:
    """Have something closed after the test; gives it back."""
    with ExitStack() as stack:

        def later(what: Any) -> Any:
            stack.callback(what.close)
            return what

        yield later


@pytest.fixture
def start_store(program: store_servers.Program, closing: Any) -> Callable[..., Any]:
    """Start a server; the arguments of StoreServer."""

    def start(*options: str, **more: Any) -> store_servers.StoreServer:
        server: store_servers.StoreServer = closing(
            store_servers.StoreServer(program, *options, **more)
        )
        server.start()
        return server

    return start


@pytest.fixture
def store(start_store: Callable[..., Any]) -> store_servers.StoreServer:
    """A server that keeps nothing on the disk."""
    server: store_servers.StoreServer = start_store()
    return server


@pytest.fixture
def proxy(closing: Any) -> Callable[[store_servers.StoreServer], proxies.Proxy]:
    """Put a proxy before a server."""
    return lambda server: closing(proxies.Proxy(server.port.number))


@pytest.fixture(scope="session")
def lines() -> fleet_hosts.Lines:
    """The application that all hosts serve."""
    return fleet_hosts.Lines()


@pytest.fixture
def make_host(tmp_path: Path, lines: fleet_hosts.Lines, closing: Any) -> Callable[..., Any]:
    """Make a host; the arguments of Host, but for its folder and the application."""
    if why_not := fleet_hosts.why_not():
        pytest.skip(why_not)
    return lambda name, **more: closing(fleet_hosts.Host(tmp_path / name, name, lines, **more))
