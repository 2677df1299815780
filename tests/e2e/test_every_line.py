"""Four workers, each with lines of its own; one refresh, from whichever worker, shows them all."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field

import pytest

SYSMON = pytest.mark.skipif(sys.version_info < (3, 12), reason="sys.monitoring came with 3.12")
GTHREAD = ("--worker-class", "gthread", "--threads", "4")
LEFT_OUT = {f"/r{number}" for number in range(0, 120, 5)}


@dataclass(frozen=True)
class Way:
    """One way to run the application under gunicorn."""

    options: tuple[str, ...] = ()
    run: tuple[str, ...] = ()  # lines of the configuration
    early: bool = False
    process_start: bool = False
    env: dict[str, str] = field(default_factory=dict)

    @property
    def measures_the_load(self) -> bool:
        return self.early or self.process_start


WAYS = {
    "sync": Way(),
    "gthread-parallel": Way(GTHREAD, ("parallel = true",)),
    "preload-not-parallel": Way(("--preload",), ("parallel = false",)),
    "process-start": Way(process_start=True),
    "process-start-preload-gthread": Way((*GTHREAD, "--preload"), process_start=True),
    "early-branches": Way(run=("branch = true",), early=True),
    "early-preload-gthread-branches": Way((*GTHREAD, "--preload"), ("branch = true",), early=True),
    "ctrace-gthread": Way(GTHREAD, env={"COVERAGE_CORE": "ctrace"}),
    "sysmon-process-start-gthread": Way(
        GTHREAD, process_start=True, env={"COVERAGE_CORE": "sysmon"}
    ),
}
PARAMETERS = [
    pytest.param(way, id=name, marks=SYSMON if name.startswith(("sysmon", "ctrace")) else ())
    for name, way in WAYS.items()
]


@pytest.mark.parametrize("way", PARAMETERS)
def test_a_refresh_shows_exactly_the_lines_that_four_workers_ran(project, routes, password, way):
    config = routes.write(project, *way.run, early=way.early)
    env = {**password, **way.env}
    if way.process_start:
        env["COVERAGE_PROCESS_START"] = str(config)
    server = project.gunicorn("-w", "4", *way.options, "served:application", env=env)
    workers = server.wait_for_workers(4)
    hit = [path for path in routes.bodies if path not in LEFT_OUT]
    for number, pid in enumerate(sorted(workers)):
        with server.only(pid, workers):
            answers = in_fours(server, hit[number::4], meet="gthread" in way.options)
        assert {answer.headers["x-pid"] for answer in answers} == {str(pid)}
        threads = {answer.headers["x-thread"] for answer in answers}
        assert len(threads) == (4 if "gthread" in way.options else 1)
    expected = routes.of(hit) | (routes.load if way.measures_the_load else set())

    report = server.refresh()

    assert server.exported() == {routes.FILE: expected}
    assert [
        (entry["file"].rpartition("/")[2], entry["statements"], entry["covered"], entry["missing"])
        for entry in server.get("/debug/coverage/files").json()
    ] == [(routes.FILE, routes.statements, len(expected), routes.statements - len(expected))]
    assert report["complete"]
    assert len(report["warnings"]) == (not way.measures_the_load)  # it was imported early
    assert workers <= {worker["pid"] for worker in report["workers"]}


def test_a_refresh_by_any_worker_shows_the_lines_of_all_four(project, routes, password, until):
    routes.write(project)
    server = project.gunicorn("-w", "4", "served:application", env=password)
    workers = server.wait_for_workers(4)
    for number, pid in enumerate(sorted(workers)):
        with server.only(pid, workers):
            assert server.get(f"/r{number}").headers["x-pid"] == str(pid)
    expected = {routes.FILE: routes.of(f"/r{number}" for number in range(4))}
    answered: set[int] = set()

    def refresh_once_more() -> bool:
        answer = server.post("/debug/coverage/refresh")
        answered.add(int(answer.headers["x-pid"]))
        assert answer.json()["complete"]
        assert {worker["pid"] for worker in answer.json()["workers"]} == workers
        assert server.exported() == expected
        return len(answered) > 1

    until(refresh_once_more, "another worker has answered")


def in_fours(server, paths, *, meet):
    """GET all paths, four at a time; `meet`: each four in four threads of the worker."""
    headers = {"X-Meet": "yes"} if meet else {}
    return [
        answer
        for at in range(0, len(paths), 4)
        for answer in server.together(paths[at : at + 4], headers=headers)
    ]
