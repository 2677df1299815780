"""When code was seen to run: the first and the last day, and the releases.

Days come as bitmaps of lines by version of a source (wsgi_coverage.store.days). A function is found
in other versions by its name, where a report was made of them. Where a day cannot be attributed,
the answer is None, and a reason.

Concurrency: values, and functions without state.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any, NamedTuple

from wsgi_coverage.analysis.figures import KIND, Figures
from wsgi_coverage.store.days import Ranges

NOT_RECORDED = "it ran before days were recorded, or in a process that does not record them"
OTHER_VERSION = "another version of its file ran on {}, and no report was made of that"


class LinesOfDay(NamedTuple):
    """The lines of one version of a source that ran on one day in one release."""

    day: int  # as `date.toordinal` counts
    release: str  # "": it has no name
    name: str  # in data files
    version: str
    is_current: bool  # whether it is the version on disk
    bits: int  # bit n is line n


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenDays:
    """All that is known of days, for a report."""

    since: int  # the first day that is known
    until: int  # the day of the report
    lines: Mapping[str, Sequence[LinesOfDay]] = field(default_factory=dict)  # by measured file
    # Lines of functions in versions that are known, by name in data files and version.
    functions: Mapping[str, Mapping[str, Mapping[str, Ranges]]] = field(default_factory=dict)


class Seen(NamedTuple):
    """When something ran; without days and reason, it was not seen to run."""

    first: str | None  # ISO 8601 date, UTC
    last: str | None
    releases: tuple[str, ...] = ()
    reason: str | None = None  # why first or last is not known

    def as_json(self) -> dict[str, Any]:
        """Return the fields of an entry of GET /functions or GET /files."""
        out: dict[str, Any] = {"first_seen": self.first, "last_seen": self.last}
        if self.releases:
            out["seen_in"] = list(self.releases)
        if self.reason is not None:
            out["seen_reason"] = self.reason
        return out


def seen(days: Iterable[tuple[int, str]], *, unknown: Iterable[int] = (), ran: bool) -> Seen:
    """Return when something ran.

    Args:
        days: days with releases, in any order.
        unknown: days on which it may have run.
        ran: whether it is known to have run, on whatever day.
    """
    found, maybe = sorted(days), sorted(unknown)
    releases = tuple(dict.fromkeys(release for _, release in found if release))
    if not found:
        reason = NOT_RECORDED if ran else None
        if maybe:
            reason = OTHER_VERSION.format(iso(maybe[-1]))
        return Seen(None, None, releases, reason)
    first: int | None = found[0][0]
    last: int | None = found[-1][0]
    reason = None
    if maybe and maybe[0] < found[0][0]:
        first, reason = None, OTHER_VERSION.format(iso(maybe[0]))
    if maybe and maybe[-1] > found[-1][0]:
        last, reason = None, OTHER_VERSION.format(iso(maybe[-1]))
    return Seen(
        None if first is None else iso(first),
        None if last is None else iso(last),
        releases,
        reason,
    )


def of_file(lines: Sequence[LinesOfDay], figures: Figures) -> Seen:
    """Return when any line of a file ran."""
    statements, missing = figures.counts[0], figures.counts[2]
    return seen(((each.day, each.release) for each in lines), ran=missing < statements)


def of_functions(
    lines: Sequence[LinesOfDay],
    figures: Figures,
    known: Mapping[str, Mapping[str, Mapping[str, Ranges]]],
) -> dict[int, Seen]:
    """Return when the functions of a file ran, by their first lines.

    Args:
        lines: of the file, in all its versions.
        figures: of the current version.
        known: lines of functions in versions of which a report was made.
    """
    found: dict[int, Seen] = {}
    rows = [each for each in figures.regions if each[0] == KIND and each[1]]
    names = Counter(name for _, name, *_ in rows)
    current = [each for each in lines if each.is_current]
    others = [each for each in lines if not each.is_current]
    for (_, name, start, counts, _), ranges in zip(rows, figures.function_lines, strict=False):
        mask = mask_of(ranges)
        days = [(each.day, each.release) for each in current if each.bits & mask]
        unknown = []
        for each in others:
            functions = known.get(each.name, {}).get(each.version)
            if functions is None or names[name] > 1:
                unknown.append(each.day)
            elif name in functions and each.bits & mask_of(functions[name]):
                days.append((each.day, each.release))
        found[start] = seen(days, unknown=unknown, ran=counts[2] < counts[0])
    return found


def function_lines(figures: Figures) -> dict[str, Ranges]:
    """Return the lines of a file's functions by name; of several with one name, of none."""
    rows = [each for each in figures.regions if each[0] == KIND and each[1]]
    names = Counter(name for _, name, *_ in rows)
    return {
        name: ranges
        for (_, name, *_), ranges in zip(rows, figures.function_lines, strict=False)
        if names[name] == 1
    }


def mask_of(ranges: Ranges) -> int:
    """Return lines as bits: bit n is line n."""
    mask = 0
    for first, last in ranges:
        mask |= ((1 << (last - first + 1)) - 1) << first
    return mask


def iso(day: int) -> str:
    """Return a day as text, ISO 8601."""
    return date.fromordinal(day).isoformat()
