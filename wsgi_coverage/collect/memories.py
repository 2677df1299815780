"""The memories of one host that hold what has run of one application.

There is one for each user and pid namespace. This process marks lines in one; reports are built
from all; epochs and pauses of the store are announced in all.

Concurrency: see the engine and wsgi_coverage.store.memory; this module adds no lock.
"""

from __future__ import annotations

import contextlib
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path

from wsgi_coverage.collect.engines.base import Engine
from wsgi_coverage.collect.saves import saving
from wsgi_coverage.data.phases import label_of
from wsgi_coverage.data.reading import Reading
from wsgi_coverage.errors import RefreshBusyError, storage_errors
from wsgi_coverage.store.base import DataFileStore
from wsgi_coverage.store.days import today
from wsgi_coverage.store.memory import Memory, open_if_there
from wsgi_coverage.store.private import elsewhere, private_folders


class Memories(ABC):
    """All memories of this host that belong to one data file.

    Args:
        store: returns the store of the data files that the memories are written to.
    """

    def __init__(self, store: Callable[[], DataFileStore]) -> None:
        self._store = store
        self.marks_days: bool = False  # whether this process announces each new day

    @abstractmethod
    def own(self) -> list[Memory]:
        """Return the memories of this pid namespace, the one in use first."""

    @abstractmethod
    def distant(self) -> list[Memory]:
        """Return the memories of other pid namespaces.

        Their lines count, too; which of their processes live is unknown.
        """

    def announce_epoch(self) -> None:
        """Announce the store's epoch and pauses in all memories, to the processes of this host."""
        store = self._store()
        for memory in self._all():
            if not store.announce(memory):
                epoch = memory.state().epoch
                memory.end_epochs(epoch)
                memory.miss(epoch)
            if self.marks_days:
                memory.announce_day(today)

    def is_new_day(self, day: int) -> bool:
        """Tell whether days are marked, and another one than this has begun."""
        return self.marks_days and today() != day

    def _all(self) -> list[Memory]:
        return [*self.own(), *self.distant()]

    def make_room(self) -> None:
        """Allocate the memory of the next epoch, before it is announced.

        Raises:
            StorageError: there is no room.
        """
        for memory in self._all():
            if memory.user != os.geteuid():
                continue  # of a worker that has changed its user: files there are the old user's
            what = f"{memory.folder} cannot store the lines of a new epoch"
            with contextlib.suppress(OSError), storage_errors(what):
                memory.make_room(self._store().epoch() + 1)

    def readings(self, *, before: int | None = None, since: int | None = None) -> list[Reading]:
        """Return what is marked up to now: one reading for each memory.

        Args:
            before: only what belongs to older epochs than this, and the load.
            since: only what belongs to this epoch or to newer ones, and the load.
        """
        return [each.read(before=before, since=since) for each in self._all()]

    def end_epochs(self, before: int, counted: Sequence[Reading] = ()) -> None:
        """Let lines of older epochs no longer count; lines marked there later still do.

        Args:
            before: the epoch that has begun.
            counted: readings of the lines to leave out; of a memory without one, what it holds now.
        """
        known = {reading.id: reading for reading in counted}
        for memory in self._all():
            with contextlib.suppress(OSError):
                memory.end_epochs(before, known.get(memory.id))
        for memory in self.own():
            with contextlib.suppress(OSError):
                memory.sweep()

    def reset(self) -> None:
        """Begin an epoch, and delete what ran on this host before it.

        To be called under the build lock.

        Raises:
            StorageError: nothing is forgotten.
        """
        store = self._store()
        self.make_room()
        epoch = store.begin_epoch()
        store.erase()
        self.announce_epoch()
        self.end_epochs(epoch)

    def forget_label(self, label: str) -> bool:
        """Forget what ran for requests with a label, in all memories and data files.

        To be called under the build lock.

        Returns:
            Whether there was anything.

        Raises:
            StorageError: there is no room.
            RefreshBusyError: a data file is being written for too long; nothing is forgotten.
        """

        def is_forgotten(context: str) -> bool:
            return label_of(context) == label

        with contextlib.ExitStack() as held, storage_errors("the label is not forgotten"):
            for memory in self.own():  # else a data file could be written of what was there before
                try:
                    held.enter_context(saving.saving(memory))
                except saving.AlreadySavedError:
                    pass
                except TimeoutError:
                    raise RefreshBusyError(
                        "a data file is being written for too long; try again later"
                    ) from None
            found = False
            for memory in self._all():
                reading = memory.read()
                records = (record for each in reading.records.values() for record in each)
                contexts = {*reading.labels, *(each.context for each in records if each.context)}
                for context in filter(is_forgotten, contexts):
                    found = True
                    memory.forget_label(context)
            return self._store().forget_contexts(is_forgotten) or found

    def begin_collecting(self, *, ends_here: bool = True) -> int:
        """Begin an epoch, and return it; older epochs still count.

        To be called under the build lock.

        Args:
            ends_here: whether this process ends the collection; False: any agent of the fleet.

        Raises:
            StorageError: there is no room; the old epoch goes on.
        """
        self.make_room()
        return self._store().begin_epoch(collecting=True, ends_here=ends_here)

    def give_up_collecting(self, epoch: int) -> None:
        """Have what a failed collection would have forgotten be saved, and count, as before.

        To be called under the build lock.

        Args:
            epoch: the epoch that the collection has begun.

        Raises:
            StorageError: there is no room; no data file is written until the next reset.
        """
        self._store().give_up_collecting(epoch)

    def forget_collected(
        self,
        epoch: int,
        data_files: Sequence[Path],
        counted: Sequence[Reading],
        *,
        is_over: bool = True,
    ) -> None:
        """Delete the data that a collection has read. To be called under the build lock.

        Args:
            epoch: the epoch that the collection has begun.
            data_files: the data files that it has read.
            counted: its readings of the memories.
            is_over: False if some processes still have lines of older epochs, which go on to count.
        """
        store = self._store()
        store.discard(data_files)
        self.end_epochs(epoch, counted)
        if is_over:
            store.end_collecting()
            self.announce_epoch()
        else:
            store.give_up_collecting(epoch)

    def ids(self) -> set[str]:
        """Return the ids under which the memories' data files are published."""
        return {name for memory in self._all() for name in saving.data_files_of(memory.id)}


class HostMemories(Memories):
    """The host's memories, in a process that marks lines in one of them.

    Args:
        engine: the engine of this process.
        store: returns the store of the data files that the memories are written to.
    """

    def __init__(self, engine: Engine, store: Callable[[], DataFileStore]) -> None:
        super().__init__(store)
        self._engine = engine

    def own(self) -> list[Memory]:
        """Return the memories of this pid namespace, this process's first."""
        self._engine.register_late()
        self._engine.check_memory()
        known = [self._engine.memory, *self._engine.former_memories]
        folders = {each.folder for each in known}
        found = (
            open_if_there(each)
            for each in private_folders(self._engine.data_file)
            if each not in folders
        )
        return [*known, *(each for each in found if each is not None)]

    def distant(self) -> list[Memory]:
        """Return the memories of other pid namespaces."""
        found = (open_if_there(each) for each in elsewhere(self._engine.data_file))
        return [each for each in found if each is not None]


class OpenedMemories(Memories):
    """The host's memories, in a process that marks no lines.

    Args:
        data_file: the configured data file.
        store: the data files of this host.
    """

    def __init__(self, data_file: Path, store: DataFileStore) -> None:
        super().__init__(lambda: store)
        self._data_file = data_file
        self._known: dict[Path, Memory] = {}

    def own(self) -> list[Memory]:
        """Return the memories of this pid namespace, the one in use first."""
        return self._opened(private_folders(self._data_file))

    def distant(self) -> list[Memory]:
        """Return the memories of other pid namespaces."""
        return self._opened(elsewhere(self._data_file))

    def _opened(self, folders: list[Path]) -> list[Memory]:
        out = []
        for folder in folders:
            known = self._known.get(folder)
            if known is None or not known.is_there:
                known = open_if_there(folder)
            if known is not None:
                self._known[folder] = known
                out.append(known)
        return out
