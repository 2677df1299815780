"""A large application is parsed before anybody asks for a report on it."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from wsgi_coverage.analysis.cache import FIGURES, VERSIONS
from wsgi_coverage.data.packed import read_packed
from wsgi_coverage.store.file_lock import locked

FILES = 30
MODULE = """
def function(first, second=2):
    total = 0
    for each in range(first):
        total += each * second
    return total
"""
PADDING = "#" * 40_000 + "\n"  # takes no time to parse
APP = """
from large import module_0
from wsgi_coverage import CoverageMiddleware

def plain(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(module_0.function(10)).encode()]

application = CoverageMiddleware(plain, debug=True)
"""
ALWAYS = {"WSGI_COVERAGE_PARSE_AHEAD_LOAD": "1000", "WSGI_COVERAGE_AUTOSAVE_INTERVAL": "600"}
TIMEOUT = 60.0

Until = Callable[[Callable[[], Any], str], Any]


@pytest.fixture
def large(project: Any) -> Any:
    """Just large enough, and nearly nothing of it is ever imported."""
    (project.folder / "large").mkdir()
    for number in range(FILES):
        project.write(f"large/module_{number}.py", f"NUMBER = {number}\n{MODULE}{PADDING}")
    project.write("large/__init__.py", "")
    project.write("app.py", APP)
    project.coveragerc("source_pkgs = large")
    return project


def cache(large: Any) -> Path:
    folder: Path = large.folder / ".wsgi-coverage-cache"
    return folder


def analyses(large: Any) -> dict[str, tuple[int, int]]:
    """What is kept of sources: inode and time of each file."""
    found = {path.name: path.stat() for path in cache(large).glob("analysis/*")}
    return {
        name: (status.st_ino, status.st_mtime_ns)
        for name, status in found.items()
        if name not in ("ahead", FIGURES, VERSIONS) and not name.startswith(".")
    }


def counted(large: Any) -> dict[str, str]:
    """What the figures of each file were counted from."""
    figures = read_packed(cache(large) / "analysis" / FIGURES)
    return {name: entry["known_as"] for name, entry in figures["files"].items()}


def serve(large: Any, *options: str, env: dict[str, str] = ALWAYS) -> Any:
    server = large.gunicorn("--workers", "2", *options, "app:application", env=env)
    server.wait_for_workers(2)
    server.get("/")
    return server


@pytest.mark.parametrize("branch", ["0", "1"])
def test_after_the_first_request_all_is_parsed_and_the_first_refresh_counts_nothing(
    large: Any, until: Until, branch: str
) -> None:
    server = serve(large, env={**ALWAYS, "WSGI_COVERAGE_BRANCH": branch})
    until((cache(large) / "analysis" / "ahead").exists, "all to be parsed")
    ahead, figures = analyses(large), counted(large)

    report = server.refresh()

    assert report["summary"]["files"] == FILES + 1
    assert report["complete"]
    assert len(ahead) == len(figures) == FILES + 1
    assert analyses(large) == ahead
    assert counted(large) == figures


def test_nothing_of_it_is_left_when_the_server_ends(large: Any, until: Until) -> None:
    server = serve(large)
    until(lambda: analyses(large), "something to be parsed")

    assert server.end(signal.SIGTERM) == 0

    with locked(cache(large) / "ahead.lock", TIMEOUT):  # nobody holds it while it parses
        assert not [*cache(large).glob("analysis/.wsgi-coverage-new-*")]


def test_the_setting_turns_it_off(large: Any) -> None:
    server = serve(large, env={**ALWAYS, "WSGI_COVERAGE_PARSE_AHEAD_LOAD": "0"})

    assert server.end(signal.SIGTERM) == 0
    assert not (cache(large) / "ahead.lock").exists()
