"""A flush that finds no room loses nothing, whatever it has flushed before."""

import sys
from collections.abc import Callable
from typing import Any

import pytest

Measure = Callable[..., dict[str, Any]]

MODES = [("ctrace", False), ("ctrace", True)]
MODES += [("sysmon", False)] if sys.version_info >= (3, 12) else []
MODES += [("sysmon", True)] if sys.version_info >= (3, 14) else []
EXECUTED = [1, 2, 5, 6, 9]  # the lines of app.py that run
MODULES = 300
LINES = 20
# A limit to the size of files stands in for the full disk.
SCRIPT = """
import importlib, resource

worker = forks.start()
import app
for number in range(MODULES):
    Path(f"module_{number}.py").write_text("x = 1\\n" * LINES)
if ROOM is not None:
    app.first()
    worker.flush()
    grows = "untold-0.log" if worker.engine.measuring.branch else "index"
    room = Path(worker.private, grows).stat().st_size + ROOM
else:
    room = 0
soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
app.first()
for number in range(MODULES):
    importlib.import_module(f"module_{number}")
refused = 0
for _ in range(3):
    try:
        worker.flush()
    except Exception:
        refused += 1
resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
app.second()
worker.flush()
lines = published()
tell(refused=refused, app=lines["app.py"],
     whole=sum(len(lines.get(f"module_{n}.py", ())) == LINES for n in range(MODULES)))
"""


# Bytes that the index, or the log, may grow by; None: nothing was flushed before.
@pytest.mark.parametrize("room", [None, 0, 4096, 16_384])
@pytest.mark.parametrize(("core", "branch"), MODES)
def test_what_ran_before_and_after_a_disk_was_full_is_all_there(
    measure: Measure, core: str, branch: bool, room: int | None
) -> None:
    head = f"MODULES, LINES, ROOM = {MODULES}, {LINES}, {room}\n"

    told = measure(head + SCRIPT, core=core, branch=branch, env={"PYTHONDONTWRITEBYTECODE": "1"})

    assert told["refused"] == 3
    assert told["app"] == EXECUTED
    assert told["whole"] == MODULES
