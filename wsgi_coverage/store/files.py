"""The store of data files, `.coverage.<host>.<pid>.<random>`, in one folder.

They are next to the configured data file, where ``coverage combine`` finds them, too; if that
folder cannot be written to, in the private folder.

Concurrency: a memory's data file is written under its lock (wsgi_coverage.collect.saves.saving);
files are put in place by renaming.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
import socket
import sqlite3
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import NamedTuple

from wsgi_coverage import clock
from wsgi_coverage.data import regular_files, stamp
from wsgi_coverage.data.compatible import CompatibleGroups
from wsgi_coverage.data.datafile import UnusableError, open_data_file
from wsgi_coverage.data.regular_files import UnreadableError
from wsgi_coverage.data.stamp import Stamp
from wsgi_coverage.errors import is_shortage, storage_errors
from wsgi_coverage.model import Pause, is_going_on
from wsgi_coverage.settings import is_writable
from wsgi_coverage.store.base import WriteUnion
from wsgi_coverage.store.memory import Memory
from wsgi_coverage.store.processes import is_noted_process, noted_now
from wsgi_coverage.store.writable import PathUse
from wsgi_coverage.system import own_files

log: logging.Logger = logging.getLogger("wsgi_coverage")

FAILED = (-1, 0.0)  # in the place of the process that collects
EPOCH = ".wsgi-coverage-epoch"  # before the data file's name: coverage.py combines what begins so


class FilesState(NamedTuple):
    """The content of the epoch file."""

    epoch: int
    oldest: int  # the oldest epoch whose data count
    pauses: list[Pause]
    begun_by: str = ""  # the name of the private folder of the process that began the epoch
    # The process that collects: its id, and when it was known to run; 0: none, or any of a fleet.
    collector: tuple[int, float] = (0, 0.0)


class _AloneError(Exception):
    """Only one data file of a group could be used, so there is nothing to fold."""


class FilesStore:
    """Published data files beside the configured one.

    Args:
        data_file: the data file as configured in coverage.py.
        fallback: the private folder, used if the data file's folder cannot be written to.
        is_first: whether to log that the fallback is used.
    """

    def __init__(self, data_file: Path, *, fallback: Path, is_first: bool = False) -> None:
        self._data_file = data_file
        self._fallback = fallback
        self._folder = data_file.parent
        if not is_writable(self._folder):
            if is_first:
                log.warning("%s cannot be written to: measuring into %s", self._folder, fallback)
            self._folder = fallback
        self._epoch_file = self._folder / f"{EPOCH}{data_file.name}"

    @property
    def folder(self) -> Path:
        """The folder of published data files; by default also of the cache and the snapshots."""
        return self._folder

    def epoch(self) -> int:
        """Read the current epoch from the epoch file; 0 before the first reset."""
        return self._read_state().epoch

    def oldest(self) -> int:
        """Read the oldest epoch whose lines count from the epoch file."""
        return self._read_state().oldest

    def begin_epoch(self, *, collecting: bool = False, ends_here: bool = True) -> int:
        """Begin a new epoch, by replacing the epoch file, and return its number.

        Args:
            collecting: whether older epochs count until `end_collecting`.
            ends_here: whether this process is to end the collection.

        Raises:
            StorageError: the epoch file cannot be written; the old epoch goes on.
        """
        now = self._read_state()
        goes_on = is_going_on(now.pauses)
        pauses = [Pause(began_at=clock.now_iso(), ended_at=None)] if goes_on else []
        epoch = now.epoch + 1
        oldest = now.oldest if collecting else epoch
        collector = (os.getpid(), noted_now()) if collecting and ends_here else (0, 0.0)
        self._write_state(FilesState(epoch, oldest, pauses, self._fallback.name, collector))
        return epoch

    @property
    def is_collecting(self) -> bool:
        """Tell whether a collection goes on: not if it failed, or if its process was killed."""
        return self._is_collecting(self._read_state())

    def _is_collecting(self, now: FilesState) -> bool:
        if now.oldest == now.epoch or now.collector == FAILED:
            return False
        is_here = now.begun_by == self._fallback.name  # elsewhere, a process id means nothing
        return not (is_here and now.collector[0]) or is_noted_process(*now.collector)

    def give_up_collecting(self, epoch: int) -> None:
        """Record that the collection that began an epoch has failed: older epochs go on to count.

        Raises:
            StorageError: the epoch file cannot be written.
        """
        now = self._read_state()
        if now.epoch == epoch != now.oldest:
            self._write_state(now._replace(collector=FAILED))

    def end_collecting(self) -> None:
        """Let only the current epoch count.

        Raises:
            StorageError: the epoch file cannot be written; older epochs still count.
        """
        now = self._read_state()
        self._write_state(now._replace(oldest=now.epoch, collector=(0, 0.0)))

    def pauses(self) -> Sequence[Pause]:
        """Read the pauses of the current epoch from the epoch file, the oldest first."""
        return self._read_state().pauses

    def announce(self, memory: Memory) -> bool:
        """Announce the epoch and the pauses in a memory, to the processes that mark lines there.

        Returns:
            False if they may have run lines since the epoch began, because another host, or pid
            namespace, has begun it.
        """
        now, before = self._read_state(), memory.state()
        memory.announce(epoch=now.epoch, oldest=now.oldest, paused=is_going_on(now.pauses))
        if not before.turn:
            memory.begin_turn()  # a new memory, without lines of older epochs
            return True
        return before.epoch >= now.epoch or now.begun_by in ("", self._fallback.name)

    def begin_pause(self) -> None:
        """Write the beginning of a pause into the epoch file, unless one goes on already.

        Raises:
            StorageError: the epoch file cannot be written; there is no pause.
        """
        now = self._read_state()
        if not is_going_on(now.pauses):
            pause = Pause(began_at=clock.now_iso(), ended_at=None)
            self._write_state(now._replace(pauses=[*now.pauses, pause]))

    def end_pause(self) -> None:
        """Write the end of the current pause into the epoch file, if there is one.

        Raises:
            StorageError: the epoch file cannot be written; the pause goes on.
        """
        now = self._read_state()
        if is_going_on(now.pauses):
            ended = replace(now.pauses[-1], ended_at=clock.now_iso())
            self._write_state(now._replace(pauses=[*now.pauses[:-1], ended]))

    def set_pauses(self, pauses: Sequence[Pause]) -> None:
        """Replace the pauses by those of a fleet.

        Raises:
            StorageError: the epoch file cannot be written; the old pauses still hold.
        """
        self._write_state(self._read_state()._replace(pauses=[*pauses]))

    def _read_state(self) -> FilesState:
        try:
            known = json.loads(regular_files.read(self._epoch_file))
            epoch, oldest, pauses, *more = known
            begun_by = str(more[0]) if more else ""
            pid, noted_at = more[1] if len(more) > 1 else (0, 0.0)
            return FilesState(
                int(epoch),
                int(oldest),
                [Pause(**each) for each in pauses],
                begun_by,
                (int(pid), float(noted_at)),
            )
        except (FileNotFoundError, UnreadableError, ValueError, TypeError, RecursionError):
            return FilesState(0, 0, [])

    def _write_state(self, now: FilesState) -> None:
        with self._replacing(self._epoch_file) as temporary:
            pauses = [asdict(pause) for pause in now.pauses]
            content = [now.epoch, now.oldest, pauses, now.begun_by, now.collector]
            temporary.write_text(json.dumps(content), encoding="utf-8")

    @contextlib.contextmanager
    def publishing(self, suffix: str, *, epoch: int) -> Iterator[Path]:
        """Yield an empty data file; stamp it at the end of the block, and rename it into place.

        Raises:
            StorageError: it cannot be written. Then, and if the block raises, what was published
                before is still there.
        """
        host = socket.gethostname()
        with self._replacing(self._path(suffix)) as temporary:
            yield temporary
            stamp.put(temporary, Stamp(worker_id=suffix, host=host, epoch=epoch))

    @contextlib.contextmanager
    def _replacing(self, target: Path) -> Iterator[Path]:
        """Replace a file by `own_files.replacing`, with errors of its own.

        Raises:
            StorageError: the file cannot be written.
        """
        what = f"{target.name} cannot be written in {self._folder}"
        with storage_errors(what), own_files.replacing(target) as temporary:
            yield temporary

    def published(self, *, before: int | None = None) -> Sequence[Path]:
        """Return the data files of epochs that count, or of an unknown one, sorted by name.

        Args:
            before: only those of older epochs than this, or of an unknown one.
        """
        oldest = self.oldest()
        return [path for path in sorted(self._all()) if self._counts(path, oldest, before)]

    def _counts(self, path: Path, oldest: int, before: int | None) -> bool:
        if not oldest and before is None:
            return True
        found = stamp.read(path)
        return found is None or (found.epoch >= oldest and (before is None or found.epoch < before))

    def fold(self, *, live: Collection[str], union: WriteUnion) -> None:
        """Replace data files of this host, of memories that are gone, by their union.

        Args:
            live: ids of memories whose data files stay.
            union: writes the union of some data files to another; returns those that it has read.

        Raises:
            StorageError: the union cannot be written; all data files are still there.
        """
        own_files.sweep(self._folder)
        now, host = self._read_state(), socket.gethostname()
        if self._is_collecting(now):
            return  # data of older epochs must stay apart
        compatible = CompatibleGroups()
        for path in self._of_memories():
            with contextlib.suppress(sqlite3.Error, ValueError), stamp.reading(path) as connection:
                found = stamp.stamp_in(connection)
                if found is None or found.host != host or found.worker_id in live:
                    continue
                if found.epoch < now.oldest:
                    path.unlink(missing_ok=True)
                else:
                    compatible.add(path, connection)
        for group in compatible.groups():
            folded = f"{host}.folded.{os.urandom(4).hex()}"
            known = {path: file_state(path) for path in group}
            with contextlib.suppress(_AloneError):
                with self._replacing(self._path(folded)) as temporary:
                    used = union(group, temporary)
                    if len(used) < 2:
                        raise _AloneError
                    stamp.put(temporary, Stamp(worker_id=folded, host=host, epoch=now.epoch))
                for path in used:
                    if file_state(path) == known[path]:  # else it has been replaced meanwhile
                        path.unlink(missing_ok=True)

    def _of_memories(self) -> list[Path]:
        """Return all data files except the configured one, sorted by name."""
        return sorted(path for path in self._all() if path != self._data_file)

    def withdraw(self, suffix: str) -> None:
        """Remove the data file with this suffix; nothing happens if there is none."""
        self._path(suffix).unlink(missing_ok=True)

    def erase(self) -> None:
        """Remove the configured data file and those that were published beside it.

        Raises:
            OSError: one of them cannot be removed.
        """
        for path in self._all():
            path.unlink(missing_ok=True)

    def discard(self, published: Sequence[Path]) -> None:
        """Remove data files.

        Raises:
            OSError: one of them cannot be removed.
        """
        for path in published:
            path.unlink(missing_ok=True)

    def forget_contexts(self, is_forgotten: Callable[[str], bool]) -> bool:
        """Remove contexts from all data files; tell whether any had one of them.

        Each file is replaced as a whole. One that cannot be used is left as it is.

        Raises:
            StorageError: one cannot be written; it is as it was.
        """
        found = False
        for path in self._all():
            try:
                with open_data_file(path) as connection:
                    forgotten = [*filter(is_forgotten, stamp.contexts_in(connection))]
            except UnusableError:  # none of it counts
                continue
            if forgotten:
                found = True
                with self._replacing(path) as temporary:
                    shutil.copyfile(path, temporary)
                    stamp.remove_contexts(temporary, forgotten)
        return found

    def used_paths(self) -> dict[Path, PathUse]:
        """Return the epoch file, for checks on /health."""
        return {self._epoch_file: "file"}

    def describe(self) -> str:
        """Return the folder of the data files, as text."""
        return str(self._folder)

    def _path(self, suffix: str) -> Path:
        return self._folder / f"{self._data_file.name}.{suffix}"

    def _all(self) -> Iterator[Path]:
        """Yield the configured data file, and those whose names begin with its name and a dot."""
        name = self._data_file.name
        for folder in {self._data_file.parent, self._folder, self._fallback}:
            try:
                with os.scandir(folder) as entries:
                    found = [each.path for each in entries if _is_data_file(each, name)]
            except OSError as error:
                if is_shortage(error):
                    raise  # else its data files would be left out silently
                continue
            yield from map(Path, found)


def _is_data_file(entry: os.DirEntry[str], name: str) -> bool:
    ours = entry.name == name or entry.name.startswith(f"{name}.")
    return ours and not entry.name.endswith("-journal") and _is_no_folder(entry)


def _is_no_folder(entry: os.DirEntry[str]) -> bool:
    """Tell whether an entry is a file, or a pipe, device or link to itself, to be refused later."""
    try:
        return entry.is_file() or (not entry.is_dir() and Path(entry.path).exists())
    except OSError:  # a link to itself, or into a folder that this user may not read
        return True


def file_state(path: Path) -> tuple[int, int, int] | None:
    """Return inode, time and size, to tell whether a file was replaced; None: it was removed."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size
