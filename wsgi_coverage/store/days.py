"""The days on which lines ran: a bitmap for each day, release and version of a source.

In the folder `.wsgi-coverage-days` beside the data files, and those of a whole fleet in
`.wsgi-coverage-fleet-days`, packed (wsgi_coverage.data.packed):

    <YYYY-MM-DD>   {release: {name in data files: {version: lines as a hexadecimal number}}}
    functions      {name in data files: {version: {function: ranges of lines}}}, of versions that
                   have run on one of these days, so that a function is found in older versions
    since          the first day after a gap, in which days were not recorded, or were lost

Days are UTC's. A reset does not change them.

Concurrency: a lock serialises writers; files appear by renaming, so readers need none.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, NamedTuple

from wsgi_coverage.data import regular_files
from wsgi_coverage.data.packed import pack, read_packed
from wsgi_coverage.data.reading import Reading
from wsgi_coverage.store.file_lock import locked
from wsgi_coverage.store.files import file_state
from wsgi_coverage.system import own_files

FOLDER = ".wsgi-coverage-days"
SHARED_FOLDER = ".wsgi-coverage-fleet-days"
FUNCTIONS = "functions"
SINCE = "since"
LOCK = "lock"
LOCK_TIMEOUT = 10.0  # seconds to wait for it

Ranges = Sequence[Sequence[int]]  # first and last line of each
Bitmaps = dict[str, dict[str, dict[str, int]]]  # by release, name and version; bit n is line n


class DaysKept(NamedTuple):
    """What is recorded of days in a process."""

    days: int  # how many before today are kept; 0: none, and nothing is recorded
    release: str  # the name of the deploy; "": it has none


NO_DAYS = DaysKept(0, "")
NOT_KEPT = "no days are recorded: seen_days is 0"


class KnownDays(NamedTuple):
    """What is recorded of days."""

    since: int  # the first day after a gap, in which not all was recorded; 0: there is none
    lines: dict[int, Bitmaps]  # by day, as `date.toordinal` counts


class DaysStore:
    """The days of one application, in a folder of one host, or of hosts that share it.

    Args:
        folder: the folder; it is made when the first day is added.
    """

    def __init__(self, folder: Path) -> None:
        self.folder: Path = folder

    @property
    def is_there(self) -> bool:
        """Tell whether any day has been recorded."""
        return self.folder.exists()

    def add(self, found: Mapping[int, Bitmaps], kept: int) -> None:
        """Add lines of days; remove the days that are kept no longer.

        Args:
            found: lines by day, as `date.toordinal` counts.
            kept: how many days before today are kept.

        Raises:
            TimeoutError: another process has held the lock for too long.
            OSError: there is no room.
        """
        if not found:
            return
        own_files.make_folder(self.folder)
        with locked(self.folder / LOCK, LOCK_TIMEOUT):
            for day, new in found.items():
                path = self._path(day)
                known = _read(path)
                if known is None:
                    known = {}
                    if path.exists():  # it is damaged, and replaced
                        self._raise_since(day + 1)
                if add_to(known, new):
                    own_files.replace(path, pack(_plain(known)))
            for day, path in list(self._days()):
                if day < today() - kept:
                    path.unlink(missing_ok=True)

    def read(self) -> KnownDays:
        """Return all days. Of a damaged one, and those before it, not all is known."""
        since, lines = self._since(), {}
        for day, path in self._days():
            found = _read(path)
            if found is None:
                since = max(since, day + 1)
            else:
                lines[day] = found
        return KnownDays(since, lines)

    def read_day(self, day: int) -> Bitmaps:
        """Return the lines of a day; none where it is damaged."""
        return _read(self._path(day)) or {}

    def states(self) -> dict[int, object]:
        """Return a value for each day that differs after its lines have changed."""
        return {day: file_state(path) for day, path in self._days()}

    def state(self, day: int) -> object:
        """Return such a value for one day; None: it is not there."""
        return file_state(self._path(day))

    def note_gap(self, day: int) -> None:
        """Record that not all that ran on a day, and before it, is known.

        Raises:
            TimeoutError: another process has held the lock for too long.
            OSError: there is no room.
        """
        if self._since() <= day:
            own_files.make_folder(self.folder)
            with locked(self.folder / LOCK, LOCK_TIMEOUT):
                self._raise_since(day + 1)

    def functions(self) -> dict[str, dict[str, dict[str, Ranges]]]:
        """Return the lines of functions, by name in data files, version and function."""
        found = read_packed(self.folder / FUNCTIONS)
        return found if _is_nested(found, 3) else {}

    def note_functions(self, found: Mapping[str, Mapping[str, Mapping[str, Ranges]]]) -> None:
        """Add the lines of functions; drop other versions that ran on none of the days.

        Raises:
            TimeoutError: another process has held the lock for too long.
            OSError: there is no room.
        """
        own_files.make_folder(self.folder)
        with locked(self.folder / LOCK, LOCK_TIMEOUT):
            ran = {(name, version) for name, versions in found.items() for version in versions}
            ran |= {
                (name, version)
                for bitmaps in self.read().lines.values()
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
            own_files.replace(self.folder / FUNCTIONS, pack(left))

    def _path(self, day: int) -> Path:
        return self.folder / date.fromordinal(day).isoformat()

    def _days(self) -> Iterator[tuple[int, Path]]:
        try:
            paths = sorted(self.folder.iterdir())
        except OSError:  # nothing has been recorded
            return
        for path in paths:
            with contextlib.suppress(ValueError):
                yield date.fromisoformat(path.name).toordinal(), path

    def _since(self) -> int:
        """Return the first day after the last gap; 0: there was none."""
        try:
            return date.fromisoformat(regular_files.read(self.folder / SINCE).decode()).toordinal()
        except FileNotFoundError:
            return 0
        except ValueError:  # it is damaged
            return today() + 1

    def _raise_since(self, day: int) -> None:
        if self._since() < day:
            own_files.replace(self.folder / SINCE, date.fromordinal(day).isoformat())


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


def _read(path: Path) -> Bitmaps | None:
    """Read the lines of a day; None: it is missing or damaged."""
    found = read_packed(path)
    if not _is_nested(found, 3):
        return None
    try:
        return {
            release: {
                name: {version: int(bits, 16) for version, bits in versions.items()}
                for name, versions in names.items()
            }
            for release, names in found.items()
        }
    except (TypeError, ValueError):
        return None


def _is_nested(found: Any, depth: int) -> bool:
    """Tell whether something is objects in objects, down to some depth."""
    if not isinstance(found, dict):
        return False
    return depth == 1 or all(_is_nested(each, depth - 1) for each in found.values())
