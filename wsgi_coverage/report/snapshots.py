"""Snapshots: reports that are stored until they are deleted.

A snapshot is a folder like a published report, with a label in its metadata. Its id is made by the
server, never taken from a request. Those of flask-coverage are listed, too (old_snapshots.py). In a
fleet, a snapshot that another host has made consists of its metadata alone until its content is
asked for.

Concurrency: a snapshot appears by renaming and disappears by renaming; no lock.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from wsgi_coverage.errors import (
    DamagedReportError,
    SnapshotLimitError,
    UnknownSnapshotError,
    is_shortage,
)
from wsgi_coverage.model import Report
from wsgi_coverage.report import old_snapshots
from wsgi_coverage.report.publish import (
    ID,
    LACKS,
    META,
    build_folder,
    read_meta,
    read_meta_of,
    reading_stored,
    remove,
    write_meta,
)
from wsgi_coverage.store.workspace import sweep
from wsgi_coverage.system import own_files
from wsgi_coverage.system.own_files import ABANDONED_AGE

MAX_SNAPSHOTS = 1000
ELSEWHERE = "elsewhere"  # an empty file: this host has only the metadata of the snapshot

T = TypeVar("T")


class Snapshots:
    """The snapshots of one folder.

    Args:
        folder: the folder.
        described: the setting that names it, with its value, for messages; empty: the folder alone.
    """

    def __init__(self, folder: Path, described: str = "") -> None:
        self._folder = folder
        self._described = described or str(folder)

    @contextlib.contextmanager
    def taking(
        self, build: Callable[[Path], Report], *, label: str | None = None, keep: bool = True
    ) -> Iterator[tuple[Report, Path]]:
        """Build a report, yield it, and store it as a snapshot unless the block raises.

        Args:
            build: writes the report into a folder, and returns the metadata.
            label: the snapshot's name for people.
            keep: False: the report exists in the block only.

        Yields:
            The metadata, and the report's folder.

        Raises:
            SnapshotLimitError: there are MAX_SNAPSHOTS already.
            StorageError: the report cannot be written; no incomplete one is listed.
        """
        if keep and self._count() >= MAX_SNAPSHOTS:
            raise SnapshotLimitError(
                f"there are {MAX_SNAPSHOTS} snapshots in {self._described}, and no more are kept: "
                "delete some"
            )
        with build_folder(self._folder, self._described) as folder:
            report = replace(build(folder), label=label)
            write_meta(folder, report)
            yield report, folder
            if keep:
                folder.rename(self._folder / report.id)

    def ids(self) -> list[str]:
        """Return the ids of all snapshots but old ones, unordered."""
        return [name for name in self._names() if ID.fullmatch(name)]

    def state(self) -> int:
        """Return the folder's mtime in ns, which changes with each snapshot added or removed."""
        try:
            return self._folder.stat().st_mtime_ns
        except OSError:
            return 0

    def list_only(self, identity: str, metadata: str) -> None:
        """Add another host's snapshot to the list, by its metadata; `complete` adds its content.

        Raises:
            StorageError: the metadata cannot be written.
            ValueError, TypeError, KeyError: the text is not this snapshot's metadata.
        """
        with build_folder(self._folder, self._described) as folder:
            own_files.write(folder / META, metadata)
            read_meta_of(folder, identity)
            own_files.write(folder / ELSEWHERE, "")
            with contextlib.suppress(OSError):  # the snapshot is here already
                folder.rename(self._folder / identity)

    def is_whole(self, identity: str) -> bool:
        """Tell whether a snapshot's content need not be fetched; True if there is no such one."""
        return not ID.fullmatch(identity) or not (self._folder / identity / ELSEWHERE).exists()

    def complete(self, identity: str, fill: Callable[[Path], object]) -> None:
        """Add the content of a snapshot that is in the list.

        Args:
            identity: the snapshot's id.
            fill: writes the content into a folder.

        Raises:
            UnknownSnapshotError: the snapshot was deleted.
            StorageError: the content cannot be written.
            ValueError, TypeError, KeyError: the content is not this snapshot's.
        """
        target = self.find(identity)
        with build_folder(self._folder, self._described) as folder:
            fill(folder)
            read_meta_of(folder, identity)
            try:
                for path in folder.iterdir():
                    _move(path, target / path.name)
                (target / ELSEWHERE).unlink(missing_ok=True)
            except FileNotFoundError:
                raise UnknownSnapshotError("the snapshot was deleted just now") from None

    def all(self) -> list[Report]:
        """Return the metadata of every snapshot whose metadata can be read, newest first."""
        return self.newest(None)

    def newest(self, count: int | None) -> list[Report]:
        """Return the metadata of the newest snapshots, newest first.

        Args:
            count: how many at most; None: all.
        """
        names = {*self._names(), *old_snapshots.ids(self._folder)}
        return list(itertools.islice(self._whole(sorted(names, reverse=True)), count))

    def _names(self) -> Iterator[str]:
        """Yield the names of folders that have the form of an id; links are left out."""
        with contextlib.suppress(OSError), os.scandir(self._folder) as entries:
            for entry in entries:
                is_id = ID.fullmatch(entry.name) or old_snapshots.ID.fullmatch(entry.name)
                if is_id and not entry.is_symlink():
                    yield entry.name

    def _whole(self, names: Iterable[str]) -> Iterator[Report]:
        for name in names:
            try:
                meta = self._meta(name)
            except (OSError, ValueError) as error:
                if is_shortage(error):
                    raise
                continue
            yield meta

    def _meta(self, name: str) -> Report:
        try:
            return read_meta(self._folder / name)
        except FileNotFoundError:
            if not old_snapshots.ID.fullmatch(name):
                raise
            return old_snapshots.report_of(self._folder, name)

    def old(self, identity: str) -> Path | None:
        """Return the data file of an old snapshot that was never opened; None: it is no such one.

        Args:
            identity: its id, which may have the suffix of the file.
        """
        name = _folder_name(identity)
        found = old_snapshots.find(self._folder, name)
        return None if found is None or (self._folder / name).is_dir() else found

    def open_old(self, identity: str, build: Callable[[Path], Report]) -> None:
        """Make a report of an old snapshot.

        Args:
            identity: its id, which may have the suffix of the file.
            build: writes the report into a folder, and returns the metadata.

        Raises:
            StorageError: the report cannot be written.
        """
        name = _folder_name(identity)
        with build_folder(self._folder, self._described) as folder:
            made = build(folder)
            report = replace(
                made,
                id=name,
                refreshed_at=old_snapshots.taken_at(name),
                complete=False,
                warnings=(old_snapshots.TAKEN_BY, *made.warnings),
                label=old_snapshots.label_of(name),
                summary={**made.summary, "since": None},
            )
            write_meta(folder, report)
            with contextlib.suppress(OSError):  # another request has opened it
                folder.rename(self._folder / name)

    def find(self, identity: str) -> Path:
        """Return a snapshot's folder.

        Raises:
            UnknownSnapshotError: no snapshot has this id.
        """
        name = _folder_name(identity)
        is_id = ID.fullmatch(identity) or old_snapshots.ID.fullmatch(name)
        folder = self._folder / name if is_id else None
        if folder is None or folder.is_symlink() or not folder.is_dir():
            raise UnknownSnapshotError("there is no snapshot with this id")
        return folder

    def read(self, identity: str, reader: Callable[[Path], T]) -> T:
        """Call a reader with a snapshot's folder.

        Raises:
            UnknownSnapshotError: no snapshot has this id, or it was deleted meanwhile.
            DamagedReportError: its files are not as they were written.
            FileNotFoundError: the snapshot lacks a file that the reader opens.
        """
        folder = self.find(identity)
        try:
            with reading_stored():
                return reader(folder)
        except (FileNotFoundError, DamagedReportError):
            self.find(identity)
            if (folder / META).exists():
                raise
            raise DamagedReportError(LACKS) from None

    def delete(self, identity: str) -> None:
        """Remove a snapshot.

        Raises:
            UnknownSnapshotError: no snapshot has this id.
        """
        name = _folder_name(identity)
        old = old_snapshots.find(self._folder, name)
        if old is not None:
            old.unlink(missing_ok=True)
            if not (self._folder / name).is_dir():
                return
        try:
            remove(self.find(identity))
        except FileNotFoundError:
            raise UnknownSnapshotError("there is no snapshot with this id") from None

    def sweep(self) -> None:
        """Remove what killed processes left: working folders, half-deleted snapshots."""
        sweep(self._folder, age=ABANDONED_AGE)

    def _count(self) -> int:
        return sum(1 for _ in self._names())


def _folder_name(identity: str) -> str:
    """Return the name of a snapshot's folder; flask-coverage takes ids with a suffix, too."""
    return identity.removesuffix(old_snapshots.SUFFIX)


def _move(path: Path, target: Path) -> None:
    """Move a file or a folder, unless another process has put it there just now."""
    try:
        path.rename(target)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
