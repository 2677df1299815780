"""Forks, in threads and of pools, under both engines: none hangs, none loses a line."""

from __future__ import annotations

import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

DASHBOARD = "/debug/coverage"
OFTEN = {"WSGI_COVERAGE_AUTOSAVE_INTERVAL": "0.2"}
CORES = [pytest.param({"COVERAGE_CORE": "ctrace"}, id="ctrace")]
if sys.version_info >= (3, 12):
    CORES.append(pytest.param({}, id="memory"))
FUNCTIONS = 500
MANY = "".join(f"def f{number}():\n    return {number}\n" for number in range(FUNCTIONS))

# Some here; all of them take minutes: WSGI_COVERAGE_FORKS=10000 pytest -k forks_in_eight
FORKS, THREADS = int(os.environ.get("WSGI_COVERAGE_FORKS", "500")), 8
A_REQUEST = 25  # forks
FORKING = f"""
import json, os
import many
from wsgi_coverage import CoverageMiddleware

def plain(environ, start_response):
    start_response("200 OK", [])
    if environ["PATH_INFO"] == "/":
        return [b"here"]
    first, failed = int(environ["PATH_INFO"][1:]), 0
    for number in range({A_REQUEST}):
        pid = os.fork()
        if not pid:
            getattr(many, f"f{{(first + number) % {FUNCTIONS}}}")()
            os._exit(0)
        failed += os.waitpid(pid, 0)[1]
    return [json.dumps(failed).encode()]

application = CoverageMiddleware(plain)
"""


@pytest.mark.parametrize("core", CORES)
def test_forks_in_eight_threads_beside_everything_else_hang_none(project, password, core):
    project.coveragerc("source = .", "omit = served.py")
    project.write("many.py", MANY)
    project.write("served.py", "from wsgi_coverage import start_early\nstart_early()\n" + FORKING)
    server = project.gunicorn(
        *("-w", "1", "--threads", "12", "--timeout", "170", "served:application"),
        env={**password, **OFTEN, **core},
    )
    over = threading.Event()

    def beside(verb: str) -> set[int]:
        statuses = set()
        while not over.is_set():
            statuses.add(server.post(f"{DASHBOARD}/{verb}").status)
        return statuses

    with ThreadPoolExecutor(THREADS + 2) as pool:
        asked = [pool.submit(beside, verb) for verb in ("refresh", "snapshot?keep=0")]
        first = range(0, FORKS, A_REQUEST)
        failed = {answer.text for answer in pool.map(lambda at: server.get(f"/{at}"), first)}
        over.set()

    assert failed == {"0"}
    assert [each.result() for each in asked] == [{200}, {200}]
    server.refresh()
    assert server.exported() == {"many.py": set(range(1, 2 * FUNCTIONS + 1))}
    assert "Traceback" not in server.output


SQLITE = """
import contextlib, os, signal, sqlite3
from wsgi_coverage import CoverageMiddleware

def fork():
    pid = os.fork()
    if not pid:
        signal.alarm(5)  # ends what hangs
        with contextlib.closing(sqlite3.connect(":memory:")) as connection:
            connection.execute("select 1").close()
        os._exit(0)
    return os.waitpid(pid, 0)[1]

def plain(environ, start_response):
    start_response("200 OK", [])
    statuses = {fork() for _ in range(20)}
    return [b"ended" if statuses == {0} else b"hung"]

application = CoverageMiddleware(plain)
"""


def test_children_that_use_sqlite_do_so_beside_refreshes_too(project, password):
    project.coveragerc("source = .")
    project.write("served.py", SQLITE)
    for number in range(60):  # more of SQLite
        project.write(f"file{number}.py", "def add(x):\n    return x + 1\n" * 9)
    server = project.gunicorn(*("-w", "1", "--threads", "4", "served:application"), env=password)
    over = threading.Event()

    def refresh() -> int:
        count = 0
        while not over.is_set():
            assert server.post(f"{DASHBOARD}/refresh").status == 200
            count += 1
        return count

    with ThreadPoolExecutor(1) as pool:
        refreshing = pool.submit(refresh)
        shown = {server.get("/").text for _ in range(60)}
        over.set()

    assert shown == {"ended"}
    assert refreshing.result() > 1


POOLS = """
import multiprocessing
import work

if __name__ == "__main__":
    for number in range(60):
        with multiprocessing.get_context("fork").Pool(2) as pool:
            assert sum(pool.map(work.add, range(4))) == 10
    print("all pools have ended")
"""


@pytest.mark.parametrize("core", CORES)
def test_pools_under_run_end_as_they_do_without(project, core):
    project.coveragerc("source = .", "omit = pools.py")
    project.write("work.py", "def add(x):\n    return x + 1\n")
    project.write("pools.py", POOLS)

    shown = project.run("-m", "wsgi_coverage", "run", "--port", "0", "pools.py", env=core)

    assert shown == "all pools have ended\n"
    assert project.saved("work.py") == {1, 2}
