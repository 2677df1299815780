"""Records: arcs, and lines in contexts or of files that plugins trace.

There is one file for each plane, beside the chunks of the memory (wsgi_coverage.store.memory).
Records are appended to it, a JSON line each: [name, version, tracer, context, has_arcs,
"number,number,..."]. A line {"forget": context} says that the records before it of that context do
not count any more.

A process reads the records of others before it appends new ones, so that arcs that many workers run
are stored about once. All readers skip an incomplete line.

Concurrency: records are appended in one step, under a shared record lock that is never waited for;
a process that removes the file needs the exclusive one. Duplicates do no harm.
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
from wsgi_coverage.model import JsonObject
from wsgi_coverage.system import own_files

LOG_FILE = re.compile(r"(load|(?:flushed|untold|labels)-\d+)(?:\.[0-9a-f]{8})?\.log")
FORGETTING = b'{"forget":'  # begins a line that has a context to forget
HEAD = 19  # bytes of a file's first line, which is random
TRIES = 100  # tries to open a file that others move away
MOST_BYTES = 1 << 26  # of one plane; a memory cgroup kills processes that use too much

Known = dict[Record, set[int]]  # by a record without numbers


class _LogRead(NamedTuple):
    """What this process has read of one plane's file."""

    head: bytes  # the random first line: another one if the file was replaced
    end: int  # number of bytes that have been read
    known: Known


class LogFullError(OSError):
    """The records of a plane have reached their maximum size."""


class Log:
    """This process's view of the records of a memory.

    Args:
        folder: the folder of the memory.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._where = os.path.join(folder, "")  # noqa: PTH118  a Path takes as long as the rest
        self._planes: dict[str, _LogRead] = {}

    def append(self, plane: str, found: Known) -> bool:
        """Append what a plane does not have yet; tell whether there was any.

        Args:
            plane: the plane's name.
            found: lines, or packed arcs, by record.

        Raises:
            LogFullError: the file would become larger than allowed.
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
            _append(plane, file, lines)
            self._read_appended(plane, file)
            return True

    def forget_context(self, plane: str, context: str) -> None:
        """Have the records of a context no longer count that a plane has up to now.

        Raises:
            LogFullError: the file would become larger than allowed.
            OSError: there is no room.
        """
        with self._open(plane) as file:
            _append(plane, file, [FORGETTING + json.dumps(context).encode() + b"}\n"])

    def forgotten(self, plane: str, start: int) -> tuple[set[str], int]:
        """Return the contexts of which records of a plane do not count any more.

        Args:
            plane: the plane's name.
            start: bytes of the file that were searched before.

        Returns:
            The contexts; and how many bytes have been searched now.
        """
        try:
            with FileIO(f"{self._where}{plane}.log") as file:
                file.seek(start)
                raw = file.readall()
        except OSError:
            return set(), start
        whole = raw[: raw.rfind(b"\n") + 1]
        found = {each for each in _parsed(whole) if isinstance(each, str)}
        return found, start + len(whole)

    def append_unread(self, plane: str, found: Known, more: Iterable[JsonObject]) -> None:
        """Append records without a look at what the plane has, and objects that are no records.

        Args:
            plane: the plane's name.
            found: lines by record.
            more: objects, which `read_objects` returns.

        Raises:
            LogFullError: the file would become larger than allowed.
            OSError: there is no room.
        """
        lines = [_as_line(record, numbers) for record, numbers in found.items()]
        lines += [json.dumps(each, separators=(",", ":")).encode() + b"\n" for each in more]
        with self._open(plane) as file:
            _append(plane, file, lines)

    @contextlib.contextmanager
    def _open(self, plane: str) -> Iterator[FileIO]:
        """Open the file of a plane, and keep `move_plane` from removing it in the block."""
        path = f"{self._where}{plane}.log"
        for _ in range(TRIES):
            with FileIO(path, "ab+", opener=_opener) as file:
                if _is_shared(file) and _is_at(file, path):
                    yield file
                    return
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN), f"{plane}.log")

    def read_appended(self, plane: str) -> None:
        """Read the records that other processes have appended to a plane since the last call."""
        with contextlib.suppress(OSError), FileIO(self._folder / f"{plane}.log") as file:
            self._read_appended(plane, file)

    def _read_appended(self, plane: str, file: FileIO) -> Known:
        """Read what was appended since this process last read."""
        size, head = os.fstat(file.fileno()).st_size, os.pread(file.fileno(), HEAD, 0)
        read = self._planes.get(plane)
        if read is None or read.head != head or size < read.end:  # another file is in its place
            read = _LogRead(head, 0, {})
        if size > read.end:
            raw = os.pread(file.fileno(), size - read.end, read.end)
            whole = raw[: raw.rfind(b"\n") + 1]
            _learn(read.known, whole)
            read = read._replace(end=read.end + len(whole))
        self._planes[plane] = read
        return read.known

    def known_records(self) -> dict[str, Known]:
        """Return the records that this process has read, by plane, also of removed files."""
        return {plane: read.known for plane, read in self._planes.copy().items()}

    def forget(self, plane: str) -> None:
        """Drop what was read of a plane that this process no longer uses."""
        self._planes.pop(plane, None)

    def move_plane(self, plane: str, of: str) -> None:
        """Move all records of a plane to another one.

        If another process is just appending to the old file, the file stays, under a name by which
        it belongs to the new plane.

        Args:
            plane: the plane that they are moved to.
            of: the plane that they are moved from.
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
        """Yield each file of records with its plane's name; a plane may have several."""
        with contextlib.suppress(FileNotFoundError), os.scandir(self._folder) as entries:
            for entry in sorted(entries, key=lambda each: each.name):
                if match := LOG_FILE.fullmatch(entry.name):
                    yield match[1], Path(entry.path)


def read_records(path: Path) -> list[Record]:
    """Read the records of one file, with their numbers.

    Raises:
        OSError: it cannot be read.
    """
    return with_numbers(_learn({}, regular_files.read(path, 2 * MOST_BYTES)))


def read_objects(path: Path) -> Iterator[JsonObject]:
    """Yield the objects of one file that are no records; `forget` is a context to be forgotten.

    Raises:
        OSError: it cannot be read.
    """
    for line in regular_files.read(path, 2 * MOST_BYTES).splitlines():
        if line.startswith(b"{"):
            with contextlib.suppress(ValueError, RecursionError):
                found = json.loads(line)
                if isinstance(found, dict):
                    yield found


def with_numbers(known: Known) -> list[Record]:
    """Return records with their numbers, from a mapping of records to numbers."""
    return [record._replace(numbers=tuple(sorted(n))) for record, n in known.items()]


def write_whole(fd: int, data: bytes) -> None:
    """Write all of some bytes in one step.

    Raises:
        OSError: there is no room for all of them (ENOSPC).
    """
    if os.write(fd, data) < len(data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _append(plane: str, file: FileIO, lines: Iterable[bytes]) -> None:
    size = os.fstat(file.fileno()).st_size
    raw = (b"\n" if size else b"# %s\n" % os.urandom(8).hex().encode()) + b"".join(lines)
    if size + len(raw) > MOST_BYTES:
        raise LogFullError(errno.EFBIG, f"{plane}.log would be larger than {MOST_BYTES:,}")
    write_whole(file.fileno(), raw)


def _is_shared(file: FileIO) -> bool:
    """Lock a file against its removal until it is closed; False: a process is removing it."""
    return _try_lock(file, "LOCK_SH")


def _is_exclusive(file: FileIO) -> bool:
    """Lock a file against appending until it is closed; False: a process is appending."""
    return _try_lock(file, "LOCK_EX")


def _try_lock(file: FileIO, kind: str) -> bool:
    try:
        fcntl.lockf(file.fileno(), getattr(fcntl, kind) | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EAGAIN):
            raise
        return False
    return True


def _is_at(file: FileIO, path: str) -> bool:
    try:
        return os.stat(path).st_ino == os.fstat(file.fileno()).st_ino  # noqa: PTH116
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
    """Parse lines, add their records to `known`, drop those to be forgotten, and return it."""
    for found in _parsed(raw):
        if isinstance(found, str):
            for record in [each for each in known if each.context == found]:
                del known[record]
        else:
            record, numbers = found
            known.setdefault(record, set()).update(numbers)
    return known


def _parsed(raw: bytes) -> Iterator[tuple[Record, Iterable[int]] | str]:
    """Yield the valid records, each with its numbers, and contexts to forget; skip other lines."""
    for line in raw.splitlines():
        if not line.startswith((b"[", FORGETTING)):
            continue
        with contextlib.suppress(ValueError, RecursionError):
            match json.loads(line):
                case {"forget": str(context)}:
                    yield context
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
