"""Load and runtime, told apart by the contexts of a data file.

What ran while the application was being imported lies in the context ``load``, what ran after the
first request in ``runtime``; after a static context of the user's own, joined as coverage.py joins
contexts: ``nightly|load``. A line in any other context is of a phase that nobody told.

Concurrency: functions without state, on data files that nobody else has open.
"""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path

from wsgi_coverage.store.stamp import changing

JOIN = "|"  # coverage.py's own, between a static and a dynamic context


class Phase(StrEnum):
    """When a line ran; the value is the name of its context."""

    LOAD = "load"
    RUNTIME = "runtime"


def context_of(phase: Phase, static: str | None) -> str:
    """The context of what runs in a phase."""
    return f"{static}{JOIN}{phase}" if static else str(phase)


def phase_of(context: str) -> Phase | None:
    """The phase that a context tells; None if it tells none."""
    last = context.rpartition(JOIN)[2]
    return Phase(last) if last in tuple(Phase) else None


def query(phase: Phase) -> list[str]:
    """What ``CoverageData.set_query_contexts`` takes to ask for one phase."""
    return [rf"^(.*{re.escape(JOIN)})?{phase}$"]


def call_it_load(path: Path, static: str | None) -> None:
    """Move what was noted before anybody knew of an application to the load.

    Raises:
        OSError: there is no room, or the file is no data file.
    """
    with changing(path) as connection:
        connection.execute(
            "update context set context = ? where context = ?",
            [context_of(Phase.LOAD, static), static or ""],
        )


def keep_load(path: Path) -> None:
    """Take everything out of a data file that did not run at load.

    Raises:
        OSError: there is no room, or the file is no data file.
    """
    with changing(path) as connection:
        contexts = connection.execute("select id, context from context").fetchall()
        gone = [[number] for number, name in contexts if phase_of(name) is not Phase.LOAD]
        for table in ("line_bits", "arc"):
            connection.executemany(f"delete from {table} where context_id = ?", gone)  # noqa: S608
        connection.executemany("delete from context where id = ?", gone)
        left = "select file_id from line_bits union select file_id from arc"
        connection.execute(f"delete from tracer where file_id not in ({left})")  # noqa: S608
        connection.execute(f"delete from file where id not in ({left})")  # noqa: S608
