"""`wsgi-coverage run`: a program runs as Python runs it, measured, with all that it starts."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from contextlib import closing
from pathlib import Path

import pytest
from coverage import CoverageData

SCRIPT = """
import sys
print(sys.argv[1:], __name__, __spec__ and __spec__.name, __package__, sys.path[0])
print(sys.modules["__main__"].__file__ == __file__, __file__)

def ends(how):
    if how == "exit":
        sys.exit(7)
    if how == "text":
        sys.exit("the end")
    if how == "error":
        raise BrokenPipeError("mine")
    if how == "interrupt":
        raise KeyboardInterrupt
    if how == "closed":
        sys.stdout.close()
    if how == "killed":
        import os, signal
        os.kill(os.getpid(), signal.SIGKILL)

ends(sys.argv[1])
"""


@pytest.fixture
def run(project):
    """Run a command to its end in the project's folder."""

    def run(*command, env=None):
        return project.command([sys.executable, *command], cwd=project.folder, env=env, timeout=30)

    return run


@pytest.fixture
def measured(run):
    """Run a program by `wsgi-coverage run` to its end."""

    def measured(*command, env=None):
        return run("-m", "wsgi_coverage", "run", "--port", "0", *command, env=env)

    return measured


@pytest.mark.parametrize("how", ["well", "exit", "text", "error", "interrupt", "closed", "killed"])
@pytest.mark.parametrize(
    "program",
    [
        ("script.py",),
        ("-m", "script"),
        ("-m", "package"),
        ("package",),
        ("./package/../script.py",),
    ],
    ids=lambda program: " ".join(program),
)
def test_a_program_runs_and_ends_as_python_has_it(project, run, measured, program, how):
    project.write("script.py", SCRIPT)
    (project.folder / "package").mkdir()
    project.write("package/__init__.py", "")
    project.write("package/__main__.py", SCRIPT)

    plain = run(*program, how, "--port", "1")
    ours = measured(*program, how, "--port", "1")

    assert ours.returncode == plain.returncode
    assert ours.stdout == plain.stdout
    first, _, rest = ours.stderr.partition("\n")
    assert first.startswith("wsgi-coverage: http://127.0.0.1:")
    if program[0].endswith(".py"):
        assert rest == plain.stderr
    else:  # Python's own runpy stands in its tracebacks
        assert rest.splitlines()[-1:] == plain.stderr.splitlines()[-1:]
        assert "wsgi_coverage" not in rest


def test_a_traceback_shows_the_program_alone(project, measured):
    project.write("script.py", SCRIPT)

    shown = measured("script.py", "error").stderr

    assert "Traceback" in shown
    assert shown.count("  File ") == 2
    assert shown.count(f'  File "{project.folder}/script.py"') == 2


def test_a_program_is_measured_from_its_first_line_to_its_last(project, measured):
    project.coveragerc("source = .")
    project.write(
        "script.py",
        "first = 1\nif not first:\n    never = 1\nimport atexit\n"
        "def last():\n    print('last')\natexit.register(last)\n",
    )

    assert measured("script.py").stdout == "last\n"

    assert project.saved("script.py") == {1, 2, 4, 5, 6, 7}


def test_a_script_that_is_not_there_is_named_and_no_port_opened(project, measured):
    done = measured("none.py")

    assert done.returncode == 1
    assert done.stderr == (
        f"wsgi-coverage: can't open file '{project.folder}/none.py': No such file or directory\n"
    )


def test_without_a_program_the_usage_is_shown(run):
    done = run("-m", "wsgi_coverage", "run")

    assert done.returncode == 2
    assert done.stderr.startswith("usage: wsgi-coverage run")


def test_a_port_that_is_taken_is_said_before_the_program_runs(project, run):
    project.write("script.py", "print('ran')")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])

        done = run("-m", "wsgi_coverage", "run", "script.py", env={"COVERAGE_PORT": port})

    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith(f"wsgi-coverage: port {port} on 127.0.0.1 cannot be used: ")


def test_a_port_of_the_environment_that_is_none_is_refused(project, run):
    done = run("-m", "wsgi_coverage", "run", "script.py", env={"COVERAGE_PORT": "65536"})

    assert done.returncode == 1
    assert done.stderr == (
        "wsgi-coverage: COVERAGE_PORT must be a number from 0 to 65535, got '65536'\n"
    )


def test_data_files_are_where_py_coverage_http_was_told_to_write_them(project, measured):
    project.write("child.py", "print('child')")
    project.write(
        "script.py",
        "import pathlib, subprocess, sys\n"
        "child = pathlib.Path(__file__).with_name('child.py')\n"
        "subprocess.run([sys.executable, child], cwd='/', check=True)\n",
    )
    project.coveragerc(f"source = {project.folder}")
    own = project.folder / "own"
    own.mkdir()

    done = measured("script.py", env={"COVERAGE_DATA_DIR": "own"})
    both = measured("child.py", env={"COVERAGE_DATA_DIR": "own", "COVERAGE_FILE": "named"})

    assert (done.returncode, both.returncode) == (0, 0)
    combined = CoverageData(str(project.folder / "all"))
    for path in own.glob(".coverage.*"):
        with closing(CoverageData(str(path))) as data:
            data.read()
            combined.update(data)
    assert {Path(name).name for name in combined.measured_files()} == {"script.py", "child.py"}
    assert [*project.folder.glob(".coverage.*")] == []
    assert [*project.folder.glob("named.*")] != []


def test_measuring_that_is_disabled_leaves_the_program_alone(project, measured):
    project.write("script.py", "import threading\nprint(threading.active_count())")

    done = measured("script.py", env={"WSGI_COVERAGE_DISABLED": "1"})

    assert (done.returncode, done.stdout, done.stderr) == (0, "1\n", "")
    assert project.data_files() == set()


WAITING = """
import time
print("ready", flush=True)
for _ in range(600):
    time.sleep(0.1)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_program_as_it_would_without_and_its_lines_are_saved(project, number):
    project.coveragerc("source = .")
    project.write("script.py", WAITING)
    program = project.run_measured("script.py")
    program.wait_for("ready")

    assert program.end(number) == -number

    assert project.saved("script.py") == {2, 3, 4, 5}
    assert not project.private.exists() or project.left_over() == []
    assert ("KeyboardInterrupt" in program.output) == (number == signal.SIGINT)


@pytest.mark.parametrize("branch", [False, True], ids=["lines", "branches"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGKILL])
def test_files_that_never_ran_are_saved_however_the_program_ends(project, number, branch, until):
    project.coveragerc("source = .", f"branch = {branch}")
    project.write("script.py", "import os\nos.chdir('/')\n" + WAITING)
    project.write("idle.py", "x = 1\n")
    program = project.run_measured("script.py", env={"WSGI_COVERAGE_AUTOSAVE_INTERVAL": "0.5"})
    program.wait_for("ready")
    if branch or sys.version_info < (3, 12):  # what it holds back is lost, but for SIGTERM
        until(lambda: {1, 2} <= project.saved("script.py"), "lines are in a data file")

    assert program.end(number) == -number

    assert {1, 2} <= project.saved("script.py")
    project.run("-m", "coverage", "combine", "--quiet")
    project.run("-m", "coverage", "json", "--quiet", "-o", "out.json")
    files = json.loads((project.folder / "out.json").read_text())["files"]
    assert files.keys() == {"idle.py", "script.py"}
    assert files["idle.py"]["executed_lines"] == []


def test_a_signal_that_a_program_has_blocked_waits_for_it(project):
    project.write(
        "script.py",
        "import pathlib, signal\nsignal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})\n"
        "print('ready', flush=True)\npathlib.Path('go').read_text()\n"
        "print('it was', signal.sigwait({signal.SIGTERM}).name)\n",
    )
    os.mkfifo(project.folder / "go")
    side = project.run_measured("script.py")
    side.wait_for("ready")

    side.send(signal.SIGTERM)
    (project.folder / "go").write_text("")

    assert side.popen.wait(30) == 0
    assert side.output.endswith("it was SIGTERM\n")
