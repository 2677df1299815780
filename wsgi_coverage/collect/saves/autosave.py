"""The autosave process: it waits, outlives the workers, and writes the memory to a data file.

It is started after a request, at most one at a time for each memory. It waits until the autosave
interval has passed, or until the last process that marks lines has ended in any way. It imports
coverage.py only to write, and only if something new has run. It waits for another interval where
lines ran while it wrote, where nothing may be written before a collection has ended, or where our
thread would have to start the next process: another thread of the application that waits for any
child may get the shell by which processes are started (wsgi_coverage.offload.process).

During the wait it may do other work (wsgi_coverage.ahead), which ends with the wait.

Concurrency: alone in its process. The memory may be removed, or written by another, at any moment.
"""

from __future__ import annotations

import contextlib
import os
import select
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Protocol

from wsgi_coverage.data.reading import Reading
from wsgi_coverage.store.channel import sweep_dead
from wsgi_coverage.store.memory import Memory, open_if_there
from wsgi_coverage.store.processes import is_noted_process, noted_now

WRITE_TIMEOUT = 5.0  # seconds to write; after that, workers start another process
CHECK_INTERVAL = 1.0  # seconds; a child of the worker may hold the other end of the socket open
START = 0  # descriptor of the socket to the worker that started this process
REMOVE_TRIES = 100  # tries to remove the memory of ended processes
REMOVE_INTERVAL = 0.05  # seconds between them
LEAST_LEFT = 2.0  # seconds of the wait that other work needs to begin


class Meanwhile(Protocol):
    """Work that can be done during the wait. It is pickled, and should import little."""

    def is_time(self) -> bool:
        """Tell whether the work may begin now."""
        ...

    def __call__(self, reading: Reading, tick: Callable[[], object]) -> None:
        """Do the work.

        Args:
            reading: a reading of the host's memory.
            tick: to be called a few times a second; raises an exception that has to end the work.
        """
        ...


ROUNDED = 1e-6  # seconds; the memory has whole nanoseconds


class _OverError(Exception):
    """The wait is over, so other work ends."""


def run(
    folder: Path,
    data_file: Path,
    static: str | None,
    pid: int,
    seconds: float,
    meanwhile: Meanwhile | None = None,
    stays: bool = False,
    config: str | None = None,
    days: int = 0,
    until: float = 0.0,
) -> None:
    """Wait, then write what is new to a data file; repeat that where lines ran meanwhile.

    Args:
        folder: the private folder.
        data_file: the configured one, beside which the data file goes.
        static: coverage.py's static context.
        pid: the process id of the worker that started this process.
        seconds: how long to wait at most.
        meanwhile: work to do during the wait.
        stays: whether to repeat it in any case, as long as the worker has its socket open.
        config: coverage.py's configuration, from `own_coverage.for_children`, to find files that
            could have run; None: they are left out.
        days: as for `saving.save`.
        until: what the memory says of this process: until when it will have written.

    Raises:
        DiskFullError, OSError: there is no room; nothing is lost.
    """
    memory = open_if_there(folder)
    if memory is None:
        return  # its last process has written and removed it
    wait = _Wait(memory, seconds, process=(pid, noted_now()), start=START)
    tries = REMOVE_TRIES
    while True:
        all_ended = wait.until_over(meanwhile)
        if not memory.is_there:
            # Processes that still map it, where somebody has removed it, make a new one.
            memory.leave()
            return
        if not all_ended and _is_awaited(memory, but=until):
            return  # two were started at once
        try:
            if _has_news(memory):
                _save(memory, data_file, static, config, days)
        finally:
            memory.set_autosave_until(0.0)
            memory.begin_turn()  # so that the next request checks whether a new process is needed
        if all_ended:
            _take_away(memory)
        # Requests since the memory was read have started no other process, because this one is to
        # write, and the last of them may have been the last for a long time.
        if not memory.is_there or memory.autosave_until:
            return
        stays = stays and not _has_hung_up([START], 0)
        if not (all_ended or stays or _has_news(memory)) or memory.autosave_until:
            return
        if all_ended:  # not removed: there is a new process, or new lines, or the table was in use
            if not tries:
                return
            tries -= 1
            time.sleep(REMOVE_INTERVAL)
        until = time.monotonic() + seconds + WRITE_TIMEOUT
        memory.set_autosave_until(until)
        wait = _Wait(memory, seconds)


def _is_awaited(memory: Memory, *, but: float) -> bool:
    """Tell whether another process waits to write a memory, and is not late.

    Args:
        memory: the memory.
        but: what the memory says of this process.
    """
    until = memory.autosave_until
    return abs(until - but) > ROUNDED and until > time.monotonic()


def save_in(
    folder: Path,
    data_file: Path,
    static: str | None,
    config: str | None,
    days: int = 0,
) -> None:
    """Write the memory in a private folder, if there is one, to its data file now.

    Args:
        folder: the private folder.
        data_file: the configured one, beside which the data file goes.
        static: coverage.py's static context.
        config: as for `run`.
        days: as for `saving.save`.

    Raises:
        DiskFullError, OSError: there is no room; nothing is lost.
    """
    memory = open_if_there(folder)
    if memory is not None:
        _save(memory, data_file, static, config, days)


def _save(
    memory: Memory,
    data_file: Path,
    static: str | None,
    config: str | None,
    days: int = 0,
) -> None:
    from wsgi_coverage.collect.saves import saving
    from wsgi_coverage.collect.sources import could_run  # imports coverage.py: 0.1 s, 15 MB

    find = None if config is None else partial(could_run.find_by, config)
    saving.save(memory, data_file, static, find, days)


def _has_hung_up(sockets: Sequence[int], seconds: float) -> bool:
    """Wait for some seconds, or until one of some sockets is closed at its other end."""
    try:
        ready = select.select(sockets, [], [], seconds)[0]
        return any(not os.read(each, 1) for each in ready)
    except ConnectionResetError:  # closed with unread data
        return True


def _has_news(memory: Memory) -> bool:
    return memory.read().checksum() != memory.saved_sum


class _Wait:
    """A wait until no process marks lines in a memory, or the memory was removed.

    It watches one process, and the next one when that has ended: a server that forks for each
    request has children that end, and a process that stays.

    Args:
        memory: the memory to be written.
        seconds: how long to wait at most.
        process: the process to watch first: its id, and when it was known to run, as `noted_now`
            returns it; None: any that marks lines.
        start: descriptor of a socket to that process; None: there is none.
    """

    def __init__(
        self,
        memory: Memory,
        seconds: float,
        *,
        process: tuple[int, float] | None = None,
        start: int | None = None,
    ) -> None:
        self._memory = memory
        self._watched = [] if start is None else [start]
        self._process = process
        self._deadline = time.monotonic() + seconds
        self._all_ended = process is None and not self._finds_another()

    def until_over(self, meanwhile: Meanwhile | None) -> bool:
        """Wait until it is over; tell whether no process is left that marks lines.

        Args:
            meanwhile: work to do once, as soon as it may begin.
        """
        while self._goes_on(CHECK_INTERVAL):
            if meanwhile is not None and self._left > LEAST_LEFT and meanwhile.is_time():
                # No user waits for this work; a request that needs it gets the same error.
                with contextlib.suppress(Exception):
                    meanwhile(self._memory.read(), self._tick)
                meanwhile = None
        return self._all_ended

    @property
    def _left(self) -> float:
        return self._deadline - time.monotonic()

    def _goes_on(self, seconds: float) -> bool:
        """Wait for some seconds; tell whether the wait is not over."""
        left = self._left
        if self._all_ended or left <= 0 or not self._memory.is_there:
            return False
        has_hung_up = _has_hung_up(self._watched, min(left, seconds))
        if has_hung_up or self._process is None or not is_noted_process(*self._process):
            self._all_ended = not self._finds_another()
        return not self._all_ended

    def _finds_another(self) -> bool:
        """Choose another process that marks lines to be watched; tell whether there is one."""
        for other in self._memory.table.living():
            self._watched, self._process = [], (other.pid, other.noted_at)
            return True
        return False

    def _tick(self) -> None:
        if not self._goes_on(0):
            raise _OverError


def _take_away(memory: Memory) -> None:
    """Remove a memory and its folder when no process is left, as a last process does at its end."""
    from wsgi_coverage.collect.saves import saving

    sweep_dead(memory.folder)  # before the memory: its removal shows that all is done
    if saving.take_away(memory):
        with contextlib.suppress(OSError):
            memory.folder.rmdir()
