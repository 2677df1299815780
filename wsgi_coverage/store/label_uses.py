"""Count the requests of each label, in files of a host's memory that each process has for itself.

A file, `uses-<epoch>-<process>-<number>.counts`, holds entries one after the other: how long the
context is, the number of requests, when the first and the last of them ended, and the context. It
is mapped, so that a request is counted without a write, and a killed process loses none.

Concurrency: one process writes to a file, under the engine's lock; any may read it, or set its
counts to 0 (`forget`).
"""

from __future__ import annotations

import contextlib
import os
import re
import struct
from collections.abc import Iterator
from pathlib import Path

from wsgi_coverage.data import regular_files
from wsgi_coverage.data.reading import LabelUse
from wsgi_coverage.store.mapped import Mapped, map_file

FILE = re.compile(r"uses-(\d+)-[0-9a-f]{8}-\d+\.counts")
SIZE = 1 << 16  # bytes of a file
LENGTH = struct.Struct("=Q")  # of a context; written last, so that an entry is there as a whole
COUNTS = struct.Struct("=Qdd")  # requests, first, last
ALIGNED = 8  # bytes, so that no reader sees half of a number


class UseCounter:
    """The counts of one process in one epoch.

    Args:
        folder: the folder of the memory.
        epoch: the epoch.
    """

    def __init__(self, folder: Path, epoch: int) -> None:
        self._folder = folder
        self.epoch: int = epoch
        self._name = f"uses-{epoch}-{os.urandom(4).hex()}"
        self._files: list[Mapped] = []
        self._end = SIZE  # of the entries in the last file
        self._places: dict[str, tuple[Mapped, int]] = {}  # of the counts, by context

    def add(self, context: str, now: float) -> None:
        """Count a request that ends now.

        Args:
            context: of its label, in data files.
            now: seconds of Unix time.

        Raises:
            OSError: there is no room.
        """
        file, at = self._place(context)
        requests, first, _ = COUNTS.unpack_from(file, at)
        COUNTS.pack_into(file, at, requests + 1, first if requests else now, now)

    def set(self, context: str, requests: int, now: float) -> None:
        """Set the number of requests of a context, if any was counted.

        Args:
            context: of a label.
            requests: 0 or 1, which ends now.
            now: seconds of Unix time.
        """
        if context in self._places:
            file, at = self._places[context]
            COUNTS.pack_into(file, at, requests, now, now)

    def _place(self, context: str) -> tuple[Mapped, int]:
        if context not in self._places:
            raw = context.encode("utf-8", "surrogatepass")
            size = LENGTH.size + COUNTS.size + len(raw)
            size += -size % ALIGNED
            if self._end + size + LENGTH.size > SIZE:
                path = self._folder / f"{self._name}-{len(self._files)}.counts"
                self._files.append(map_file(path, SIZE))
                self._end = 0
            file, at = self._files[-1], self._end
            counts = at + LENGTH.size
            file[counts + COUNTS.size : counts + COUNTS.size + len(raw)] = raw
            COUNTS.pack_into(file, counts, 0, 0.0, 0.0)
            LENGTH.pack_into(file, at, len(raw))
            self._end += size
            self._places[context] = file, counts
        return self._places[context]


def files(folder: Path) -> Iterator[tuple[int, Path]]:
    """Yield the files of counts in a memory's folder, each after its epoch."""
    with contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda each: each.name):
            if match := FILE.fullmatch(entry.name):
                yield int(match[1]), Path(entry.path)


def read(path: Path) -> Iterator[tuple[str, LabelUse]]:
    """Yield the contexts of a file, and their requests; of a damaged file what is before that.

    Raises:
        OSError: it cannot be read.
    """
    content = regular_files.read(path)
    for context, at in _entries(content):
        requests, first, last = COUNTS.unpack_from(content, at)
        if requests:
            yield context, LabelUse(requests, first, last)


def forget(path: Path, context: str) -> None:
    """Set the number of requests of a context to 0, in a file of any process.

    Raises:
        OSError: it cannot be written.
    """
    content = map_file(path, SIZE, make=False)
    for each, at in _entries(content):
        if each == context:
            COUNTS.pack_into(content, at, 0, 0.0, 0.0)


def _entries(content: bytes | Mapped) -> Iterator[tuple[str, int]]:
    """Yield each context, and the place of its counts."""
    at = 0
    while at + LENGTH.size + COUNTS.size < min(len(content), SIZE):
        (length,) = LENGTH.unpack_from(content, at)
        counts = at + LENGTH.size
        raw = bytes(content[counts + COUNTS.size : counts + COUNTS.size + length])
        if not length or len(raw) < length:
            return
        try:
            context = raw.decode("utf-8", "surrogatepass")
        except UnicodeDecodeError:
            return
        yield context, counts
        at = counts + COUNTS.size + length
        at += -at % ALIGNED
