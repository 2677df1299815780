"""Take turns with other processes, with signs of life to the server while one waits.

Concurrency: a lock is held by one thread of one process; when that process ends, it is free.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from wsgi_coverage.patience import tick

TICK = 0.2  # seconds between signs of life


@contextlib.contextmanager
def turn(path: Path, patience: float) -> Iterator[None]:
    """Hold a lock.

    Args:
        path: of its file, which stays.
        patience: seconds to wait for it.

    Raises:
        TimeoutError: somebody else has held it for as long.
        OSError: its file cannot be made.
    """
    lock = FileLock(path, mode=0o600)
    deadline = time.monotonic() + patience
    while True:
        left = max(deadline - time.monotonic(), 0.0)
        try:
            lock.acquire(timeout=min(left, TICK))
            break
        except Timeout:
            if left <= TICK:
                raise TimeoutError(str(path)) from None
            tick()
    try:
        yield
    finally:
        lock.release()
