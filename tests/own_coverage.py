"""How much of the project its own tests run, in every process that they start.

A Coverage beside the one under test would be adopted by it, or pause it. So this is a tool of
its own on sys.monitoring (Python 3.12 and later), which leaves coverage.py alone: a .pth file
imports it in every process of the environment, and each process writes what it saw when it ends.

    OWN_COVERAGE=folder OWN_COVERAGE_SOURCE=package,package pytest
    python tests/own_coverage.py folder     makes a .coverage of it
"""

import atexit
import importlib.util
import json
import os
import sys
from pathlib import Path
from types import CodeType

FOLDER, SOURCE = "OWN_COVERAGE", "OWN_COVERAGE_SOURCE"
seen: dict[str, set[int]] = {}


def start() -> None:
    """Note every line of the packages under test that runs in this process or its forks."""
    monitoring = sys.monitoring
    tool = next(number for number in (4, 3, 2) if monitoring.get_tool(number) is None)
    prefixes = tuple(
        str(Path(spec.origin).parent) + os.sep
        for name in os.environ[SOURCE].split(",")
        if (spec := importlib.util.find_spec(name)) and spec.origin
    )

    def on_start(code: CodeType, offset: int) -> object:
        if code.co_filename.startswith(prefixes):
            monitoring.set_local_events(tool, code, monitoring.events.LINE)
        return monitoring.DISABLE

    def on_line(code: CodeType, line: int) -> object:
        seen.setdefault(code.co_filename, set()).add(line)
        return monitoring.DISABLE

    monitoring.use_tool_id(tool, "own coverage")
    monitoring.register_callback(tool, monitoring.events.PY_START, on_start)
    monitoring.register_callback(tool, monitoring.events.LINE, on_line)
    monitoring.set_events(tool, monitoring.events.PY_START)
    atexit.register(write)


def write() -> None:
    """Leave what was seen in a file of this process's own."""
    if seen:
        path = Path(os.environ[FOLDER]) / f"{os.getpid()}-{os.urandom(4).hex()}.json"
        path.write_text(json.dumps({name: sorted(lines) for name, lines in seen.items()}))


def combine(folder: Path) -> None:
    """Make a coverage.py data file of all that was left."""
    import coverage

    data = coverage.CoverageData(".coverage")
    data.erase()
    for path in folder.glob("*.json"):
        data.add_lines(json.loads(path.read_text()))
    for package in {Path(name).parent for name in data.measured_files()}:
        data.touch_files([str(path) for path in package.glob("*.py")])


if __name__ == "__main__":
    combine(Path(sys.argv[1]))
elif FOLDER in os.environ and hasattr(sys, "monitoring"):
    start()
