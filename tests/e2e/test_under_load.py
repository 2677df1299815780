"""Snapshots, refreshes and traffic at once: no error, no dead worker, no lost line.

A few rounds, unless E2E_LOAD_SECONDS says for how long.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

DASHBOARD = "/debug/coverage"
SYSMON = pytest.mark.skipif(sys.version_info < (3, 12), reason="sys.monitoring came with 3.12")
CORES = [
    pytest.param("ctrace"),
    pytest.param("sysmon", marks=SYSMON),
    pytest.param("", marks=SYSMON, id="memory"),  # none is named: lines are marked in memory
]
GTHREAD = ("--worker-class", "gthread", "--threads", "4")
SECONDS = float(os.environ.get("E2E_LOAD_SECONDS", "0"))
ROUNDS = 12  # of each client that changes something, where no time is given
SLOWEST = 10.0  # seconds that an answer may take


class Load:
    """Clients that go on until those with rounds to do have done them, or the time is over."""

    def __init__(self, server) -> None:
        self._server = server
        self._until = time.monotonic() + SECONDS
        self._over = threading.Event()
        self.answers: list[tuple[str, int, float]] = []  # what, status, seconds

    def _ask(self, method: str, path: str):
        started = time.monotonic()
        try:
            answer = self._server.request(method, path, headers={"Accept": "application/json"})
            status = answer.status
        except OSError as error:  # a worker that died hangs up
            answer, status = None, f"{type(error).__name__}: {error}"
        self.answers.append(
            (f"{method} {path.partition('?')[0]}", status, time.monotonic() - started)
        )
        return answer

    def change(self, verb: str) -> list[dict]:
        """POST again and again; the answers."""
        out = []
        while len(out) < ROUNDS or time.monotonic() < self._until:
            answer = self._ask("POST", f"{DASHBOARD}/{verb}")
            out.append(answer.json() if answer is not None else {})
        return out

    def traffic(self, paths: list[str]) -> None:
        """GET pages of the application, each of the paths at least once."""
        done = 0
        while done < len(paths) or not self._over.is_set():
            self._ask("GET", paths[done % len(paths)])
            done += 1

    def run(self, paths: list[str]):
        with ThreadPoolExecutor(5) as pool:
            visitors = [pool.submit(self.traffic, half) for half in (paths[::2], paths[1::2])]
            try:
                clients = [
                    pool.submit(self.change, verb)
                    for verb in ("snapshot?label=one", "snapshot?label=two", "refresh")
                ]
                out = [client.result() for client in clients]
            finally:
                self._over.set()
            for visitor in visitors:
                visitor.result()
        return out


@pytest.mark.parametrize("options", [("-w", "2"), ("-w", "2", *GTHREAD)], ids=["sync", "gthread"])
@pytest.mark.parametrize("core", CORES)
def test_snapshots_and_refreshes_beside_traffic_disturb_nobody(
    project, routes, password, core, options
):
    routes.write(project)
    env = {**password, "COVERAGE_CORE": core, "WSGI_COVERAGE_AUTOSAVE_INTERVAL": "0.2"}
    server = project.gunicorn(*options, "served:application", env=env)
    workers = server.wait_for_workers(2)
    server.get("/r0")  # a snapshot of nothing is refused
    load = Load(server)

    one, two, refreshes = load.run(list(routes.bodies))

    statuses = {status for _, status, _ in load.answers}
    slowest = max(seconds for *_, seconds in load.answers)
    print(
        f"{len(one) + len(two)} snapshots, {len(refreshes)} refreshes, {len(load.answers)} answers"
    )
    print(f"slowest: {slowest:.2f} s")
    assert statuses == {200}
    if SECONDS:  # on a machine that does nothing else
        assert slowest < SLOWEST
    assert all(each["complete"] for each in (*one, *two, *refreshes))
    assert server.wait_for_workers(2) == workers
    assert server.get(f"{DASHBOARD}/health").json()["core"] == (core or "monitoring")
    ids = {each["id"] for each in (*one, *two)}
    assert len(ids) == len(one) + len(two)
    assert {each["id"] for each in server.get(f"{DASHBOARD}/snapshots").json()} == ids
    server.refresh()
    assert server.exported() == {routes.FILE: routes.of(routes.bodies)}
    assert "Traceback" not in server.output
