"""`wsgi-coverage run`: every process of a program is measured, and the port has one owner."""

from __future__ import annotations

import os
import signal
import socket
from contextlib import closing
from pathlib import Path

import pytest
from coverage import CoverageData

JOBS = "\n".join(
    ["def work(number, ready, stop):", "    globals()[f'job{number}'](ready)", "    stop.wait(60)"]
    + [line for n in range(8) for line in (f"def job{n}(ready):", "    ready.release()")]
)
POOL = """
import multiprocessing, pathlib, sys
import jobs

if __name__ == "__main__":
    context = multiprocessing.get_context(sys.argv[1])
    ready, stop = context.Semaphore(0), context.Event()
    processes = [context.Process(target=jobs.work, args=(n, ready, stop)) for n in range(8)]
    for process in processes:
        process.start()
    for process in processes:
        ready.acquire()
    print("ready", flush=True)
    sys.stdin.read()
    stop.set()
    for process in processes:
        process.join()
    print("exit codes", [process.exitcode for process in processes])
"""


@pytest.mark.parametrize("option", ["", "concurrency = multiprocessing", "patch = subprocess"])
@pytest.mark.parametrize("method", ["spawn", "fork", "forkserver"])
def test_one_get_shows_the_lines_of_eight_processes_that_still_run(project, method, option):
    project.coveragerc("source = .", option)
    project.write("jobs.py", JOBS)
    project.write("pool.py", POOL.replace("sys.stdin.read()", "pathlib.Path('go').read_text()"))
    os.mkfifo(project.folder / "go")
    side = project.run_measured("pool.py", method)
    side.wait_for("ready")

    collected = side.collected()

    assert collected["jobs.py"] == set(range(1, len(JOBS.splitlines()) + 1))
    (project.folder / "go").write_text("")
    assert side.popen.wait(30) == 0
    assert "exit codes [0, 0, 0, 0, 0, 0, 0, 0]" in side.output
    assert project.saved("jobs.py") == collected["jobs.py"]


ENDED = """
import multiprocessing, sys
from concurrent.futures import ProcessPoolExecutor
import work

if __name__ == "__main__":
    context = multiprocessing.get_context(sys.argv[1])
    with context.Pool(2) as pool:
        assert pool.map(work.square, range(4)) == [0, 1, 4, 9]
    with ProcessPoolExecutor(2, mp_context=context) as pool:
        assert list(pool.map(work.cube, range(4))) == [0, 1, 8, 27]
    begun = context.Event()
    context.Process(target=work.wait, args=(begun,), daemon=True).start()
    begun.wait()
"""
WORK = """def square(x):
    return x * x
def cube(x):
    return x ** 3
def wait(begun):
    import time
    begun.set()
    time.sleep(60)
"""


@pytest.mark.parametrize("method", ["spawn", "fork", "forkserver"])
def test_no_line_is_lost_of_processes_that_their_pool_terminates(project, method):
    project.coveragerc("source = .")
    project.write("work.py", WORK)
    project.write("script.py", ENDED)

    side = project.run_measured("script.py", method)

    assert side.popen.wait(30) == 0, side.output
    assert project.saved("work.py") >= {1, 2, 3, 4, 5, 6, 7}
    assert project.saved("script.py") == set(range(2, 5)) | set(range(6, 15))


@pytest.mark.parametrize(
    "options", [(), ("relative_files = true",), ("relative_files = true", "branch = true")]
)
def test_python_processes_that_a_program_starts_elsewhere_are_measured(project, tmp_path, options):
    project.coveragerc("source = .", *options)
    project.write(
        "tool.py", "import sys\nif sys.argv[1] == 'one':\n    print(1)\nelse:\n    print(2)\n"
    )
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    tool = str(project.folder / "tool.py")
    project.write(
        "script.py",
        "import os, subprocess, sys\n"
        f"os.chdir({str(elsewhere)!r})\n"
        f"subprocess.run([sys.executable, {tool!r}, 'one'], check=True)\n"
        f"os.system(f'{{sys.executable}} {tool} two')\n",
    )

    side = project.run_measured("script.py")

    assert side.popen.wait(30) == 0
    assert project.saved("tool.py") == {1, 2, 3, 5}
    names = set()
    for path in project.data_files():
        with closing(CoverageData(basename=str(path))) as data:
            data.read()
            names |= data.measured_files()
    folder = "" if "relative_files = true" in options else f"{project.folder}/"
    assert names == {f"{folder}script.py", f"{folder}tool.py"}
    assert list(elsewhere.iterdir()) == []


def test_many_short_children_leave_a_handful_of_data_files_with_all_their_lines(project):
    project.coveragerc("source = .")
    lines = [f"if n == {number}:\n    ran = {number}" for number in range(12)]
    project.write("tool.py", "\n".join(["import sys", "n = int(sys.argv[1])", *lines, ""]))
    project.write(
        "script.py",
        "import subprocess, sys\nfor number in range(12):\n"
        "    subprocess.run([sys.executable, 'tool.py', str(number)], check=True)\n",
    )

    side = project.run_measured("script.py")

    assert side.popen.wait(60) == 0
    assert project.saved("tool.py") == set(range(1, 27))
    assert len(project.data_files()) < 10


def test_what_ran_before_an_exec_and_after_it_is_saved(project):
    project.coveragerc("source = .")
    project.write("after.py", "print('after')\n")
    project.write(
        "script.py", "import os, sys\nos.execv(sys.executable, [sys.executable, 'after.py'])\n"
    )

    side = project.run_measured("script.py")

    assert side.popen.wait(30) == 0
    assert project.saved("script.py") == {1, 2}
    assert project.saved("after.py") == {1}


def test_a_program_that_starts_itself_anew_in_its_own_place_has_its_port_again(project, held_port):
    again = "'-m', 'wsgi_coverage', 'run', '--port', os.environ['PORT'], 'script.py', 'again'"
    project.write(
        "script.py",
        "import os, sys, time\nif len(sys.argv) == 1:\n"
        f"    os.execv(sys.executable, [sys.executable, {again}])\n"
        "print('again', flush=True)\ntime.sleep(60)\n",
    )

    side = project.run_measured("script.py", port=held_port, env={"PORT": str(held_port)})

    side.wait_for("again")
    assert side.port == held_port
    assert side.get("/health").json()["status"] == "ok"


AGAIN = """
import os, sys
print("begins", os.getpid(), flush=True)
generation = int(os.environ.get("GENERATION", "0"))
if generation < 2:
    os.environ["GENERATION"] = str(generation + 1)
    {}
def last():
    return 1
last()
print("ready", flush=True)
open("go").close()
"""


@pytest.mark.parametrize("core", ["", "ctrace"])
@pytest.mark.parametrize(
    "replace",
    [
        "os.execv(sys.executable, [sys.executable, *sys.argv])",
        "os.execvpe(sys.executable, [sys.executable, *sys.argv], os.environ)",
        "os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])",
        "__import__('threading').Thread(\n"
        "        target=os.execl, args=[sys.executable, sys.executable, *sys.argv]\n"
        "    ).start(); open('go').close()",
    ],
    ids=["execv", "execvpe", "run again", "in a thread"],
)
def test_a_program_that_another_replaces_has_its_port_again(project, held_port, core, replace):
    project.coveragerc("source = .")
    project.write("script.py", AGAIN.format(replace))
    os.mkfifo(project.folder / "go")
    side = project.run_measured("script.py", port=held_port, env={"COVERAGE_CORE": core})
    side.wait_for("ready")

    assert side.output.count(f"begins {side.pid}\n") == 3
    assert side.output.count("http://") == 1
    assert side.get("/health").json()["status"] == "ok"
    health = side.get("/debug/coverage/health").json()
    assert [each for each in health["diagnoses"] if each["name"] == "imported-early"] == []
    assert side.collected()["script.py"] >= set(range(2, 8))
    (project.folder / "go").write_text("")
    assert side.popen.wait(60) == 0
    everything = set(range(2, len(AGAIN.format(replace).splitlines()) + 1))
    assert project.saved("script.py") >= everything - set(range(7, 10)) | {7}


def test_a_forked_child_that_another_program_replaces_leaves_the_port_to_its_parent(project):
    project.coveragerc("source = .")
    project.write(
        "script.py",
        "import os, sys\n"
        "if not os.fork():\n"
        "    os.execv(sys.executable, [sys.executable, 'child.py'])\n"
        "open('go').close()\n",
    )
    project.write("child.py", "print('replaced', flush=True)\nopen('go').close()\n")
    os.mkfifo(project.folder / "go")
    side = project.run_measured("script.py")
    side.wait_for("replaced")

    assert side.get("/health").json()["status"] == "ok"
    assert {worker["pid"] for worker in side.get("/coverage").json()["workers"]} > {side.pid}
    assert "is not served any more" not in side.output


@pytest.mark.parametrize("arguments", ["sys.argv", "sys.orig_argv[1:]"])
def test_a_port_that_a_password_kept_is_not_served_again_without(project, password, arguments):
    project.write(
        "script.py",
        "import os, sys\n"
        "if os.environ.pop('WSGI_COVERAGE_PASSWORD', None):\n"
        f"    os.execv(sys.executable, [sys.executable, *{arguments}])\n"
        "print('again', flush=True)\nopen('go').close()\n",
    )
    os.mkfifo(project.folder / "go")
    side = project.run_measured("script.py", env=password)
    side.wait_for("again")

    with pytest.raises(ConnectionRefusedError):
        side.get("/health")
    assert f"port {side.port} on 127.0.0.1 is not served any more" in side.output


def test_an_auth_callback_keeps_the_port_of_a_program_that_another_replaces(project):
    project.write("gate.py", "def gate(environ):\n    return environ.get('HTTP_X_KEY') == 'mine'\n")
    project.write(
        "script.py",
        "import os, sys\n"
        "if os.environ.get('AGAIN') is None:\n"
        "    os.environ['AGAIN'] = '1'\n"
        "    os.chdir('/')\n"
        "    os.execv(sys.executable, [sys.executable, os.path.abspath(__file__)])\n"
        "print('again', flush=True)\nimport time\ntime.sleep(60)\n",
    )
    side = project.run_measured("script.py", env={"WSGI_COVERAGE_AUTH": "gate:gate"})
    side.wait_for("again")

    assert side.get("/health").status == 401
    assert side.get("/health", headers={"X-Key": "mine"}).status == 200


FORKING = """
import os, sys
for number in range(25):
    pid = os.fork()
    if not pid:
        sys.exit(0)
    os.waitpid(pid, 0)
    print(number, flush=True)
print("threads", len(os.listdir("/proc/self/task")), flush=True)
sys.exit(3)
"""


@pytest.mark.parametrize("branch", [False, True])
def test_a_program_may_fork_while_the_side_port_answers(project, branch):
    project.coveragerc(f"source = .\nbranch = {branch}")
    project.write("script.py", FORKING)
    # Python 3.12 and later warn where a process with threads forks.
    side = project.run_measured("script.py", env={"PYTHONWARNINGS": "always::DeprecationWarning"})

    while side.popen.poll() is None:
        try:
            assert side.get("/health").status == 200
        except OSError:
            side.popen.wait(30)

    assert side.popen.returncode == 3, side.output
    assert "Warning" not in side.output


def test_what_a_program_ran_before_it_crashed_was_saved_by_autosave(project, until):
    project.coveragerc("source = .")
    project.write(
        "script.py",
        "import ctypes, pathlib\nprint('ready', flush=True)\n"
        "pathlib.Path('go').read_text()\nctypes.string_at(0)\n",
    )
    os.mkfifo(project.folder / "go")
    side = project.run_measured("script.py", env={"WSGI_COVERAGE_AUTOSAVE_INTERVAL": "0.1"})
    side.wait_for("ready")
    until(lambda: project.saved("script.py") >= {1, 2}, "it is saved")

    (project.folder / "go").write_text("")

    assert side.popen.wait(30) == -signal.SIGSEGV
    assert project.saved("script.py") >= {1, 2}


def test_children_let_go_of_the_port_when_they_are_forked(project, until):
    project.write(
        "script.py",
        "import os, time\nif os.fork():\n    time.sleep(60)\n"
        "print('child', flush=True)\ntime.sleep(60)\n",
    )
    side = project.run_measured("script.py")
    side.wait_for("child")

    side.popen.kill()
    side.popen.wait(30)

    def is_refused() -> bool:
        try:
            socket.create_connection(("127.0.0.1", side.port), timeout=10).close()
        except ConnectionRefusedError:
            return True
        return False

    until(is_refused, "nobody holds the port")


def test_the_reloader_of_a_server_does_not_open_the_port_twice(project):
    pytest.importorskip("flask")
    project.coveragerc("source = .")
    project.write(
        "app.py",
        "from flask import Flask\napp = Flask(__name__)\n\n"
        "@app.get('/')\ndef index():\n    return 'first'\n\n"
        "if __name__ == '__main__':\n    app.run(port=0, debug=True)\n",
    )
    side = project.run_measured("app.py")
    side.wait_for("Debugger is active")

    assert side.get("/health").status == 200
    assert len(side.get("/debug/coverage/health").json()["workers"]) >= 2
    assert side.output.count("wsgi-coverage: http://") == 1
    assert "cannot be used" not in side.output
    assert Path(f"/proc/{side.pid}").exists()
