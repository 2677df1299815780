"""Show the progress of a report while a dashboard builds it.

Concurrency: one daemon thread during the block; it makes no call after the block's end.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

INTERVAL = 0.5  # seconds

Progress = Callable[[int, int | None], None]  # files done, and of how many


@contextlib.contextmanager
def watching(
    progress: Progress | None, building: Callable[[], dict[str, Any] | None]
) -> Iterator[None]:
    """Call `progress` every INTERVAL seconds while a report is made, until the block ends.

    Args:
        progress: what to call; None: nothing.
        building: returns `files_done` and `files_total`, or None if no report is being made.
    """
    if progress is None:
        yield
        return
    told = progress
    ended = threading.Event()
    lock = threading.Lock()  # held for each call of `progress`, so that none comes after the end

    def watch() -> None:
        while not ended.wait(INTERVAL):
            found = building()
            if found is None or not isinstance(found.get("files_done"), int):
                continue
            total = found.get("files_total")
            with lock:
                if not ended.is_set():
                    told(found["files_done"], total if isinstance(total, int) else None)

    threading.Thread(target=watch, name="wsgi-coverage-progress", daemon=True).start()
    try:
        yield
    finally:
        with lock:
            ended.set()
