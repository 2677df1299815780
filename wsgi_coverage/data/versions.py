"""The versions of sources: those on disk, and those that workers have loaded.

A version is told by a fingerprint, a hash of the source. A source is read for it once for each
state of the file (its times, size and inode), unless it was so young then that one more edit could
have left them as they are. A report stores the states that it has found, so that the next one, in
another process, reads what has changed since.

Concurrency: a `VersionsOnDisk` belongs to one thread; what is known of a source is shared by all
threads of a process, in a dict of which no entry is ever changed.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from wsgi_coverage.data import stamp
from wsgi_coverage.system import workdir

# A source that was written just now may be written again within a tick of the file system's clock,
# which may be one of another host.
SETTLED = 2_000_000_000  # nanoseconds
MOST = 20_000  # sources to remember

# Times of modification and of change in ns, size in bytes, inode. The time of change tells of an
# edit even if the time of modification was set back.
State: TypeAlias = tuple[int, int, int, int]
NOT_KNOWN: State = (0, 0, 0, 0)

_known: dict[str, tuple[State, str]] = {}


class VersionsOnDisk:
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
    """The fingerprint of a source as it is now; None if it cannot be read.

    Raises:
        OSError: no descriptor is left to read it by.
    """
    found = _look(source)
    return None if found is None else found[1]


def noted(source: str) -> list[Any] | None:
    """The state of a source and its fingerprint, in JSON types; None if it cannot be read.

    The state is one that no file has, where the source is so young that it tells nothing.

    Raises:
        OSError: no descriptor is left to read it by.
    """
    found = _look(source)
    return None if found is None else [*found[0], found[1]]


def has_changed(source: str, version: list[Any]) -> bool:
    """Tell whether a source is another one than it was, or is gone.

    Args:
        source: its name.
        version: what `noted` said of it.
    """
    before, fingerprint = version[:-1], version[-1:]
    state = _state(source)
    if state is None:
        return True  # it was there
    return list(state) != before and [current(source)] != fingerprint


def remember(found: Mapping[str, list[Any]]) -> None:
    """Know what another process has found.

    Args:
        found: by source, what `noted` said of it.

    Raises:
        TypeError, ValueError: it said something else.
    """
    for source, (*state, fingerprint) in found.items():
        if source not in _known and len(state) == len(NOT_KNOWN) and len(_known) < MOST:
            _known[source] = tuple(state), fingerprint


def _look(source: str) -> tuple[State, str] | None:
    """The state of a source, or `NOT_KNOWN` where it is too young, and its fingerprint."""
    began = time.time_ns()
    state = _state(source)
    if state is None:
        return None
    found = _known.get(source)
    if found is not None and found[0] == state:
        return found
    fingerprint = stamp.fingerprint(source)
    if fingerprint is None:
        return None
    if began - max(state[:2]) <= SETTLED:
        return NOT_KNOWN, fingerprint
    if len(_known) >= MOST:
        _known.clear()
    _known[source] = state, fingerprint
    return state, fingerprint


def _state(source: str) -> State | None:
    try:
        stat = os.stat(source)  # noqa: PTH116  a Path for each of them takes as long again
    except (OSError, ValueError):
        return None
    return stat.st_mtime_ns, stat.st_ctime_ns, stat.st_size, stat.st_ino
