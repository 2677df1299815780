"""A place to measure in: the process under test is never this one, which may be measured itself."""

import os
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import scripts

CORES = ["ctrace"] + (["sysmon"] if sys.version_info >= (3, 12) else [])
MODES = [
    (core, branch)
    for core in CORES
    for branch in (False, True)
    if core == "ctrace" or not branch or sys.version_info >= (3, 14)
]

PRELUDE = (
    scripts.TELL
    + """
import os, sys, threading, time
from pathlib import Path
import coverage
from wsgi_coverage.collect import forks
from wsgi_coverage.collect.early import start_early
from wsgi_coverage.data.reading import by_context, ends_of
from wsgi_coverage.store.private import private_folder

def measured():
    "(file name, context, lines) of all that counts: in the memory, and in data files."
    worker = forks.current()
    for reading in worker.memories.readings() if worker else ():
        static = worker.engine.config.context
        for claim, lines in reading.executed():
            for context, bits in by_context(lines, static).items():
                lines = {n for n in range(bits.bit_length()) if bits >> n & 1}
                yield Path(claim.name).name, context, lines
        for context, record in reading.in_contexts(static):
            numbers = record.numbers
            if record.has_arcs:
                numbers = [end for arc in numbers for end in ends_of(arc) if end > 0]
            yield Path(record.name).name, context, set(numbers)
    for path in sorted([*Path.cwd().glob(".coverage.*"), *Path.cwd().glob("theirs.*")]):
        data = coverage.CoverageData(str(path))
        data.read()
        for name in data.measured_files():
            for context in data.measured_contexts():
                data.set_query_context(context)
                yield Path(name).name, context, set(data.lines(name) or ())
        data.close()

def published():
    "Executed lines by file name, of all that counts."
    out = {}
    for name, _, lines in measured():
        if lines:
            out.setdefault(name, set()).update(lines)
    return {name: sorted(lines) for name, lines in out.items()}

def control():
    from wsgi_coverage.control import Control
    from wsgi_coverage.settings import Settings
    return Control(forks.current(), Settings(debug=True))

def reset():
    return control().reset(wait=30)

def pause():
    return control().pause(wait=30)

def resume():
    return control().resume(wait=30)

"""
)

Measure = Callable[..., dict[str, Any]]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give every core to what asks for one, and every mode to what asks for branches too."""
    marks = metafunc.definition.iter_markers("parametrize")
    if "core" not in metafunc.fixturenames or any("core" in mark.args[0] for mark in marks):
        return
    if "branch" in metafunc.fixturenames:
        metafunc.parametrize(("core", "branch"), MODES)
    else:
        metafunc.parametrize("core", CORES)


@pytest.fixture
def measure(tmp_path: Path) -> Measure:
    """Run a script in a child process in a folder of its own; return what it told.

    Unless it says otherwise, coverage.py's tracer measures there.
    """
    (tmp_path / "app.py").write_text(APP)

    def run(
        script: str,
        *,
        core: str | None = CORES[-1],  # None: none is named, so lines may be marked in memory
        branch: bool = False,
        config: str = "",
        env: dict[str, str] | None = None,
        command: tuple[str, ...] = (),
        check: bool = True,
    ) -> dict[str, Any]:
        flag = "true" if branch else "false"
        (tmp_path / ".coveragerc").write_text(f"[run]\nsource = .\nbranch = {flag}\n{config}")
        (tmp_path / "script.py").write_text(PRELUDE + textwrap.dedent(script))
        environ = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("COVERAGE_", "COV_", "WSGI_COVERAGE_"))
        }
        if core is not None:
            environ["COVERAGE_CORE"] = core
        ran = scripts.run(
            tmp_path / "script.py",
            command=command,
            env={**environ, **(env or {})},
            timeout=120,
            check=check,
        )
        return {**scripts.told_in(ran), "returncode": ran.returncode, "stderr": ran.stderr}

    return run


APP = """\
def first():
    return 1


def second():
    return 2


def loop(stop, tick):
    while not stop.is_set():
        tick.set()
        stop.wait(0.001)
    return 3
"""
FIRST, SECOND, LOOP = 2, 6, {10, 11, 12}  # the lines inside each function
LOADED = [1, 5, 9]  # the def lines
