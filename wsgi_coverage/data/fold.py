"""Fold data files of memories that are gone into their union, so that recycling leaves few files.

Concurrency: callers hold the build lock; the files that are read are published, so no process
writes to them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from wsgi_coverage.data import stamp
from wsgi_coverage.data.datafile import UnusableError, open_data_file
from wsgi_coverage.data.reading import LabelUse, join_uses
from wsgi_coverage.data.union import DataUnion, has_branches


def write_union(data_files: Sequence[Path], target: Path) -> list[Path]:
    """Write the union of data files, all of lines or all of arcs, to another data file.

    Args:
        data_files: the files to read; none of them is changed.
        target: the file to write; it is overwritten.

    Returns:
        The files that are in the union. Those are left out that cannot be read, or that have
        another version of a source than one before them.

    Raises:
        OSError, CoverageException, sqlite3.Error: there is no room.
    """
    out: DataUnion | None = None
    used = []
    versions: dict[str, str] = {}
    labels: dict[str, LabelUse] = {}
    for path in data_files:
        try:
            with open_data_file(path) as connection:
                loaded = stamp.read_fingerprints(connection)
                if any(versions.get(name, version) != version for name, version in loaded.items()):
                    continue
                if out is None:
                    out = DataUnion(target, branch=has_branches(connection))
                out.add(out.read(connection))
                join_uses(labels, stamp.labels_in(connection).items())
        except UnusableError:
            continue  # the next report names it
        used.append(path)
        versions |= loaded
    if out is not None and used:
        out.write()
        stamp.put_fingerprints(target, versions)
        stamp.put_labels(target, labels)
    return used
