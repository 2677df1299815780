"""The union of data files of workers that have ended, so that recycling leaves a handful of them.

Concurrency: callers hold the build lock; the files that are read are published, so nobody writes to
them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from coverage import CoverageData
from coverage.exceptions import CoverageException

from wsgi_coverage.store import stamp


def union(data_files: Sequence[Path], target: Path, *, branch: bool) -> list[Path]:
    """Write the union of data files to another.

    Args:
        data_files: what to read; none of them is changed.
        target: is overwritten.
        branch: whether this application measures branches; files that differ are left alone.

    Returns:
        The files that are in the union; one that cannot be read is not, nor one that knows another
        version of a source than those before it.
    """
    out = CoverageData(basename=str(target))
    used = []
    versions: dict[str, str] = {}
    for path in data_files:
        part = CoverageData(basename=str(path))
        try:
            part.read()
            loaded = stamp.read_fingerprints(path)
            same = all(versions.get(name, version) == version for name, version in loaded.items())
            if same and (not part.measured_files() or part.has_arcs() == branch):
                out.update(part, map_path=str)
                used.append(path)
                versions |= loaded
        except CoverageException:
            continue  # the next report names it
        finally:
            part.close(force=True)
    out.close(force=True)
    if used:
        stamp.put_fingerprints(target, versions)
    return used
