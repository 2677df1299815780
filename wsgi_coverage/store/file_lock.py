"""File locks between processes, whose waiting tells the server that the worker is alive.

It uses record locks where the system has them (``fcntl.lockf``): a fork does not inherit them, and
the system releases them when the process ends. filelock is imported only elsewhere: its at-fork and
audit hooks make threads of the application that fork at the same time fail with a RuntimeError
(tests/e2e/test_memory.py).

`locked` polls, because it has to send heartbeats while it waits. filelock 3.16, the oldest
supported release, has no callback for that: `cancel_check` came later.

Concurrency: a lock is held by one thread of one process. `_held` serves for the threads of one
process; its changes are atomic under the GIL. Its keys contain the process id, so that a forked
child holds none.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wsgi_coverage.liveness import tick
from wsgi_coverage.system import own_files

_fcntl: Any
try:
    import fcntl as _fcntl
except ModuleNotFoundError:  # Windows
    _fcntl = None

TICK = 0.2  # seconds between heartbeats to the server
RETRY_INTERVAL = 0.01  # seconds between two tries

_held: dict[tuple[int, str], object] = {}  # by process id and path


@contextlib.contextmanager
def locked(path: Path, timeout: float) -> Iterator[None]:
    """Hold a file lock.

    Args:
        path: the lock's file; the holder of the lock may remove it.
        timeout: seconds to wait for the lock.

    Raises:
        TimeoutError: another process or thread has held it all that time.
        OSError: its file cannot be made, for instance because something else has that name.
    """
    deadline = time.monotonic() + timeout
    due = time.monotonic() + TICK
    while (held := _try(path)) is None:
        now = time.monotonic()
        if now >= deadline:
            raise TimeoutError(str(path))
        if now >= due:
            tick()
            due = now + TICK
        time.sleep(min(RETRY_INTERVAL, deadline - now))
    with held:
        yield


def _try(path: Path) -> contextlib.ExitStack | None:
    """Acquire the lock, to be released by a with statement; None: it is held already."""
    mine = object()
    key = (os.getpid(), os.path.abspath(path))  # noqa: PTH100  links stay links
    if _held.setdefault(key, mine) is not mine:
        return None
    with contextlib.ExitStack() as undo:
        undo.callback(_held.pop, key, None)
        if _fcntl is None:
            from filelock import FileLock, Timeout

            try:
                undo.enter_context(FileLock(path, mode=0o600).acquire(timeout=0))
            except Timeout:
                return None
            return undo.pop_all()
        # No links: one may lead to itself, or to a file whose lock other programs use.
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        fd = own_files.opener(str(path), flags)
        undo.callback(os.close, fd)  # which releases the lock
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(errno.ENXIO, "it is no regular file", str(path))
        try:
            _fcntl.lockf(fd, _fcntl.LOCK_EX | _fcntl.LOCK_NB)
            if os.fstat(fd).st_ino != os.stat(path).st_ino:  # noqa: PTH116  as the rest here
                return None  # it was removed meanwhile, and another is in its place
        except FileNotFoundError:
            return None  # it was removed meanwhile
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EAGAIN):
                raise
            return None
        return undo.pop_all()
    raise AssertionError  # pragma: no cover
