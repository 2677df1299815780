"""Staleness: tell whether the workers or sources that a report was made of have changed since.

Both are written beside the report when it is built, and compared when it is read.

Concurrency: `note` writes into a folder that belongs to one build; `differences` only reads.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from wsgi_coverage.data import versions
from wsgi_coverage.data.imported import named
from wsgi_coverage.data.stored import read_json
from wsgi_coverage.system import own_files, workdir

ORIGIN = "origin.json"


def note(folder: Path, *, workers: Iterable[str], sources: Iterable[str]) -> dict[str, list[Any]]:
    """Write the workers and source versions that a report is made of.

    Call it before the sources are parsed, so that an edit from then on makes the report stale.

    Args:
        folder: where the report is built.
        workers: ids of the workers that were live.
        sources: names of the files that the report is about.

    Returns:
        The version of each source that can be read, as `versions.noted` returns it.
    """
    found = {name: versions.noted(workdir.here(name)) for name in sources}
    there = {name: version for name, version in found.items() if version is not None}
    origin = {"workers": sorted(workers), "sources": there}
    own_files.write(folder / ORIGIN, json.dumps(origin))
    return there


def differences(folder: Path, *, live: Collection[str] | None) -> list[str]:
    """Return sentences that say why a report is out of date; empty where it is not.

    Args:
        folder: the report's folder.
        live: ids of the workers that are live now; None where they are not known.
    """
    try:
        origin = read_json(folder / ORIGIN)
        workers, sources = set(map(str, origin["workers"])), dict(origin["sources"])
    except (OSError, ValueError, KeyError, TypeError):
        return []  # damaged, or written by an older version of this package
    out = []
    if live is not None and not workers.intersection(live):
        out.append(
            "every process that the report was made of has ended since (the server was restarted, "
            "or its workers were replaced): what the present ones run is not in it"
        )
    changed = [
        name
        for name, version in sources.items()
        if isinstance(version, list) and versions.has_changed(workdir.here(name), version)
    ]
    if changed:
        it = "it" if len(changed) == 1 else "them"
        have = "source has" if len(changed) == 1 else "sources have"
        out.append(
            f"{len(changed)} {have} changed since the report was made "
            f"({named(changed)}): what it says of {it} is about the version before"
        )
    return out
