"""A pause reaches every worker, and every pool thread is measured again afterwards."""

from __future__ import annotations

import sys

import pytest

MEMORY = pytest.param("", id="memory")  # none is named: lines are marked in memory
CORES = ["ctrace", *(["sysmon", MEMORY] if sys.version_info >= (3, 12) else [])]
GTHREAD = ("-w", "1", "--worker-class", "gthread", "--threads", "4")


@pytest.mark.parametrize("core", CORES)
def test_what_a_pause_hides_is_missing_and_all_pool_threads_go_on_after_it(
    project, routes, password, core
):
    routes.write(project, early=True)
    server = project.gunicorn(
        *GTHREAD, "served:application", env={**password, "COVERAGE_CORE": core}
    )
    paths = list(routes.bodies)
    server.together(paths[:4], headers={"X-Meet": "yes"})

    paused = server.post("/debug/coverage/pause").json()
    server.together(paths[4:8], headers={"X-Meet": "yes"})
    health = server.get("/debug/coverage/health").json()
    resumed = server.post("/debug/coverage/resume").json()
    answers = server.together(paths[8:12], headers={"X-Meet": "yes"})
    report = server.refresh()

    assert (paused["status"], paused["complete"]) == ("paused", True)
    assert [worker["state"] for worker in paused["workers"]] == ["paused"]
    assert "paused" in [each["name"] for each in health["diagnoses"]]
    assert (resumed["status"], resumed["complete"]) == ("measuring", True)
    assert len({answer.headers["x-thread"] for answer in answers}) == 4
    assert server.exported() == {routes.FILE: routes.load | routes.of(paths[:4] + paths[8:12])}
    assert any("paused from" in warning for warning in report["warnings"])


def test_a_recycled_worker_measures_its_load_and_pauses_too(project, routes, password):
    routes.write(project, early=True)
    server = project.gunicorn("-w", "1", "--max-requests", "3", "served:application", env=password)
    server.post("/debug/coverage/pause")
    pids = {server.get(path).headers["x-pid"] for path in list(routes.bodies)[:8]}

    server.refresh()

    assert len(pids) > 1
    assert server.exported() == {routes.FILE: routes.load}


def test_a_coverage_of_coverage_run_is_not_ours_to_pause(project, routes, password):
    routes.write(project, "parallel = true")
    server = project.gunicorn_under_coverage_run("-w", "1", "served:application", env=password)

    refused = server.post("/debug/coverage/pause")
    server.get("/r0")
    server.refresh()

    assert (refused.status, refused.json()["error"]) == (409, "not-ours")
    assert server.exported() == {routes.FILE: routes.load | routes.of(["/r0"])}
