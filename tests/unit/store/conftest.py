"""A place for processes that fork, fill a disk or close descriptors, which this one never does."""

from __future__ import annotations

import shutil
import subprocess
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from scripts import FORK, TELL, told_by

from wsgi_coverage.store.memory import Memory

PRELUDE = (
    TELL
    + FORK
    + """
import errno
from pathlib import Path
from wsgi_coverage.data.phases import Phase
from wsgi_coverage.store.mapped import map_file
from wsgi_coverage.store.memory import CHUNK, HEADER, Memory
from wsgi_coverage.store.processes import Table

def all_ended(pids):
    "The exit codes of children."
    return [ended(pid) for pid in pids]

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
)

Child = Callable[..., dict[str, Any]]


@pytest.fixture
def memory_folder(tmp_path: Path) -> Path:
    made = tmp_path / "memory"
    made.mkdir()
    return made


@pytest.fixture
def memory(memory_folder: Path) -> Memory:
    return Memory(memory_folder)


@pytest.fixture
def child(tmp_path: Path) -> Child:
    """Run a script in a child process, in a folder of its own; return what it told."""

    def run(script: str, *, command: tuple[str, ...] = ()) -> dict[str, Any]:
        path = tmp_path / "script.py"
        path.write_text(PRELUDE + textwrap.dedent(script))
        return told_by(path, before=command)

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
