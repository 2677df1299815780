"""What the scripts of child processes have in common, and how they are run."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import removal

TELL = """
import json

def tell(**facts):
    print(json.dumps(facts), flush=True)
"""

FORK = """
import os, signal, sys

def fork(work, *args):
    "Fork a child that does this and ends by os._exit; one that hangs is killed. Its process id."
    # Its status is 0, or as sys.exit() in it says.
    pid = os.fork()
    if pid:
        return pid
    status = 99
    try:
        signal.alarm(30)
        work(*args)
        status = 0
    except SystemExit as end:
        status = end.code
    except BaseException:
        import traceback
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)

def ended(pid):
    "The exit code of a child."
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
"""

LINE = """
import os

class Line:
    "A child says that it has come to a point, and waits to be told to go on."

    def __init__(self):
        self.told, self.tell = os.pipe()
        self.word, self.give = os.pipe()

    def come(self):
        os.write(self.tell, b".")
        os.read(self.word, 1)

    def wait(self):
        assert os.read(self.told, 1)

    def go_on(self):
        os.write(self.give, b".")
"""

# Below the prelude of a script of tests/unit/collect.
STARTED = """
start_early()
import app
worker = forks.current()
engine = worker.engine
"""

# `site` is what a server calls; a request's path names the function that it runs.
WRAPPED = (
    STARTED
    + """
from wsgi_coverage import CoverageMiddleware

def application(environ, start_response):
    start_response("200 OK", [])
    getattr(app, environ["PATH_INFO"][1:])()
    return []

def request(path):
    list(site({"PATH_INFO": path, "REQUEST_METHOD": "GET"}, lambda *a: None))

def wrap():
    global site
    site = CoverageMiddleware(application, debug=True)
"""
)

REMOVE = inspect.getsource(removal)

INTERRUPTED = """
import sys, warnings
warnings.simplefilter("ignore", ResourceWarning)  # a file that is opened just then

class Interrupted(Exception):
    pass

def interrupted_at(filename, line, work):
    "Raise when this many lines of a module have run; tell whether that was so."
    left = line

    def trace(frame, event, argument):
        nonlocal left
        if frame.f_code.co_filename != filename:
            return None
        if event == "line":
            left -= 1
            if left == 0:
                raise Interrupted
        return trace

    sys.settrace(trace)
    try:
        work()
    except Interrupted:
        return True
    finally:
        sys.settrace(None)
    return False
"""


def told_by(script: Path, *, before: tuple[str, ...] = ()) -> dict[str, Any]:
    """Run a script in a child process, in its folder; return what it told.

    Args:
        script: its file.
        before: a command that runs another one.
    """
    return told_in(run(script, before=before))


def run(
    script: Path,
    *,
    before: tuple[str, ...] = (),
    command: tuple[str, ...] = (),
    env: Mapping[str, str] | None = None,
    timeout: float = 60,
    check: bool = True,
) -> subprocess.CompletedProcess[str]:
    """Run a script in a child process, in its folder.

    Args:
        script: its file.
        before: a command that runs another one.
        command: arguments of Python before the script.
        env: the environment; None: this process's.
        timeout: seconds.
        check: whether it has to end well, without a traceback.
    """
    ran = subprocess.run(
        [*before, sys.executable, "-W", "error", *command, script.name],
        cwd=script.parent,
        env=env,
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    if check:
        assert ran.returncode == 0, ran.stderr + ran.stdout
        # What is raised where an object goes, such as a warning of an open file, is only printed.
        assert "Traceback" not in ran.stderr, ran.stderr
        assert "ResourceWarning" not in ran.stderr, ran.stderr
    return ran


def told_in(ran: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """What a script has told."""
    told: dict[str, Any] = {}
    for line in ran.stdout.splitlines():
        told.update(json.loads(line))
    return told
