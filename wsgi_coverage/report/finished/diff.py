"""Compare two finished reports file by file: lines and branches that only one of them executed.

Lines and branches are those of coverage.py's JSON report (`executed_lines`, `executed_branches`),
so a difference is set arithmetic on two exported files. Of a report the lines of one label may be
taken alone, which then are those for its contexts.

Concurrency: reads reports' folders, in which nothing changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypedDict

from coverage.exceptions import CoverageException

from wsgi_coverage.analysis.reporting import ReportingCoverage
from wsgi_coverage.compat.reporting import executed_in
from wsgi_coverage.model.answers import DiffFile, Side
from wsgi_coverage.offload import progress
from wsgi_coverage.report.finished.contexts import query
from wsgi_coverage.report.finished.reported import Reported, open_report
from wsgi_coverage.report.formats import call_for
from wsgi_coverage.report.publish import read_meta


class Compared(TypedDict):
    """What two reports differ in, as GET /diff has it."""

    branch: bool  # whether both measured branches
    files: list[DiffFile]


class ExecutedInFile(NamedTuple):
    """The executed lines and branches of one file in one report."""

    lines: frozenset[int] = frozenset()
    branches: frozenset[tuple[int, int]] = frozenset()
    source: str | None = None  # its text; None: the report does not have the file


def diff(a: Path, b: Path, *, label_a: str | None = None, label_b: str | None = None) -> Compared:
    """Compare two finished reports, in a child process if they are large.

    Args:
        a, b: folders of reports.
        label_a, label_b: of which label; None: of all that ran.

    Returns:
        `branch` (whether both measured branches), `files`: for each file of which one has executed
        what the other has not, `file`, `only_a` and `only_b`, each with `lines` and `branches`.
        Where a file cannot be compared, both are None and `reason` says why.

    Raises:
        FileNotFoundError: one of them is not there (any more).
        UnknownContextError: one of them does not have the label.
        BuildFailedError: the child process failed.
    """
    larger = max(a, b, key=lambda folder: read_meta(folder).summary["statements"] or 0)
    of_a = None if label_a is None else query(a, label_a)
    of_b = None if label_b is None else query(b, label_b)
    return call_for(larger, partial(compare, a, b, of_a, of_b))


def compare(
    a: Path, b: Path, of_a: Sequence[str] | None = None, of_b: Sequence[str] | None = None
) -> Compared:
    """Do what `diff` does, in this process, for the contexts that two queries select."""
    with open_report(a) as first, open_report(b) as second:
        sides = [_Executed(*first, of_a), _Executed(*second, of_b)]
        branch = all(side.branch for side in sides)
        names = sorted({name for side in sides for name in side.names})
        files = []
        for done, name in enumerate(names, 1):
            if (found := _compare_file(name, *sides, branch=branch)) is not None:
                files.append(found)
            progress.note(done, len(names))
    return {"branch": branch, "files": files}


class _Executed:
    """What one of the two reports has executed, in all contexts or in some."""

    def __init__(
        self, cov: ReportingCoverage, reported: Reported, contexts: Sequence[str] | None
    ) -> None:
        self._cov = cov
        self._reported = reported
        self._has_all = contexts is None
        if contexts is not None:
            cov.get_data().set_query_contexts(contexts)
        self.branch: bool = cov.get_data().has_arcs()
        self.names = {*reported.files, *reported.failures}

    def known_as(self, name: str) -> str | None:
        """Return the hash of what a file's figures were computed from; None: not known."""
        entry = self._reported.files.get(name) if self._has_all else None
        return None if entry is None else entry["known_as"]

    def executed(self, name: str) -> ExecutedInFile:
        """Return the executed lines and branches of a file.

        Raises:
            CoverageException: the report has no figures of the file.
        """
        if name not in self.names or not (self._has_all or self._cov.get_data().lines(name)):
            return ExecutedInFile()
        analysis, text = self._cov.analysis_and_source(name)
        lines, branches = executed_in(analysis)
        return ExecutedInFile(lines, branches if self.branch else frozenset(), text)


def _compare_file(name: str, a: _Executed, b: _Executed, *, branch: bool) -> DiffFile | None:
    """Return an entry of `files` of `diff`; None if both reports have executed the same."""
    if a.known_as(name) is not None and a.known_as(name) == b.known_as(name):
        return None
    try:
        first, second = a.executed(name), b.executed(name)
    except CoverageException as error:
        return _incomparable(name, str(error))
    if None not in (first.source, second.source) and first.source != second.source:
        return _incomparable(name, "its source has changed between the two")
    only_a, only_b = _without(first, second, branch=branch), _without(second, first, branch=branch)
    if not any((*only_a.values(), *only_b.values())):
        return None
    return {"file": name, "only_a": only_a, "only_b": only_b}


def _incomparable(name: str, reason: str) -> DiffFile:
    return {"file": name, "only_a": None, "only_b": None, "reason": reason}


def _without(these: ExecutedInFile, those: ExecutedInFile, *, branch: bool) -> Side:
    out: Side = {"lines": sorted(these.lines - those.lines)}
    if branch:
        out["branches"] = [list(each) for each in sorted(these.branches - those.branches)]
    return out
