"""The process that outlives a worker: it writes the memory to a data file when it is time.

One is started after a request, at most one a host at a time. It waits until the autosave interval
has passed, or until the worker that started it has ended, whatever way that ends. Until then it has
imported next to nothing; if nothing new has run, it never does.

Concurrency: alone in its process. The memory may go, or be written by another, at any moment.
"""

from __future__ import annotations

import contextlib
import os
import select
import time
from pathlib import Path

from wsgi_coverage.store.channel import sweep_dead
from wsgi_coverage.store.memory import Memory, open_if_there
from wsgi_coverage.store.processes import is_noted_process

LOOK = 1.0  # seconds; a fork of the worker's may hold the other end of the socket open
TRIES = 100  # to see the last process of a memory off; a server's master may end after its workers
PAUSE = 0.05  # seconds between them


def keep(folder: Path, data_file: Path, static: str | None, pid: int, seconds: float) -> None:
    """Wait, and write what is new.

    Args:
        folder: the private folder.
        data_file: the configured one, beside which the data file goes.
        static: coverage.py's static context.
        pid: the process id of the worker that started this process.
        seconds: how long to wait at most.

    Raises:
        DiskFullError, OSError: there is no room; nothing is lost.
    """
    began = time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))
    memory = open_if_there(folder)
    if memory is None:
        return  # its last process has written it, and taken it away
    has_ended = _wait(memory, pid, began, seconds)
    if not memory.is_there:
        # Also where somebody has removed it: who still has it mapped makes it anew.
        memory.leave()
        return
    try:
        if memory.read().checksum() != memory.saved_sum:
            from wsgi_coverage.collect import saving  # imports coverage.py: 0.1 s, 15 MB

            saving.save(memory, data_file, static)
    finally:
        memory.keep_until(0.0)
        memory.begin_turn()  # the next request looks whether another is to wait
    if has_ended:
        _take_away(memory)


def _wait(memory: Memory, pid: int, began: float, seconds: float) -> bool:
    """Tell whether the worker has ended meanwhile; not for longer than the memory is there."""
    deadline = time.monotonic() + seconds
    while memory.is_there and (left := deadline - time.monotonic()) > 0:
        try:
            hung_up = select.select([0], [], [], min(left, LOOK))[0] and not os.read(0, 1)
        except ConnectionResetError:  # it had not read what it was told
            hung_up = True
        if hung_up or not is_noted_process(pid, began):
            return True
    return False


def _take_away(memory: Memory) -> None:
    """Where that worker was the last process: see the memory off, as its end would have done."""
    for _ in range(TRIES):
        if not memory.table.living():
            from wsgi_coverage.collect import saving

            sweep_dead(memory.folder)  # first: that the memory is gone says that all is done
            if saving.take_away(memory):
                with contextlib.suppress(OSError):
                    memory.folder.rmdir()
            return
        time.sleep(PAUSE)  # a killed process is there until somebody has waited for it
