"""One host of a fleet, as its agent sees it: its memories, its data files, its workers.

The store of the fleet and the data files of the host have epochs of their own. A file beside the
data file records which belong together, so that a host notices a reset that it has missed.

Concurrency: belongs to the agent, which holds a lock during each change.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from wsgi_coverage import clock
from wsgi_coverage.collect.gathering import ask_workers
from wsgi_coverage.collect.memories import OpenedMemories
from wsgi_coverage.data.datafile import UnusableError
from wsgi_coverage.data.reading import Reading
from wsgi_coverage.data.stored import read_json
from wsgi_coverage.fleet import content
from wsgi_coverage.fleet.messages import FleetHost
from wsgi_coverage.model import WorkerState, is_going_on
from wsgi_coverage.report.history import History
from wsgi_coverage.report.publish import Publisher
from wsgi_coverage.store.channel import Verb
from wsgi_coverage.store.days import Bitmaps, bitmaps_of
from wsgi_coverage.store.files import FilesStore, file_state
from wsgi_coverage.store.memory import Memory
from wsgi_coverage.store.redis import Content, FleetState
from wsgi_coverage.system import own_files

NOTE = ".wsgi-coverage-fleet"  # before the data file's name: coverage.py combines what begins so


class EpochPairs(NamedTuple):
    """Pairs of an epoch of the fleet and the host's epoch that began with it, the oldest first."""

    id: str  # of the fleet's state in the store
    epochs: tuple[tuple[int, int], ...]  # (of the fleet, of the host); only those that count

    @property
    def fleet(self) -> int:
        """The last epoch of the fleet that this host has begun."""
        return self.epochs[-1][0]

    @property
    def local(self) -> int:
        """The host's epoch that belongs to `fleet`."""
        return self.epochs[-1][1]


class NoProcessLeftError(Exception):
    """There is no memory any more: the last process of the host has ended."""


class Host:
    """The memories, data files and workers of an agent's host.

    Args:
        about: what the worker that started the agent has passed to it.
    """

    def __init__(self, about: FleetHost) -> None:
        self.about: FleetHost = about
        self.host: str = socket.gethostname()
        self.pid: int = os.getpid()
        self.private: Path = about.private
        self._root = about.root_in_data
        self.store: FilesStore = FilesStore(about.data_file, fallback=about.private)
        self.memories: OpenedMemories = OpenedMemories(about.data_file, self.store)
        self._publisher = Publisher(about.cache_dir)
        self._history = History(about.cache_dir)
        self._note = self.store.folder / f"{NOTE}{about.data_file.name}"
        self._counted: list[Reading] = []  # what a collection has read
        self._files: dict[Path, tuple[object, Content | None]] = {}
        self._last: dict[int, tuple[object, Content]] = {}  # by `since`: results of `content`
        # The days of the memories when they were read last, and what tells whether they changed.
        self._days: tuple[object, dict[int, Bitmaps]] = None, {}
        self.pairs: EpochPairs | None = self._noted()

    @property
    def memory(self) -> Memory:
        """The memory whose processes are asked.

        Raises:
            NoProcessLeftError: there is none any more.
        """
        for memory in self.memories.own():
            return memory
        raise NoProcessLeftError

    @property
    def has_workers(self) -> bool:
        """Tell whether any process of this host marks lines."""
        return any(memory.table.living() for memory in self.memories.own())

    @property
    def is_paused(self) -> bool:
        """Tell whether measuring is paused."""
        return is_going_on(self.store.pauses())

    def ask(self, verb: Verb, *, wait: float) -> list[WorkerState]:
        """Have every worker of this host do one thing."""
        try:
            return ask_workers(self, verb, wait=wait)
        except NoProcessLeftError:
            return []

    # Epochs

    def _noted(self) -> EpochPairs | None:
        with contextlib.suppress(OSError, ValueError, TypeError):
            namespace, identity, epochs = read_json(self._note)
            if namespace == self.about.namespace and epochs:
                return EpochPairs(str(identity), tuple((int(f), int(own)) for f, own in epochs))
        return None

    def note_epochs(self, pairs: EpochPairs) -> None:
        """Record which epochs belong together.

        Raises:
            OSError: it cannot be written.
        """
        if pairs != self.pairs:
            own_files.replace(self._note, json.dumps([self.about.namespace, *pairs]))
            self.pairs = pairs

    def read_note(self) -> None:
        """Read the record again, which another host with the same data files may have changed."""
        self.pairs = self._noted() or self.pairs
        self.memories.announce_epoch()

    def follow(self, state: FleetState) -> None:
        """Begin the fleet's epoch here, unless another host with the same data files has done so.

        If no older epoch counts any more, the data of this host are deleted.

        Raises:
            StorageError: there is no room; nothing is deleted.
        """
        with self._publisher.lock():
            pairs = self._noted() or self.pairs
            if pairs is None or (pairs.id, pairs.fleet) == (state.id, state.epoch):
                self.read_note()
                return
            epochs = tuple(each for each in pairs.epochs if each[0] >= state.oldest)
            if epochs:
                self.memories.begin_collecting(ends_here=False)
            else:
                self._publisher.check_removable()
                self.memories.reset()
                self._forget_reports()
            epochs = (*epochs, (state.epoch, self.store.epoch()))
            self.note_epochs(EpochPairs(state.id, epochs))

    def note_counted(self) -> None:
        """Store a reading of the epochs that a collection ends, for `end_collecting`."""
        self._counted = self.memories.readings(before=self.store.epoch())

    def end_collecting(self) -> None:
        """Delete the lines of older epochs, which were collected, in memory and data files."""
        with self._publisher.lock():
            epoch = self.store.epoch()
            if self.store.oldest() == epoch:
                return  # another host with the same data files has done so
            data_files = self.store.published(before=epoch)
            self.memories.forget_collected(epoch, data_files, self._counted)
            self._counted = []
            self._forget_reports()

    def _forget_reports(self) -> None:
        self._publisher.withdraw()
        self._history.begin_anew(clock.now_iso())

    def pause(self, state: FleetState) -> bool:
        """Pause or resume as the fleet has; tell whether that is a change here."""
        if tuple(self.store.pauses()) == state.pauses:
            return False
        was_paused = self.is_paused
        with self._publisher.lock():
            self.store.set_pauses(state.pauses)
        self.memories.announce_epoch()
        return was_paused != state.is_paused

    # What has run

    def content(self, *, since: int, before: int | None = None) -> Content:
        """Return what has run here, in the memories and in data files.

        Args:
            since: the first epoch of the host to include.
            before: the epoch of the host to end before; None: include all later ones.

        Returns:
            The content; the same object as at the last call if nothing has changed.
        """
        readings = self.memories.readings(before=before, since=since)
        self._note_days(readings)
        paths = [(path, file_state(path)) for path in self._data_files(since, before)]
        state = (before, [(each.id, each.checksum()) for each in readings], paths)
        if (last := self._last.get(since)) is not None and last[0] == state:
            return last[1]
        found = [content.of_readings(readings, self.about.static, self._root)]
        for path, looks in paths:
            known = self._files.get(path)
            if known is None or known[0] != looks:
                try:
                    known = looks, content.of_data_file(path, self._root)
                except UnusableError:  # reports name it
                    known = looks, None
                self._files[path] = known
            if known[1] is not None:
                found.append(known[1])
        whole = content.united(found)
        self._last[since] = state, whole
        return whole

    @property
    def days(self) -> dict[int, Bitmaps]:
        """The days that the memories had at the last call of `content`."""
        return self._days[1]

    @property
    def lost_day(self) -> int:
        """The last day of which the memories lack some lines; 0: none."""
        return max((each.lost_day for each in self.memories.own()), default=0)

    def _note_days(self, readings: Sequence[Reading]) -> None:
        looks = [(each.id, each.checksum()) for each in readings]
        if looks != self._days[0]:
            self._days = looks, bitmaps_of(readings)

    def forget_content(self, before: int) -> None:
        """Drop cached content of epochs that do not count any more, and of removed data files.

        Args:
            before: the oldest epoch of the host that counts.
        """
        self._last = {since: each for since, each in self._last.items() if since >= before}
        self._files = {path: each for path, each in self._files.items() if path.exists()}

    def _data_files(self, since: int, before: int | None) -> Sequence[Path]:
        counting = self.store.published(before=before)
        if since == self.store.oldest():
            return counting
        older = {*self.store.published(before=since)}
        return [path for path in counting if path not in older]
