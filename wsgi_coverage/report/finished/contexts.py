"""The labels of a finished report: what ran for requests that had each, and for whom a line ran.

Lines come from the report's data file, where a label follows the phase in the name of a context
(wsgi_coverage.data.phases), and the numbers of requests from a table of our own in it, which other
tools do not keep. Figures for one label are coverage.py's own for its contexts, as
`coverage report --contexts` makes them: what the label did not run is at 0.

Concurrency: reads a report's folder, in which nothing changes.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, cast

from coverage import CoverageData

from wsgi_coverage.analysis import functions as all_functions
from wsgi_coverage.analysis.figures import Figures, figures_of, if_nothing_ran
from wsgi_coverage.analysis.functions import Unused
from wsgi_coverage.data import database, stamp
from wsgi_coverage.data.bits import numbers_of
from wsgi_coverage.data.datafile import UnusableError, open_data_file
from wsgi_coverage.data.phases import Ran, label_of, query_of
from wsgi_coverage.data.reading import LabelUse, join_uses
from wsgi_coverage.errors import UnknownContextError
from wsgi_coverage.model import JsonObject, answers
from wsgi_coverage.model.answers import (
    Context,
    File,
    Function,
    LinesOfContext,
    LinesOfFile,
)
from wsgi_coverage.offload import progress
from wsgi_coverage.report.finished.reported import open_report
from wsgi_coverage.report.formats import call_for
from wsgi_coverage.report.publish import DATA, read_file
from wsgi_coverage.report.render import FILES, percentage

T = TypeVar("T")

# Of a file in the list of files, what is not about one label.
OF_ALL = ("imported_early", "runtime_reason", "first_seen", "last_seen", "seen_in", "seen_reason")
NO_REQUESTS = "what ran for it is from data that does not tell requests"
JOINED = """
    select context.context, file.path, line_bits.numbits from line_bits
    join file on file.id = line_bits.file_id join context on context.id = line_bits.context_id
"""
LINES = f"{JOINED} order by file.path"
LINES_OF_FILE = f"{JOINED} where file.id = ?"
NOTHING: tuple[Mapping[str, LabelUse], list[Any]] = ({}, [])  # of no data file


class Row(NamedTuple):
    """The lines of one file that ran for one label."""

    label: str
    file: str
    bits: int  # bit n is line n


def contexts(folder: Path) -> list[Context]:
    """Return the labels of a report, by name, each with its figures.

    Raises:
        FileNotFoundError: there is no report.
    """
    uses, rows = _read(folder, lambda data: (_uses(data), _rows(data)), NOTHING)
    several: dict[str, int] = {}  # by file: lines that more than one label has run
    seen: dict[str, int] = {}
    for row in rows:
        several[row.file] = several.get(row.file, 0) | seen.get(row.file, 0) & row.bits
        seen[row.file] = seen.get(row.file, 0) | row.bits
    labels = {label: [0, 0, 0] for label in uses}
    for row in rows:
        counts = labels.setdefault(row.label, [0, 0, 0])
        counts[0] += 1
        counts[1] += row.bits.bit_count()
        counts[2] += (row.bits & ~several[row.file]).bit_count()
    return [
        {
            **_use(label, uses.get(label)),
            "files": files,
            "lines": lines,
            "own_lines": own,
        }
        for label, (files, lines, own) in sorted(labels.items())
    ]


def context(folder: Path, label: str) -> LinesOfContext:
    """Return the lines that ran for one label, by file.

    Raises:
        FileNotFoundError: there is no report.
        UnknownContextError: the report does not have the label.
    """
    uses, all_rows = _read(folder, lambda data: (_uses(data), _rows(data)), NOTHING)
    rows = [row for row in all_rows if row.label == label]
    if not rows and label not in uses:
        raise UnknownContextError(f"the report has no label {label!r}")
    files: list[LinesOfFile] = [{"file": row.file, "lines": numbers_of(row.bits)} for row in rows]
    return {**_use(label, uses.get(label)), "files": files}


def query(folder: Path, label: str) -> list[str]:
    """Return the argument by which ``CoverageData.set_query_contexts`` selects one label.

    Raises:
        FileNotFoundError: there is no report.
        UnknownContextError: the report does not have the label.
    """
    uses, contexts = _read(folder, lambda data: (_uses(data), stamp.contexts_in(data)), NOTHING)
    found = [context for context in contexts if label_of(context) == label]
    if not found and label not in uses:
        raise UnknownContextError(f"the report has no label {label!r}")
    return query_of(found)


def rows_of_file(folder: Path, is_it: Callable[[str], bool]) -> list[Row]:
    """Return what ran for each label in one file, of the report's data.

    Args:
        folder: the report's folder.
        is_it: tells whether a name in the data is one of the file's.

    Raises:
        UnusableError: the data file is damaged.
    """

    def read(connection: sqlite3.Connection) -> list[Row]:
        files = database.fetch(connection, "select id, path from file", kind=str)
        found = (
            database.fetch(connection, LINES_OF_FILE, [number], kind=bytes)
            for number, name in files
            if is_it(name)
        )
        return _joined(chain.from_iterable(found))

    return _read(folder, read, [])


def _rows(connection: sqlite3.Connection) -> list[Row]:
    return _joined(database.fetch(connection, LINES, kind=bytes))


def _joined(rows: Iterable[tuple[str, str, bytes]]) -> list[Row]:
    """Join the rows of a label's contexts, of which each phase has one."""
    found: dict[tuple[str, str], int] = {}
    for name, file, numbits in rows:
        label = label_of(name)
        if label is not None:
            key = label, file
            found[key] = found.get(key, 0) | int.from_bytes(numbits, "little")
    return [Row(label, file, bits) for (label, file), bits in found.items() if bits]


def _read(folder: Path, read: Callable[[sqlite3.Connection], T], nothing: T) -> T:
    """Return what is read of the data file; `nothing` where there is no file."""
    try:
        with open_data_file(folder / DATA) as connection:
            return read(connection)
    except UnusableError:
        if (folder / DATA).exists():
            raise
    return nothing


def _uses(connection: sqlite3.Connection) -> Mapping[str, LabelUse]:
    found: dict[str, LabelUse] = {}
    for context, use in stamp.labels_in(connection).items():
        if (label := label_of(context)) is not None:
            join_uses(found, [(label, use)])
    return found


def _use(label: str, use: LabelUse | None) -> answers.LabelUse:
    if use is None:
        return {
            "label": label,
            "requests": None,
            "first": None,
            "last": None,
            "reason": NO_REQUESTS,
        }
    first, last = (datetime.fromtimestamp(at, UTC).isoformat() for at in (use.first, use.last))
    return {"label": label, "requests": use.requests, "first": first, "last": last}


def files(folder: Path, label: str) -> list[File]:
    """Return the figures of every file for one label, in the form of the list of files.

    Raises:
        FileNotFoundError: there is no report.
        UnknownContextError: the report does not have the label.
        BuildFailedError: the child process failed, in which a large report is read.
    """
    figures = call_for(folder, partial(figures_for, folder, query(folder, label)))
    return [
        _file(each, figures.get(each["file"])) for each in json.loads(read_file(folder / FILES))
    ]


def functions(folder: Path, label: str, *, unused: Unused) -> list[Function]:
    """Return functions and methods with their figures for one label, the largest first.

    Args:
        folder: the report's folder.
        label: the label.
        unused: which of them, as of a whole report; at load nothing runs for a label.

    Raises:
        FileNotFoundError, UnknownContextError, BuildFailedError: as `files`.
    """
    figures = call_for(folder, partial(figures_for, folder, query(folder, label), of_all=True))
    return all_functions.of_figures(figures.items(), unused=unused)


def figures_for(folder: Path, query: Sequence[str], *, of_all: bool = False) -> dict[str, Figures]:
    """Return the figures of files for the contexts that a query selects, in this process.

    Args:
        folder: the report's folder.
        query: regular expressions for contexts.
        of_all: return those of files of which nothing ran in them, too.
    """
    with open_report(folder) as (cov, reported):
        data = cov.get_data()
        data.set_query_contexts(query)
        ran = _RanForLabel(data)
        found = {}
        for done, (name, entry) in enumerate(reported.files.items(), 1):
            if data.lines(name):
                reporter = cov.reporter_of(name)
                found[name] = figures_of(cov.analyse(name, reporter), reporter, ran, name)
            elif of_all:
                found[name] = if_nothing_ran(Figures.from_plain(entry["figures"]))
            progress.note(done, len(reported.files))
    return found


class _RanForLabel:
    """Tells when lines of a label ran: at runtime.

    Args:
        data: the report's data, of which the label's contexts are selected.
    """

    def __init__(self, data: CoverageData) -> None:
        self._data = data

    def phases(self, name: str) -> tuple[set[int], set[int], None]:
        """Return a file's lines that ran at load, and at runtime."""
        return set(), set(self._data.lines(name) or ()), None


def _file(entry: JsonObject, figures: Figures | None) -> File:
    statements = entry["statements"]
    if not statements:  # there are none, or they are not known
        return cast(File, entry)
    covered = figures.totals().executed if figures is not None else 0
    figures_of_label: File = {
        **cast(File, {name: value for name, value in entry.items() if name not in OF_ALL}),
        "missing": statements - covered,
        "covered": covered,
        "percent": percentage(100.0 * covered / statements),
        "load": 0,
        "load_only": 0,
        "runtime": covered,
        "runtime_percent": percentage(100.0 * covered / statements),
        "ran": Ran.AT_RUNTIME.value if covered else Ran.NEVER.value,
    }
    return figures_of_label
