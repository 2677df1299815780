"""When code was seen to run: the first and the last day, and the releases.

Days come as bitmaps of lines by version of a source (wsgi_coverage.store.days). A function is found
in other versions by its name, where a report was made of them. Where a day cannot be attributed,
the answer is None, and a reason.

Concurrency: values, and functions without state.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import cache
from typing import NamedTuple, TypeAlias

from wsgi_coverage.analysis.figures import KIND, Figures
from wsgi_coverage.model import answers
from wsgi_coverage.store.days import Ranges

NOT_RECORDED = "it ran before days were recorded, or in a process that does not record them"
OTHER_VERSION = (
    "another version of its file ran on {}, and it is not known where in it the function was"
)
BY_PLUGIN = "a plugin of coverage.py traces its file, and days are not recorded of such files"
SEVERAL: Ranges = []  # instead of lines, where several functions have one name


Span: TypeAlias = tuple[int, int]  # the first and the last day


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
    # By measured file, in the order of days.
    lines: Mapping[str, Sequence[LinesOfDay]] = field(default_factory=dict)
    # Lines of functions in versions that are known, by name in data files and version.
    functions: Mapping[str, Mapping[str, Mapping[str, Ranges]]] = field(default_factory=dict)


class Seen(NamedTuple):
    """When something ran; without days and reason, it was not seen to run."""

    first: str | None  # ISO 8601 date, UTC
    last: str | None
    releases: tuple[str, ...] = ()
    reason: str | None = None  # why first or last is not known

    def as_json(self) -> answers.Seen:
        """Return the fields of an entry of GET /functions or GET /files."""
        out: answers.Seen = {"first_seen": self.first, "last_seen": self.last}
        if self.releases:
            out["seen_in"] = list(self.releases)
        if self.reason is not None:
            out["seen_reason"] = self.reason
        return out


def seen(
    span: Span | None, releases: Sequence[str] = (), *, unknown: Span | None = None, ran: bool
) -> Seen:
    """Return when something ran.

    Args:
        span: the first and the last day on which it did; None: on none that is known.
        releases: the names of the releases.
        unknown: the first and the last day on which it may have run.
        ran: whether it is known to have run, on whatever day.
    """
    named = tuple(each for each in releases if each)
    if span is None:
        reason = NOT_RECORDED if ran else None
        if unknown is not None:
            reason = OTHER_VERSION.format(iso(unknown[1]))
        return Seen(None, None, named, reason)
    first, last = map(iso, span)
    if unknown is None:
        return Seen(first, last, named)
    before, after = unknown[0] < span[0], unknown[1] > span[1]
    reason = None
    if before or after:
        reason = OTHER_VERSION.format(iso(unknown[1] if after else unknown[0]))
    return Seen(None if before else first, None if after else last, named, reason)


def of_file(lines: Sequence[LinesOfDay], figures: Figures) -> Seen:
    """Return when any line of a file ran.

    Args:
        lines: of the file, in all its versions, in the order of days.
        figures: of the current version.
    """
    statements, missing = figures.counts[0], figures.counts[2]
    span = (lines[0].day, lines[-1].day) if lines else None
    return seen(span, [*dict.fromkeys(each.release for each in lines)], ran=missing < statements)


def of_functions(
    lines: Sequence[LinesOfDay],
    figures: Figures,
    known: Mapping[str, Mapping[str, Mapping[str, Ranges]]],
) -> dict[int, Seen]:
    """Return when the functions of a file ran, by their first lines.

    Args:
        lines: of the file, in all its versions, in the order of days.
        figures: of the current version.
        known: lines of functions in versions of which a report was made.
    """
    found: dict[int, Seen] = {}
    rows = [each for each in figures.regions if each[0] == KIND and each[1]]
    names = Counter(name for _, name, *_ in rows)
    releases = [*dict.fromkeys(each.release for each in lines)]
    current, *others = _versions(lines)
    for (_, name, start, counts, _), ranges in zip(rows, figures.function_lines, strict=False):
        spans: list[Span] = []
        of, unknown = set[str](), list[Span]()
        current.note(mask_of(ranges), spans, of)
        for each in others:
            functions = known.get(each.name, {}).get(each.version)
            if functions is None or names[name] > 1 or functions.get(name) == SEVERAL:
                unknown.append(each.span)
            elif name in functions:
                each.note(mask_of(functions[name]), spans, of)
        its = [each for each in releases if each in of]
        found[start] = seen(
            _joined(spans), its, unknown=_joined(unknown), ran=counts[2] < counts[0]
        )
    return found


class _Version:
    """The lines of one version of a file.

    Args:
        lines: in the order of days.
    """

    def __init__(self, lines: Sequence[LinesOfDay]) -> None:
        self._lines = lines
        self._by_release: dict[str, int] = {}
        for each in lines:
            self._by_release[each.release] = self._by_release.get(each.release, 0) | each.bits
        self.name, self.version = (lines[0].name, lines[0].version) if lines else ("", "")

    @property
    def span(self) -> Span:
        return self._lines[0].day, self._lines[-1].day

    def note(self, mask: int, spans: list[Span], releases: set[str]) -> None:
        """Add when any of some lines ran, and in which releases."""
        first = next((each.day for each in self._lines if each.bits & mask), None)
        if first is not None:
            last = next(each.day for each in reversed(self._lines) if each.bits & mask)
            spans.append((first, last))
            releases.update(name for name, bits in self._by_release.items() if bits & mask)


def _versions(lines: Sequence[LinesOfDay]) -> list[_Version]:
    """Return the current version, which may have no lines, and the others."""
    current: list[LinesOfDay] = []
    others: dict[tuple[str, str], list[LinesOfDay]] = {}
    for each in lines:
        if each.is_current:
            current.append(each)
        else:
            others.setdefault((each.name, each.version), []).append(each)
    return [_Version(current), *map(_Version, others.values())]


def _joined(spans: Sequence[Span]) -> Span | None:
    if not spans:
        return None
    return min(first for first, _ in spans), max(last for _, last in spans)


def function_lines(figures: Figures) -> dict[str, Ranges]:
    """Return the lines of a file's functions by name; of several with one name, SEVERAL."""
    rows = [each for each in figures.regions if each[0] == KIND and each[1]]
    names = Counter(name for _, name, *_ in rows)
    return {
        name: ranges if names[name] == 1 else SEVERAL
        for (_, name, *_), ranges in zip(rows, figures.function_lines, strict=False)
    }


def mask_of(ranges: Ranges) -> int:
    """Return lines as bits: bit n is line n."""
    mask = 0
    for first, last in ranges:
        mask |= ((1 << (last - first + 1)) - 1) << first
    return mask


@cache
def iso(day: int) -> str:
    """Return a day as text, ISO 8601."""
    return date.fromordinal(day).isoformat()
