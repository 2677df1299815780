"""A place for processes that fork, fill a disk or close descriptors, which this one never does."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

PRELUDE = """
import errno, json, os, signal, sys
from pathlib import Path
from wsgi_coverage.data.phases import Phase
from wsgi_coverage.store.mapped import map_file
from wsgi_coverage.store.memory import CHUNK, HEADER, Memory
from wsgi_coverage.store.processes import Table

def tell(**facts):
    print(json.dumps(facts), flush=True)

def fork(work, *args):
    "Fork a child that does this and ends; one that hangs is killed. Its process id."
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        signal.alarm(30)
        work(*args)
        status = 0
    except BaseException:
        import traceback
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)

def ended(pids):
    "The exit codes of children."
    return [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]

class Gate:
    "Children come to it and wait until it opens."

    def __init__(self):
        self.came, self.come = os.pipe()
        self.way, self.key = os.pipe()

    def wait(self):
        os.close(self.key)
        os.write(self.come, b".")
        os.read(self.way, 1)

    def wait_for(self, number):
        while number:
            number -= len(os.read(self.came, number))

    def open(self):
        os.close(self.key)
"""

Child = Callable[..., dict[str, Any]]


@pytest.fixture
def child(tmp_path: Path) -> Child:
    """Run a script in a child process, in a folder of its own; return what it told."""

    def run(script: str, *, command: tuple[str, ...] = ()) -> dict[str, Any]:
        path = tmp_path / "script.py"
        path.write_text(PRELUDE + textwrap.dedent(script))
        ran = subprocess.run(
            [*command, sys.executable, "-W", "error", str(path)],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert ran.returncode == 0, ran.stderr + ran.stdout
        assert "Traceback" not in ran.stderr, ran.stderr
        told: dict[str, Any] = {}
        for line in ran.stdout.splitlines():
            told.update(json.loads(line))
        return told

    return run


@pytest.fixture
def on_small_disk(child: Child, tmp_path: Path) -> Child:
    """The same, in a folder `disk` of this many kilobytes that goes with the process."""
    disk = tmp_path / "disk"
    disk.mkdir()

    def run(script: str, *, kilobytes: int) -> dict[str, Any]:
        mount = f'mount -t tmpfs -o size={kilobytes}k tmpfs "{disk}" && exec "$@"'
        command = ("unshare", "--mount", "sh", "-c", mount, "sh")
        if (
            shutil.which("unshare") is None
            or subprocess.run([*command, "true"], capture_output=True, timeout=30).returncode
        ):
            pytest.skip("this user cannot mount a file system")
        return child(script, command=command)

    return run
