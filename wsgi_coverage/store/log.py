"""What does not fit a byte a line: arcs, and lines in contexts or of files that plugins trace.

Beside the chunks of a memory (wsgi_coverage.store.memory), one file a plane, to which records are
appended, a JSON line each: [name, version, tracer, context, has_arcs, "number,number,..."].

A process reads what others have appended before it appends what is new, so that the same arcs of
many workers are there about once. A torn line is passed over by all.

Concurrency: appended in one step, by whoever comes; nobody takes a lock. Records twice are no harm.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
from collections.abc import Iterable, Iterator
from io import FileIO
from pathlib import Path
from typing import NamedTuple

from wsgi_coverage.data.reading import Record

LOG_FILE = re.compile(r"(load|(?:flushed|untold)-\d+)(?:\.[0-9a-f]{8})?\.log")
MOST_BYTES = 1 << 26  # of one plane; a memory cgroup kills who takes too much

Known = dict[Record, set[int]]  # by a record without numbers


class _Read(NamedTuple):
    """What is known of one plane's file."""

    inode: int
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
        with FileIO(self._folder / f"{plane}.log", "ab+", opener=_opened) as file:
            known = self._catch_up(plane, file)
            lines = [
                _as_line(record, new)
                for record, numbers in found.items()
                if (new := numbers - known[record] if record in known else numbers)
                or record not in known
            ]
            if not lines:
                return False
            raw = b"\n" + b"".join(lines)
            if os.fstat(file.fileno()).st_size + len(raw) > MOST_BYTES:
                raise LogFullError(errno.ENOSPC, f"{plane}.log would be larger than {MOST_BYTES:,}")
            if os.write(file.fileno(), raw) < len(raw):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), f"{plane}.log")
            self._catch_up(plane, file)
            return True

    def _catch_up(self, plane: str, file: FileIO) -> Known:
        """Read what has been appended since this process last looked."""
        status = os.fstat(file.fileno())
        size, read = status.st_size, self._planes.get(plane)
        if read is None or read.inode != status.st_ino or size < read.end:  # it was made anew
            read = _Read(status.st_ino, 0, {})
        if size > read.end:
            raw = os.pread(file.fileno(), size - read.end, read.end)
            whole = raw[: raw.rfind(b"\n") + 1]
            for record, numbers in _parsed(whole):
                read.known.setdefault(record, set()).update(numbers)
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

        Who is about to append to the old one appends to the new one.
        """
        with contextlib.suppress(FileNotFoundError):
            (self._folder / f"{of}.log").rename(self._folder / f"{plane}.{os.urandom(4).hex()}.log")
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
    found: Known = {}
    for record, numbers in _parsed(path.read_bytes()):
        found.setdefault(record, set()).update(numbers)
    return with_numbers(found)


def with_numbers(known: Known) -> list[Record]:
    """Records, with their numbers."""
    return [record._replace(numbers=tuple(sorted(n))) for record, n in known.items()]


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


def _parsed(raw: bytes) -> Iterator[tuple[Record, Iterable[int]]]:
    """The records that are as they should be."""
    for line in raw.splitlines():
        if not line.startswith(b"["):
            continue
        with contextlib.suppress(ValueError):
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
