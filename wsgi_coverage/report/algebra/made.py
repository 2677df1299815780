"""Build a report of what other reports have executed, from their data files alone.

What can run is what can run in any of them. Lines of different versions of a source are never
mixed, neither with each other nor with the source as it is now.

Concurrency: works in a folder of its own.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from wsgi_coverage.analysis.reporting import ReportingCoverage
from wsgi_coverage.data import stamp
from wsgi_coverage.data.datafile import UnusableError, open_data_file
from wsgi_coverage.data.imported import Unseen
from wsgi_coverage.data.reading import Record
from wsgi_coverage.data.stored import read_json
from wsgi_coverage.data.union import KINDS, DataFileContent, DataUnion, has_branches
from wsgi_coverage.data.versions import VersionsOnDisk
from wsgi_coverage.errors import (
    DamagedReportError,
    MixedDataError,
    NoDataError,
    SourceVersionsError,
)
from wsgi_coverage.model import JsonObject, Operation, Report
from wsgi_coverage.report.algebra.operations import Result
from wsgi_coverage.report.build import BuildInputs, build, build_detail
from wsgi_coverage.report.combine import Names
from wsgi_coverage.report.publish import DATA, ID, MOST, read_file, read_meta
from wsgi_coverage.report.render import FILES
from wsgi_coverage.system import own_files

RESULT = "made.coverage"
ON_DISK = "as it is now"
NO_PHASES = (
    "load and runtime are not told apart in this operation: of some lines it is not known when "
    "they ran"
)
BRANCHES = (
    "branches are measured: a line counts as executed where a branch from it, or to it, is in the "
    "result"
)
EARLY = Unseen(has_ended=True, line=None)  # whatever is missing may have run


@dataclass(frozen=True, slots=True, kw_only=True)
class Operand:
    """One of the reports that another one is made of."""

    name: str  # a snapshot's id, or `current`
    report: Report  # its metadata
    data_file: Path  # not there where nothing that is measured had run
    inexact: tuple[str, ...]  # files of which more may have run than the report has
    left_out: tuple[str, ...]  # files whose lines are in no data file, as their sources had changed

    def as_json(self) -> JsonObject:
        """Return an entry of `made_of` in answers."""
        return {
            "id": self.name,
            "label": self.report.label,
            "taken_at": self.report.refreshed_at,
            "complete": self.report.complete,
        }


def read_operand(folder: Path, *, name: str, target: Path) -> Operand:
    """Copy what is needed of a finished report, which may be removed at any moment.

    Args:
        folder: the report's folder.
        name: a snapshot's id, or `current`.
        target: where the copy goes; in a working folder.

    Raises:
        SourceVersionsError: it is a snapshot of flask-coverage.
        OSError, ValueError: it cannot be read.
    """
    report = read_meta(folder)
    if not ID.fullmatch(report.id):
        raise SourceVersionsError(
            f"{name} is a snapshot of flask-coverage: it does not tell of which versions of the "
            "sources its lines are"
        )
    with contextlib.suppress(FileNotFoundError):
        own_files.replace(target, read_file(folder / DATA))
    files = read_json(folder / FILES, MOST)
    # A data file that is there says itself which are left out.
    unknown = [] if target.exists() else [each for each in files if each["statements"] is None]
    return Operand(
        name=name,
        report=report,
        data_file=target,
        inexact=tuple(each["file"] for each in files if "imported_early" in each),
        left_out=tuple(each["file"] for each in unknown),
    )


def build_made(
    operation: Operation,
    operands: Sequence[Operand],
    inputs: BuildInputs,
    folder: Path,
    *,
    is_detail: bool = False,
) -> Report:
    """Write a report made of others into a folder, and return its metadata.

    Args:
        operation: what is done with them.
        operands: the reports, in order.
        inputs: all else that a report is built from.
        folder: where its files are written.
        is_detail: write only what `detail.read` reads.

    Raises:
        NoDataError: in none of them has anything run.
        MixedDataError: some have branches, and others statements only.
        SourceVersionsError: some have executed another version of a source.
        DamagedReportError: a data file cannot be used.
    """
    target = folder / RESULT
    try:
        inputs = _operated(operation, operands, inputs, target)
        return (build_detail if is_detail else build)(inputs, folder)
    finally:
        target.unlink(missing_ok=True)


def _operated(
    operation: Operation, operands: Sequence[Operand], inputs: BuildInputs, target: Path
) -> BuildInputs:
    """Write the data file of the result; return the inputs of a report on it."""
    branch = _measured(operands)
    cov = ReportingCoverage(inputs.config, target)
    with contextlib.closing(cov), cov.whole():
        names = Names(cov.path_map())
    union = DataUnion(
        target, branch=branch, path_map=names.here, before_mapping=names.find_releases_of
    )
    result, versions = Result(operation), _Versions()
    for operand in operands:
        result.add(_read(operand, union, names, versions) if operand.data_file.exists() else {})
        for name in operand.left_out:
            versions.add(names.here(name), stamp.CHANGED, operand.name)
    versions.check(VersionsOnDisk(union.name))
    for context, name, value in result.executed():
        if branch:
            arcs = tuple(map(int, value))
            record = Record(name, None, "", context, has_arcs=True, numbers=arcs)
            union.add_record(name, context, record)
        else:
            union.add_lines(name, {context: value})
    union.write()
    stamp.put_fingerprints(target, versions.fingerprints())
    remarks = [*inputs.remarks]
    if operation is not Operation.MERGE:
        remarks += [] if result.tells_phases else [NO_PHASES]
        remarks += [BRANCHES] if branch else []
    inexact = {names.here(name) for operand in operands for name in operand.inexact}
    return replace(
        inputs,
        branch=branch,
        data_files=[target],
        remarks=remarks,
        imported_early=dict.fromkeys(inexact, EARLY),
    )


def _measured(operands: Sequence[Operand]) -> bool:
    """Tell whether the reports have branches."""
    found: dict[bool, str] = {}
    for operand in operands:
        if operand.data_file.exists():
            try:
                with stamp.reading(operand.data_file) as connection:
                    found.setdefault(has_branches(connection), operand.name)
            except sqlite3.Error as error:
                raise _damaged(operand, error) from error
    if not found:
        raise NoDataError("there is no data to combine: nothing that is measured had run")
    if len(found) > 1:
        raise MixedDataError(
            f"{found[True]} holds {KINDS[True]}, and {found[False]} holds {KINDS[False]}: "
            "these cannot be combined"
        )
    return next(iter(found))


def _read(
    operand: Operand, union: DataUnion, names: Names, versions: _Versions
) -> dict[str, dict[str, Any]]:
    """Return what a report has executed, by context and file; touch its files in the union."""
    try:
        with open_data_file(operand.data_file) as connection:
            content = union.read(connection)
            loaded = stamp.read_fingerprints(connection)
    except UnusableError as error:
        raise _damaged(operand, error) from error
    gone = {union.name(path) for path in content.paths if names.is_gone(path)}
    for number, name in content.names.items():
        if name not in gone:
            union.touch(name, content.tracers.get(number, ""))
    executed = _executed(content, without=gone, branch=union.branch)
    ran = {name for sets in executed.values() for name in sets}
    for path, version in loaded.items():
        if (name := union.name(path)) in ran or version == stamp.CHANGED:
            versions.add(name, version, operand.name)
    return executed


def _executed(
    content: DataFileContent, *, without: set[str], branch: bool
) -> dict[str, dict[str, Any]]:
    out: dict[str, dict[str, Any]] = {}
    for number, rows in content.rows.items():
        if number not in content.contexts:
            continue
        sets = out.setdefault(content.contexts[number], {})
        for file, raw in rows:
            name = content.names.get(file)
            if name is None or name in without:
                continue
            value: Any = {*raw.split(",")} if branch else int.from_bytes(raw, "little")
            if value:
                sets[name] = sets[name] | value if name in sets else value
    return out


def _damaged(operand: Operand, error: Exception) -> DamagedReportError:
    return DamagedReportError(f"the data file of {operand.name} cannot be used: {error}")


class _Versions:
    """The versions of the sources that have run in the reports."""

    def __init__(self) -> None:
        self._ran: dict[str, dict[str, str]] = {}  # by file and version: a report that has it

    def add(self, name: str, version: str, of: str) -> None:
        """Add the version of a source of which something has run in a report, or may have."""
        self._ran.setdefault(name, {}).setdefault(version, of)

    def check(self, on_disk: VersionsOnDisk) -> None:
        """Check that no source has run in two versions, or in another than is on disk.

        Raises:
            SourceVersionsError: one has.
        """
        wrong: dict[str, tuple[str, str]] = {}
        for name, versions in self._ran.items():
            first, *others = versions.values()
            version = next(iter(versions))
            if others:
                wrong[name] = first, f"in {others[0]}"
            elif version != stamp.CHANGED and not on_disk.is_current(name, version):
                wrong[name] = first, ON_DISK
        if wrong:
            name, (one, other) = min(wrong.items())
            more = f", and {len(wrong) - 1} more like it" if len(wrong) > 1 else ""
            raise SourceVersionsError(
                f"{name} is of another version in {one} than {other}{more}: lines of different "
                "versions of a source are not mixed"
            )

    def fingerprints(self) -> dict[str, str]:
        """Return the version of each source that has run."""
        return {name: next(iter(versions)) for name, versions in self._ran.items()}
