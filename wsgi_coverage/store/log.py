"""What does not fit a byte a line: arcs, and lines in contexts or of files that plugins trace.

Beside the chunks of a memory (wsgi_coverage.store.memory), one file a plane, to which records are
appended, a JSON line each: [name, version, tracer, context, has_arcs, "number,number,..."].

A process reads what others have appended before it appends what is new, so that the same arcs of
many workers are there about once. A torn line is passed over by all.

Concurrency: appended in one step, by whoever comes, under a record lock that is shared and never
waited for: it tells whoever takes a file away that somebody is about to append. Records that are
there twice are no harm.
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

from wsgi_coverage.data.reading import Record

LOG_FILE = re.compile(r"(load|(?:flushed|untold)-\d+)(?:\.[0-9a-f]{8})?\.log")
HEAD = 19  # bytes: a line of its own, which is random
TRIES = 100  # to open a file that others take away
MOST_BYTES = 1 << 26  # of one plane; a memory cgroup kills who takes too much

Known = dict[Record, set[int]]  # by a record without numbers


class _Read(NamedTuple):
    """What is known of one plane's file."""

    head: bytes  # tells the file from one that has come in its place
    end: int  # bytes that have been read
    known: Known


class LogFullError(OSError):
    """There is no place for another record, by the bound that is set."""


class Log:
    """This process's view of the records of a memory.

    Args:
        folder: of the memory.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._planes: dict[str, _Read] = {}

    def append(self, plane: str, found: Known) -> bool:
        """Append what is not there yet; tell whether that was anything.

        Args:
            plane: of the memory.
            found: numbers by record.

        Raises:
            LogFullError: there is no place for more.
            OSError: there is no room.
        """
        with self._open(plane) as file:
            known = self._catch_up(plane, file)
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
            self._catch_up(plane, file)
            return True

    @contextlib.contextmanager
    def _open(self, plane: str) -> Iterator[FileIO]:
        """The file of a plane, which is not taken away meanwhile: see `call_it`."""
        path = self._folder / f"{plane}.log"
        for _ in range(TRIES):
            with FileIO(path, "ab+", opener=_opened) as file:
                if _is_shared(file) and _is_at(file, path):
                    yield file
                    return
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN), f"{plane}.log")

    def catch_up(self, plane: str) -> None:
        """Know what others have appended."""
        with contextlib.suppress(OSError), FileIO(self._folder / f"{plane}.log") as file:
            self._catch_up(plane, file)

    def _catch_up(self, plane: str, file: FileIO) -> Known:
        """Read what has been appended since this process last looked."""
        size, head = os.fstat(file.fileno()).st_size, os.pread(file.fileno(), HEAD, 0)
        read = self._planes.get(plane)
        if read is None or read.head != head or size < read.end:  # it was made anew
            read = _Read(head, 0, {})
        if size > read.end:
            raw = os.pread(file.fileno(), size - read.end, read.end)
            whole = raw[: raw.rfind(b"\n") + 1]
            _learn(read.known, whole)
            read = read._replace(end=read.end + len(whole))
        self._planes[plane] = read
        return read.known

    def held(self) -> dict[str, Known]:
        """What this process knows of each plane, also where the files are gone."""
        return {plane: read.known for plane, read in self._planes.copy().items()}

    def forget(self, plane: str) -> None:
        """Let go of a plane that this process has left."""
        self._planes.pop(plane, None)

    def call_it(self, plane: str, of: str) -> None:
        """Have all records of a plane belong to another one from now on.

        Who is about to append to the old file has its records read with the new plane's.
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
        """The planes that there are records of, each with its file."""
        with contextlib.suppress(FileNotFoundError), os.scandir(self._folder) as entries:
            for entry in sorted(entries, key=lambda each: each.name):
                if match := LOG_FILE.fullmatch(entry.name):
                    yield match[1], Path(entry.path)


def read_records(path: Path) -> list[Record]:
    """The records of one plane's file, with their numbers.

    Raises:
        OSError: it cannot be read.
    """
    return with_numbers(_learn({}, path.read_bytes()))


def with_numbers(known: Known) -> list[Record]:
    """Records, with their numbers."""
    return [record._replace(numbers=tuple(sorted(n))) for record, n in known.items()]


def write_whole(fd: int, data: bytes) -> None:
    """Write in one step.

    Raises:
        OSError: there is no room for all of it (ENOSPC).
    """
    if os.write(fd, data) < len(data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _is_shared(file: FileIO) -> bool:
    """Have nobody take this file away until it is closed; False: somebody does just now."""
    return _try_lock(file, "LOCK_SH")


def _is_exclusive(file: FileIO) -> bool:
    """Have nobody append to this file until it is closed; False: somebody does just now."""
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


def _opened(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)


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
    """Add what lines hold to what is known."""
    for record, numbers in _parsed(raw):
        known.setdefault(record, set()).update(numbers)
    return known


def _parsed(raw: bytes) -> Iterator[tuple[Record, Iterable[int]]]:
    """The records that are as they should be."""
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
