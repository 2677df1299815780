"""Build reports in a folder of their own and publish them by renaming: old or new, never a half.

    cache_dir/
        reports/<id>/   data.coverage report.txt files.json figures origin.json
                        sources/ meta.json, and formats rendered later: coverage.json html/ and more
        current         the id of the published report
        build.lock      held by the process that builds
        collect.lock    held by the process that collects: reads and resets in one step

Concurrency: builds of all processes are serialised by the lock; readers take none. A reader that
loses a race against the removal of an old report finds the new one on its next try.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import sqlite3
import stat
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from coverage.exceptions import CoverageException

from wsgi_coverage import clock
from wsgi_coverage.clock import Deadline
from wsgi_coverage.compat import names
from wsgi_coverage.data import regular_files
from wsgi_coverage.data.regular_files import UnreadableError
from wsgi_coverage.data.stored import DamagedError, as_dataclass, is_number, read_json
from wsgi_coverage.errors import (
    BlockedError,
    DamagedReportError,
    NoReportError,
    RefreshBusyError,
    RefusedReportError,
    RemovedError,
    WsgiCoverageError,
    refusal,
    storage_errors,
)
from wsgi_coverage.model import Gathering, Report
from wsgi_coverage.store.file_lock import locked
from wsgi_coverage.store.workspace import BUILDING, sweep, workplace
from wsgi_coverage.store.writable import PathUse, blocked, check_removable
from wsgi_coverage.system import own_files

DATA = "data.coverage"
META = "meta.json"
MOST_SLUG = 50  # characters
# As new_id makes them; those of snapshots may end with the label's slug.
ID = re.compile(
    rf"[0-9]{{8}}T[0-9]{{6}}\.[0-9]{{6}}Z-[0-9a-f]{{8}}(?:-[a-z0-9-]{{1,{MOST_SLUG}}})?"
)
LOCKS = BUILD_LOCK, COLLECT_LOCK = "build.lock", "collect.lock"
LOCK_TIMEOUT = 120.0  # seconds to wait for another build
MAX_REPORTS = 2  # on disk: the published one, and the one that readers may still be in
READ_TRIES = 5
NO_METADATA = "it is no report's metadata"
DAMAGED = "a file of this report is not as it was written; make a new one"
LACKS = "this report lacks some of its files; make a new one"
MOST = 512 << 20  # bytes of one file of a report
MOST_ID = 1_000  # bytes of the file `current`
MOST_TEXT = 500  # characters of a message that quotes a file's content
# Errors that reading a damaged file of a report can raise.
DAMAGE = (
    UnreadableError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    RecursionError,
    AssertionError,
    MemoryError,
    zlib.error,
    sqlite3.Error,
    CoverageException,
)
# Keys of a summary that has figures; keys whose values are lists, or texts, instead of figures.
FIGURES_OF_ALL = {"percent", "statements", "covered", "missing", "files"}
LISTS = ("largest_unused", "lowest")
TEXTS = ("reason", "runtime_reason", "since")

log: logging.Logger = logging.getLogger("wsgi_coverage")

T = TypeVar("T")


def new_id() -> str:
    """Return an id for a report that sorts by time and never collides."""
    stamp = clock.now_iso().replace("-", "").replace(":", "").replace("+0000", "Z")
    return f"{stamp}-{os.urandom(4).hex()}"


def read_meta(folder: Path) -> Report:
    """Read the metadata of a finished report.

    Raises:
        FileNotFoundError: there is no metadata.
        ValueError: the metadata is damaged.
        OSError: the metadata cannot be read.
    """
    report = as_dataclass(Report, read_json(folder / META))
    datetime.fromisoformat(report.refreshed_at)
    if not all(map(_is_plain, (*report.workers, *report.made_of))) or not _is_summary(
        report.summary
    ):
        raise DamagedError(NO_METADATA)
    return report


def _is_plain(found: object) -> bool:
    """Tell whether a value is an object of plain values."""
    return isinstance(found, dict) and all(
        isinstance(value, str | bool | None) or is_number(value) for value in found.values()
    )


def _is_summary(summary: Mapping[str, Any]) -> bool:
    """Tell whether each value of a summary has the type that its key demands."""
    if summary.get("percent") is not None and not summary.keys() >= FIGURES_OF_ALL:
        return False
    for name, value in summary.items():
        if name in LISTS:
            if not isinstance(value, list) or not all(map(_is_plain, value)):
                return False
        elif value is not None and not (
            isinstance(value, str) if name in TEXTS else is_number(value)
        ):
            return False
    return True


@contextlib.contextmanager
def reading_stored() -> Iterator[None]:
    """Turn errors of the block, which reads a stored report, into DamagedReportError.

    Errors of the file system, those of this project, and those of a coverage.py that lacks a name
    stay what they are.

    Raises:
        DamagedReportError: a file of the report is not as it was written.
    """
    try:
        yield
    except DAMAGE as error:
        is_damage = isinstance(error, UnreadableError | DamagedError)
        if isinstance(error, WsgiCoverageError) or not (
            is_damage or (refusal(error) is None and names.change(error) is None)
        ):
            raise
        log.warning("a report that was stored is damaged", exc_info=True)
        raise DamagedReportError(
            f"{DAMAGED}: {type(error).__name__}: {error}"[:MOST_TEXT]
        ) from error


def check_file(path: Path) -> None:
    """Refuse what `read_file` would refuse: SQLite would wait for the writer of a named pipe.

    Raises:
        UnreadableError: the file is no regular one, or very large.
        FileNotFoundError: there is no such file.
    """
    regular_files.check(path, MOST, follows=False)


def read_file(path: Path) -> bytes:
    """Return the content of a file of a report.

    A symbolic link, which none of them is, could lead to any file of this process's user.

    Raises:
        UnreadableError: the file is no regular one, or very large.
        OSError: the file cannot be read.
    """
    return regular_files.read(path, MOST, follows=False)


def read_meta_of(folder: Path, identity: str) -> Report:
    """Read the metadata of a finished report, and check that it has a certain id.

    Raises:
        FileNotFoundError, ValueError, OSError: as `read_meta`; ValueError for another id, too.
    """
    report = read_meta(folder)
    if report.id != identity:
        raise ValueError(f"it is the report {report.id}")
    return report


@contextlib.contextmanager
def build_folder(parent: Path, described: str) -> Iterator[Path]:
    """Make a folder to build in; remove it at the end of the block unless it was renamed.

    Args:
        parent: the folder to make it in.
        described: the setting that names the parent, with its value, for messages.

    Raises:
        StorageError: the folder cannot be written to, or was removed during the block.
    """
    with storage_errors(f"{described} cannot be written to; what was there is untouched"):
        own_files.make_folder(parent)
        with ExitStack() as stack:
            try:
                folder = stack.enter_context(workplace(parent))
            except FileNotFoundError as error:
                raise _removed(described) from error
            try:
                yield folder
            except Exception as error:
                if refusal(error) is not None or folder.exists():
                    raise
                raise _removed(described) from error


def _removed(described: str) -> RemovedError:
    return RemovedError(f"{RemovedError.why}: what was being made in {described}; try again")


def write_meta(folder: Path, report: Report) -> None:
    """Write the metadata: the last file of a report, whose presence marks it as finished."""
    own_files.write(folder / META, json.dumps(asdict(report)))


class Publisher:
    """The published report of one cache folder.

    Args:
        cache_dir: the folder.
        described: the setting that names it, with its value, for messages; empty: the folder alone.
    """

    def __init__(self, cache_dir: Path, described: str = "") -> None:
        self._cache_dir = cache_dir
        self._described = described or str(cache_dir)
        self._reports = cache_dir / "reports"
        self._current = cache_dir / "current"

    @contextlib.contextmanager
    def lock(self, timeout: float = LOCK_TIMEOUT) -> Iterator[None]:
        """Hold the build lock, which serialises builds and resets.

        Args:
            timeout: seconds to wait for it.

        Raises:
            RefreshBusyError: another process has held the lock all that time.
            StorageError: the lock's file cannot be made or opened.
        """
        with self._held(BUILD_LOCK, timeout):
            yield

    @contextlib.contextmanager
    def _held(self, name: str, timeout: float) -> Iterator[None]:
        with ExitStack() as held:
            try:
                with storage_errors(f"{self._described} cannot be written to"):
                    held.enter_context(self._locked(self._cache_dir / name, timeout))
            except TimeoutError:
                raise RefreshBusyError(
                    f"another build has held {self._cache_dir / name} for "
                    f"{timeout:.3g} seconds; try again later"
                ) from None
            yield

    def _locked(self, path: Path, timeout: float) -> ExitStack:
        """Take a lock, which a with statement releases; try again if its folder was removed."""
        deadline, left = Deadline(timeout), timeout
        for _ in range(READ_TRIES):
            own_files.make_folder(self._cache_dir)
            with ExitStack() as held, contextlib.suppress(FileNotFoundError):
                held.enter_context(locked(path, left))
                return held.pop_all()
            left = deadline.left(timeout)
        raise _removed(self._described)

    @contextlib.contextmanager
    def collecting(self, timeout: float = LOCK_TIMEOUT) -> Iterator[None]:
        """Hold the collect lock, which serialises collections, each of which begins an epoch.

        Unlike the build lock, it is held while workers are waited for; reports are built meanwhile.

        Args:
            timeout: seconds to wait for it.

        Raises:
            RefreshBusyError, StorageError: as `lock`.
        """
        with self._held(COLLECT_LOCK, timeout):
            yield

    def refresh(
        self,
        gathering: Gathering,
        build: Callable[[Path], Report],
        timeout: float = LOCK_TIMEOUT,
    ) -> Report:
        """Publish a new report, or return the published one if it was built after the gathering.

        Args:
            gathering: the workers' answers; the report has to contain what they have flushed.
            build: writes a report into a folder, and returns the metadata.
            timeout: seconds to wait for the build lock.

        Raises:
            RefreshBusyError, StorageError: as `lock` and `build_folder`.
            RefusedReportError: the folder of reports is a link.
        """
        with self.lock(timeout):
            with contextlib.suppress(NoReportError):
                current = self.current()
                both = gathering.complete and current.complete
                if both and gathering.ended_at.is_covered_by(current.collected):
                    return current  # another process built it while we waited for the lock
            self._check_is_inside(self._reports)
            with build_folder(self._reports, self._described) as folder:
                report = build(folder)
                write_meta(folder, report)
                self._publish(folder, report.id)
            self._prune(report.id)
            return report

    def install(self, identity: str, fill: Callable[[Path], object]) -> Report | None:
        """Publish a report that another host has made; call it under the lock.

        Args:
            identity: the report's id.
            fill: writes the report, with its metadata, into a folder.

        Returns:
            The report's metadata; None where this host had the report already.

        Raises:
            OSError, ValueError, TypeError, KeyError: the report cannot be written, or read.
            RefusedReportError: the folder of reports is a link.
        """
        self._check_is_inside(self._reports)
        if (self._reports / identity / META).exists():
            own_files.replace(self._current, identity)
            return None
        with build_folder(self._reports, self._described) as folder:
            fill(folder)
            report = read_meta_of(folder, identity)
            self._publish(folder, identity)
        self._prune(identity)
        return report

    def _publish(self, folder: Path, identity: str) -> None:
        folder.rename(self._reports / identity)
        own_files.replace(self._current, identity)

    def check_removable(self) -> None:
        """Check that `withdraw` will work; a reset does so before it erases anything.

        Raises:
            StorageError: `withdraw` would fail.
        """
        check_removable(self._cache_dir, self._described)
        for path, why in blocked({self._current: "file"}).items():
            raise BlockedError(f"{why}: {path} cannot be removed")

    def used_paths(self) -> dict[Path, PathUse]:
        """Return the paths that a refresh writes to in the cache folder, but for single reports."""
        locks: dict[Path, PathUse] = {self._cache_dir / name: "lock" for name in LOCKS}
        return {self._reports: "folder", self._current: "file", **locks}

    def withdraw(self) -> None:
        """Remove the published report; call it under the lock."""
        self._current.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            for path in list(self._reports.iterdir()):
                with contextlib.suppress(OSError):
                    remove(path)
        if self._reports.is_dir() and not self._reports.is_symlink():  # a link is not ours
            own_files.remove_tree(self._reports)

    def identity(self) -> str | None:
        """Return the published report's id; None where nothing is published."""
        try:
            return self._identity()
        except (NoReportError, OSError):
            return None

    def current(self) -> Report:
        """Return the published report's metadata.

        Raises:
            NoReportError: nothing is published.
        """
        return self.read(read_meta)

    def read(self, reader: Callable[[Path], T]) -> T:
        """Call a reader with the published report's folder; again if it was replaced meanwhile.

        Raises:
            NoReportError: nothing is published.
            DamagedReportError: its files are not as they were written.
            FileNotFoundError: the report lacks a file that the reader opens.
        """
        for attempt in range(READ_TRIES):
            folder = self._folder()
            try:
                with reading_stored():
                    return reader(folder)
            except (FileNotFoundError, NotADirectoryError, DamagedReportError):
                if (folder / META).exists():
                    raise
            if attempt < READ_TRIES - 1:
                time.sleep(0.01)
        raise DamagedReportError(LACKS)

    def _folder(self) -> Path:
        """Return the published report's folder, never one outside of the cache folder.

        Raises:
            NoReportError: nothing is published.
            RefusedReportError: a link is in the way, or `current` has no id as `new_id` makes it.
        """
        return self.folder(self._identity())

    def folder(self, identity: str) -> Path:
        """Return the folder of a report that was published; it may have been removed since.

        Raises:
            RefusedReportError: it, or the folder of reports, is a link.
        """
        folder = self._reports / identity
        self._check_is_inside(self._reports)
        self._check_is_inside(folder)
        return folder

    def _check_is_inside(self, path: Path) -> None:
        if path.is_symlink():
            raise RefusedReportError(
                f"{path} is a symbolic link, which may lead out of {self._cache_dir}, and is "
                "not followed: remove it, and refresh"
            )

    def _identity(self) -> str:
        try:
            is_file = stat.S_ISREG(self._current.lstat().st_mode)
            raw = regular_files.read(self._current, MOST_ID) if is_file else None
            identity = raw if raw is None else raw.decode()
        except (FileNotFoundError, NotADirectoryError):
            identity = ""
        except (UnreadableError, ValueError):  # very large, or no text
            identity = None
        if identity == "":
            raise NoReportError(
                "there is no report yet: POST to refresh, or press Refresh on the dashboard"
            )
        if identity is None or not ID.fullmatch(identity):
            raise RefusedReportError(
                f"{self._current} does not name a report as a refresh does (it may lead out of "
                f"{self._cache_dir}), and is not followed: remove it, and refresh"
            )
        return identity

    def build_unread(self, build: Callable[[Path], object]) -> None:
        """Build a report without publishing it, to fill the analysis cache.

        Raises:
            StorageError: the report cannot be written.
            RefusedReportError: the folder of reports is a link.
        """
        self._check_is_inside(self._reports)
        with build_folder(self._reports, self._described) as folder:
            build(folder)

    def sweep(self) -> None:
        """Remove working folders of killed processes; raises nothing."""
        sweep(self._reports, age=0.0)
        own_files.sweep(self._cache_dir)

    def _prune(self, current: str) -> None:
        """Remove old reports, and working folders of killed processes."""
        self.sweep()
        finished = sorted(
            path for path in self._reports.iterdir() if not path.name.startswith(BUILDING)
        )
        old = [path for path in finished if path.name != current][: -(MAX_REPORTS - 1) or None]
        for path in old:
            with contextlib.suppress(OSError):
                remove(path)


def remove(folder: Path) -> None:
    """Remove a report: rename it first, so that no reader finds only some of its files.

    Raises:
        OSError: there is no such folder, or it cannot be removed.
    """
    doomed = folder.with_name(f"{BUILDING}deleted-{folder.name}")
    folder.rename(doomed)
    own_files.remove_tree(doomed)
