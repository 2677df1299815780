"""Release folders: map file names of earlier releases to those of the current one.

Each deploy of an application puts its sources into another folder, such as `releases/12`, to which
a symbolic link `current` leads. Data files that an earlier release has written name files in its
own folder. Processes of an earlier release that still run get the report of the current one.

No state.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

ABOVE = 2  # the release's folder is at most so many levels above the working directory
DEEP = 3  # a release's path has more parts than this, with the root
MOST = 2_000  # entries of a folder that are examined


class Releases:
    """The current release, and the others.

    A folder beside the current release is another one if at least half of the names that are first
    known to lie in it exist under the same path in the current release.

    Args:
        folder: the folder of all releases.
        current: the name of the current release.
        is_here: whether this process runs it. If not, the folder may be something else, and counts
            as the current release only when a process has executed a file in it.
    """

    def __init__(self, folder: str, current: str, *, is_here: bool = True) -> None:
        self._folder = os.path.join(folder, "")  # noqa: PTH118  a Path for each of thousands
        self._current = current
        self._is_known = is_here
        self._exists: dict[str, bool] = {}  # by full name in the current release
        self._others: dict[str, bool] = {current: False}  # by folder: whether it is another release

    def find_others(self, names: Iterable[str]) -> None:
        """Find out which folders are releases, from full names of measured files."""
        found: dict[str, list[bool]] = {}
        for name in {*names}:
            release, below = self._split(name)
            self._is_known |= bool(below) and release == self._current
            if below and release not in self._others:
                found.setdefault(release, []).append(self._has(below))
        for release, has in found.items():
            self._others[release] = 2 * sum(has) >= len(has)

    def _split(self, name: str) -> tuple[str, str]:
        if not name.startswith(self._folder):
            return "", ""
        release, _, below = name.removeprefix(self._folder).partition(os.sep)
        return release, below

    def _has(self, below: str) -> bool:
        name = os.path.join(self._folder, self._current, below)  # noqa: PTH118
        if name not in self._exists:
            self._exists[name] = os.path.exists(name)  # noqa: PTH110
        return self._exists[name]

    def name(self, name: str) -> str | None:
        """Map a file of another release to the current one; None: it is in no other release."""
        release, below = self._split(name)
        if not self._is_another(release, below):
            return None
        return os.path.join(self._folder, self._current, below)  # noqa: PTH118

    def is_gone(self, name: str) -> bool:
        """Tell whether a file is in another release, and not in the current one."""
        release, below = self._split(name)
        return self._is_another(release, below) and not self._has(below)

    def _is_another(self, release: str, below: str) -> bool:
        return self._is_known and bool(below) and self._others.get(release, False)


def find_releases(folder: Path) -> Releases | None:
    """Find the releases, if a working directory is in one of them; None: no link leads to one.

    Args:
        folder: the application's working directory.
    """
    try:
        real = folder.resolve()
    except OSError:
        return None
    candidates = [
        (each, _linked_near(each))
        for each in (real, *real.parents[:ABOVE])
        if len(each.parts) > DEEP
    ]
    for release, linked in candidates:
        if str(release) in linked:
            return Releases(str(release.parent), release.name)
    for release, linked in candidates:  # an earlier release, or no release at all
        later = {each for each in linked if os.path.dirname(each) == str(release.parent)}  # noqa: PTH120
        if len(later) == 1:
            return Releases(str(release.parent), Path(later.pop()).name, is_here=False)
    return None


def _linked_near(release: Path) -> set[str]:
    """Return the folders to which links beside a release, and beside its parent, lead."""
    links = (link for place in release.parents[:2] for link in _links(place))
    return {os.path.realpath(link) for link in links if os.path.isdir(link)}  # noqa: PTH112


def _links(folder: Path) -> Iterator[str]:
    try:
        with os.scandir(folder) as entries:
            for _, entry in zip(range(MOST), entries, strict=False):
                if entry.is_symlink():
                    yield entry.path
    except OSError:
        return
