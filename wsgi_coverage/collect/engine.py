"""Start the engine that measures this process: marks in shared memory, or coverage.py's tracer.

No state; called once a process, under the lock that makes the worker.
"""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path

from coverage import Coverage

from wsgi_coverage.collect.engines import core, own_coverage
from wsgi_coverage.collect.engines.base import Engine
from wsgi_coverage.collect.engines.marking import Marking
from wsgi_coverage.compat import files, measurement, names, needs
from wsgi_coverage.store.files import FilesStore
from wsgi_coverage.store.memory import Memory
from wsgi_coverage.store.private import in_first_place, note_owner
from wsgi_coverage.system import workdir

log: logging.Logger = logging.getLogger("wsgi_coverage")

WHY = "it costs next to nothing, and what runs is in memory that outlives the process"


def start(
    *,
    config_file: Path | None,
    branch: bool | None,
) -> Engine:
    """Start to measure this process: by marks in shared memory, or else by coverage.py's tracer.

    Args:
        config_file: coverage.py's configuration; None: where coverage.py always looks.
        branch: whether branches are measured; None: as the configuration says.

    Raises:
        SettingsError: the configuration cannot be read; coverage.py's own message.
        OSError: there is no room for a memory.
    """
    current = Coverage.current()
    workdir.note(own_coverage.inherited_folder if current is None else files.names_from())
    if current is None:
        cov = own_coverage.make(own_coverage.MarkedCoverage, config_file, branch=branch)
        why_not = _why_not(cov)
        failure: Exception | None = None
        if why_not is None:
            try:
                return _marking(cov)
            except Exception as error:  # noqa: BLE001  whatever it is, the other engine is tried
                failure, why_not = error, f"{type(error).__name__}: {error}"
        made = own_coverage.make(
            own_coverage.LoggedCoverage,
            config_file,
            branch=branch,
            in_memory=not names.has(needs.RULES, needs.COLLECTOR),
        )
        tracing = _tracing(made, why_not)
        if failure is not None:
            log.warning(
                "our engine could not start, so coverage.py's tracer measures instead",
                exc_info=failure,
            )
        return tracing
    if measurement.is_process_start(current):
        why_not = _why_not(current, branch)
        if why_not is None:
            return _take_over(current, branch)
    if config_file is not None:
        log.warning("config_file %s is ignored: coverage.py already runs", config_file)
    return _tracing(current, None)


def _why_not(cov: Coverage, branch: bool | None = None) -> str | None:
    return core.why_not_marking(
        cov,
        branch=branch,
        with_children=own_coverage.with_children or own_coverage.inherited is not None,
    )


def _take_over(running: Coverage, branch: bool | None) -> Marking:
    """Replace a Coverage that COVERAGE_PROCESS_START made, keeping what it has measured."""
    cov = own_coverage.make(
        own_coverage.MarkedCoverage, None, branch=branch, config=own_coverage.for_children(running)
    )
    made = _marking(cov)
    made.mark(measurement.end_for_good(running))
    return made


def _tracing(cov: Coverage, why_not: str | None) -> Engine:
    from wsgi_coverage.collect.engines.tracing import (
        Tracing,  # a fork takes longer with each module
    )

    data_file = measurement.data_file(cov)
    return Tracing(cov, why_not=why_not, open_memory=partial(open_memory, data_file))


def _marking(cov: own_coverage.MarkedCoverage) -> Marking:
    own_coverage.prepare(cov)
    data_file = measurement.data_file(cov)
    return Marking(cov, WHY, partial(open_memory, data_file))


def open_memory(data_file: Path) -> Memory:
    """Open the shared memory of this user's processes with this data file; create it if needed.

    Raises:
        OSError: there is no room for it in any place.
    """

    def open_in(folder: Path) -> Memory:
        memory = Memory(folder)
        if not memory.state().turn:
            FilesStore(data_file, fallback=folder).announce(memory)
        memory.make_room(memory.state().epoch)
        note_owner(folder, data_file)
        return memory

    return in_first_place(data_file, open_in)
