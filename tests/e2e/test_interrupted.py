"""Ctrl-C while our own code runs shows no traceback and leaves nothing; a program's is its own."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest

# Presses Ctrl-C as often as is said, when the process does for the first time what is said: begin
# to import a module, or bind a Unix socket, which it does once its memory has been made.
PRESSING = """
import os, signal, sys

event, name, times = os.environ["PRESS"].split()
pressed = []

def press(what, arguments):
    if pressed or what != event:
        return
    if event == "import" and arguments[0] != name:
        return
    if event == "socket.bind" and not isinstance(arguments[1], str):
        return
    pressed.append(what)
    for _ in range(int(times)):
        os.kill(os.getpid(), signal.SIGINT)

sys.addaudithook(press)
"""
BOUND = "socket.bind any"
RUN = ("run", "--port", "0", "script.py")
ENDED = {130, -signal.SIGINT}


@pytest.fixture
def pressed(project, tmp_path):
    """Run a command in which Ctrl-C is pressed at a moment; what is left is looked for."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    project.write("sitecustomize.py", PRESSING)
    project.write("script.py", "print('ran')\n")

    def pressed(*command, moment, times):
        env = {"PRESS": f"{moment} {times}", "TMPDIR": str(folder)}
        process = project.start("-m", "wsgi_coverage", *command, env=env)
        process.popen.wait(60)
        assert list(folder.iterdir()) == []
        return process

    return pressed


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize(
    "moment", ["import coverage", "import wsgi_coverage.cli", "import argparse", BOUND]
)
def test_ctrl_c_before_a_program_runs_ends_run_without_a_word(project, pressed, moment, times):
    program = pressed(*RUN, moment=moment, times=times)

    assert program.popen.returncode == -signal.SIGINT
    assert "ran" not in program.output
    assert "Traceback" not in program.output
    assert "KeyboardInterrupt" not in program.output
    assert not project.private.exists() or project.left_over() == []


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("moment", ["import coverage", "import wsgi_coverage.client.errors"])
@pytest.mark.parametrize(
    "command",
    [
        ("demo", "--port", "0"),
        ("test", "--server", "sleep 60", "--url", "http://127.0.0.1:9/", "--", "true"),
        ("collect", "http://127.0.0.1:9/debug/coverage"),
        ("report", "http://127.0.0.1:9/debug/coverage"),
    ],
    ids=lambda command: command[0],
)
def test_ctrl_c_while_a_command_starts_ends_it_without_a_word(pressed, command, moment, times):
    process = pressed(*command, moment=moment, times=times)

    assert process.popen.returncode in ENDED
    assert process.output == ""


CLEANING = """
import os, signal, sys, tempfile, time
from wsgi_coverage import command
from wsgi_coverage.demo import run as demo

def run(*_):
    with tempfile.TemporaryDirectory():
        try:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(60)
        finally:
            os.kill(os.getpid(), signal.SIGINT)

demo.run = run
sys.argv[1:] = ["demo"]
sys.exit(command.main())
"""


def test_a_second_ctrl_c_lets_a_command_clean_up(project, tmp_path):
    folder = tmp_path / "temporary"
    folder.mkdir()
    project.write("script.py", CLEANING)

    process = project.start("script.py", env={"TMPDIR": str(folder)})

    assert process.popen.wait(60) == 130
    assert process.output == ""
    assert list(folder.iterdir()) == []


def test_ctrl_c_while_a_python_below_run_starts_shows_nothing_of_ours(project):
    project.write(
        "script.py",
        "import os, subprocess, sys\n"
        "done = subprocess.run([sys.executable, '-S', 'child.py'], text=True,\n"
        "    capture_output=True, env={**os.environ, 'PRESS': 'socket.bind any 2'})\n"
        "print(done.returncode, repr(done.stdout), repr(done.stderr), flush=True)\n",
    )
    # Else nothing of the child runs before it is measured.
    project.write("child.py", PRESSING + "\nimport site\nsite.main()\nprint('ran')\n")

    program = project.run_measured("script.py")

    assert program.popen.wait(60) == 0
    assert program.output.splitlines()[-1] == f"{-signal.SIGINT} '' ''"


ENDING = """
import atexit, os, signal

def press():
    os.kill(os.getpid(), signal.SIGINT)

print("ran", flush=True)
import wsgi_coverage.collect.worker as worker
leave = worker.Worker._leave
def pressing(self):
    press()
    leave(self)
worker.Worker._leave = pressing
"""


def test_ctrl_c_while_the_end_is_written_leaves_all_its_lines(project):
    project.coveragerc("source = .")
    project.write("script.py", ENDING)

    program = project.run_measured("script.py")

    assert program.popen.wait(60) == 0
    assert program.output.endswith("ran\n")
    assert {2, 7, 8} <= project.saved("script.py")


def test_a_program_s_own_ctrl_c_shows_its_own_frames_alone(project):
    project.coveragerc("source = .")
    project.write(
        "script.py",
        "import os, signal\n"
        "def stop():\n    os.kill(os.getpid(), signal.SIGINT)\n    for _ in range(10**9):\n"
        "        pass\n"
        "stop()\n",
    )

    plain = project.start("script.py")
    plain.popen.wait(60)
    ours = project.run_measured("script.py")
    ours.popen.wait(60)

    assert ours.popen.returncode == plain.popen.returncode == -signal.SIGINT
    shown = ours.output.partition("\n")[2]
    assert shown.startswith("Traceback")
    assert shown.count('  File "') == plain.output.count('  File "') == 2
    assert str(Path(sys.prefix) / "lib") not in shown
