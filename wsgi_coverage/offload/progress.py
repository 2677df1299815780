"""The progress of a build: reported by code that analyses files, shown by /health and dashboard.

    cache_dir/
        building.json   which process builds, since when, and how many files are done of how many

It is a file because another worker than the one that builds may answer. Only the holder of the
build lock writes it.

Concurrency: `note` calls the listener of its own thread; the file is replaced by renaming.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from wsgi_coverage import clock, liveness
from wsgi_coverage.data.stored import is_number, read_json
from wsgi_coverage.model.answers import Building
from wsgi_coverage.store.private import is_alive
from wsgi_coverage.system import own_files

WRITE_INTERVAL = 0.3  # seconds between two writes of the file, at least
STALE_AGE = 30.0  # seconds without a write; a build in a child writes while it waits, too

ProgressListener = Callable[[int, int], object]  # files done, files in all

_listener: ContextVar[ProgressListener | None] = ContextVar("wsgi_coverage_progress", default=None)


@contextlib.contextmanager
def told_to(listener: ProgressListener | None) -> Iterator[None]:
    """Set the listener, or none, that `note` calls in the block."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


def note(done: int, total: int) -> None:
    """Report to the listener how many files are done of how many; cheap enough for each file."""
    if (listener := _listener.get()) is not None:
        listener(done, total)


class BuildProgress:
    """Progress of the current build in one cache folder, if there is one."""

    def __init__(self, cache_dir: Path) -> None:
        self._path = cache_dir / "building.json"

    @contextlib.contextmanager
    def shown(self) -> Iterator[ProgressFile]:
        """Write the progress file during the block; to be called under the build lock."""
        file = ProgressFile(self._path)
        try:
            with told_to(file.files):
                yield file
        finally:
            with contextlib.suppress(OSError):
                self._path.unlink(missing_ok=True)

    def read(self) -> Building | None:
        """Return `files_done`, `files_total` and `started_at` of the current build; None: none.

        `files_total` is None until the data files are combined.
        """
        try:
            found: dict[str, Any] = read_json(self._path)
            now = clock.now()
            fresh = found["boot"] == now.boot and now.seconds - found["seconds"] < STALE_AGE
            done, total = found["files_done"], found["files_total"]
            is_valid = isinstance(found["started_at"], str) and all(
                each is None or is_number(each) for each in (done, total)
            )
            if fresh and is_valid and is_alive(int(found["pid"])):
                return {
                    "files_done": done,
                    "files_total": total,
                    "started_at": found["started_at"],
                }
        except (OSError, ValueError, TypeError, KeyError, OverflowError):
            pass
        return None  # no file, or one that a killed process has left


class ProgressFile:
    """Writes the progress file every 0.3 seconds at most; a shorter build writes none."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._done = 0
        self._total: int | None = None  # None until the data files are combined
        self._started_at = clock.now_iso()
        self._due = time.monotonic() + WRITE_INTERVAL

    def files(self, done: int, total: int) -> None:
        """Set how many files are done of how many, and write the file if that is due."""
        self._done, self._total = done, total
        self.tick()

    def tick(self) -> None:
        """Write the file again if that is due, to show that the build goes on."""
        liveness.tick()
        if time.monotonic() < self._due:
            return
        self._due = time.monotonic() + WRITE_INTERVAL
        with contextlib.suppress(OSError):  # a full disk is reported where it matters
            self._write()

    def _write(self) -> None:
        now = clock.now()
        text = json.dumps(
            {
                "pid": os.getpid(),
                "boot": now.boot,
                "seconds": now.seconds,
                "files_done": self._done,
                "files_total": self._total,
                "started_at": self._started_at,
            }
        )
        own_files.replace(self._path, text)
