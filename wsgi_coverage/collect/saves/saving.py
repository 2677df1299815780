"""Write the executed lines of a host's memory to a data file of coverage.py.

Concurrency: functions without state. They run in a child process for an autosave, and in the last
process of a memory at its end. A file lock serializes writers, so that an older reading never
replaces a newer one.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from coverage import CoverageData

from wsgi_coverage.data import regular_files, stamp
from wsgi_coverage.data.database import is_storable
from wsgi_coverage.data.reading import Reading, by_context, ends_of
from wsgi_coverage.data.union import DataUnion
from wsgi_coverage.data.versions import VersionsOnDisk
from wsgi_coverage.store.days import FOLDER, DaysStore, bitmaps_of, today
from wsgi_coverage.store.file_lock import locked
from wsgi_coverage.store.files import FilesStore
from wsgi_coverage.store.memory import Memory
from wsgi_coverage.system import own_files

log: logging.Logger = logging.getLogger("wsgi_coverage")

# Called with what has been executed; yields path, name in data files, and plugin of files that
# could have run.
Finder = Callable[[Reading], Iterable[tuple[str, str, str | None]]]
CouldRun = dict[str, tuple[str | None, str]]  # by name in data files: fingerprint, plugin or ""

LOCK = "save.lock"  # in the private folder
LOCK_TIMEOUT = 10.0  # seconds to wait for it
UNSAVED_DAYS = 7  # days that stay in memory where they cannot be recorded beside the data files


class AlreadySavedError(Exception):
    """Another process has written the memory to its data file and removed it."""


def save(
    memory: Memory,
    data_file: Path,
    static: str | None,
    could_run: Finder | None = None,
    days: int = 0,
) -> None:
    """Write a memory to its data file.

    Args:
        memory: the memory to write.
        data_file: the configured data file, beside which it is written.
        static: coverage.py's static context.
        could_run: finds the files that could have run, for reports to list them at 0 %.
        days: for how many before today it is recorded, beside the data file, what ran; 0: for none.

    Raises:
        DiskFullError, OSError: there is no room; nothing is lost.
    """
    with contextlib.suppress(AlreadySavedError), saving(memory):
        _save(memory, data_file, static, could_run, days)


@contextlib.contextmanager
def saving(memory: Memory) -> Iterator[None]:
    """Hold the lock of a memory's data file, so that later readings are written later.

    Raises:
        AlreadySavedError: the memory was removed.
        TimeoutError: another process has held the lock for 10 seconds.
    """
    lock = memory.folder / LOCK
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(locked(lock, LOCK_TIMEOUT))
        except FileNotFoundError as error:  # its folder went, too
            raise AlreadySavedError(str(memory.folder)) from error
        try:
            if not memory.is_there:
                raise AlreadySavedError(str(memory.folder))
            yield
        finally:
            if not (memory.folder / "control").exists():  # nothing is left to be saved
                lock.unlink(missing_ok=True)


def take_away(memory: Memory) -> bool:
    """Remove a memory without processes if all of it is saved; tell whether it was removed."""
    with contextlib.suppress(AlreadySavedError), saving(memory):
        return memory.remove(only_saved=True)
    return False


def discard(folder: Path) -> None:
    """Remove a memory that has been read, so that it is never written to a data file."""
    with contextlib.ExitStack() as held:
        with contextlib.suppress(OSError):  # it was removed, or its lock is held for too long
            held.enter_context(locked(folder / LOCK, LOCK_TIMEOUT))
        own_files.remove_tree(folder)


def _save(
    memory: Memory,
    data_file: Path,
    static: str | None,
    could_run: Finder | None,
    days: int = 0,
) -> None:
    store = FilesStore(data_file, fallback=memory.folder)
    state = memory.state()  # follows the store where a collection begins or ends
    if store.is_collecting or (state.oldest != state.epoch and state.oldest != store.oldest()):
        return  # a collection: lines of older epochs must not be mixed with those of the new one
    reading = memory.read()
    if reading.epoch != state.epoch:
        return
    [reading] = save_days([memory], [reading], store, days)
    save_readings([reading], store, static, could_run)
    if store.epoch() == reading.epoch:
        memory.note_saved(reading.checksum())
    else:  # it was reset meanwhile
        store.withdraw(reading.id)


def save_days(
    memories: Iterable[Memory], readings: Sequence[Reading], store: FilesStore, days: int
) -> list[Reading]:
    """Record the days of memories beside the data files; drop from memory those that are over.

    Where it fails, there is a log line: the lines themselves are saved in any case.

    Returns:
        The readings, without the days that were dropped.
    """
    kept = DaysStore(store.folder / FOLDER)
    before = today() - 1
    try:
        gap = max(each.lost_day for each in readings) if days else today()
        if gap and (days or kept.is_there):
            kept.note_gap(gap)
        if not days:
            return [*readings]
        kept.add(bitmaps_of(readings), days)
    except OSError as error:  # there is no room, for instance
        log.warning("the days on which lines ran could not be recorded yet: %s", error)
        before = today() - UNSAVED_DAYS
    except Exception:
        log.exception("the days on which lines ran could not be recorded yet")
        before = today() - UNSAVED_DAYS
    for memory in memories:
        with contextlib.suppress(OSError):  # of another user, or there is no descriptor
            memory.drop_days(before)
    return [_since(reading, before) for reading in readings]


def _since(reading: Reading, day: int) -> Reading:
    days = {each: chunks for each, chunks in reading.days.items() if each.day >= day}
    return replace(reading, days=days)


def save_readings(
    readings: Iterable[Reading],
    store: FilesStore,
    static: str | None,
    could_run: Finder | None = None,
) -> None:
    """Write readings of memories, each to data files of its own.

    Temporary files are on the disk of the data files: shared memory may be full.

    Args:
        readings: what to write.
        store: the store that publishes the data files.
        static: coverage.py's static context.
        could_run: finds the files that could have run; an exception of it is logged.

    Raises:
        DiskFullError, OSError: there is no room.
    """
    for reading in readings:
        others: CouldRun | None = None
        for branch, name in enumerate(data_files_of(reading.id)):
            if _has_run(reading, branch=bool(branch)):
                if others is None:
                    others = _could_run(reading, could_run)
                with store.publishing(name, epoch=reading.epoch) as target:
                    _write(reading, target, static, others, branch=bool(branch))
            else:
                store.withdraw(name)


def data_files_of(memory_id: str) -> tuple[str, str]:
    """Return the ids of a memory's data files: one with lines, one with arcs.

    A data file of coverage.py holds either lines or arcs.
    """
    return memory_id, f"{memory_id}.branches"


def add_to(data: CoverageData, reading: Reading, static: str | None, *, branch: bool) -> None:
    """Add a reading to a CoverageData, which holds lines or arcs."""
    for claim, lines in () if branch else reading.executed():
        if not is_storable(claim.name):
            continue
        data.add_lines({claim.name: []})
        for context, bits in by_context(lines, static).items():
            data.set_context(context)
            numbers = [number for number in range(bits.bit_length()) if bits >> number & 1]
            data.add_lines({claim.name: numbers})
    for context, record in reading.in_contexts(static):
        if record.has_arcs == branch and is_storable(record.name):
            data.set_context(context)
            if branch:
                data.add_arcs({record.name: [ends_of(arc) for arc in record.numbers]})
            else:
                data.add_lines({record.name: record.numbers})
            if record.tracer:
                data.add_file_tracers({record.name: record.tracer})


def _has_run(reading: Reading, *, branch: bool) -> bool:
    """Tell whether a reading has any arcs, if `branch`, or else any lines."""
    records = (record for each in reading.records.values() for record in each)
    if any(record.has_arcs == branch and record.numbers for record in records):
        return True
    return not branch and any(lines for _, lines in reading.executed())


def _could_run(reading: Reading, could_run: Finder | None) -> CouldRun:
    """Find the files that could have run and that a reading lacks."""
    found: CouldRun = {}
    if could_run is None:
        return found
    known = {*reading.names()}
    try:
        for path, name, plugin in could_run(reading):
            if name not in known:
                with contextlib.suppress(OSError, ValueError):
                    version = stamp.fingerprint_of(regular_files.read(path))
                    found[name] = version, plugin or ""
    except Exception:  # what has run is written in any case
        log.exception("finding the files that never ran, for the data file, failed")
    return found


def _write(
    reading: Reading, target: Path, static: str | None, others: CouldRun, *, branch: bool
) -> None:
    """Write the lines, or the arcs, of a reading to a data file."""
    union = DataUnion(target, branch=branch)
    versions: dict[str, str] = {}
    now = VersionsOnDisk(union.name)

    def is_wanted(name: str, version: str | None) -> bool:
        known = versions.get(name)
        if version is None or known == version:
            return True
        if known is not None and now.is_current(name, known):
            return False  # another version of it, which is not there any more
        if known is not None:
            union.forget(name)
        versions[name] = version
        return True

    for claim, lines in reading.executed():
        if is_wanted(claim.name, claim.version):
            union.add_lines(claim.name, {} if branch else by_context(lines, static))
    for context, record in reading.in_contexts(static):
        if record.has_arcs == branch and is_wanted(record.name, record.version):
            union.add_record(record.name, context, record)
    for name, (version, plugin) in others.items():
        if is_wanted(name, version):
            union.touch(name, plugin)
    union.write()
    storable = {name: versions[name] for name in versions if is_storable(name)}
    stamp.put_fingerprints(target, storable)
    if not branch:
        stamp.put_labels(target, reading.labels)
