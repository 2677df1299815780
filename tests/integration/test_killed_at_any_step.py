"""A process that is killed at any step leaves nothing half-done, and loses nothing that has run.

Each case is a step of an operation that changes the file system (crash_points.py). Of some
operations CI kills at every n-th step; `nox -s fuzz` at all of them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent / "support" / "crash_points.py"
TIMEOUT = 1700.0  # seconds, for all steps on a busy machine

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="needs /proc and /dev/shm"),
    pytest.mark.skipif(sys.version_info < (3, 12), reason="the second engine flushes by a thread"),
]


@pytest.mark.parametrize(
    ("operation", "every"),
    [
        ("place", 3),
        ("adopt", 3),
        ("publish", 3),
        ("end", 6),
        ("end after all", 6),
        ("fold", 5),
        ("refresh", 8),
        ("snapshot", 10),
        ("reset", 4),
    ],
)
def test_a_kill_at_any_step_leaves_nothing_half_done_and_loses_nothing(
    tmp_path: Path, operation: str, every: int
) -> None:
    every = int(os.environ.get("CRASH_POINTS_EVERY", every))
    env = {"PATH": os.environ["PATH"], "TMPDIR": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, str(SCRIPT), operation, str(every)],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])

    assert len(told["steps"]) > 10
    assert told["wrong"] == {}
