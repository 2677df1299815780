"""A project that is large enough to keep a report busy for longer than a server waits."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

DASHBOARD = "/debug/coverage"
TIMEOUT = 2  # seconds that gunicorn waits for a sign of life
FILES = 500  # of FUNCTIONS functions each: a report takes several times TIMEOUT
FUNCTIONS = 24

APP = """
from large import module_0
from wsgi_coverage import CoverageMiddleware

def plain(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(module_0.function_1(10)).encode()]

application = CoverageMiddleware(plain, debug=True, parse_ahead_load=0)
"""
FUNCTION = """
def function_{number}(first, second=2, *, third=3):
    total = 0
    for each in range(first):
        if each % 2 == 0:
            total += each * second
        else:
            total -= third
    try:
        value = {{"total": total, "all": [first, second, third]}}
    except ValueError:
        value = None
    return value
"""

Until = Callable[[Callable[[], Any], str], Any]


@pytest.fixture
def large(project: Any) -> Any:
    """A project whose sources take long to parse and to render; nearly none of it ever runs."""
    folder = project.folder / "large"
    folder.mkdir()
    text = "".join(FUNCTION.format(number=number) for number in range(FUNCTIONS))
    for number in range(FILES):
        (folder / f"module_{number}.py").write_text(f"NUMBER = {number}\n{text}")
    (folder / "__init__.py").write_text("")
    project.write("app.py", APP)
    project.coveragerc("source = large")
    return project


def serve(large: Any, *arguments: str) -> Any:
    server = large.gunicorn("--timeout", str(TIMEOUT), *arguments, "app:application")
    server.get("/")
    return server


def unfinished(large: Any) -> list[Path]:
    cache = large.folder / ".wsgi-coverage-cache"
    return [*cache.glob("reports/.building-*"), *cache.glob("building.json")]


def at_work(large: Any) -> bool:
    """Has a build begun to write?"""
    cache = large.folder / ".wsgi-coverage-cache"
    return any(cache.glob("reports/.building-*/*"))


def children(pid: int) -> list[int]:
    out = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if int(entry.read_text().rpartition(")")[2].split()[1]) == pid:
                out.append(int(entry.parent.name))
    return out


def test_a_sync_worker_outlives_a_refresh_that_takes_longer_than_its_timeout(large: Any) -> None:
    server = serve(large, "--workers", "1")
    [worker] = server.wait_for_workers(1)

    report = server.refresh()
    text = server.get(f"{DASHBOARD}/report")
    page = server.get(f"{DASHBOARD}/html/")
    exported = [server.get(f"{DASHBOARD}/export?format={name}") for name in ("coverage", "json")]

    assert report["duration_seconds"] > TIMEOUT
    assert report["summary"]["files"] == FILES + 1
    assert [each.status for each in (text, page, *exported)] == [200] * 4
    assert server.worker_pids() == {worker}
    assert "WORKER TIMEOUT" not in server.output
    assert children(worker) == []


def test_two_sync_workers_outlive_two_refreshes_at_once(large: Any) -> None:
    server = serve(large, "--workers", "2")
    workers = server.wait_for_workers(2)

    with ThreadPoolExecutor(2) as pool:
        both = [pool.submit(server.refresh) for _ in range(2)]
        reports = [each.result() for each in both]

    assert [report["summary"]["files"] for report in reports] == [FILES + 1] * 2
    assert server.worker_pids() == workers
    assert "WORKER TIMEOUT" not in server.output


def test_while_one_worker_makes_a_report_the_other_tells_how_far_it_is(
    large: Any, until: Until
) -> None:
    server = serve(large, "--workers", "2")
    server.wait_for_workers(2)
    assert server.get(f"{DASHBOARD}/health").json()["building"] is None

    def building() -> Any:
        found = server.get(f"{DASHBOARD}/health").json()["building"]
        return found if found and found["files_done"] else None

    refresh = threading.Thread(target=server.refresh)
    refresh.start()
    found = until(building, "files are done")
    page = server.get(f"{DASHBOARD}/").text
    refresh.join()

    assert 0 < found["files_done"] <= found["files_total"] == FILES + 1
    assert f"of {FILES + 1} files" in page
    assert server.get(f"{DASHBOARD}/health").json()["building"] is None
    assert f"of {FILES + 1} files" not in server.get(f"{DASHBOARD}/").text


def test_a_report_whose_process_is_killed_is_an_error_and_works_when_tried_again(
    large: Any, until: Until
) -> None:
    server = serve(large, "--workers", "1")
    [worker] = server.wait_for_workers(1)

    with ThreadPoolExecutor(1) as pool:
        refresh = pool.submit(server.post, f"{DASHBOARD}/refresh")
        [child] = until(lambda: at_work(large) and children(worker), "a child is at work")
        os.kill(child, signal.SIGKILL)
        failed = refresh.result()

    assert failed.status == 500
    assert failed.json()["error"] == "build-failed"
    assert "killed by SIGKILL" in failed.json()["message"]
    assert server.get(f"{DASHBOARD}/report").status == 404
    assert unfinished(large) == []

    server.refresh()

    assert server.get(f"{DASHBOARD}/report").status == 200
    assert server.worker_pids() == {worker}


def test_a_worker_that_is_killed_takes_its_report_along_and_the_next_one_makes_it(
    large: Any, until: Until
) -> None:
    server = serve(large, "--workers", "1")
    [worker] = server.wait_for_workers(1)

    with ThreadPoolExecutor(1) as pool:
        refresh = pool.submit(server.post, f"{DASHBOARD}/refresh")
        [child] = until(lambda: at_work(large) and children(worker), "a child is at work")
        os.kill(worker, signal.SIGKILL)
        assert refresh.exception() is not None
    until(lambda: not Path(f"/proc/{child}").exists(), "the child has ended")

    server.refresh()

    assert unfinished(large) == []
    assert server.worker_pids() != {worker}
