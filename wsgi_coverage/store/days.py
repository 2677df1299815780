"""The days on which lines ran: a bitmap for each day, release and version of a source.

In the folder `.wsgi-coverage-days` beside the data files, packed (wsgi_coverage.data.packed):

    <YYYY-MM-DD>   {release: {name in data files: {version: lines as a hexadecimal number}}}
    functions      {name in data files: {version: {function: ranges of lines}}}, of versions that
                   have run on one of these days, so that a function is found in older versions

Days are UTC's. A reset does not change them.

Concurrency: a lock serialises writers; files appear by renaming, so readers need none.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, NamedTuple

from wsgi_coverage.data.packed import pack, read_packed
from wsgi_coverage.data.reading import Reading
from wsgi_coverage.store.file_lock import locked
from wsgi_coverage.system import own_files

FOLDER = ".wsgi-coverage-days"
FUNCTIONS = "functions"
LOCK = "lock"
LOCK_TIMEOUT = 10.0  # seconds to wait for it

Ranges = Sequence[Sequence[int]]  # first and last line of each
Bitmaps = dict[str, dict[str, dict[str, int]]]  # by release, name and version; bit n is line n


class DaysKept(NamedTuple):
    """What is recorded of days in a process."""

    days: int  # how many are kept; 0: none
    release: str  # the name of the deploy; "": it has none


NO_DAYS = DaysKept(0, "")


class DaysStore:
    """The days of one application on this host, or on all hosts that share the folder.

    Args:
        data_folder: the folder of the data files.
    """

    def __init__(self, data_folder: Path) -> None:
        self._folder = data_folder / FOLDER

    def add(self, readings: Iterable[Reading], kept: DaysKept) -> None:
        """Add the days of memories; remove those that are kept no longer.

        Args:
            readings: of the memories.
            kept: how many days are kept, and the release that ran.

        Raises:
            TimeoutError: another process has held the lock for too long.
            OSError: there is no room.
        """
        found = bitmaps_of(readings, kept.release)
        if not found:
            return
        own_files.make_folder(self._folder)
        with locked(self._folder / LOCK, LOCK_TIMEOUT):
            for day, new in found.items():
                path = self._folder / date.fromordinal(day).isoformat()
                known = _parsed(read_packed(path))
                if add_to(known, new):
                    own_files.replace(path, pack(_plain(known)))
            for day, path in list(self._days()):
                if day <= today() - kept.days:
                    path.unlink(missing_ok=True)

    def read(self) -> dict[int, Bitmaps]:
        """Return all days, as `date.toordinal` counts; a damaged one is left out."""
        found = {day: _parsed(read_packed(path)) for day, path in self._days()}
        return {day: bitmaps for day, bitmaps in found.items() if bitmaps}

    def functions(self) -> dict[str, dict[str, dict[str, Ranges]]]:
        """Return the lines of functions, by name in data files, version and function."""
        found = read_packed(self._folder / FUNCTIONS)
        return found if _is_nested(found, 3) else {}

    def note_functions(self, found: Mapping[str, Mapping[str, Mapping[str, Ranges]]]) -> None:
        """Add the lines of functions; drop other versions that ran on none of the days.

        Raises:
            TimeoutError: another process has held the lock for too long.
            OSError: there is no room.
        """
        own_files.make_folder(self._folder)
        with locked(self._folder / LOCK, LOCK_TIMEOUT):
            ran = {(name, version) for name, versions in found.items() for version in versions}
            ran |= {
                (name, version)
                for bitmaps in self.read().values()
                for names in bitmaps.values()
                for name, versions in names.items()
                for version in versions
            }
            known = self.functions()
            for name, versions in found.items():
                known.setdefault(name, {}).update(dict(versions))  # type: ignore[arg-type]
            left = {
                name: {each: lines for each, lines in versions.items() if (name, each) in ran}
                for name, versions in known.items()
            }
            left = {name: versions for name, versions in left.items() if versions}
            own_files.replace(self._folder / FUNCTIONS, pack(left))

    def _days(self) -> Iterator[tuple[int, Path]]:
        try:
            paths = sorted(self._folder.iterdir())
        except OSError:  # nothing has been recorded
            return
        for path in paths:
            with contextlib.suppress(ValueError):
                yield date.fromisoformat(path.name).toordinal(), path


def today() -> int:
    """Return the current day of UTC, as `date.toordinal` counts."""
    return datetime.now(UTC).toordinal()


def bitmaps_of(readings: Iterable[Reading], release: str) -> dict[int, Bitmaps]:
    """Return what memories have of each day."""
    found: dict[int, Bitmaps] = {}
    for reading in readings:
        for claim, lines in reading.seen():
            for day, bits in lines.items():
                new: Bitmaps = {release: {claim.name: {claim.version: bits}}}
                add_to(found.setdefault(day, {}), new)
    return found


def add_to(known: Bitmaps, new: Bitmaps) -> bool:
    """Add lines by OR; tell whether any was new."""
    is_new = False
    for release, names in new.items():
        for name, versions in names.items():
            of = known.setdefault(release, {}).setdefault(name, {})
            for version, bits in versions.items():
                before = of.get(version, 0)
                of[version] = before | bits
                is_new |= of[version] != before
    return is_new


def _plain(bitmaps: Bitmaps) -> dict[str, Any]:
    return {
        release: {
            name: {version: f"{bits:x}" for version, bits in versions.items()}
            for name, versions in names.items()
        }
        for release, names in bitmaps.items()
    }


def _parsed(found: Any) -> Bitmaps:
    """Return bitmaps from their stored form; what is something else is left out."""
    if not _is_nested(found, 3):
        return {}
    try:
        return {
            release: {
                name: {version: int(bits, 16) for version, bits in versions.items()}
                for name, versions in names.items()
            }
            for release, names in found.items()
        }
    except (TypeError, ValueError):
        return {}


def _is_nested(found: Any, depth: int) -> bool:
    """Tell whether something is objects in objects, down to some depth."""
    if not isinstance(found, dict):
        return False
    return depth == 1 or all(_is_nested(each, depth - 1) for each in found.values())
