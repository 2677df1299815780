"""The days on which lines ran: a bitmap for each day, release and version of a source.

In the folder `.wsgi-coverage-days` beside the data files, and those of a whole fleet in
`.wsgi-coverage-fleet-days`, packed (wsgi_coverage.data.packed):

    <YYYY-MM-DD>   {release: {name in data files: {version: lines as a hexadecimal number}}}
    functions      {name in data files: {version: {function: ranges of lines}}}, of versions that
                   have run on one of these days, so that a function is found in older versions
    began          the first day on which days were recorded from its beginning to its end
    gap            the first day after a gap, in which not all was recorded, or some was lost
    past           what reports need of the days before today

Days are UTC's. A reset does not change them.

Concurrency: a lock serialises writers; files appear by renaming, so readers need none.
"""

from __future__ import annotations

import contextlib
from bisect import insort
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
BEGAN = "began"
GAP = "gap"
PAST = "past"
LOCK = "lock"
LOCK_TIMEOUT = 2.0  # seconds to wait for it: a worker may be about to end

Ranges = Sequence[Sequence[int]]  # first and last line of each
Bitmaps = dict[str, dict[str, dict[str, int]]]  # by release, name and version; bit n is line n


class DaysKept(NamedTuple):
    """What is recorded of days in a process."""

    days: int  # how many before today are kept; 0: none, and nothing is recorded
    release: str = ""  # the name of the deploy; "": it has none


NO_DAYS = DaysKept(0)
NOT_KEPT = "no days are recorded: seen_days is 0"


class Ran(NamedTuple):
    """Lines of one version of a source that ran on one day in one release."""

    day: int  # as `date.toordinal` counts
    release: str  # "": it has no name
    bits: int  # bit n is line n


# By name and version, in the order of days. A line is left out on days that are neither its first
# nor its last one, nor its first one in a release.
Histories = dict[str, dict[str, list[Ran]]]


class KnownDays(NamedTuple):
    """What is recorded of days."""

    since: int  # the first day of which all is known
    lines: Histories


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
            self._raise(BEGAN, 0 if self._noted(BEGAN) else today() + 1)
            self._repair(BEGAN, GAP)
            for day, new in found.items():
                path = self._path(day)
                known = _read(path)
                if known is None:
                    known = {}
                    if path.exists():  # it is damaged, and replaced
                        self._raise(GAP, day + 1)
                if add_to(known, new):
                    own_files.replace(path, pack(_plain(known)))
            own_files.sweep(self.folder)  # what killed processes have left
            # By their number: the clock may be wrong.
            for _, path in list(self._days())[: -kept - 1]:
                path.unlink(missing_ok=True)

    def known(self, kept: int) -> KnownDays:
        """Return what is recorded up to now. Up to a damaged day, not all is known.

        What is to be known of the days before today is stored, until one of them changes.

        Args:
            kept: of how many days before today.
        """
        now = today()
        states = {day: looks for day, looks in self.states().items() if now - kept <= day <= now}
        is_there = states.pop(now, None) is not None
        since, lines = self._stored_past(states) or self._read_past(states)
        since = max(since, self._noted(BEGAN) or now + 1, self.gap())
        if is_there:
            found = _read(self._path(now))
            if found is None:
                since = now + 1
            else:
                add_day(lines, now, found)
        return KnownDays(since, lines)

    def _read_past(self, past: Mapping[int, object]) -> KnownDays:
        since, found = 0, {}
        for day in past:
            lines = _read(self._path(day))
            if lines is None:
                since = day + 1
            else:
                found[day] = lines
        histories = histories_of(found)
        plain = {
            name: {
                version: [[each.day, each.release, f"{each.bits:x}"] for each in history]
                for version, history in versions.items()
            }
            for name, versions in histories.items()
        }
        if past:
            with contextlib.suppress(OSError):  # there is no room: it is read again
                content = pack([_of(past), since, plain])
                own_files.replace(self.folder / PAST, content)
        return KnownDays(since, histories)

    def _stored_past(self, past: Mapping[int, object]) -> KnownDays | None:
        try:
            of, since, plain = read_packed(self.folder / PAST)
            if of != _of(past):
                return None
            lines = {
                name: {
                    version: [
                        Ran(int(day), str(release), int(bits, 16)) for day, release, bits in h
                    ]
                    for version, h in versions.items()
                }
                for name, versions in plain.items()
            }
            return KnownDays(int(since), lines)
        except (TypeError, ValueError, AttributeError):  # it is missing, or of another version
            return None

    def read_day(self, day: int) -> Bitmaps | None:
        """Return the lines of a day; None: it is missing or damaged."""
        return _read(self._path(day))

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
        if self.gap() <= day:
            own_files.make_folder(self.folder)
            with locked(self.folder / LOCK, LOCK_TIMEOUT):
                self._raise(GAP, day + 1)

    def gap(self) -> int:
        """Return the first day after the last gap; 0: there was none."""
        return self._noted(GAP)

    def functions(self) -> dict[str, dict[str, dict[str, Ranges]]]:
        """Return the lines of functions, by name in data files, version and function."""
        found = read_packed(self.folder / FUNCTIONS)
        return found if _is_nested(found, 3) else {}

    def note_functions(
        self, found: Mapping[str, Mapping[str, Mapping[str, Ranges]]], kept: int
    ) -> None:
        """Add the lines of functions; drop other versions that ran on none of the days.

        Args:
            found: lines by name in data files, version and function.
            kept: how many days before today are kept.

        Raises:
            TimeoutError: another process has held the lock for too long.
            OSError: there is no room.
        """
        own_files.make_folder(self.folder)
        with locked(self.folder / LOCK, LOCK_TIMEOUT):
            ran = {(name, version) for name, versions in found.items() for version in versions}
            ran |= {
                (name, version)
                for name, versions in self.known(kept).lines.items()
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

    def _noted(self, name: str) -> int:
        """Return the day in a file; 0: there is no file."""
        try:
            raw = regular_files.read(self.folder / name)
            return date.fromisoformat(raw.decode()).toordinal()
        except FileNotFoundError:
            return 0
        except ValueError:  # it is damaged
            return today() + 1

    def _repair(self, *names: str) -> None:
        """Write damaged files anew, so that days are known again from tomorrow on."""
        for name in names:
            path, day = self.folder / name, self._noted(name)
            if day > today() and path.exists() and path.read_bytes() != _as_text(day):
                own_files.replace(path, _as_text(day))

    def _raise(self, name: str, day: int) -> None:
        if self._noted(name) < day:
            own_files.replace(self.folder / name, _as_text(day))


def _as_text(day: int) -> bytes:
    return date.fromordinal(day).isoformat().encode()


def today() -> int:
    """Return the current day of UTC, as `date.toordinal` counts."""
    return datetime.now(UTC).toordinal()


def bitmaps_of(readings: Iterable[Reading]) -> dict[int, Bitmaps]:
    """Return what memories have of each day."""
    found: dict[int, Bitmaps] = {}
    for reading in readings:
        for claim, lines in reading.seen():
            for (day, release), bits in lines.items():
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


def add_day(histories: Histories, day: int, lines: Bitmaps) -> None:
    """Add all lines of one day."""
    for release, names in lines.items():
        for name, versions in names.items():
            for version, bits in versions.items():
                history = histories.setdefault(name, {}).setdefault(version, [])
                insort(history, Ran(day, release, bits))


def histories_of(days: Mapping[int, Bitmaps]) -> Histories:
    """Return what is to be known of some days."""
    found: Histories = {}
    for day, lines in days.items():
        add_day(found, day, lines)
    return {
        name: {version: _condensed(history) for version, history in versions.items()}
        for name, versions in found.items()
    }


def _condensed(history: Sequence[Ran]) -> list[Ran]:
    """Leave out lines on days that are neither their first, nor their last, nor a release's."""
    kept, before, by_release = [], 0, dict[str, int]()
    for each in history:
        known = by_release.get(each.release, 0)
        kept.append(each.bits & ~(before & known))
        before |= each.bits
        by_release[each.release] = known | each.bits
    after = 0
    for number in reversed(range(len(history))):
        bits = history[number].bits
        kept[number] |= bits & ~after
        after |= bits
    return [each._replace(bits=bits) for each, bits in zip(history, kept, strict=True) if bits]


def _of(days: Mapping[int, object]) -> list[Any]:
    return [[day, *looks] if isinstance(looks, tuple) else [day] for day, looks in days.items()]


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
