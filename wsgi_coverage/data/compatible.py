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

    What is known of each source is stored for all groups at once, as an integer of which bit n
    stands for group n: so the work does not grow with the square of the number of files.
    """

    def __init__(self) -> None:
        self._groups: list[list[Path]] = []
        self._modes: dict[bool, int] = {}  # the groups of statements, of branches
        self._known: dict[str, int] = {}  # by source: groups that know a version of it
        self._versions: dict[tuple[str, str], int] = {}  # by source and version: that know this one

    def add(self, path: Path, connection: sqlite3.Connection) -> None:
        """Add a data file.

        Args:
            path: where it is.
            connection: what it holds.

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
        """The groups of more than one file."""
        return (group for group in self._groups if len(group) > 1)
