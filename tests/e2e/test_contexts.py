"""Labelled requests beside others, under real servers: each has exactly its own lines."""

from __future__ import annotations

import itertools
import os
import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

DASHBOARD = "/debug/coverage"
HEADER = "X-Coverage-Context"
LABELLED = {"WSGI_COVERAGE_CONTEXTS": "header"}
ROUNDS = 5  # in which each of the 120 handlers is called once

pytestmark = pytest.mark.skipif(sys.version_info < (3, 12), reason="needs sys.monitoring")


def lines_of(server: Any, name: str) -> dict[str, set[int]]:
    """Lines of one file by label."""
    found: dict[str, set[int]] = {}
    for each in server.get(f"{DASHBOARD}/contexts").json():
        label = each["label"]
        files = server.get(f"{DASHBOARD}/contexts/{label}").json()["files"]
        found[label] = {n for file in files if file["file"].endswith(name) for n in file["lines"]}
    return found


@pytest.mark.parametrize(
    "options",
    [("-w", "2", "--threads", "8"), ("-w", "2")],
    ids=["gthread", "sync"],
)
def test_600_labelled_requests_have_their_own_lines_beside_all_else(
    project, routes, password, options
):
    routes.write(project, early=True)
    server = project.gunicorn(*options, "served:application", env={**password, **LABELLED})
    paths = list(routes.bodies)
    over = threading.Event()

    def unlabelled() -> None:
        for path in itertools.cycle(paths):
            if over.is_set():
                return
            server.get(path)

    def refreshes() -> None:
        while not over.is_set():
            server.refresh()

    def labelled(number: int) -> None:
        path = paths[number % len(paths)]
        answer = server.get(path, headers={HEADER: f"{number // len(paths)}-{path[1:]}"})
        assert answer.status == 200
        assert HEADER not in answer.headers

    with ThreadPoolExecutor(12) as pool:
        beside = [pool.submit(unlabelled), pool.submit(unlabelled), pool.submit(refreshes)]
        list(pool.map(labelled, range(ROUNDS * len(paths))))
        over.set()
        for each in beside:
            each.result()

    server.refresh()
    wanted = {
        f"{turn}-{path[1:]}": {line}
        for turn in range(ROUNDS)
        for path, line in routes.bodies.items()
    }
    assert lines_of(server, routes.FILE) == wanted


def test_resets_meanwhile_leave_no_label_of_before_and_lose_none_of_after(
    project, routes, password
):
    routes.write(project, early=True)
    server = project.gunicorn(
        *("-w", "2", "--threads", "4", "served:application"), env={**password, **LABELLED}
    )
    for path in list(routes.bodies)[:20]:
        server.get(path, headers={HEADER: f"before{path[1:]}"})
    kept = server.post(f"{DASHBOARD}/snapshot?reset=1").json()
    for path in list(routes.bodies)[20:40]:
        server.get(path, headers={HEADER: f"after{path[1:]}"})
    server.refresh()

    taken = server.get(f"{DASHBOARD}/snapshots/{kept['id']}/contexts").json()
    assert {each["label"] for each in taken} == {f"beforer{n}" for n in range(20)}
    assert lines_of(server, routes.FILE) == {
        f"afterr{n}": {routes.bodies[f"/r{n}"]} for n in range(20, 40)
    }


def test_labels_outlive_a_killed_worker_and_the_server(project, routes, password):
    routes.write(project, early=True)
    options = ("-w", "2", "served:application")
    server = project.gunicorn(*options, env={**password, **LABELLED})
    server.get("/r0", headers={HEADER: "first"})
    for pid in server.wait_for_workers(2):
        os.kill(pid, signal.SIGKILL)
    server.end()

    again = project.gunicorn(*options, env={**password, **LABELLED})
    again.get("/r1", headers={HEADER: "second"})
    again.refresh()

    assert lines_of(again, routes.FILE) == {
        "first": {routes.bodies["/r0"]},
        "second": {routes.bodies["/r1"]},
    }
