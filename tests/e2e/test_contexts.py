"""Labelled requests beside others, under real servers: each has exactly its own lines."""

from __future__ import annotations

import ast
import itertools
import os
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from e2e_servers import beside, each_in_turn

DASHBOARD = "/debug/coverage"
HEADER = "X-Coverage-Context"
JSON = {"Accept": "application/json"}
LABELLED = {"WSGI_COVERAGE_CONTEXTS": "header"}

TWO = """
from blog import app as blog
from shop import app as shop
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from wsgi_coverage import CoverageMiddleware

application = DispatcherMiddleware(CoverageMiddleware(shop), {"/blog": CoverageMiddleware(blog)})
"""
# Each path runs a function of one line, its own; what is below is not measured.
WORK = """
def in_a_copy():
    return 1


def in_an_executor():
    return 2


def in_asyncio_s_thread():
    return 3


async def in_a_task():
    return 4


def in_a_thread():
    return 5


def in_an_executor_without_a_copy():
    return 6


def after_the_response():
    return 7
"""
STARTING = """
import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from threading import Event, Thread
import work
from wsgi_coverage import CoverageMiddleware

pool = ThreadPoolExecutor(1)
pool.submit(int).result()
answered = Event()
late = []


def run_thread(run, *arguments):
    thread = Thread(target=run, args=arguments)
    thread.start()
    thread.join()


async def run_tasks():
    await asyncio.gather(asyncio.create_task(work.in_a_task()))


def begin():
    late.append(Thread(target=copy_context().run, args=[finish]))
    late[0].start()


def finish():
    answered.wait()
    work.after_the_response()


def end():
    answered.set()
    late[0].join()


VIEWS = {
    "/in_a_copy": lambda: run_thread(copy_context().run, work.in_a_copy),
    "/in_an_executor": lambda: pool.submit(copy_context().run, work.in_an_executor).result(),
    "/in_asyncio_s_thread": lambda: asyncio.run(asyncio.to_thread(work.in_asyncio_s_thread)),
    "/in_a_task": lambda: asyncio.run(run_tasks()),
    "/in_a_thread": lambda: run_thread(work.in_a_thread),
    "/in_an_executor_without_a_copy": lambda: pool.submit(
        work.in_an_executor_without_a_copy
    ).result(),
    "/begin": begin,
    "/end": end,
}


def app(environ, start_response):
    VIEWS[environ["PATH_INFO"]]()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"done"]


application = CoverageMiddleware(app)
"""
BRIDGE = """
from asgiref.wsgi import WsgiToAsgi
from served import application

application = WsgiToAsgi(application)
"""

pytestmark = pytest.mark.skipif(sys.version_info < (3, 12), reason="needs sys.monitoring")


def lines_of(server: Any, name: str) -> dict[str, set[int]]:
    """Lines of one file by label."""
    return {label: files.get(name, set()) for label, files in server.ran_for_labels().items()}


@pytest.mark.parametrize(
    # Rounds in which each of the 120 handlers is called once.
    ("options", "rounds"),
    [(("-w", "2", "--threads", "8"), 5), (("-w", "2"), 2)],
    ids=["gthread", "sync"],
)
def test_600_labelled_requests_have_their_own_lines_beside_all_else(
    project, routes, password, options, rounds
):
    routes.write(project, early=True)
    server = project.gunicorn(*options, "served:application", env={**password, **LABELLED})

    load(server, list(routes.bodies), rounds)

    server.refresh()
    assert lines_of(server, routes.FILE) == {
        f"{turn}-{path[1:]}": {line}
        for turn in range(rounds)
        for path, line in routes.bodies.items()
    }


@pytest.mark.parametrize(
    "options",
    [("--interface", "wsgi", "served:application"), ("bridge:application",)],
    ids=["uvicorn", "asgiref"],
)
def test_labelled_requests_have_their_own_lines_behind_asgi(project, routes, password, options):
    pytest.importorskip("uvicorn", reason="uvicorn is not installed")
    pytest.importorskip("asgiref", reason="asgiref is not installed")
    routes.write(project, early=True)
    project.coveragerc("source = .", "omit = served.py, bridge.py, sitecustomize.py")
    project.write("bridge.py", BRIDGE)
    uvicorn = ("-m", "uvicorn", "--fd", "{fd}", "--log-level", "warning")
    server = project.serve(*uvicorn, *options, env={**password, **LABELLED})

    load(server, list(routes.bodies), 1)

    server.refresh()
    assert lines_of(server, routes.FILE) == {
        f"0-{path[1:]}": {line} for path, line in routes.bodies.items()
    }


def test_of_two_applications_in_a_process_a_label_has_what_its_own_requests_ran(
    project, routes, password
):
    for name in ("shop.py", "blog.py"):
        project.write(name, routes.text)
    project.write("served.py", TWO)
    project.coveragerc("source = .", "omit = served.py")
    options = ("-w", "2", "--threads", "4", "served:application")
    server = project.gunicorn(*options, env={**password, **LABELLED})
    paths = list(routes.bodies)
    both = [each for path in paths for each in (path, f"/blog{path}")]

    load(server, both, 1)
    for path in ("/r0", "/blog/r1"):
        server.get(path, headers={HEADER: "both"})

    server.refresh()
    assert server.ran_for_labels() == {
        **{f"0-{path[1:]}": {"shop.py": {line}} for path, line in routes.bodies.items()},
        **{f"0-blog{path}": {"blog.py": {line}} for path, line in routes.bodies.items()},
        "both": {"shop.py": {routes.bodies["/r0"]}, "blog.py": {routes.bodies["/r1"]}},
    }


INHERIT = {"PYTHON_THREAD_INHERIT_CONTEXT": "1"}


@pytest.mark.parametrize(
    "env",
    [
        {},
        pytest.param(
            INHERIT,
            marks=pytest.mark.skipif(sys.version_info < (3, 14), reason="threads inherit nothing"),
        ),
    ],
    ids=["", "inheriting"],
)
def test_threads_and_tasks_have_the_label_whose_context_they_run_in(project, password, env):
    project.write("work.py", WORK)
    project.write("served.py", STARTING)
    project.coveragerc("source = .", "omit = served.py")
    options = ("-w", "1", "--threads", "4", "served:application")
    server = project.gunicorn(*options, env={**password, **LABELLED, **env})
    functions = {each.name: each.body[0].lineno for each in ast.parse(WORK).body}

    for name in (*functions.keys() - {"after_the_response"}, "begin", "end"):
        assert server.get(f"/{name}", headers={HEADER: name}).status == 200

    server.refresh()
    labelled = {"in_a_copy", "in_an_executor", "in_asyncio_s_thread", "in_a_task"}
    if env:
        labelled.add("in_a_thread")
    found = server.ran_for_labels()
    assert {name: files for name, files in found.items() if files} == {
        name: {"work.py": {functions[name]}} for name in labelled
    }
    assert found.keys() == {*functions, "begin", "end"} - {"after_the_response"}
    assert server.exported()["work.py"] >= {*functions.values()}


def load(server: Any, paths: list[str], rounds: int) -> None:
    """Label each request by its round and its path, beside others and refreshes."""
    forgotten = itertools.count()

    def forget() -> None:
        number = next(forgotten)
        label = f"forgotten-{number}"
        server.get(paths[number % len(paths)], headers={HEADER: label})
        gone = server.request("DELETE", f"{DASHBOARD}/contexts/{label}", headers=JSON)
        assert gone.status == 200, gone.text

    def labelled(number: int) -> None:
        path = paths[number % len(paths)]
        answer = server.get(path, headers={HEADER: f"{number // len(paths)}-{path[1:]}"})
        assert answer.status == 200
        assert HEADER.lower() not in answer.headers

    unlabelled = (each_in_turn(server, paths) for _ in range(2))
    with beside(*unlabelled, server.refresh, forget), ThreadPoolExecutor(8) as pool:
        list(pool.map(labelled, range(rounds * len(paths))))


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
