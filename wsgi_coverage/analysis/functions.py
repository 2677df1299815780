"""List functions and methods of a finished report: how large they are, and when they ran.

A function's lines are those that coverage.py counts: its body without the `def`, and without
functions that are defined in it. All is read from the figures that are stored with the report.

Concurrency: reads a report's folder, in which nothing changes.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias

from wsgi_coverage.analysis.cache import FIGURES
from wsgi_coverage.analysis.figures import KIND, Figures, regions_of
from wsgi_coverage.analysis.seen import Seen
from wsgi_coverage.data.packed import read_packed
from wsgi_coverage.data.phases import Ran, count_load_only
from wsgi_coverage.errors import HistoryTooShortError
from wsgi_coverage.model import JsonObject
from wsgi_coverage.model.answers import Function

LARGEST = 10  # functions named in the summary
NO_LINES = "its lines are not known"
NO_DAYS = "the report was made by a version without days"

# File with figures that are not exact: first lines of functions that may have run; None: all may.
UnseenIn: TypeAlias = Mapping[str, Sequence[int] | None]
Unused: TypeAlias = bool | Literal["runtime"]


def functions(folder: Path, *, unused: Unused, unused_for: int | None = None) -> list[Function]:
    """Return the functions and methods that have statements, the largest first.

    Args:
        folder: the report's folder.
        unused: True: only those that never ran. "runtime": those that did not run at runtime,
            without those that ran in an unknown phase.
        unused_for: only those that certainly ran on none of so many days before the report's.

    Raises:
        FileNotFoundError: there is no report, or it has no data.
        HistoryTooShortError: so many days are not known.
    """
    plain = read_packed(folder / FIGURES)
    if plain is None:
        raise FileNotFoundError(f"there are no figures in {folder}")
    days = _days(plain)
    after = None if unused_for is None else _first_day(days, unused_for)
    out: list[Function] = []
    files = ((name, Figures.from_plain(entry["figures"])) for name, entry in plain["files"].items())
    for each in sorted(_stored(plain, files), key=_Function.rank):
        seen = _seen(days, each)
        if each.is_wanted(unused) and (after is None or each.is_unused_since(seen, after)):
            out.append({**each.as_json(), **seen.as_json()})
    return out


def functions_of(file: str, plain: Mapping[str, Any]) -> list[Function]:
    """Return the functions and methods of one file that have statements, in its order.

    Args:
        file: its name in the list of files.
        plain: the content of the report's figures file.
    """
    figures = Figures.from_plain(plain["files"][file]["figures"])
    starts = [region.start for region in regions_of(figures, KIND) if region.name]
    # Older versions have stored no lines.
    ends = {
        start: max(last for _, last in ranges)
        for start, ranges in zip(starts, figures.function_lines, strict=False)
        if ranges
    }
    out: list[Function] = []
    for each in sorted(_stored(plain, [(file, figures)]), key=lambda each: each.line):
        found: Function = {**each.as_json(), **_seen(_days(plain), each).as_json()}
        if each.line in ends:
            found["last"] = ends[each.line]
        out.append(found)
    return out


def _stored(plain: Mapping[str, Any], files: Iterable[tuple[str, Figures]]) -> Iterator[_Function]:
    """Yield the functions of files, by what a report's figures file has of them all."""
    # Older versions kept neither.
    return _functions(files, plain.get("inexact", {}), plain.get("unseen_functions", {}))


def _days(plain: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = plain.get("seen", {"reason": NO_DAYS})
    return found


def of_figures(files: Iterable[tuple[str, Figures]], *, unused: Unused) -> list[Function]:
    """Return functions and methods as `functions` does, from the figures of files; without days.

    Args:
        files: names and figures, which are exact.
        unused: which of them.
    """
    found = sorted(_functions(files, {}, {}), key=_Function.rank)
    return [each.as_json() for each in found if each.is_wanted(unused)]


def _seen(days: Mapping[str, Any], function: _Function) -> Seen:
    if "reason" in days:
        return Seen(None, None, (), days["reason"])
    found = days["functions"].get(function.file, {}).get(str(function.line))
    if found is None:  # by a plugin, for instance
        return Seen(None, None, (), NO_LINES if function.covered else None)
    first, last, releases, reason = found
    return Seen(first, last, tuple(releases), reason)


def _first_day(days: Mapping[str, Any], number: int) -> str:
    """Return the first of so many days before a report's, if it is known."""
    if "reason" in days:
        raise HistoryTooShortError(f"it is not known on which days code ran: {days['reason']}")
    first = date.fromisoformat(days["until"]) - timedelta(days=number)
    if days["since"] is None or first < date.fromisoformat(days["since"]):
        since = days["since"] or "no day"
        raise HistoryTooShortError(
            f"days are known from {since} on, and {number} days begin on {first.isoformat()}"
        )
    return first.isoformat()


def summary(
    files: Iterable[tuple[str, Figures]], inexact: Mapping[str, str], unseen: UnseenIn
) -> JsonObject:
    """Count functions: all, those that never ran, those that ran at load only.

    A count is None where it is not known whether one of them is to be counted. The largest
    functions that never ran are listed, too.

    Args:
        files: names and figures.
        inexact: files whose figures are not exact, and why: they were imported early.
        unseen: functions of these that may have run before measuring began.
    """
    found = [*_functions(files, inexact, unseen)]
    ran = [each.ran for each in found]
    unused = [each for each, when in zip(found, ran, strict=True) if when is Ran.NEVER]
    return {
        "functions": len(found),
        "unused_functions": None if any(each.may_have_run for each in found) else len(unused),
        "load_only_functions": count_load_only(ran),
        "largest_unused": [
            each.as_json() for each in heapq.nsmallest(LARGEST, unused, key=_Function.rank)
        ],
    }


class _Function(NamedTuple):
    file: str
    name: str
    line: int
    statements: int
    covered: int
    runtime: int | None
    reason: str | None  # why runtime is None
    imported_early: str | None  # why more of it may have run than is known; None: no more has

    def rank(self) -> tuple[int, str, int]:
        return -self.statements, self.file, self.line

    @property
    def ran(self) -> Ran | None:
        return None if self.may_have_run else Ran.of(self.covered, self.runtime)

    @property
    def may_have_run(self) -> bool:
        """Tell whether it may have run, at load before measuring began, though no line is known."""
        return self.imported_early is not None and not self.covered

    def is_unused_since(self, seen: Seen, day: str) -> bool:
        """Tell whether it certainly has not run on a day, or after it."""
        if self.may_have_run or seen.reason is not None:
            return False
        return seen.last is None or seen.last < day

    def is_wanted(self, unused: Unused) -> bool:
        if unused == "runtime":
            return not self.covered or self.ran is Ran.AT_LOAD_ONLY
        return not unused or self.ran is Ran.NEVER

    def as_json(self) -> Function:
        ran = self.ran
        out: Function = {
            "file": self.file,
            "name": self.name,
            "line": self.line,
            "statements": self.statements,
            "covered": self.covered,
            "runtime": self.runtime,
            "load_only": None if self.runtime is None else self.covered - self.runtime,
            "ran": None if ran is None else ran.value,
        }
        if self.runtime is None and self.reason is not None:
            out["reason"] = self.reason
        if self.imported_early is not None:
            out["imported_early"] = self.imported_early
        return out


def _functions(
    files: Iterable[tuple[str, Figures]], inexact: Mapping[str, str], unseen: UnseenIn
) -> Iterator[_Function]:
    for file, figures in files:
        which = unseen.get(file)
        for kind, name, line, counts, runtime in figures.regions:  # each as a Region
            if kind == KIND and name and counts[0]:
                reason = figures.runtime_reason if runtime is None else None
                statements, missing = counts[0], counts[2]
                covered = statements - missing
                is_exact = not missing or (which is not None and line not in which)
                early = None if is_exact else inexact.get(file)
                yield _Function(file, name, line, statements, covered, runtime, reason, early)
