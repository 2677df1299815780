"""Days and releases of what two workers of gunicorn have run, over restarts and midnight."""

from __future__ import annotations

import os
import signal
from datetime import date, timedelta
from typing import Any

import pytest
from e2e_servers import until

from wsgi_coverage.store.days import FOLDER, today

DASHBOARD = "/debug/coverage"
# The clock of the processes that mark lines, which a file sets back by some days.
CLOCK = """
from pathlib import Path
from wsgi_coverage.collect import memories
from wsgi_coverage.store import days

AGO = Path(__file__).with_name("ago")
memories.today = lambda: days.today() - int(AGO.read_text() or "0")
"""


@pytest.fixture
def days(project, routes):
    """Routes that run some days ago, as a file says."""
    project.write("ago", "0")
    routes.write(project, early=True)
    served = (project.folder / "served.py").read_text()
    project.write("served.py", CLOCK + served)
    return project


def seen(server: Any) -> dict[str, tuple[Any, ...]]:
    """Days before today, and releases, by the number of a route."""
    server.refresh()
    found = server.get(f"{DASHBOARD}/functions", headers={"Accept": "application/json"}).json()
    names = {(date.fromordinal(today()) - timedelta(days=n)).isoformat(): n for n in range(9)}
    return {
        each["name"]: (
            names.get(each["first_seen"]),
            names.get(each["last_seen"]),
            each.get("seen_in"),
            each.get("seen_reason"),
        )
        for each in found
    }


@pytest.mark.parametrize("branch", [(), ("branch = true",)], ids=["", "branches"])
def test_days_and_releases_outlive_workers_and_servers(days, routes, password, branch):
    if branch:
        days.coveragerc("source = .", "omit = served.py, sitecustomize.py", *branch)
    options = ("-w", "2", "served:application")
    days.write("ago", "3")
    first = days.gunicorn(*options, env={**password, "WSGI_COVERAGE_RELEASE": "r1"})
    workers = first.wait_for_workers(2)
    for pid in workers:
        with first.only(pid, workers):
            first.get("/r0")
    first.get("/r1")
    first.refresh()
    os.kill(workers.pop(), signal.SIGKILL)
    first.end()

    days.write("ago", "0")
    second = days.gunicorn(*options, env={**password, "WSGI_COVERAGE_RELEASE": "r2"})
    second.get("/r0")
    second.get("/r2")

    found = seen(second)
    assert found["r0"] == (3, 0, ["r1", "r2"], None)
    assert found["r1"] == (3, 3, ["r1"], None)
    assert found["r2"] == (0, 0, ["r2"], None)
    assert found["r3"] == (None, None, None, None)
    too_early = second.get(f"{DASHBOARD}/functions?unused_for=2d")
    assert too_early.json()["error"] == "history-too-short"
    began = date.fromordinal(today()) - timedelta(days=3)
    (days.folder / FOLDER / "began").write_text(began.isoformat())
    second.refresh()
    lately = second.get(f"{DASHBOARD}/functions?unused_for=2d").json()
    assert {"r1", "r3"} <= {each["name"] for each in lately}
    assert {"r0", "r2"}.isdisjoint(each["name"] for each in lately)
    assert second.reset().status == 200
    assert seen(second) == found


def test_workers_that_serve_over_midnight_begin_a_new_day(days, routes, password):
    days.write("ago", "1")
    env = {**password, "WSGI_COVERAGE_AUTOSAVE_INTERVAL": "0.2"}
    server = days.gunicorn("-w", "2", "served:application", env=env)
    server.wait_for_workers(2)
    server.get("/r0")
    server.get("/r1")
    assert seen(server)["r0"] == (1, 1, None, None)

    days.write("ago", "0")

    def is_new_day() -> bool:
        server.get("/r1")
        return seen(server)["r1"] == (1, 0, None, None)

    until(is_new_day, "a line has run on the new day")
    assert seen(server)["r0"] == (1, 1, None, None)
