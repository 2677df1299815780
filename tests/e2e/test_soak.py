"""A minute of what tests/soak/soak.py does for half an hour: see there for what it checks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SOAK = Path(__file__).parents[1] / "soak" / "soak.py"
TIMEOUT = 900.0  # seconds on a busy machine: a minute of work, the server's start and its end

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="needs /proc and /dev/shm"),
    pytest.mark.skipif(sys.version_info < (3, 12), reason="labels need sys.monitoring"),
]


@pytest.mark.timeout(TIMEOUT)
def test_a_server_under_all_kinds_of_work_stays_small_and_reports_exactly_what_ran(
    tmp_path: Path,
) -> None:
    env = {"PATH": os.environ["PATH"], "TMPDIR": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}

    done = subprocess.run(
        [sys.executable, str(SOAK), "--minutes", "1"],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
    )

    assert done.returncode == 0, done.stderr
