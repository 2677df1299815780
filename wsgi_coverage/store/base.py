"""The contract of the store of data files: what is published there, and which of it counts.

wsgi_coverage.store.files keeps it. Lines are marked in a memory (wsgi_coverage.store.memory), which
data files outlive. The store that hosts share is another one (wsgi_coverage.store.redis).

What tests/contract checks:

- `publishing` replaces the data file of one memory, which holds the lines that the processes of a
  host have run, as one step: readers see the old or the new, never a half, and to publish again
  never loses what was published of another memory.
- `published` names only whole data files that no one will write to again; a reader may open them.
- A new epoch hides all that was published in an older one, and all that will be: what a process
  that has not seen it yet publishes is ignored. A new epoch that a collection begins hides nothing
  until `end_collecting`.
- A pause goes on until it is ended, whichever workers come and go; a new epoch forgets those that
  have ended.
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
        """The current epoch; it goes up with every reset."""
        ...

    def oldest(self) -> int:
        """The oldest epoch whose lines still count: without a collection, the current one."""
        ...

    def begin_epoch(self, *, collecting: bool = False) -> int:
        """Begin a new epoch and return it; callers serialise themselves by a lock of their own.

        Args:
            collecting: what ran before still counts, until `end_collecting`.

        Raises:
            DiskFullError: there is no room; the old epoch goes on.
        """
        ...

    def end_collecting(self) -> None:
        """Hide what is older than the current epoch.

        Raises:
            DiskFullError: there is no room; it still counts.
        """
        ...

    def pauses(self) -> Sequence[Pause]:
        """When workers measured nothing in this epoch; the last one may be going on."""
        ...

    def begin_pause(self) -> None:
        """Note that workers pause from now on; nothing happens if they do already.

        Raises:
            DiskFullError: there is no room; workers go on measuring.
        """
        ...

    def end_pause(self) -> None:
        """Note that workers measure again.

        Raises:
            DiskFullError: there is no room; the pause goes on.
        """
        ...

    def announce(self, memory: Memory) -> bool:
        """Have the processes that mark lines in a memory see the epoch and the pauses.

        Returns:
            False where they hear too late: another host, or pid namespace, began the epoch.
        """
        ...

    def publishing(self, suffix: str, *, epoch: int) -> AbstractContextManager[Path]:
        """A data file to be written, which replaces the one that was published under this suffix.

        Args:
            suffix: of the data file's name: the id of the memory whose lines it holds, with
                `.branches` behind it if they are arcs.
            epoch: when its lines ran.

        Returns:
            An empty file that nobody sees before the end of the block.

        Raises:
            DiskFullError: there is no room. Then, and if the block raises, what was published
                before is still there.
        """
        ...

    def published(self, *, before: int | None = None) -> Sequence[Path]:
        """The data files to combine: those of every memory, and others that were there before.

        Only those of epochs that still count, and those of which no epoch is known.

        Args:
            before: an epoch; only what is older than that, or of no known epoch.
        """
        ...

    def fold(self, *, live: Collection[str], union: WriteUnion) -> None:
        """Replace the data files of this host's memories that are gone by their union.

        Idempotent, and safe at every point where it may be interrupted: the union is there before
        the data that it was made of is removed. Data of older epochs is removed.

        Args:
            live: ids of memories whose data is not touched. One that is missing here by mistake
                loses nothing: it is published again.
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

    def places(self) -> Mapping[Path, PathUse]:
        """What it writes to besides data, for /health to look at."""
        ...

    def describe(self) -> str:
        """The place of the data, for messages."""
        ...
