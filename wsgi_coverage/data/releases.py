"""Release folders: each deploy of an application has its sources in another folder.

`current` is a symbolic link to `releases/12`, and that is where the application runs. What an
earlier release recorded, in data files that lie elsewhere, is about the same files. Processes of an
earlier release that still run have the same report as those of the current one.

No state.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

ABOVE = 2  # folders: how far above the working directory the release may begin
DEEP = 3  # parts of a path, with the root: folders above that are no place for releases
MOST = 2_000  # names in a folder that are looked at


class Releases:
    """The release that runs, and the others.

    A folder beside it is another release if it holds the same application: half of the names that
    are known of it first, or more, have the same path in the current one.

    Args:
        folder: of all releases.
        current: the name of the one that runs.
        is_here: whether this process runs it; if not, it may be anything, and counts once some
            process knows of a file in it.
    """

    def __init__(self, folder: str, current: str, *, is_here: bool = True) -> None:
        self._folder = os.path.join(folder, "")  # noqa: PTH118  a Path for each of thousands
        self._current = current
        self._is_known = is_here
        self._exists: dict[str, bool] = {}  # by full name in the current release
        self._others: dict[str, bool] = {current: False}  # whether that is another release

    def find_others(self, names: Iterable[str]) -> None:
        """Find out which folders are releases, from full names of files that some process knows."""
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
        """The name that another release's file has in the current one; None: it is of none."""
        release, below = self._split(name)
        if not self._is_another(release, below):
            return None
        return os.path.join(self._folder, self._current, below)  # noqa: PTH118

    def is_gone(self, name: str) -> bool:
        """Tell whether a file is of another release, and the current one does not have it."""
        release, below = self._split(name)
        return self._is_another(release, below) and not self._has(below)

    def _is_another(self, release: str, below: str) -> bool:
        return self._is_known and bool(below) and self._others.get(release, False)


def find_releases(folder: Path) -> Releases | None:
    """The releases of which a working directory is in one; None: no link leads to one of them.

    Args:
        folder: where the application runs.
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
    for release, linked in candidates:  # it is an earlier one, or there are no releases at all
        later = {each for each in linked if os.path.dirname(each) == str(release.parent)}  # noqa: PTH120
        if len(later) == 1:
            return Releases(str(release.parent), Path(later.pop()).name, is_here=False)
    return None


def _linked_near(release: Path) -> set[str]:
    """Folders that links beside it, and beside the folder of all releases, lead to."""
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
