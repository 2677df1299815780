"""The contract of the store of data files: what is published there, and which of it counts.

wsgi_coverage.store.files implements it. Lines are marked in a memory (wsgi_coverage.store.memory),
which the data files outlive. The store of a fleet is another one (wsgi_coverage.store.redis).

What tests/contract checks:

- `publishing` replaces the data file of one memory, which holds the lines that the processes of a
  host have run, as one step: readers see the old or the new, never a half, and to publish again
  never loses what was published of another memory.
- `published` returns only complete data files that no one will write to again.
- A new epoch hides all data of older ones, also what is published later by a process that has not
  applied it yet. A new epoch that a collection begins hides nothing until `end_collecting`.
- A pause goes on until it is ended, whichever workers start and end; a new epoch drops the pauses
  that have ended.
- `fold` never loses a line, whatever interrupts it.
- `withdraw` removes the data file of one memory, `erase` all.
- A failure leaves what was published before as it was.

Concurrency: a store is called from several threads and processes at once.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from wsgi_coverage.model import Pause
from wsgi_coverage.store.memory import Memory
from wsgi_coverage.store.writable import PathUse

WriteUnion = Callable[[Sequence[Path], Path], Sequence[Path]]


class DataFileStore(Protocol):
    """The published data files of one application, and the epochs and pauses that hold for them."""

    def epoch(self) -> int:
        """Return the current epoch, which every reset increments."""
        ...

    def oldest(self) -> int:
        """Return the oldest epoch that counts: the current one, unless a collection goes on."""
        ...

    def begin_epoch(self, *, collecting: bool = False, ends_here: bool = True) -> int:
        """Begin a new epoch and return it. Callers have to hold a lock of their own.

        Args:
            collecting: whether older epochs still count, until `end_collecting`.
            ends_here: whether this process is to end the collection.

        Raises:
            DiskFullError: there is no room; the old epoch goes on.
        """
        ...

    @property
    def is_collecting(self) -> bool:
        """Tell whether a collection goes on: not if it failed, or if its process was killed."""
        ...

    def give_up_collecting(self, epoch: int) -> None:
        """Record that the collection that began an epoch has failed: older epochs go on to count.

        Raises:
            DiskFullError: there is no room.
        """
        ...

    def end_collecting(self) -> None:
        """Let only the current epoch count.

        Raises:
            DiskFullError: there is no room; older epochs still count.
        """
        ...

    def pauses(self) -> Sequence[Pause]:
        """Return the pauses of measuring in this epoch; the last one may be going on."""
        ...

    def begin_pause(self) -> None:
        """Record that measuring is paused from now on, unless it is already.

        Raises:
            DiskFullError: there is no room; workers go on measuring.
        """
        ...

    def end_pause(self) -> None:
        """Record that measuring is resumed.

        Raises:
            DiskFullError: there is no room; the pause goes on.
        """
        ...

    def announce(self, memory: Memory) -> bool:
        """Announce the epoch and the pauses in a memory, to the processes that mark lines there.

        Returns:
            False if they may have run lines since the epoch began, because another host, or pid
            namespace, has begun it.
        """
        ...

    def publishing(self, suffix: str, *, epoch: int) -> AbstractContextManager[Path]:
        """Write a data file that replaces the one published under this suffix at the block's end.

        Args:
            suffix: data suffix of its name: the id of the memory whose lines it holds, followed by
                `.branches` if they are arcs.
            epoch: the epoch in which its lines ran.

        Returns:
            A context manager that yields an empty file, which is not published before the end.

        Raises:
            DiskFullError: there is no room. Then, and if the block raises, what was published
                before is still there.
        """
        ...

    def published(self, *, before: int | None = None) -> Sequence[Path]:
        """Return the data files to combine: those of memories, and others beside them.

        Only those of epochs that count, and those whose epoch is unknown.

        Args:
            before: only those of older epochs than this, or of an unknown one.
        """
        ...

    def fold(self, *, live: Collection[str], union: WriteUnion) -> None:
        """Replace the data files of this host's memories that are gone by their union.

        Idempotent, and safe at every point where it may be interrupted: the union is published
        before the data files that it was made of are removed. Data files of older epochs are
        removed.

        Args:
            live: ids of memories whose data files stay. A memory that is left out by mistake loses
                nothing: it is published again.
            union: see wsgi_coverage.data.fold.
        """
        ...

    def withdraw(self, suffix: str) -> None:
        """Remove the data file with this suffix; nothing happens if there is none."""
        ...

    def erase(self) -> None:
        """Remove all data."""
        ...

    def discard(self, published: Sequence[Path]) -> None:
        """Remove data files that `published` returned and that no process is going to replace."""
        ...

    def forget_contexts(self, is_forgotten: Callable[[str], bool]) -> bool:
        """Remove contexts from all data files; tell whether any had one of them.

        Raises:
            StorageError: one cannot be written; it is as it was.
        """
        ...

    def used_paths(self) -> Mapping[Path, PathUse]:
        """Return the files that the store writes besides data files, for checks on /health."""
        ...

    def describe(self) -> str:
        """Return the place of the data files, for messages."""
        ...
