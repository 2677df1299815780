"""The versions of sources: those on disk, compared with those that workers have loaded.

A fingerprint, a hash of the source, identifies a version. It is computed once for each state of the
file (its times, size and inode), unless the file was modified so recently that another edit could
leave the state unchanged. A report stores the states that it has found, so that the next one, in
another process, reads only sources that have changed since.

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

# Nanoseconds after which another edit is sure to change a file's times. Within a tick of the file
# system's clock, which may be that of another host, it may not.
SETTLED = 2_000_000_000
MOST = 20_000  # sources in the cache

# Times of modification and of status change in ns, size in bytes, inode. An edit changes the second
# even if the first was set back.
State: TypeAlias = tuple[int, int, int, int]
NOT_KNOWN: State = (0, 0, 0, 0)

_known: dict[str, tuple[State, str]] = {}


class VersionsOnDisk:
    """Compares loaded versions with those on disk, reading each source once.

    Args:
        name: maps a measured file's name in a data file to its name on this host.
    """

    def __init__(self, name: Callable[[str], str]) -> None:
        self._name = name
        self._answers: dict[stamp.Fingerprints, list[str]] = {}
        self._now: dict[str, str | None] = {}

    def changed(self, loaded: stamp.Fingerprints) -> list[str]:
        """Return the files that a worker has loaded in another version than that on disk.

        Files that cannot be read are left out.

        Args:
            loaded: fingerprints of what the worker has loaded, from `stamp.fingerprints_in`.
        """
        if loaded not in self._answers:
            self._answers[loaded] = sorted(
                name
                for name, version in stamp.fingerprints_of(loaded).items()
                if self._current(name) not in (None, version)
            )
        return self._answers[loaded]

    def is_current(self, name: str, version: str) -> bool:
        """Tell whether a source has this version on disk, or cannot be read."""
        return self._current(name) in (None, version)

    def _current(self, name: str) -> str | None:
        if name not in self._now:
            self._now[name] = current(workdir.here(self._name(name)))
        return self._now[name]


def current(source: str) -> str | None:
    """Return the fingerprint of a source as it is on disk; None: it cannot be read.

    Raises:
        OSError: there is no descriptor, or no room, to read it.
    """
    found = _look(source)
    return None if found is None else found[1]


def noted(source: str) -> list[Any] | None:
    """Return the state of a source and its fingerprint, in JSON types; None: it cannot be read.

    The state of a source that was modified in the last two seconds is `NOT_KNOWN`.

    Raises:
        OSError: there is no descriptor, or no room, to read it.
    """
    found = _look(source)
    return None if found is None else [*found[0], found[1]]


def has_changed(source: str, version: list[Any]) -> bool:
    """Tell whether a source has changed, or was removed.

    Args:
        source: its path.
        version: what `noted` returned for it.
    """
    before, fingerprint = version[:-1], version[-1:]
    state = _state(source)
    if state is None:
        return True  # it was removed
    return list(state) != before and [current(source)] != fingerprint


def remember(found: Mapping[str, list[Any]]) -> None:
    """Add to the cache what another process has found.

    Args:
        found: what `noted` returned there, by source.

    Raises:
        TypeError, ValueError: it is something else.
    """
    for source, (*state, fingerprint) in found.items():
        if source not in _known and len(state) == len(NOT_KNOWN) and len(_known) < MOST:
            _known[source] = tuple(state), fingerprint


def _look(source: str) -> tuple[State, str] | None:
    """Return the fingerprint of a source after its state: `NOT_KNOWN` if modified too recently."""
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
