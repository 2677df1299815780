"""The source of one file of a finished report: of each line, when it ran, and for whom.

Statements, excluded lines and branches are those of coverage.py's HTML report. The text is what was
there when the report was made.

Concurrency: reads a report's folder, in which nothing changes.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from coverage.exceptions import CoverageException
from coverage.plugin import FileReporter

from wsgi_coverage.analysis.functions import functions_of
from wsgi_coverage.analysis.reporting import ReportingCoverage
from wsgi_coverage.compat.configuration import option
from wsgi_coverage.compat.reporting import analysed, branches_not_taken
from wsgi_coverage.data.bits import numbers_of
from wsgi_coverage.data.phases import Phase, Ran, query
from wsgi_coverage.errors import NoSourceError, NotFoundError
from wsgi_coverage.model.answers import NotTaken, Source, SourceLine
from wsgi_coverage.report.finished.contexts import query as query_of_label
from wsgi_coverage.report.finished.contexts import rows_of_file
from wsgi_coverage.report.finished.reported import open_report
from wsgi_coverage.system.common_folder import common_folder

EXCLUDED: Literal["excluded"] = "excluded"  # of a line, instead of when it ran


def source(folder: Path, name: str, *, label: str | None = None) -> Source:
    """Return the source of one file, its statements and its functions.

    Args:
        folder: the report's folder.
        name: the file's name in the list of files, or its path below the folder that has all.
        label: as if only the requests with this label had run; None: all that ran.

    Raises:
        FileNotFoundError: there is no report.
        NotFoundError: the report has no such file.
        NoSourceError: the source, or its analysis, cannot be had.
        UnknownContextError: the report does not have the label.
    """
    with open_report(folder) as (cov, reported):
        cov.get_data().set_query_contexts(option(cov.config, "report:contexts"))
        file = _find(name, {*reported.files, *reported.failures})
        try:
            reporter = cov.reporter_of(file)
            analysis, text = cov.analyse(file, reporter), reporter.source()
        except CoverageException as error:
            raise NoSourceError(f"{file}: {error}") from error
        labels = _labels(folder, cov, file, reporter)
        if label is not None:
            query_of_label(folder, label)  # which there has to be
        out: Source = {
            "file": file,
            "text": text,
            "lines": [*_lines(cov, file, analysis, reporter, labels, label)],
            "functions": functions_of(file, reported.plain),
        }
        why_inexact = reported.why_inexact(reporter)
    if why_inexact is not None:
        out["imported_early"] = why_inexact
    return out


def _lines(
    cov: ReportingCoverage,
    file: str,
    analysis: Any,
    reporter: FileReporter,
    labels: Mapping[int, Collection[str]],
    label: str | None,
) -> Iterator[SourceLine]:
    """Yield what is told of each statement and each excluded line, in their order."""
    found = analysed(analysis)
    load, runtime = (reporter.translate_lines(_ran(cov, file, each)) for each in Phase)
    executed = found.statements - found.missing
    ends = _ends(found.statements, reporter, len(reporter.source().splitlines()))
    not_taken = branches_not_taken(analysis) if label is None else {}
    for line in sorted(found.statements | set(analysis.excluded)):
        entry: SourceLine = {"line": line, "ran": None}
        if line not in found.statements:
            entry["ran"] = EXCLUDED
        elif label is not None:
            ran_for_it = label in labels.get(line, ())
            entry["ran"] = Ran.AT_RUNTIME.value if ran_for_it else Ran.NEVER.value
        elif line not in executed:
            entry["ran"] = Ran.NEVER.value
        elif line in runtime:
            entry["ran"] = Ran.AT_RUNTIME.value
        elif line in load:
            entry["ran"] = Ran.AT_LOAD_ONLY.value
        if line in ends:
            entry["last"] = ends[line]
        if line in executed and line in not_taken:
            entry["not_taken"] = [
                _not_taken(reporter, line, target) for target in sorted(not_taken[line])
            ]
        if line in labels:
            entry["contexts"] = sorted(labels[line])
        yield entry


def _ends(statements: Collection[int], reporter: FileReporter, lines: int) -> dict[int, int]:
    """Return the last line of each statement of several lines."""
    ends: dict[int, int] = {}
    for line in range(1, lines + 1):
        if line not in statements:
            (first,) = reporter.translate_lines({line})
            if first != line and first in statements:
                ends[first] = line
    return ends


def _not_taken(reporter: FileReporter, start: int, end: int) -> NotTaken:
    text = " ".join(reporter.missing_arc_description(start, end).split())
    return {"to": end if end > 0 else None, "text": text}


def _labels(
    folder: Path, cov: ReportingCoverage, file: str, reporter: FileReporter
) -> dict[int, set[str]]:
    """Return the labels for which each line of a file ran."""
    labels: dict[int, set[str]] = {}
    for row in rows_of_file(folder, lambda name: cov.local_name(name) == file):
        for line in reporter.translate_lines(numbers_of(row.bits)):
            labels.setdefault(line, set()).add(row.label)
    return labels


def _ran(cov: ReportingCoverage, file: str, phase: Phase) -> Iterable[int]:
    cov.get_data().set_query_contexts(query(phase))
    return cov.get_data().lines(file) or ()


def _find(name: str, files: Collection[str]) -> str:
    """Return the file that a name means.

    Raises:
        NotFoundError: there is none.
    """
    common = common_folder(files)
    # Some servers and proxies merge the two slashes before an absolute path.
    for each in (name, f"/{name}", f"{common}{name}", f"{common}{name}".replace("/", os.sep)):
        if each in files:
            return each
    raise NotFoundError("the report has no file of this name")
