"""The process that outlives a worker: it waits, and writes the memory to a data file.

One is started after a request, at most one a host at a time. It waits until the autosave interval
has passed, or until the last process that marks lines has ended in any way. Until then it has
imported next to nothing; if nothing new has run, it never does. It waits for another interval where
lines ran while it wrote, where nothing may be written before a collection has ended, or where a
thread of ours would start the next one: another thread that waits for any child of its own may be
told of the shell that does so (wsgi_coverage.offload.process).

Meanwhile it may run other work (wsgi_coverage.ahead), in a child process that ends with the wait.

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

WRITE_TIMEOUT = 5.0  # seconds to write, after which the workers see to it that another process does
CHECK_INTERVAL = 1.0  # seconds; a fork of the worker's may hold the other end of the socket open
START = 0  # the socket that leads to the worker that started this process
REMOVE_TRIES = 100  # to remove the memory of ended processes
REMOVE_INTERVAL = 0.05  # seconds between them
LEAST_LEFT = 2.0  # seconds that are left; for less, nothing else is begun


class Meanwhile(Protocol):
    """Work that can be done during the wait; pickled, and light to import."""

    def is_time(self) -> bool:
        """Tell whether the work may begin now."""
        ...

    def __call__(self, reading: Reading, tick: Callable[[], object]) -> None:
        """Do the work.

        Args:
            reading: of the host's memory.
            tick: to be called a few times a second; what it raises ends the work.
        """
        ...


class _OverError(Exception):
    """The wait is over, so other work ends."""


def keep(
    folder: Path,
    data_file: Path,
    static: str | None,
    pid: int,
    seconds: float,
    meanwhile: Meanwhile | None = None,
    stays: bool = False,
    config: str | None = None,
) -> None:
    """Wait, then write what is new to the data file; go on where lines ran while it was written.

    Args:
        folder: the private folder.
        data_file: the configured one, beside which the data file goes.
        static: coverage.py's static context.
        pid: the process id of the worker that started this process.
        seconds: how long to wait at most.
        meanwhile: work for the time of the wait.
        stays: whether to go on in any case, as long as the worker has its end of the socket open.
        config: of coverage.py, as from `own_coverage.for_children`, by which files that could have
            run are found; None: they are left out.

    Raises:
        DiskFullError, OSError: there is no room; nothing is lost.
    """
    memory = open_if_there(folder)
    if memory is None:
        return  # its last process has written it, and taken it away
    wait = _Wait(memory, seconds, process=(pid, noted_now()), start=START)
    tries = REMOVE_TRIES
    while True:
        all_ended = wait.until_over(meanwhile)
        if not memory.is_there:
            # Also where it was removed: processes that still map it make a new one.
            memory.leave()
            return
        try:
            if _has_news(memory):
                _save(memory, data_file, static, config)
        finally:
            memory.keep_until(0.0)
            memory.begin_turn()  # the next request looks whether another is to wait
        if all_ended:
            _take_away(memory)
        # What ran since the memory was read has found that this process is to write it, and it
        # may have been the last request for a long time.
        if not memory.is_there or memory.kept_until:
            return
        stays = stays and not _has_hung_up([START], 0)
        if not (all_ended or stays or _has_news(memory)):
            return
        if all_ended:  # and yet there: a process has come, lines have, or its table was just in use
            if not tries:
                return
            tries -= 1
            time.sleep(REMOVE_INTERVAL)
        memory.keep_until(time.monotonic() + seconds + WRITE_TIMEOUT)
        wait = _Wait(memory, seconds)


def save_in(folder: Path, data_file: Path, static: str | None, config: str | None) -> None:
    """Write the memory in a private folder to its data file now; nothing where there is none.

    Args:
        folder: the private folder.
        data_file: the configured one, beside which the data file goes.
        static: coverage.py's static context.
        config: as for `keep`.

    Raises:
        DiskFullError, OSError: there is no room; nothing is lost.
    """
    memory = open_if_there(folder)
    if memory is not None:
        _save(memory, data_file, static, config)


def _save(memory: Memory, data_file: Path, static: str | None, config: str | None) -> None:
    from wsgi_coverage.collect.saves import saving
    from wsgi_coverage.collect.sources import could_run  # imports coverage.py: 0.1 s, 15 MB

    find = None if config is None else partial(could_run.find_by, config)
    saving.save(memory, data_file, static, find)


def _has_hung_up(sockets: Sequence[int], seconds: float) -> bool:
    """Wait for some seconds, or until one of some sockets is closed at its other end."""
    try:
        ready = select.select(sockets, [], [], seconds)[0]
        return any(not os.read(each, 1) for each in ready)
    except ConnectionResetError:  # it had not read what it was told
        return True


def _has_news(memory: Memory) -> bool:
    return memory.read().checksum() != memory.saved_sum


class _Wait:
    """A wait until no process marks lines in a memory; not for longer than the memory is there.

    Where the process that is watched ends, another is: a server that forks one for each request has
    those that end, and one that stays.

    Args:
        memory: what is to be written.
        seconds: how long to wait at most.
        process: to watch first: its id, and when it was known to run (`processes.noted_at`).
        start: a socket that leads to it; None: nothing does.
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
        """Wait; tell whether no process is left that marks lines.

        Args:
            meanwhile: work that is done once, as soon as it may begin.
        """
        while self._goes_on(CHECK_INTERVAL):
            if meanwhile is not None and self._left > LEAST_LEFT and meanwhile.is_time():
                # Nobody has asked for this work; a request for it meets the same error.
                with contextlib.suppress(Exception):
                    meanwhile(self._memory.read(), self._tick)
                meanwhile = None
        return self._all_ended

    @property
    def _left(self) -> float:
        return self._deadline - time.monotonic()

    def _goes_on(self, seconds: float) -> bool:
        """Wait for some seconds; tell whether the wait goes on after that."""
        left = self._left
        if self._all_ended or left <= 0 or not self._memory.is_there:
            return False
        has_hung_up = _has_hung_up(self._watched, min(left, seconds))
        if has_hung_up or self._process is None or not is_noted_process(*self._process):
            self._all_ended = not self._finds_another()
        return not self._all_ended

    def _finds_another(self) -> bool:
        """Watch another process that marks lines; tell whether there is one."""
        for other in self._memory.table.living():
            self._watched, self._process = [], (other.pid, other.noted_at)
            return True
        return False

    def _tick(self) -> None:
        if not self._goes_on(0):
            raise _OverError


def _take_away(memory: Memory) -> None:
    """Where no process is left: remove the memory, as the last one's own end would have done."""
    from wsgi_coverage.collect.saves import saving

    sweep_dead(memory.folder)  # first: that the memory is gone says that all is done
    if saving.take_away(memory):
        with contextlib.suppress(OSError):
            memory.folder.rmdir()
