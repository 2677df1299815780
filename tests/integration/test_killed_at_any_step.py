"""A process that is killed at any step leaves nothing half-done, and loses nothing that has run.

Each case is a step of an operation that changes the file system, or a system call that changes a
file (crash_points.py). CI kills at every n-th of them; `nox -s fuzz` at all.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SUPPORT = Path(__file__).parent / "support"
TIMEOUT = 1700.0  # seconds, for all steps on a busy machine

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="needs /proc and /dev/shm"),
    pytest.mark.skipif(sys.version_info < (3, 12), reason="the second engine flushes by a thread"),
]


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library that counts system calls."""
    if (compiler := shutil.which("cc")) is None:
        pytest.skip("needs a C compiler")
    library = tmp_path_factory.mktemp("library") / "crash_calls.so"
    options = ["-shared", "-fPIC", "-o", str(library), str(SUPPORT / "crash_calls.c")]
    subprocess.run([compiler, *options, "-ldl", "-pthread"], check=True)
    return library


def kill(folder: Path, operation: str, every: int, *more: str, **variables: str) -> Any:
    """Kill at every n-th step; return the steps, and what was wrong."""
    every = int(os.environ.get("CRASH_POINTS_EVERY", every))
    env = {"PATH": os.environ["PATH"], "TMPDIR": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, str(SUPPORT / "crash_points.py"), operation, str(every), *more],
        cwd=folder,
        env={**env, **variables},
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize(
    ("operation", "every"),
    [
        ("place", 12),
        ("adopt", 7),
        ("publish", 11),
        ("end", 20),
        ("end after all", 18),
        ("fold", 15),
        ("refresh", 23),
        ("snapshot", 21),
        ("delete", 28),
        ("collect", 37),
        ("reset", 14),
        ("command", 17),
        ("command with reset", 37),
    ],
)
def test_a_kill_at_any_step_leaves_nothing_half_done_and_loses_nothing(
    tmp_path: Path, operation: str, every: int
) -> None:
    told = kill(tmp_path, operation, every)

    assert len(told["steps"]) > 10
    assert told["wrong"] == {}


@pytest.mark.parametrize(
    ("operation", "every"),
    [
        ("publish", 20),
        ("refresh", 24),
        ("collect", 29),
    ],
)
def test_a_kill_in_any_write_leaves_nothing_half_done_and_loses_nothing(
    tmp_path: Path, library: Path, operation: str, every: int
) -> None:
    told = kill(tmp_path, operation, every, str(library), LD_PRELOAD=str(library))

    assert len(told["steps"]) > 10
    assert told["wrong"] == {}
    assert not [each for each in told["steps"] if "sync" in each], "it waits for the disk"
