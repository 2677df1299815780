"""Staleness: which workers and source versions a report was made of, and which have changed since.

Written beside the report when it is built, and compared when it is read. A source whose times and
size are unchanged is not opened, unless it was so young then that one more edit could have left
them as they are.

Concurrency: `note` writes into a folder that belongs to one build; `differences` only reads.
"""

from __future__ import annotations

import functools
import json
import os
import time
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from wsgi_coverage.data import stamp, workdir
from wsgi_coverage.data.imported import named
from wsgi_coverage.system import own_files

ORIGIN = "origin.json"

YOUNG = 1_000_000_000  # ns; a file system's clock may tick in steps of 4 ms, or of a second
NOT_KNOWN = (0, 0, 0)

Version = list[Any]  # as `_times`, then the fingerprint


def note(folder: Path, *, workers: Iterable[str], sources: Iterable[str]) -> dict[str, str]:
    """Write the workers and source versions that a report is made of.

    Call it before the sources are parsed: an edit from then on is a difference.

    Args:
        folder: where the report is built.
        workers: ids of the workers that were live.
        sources: names of the files that the report is about.

    Returns:
        The fingerprint of each source that can be read.
    """
    found = {name: _version(workdir.here(name)) for name in sources}
    versions = {name: version for name, version in found.items() if version is not None}
    origin = {"workers": sorted(workers), "sources": versions}
    own_files.write(folder / ORIGIN, json.dumps(origin))
    return {name: version[-1] for name, version in versions.items()}


def differences(folder: Path, *, live: Collection[str] | None) -> list[str]:
    """Why a report is out of date, as sentences; empty where it is not.

    Args:
        folder: the report's.
        live: ids of the workers that are live now; None where that cannot be told.
    """
    try:
        origin = json.loads((folder / ORIGIN).read_text(encoding="utf-8"))
        workers, sources = origin["workers"], origin["sources"]
    except (OSError, ValueError, KeyError, TypeError):
        return []  # of an older version, which noted nothing
    out = []
    if live is not None and not set(live).intersection(workers):
        out.append(
            "every process that the report was made of has ended since (the server was restarted, "
            "or its workers were replaced): what the present ones run is not in it"
        )
    changed = [
        name for name, version in sources.items() if _has_changed(workdir.here(name), version)
    ]
    if changed:
        it = "it" if len(changed) == 1 else "them"
        have = "source has" if len(changed) == 1 else "sources have"
        out.append(
            f"{len(changed)} {have} changed since the report was made "
            f"({named(changed)}): what it says of {it} is about the version before"
        )
    return out


def _version(name: str) -> Version | None:
    times = _times(name)
    found = stamp.fingerprint(name) if times is not None else None
    if times is None or found is None:
        return None
    is_young = time.time_ns() - max(times[:2]) < YOUNG
    return [*(NOT_KNOWN if is_young else times), found]


def _times(name: str) -> tuple[int, int, int] | None:
    """Times of modification and of change, in ns, and the size in bytes.

    The time of change tells of an edit even if the time of modification was set back.
    """
    try:
        # Each view of the dashboard looks at thousands: a Path for each takes twice the time.
        status = os.stat(name)  # noqa: PTH116
    except (OSError, ValueError):
        return None
    return status.st_mtime_ns, status.st_ctime_ns, status.st_size


def _has_changed(name: str, version: Version) -> bool:
    *before, fingerprint = version
    now = _times(name)
    if now is None:
        return True  # it was there
    return list(now) != before and _fingerprint(name, now) != fingerprint


@functools.lru_cache(maxsize=4096)
def _fingerprint(name: str, times: tuple[int, int, int]) -> str | None:  # noqa: ARG001  part of the key
    """A source's fingerprint, computed once for each state of the file."""
    return stamp.fingerprint(name)
