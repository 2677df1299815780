"""Records: arcs, and lines in contexts or of files that plugins trace.

Beside the chunks of a memory (wsgi_coverage.store.memory), one file a plane, to which records are
appended, a JSON line each: [name, version, tracer, context, has_arcs, "number,number,..."].

A process reads the records of others before it appends new ones, so that the same arcs of many
workers are there about once. All readers skip an incomplete line.

Concurrency: a record is appended in one step, under a record lock that is shared and never waited
for: it tells a process that removes a file that another is about to append. Duplicates do no harm.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import re
from collections.abc import Iterable, Iterator
from io import FileIO
from pathlib import Path
from typing import NamedTuple

from wsgi_coverage.data import regular_files
from wsgi_coverage.data.reading import Record
from wsgi_coverage.system import own_files

LOG_FILE = re.compile(r"(load|(?:flushed|untold)-\d+)(?:\.[0-9a-f]{8})?\.log")
HEAD = 19  # bytes: a line of its own, which is random
TRIES = 100  # to open a file that others take away
MOST_BYTES = 1 << 26  # of one plane; a memory cgroup kills who takes too much

Known = dict[Record, set[int]]  # by a record without numbers


class _LogRead(NamedTuple):
    """What this process has read of one plane's file."""

    head: bytes  # tells the file from one that has come in its place
    end: int  # bytes that have been read
    known: Known


class LogFullError(OSError):
    """The records have reached the size that they may have."""


class Log:
    """This process's view of the records of a memory.

    Args:
        folder: of the memory.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._planes: dict[str, _LogRead] = {}

    def append(self, plane: str, found: Known) -> bool:
        """Append records that are not there yet; tell whether there were any.

        Args:
            plane: of the memory.
            found: numbers by record.

        Raises:
            LogFullError: there may be no more records.
            OSError: there is no room.
        """
        with self._open(plane) as file:
            known = self._read_appended(plane, file)
            lines = [
                _as_line(record, new)
                for record, numbers in found.items()
                if (new := numbers - known[record] if record in known else numbers)
                or record not in known
            ]
            if not lines:
                return False
            size = os.fstat(file.fileno()).st_size
            raw = (b"\n" if size else b"# %s\n" % os.urandom(8).hex().encode()) + b"".join(lines)
            if size + len(raw) > MOST_BYTES:
                raise LogFullError(errno.EFBIG, f"{plane}.log would be larger than {MOST_BYTES:,}")
            write_whole(file.fileno(), raw)
            self._read_appended(plane, file)
            return True

    @contextlib.contextmanager
    def _open(self, plane: str) -> Iterator[FileIO]:
        """Open the file of a plane, which is not removed meanwhile: see `move_plane`."""
        path = self._folder / f"{plane}.log"
        for _ in range(TRIES):
            with FileIO(path, "ab+", opener=_opener) as file:
                if _is_shared(file) and _is_at(file, path):
                    yield file
                    return
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN), f"{plane}.log")

    def read_appended(self, plane: str) -> None:
        """Read the records that others have appended to a plane."""
        with contextlib.suppress(OSError), FileIO(self._folder / f"{plane}.log") as file:
            self._read_appended(plane, file)

    def _read_appended(self, plane: str, file: FileIO) -> Known:
        """Read what was appended since this process last read."""
        size, head = os.fstat(file.fileno()).st_size, os.pread(file.fileno(), HEAD, 0)
        read = self._planes.get(plane)
        if read is None or read.head != head or size < read.end:  # it was made anew
            read = _LogRead(head, 0, {})
        if size > read.end:
            raw = os.pread(file.fileno(), size - read.end, read.end)
            whole = raw[: raw.rfind(b"\n") + 1]
            _learn(read.known, whole)
            read = read._replace(end=read.end + len(whole))
        self._planes[plane] = read
        return read.known

    def held(self) -> dict[str, Known]:
        """The records of each plane that this process has read, of removed files too."""
        return {plane: read.known for plane, read in self._planes.copy().items()}

    def forget(self, plane: str) -> None:
        """Drop what was read of a plane that this process has left."""
        self._planes.pop(plane, None)

    def move_plane(self, plane: str, of: str) -> None:
        """Move all records of a plane to another one.

        Records that a process is about to append to the old file are read with the new plane's.

        Args:
            plane: that they belong to from now on.
            of: the plane that they belong to now.
        """
        aside = self._folder / f"{plane}.{os.urandom(4).hex()}.log"
        with contextlib.suppress(FileNotFoundError):
            (self._folder / f"{of}.log").rename(aside)
            with FileIO(aside, "rb+") as file:
                if _is_exclusive(file):
                    self.append(plane, _learn({}, file.readall()))
                    aside.unlink()
        self.forget(of)

    def planes(self) -> Iterator[tuple[str, Path]]:
        """The planes that have records, each with its file."""
        with contextlib.suppress(FileNotFoundError), os.scandir(self._folder) as entries:
            for entry in sorted(entries, key=lambda each: each.name):
                if match := LOG_FILE.fullmatch(entry.name):
                    yield match[1], Path(entry.path)


def read_records(path: Path) -> list[Record]:
    """The records of one plane's file, with their numbers.

    Raises:
        OSError: it cannot be read.
    """
    return with_numbers(_learn({}, regular_files.read(path, 2 * MOST_BYTES)))


def with_numbers(known: Known) -> list[Record]:
    """What was read, as records with their numbers."""
    return [record._replace(numbers=tuple(sorted(n))) for record, n in known.items()]


def write_whole(fd: int, data: bytes) -> None:
    """Write all of some bytes in one step.

    Raises:
        OSError: there is no room for all of them (ENOSPC).
    """
    if os.write(fd, data) < len(data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _is_shared(file: FileIO) -> bool:
    """Keep other processes from removing this file until it is closed; False: one does so."""
    return _try_lock(file, "LOCK_SH")


def _is_exclusive(file: FileIO) -> bool:
    """Keep other processes from appending to this file until it is closed; False: one does so."""
    return _try_lock(file, "LOCK_EX")


def _try_lock(file: FileIO, kind: str) -> bool:
    try:
        fcntl.lockf(file.fileno(), getattr(fcntl, kind) | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EAGAIN):
            raise
        return False
    return True


def _is_at(file: FileIO, path: Path) -> bool:
    try:
        return path.stat().st_ino == os.fstat(file.fileno()).st_ino
    except FileNotFoundError:
        return False


def _opener(path: str, flags: int) -> int:
    return own_files.opener(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW)


def _as_line(record: Record, numbers: Iterable[int]) -> bytes:
    plain = [
        record.name,
        record.version,
        record.tracer,
        record.context,
        record.has_arcs,
        ",".join(map(str, numbers)),
    ]
    return json.dumps(plain, separators=(",", ":")).encode() + b"\n"


def _learn(known: Known, raw: bytes) -> Known:
    """Add the records of some lines to what was read."""
    for record, numbers in _parsed(raw):
        known.setdefault(record, set()).update(numbers)
    return known


def _parsed(raw: bytes) -> Iterator[tuple[Record, Iterable[int]]]:
    """The valid records."""
    for line in raw.splitlines():
        if not line.startswith(b"["):
            continue
        with contextlib.suppress(ValueError, RecursionError):
            match json.loads(line):
                case [
                    str(name),
                    str() | None as version,
                    str(tracer),
                    str() | None as context,
                    bool(has_arcs),
                    str(text),
                ]:
                    numbers = [*map(int, text.split(","))] if text else []
                    yield Record(name, version, tracer, context, has_arcs), numbers
