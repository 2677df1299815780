"""Keep the days on which lines ran the same in the store of a fleet and on a host.

A host sends the days that its memories and its folder of days have. Before a report, it writes
those of all hosts to a second folder, which has the same form; so reports are made alike.

Concurrency: belongs to the agent, which holds a lock during each call. Reports are built by other
processes, from the folder.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from wsgi_coverage.fleet.messages import FleetHost
from wsgi_coverage.store.days import (
    FOLDER,
    SHARED_FOLDER,
    Bitmaps,
    DaysStore,
    Ranges,
    add_to,
    today,
)
from wsgi_coverage.store.fleet_days import PERIOD, FleetDays, SourceVersion
from wsgi_coverage.store.redis import EpochGoneError, FleetState
from wsgi_coverage.system import own_files

INTERVAL = 10.0  # seconds between two exchanges that nobody waits for
NAMESPACE = "namespace"  # in the folder of all hosts' days: whose they are


class HostDays:
    """The days of one host of a fleet.

    Args:
        about: the host.
        folder: returns the folder of its data files.
        stored: the days in the store.
    """

    def __init__(self, about: FleetHost, folder: Callable[[], Path], stored: FleetDays) -> None:
        self._about = about
        self._folder = folder
        self._stored = stored
        root = about.root_in_data
        self._begin = "" if root is None else os.path.join(root, "")  # noqa: PTH118
        self._not_before = 0.0  # seconds of CLOCK_MONOTONIC
        self.problem: str | None = None  # why days were not sent
        self._store_is: object = None  # what the following is about: the store's id and losses
        self._gap = 0  # the first day after the last gap of this host that the store knows of
        self._files: dict[int, object] = {}  # by day: the state of the file that was sent
        self._sent: dict[int, Bitmaps] = {}  # by day: lines of memories that the store surely has
        # By day: the number of changes in the store, and the state of the file, when it was read.
        self._read: dict[int, tuple[int, object]] = {}
        self._functions_read = 0  # the number of changes of the functions when they were read
        self._functions_sent: set[tuple[int, SourceVersion]] = set()  # with their period

    @property
    def _shared(self) -> DaysStore:
        return DaysStore(self._folder() / SHARED_FOLDER)

    def hurry(self) -> None:
        """Skip the wait at the next `send`: somebody waits for a report."""
        self._not_before = 0.0

    def send(self, state: FleetState, in_memory: Mapping[int, Bitmaps], gap: int) -> None:
        """Send what is new since the last time.

        Args:
            state: the fleet's state.
            in_memory: the days that the host's memories have.
            gap: the last day of which some lines are not there; 0: none.

        Raises:
            StoreUnavailableError: the store cannot be used.
            redis.EpochGoneError: the store has been emptied.
            OSError: a file of this host cannot be read now.
        """
        now = time.monotonic()
        if now < self._not_before:
            return
        if self._store_is != (state.id, state.losses):
            self._store_is = state.id, state.losses
            self._gap, self._files, self._sent, self._read = 0, {}, {}, {}
            self._functions_read, self._functions_sent = 0, set()
        if self._about.days:
            self._send(state, in_memory, gap)
        else:
            self._stored.raise_since(today() + 1)
        self._not_before = now + INTERVAL

    def _send(self, state: FleetState, in_memory: Mapping[int, Bitmaps], gap: int) -> None:
        first = today() - self._about.days
        own = DaysStore(self._folder() / FOLDER)
        files = {day: looks for day, looks in own.states().items() if day >= first}
        in_memory = {day: lines for day, lines in in_memory.items() if day >= first}
        since = max(own.gap(), gap + 1 if gap else 0)
        for day in sorted({*files, *in_memory}):
            lines: Bitmaps = {}
            if files.get(day) != self._files.get(day):
                found = own.read_day(day)
                if found is None:  # it is damaged
                    since = max(since, day + 1)
                else:
                    add_to(lines, found)
            add_to(lines, in_memory.get(day, {}))
            sent = self._sent.setdefault(day, {}) if day in in_memory else {}
            news = _without(lines, sent)
            last_day = day + self._about.days
            if news and not self._stored.add(state.id, day, self._to_store(news), last_day):
                raise EpochGoneError
            add_to(sent, news)
            if day in files:
                self._files[day] = files[day]
        self._sent = {day: sent for day, sent in self._sent.items() if day in in_memory}
        if since > self._gap:
            self._stored.raise_since(since)
            self._gap = since

    def fetch(self) -> int:
        """Write the days of all hosts, and the lines of functions, to the folder for reports.

        Returns:
            The first day of which all is known.

        Raises:
            StoreUnavailableError: the store cannot be used.
            OSError: it cannot be written.
        """
        self._check_namespace()
        shared, kept = self._shared, self._about.days
        since, changes, of_functions = self._stored.stored()
        first, files = today() - kept, shared.states()
        for day, number in changes.items():
            if day < first or self._read.get(day) == (number, files.get(day)):
                continue
            found = self._stored.read(day)
            if found is None:  # it has vanished, or others have kept it for a shorter time
                since = max(since, day + 1)
                self._stored.raise_since(since)
            else:
                shared.add({day: self._from_store(found)}, kept)
            self._read[day] = number, shared.state(day)
        if of_functions != self._functions_read:
            functions = self._stored.functions(range(first, today()))
            shared.note_functions(self._by_name(functions), kept)
            self._functions_read = of_functions
        return since or today() + 1

    def _check_namespace(self) -> None:
        """Remove the days of another fleet."""
        path = self._shared.folder / NAMESPACE
        try:
            is_this = path.read_text(encoding="utf-8") == self._about.namespace
        except (FileNotFoundError, UnicodeDecodeError):
            is_this = False
        if not is_this:
            own_files.remove_tree(self._shared.folder)
            own_files.make_folder(self._shared.folder)
            own_files.replace(path, self._about.namespace)
            self._read, self._functions_read = {}, 0

    def send_functions(self) -> None:
        """Send where functions are in the versions of a report that was just made here.

        Raises:
            StoreUnavailableError: the store cannot be used.
        """
        day = today()
        known: dict[SourceVersion, Mapping[str, Ranges]] = {
            SourceVersion(name.removeprefix(self._begin), version): functions
            for name, versions in self._shared.functions().items()
            for version, functions in versions.items()
        }
        period = day // PERIOD
        new = {each: known[each] for each in known if (period, each) not in self._functions_sent}
        if new:
            self._stored.put_functions(day, new, day + self._about.days)
            self._functions_sent = {(period, each) for each in known}

    def _to_store(self, lines: Bitmaps) -> Bitmaps:
        return _renamed(lines, lambda name: name.removeprefix(self._begin))

    def _from_store(self, lines: Bitmaps) -> Bitmaps:
        return _renamed(lines, self._here)

    def _here(self, name: str) -> str:
        return os.path.join(self._begin, name)  # noqa: PTH118

    def _by_name(
        self, found: Mapping[SourceVersion, Mapping[str, Ranges]]
    ) -> dict[str, dict[str, Mapping[str, Ranges]]]:
        out: dict[str, dict[str, Mapping[str, Ranges]]] = {}
        for source, functions in found.items():
            out.setdefault(self._here(source.name), {})[source.version] = functions
        return out


def _renamed(lines: Bitmaps, rename: Callable[[str], str]) -> Bitmaps:
    return {
        release: {rename(name): versions for name, versions in names.items()}
        for release, names in lines.items()
    }


def _without(lines: Bitmaps, known: Bitmaps) -> Bitmaps:
    """Return the lines that are not known."""
    new: Bitmaps = {}
    for release, names in lines.items():
        for name, versions in names.items():
            for version, bits in versions.items():
                before = known.get(release, {}).get(name, {}).get(version, 0)
                if bits & ~before:
                    add_to(new, {release: {name: {version: bits & ~before}}})
    return new
