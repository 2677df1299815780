"""The analysis cache: plain data on disk, named by a hash of what it was computed from.

    cache_dir/analysis/<name>      one version of one source: its text, and what it could execute
    cache_dir/analysis/figures     the figures of the last report
    cache_dir/analysis/versions    the versions of its sources
    <report>/sources/<name>        links to the analyses that this report is made of

A report has links of its own to what it needs, so reports and snapshots lose nothing when the cache
is pruned, and an unchanged source takes its room once.

Concurrency: files appear by renaming and never change, so any number of processes may read and
write at once; an incomplete or damaged file counts as missing.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any

from wsgi_coverage.data.packed import DIGEST, is_whole, pack, read_packed
from wsgi_coverage.system.own_files import is_temporary, link, make_folder, replace, sweep

ANALYSIS = "analysis"  # the cache's folder, in cache_dir
FIGURES = "figures"
VERSIONS = "versions"
MAX_BYTES = 256 * 1024 * 1024  # of one cache; an average source takes 6 KB


def digest(*parts: bytes) -> str:
    """Return a hash of some parts, fit for a file name."""
    out = hashlib.blake2b(digest_size=DIGEST)
    for part in parts:
        out.update(len(part).to_bytes(8, "big"))
        out.update(part)
    return out.hexdigest()


class AnalysisCache:
    """One folder of the cache, bounded in size.

    Args:
        folder: the cache's folder, made when something is stored there.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def get(self, name: str) -> Any:
        """Return the data stored under a name; None if there is none."""
        return read_packed(self.folder / name)

    def has(self, name: str) -> bool:
        """Tell whether undamaged data is stored under a name."""
        return is_whole(_below(self.folder, name))

    def put(self, name: str, value: Any) -> None:
        """Store data under a name.

        Raises:
            OSError: the data cannot be written.
        """
        make_folder(self.folder)
        replace(self.folder / name, pack(value))

    def take(self, name: str, folder: Path) -> None:
        """Link a file of another folder into this one, replacing a file of the same name.

        Raises:
            OSError: the link cannot be made.
        """
        make_folder(self.folder)
        link(folder / name, self.folder / name)

    def link_into(self, name: str, folder: Path) -> bool:
        """Link a file of this folder into another one; return False if there is no such file.

        Raises:
            OSError: the link cannot be made.
        """
        if not self.has(name):
            return False
        try:
            link(_below(self.folder, name), _below(folder, name))
        except FileNotFoundError:  # pruned by another process just now
            return False
        return True

    def prune(self, used: Collection[str], limit: int = MAX_BYTES) -> None:
        """Remove the least recently used files, and temporary files of killed processes.

        Args:
            used: names that were used just now; they stay.
            limit: bytes that all files together may have.
        """
        entries = []
        sweep(self.folder)
        with contextlib.suppress(OSError), os.scandir(self.folder) as found:
            for entry in found:
                if not is_temporary(entry.name):
                    status = entry.stat()
                    entries.append((status.st_mtime, status.st_size, entry.name))
        now = time.time()
        total = sum(size for _, size, _ in entries)
        for _, size, name in sorted(entries):
            path = self.folder / name
            with contextlib.suppress(OSError):
                if name in used:
                    os.utime(path, (now, now))
                elif total > limit:
                    path.unlink()
                    total -= size


def _below(folder: Path, name: str) -> str:
    # A report looks at thousands of names: a Path for each takes half of the time.
    return os.path.join(folder, name)  # noqa: PTH118
