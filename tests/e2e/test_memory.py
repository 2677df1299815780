"""Lines marked in shared memory: nothing of them is lost, and no fork, signal or pool feels it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.skipif(
    sys.version_info < (3, 12), reason="lines are marked in memory from Python 3.12 on"
)
DASHBOARD = "/debug/coverage"
LONG = {"WSGI_COVERAGE_AUTOSAVE_INTERVAL": "60"}
OFTEN = {"WSGI_COVERAGE_AUTOSAVE_INTERVAL": "0.2"}
PLAIN = {
    **{name: 2 * number + 2 for number, name in enumerate("abc")},
}
APP = "".join(f"def {name}():\n    return '{name}'\n" for name in PLAIN) + (
    "def app(environ, start_response):\n"
    "    start_response('200 OK', [('Content-Type', 'text/plain')])\n"
    "    return [globals()[environ['PATH_INFO'][1:]]().encode()]\n"
)
NAMED = {"WSGI_COVERAGE_APP": "app:app"}
SERVED = "wsgi_coverage.wsgi:application"

KILLS = 1_000
MANY = "".join(f"def f{number}():\n    return {number}\n" for number in range(KILLS))
KILLED = """
import os
import many
from wsgi_coverage import CoverageMiddleware

def plain(environ, start_response):
    start_response("200 OK", [("X-Pid", str(os.getpid()))])
    return [str(getattr(many, environ["PATH_INFO"][1:])()).encode()]

application = CoverageMiddleware(plain)
"""


def test_a_thousand_kills_lose_not_one_line_that_ran_before_them(project, password):
    """Each worker is killed as soon as it has answered, which is right after its one line."""
    project.coveragerc("source = .", "omit = served.py")
    project.write("many.py", MANY)
    project.write("served.py", "from wsgi_coverage import start_early\nstart_early()\n" + KILLED)
    server = project.gunicorn("-w", "2", "--preload", "served:application", env=password)

    for number in range(KILLS):
        answer = server.get(f"/f{number}")
        os.kill(int(answer.headers["x-pid"]), signal.SIGKILL)
    report = server.refresh()

    assert report["complete"] is True
    assert server.exported() == {"many.py": set(range(1, 2 * KILLS + 1))}


@pytest.fixture
def plain(project, password):
    """Serve three functions, one for each path, by gunicorn with these options."""

    def start(*options: str, env: dict[str, str] | None = None) -> Any:
        project.coveragerc("source = .")
        project.write("app.py", APP)
        return project.gunicorn(*options, SERVED, env={**password, **NAMED, **(env or {})})

    return start


def ran(server: Any) -> set[int]:
    """The lines that only a function's call runs."""
    return server.exported().get("app.py", set()) & set(PLAIN.values())


def test_where_the_memory_is_removed_nothing_is_lost_or_the_answer_says_so(project, plain):
    server = plain("-w", "2", "--threads", "2")
    workers = server.wait_for_workers(2)
    for pid in workers:
        with server.only(pid, workers):
            server.get("/a")
    project.remove_private()

    for pid in workers:
        with server.only(pid, workers):
            server.get("/b")
    first, second = server.refresh(), server.refresh()

    assert first["complete"] is False or ran(server) == {PLAIN["a"], PLAIN["b"]}
    assert second["complete"] is True
    assert {each["pid"] for each in second["workers"]} == workers
    assert ran(server) == {PLAIN["a"], PLAIN["b"]}


SCHEDULER = """
import threading, time
def loop():
    while True:
        time.sleep(0.05)
        work()
def work():
    return 1
threading.Thread(target=loop, daemon=True).start()
"""


@pytest.mark.parametrize(
    "options", [("--threads", "2"), ("--preload",), ("-k", "gevent")], ids=lambda each: each[0]
)
def test_a_loop_that_began_at_load_is_runtime_afterwards_and_after_each_reset(
    project, plain, until, options
):
    if "gevent" in options:
        pytest.importorskip("gevent")
    project.write("scheduler.py", SCHEDULER)
    server = plain("-w", "1", *options, env={"WSGI_COVERAGE_APP": "app:app"})
    server.kill()
    project.write("app.py", "import scheduler\n" + APP)
    server = project.gunicorn(
        *("-w", "1", *options, SERVED),
        env={**NAMED, "WSGI_COVERAGE_PASSWORD": "open sesame"},
    )

    def seen() -> bool:
        server.get("/a")
        server.refresh()
        listed = server.get(f"{DASHBOARD}/files").json()
        (found,) = (each for each in listed if each["file"].endswith("scheduler.py"))
        return found["runtime"] == 4

    for _ in range(3):
        until(seen, "the loop's four lines are seen at runtime")
        assert server.reset().json()["complete"] is True


@contextlib.contextmanager
def unshared(*kinds: str) -> Iterator[list[str]]:
    command = ["unshare", *kinds, "--fork", "--kill-child"]
    found = shutil.which("unshare")
    if os.geteuid() or found is None or subprocess.run([*command, "true"]).returncode:
        pytest.skip("needs root and unshare(1)")
    yield command


def test_two_containers_that_share_memory_and_a_path_leave_each_other_alone(
    project, plain, password, tmp_path
):
    """The same path, host name and /dev/shm, and process ids that mean other processes."""
    other = tmp_path / "other"
    other.mkdir()
    (other / "app.py").write_text(APP)
    (other / ".coveragerc").write_text("[run]\nsource = .\n")
    with unshared("--pid", "--mount", "--mount-proc") as command:
        bind = f'mount --bind {other} {project.folder}; cd {project.folder}; exec "$@"'
        first = plain("-w", "1")
        project.within = [*command, "sh", "-c", bind, "sh"]
        second = project.gunicorn("-w", "1", SERVED, env={**password, **NAMED})
        first.get("/a")
        second.get("/b")

        reports = [server.refresh() for server in (first, second)]

        assert [len(report["workers"]) for report in reports] == [1, 1]
        assert [ran(server) for server in (first, second)] == [{PLAIN["a"]}, {PLAIN["b"]}]
        second.reset()
        first.refresh()
        assert ran(first) == {PLAIN["a"]}


def test_a_reset_on_another_host_is_told_where_what_ran_since_is_not_known(
    project, plain, password
):
    with unshared("--mount", "--uts") as command:
        named = 'hostname {}; mount -t tmpfs tmpfs /dev/shm; exec "$@"'
        servers = []
        for name in ("one", "two"):
            project.within = [*command, "sh", "-c", named.format(name), "sh"]
            servers.append(plain("-w", "1", "--threads", "2"))
        one, two = servers
        one.get("/a")
        two.get("/b")
        for server in servers:
            server.refresh()

        assert one.reset().json()["complete"] is True
        two.get("/c")
        report = two.refresh()

        assert PLAIN["b"] not in ran(two)
        assert report["complete"] is False
        assert (
            "another host, or another container on this one, has reset"
            in report["workers"][0]["error"]
        )
        two.reset()
        two.get("/c")
        assert two.refresh()["complete"] is True
        assert ran(two) == {PLAIN["c"]}


def test_a_worker_that_is_stopped_is_exact_and_keeps_nobody_waiting(plain):
    server = plain("-w", "2")
    first, second = sorted(server.wait_for_workers(2))
    with server.only(first, {first, second}):
        server.get("/a")
    with server.only(second, {first, second}):  # the first is stopped all the while
        report = server.refresh()
        reset = server.reset().json()
        server.get("/b")
        again = server.refresh()

    assert report["complete"] is True
    assert reset["complete"] is True
    assert again["complete"] is True
    assert ran(server) == {PLAIN["b"]}


DEAF = """
from wsgi_coverage import start_early
start_early()
import os, sys
import work
work.one()
if os.fork():
    print("forked", flush=True)
    os.wait()
else:
    sys.stdin.read()
"""


def test_a_child_that_cannot_hear_of_a_reset_is_named(project, plain):
    server = plain("-w", "1")
    server.get("/a")
    project.write("work.py", "def one():\n    return 1\n")
    project.write("deaf.py", DEAF.replace("sys.stdin.read()", "import time; time.sleep(60)"))
    deaf = project.start("deaf.py")
    deaf.wait_for("forked")

    answer = server.reset().json()

    named = [each for each in answer["workers"] if not each["fresh"]]
    assert answer["complete"] is False
    assert ["no listening thread" in each["error"] for each in named] == [True]
    assert named[0]["pid"] != deaf.pid


def test_the_coverage_that_is_public_gives_what_has_been_executed(project):
    project.coveragerc("source = .", "omit = script.py")
    project.write("work.py", "def one():\n    return 1\ndef two():\n    return 2\n")
    project.write(
        "script.py",
        "from wsgi_coverage import start_early\n"
        "ours = start_early()\n"
        "import coverage, json, io\n"
        "import work\n"
        "work.one()\n"
        "theirs = coverage.Coverage(data_file=None)\n"
        "theirs.start()\n"
        "work.two()\n"
        "theirs.stop()\n"
        "def lines(cov):\n"
        "    data = cov.get_data()\n"
        "    return [sorted(data.lines(name)) for name in data.measured_files()]\n"
        "shown = io.StringIO()\n"
        "percent = ours.report(file=shown)\n"
        "ours.save()\n"
        "is_one = isinstance(ours, coverage.Coverage)\n"
        "print(json.dumps([lines(ours), lines(theirs), percent, is_one]))\n",
    )

    shown = json.loads(project.run("script.py"))

    assert shown == [[[1, 2, 3, 4]], [[4]], 100.0, True]
    assert project.saved("work.py") == {1, 2, 3, 4}


def test_daemons_that_close_every_descriptor_get_none_of_our_bytes(project):
    project.coveragerc("source = .", "omit = daemon.py")
    project.write("work.py", "def one():\n    return 1\ndef two():\n    return 2\n")
    project.write("late.py", "X = 1\n")
    project.write(
        "daemon.py",
        "from wsgi_coverage import start_early\n"
        "start_early()\n"
        "import os, sys\n"
        "import work\n"
        "os.closerange(3, 256)\n"
        "files = [open(f'file{number}', 'wb') for number in range(20)]\n"
        "work.two()\n"
        "import late\n"
        "[file.close() for file in files]\n"
        "print(sum(os.path.getsize(f'file{number}') for number in range(20)))\n",
    )

    assert project.run("daemon.py").strip() == "0"

    assert project.saved("work.py") == {1, 3, 4}
    assert project.saved("late.py") == {1}


def mapped_by(path: Path) -> int:
    """How many processes have mapped a file."""
    count = 0
    for maps in Path("/proc").glob("[0-9]*/maps"):
        with contextlib.suppress(OSError):
            count += str(path) in maps.read_text()
    return count


def test_a_memory_that_is_removed_is_made_anew_while_requests_come(project, password, until):
    project.coveragerc("source = .")
    project.write("app.py", APP)
    server = project.gunicorn("-w", "1", SERVED, env={**password, **NAMED, **LONG})
    for _ in range(3):  # after that, a request looks only where somebody says that it is to
        server.get("/a")
    until(lambda: mapped_by(project.private / "control") == 2, "a process waits to save")
    project.remove_private()

    def is_made_anew():
        server.get("/b")
        return (project.private / "control").exists()

    until(is_made_anew, "a request looks, because the process that waits has noticed")
    server.get("/c")

    assert server.refresh()["complete"]
    assert server.exported()["app.py"] >= set(PLAIN.values())


def test_a_memory_that_is_removed_at_the_end_loses_nothing(project, password):
    project.coveragerc("source = .")
    project.write("app.py", APP)
    server = project.gunicorn("-w", "1", SERVED, env={**password, **NAMED, **LONG})
    server.get("/a")
    project.remove_private()
    server.get("/b")

    assert server.end() == 0

    assert project.saved("app.py") >= {PLAIN["a"], PLAIN["b"]}
