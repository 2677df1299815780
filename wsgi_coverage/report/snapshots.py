"""Snapshots: reports that are stored until they are deleted.

A snapshot is a folder like a published report, with a label in its metadata; its id is made here
and never from what a client sent.

Concurrency: a snapshot appears by renaming and disappears by renaming; no lock.
"""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from wsgi_coverage.errors import SnapshotLimitError, UnknownSnapshotError, is_shortage
from wsgi_coverage.model import Report
from wsgi_coverage.report.publish import ID, build_folder, read_meta, remove, write_meta
from wsgi_coverage.store.workspace import sweep
from wsgi_coverage.system.own_files import ABANDONED

MAX_SNAPSHOTS = 1000

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
        """Make a report, and store it unless the block raises.

        Args:
            build: writes it into a folder, and returns the metadata.
            label: its name for people.
            keep: False: the report exists in the block only.

        Raises:
            SnapshotLimitError: there are as many as may be stored.
            StorageError: it cannot be written; nothing half-written is listed.
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

    def all(self) -> list[Report]:
        """Every snapshot, newest first, without incomplete ones."""
        return self.newest(None)

    def newest(self, count: int | None) -> list[Report]:
        """The newest snapshots, newest first.

        Args:
            count: how many at most; None: all.
        """
        return list(itertools.islice(self._whole(sorted(self._names(), reverse=True)), count))

    def _names(self) -> Iterator[str]:
        """The folders with a snapshot's name; a link may lead elsewhere, and is left out."""
        with contextlib.suppress(OSError), os.scandir(self._folder) as entries:
            for entry in entries:
                if ID.fullmatch(entry.name) and not entry.is_symlink():
                    yield entry.name

    def _whole(self, names: Iterable[str]) -> Iterator[Report]:
        for name in names:
            try:
                meta = read_meta(self._folder / name)
            except (OSError, ValueError, TypeError, KeyError) as error:
                if is_shortage(error):
                    raise
                continue
            yield meta

    def find(self, identity: str) -> Path:
        """A snapshot's folder.

        Raises:
            UnknownSnapshotError: there is none with this id, or the id is not of its form.
        """
        folder = self._folder / identity if ID.fullmatch(identity) else None
        if folder is None or folder.is_symlink() or not folder.is_dir():
            raise UnknownSnapshotError("there is no snapshot with this id")
        return folder

    def read(self, identity: str, reader: Callable[[Path], T]) -> T:
        """Call a reader with a snapshot's folder.

        Raises:
            UnknownSnapshotError: there is none with this id, or it is deleted meanwhile.
        """
        folder = self.find(identity)
        try:
            return reader(folder)
        except FileNotFoundError:
            self.find(identity)
            raise

    def delete(self, identity: str) -> None:
        """Remove a snapshot.

        Raises:
            UnknownSnapshotError: there is none with this id.
        """
        try:
            remove(self.find(identity))
        except FileNotFoundError:
            raise UnknownSnapshotError("there is no snapshot with this id") from None

    def sweep(self) -> None:
        """Remove what killed processes left: working folders, half-deleted snapshots."""
        sweep(self._folder, age=ABANDONED)

    def _count(self) -> int:
        return sum(1 for _ in self._names())
