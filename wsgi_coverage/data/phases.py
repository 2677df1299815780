"""Load and runtime, told apart by the contexts of a data file.

What ran while the application was being imported lies in the context ``load``, what ran after the
first request in ``runtime``; after a static context of the user's own, joined as coverage.py joins
contexts: ``nightly|load``. A line in any other context is of a phase that nobody told.

Concurrency: functions without state, on data files that nobody else has open.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path

from wsgi_coverage.data.stamp import TABLE, changing

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
        connection.create_function("numbits_or", 2, _or, deterministic=True)
        untold = connection.execute("select id from context where context = ?", [static or ""])
        for (old,) in untold.fetchall():
            name = context_of(Phase.LOAD, static)
            connection.execute("insert or ignore into context (context) values (?)", [name])
            connection.execute(
                "insert into line_bits (file_id, context_id, numbits) "
                "select file_id, (select id from context where context = ?), numbits "
                "from line_bits where context_id = ? on conflict (file_id, context_id) "
                "do update set numbits = numbits_or(numbits, excluded.numbits)",
                [name, old],
            )
            connection.execute(
                "insert or ignore into arc (file_id, context_id, fromno, tono) "
                "select file_id, (select id from context where context = ?), fromno, tono "
                "from arc where context_id = ?",
                [name, old],
            )
            _forget(connection, [old])


def forget_runtime(path: Path, *, load: bool, files: bool) -> bool:
    """Take everything out of a data file that did not run at load; tell whether anything is left.

    Args:
        path: the data file.
        load: whether what ran at load stays.
        files: whether the names of all files stay.

    Raises:
        OSError: there is no room, or the file is no data file.
    """
    with changing(path) as connection:
        connection.execute(f"drop table if exists {TABLE}")  # a stamp is of what is forgotten
        contexts = connection.execute("select id, context from context").fetchall()
        _forget(
            connection,
            [number for number, name in contexts if not load or phase_of(name) is not Phase.LOAD],
        )
        if files:
            return True
        left = "select file_id from line_bits union select file_id from arc"
        connection.execute(f"delete from tracer where file_id not in ({left})")  # noqa: S608
        connection.execute(f"delete from file where id not in ({left})")  # noqa: S608
        return connection.execute("select 1 from file limit 1").fetchone() is not None


def _forget(connection: sqlite3.Connection, contexts: Iterable[int]) -> None:
    for number in contexts:
        for table in ("line_bits", "arc"):
            connection.execute(f"delete from {table} where context_id = ?", [number])  # noqa: S608
        connection.execute("delete from context where id = ?", [number])


def _or(first: bytes, second: bytes) -> bytes:
    """The union of two of coverage.py's sets of line numbers."""
    length = max(len(first), len(second))
    both = int.from_bytes(first, "little") | int.from_bytes(second, "little")
    return both.to_bytes(length, "little")
