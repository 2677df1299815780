"""Offloading: build and render in this process if that is little work, else in a child process.

A child process takes 0.1 s to start, less where an earlier one waits to be used again. It takes
neither the GIL nor memory of the worker.

Concurrency: builds are called under the build lock. `_why_inside` is only ever replaced.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import sqlite3
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TypeVar

from wsgi_coverage.compat.configuration import option
from wsgi_coverage.data import stamp
from wsgi_coverage.model import Report
from wsgi_coverage.offload import child, interpreter, process
from wsgi_coverage.offload.progress import BuildProgress
from wsgi_coverage.report.build import BuildInputs
from wsgi_coverage.system import workdir

log: logging.Logger = logging.getLogger("wsgi_coverage")

# Measured: 100,000 bytes take 0.3 to 0.4 s in this process, and 0.1 s more in a child.
LARGE = 100_000  # bytes of source
UNKNOWN = 8_000  # bytes assumed for a source that cannot be found by its name

T = TypeVar("T")

_why_inside: str | None = None  # why large reports are made in this process


def build_somewhere(
    build: Callable[..., Report],
    inputs: BuildInputs,
    folder: Path,
    *,
    progress: BuildProgress,
) -> Report:
    """Build a report, in a child process if it is large.

    Args:
        build: wsgi_coverage.report.build.build, which is pickled by its name.
        inputs: the data that the report is built from.
        folder: where its files are written.
        progress: written while the report is built, for GET /building.

    Raises:
        BuildFailedError: the child process failed; the folder's content is incomplete.
    """
    started = time.monotonic()
    inputs = dataclasses.replace(inputs, could_run=list(inputs.could_run))
    with progress.shown() as shown:
        report = call_somewhere(
            partial(build, inputs, folder),
            is_large=_is_large(inputs),
            tick=shown.tick,
            plugins=bool(option(inputs.config, "run:plugins")),
        )
    return dataclasses.replace(report, duration_seconds=round(time.monotonic() - started, 3))


def call_somewhere(
    function: Callable[[], T], *, is_large: bool, tick: child.Tick, plugins: bool
) -> T:
    """Call a function: in a child process if it is much work and a child can be started.

    Args:
        function: a `partial` of a function of this package, which is pickled by its name.
        is_large: whether the work is worth a child process. Where the working directory has
            changed since the start, a child is used anyway.
        tick: called a few times a second while the child is waited for.
        plugins: whether modules from outside this package will be imported by name.

    Raises:
        BuildFailedError, OSError: as `child.call`; and what the function raises in this process.
    """
    global _why_inside
    # coverage.py takes relative names, and patterns, to be about the folder that it is in.
    if (is_large or workdir.has_moved()) and process.IS_POSSIBLE:
        try:
            result = child.call(function, tick=tick, plugins=plugins, waits=True)
        except child.NoInterpreterError as error:
            before, _why_inside = _why_inside, str(error)
            if before != _why_inside:
                log.warning(
                    "large reports are made in the worker, because no child process can be "
                    "started: %s",
                    error,
                )
        else:
            _why_inside = None
            return result
    return function()


def problem() -> str | None:
    """Return why large reports are not made in a child process, as a sentence; None: they are."""
    if not process.IS_POSSIBLE:
        why = "this system has no posix_spawn"
    elif _why_inside is not None:
        why = _why_inside
    elif not interpreter.candidates():
        why = "no interpreter was found"
    else:
        return child.lost()
    return (
        f"no child process can be started ({why}): large reports are made in the worker, whose "
        "requests are slower meanwhile"
    )


def _is_large(inputs: BuildInputs) -> bool:
    known: set[str] = set()
    size = 0
    for name in _files(inputs):
        if name not in known:
            known.add(name)
            size += _size(name)
            if size > LARGE:
                return True
    return False


def _files(inputs: BuildInputs) -> Iterator[str]:
    for path in inputs.data_files:
        with contextlib.suppress(sqlite3.Error):
            yield from stamp.measured_files(path)
    for reading in inputs.memory:
        yield from reading.names()
    yield from (name for name, _ in inputs.could_run)


def _size(name: str) -> int:
    try:
        return Path(workdir.here(name)).stat().st_size
    except (OSError, ValueError):
        return UNKNOWN
