"""Compare the versions of sources that workers have loaded with those on disk.

Concurrency: a `Versions` belongs to one thread; what is known of a source is shared by all threads
of a process, in a dict of which no entry is ever changed.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from wsgi_coverage.data import stamp, workdir

# A source that was written just now may be written again within a tick of the file system's clock.
SETTLED = 2_000_000_000  # nanoseconds
MOST = 20_000  # sources to remember

_known: dict[str, tuple[tuple[int, int, int], str]] = {}


class Versions:
    """Compares loaded versions with those on disk, reading each source once.

    Args:
        name: maps the name of a measured file to its name here.
    """

    def __init__(self, name: Callable[[str], str]) -> None:
        self._name = name
        self._answers: dict[stamp.Fingerprints, list[str]] = {}
        self._now: dict[str, str | None] = {}

    def changed(self, loaded: stamp.Fingerprints) -> list[str]:
        """The files that a worker has loaded in another version than there is now.

        A file that cannot be read is not among them.

        Args:
            loaded: the worker's, from `stamp.fingerprints_in`.
        """
        if loaded not in self._answers:
            self._answers[loaded] = sorted(
                name
                for name, version in stamp.fingerprints_of(loaded).items()
                if self._current(name) not in (None, version)
            )
        return self._answers[loaded]

    def is_current(self, name: str, version: str) -> bool:
        """Tell whether a source is of this version now, or cannot be read."""
        return self._current(name) in (None, version)

    def _current(self, name: str) -> str | None:
        if name not in self._now:
            self._now[name] = current(workdir.here(self._name(name)))
        return self._now[name]


def current(source: str) -> str | None:
    """The fingerprint of a source as it is now; None if it cannot be read."""
    try:
        stat = os.stat(source)  # noqa: PTH116  a Path for each of them takes as long again
    except (OSError, ValueError):
        return None
    looks = stat.st_mtime_ns, stat.st_size, stat.st_ino
    found = _known.get(source)
    if found is not None and found[0] == looks:
        return found[1]
    fingerprint = stamp.fingerprint(source)
    if fingerprint is not None and time.time_ns() - stat.st_mtime_ns > SETTLED:
        if len(_known) >= MOST:
            _known.clear()
        _known[source] = looks, fingerprint
    return fingerprint
