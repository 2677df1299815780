"""After a reset nothing of before is there, and every line of afterwards is, in every thread."""

from __future__ import annotations

import sys

import pytest

SYSMON = pytest.mark.skipif(sys.version_info < (3, 12), reason="sys.monitoring came with 3.12")
ROUNDS = 5
GTHREAD = ("-w", "1", "--worker-class", "gthread", "--threads", "4")
WAITRESS = """
import socket
import sys
import waitress
from served import application
waitress.serve(application, sockets=[socket.socket(fileno=int(sys.argv[1]))], threads=8)
"""
PARAMETERS = [
    pytest.param({}, (), False, id="default"),
    pytest.param({}, (), True, id="process-start"),
    pytest.param({}, ("branch = true",), False, id="branches"),
    pytest.param({"COVERAGE_CORE": "ctrace"}, (), True, id="ctrace-process-start", marks=SYSMON),
    pytest.param({"COVERAGE_CORE": "sysmon"}, (), True, id="sysmon-process-start", marks=SYSMON),
    pytest.param({"COVERAGE_CORE": "ctrace"}, (), False, id="ctrace", marks=SYSMON),
]


def begin(start, project, routes, env, run, process_start, *, meeting):
    """A server, and the lines that its load has left."""
    config = routes.write(project, *run, meeting=meeting)
    if process_start:
        env = {**env, "COVERAGE_PROCESS_START": str(config)}
    return start(env), routes.load if process_start else set()  # else it begins amid the load


def check_rounds(server, routes, load, *, threads):
    """Reset, run a line in each of so many threads at once, and refresh, again and again."""
    paths = list(routes.bodies)
    seen = set()

    for number in range(ROUNDS):
        # The same come round again two rounds later, in other threads.
        hit = paths[threads * (number % 2) :][:threads]
        assert server.reset().status == 200
        answers = server.together(hit, headers={"X-Meet": "yes"})
        assert [answer.status for answer in answers] == [200] * threads
        seen.update(answer.headers["x-thread"] for answer in answers)
        server.refresh()
        assert server.exported() == {routes.FILE: load | routes.of(hit)}

    assert len(seen) == threads


@pytest.mark.parametrize(("env", "run", "process_start"), PARAMETERS)
def test_each_round_shows_the_lines_of_this_round_in_every_pool_thread(
    project, routes, password, env, run, process_start
):
    def start(env):
        return project.gunicorn(*GTHREAD, "served:application", env=env)

    env = {**password, **env}
    server, load = begin(start, project, routes, env, run, process_start, meeting=4)

    check_rounds(server, routes, load, threads=4)


@pytest.mark.parametrize(("env", "run", "process_start"), PARAMETERS)
def test_each_round_shows_the_lines_of_this_round_in_every_thread_of_waitress(
    project, routes, password, env, run, process_start
):
    pytest.importorskip("waitress", reason="waitress is not installed")

    def start(env):
        return project.serve("-c", WAITRESS, "{fd}", env=env)

    env = {**password, **env}
    server, load = begin(start, project, routes, env, run, process_start, meeting=8)

    check_rounds(server, routes, load, threads=8)


def test_each_round_shows_the_lines_of_this_round_in_both_workers(project, routes, password):
    routes.write(project, early=True)
    server = project.gunicorn("-w", "2", "served:application", env=password)
    workers = server.wait_for_workers(2)
    paths = list(routes.bodies)
    for pid in workers:
        with server.only(pid, workers):
            server.get("/r100")  # answered by one that has come to the end of its load

    for number in range(ROUNDS):
        hit = paths[2 * (number % 2) : 2 * (number % 2) + 2]
        answer = server.reset()
        assert (answer.status, answer.json()["complete"]) == (200, True)
        for path, pid in zip(hit, workers, strict=True):
            with server.only(pid, workers):
                assert server.get(path).headers["x-pid"] == str(pid)
        server.refresh()
        assert server.exported() == {routes.FILE: routes.load | routes.of(hit)}


@pytest.mark.parametrize("process_start", [False, True], ids=["ours", "process-start"])
@pytest.mark.parametrize(
    "core",
    [
        pytest.param("ctrace"),
        pytest.param("sysmon", marks=SYSMON),
        pytest.param("", marks=SYSMON, id="memory"),  # none is named: lines are marked in memory
    ],
)
def test_fifty_resets_in_a_row_answer_200_and_measuring_goes_on(
    project, routes, password, core, process_start
):
    config = routes.write(project)
    env = {**password, "COVERAGE_CORE": core}
    if process_start:
        env["COVERAGE_PROCESS_START"] = str(config)
    server = project.gunicorn(*GTHREAD, "served:application", env=env)
    server.get("/r0")

    statuses = [server.reset().status for _ in range(50)]

    assert statuses == [200] * 50
    assert server.get("/debug/coverage/health").json()["core"] == (core or "monitoring")
    server.get("/r1")
    server.refresh()
    load = routes.load if process_start else set()
    assert server.exported() == {routes.FILE: load | routes.of(["/r1"])}


def test_a_reset_withdraws_the_report_and_every_data_file(project, routes, password):
    routes.write(project, early=True)
    server = project.gunicorn("-w", "1", "served:application", env=password)
    server.get("/r0")
    server.refresh()

    server.reset()

    answer = server.get("/debug/coverage/files")
    assert (answer.status, answer.json()["error"]) == (404, "no-report")
    assert project.saved(routes.FILE) == set()


def test_a_reset_with_nothing_run_since_leaves_what_ran_at_load_and_no_more(
    project, routes, password
):
    routes.write(project, early=True)
    server = project.gunicorn("-w", "4", "served:application", env=password)
    workers = server.wait_for_workers(4)
    for path, pid in zip(routes.bodies, workers, strict=False):
        with server.only(pid, workers):
            server.get(path)
    server.refresh()

    server.reset()
    server.refresh()

    assert server.exported() == {routes.FILE: routes.load}
    for pid in workers:
        with server.only(pid, workers):
            (file,) = server.get("/debug/coverage/files").json()
            report = server.get("/debug/coverage/report").text
            text = server.get("/debug/coverage/html/lines_py.html").text
        assert file["missing"] == len(routes.bodies)
        assert f"{file['statements']}    {file['missing']}" in report
        assert text.count('<p class="mis') == len(routes.bodies)


def test_a_restart_does_not_bring_back_what_was_reset(project, routes, password):
    routes.write(project)
    first = project.gunicorn("-w", "2", "served:application", env=password)
    workers = first.wait_for_workers(2)
    for path, pid in zip(("/r0", "/r1"), workers, strict=True):
        with first.only(pid, workers):
            first.get(path)
    first.reset()
    first.get("/r2")
    first.end()
    server = project.gunicorn("-w", "2", "served:application", env=password)

    server.refresh()

    assert server.exported() == {routes.FILE: routes.of(["/r2"])}


def test_a_coverage_of_coverage_run_is_not_ours_to_reset_and_keeps_its_lines(
    project, routes, password
):
    routes.write(project, "parallel = true")
    server = project.gunicorn_under_coverage_run("-w", "1", "served:application", env=password)
    server.get("/r0")
    expected = routes.load | routes.of(["/r0"])

    refused = server.reset()
    server.refresh()
    exported = server.exported()
    ours = project.data_files()
    server.end()

    assert (refused.status, refused.json()["error"]) == (409, "not-ours")
    assert exported == {routes.FILE: expected}
    for path in ours:
        path.unlink()
    assert project.saved(routes.FILE) == expected  # coverage.py's own data file
