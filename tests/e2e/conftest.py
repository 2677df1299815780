"""What the tests with real servers get: a project folder, and an application whose lines are known.

Nothing is measured in this process.
"""

from __future__ import annotations

import importlib.util
import socket
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest


def _load(name: str) -> Any:
    """A module beside this one: the tests are no package, so it cannot be imported by name."""
    spec = importlib.util.spec_from_file_location(
        f"e2e_{name}", Path(__file__).with_name(f"{name}.py")
    )
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


servers = _load("servers")
mounts_module = _load("mounts")
_load("server_table")
server_site = _load("server_site")


@pytest.fixture(scope="session", name="until")
def until_fixture() -> Callable[[Callable[[], Any], str], Any]:
    """Call until it gives something true, or fail after TIMEOUT."""
    return servers.until


@pytest.fixture(scope="session", name="lines_in")
def lines_in_fixture() -> Callable[[bytes], dict[str, set[int]]]:
    """Executed lines by file name, of a data file's bytes."""
    return servers.lines_in


@pytest.fixture(scope="session")
def password() -> dict[str, str]:
    """The environment of a server whose dashboard wants a password, which the client sends."""
    return {"WSGI_COVERAGE_PASSWORD": "open sesame"}


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Any]:
    project = servers.Project(tmp_path)
    yield project
    project.close()


@pytest.fixture
def site(
    project: Any, routes: Routes, way: Any, lines_in: Callable[..., Any], until: Callable[..., Any]
) -> Any:
    """An application for a server of the table, the test's parameter `way`."""
    return server_site.Site(project, routes, way, lines_in, until)


@pytest.fixture
def held_port() -> Iterator[int]:
    """A port that is bound and does not listen: nobody but a server that is told gets it.

    An exec closes a side port for a moment, in which another test may be given its number.
    """
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


@pytest.fixture
def mounts() -> Any:
    """What gives a server mounts of its own; skips where that is not allowed."""
    if why_not := mounts_module.why_not():
        pytest.skip(why_not)
    return mounts_module


class Routes:
    """A Flask application with one handler for each of 120 routes: each runs one line of its own.

    `lines.py` is all that is measured, from when `served.py` has imported it unless that begins
    early. It says on every response which process and which thread it came from; with `X-Meet` a
    request waits until four of them (or as many as are to meet) are there, each in a thread of its
    own.
    """

    COUNT = 120
    FILE = "lines.py"

    def __init__(self) -> None:
        head = ["from flask import Flask", "from flask import abort"]
        head += ["app = Flask(__name__)", "app.testing = False"]
        text = list(head)
        self.bodies: dict[str, int] = {}  # line number by path
        for number in range(self.COUNT):
            text += [f"def r{number}():", f"    return '{number}'"]
            self.bodies[f"/r{number}"] = len(text)
            text += [f"app.add_url_rule('/r{number}', view_func=r{number})"]
        self.text = "\n".join([*text, ""])
        self.statements = len(text)
        self.load = set(range(1, len(text) + 1)) - set(self.bodies.values())

    def of(self, paths: Iterable[str]) -> set[int]:
        """The lines that these paths run."""
        return {self.bodies[path] for path in paths}

    def write(self, project: Any, *run: str, early: bool = False, meeting: int = 4) -> Path:
        """Put the application into a project; return its configuration."""
        project.write(self.FILE, self.text)
        served = SERVED.replace("MEETING", str(meeting))
        project.write("served.py", (EARLY if early else "") + served)
        # Where the installed coverage.py has no .pth of its own.
        project.write("sitecustomize.py", "import coverage\ncoverage.process_startup()\n")
        return project.coveragerc("source = .", "omit = served.py, sitecustomize.py", *run)


EARLY = "from flask_coverage import start_early\nstart_early()\n"
SERVED = """
import os
import threading
from flask_coverage import FlaskCoverage
from lines import app

FlaskCoverage(app)
meeting = threading.Barrier(MEETING, timeout=30)


def application(environ, start_response):
    def start(status, headers, *more):
        here = [("X-Pid", str(os.getpid())), ("X-Thread", str(threading.get_native_id()))]
        return start_response(status, [*headers, *here], *more)

    if "HTTP_X_MEET" in environ:
        meeting.wait()
    return app(environ, start)
"""


@pytest.fixture(scope="session")
def routes() -> Routes:
    return Routes()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With several test processes, one demo serves all the tests that look at one."""
    for item in items if config.pluginmanager.hasplugin("xdist") else ():
        if isinstance(item, pytest.Function) and "ready" in item.fixturenames:
            item.add_marker(pytest.mark.xdist_group("demo"))
