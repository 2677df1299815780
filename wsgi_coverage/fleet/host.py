"""One host of a fleet, as its agent sees it: its memories, its data files, its workers.

The store of the fleet and the data files of the host count epochs of their own. Which belong
together is noted beside the data file, so that a host that was away for a reset knows it.

Concurrency: belongs to the agent, which holds a lock over each change.
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
from wsgi_coverage.collect.gathering import ask_others
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
from wsgi_coverage.store.files import FilesStore, file_state
from wsgi_coverage.store.memory import Memory
from wsgi_coverage.store.redis import Content, FleetState
from wsgi_coverage.system import own_files

NOTE = ".wsgi-coverage-fleet"  # coverage.py combines what starts with the data file's name


class Joined(NamedTuple):
    """Which epoch of the host began with which of the fleet; the oldest that counts first."""

    id: str  # of the store
    epochs: tuple[tuple[int, int], ...]  # of the fleet, of the host

    @property
    def fleet(self) -> int:
        """The fleet's current epoch, as this host has heard."""
        return self.epochs[-1][0]

    @property
    def local(self) -> int:
        """The host's epoch that belongs to it."""
        return self.epochs[-1][1]


class NoProcessLeftError(Exception):
    """There is no memory any more: the last process of the host has ended."""


class Host:
    """What an agent does on its host.

    Args:
        about: as the worker that started it has told.
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
        self._last: dict[int, tuple[object, Content]] = {}  # by since
        self.joined: Joined | None = self._noted()

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
        """Tell whether workers are to measure nothing."""
        return is_going_on(self.store.pauses())

    def ask(self, verb: Verb, *, wait: float) -> list[WorkerState]:
        """Have every worker of this host do one thing."""
        try:
            return ask_others(self, verb, wait=wait)
        except NoProcessLeftError:
            return []

    # Epochs

    def _noted(self) -> Joined | None:
        with contextlib.suppress(OSError, ValueError, TypeError):
            namespace, identity, epochs = read_json(self._note)
            if namespace == self.about.namespace and epochs:
                return Joined(str(identity), tuple((int(f), int(own)) for f, own in epochs))
        return None

    def join(self, joined: Joined) -> None:
        """Note which epochs belong together.

        Raises:
            OSError: it cannot be written.
        """
        if joined != self.joined:
            own_files.replace(self._note, json.dumps([self.about.namespace, *joined]))
            self.joined = joined

    def read_note(self) -> None:
        """Read what another host, with the same data files, has done."""
        self.joined = self._noted() or self.joined
        self.memories.announce_epoch()

    def follow(self, standing: FleetState) -> None:
        """Begin an epoch here, as the fleet has, unless another host has done so for both.

        Where nothing of before counts any more, what ran here is forgotten.

        Raises:
            StorageError: there is no room; nothing is forgotten.
        """
        with self._publisher.lock():
            joined = self._noted() or self.joined
            if joined is None or (joined.id, joined.fleet) == (standing.id, standing.epoch):
                self.read_note()
                return
            epochs = tuple(each for each in joined.epochs if each[0] >= standing.oldest)
            if epochs:
                self.memories.begin_collecting()
            else:
                self._publisher.check_removable()
                self.memories.reset()
                self._forget_reports()
            epochs = (*epochs, (standing.epoch, self.store.epoch()))
            self.join(Joined(standing.id, epochs))

    def note_counted(self) -> None:
        """Note what is read of the epochs that a collection ends."""
        self._counted = self.memories.readings(before=self.store.epoch())

    def end_collecting(self) -> None:
        """Forget the lines of older epochs, in memory and data files, which were collected."""
        with self._publisher.lock():
            epoch = self.store.epoch()
            if self.store.oldest() == epoch:
                return  # another host has, for both
            data_files = self.store.published(before=epoch)
            self.memories.forget_collected(epoch, data_files, self._counted)
            self._counted = []
            self._forget_reports()

    def _forget_reports(self) -> None:
        self._publisher.withdraw()
        self._history.begin_anew(clock.now_iso())

    def pause(self, standing: FleetState) -> bool:
        """Pause, or go on, as the fleet does; tell whether that is new here."""
        if tuple(self.store.pauses()) == standing.pauses:
            return False
        was_paused = self.is_paused
        with self._publisher.lock():
            self.store.set_pauses(standing.pauses)
        self.memories.announce_epoch()
        return was_paused != standing.is_paused

    # What has run

    def content(self, *, since: int, before: int | None = None) -> Content:
        """What has run here, in the memories and in data files; the same object while it is.

        Args:
            since: the host's epoch from which on it counts.
            before: the epoch before which it counts.
        """
        readings = self.memories.readings(before=before, since=since)
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
                except UnusableError:  # a report says so
                    known = looks, None
                self._files[path] = known
            if known[1] is not None:
                found.append(known[1])
        whole = content.united(found)
        self._last[since] = state, whole
        return whole

    def forget_content(self, before: int) -> None:
        """Forget what was read of epochs that do not count any more, and of files that are gone.

        Args:
            before: an epoch of the host.
        """
        self._last = {since: each for since, each in self._last.items() if since >= before}
        self._files = {path: each for path, each in self._files.items() if path.exists()}

    def _data_files(self, since: int, before: int | None) -> Sequence[Path]:
        counting = self.store.published(before=before)
        if since == self.store.oldest():
            return counting
        older = {*self.store.published(before=since)}
        return [path for path in counting if path not in older]
