"""Snapshots: reports that are stored until they are deleted.

A snapshot is a folder like a published report, with a label in its metadata, and beside it its data
file, for programs that look for `*.coverage`:

    snapshot_dir/
        <id>/            as a published report; `has-file`: the data file beside it was made
        <id>.coverage    a hard link to <id>/data.coverage, or a copy where there are no links

The id is made by the server; of a request it has the letters a to z and digits of the label. A
snapshot whose data file was made and is gone has been removed by hand: it is not listed any more,
and its folder is removed. Those of flask-coverage are listed, too (old_snapshots.py). In a fleet, a
snapshot that another host has made consists of its metadata alone until its content is asked for.

Concurrency: a snapshot appears by renaming and disappears by renaming; no lock. A process that ends
before the data file is made leaves that to the next `sweep`.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import re
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
    DATA,
    ID,
    LACKS,
    META,
    MOST_SLUG,
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
HAS_FILE = "has-file"  # an empty file: the data file beside the folder was made
SUFFIX = old_snapshots.SUFFIX

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
            made = build(folder)
            report = replace(made, id=_with_slug(made.id, label), label=label)
            write_meta(folder, report)
            yield report, folder
            if keep:
                folder.rename(self._folder / report.id)
                self._make_file(report.id)

    def _make_file(self, name: str) -> None:
        """Make the data file beside a snapshot's folder; the next `sweep` tries again on errors."""
        folder, file = self._folder / name, self._file(name)
        with contextlib.suppress(OSError):
            if not (folder / DATA).is_file() or file.is_symlink() or file.is_dir():
                return
            own_files.link(folder / DATA, file)
            try:
                own_files.create(folder / HAS_FILE)
            except FileNotFoundError:  # it was deleted meanwhile
                file.unlink(missing_ok=True)

    def _file(self, name: str) -> Path:
        return self._folder / f"{name}{SUFFIX}"

    def file(self, identity: str) -> Path | None:
        """Return the data file beside a snapshot, by its id; None if there is none on this host."""
        if (old := self.old(identity)) is not None:
            return old
        try:
            self.find(identity)
        except UnknownSnapshotError:
            return None
        file = self._file(identity)
        return file if file.is_file() else None

    def ids(self) -> list[str]:
        """Return the ids of all snapshots but old ones, unordered."""
        return [name for name, _ in self._folders() if ID.fullmatch(name)]

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
        self._make_file(identity)

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
        """Yield the names of folders that have the form of an id, but of those removed by hand.

        Links are left out.
        """
        for name, has_file in self._folders():
            if has_file or not self._is_removed(name):
                yield name

    def _folders(self) -> Iterator[tuple[str, bool]]:
        """Yield the names of snapshots' folders, and whether a data file is beside each."""
        with contextlib.suppress(OSError), os.scandir(self._folder) as entries:
            found = {entry.name: entry.is_symlink() for entry in entries}
            for name, is_link in found.items():
                is_id = ID.fullmatch(name) or old_snapshots.ID.fullmatch(name)
                if is_id and not is_link and not name.endswith(SUFFIX):
                    yield name, f"{name}{SUFFIX}" in found

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
            identity: its id.
        """
        found = old_snapshots.find(self._folder, identity)
        return None if found is None or (self._folder / identity).is_dir() else found

    def open_old(self, identity: str, build: Callable[[Path], Report]) -> None:
        """Make a report of an old snapshot.

        Args:
            identity: its id.
            build: writes the report into a folder, and returns the metadata.

        Raises:
            StorageError: the report cannot be written.
        """
        with build_folder(self._folder, self._described) as folder:
            made = build(folder)
            report = replace(
                made,
                id=identity,
                refreshed_at=old_snapshots.taken_at(identity),
                complete=False,
                warnings=(old_snapshots.TAKEN_BY, *made.warnings),
                label=old_snapshots.label_of(identity),
                summary={**made.summary, "since": None},
            )
            write_meta(folder, report)
            own_files.create(folder / HAS_FILE)
            with contextlib.suppress(OSError):  # another request has opened it
                folder.rename(self._folder / identity)

    def find(self, identity: str) -> Path:
        """Return a snapshot's folder.

        Raises:
            UnknownSnapshotError: no snapshot has this id.
        """
        is_id = ID.fullmatch(identity) or old_snapshots.ID.fullmatch(identity)
        folder = self._folder / identity if is_id else None
        if (
            folder is None
            or folder.is_symlink()
            or not folder.is_dir()
            or self._is_removed(identity)
        ):
            raise UnknownSnapshotError("there is no snapshot with this id")
        return folder

    def _is_removed(self, name: str) -> bool:
        """Tell whether somebody has removed the data file beside a snapshot's folder."""
        # In this order: the file is made first.
        return (self._folder / name / HAS_FILE).exists() and not self._file(name).exists()

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
        if (old := self.old(identity)) is not None:
            old.unlink(missing_ok=True)
            return
        folder = self.find(identity)
        try:
            self._remove(folder)
        except FileNotFoundError:
            raise UnknownSnapshotError("there is no snapshot with this id") from None

    def _remove(self, folder: Path) -> None:
        with contextlib.suppress(OSError):
            self._file(folder.name).unlink()
        remove(folder)
        with contextlib.suppress(OSError):  # another process's sweep may have made it meanwhile
            self._file(folder.name).unlink()

    def sweep(self) -> None:
        """Remove what killed processes left, and snapshots whose data file was removed by hand.

        Data files that killed processes did not come to make are made: those of earlier versions,
        which made none, too.
        """
        sweep(self._folder, age=ABANDONED_AGE)
        own_files.sweep(self._folder)
        for name, has_file in list(self._folders()):
            # Of up to a thousand at each refresh, nearly all: hence no Path.
            if has_file and os.path.exists(f"{self._folder}/{name}/{HAS_FILE}"):  # noqa: PTH110
                continue
            with contextlib.suppress(OSError):
                if has_file:
                    own_files.create(self._folder / name / HAS_FILE)
                elif self._is_removed(name):
                    self._remove(self._folder / name)
                else:
                    self._make_file(name)

    def _count(self) -> int:
        return sum(1 for _ in self._names())


def snapshot_id(identity: str) -> str:
    """Return a snapshot's id without the suffix that flask-coverage's ids have."""
    return identity.removesuffix(SUFFIX)


def _with_slug(identity: str, label: str | None) -> str:
    """Return an id with the slug of a label: its letters a to z and digits, in lower case."""
    if not label:
        return identity
    slug = "-".join(re.findall("[a-z0-9]+", label.lower()))[:MOST_SLUG].rstrip("-")
    return f"{identity}-{slug or 'label'}"


def _move(path: Path, target: Path) -> None:
    """Move a file or a folder, unless another process has put it there just now."""
    try:
        path.rename(target)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
