"""However a process ends, and however it began, its lines are there afterwards."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

WORK = "def one():\n    return 1\n\n\ndef two():\n    return 2\n"
ONE = {1, 2, 5}  # the lines of work.py that run when it is imported and one() is called
SCRIPT = """
from wsgi_coverage import start_early
start_early()
import signal
import work
work.one()
print("ready", flush=True)
signal.pause()
"""
END_BY_SIGNAL = pytest.mark.parametrize(
    ("number", "exit_code"),
    [(signal.SIGTERM, -signal.SIGTERM), (signal.SIGINT, -signal.SIGINT)],
    ids=["SIGTERM", "SIGINT"],
)
OFTEN = {"WSGI_COVERAGE_AUTOSAVE_INTERVAL": "0.2"}


@END_BY_SIGNAL
def test_a_plain_script_that_a_signal_ends_leaves_its_data(project, number, exit_code):
    project.coveragerc("source = .")
    project.write("work.py", WORK)
    project.write("script.py", SCRIPT)
    script = project.start("script.py")
    script.wait_for("ready")

    assert script.end(number) == exit_code

    assert project.saved("work.py") == ONE
    assert project.left_over() == []


def test_a_restarted_server_shows_what_a_script_and_the_server_before_it_ran(
    project, routes, password
):
    routes.write(project, early=True)
    project.write(
        "script.py",
        SCRIPT.replace("import work", "from lines import r2").replace("work.one()", "r2()"),
    )
    script = project.start("script.py", env=password)
    script.wait_for("ready")
    script.end()
    before = project.gunicorn("-w", "2", "served:application", env=password)
    before.get("/r0")
    assert before.end() == 0
    server = project.gunicorn("-w", "2", "served:application", env=password)
    server.get("/r1")

    server.refresh()

    assert server.exported()[routes.FILE] == routes.load | routes.of(["/r0", "/r1", "/r2"])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
@pytest.mark.parametrize("options", [("-w", "2"), ("-w", "2", "--preload", "--threads", "2")])
def test_a_stopped_server_leaves_its_data_and_nothing_private(
    project, routes, password, number, options
):
    routes.write(project, early=True)
    server = project.gunicorn(*options, "served:application", env=password)
    workers = server.wait_for_workers(2)
    for path, pid in zip(("/r0", "/r1"), workers, strict=True):
        with server.only(pid, workers):
            server.get(path)

    assert server.end(number) == 0

    assert project.saved(routes.FILE) == routes.load | routes.of(["/r0", "/r1"])
    assert project.left_over() == []


def test_a_stopped_server_leaves_nothing_private_under_process_start(project, routes, password):
    config = routes.write(project)
    env = {**password, "COVERAGE_PROCESS_START": str(config)}
    server = project.gunicorn("-w", "2", "served:application", env=env)
    server.wait_for_workers(2)
    server.get("/r0")

    assert server.end() == 0

    assert project.saved(routes.FILE) == routes.load | routes.of(["/r0"])
    assert project.left_over() == []


@pytest.mark.parametrize("way", ["ours", "process-start", "coverage-run"])
def test_a_hit_that_was_autosaved_survives_kill_9(project, routes, password, until, way):
    config = routes.write(project, "parallel = true")
    env = {**password, **OFTEN}
    if way == "process-start":
        env["COVERAGE_PROCESS_START"] = str(config)
    start = project.gunicorn if way != "coverage-run" else project.gunicorn_under_coverage_run
    killed = start("-w", "2", "served:application", env=env)
    workers = killed.wait_for_workers(2)
    for path, pid in zip(("/r0", "/r1"), workers, strict=True):
        with killed.only(pid, workers):
            killed.get(path)
    hit = routes.of(["/r0", "/r1"])
    until(lambda: project.saved(routes.FILE) >= hit, "the autosave has come round")

    killed.kill()
    server = project.gunicorn("-w", "1", "served:application", env=password)
    report = server.refresh()

    expected = hit if way == "ours" else hit | routes.load
    assert server.exported() == {routes.FILE: expected}
    assert {worker["pid"] for worker in report["workers"]} == server.wait_for_workers(1)


def test_what_killed_workers_left_in_memory_is_swept_away(project, routes, password, until):
    routes.write(project)
    killed = project.gunicorn("-w", "2", "served:application", env={**password, **OFTEN})
    workers = killed.wait_for_workers(2)
    killed.get("/r0")
    until(lambda: project.saved(routes.FILE), "the autosave has come round")
    killed.kill()
    until(lambda: not any(map(is_there, workers)), "their new parent has taken note")
    server = project.gunicorn("-w", "1", "served:application", env=password)
    server.refresh()

    assert server.end() == 0

    assert project.left_over() == []


@pytest.mark.parametrize("options", [(), ("--threads", "4"), ("--preload",)])
def test_recycled_workers_lose_no_line(project, routes, password, options):
    routes.write(project)
    server = project.gunicorn(
        *("-w", "2", "--max-requests", "20", *options, "served:application"), env=password
    )
    hit = list(routes.bodies)[:100]

    hits = [server.get(path) for path in hit]
    others = [server.get("/nothing") for _ in hit]  # retire whoever has served the hits
    server.refresh()

    assert {answer.status for answer in hits} == {200}
    assert {answer.status for answer in others} == {404}
    assert len({answer.headers["x-pid"] for answer in hits}) > 3
    assert server.exported() == {routes.FILE: routes.of(hit)}


def test_a_reload_by_sighup_loses_no_line(project, routes, password):
    routes.write(project)
    server = project.gunicorn("-w", "2", "served:application", env=password)
    old = server.wait_for_workers(2)
    for path, pid in zip(("/r0", "/r1"), old, strict=True):
        with server.only(pid, old):
            server.get(path)

    server.send(signal.SIGHUP)
    new = server.wait_for_workers(2, but=old)
    server.get("/r2")
    report = server.refresh()

    assert server.exported() == {routes.FILE: routes.of(["/r0", "/r1", "/r2"])}
    assert {worker["pid"] for worker in report["workers"]} >= new


def test_the_parent_of_a_forking_script_and_its_children_all_count(project):
    project.coveragerc("source = .")
    project.write("work.py", WORK)
    project.write(
        "script.py",
        "from wsgi_coverage import start_early\n"
        "start_early()\n"
        "import os, sys\n"
        "import work\n"
        "child = os.fork()\n"
        "if not child:\n"
        "    work.two()\n"
        "    sys.exit()\n"
        "os.waitpid(child, 0)\n"
        "work.one()\n",
    )

    project.run("script.py")

    assert project.saved("work.py") == ONE | {6}
    assert project.left_over() == []


def is_there(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


CHILDREN = """
from wsgi_coverage import start_early
start_early()
import multiprocessing, os
import work
if os.fork() == 0:
    work.one()
    os._exit(0)
child = multiprocessing.get_context("fork").Process(target=work.two)
child.start()
child.join()
os.wait()
print("all have ended", flush=True)
os._exit(0)
"""


def test_processes_that_os_exit_ends_leave_their_data(project):
    project.coveragerc("source = .", "omit = script.py")
    project.write("work.py", WORK)
    project.write("script.py", CHILDREN)

    assert project.run("script.py") == "all have ended\n"

    assert project.saved("work.py") == {1, 2, 5, 6}
    assert len(project.data_files()) <= 3
    assert project.left_over() == []
