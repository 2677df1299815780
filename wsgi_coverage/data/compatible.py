"""Group data files that can be combined: of one mode, and without two versions of a source.

Concurrency: one instance belongs to one thread.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path

from wsgi_coverage.data import stamp
from wsgi_coverage.data.union import has_branches


class CompatibleGroups:
    """Data files in groups, each file in the first group that it can be combined with.

    The groups that have a source, or a version of it, are bits of an integer: bit n stands for
    group n. So the work does not grow with the square of the number of files.
    """

    def __init__(self) -> None:
        self._groups: list[list[Path]] = []
        self._modes: dict[bool, int] = {}  # groups of statements (False), and of branches (True)
        self._known: dict[str, int] = {}  # by source: groups with any version of it
        self._versions: dict[tuple[str, str], int] = {}  # by source and version: groups with it

    def add(self, path: Path, connection: sqlite3.Connection) -> None:
        """Add a data file.

        Args:
            path: the data file.
            connection: an open connection to its content.

        Raises:
            sqlite3.Error, ValueError: it cannot be read.
        """
        branch = has_branches(connection)
        versions = stamp.read_fingerprints(connection)
        taken = ~self._modes.get(branch, 0) & ((1 << len(self._groups)) - 1)
        for version in versions.items():
            taken |= self._known.get(version[0], 0) & ~self._versions.get(version, 0)
        bit = ~taken & (taken + 1)  # the lowest that is not taken
        if bit.bit_length() > len(self._groups):
            self._groups.append([])
        self._groups[bit.bit_length() - 1].append(path)
        self._modes[branch] = self._modes.get(branch, 0) | bit
        for version in versions.items():
            self._known[version[0]] = self._known.get(version[0], 0) | bit
            self._versions[version] = self._versions.get(version, 0) | bit

    def groups(self) -> Iterator[Sequence[Path]]:
        """Return the groups of more than one file."""
        return (group for group in self._groups if len(group) > 1)
