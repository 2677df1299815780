"""Snapshots that flask-coverage up to 0.2.1 took: data files named `<id>.coverage`.

They are listed beside the others. One that is opened becomes a report, made of that data file and
of the sources as they are then; the data file stays beside it until the snapshot is deleted.

Concurrency: functions that read a folder, in which files are only removed.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from wsgi_coverage.model import Moment, Report

SUFFIX = ".coverage"
STAMP = 16  # characters of an id before the label's slug
ID = re.compile(r"[0-9]{8}T[0-9]{6}Z(?:-[^/\\\x00-\x1f]{1,50})?")  # with the slug of a label
TAKEN_BY = (
    "flask-coverage took this snapshot: whether all workers were in it is not known, and it is "
    "judged by the sources as they were when it was opened here first"
)
NOT_OPENED = "figures are counted when this snapshot is opened"
LONG_AGO = Moment(seconds=0.0, boot="")


def find(folder: Path, identity: str) -> Path | None:
    """Return the data file of an old snapshot; None: there is none with this id."""
    path = folder / f"{identity}{SUFFIX}" if ID.fullmatch(identity) else None
    return path if path is not None and path.is_file() and not path.is_symlink() else None


def ids(folder: Path) -> Iterator[str]:
    """Yield the ids of the old snapshots in a folder."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            identity = entry.name.removesuffix(SUFFIX)
            if identity != entry.name and find(folder, identity) is not None:
                yield identity


def report_of(folder: Path, identity: str) -> Report:
    """Return the metadata of an old snapshot that was never opened.

    Raises:
        FileNotFoundError: there is none with this id.
    """
    path = find(folder, identity)
    if path is None:
        raise FileNotFoundError(identity)
    return Report(
        id=identity,
        refreshed_at=taken_at(identity),
        duration_seconds=0.0,
        autosave_interval_seconds=0.0,
        summary={"percent": None, "reason": NOT_OPENED},
        complete=False,
        workers=(),
        warnings=(TAKEN_BY,),
        collected=LONG_AGO,
        label=label_of(identity),
        size=path.stat().st_size,
    )


def label_of(identity: str) -> str | None:
    """Return the slug of the label in an id."""
    return identity[STAMP + 1 :] or None


def taken_at(identity: str) -> str:
    """Return the time in an id, as ISO 8601 in UTC; that of the beginning of time if it is none."""
    try:
        found = datetime.strptime(identity[:STAMP], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        found = datetime.fromtimestamp(0, UTC)
    return found.isoformat()
