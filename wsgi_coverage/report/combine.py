"""Combine published data files and readings of memories into one data file.

A data file that cannot be used is left out with a warning that names it. None is changed.

Concurrency: writes to a data file of its own; any number may run at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from wsgi_coverage.analysis.reporting import ReportingCoverage
from wsgi_coverage.analysis.seen import LinesOfDay, SeenDays
from wsgi_coverage.compat.configuration import option
from wsgi_coverage.data import stamp
from wsgi_coverage.data.datafile import UnusableError, open_data_file
from wsgi_coverage.data.imported import Unseen
from wsgi_coverage.data.reading import Reading, by_context, join_uses
from wsgi_coverage.data.releases import find_releases
from wsgi_coverage.data.union import KINDS, NO_UTF_8, DataUnion
from wsgi_coverage.data.versions import VersionsOnDisk
from wsgi_coverage.store.days import DaysStore, add_day, bitmaps_of, today
from wsgi_coverage.system import workdir

MOST = 1_000  # warnings


class DaysRecorded(NamedTuple):
    """Where the days are recorded on which lines ran."""

    folder: Path  # of a DaysStore
    kept: int  # how many days before today
    since: int = 0  # not all is known of earlier days
    of_fleet: bool = False  # the folder has the days of all hosts, and `since` is about these


def combine(
    cov: ReportingCoverage,
    data_files: Sequence[Path],
    *,
    branch: bool,
    could_run: Iterable[tuple[str, str | None]],
    imported_early: Mapping[str, Unseen] = MappingProxyType({}),
    memory: Sequence[Reading] = (),
    days: DaysRecorded | None = None,
) -> list[str]:
    """Combine data files into a Coverage, path remapping included.

    Args:
        cov: the Coverage whose data file is written.
        data_files: the files to combine; none of them is changed.
        branch: whether this application measures branches; files that differ are set aside.
        could_run: files that could have run, each with its plugin's name, to be shown at 0 %.
        imported_early: files that had begun to run when measuring began.
        memory: readings of memories, with lines that are in no data file yet.
        days: where the days are recorded on which lines ran; None: nowhere.

    Returns:
        A warning for each file that was set aside, or of which something was left out.

    Raises:
        OSError, CoverageException, sqlite3.Error: the combined data file cannot be written.
    """
    warnings: list[str] = []
    stale: set[str] = set()
    names = Names(cov.path_map())
    for reading in memory:
        names.find_releases_of(reading.names())
    target = Path(option(cov.config, "run:data_file"))
    union = DataUnion(
        target, branch=branch, path_map=names.here, before_mapping=names.find_releases_of
    )
    versions = VersionsOnDisk(union.name)
    live = {reading.id for reading in memory}  # whose data files hold what they hold, too
    for path in data_files:
        try:
            with open_data_file(path) as connection:
                content = union.read(connection)
                loaded = stamp.fingerprints_in(connection)
                old = versions.changed(loaded)
                union.add(content, without=[*old, *filter(names.is_gone, content.paths)])
                found = stamp.stamp_in(connection)
                if found is None or found.worker_id not in live:
                    join_uses(cov.label_uses, stamp.labels_in(connection).items())
        except UnusableError as why_not:
            warnings.append(f"data file {path} is set aside: {why_not}")
            continue
        here = [union.name(name) for name in old if not names.is_of_another_release(name)]
        stale.update(here)
        warnings += [
            f"{name} has changed since the workers whose lines are in {path.name} loaded it: "
            "what they recorded of it is left out"
            for name in here
        ]
    for reading in memory:
        join_uses(cov.label_uses, reading.labels.items())
        more, old = _add(union, reading, versions, names, option(cov.config, "run:context"))
        warnings += more
        stale.update(old)
    left_out = stale - set(union.files)
    for name in left_out:
        cov.failures[name] = "its source has changed since it was loaded: restart the workers"
    for name, plugin in could_run:
        if (mapped := union.name(name)) not in left_out and not names.is_gone(name):
            union.touch(mapped, plugin or "")
    cov.imported_early = {union.name(name): unseen for name, unseen in imported_early.items()}
    if days is not None:
        try:
            cov.seen_days = _days(days, memory, union, versions, names)
        except OSError as error:
            cov.no_days = f"they cannot be read: {error}"
    if union.files:
        union.write()
        warnings += [f"{name!a} is set aside: {NO_UTF_8}" for name in union.unstorable]
    cov.load()
    return first_warnings(warnings)


def _days(
    days: DaysRecorded,
    memory: Sequence[Reading],
    union: DataUnion,
    versions: VersionsOnDisk,
    names: Names,
) -> SeenDays:
    """Read the days that are recorded, and those that memories have."""
    store, until = DaysStore(days.folder), today()
    since, histories = store.known(days.kept)
    since = days.since if days.of_fleet else max(since, days.since)
    since = max(since, *(each.lost_day + 1 for each in memory if each.lost_day), 0)
    first = until - days.kept
    for day, new in bitmaps_of(memory).items():
        if first <= day <= until:
            add_day(histories, day, new)
    lines: dict[str, list[LinesOfDay]] = {}
    for name, by_version in histories.items():
        if names.is_gone(name):
            continue
        of = lines.setdefault(union.name(name), [])
        for version, history in by_version.items():
            is_current = versions.is_current(name, version)
            of += (
                LinesOfDay(each.day, each.release, name, version, is_current, each.bits)
                for each in history
            )
    for found in lines.values():
        found.sort()
    return SeenDays(
        since=max(since, first),
        until=until,
        lines=lines,
        functions=store.functions(),
    )


def first_warnings(warnings: list[str]) -> list[str]:
    """Return the first MOST warnings, and one that counts the rest."""
    more = len(warnings) - MOST
    return warnings if more <= 0 else [*warnings[:MOST], f"and {more:,} more warnings like these"]


def failures_of(cov: ReportingCoverage) -> list[str]:
    """Return a warning for each file that could not be reported on."""
    return first_warnings(
        [f"{name} is not in the figures: {why}" for name, why in cov.failures.items()]
    )


class Names:
    """Maps names of measured files: by `[paths]`, and from other releases to the current one.

    Args:
        mapped: maps a name by `[paths]`.
    """

    def __init__(self, mapped: Callable[[str], str]) -> None:
        self._mapped = mapped
        self._releases = find_releases(Path(workdir.here("") or Path.cwd()))

    def find_releases_of(self, names: Iterable[str]) -> None:
        """Look for other releases among the folders of these files; call it before mapping them."""
        if self._releases is not None:
            self._releases.find_others(names)

    def here(self, name: str) -> str:
        """Return the name that a measured file has here: in the current release, by `[paths]`."""
        return self._mapped(self._current(name) or name)

    def is_of_another_release(self, name: str) -> bool:
        """Tell whether a measured file is in the folder of another release than the current one."""
        return self._current(name) is not None

    def is_gone(self, name: str) -> bool:
        """Tell whether a file is of another release, and the current one does not have it."""
        return self._releases is not None and self._releases.is_gone(name)

    def _current(self, name: str) -> str | None:
        return None if self._releases is None else self._releases.name(name)


def _add(
    union: DataUnion, reading: Reading, versions: VersionsOnDisk, names: Names, static: str | None
) -> tuple[list[str], list[str]]:
    """Add a reading of a memory; return warnings, and the files with lines that are left out."""
    warnings = list(reading.problems)
    kinds = {record.has_arcs for _, record in reading.in_contexts(static)}
    if any(lines for _, lines in reading.executed()):
        kinds.add(False)
    if (not union.branch) in kinds:
        warnings.append(
            f"what some processes on {reading.host} have executed is set aside: it holds "
            f"{KINDS[not union.branch]}, and this application measures {KINDS[union.branch]}"
        )
    stale = _Stale(reading)
    for claim, lines in () if union.branch else reading.executed():
        name = union.name(claim.name)
        if names.is_gone(claim.name):
            continue
        if versions.is_current(claim.name, claim.version):
            union.add_lines(name, by_context(lines, static))
        elif lines and not names.is_of_another_release(claim.name):
            stale.add(name)
    for context, record in reading.in_contexts(static):
        if record.has_arcs != union.branch:
            continue
        name = union.name(record.name)
        if names.is_gone(record.name):
            continue
        if record.version is None or versions.is_current(record.name, record.version):
            union.add_record(name, context, record)
        elif record.numbers and not names.is_of_another_release(record.name):
            stale.add(name)
    return [*warnings, *stale.warnings()], list(stale.names)


class _Stale:
    """Collects the sources of one reading that have changed since they were loaded."""

    def __init__(self, reading: Reading) -> None:
        self.names: dict[str, None] = {}
        self._host = reading.host
        self._pids = ", ".join(map(str, reading.processes)) or "ended"

    def add(self, name: str) -> None:
        self.names.setdefault(name)

    def warnings(self) -> list[str]:
        return [
            f"{name} has changed since workers on {self._host} ({self._pids}) loaded it: "
            "what they recorded of it is left out"
            for name in self.names
        ]
