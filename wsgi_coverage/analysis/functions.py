"""Functions and methods of a finished report: how large they are, and when they ran.

Their lines are coverage.py's: the body without the `def`, without functions that are defined in it.

Made of the figures of files, which are stored with the report.

Concurrency: reads a report's folder, in which nothing changes.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

from wsgi_coverage.analysis.cache import FIGURES, read_packed
from wsgi_coverage.analysis.figures import Figures
from wsgi_coverage.data.phases import Ran, count_load_only
from wsgi_coverage.model import JsonObject

KIND = "function"
LARGEST = 10  # functions named in the summary

Unused: TypeAlias = bool | Literal["runtime"]
WANTED: Mapping[Unused, Collection[Ran | None]] = {
    False: (*Ran, None),
    True: (Ran.NEVER,),
    "runtime": (Ran.NEVER, Ran.AT_LOAD_ONLY),
}


def functions(folder: Path, *, unused: Unused) -> list[JsonObject]:
    """Functions and methods that have statements, the largest first.

    Args:
        folder: the report's.
        unused: True: only those that never ran. "runtime": those, and those that ran at load only;
            one that ran in an unknown phase is not among them.

    Raises:
        FileNotFoundError: there is no report, or it has no data.
    """
    plain = read_packed(folder / FIGURES)
    if plain is None:
        raise FileNotFoundError(f"there are no figures in {folder}")
    inexact = plain.get("inexact", {})  # older versions kept none
    files = plain["files"].items()
    found = _functions((name, Figures.from_plain(entry["figures"])) for name, entry in files)
    wanted = [each for each in found if each.ran in WANTED[unused]]
    return [each.as_json(inexact) for each in sorted(wanted, key=_Function.rank)]


def summary(files: Iterable[tuple[str, Figures]], inexact: Mapping[str, str]) -> JsonObject:
    """How many functions there are, how many never ran, and the largest of these.

    And how many ran at load only; None where the phase of one of them is unknown.

    Args:
        files: their figures.
        inexact: files whose lines were not all seen to run, and why.
    """
    found = [*_functions(files)]
    ran = [each.ran for each in found]
    unused = [each for each, when in zip(found, ran, strict=True) if when is Ran.NEVER]
    return {
        "functions": len(found),
        "unused_functions": len(unused),
        "load_only_functions": count_load_only(ran),
        "largest_unused": [
            each.as_json(inexact) for each in heapq.nsmallest(LARGEST, unused, key=_Function.rank)
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

    def rank(self) -> tuple[int, str, int]:
        return -self.statements, self.file, self.line

    @property
    def ran(self) -> Ran | None:
        return Ran.of(self.covered, self.runtime)

    def as_json(self, inexact: Mapping[str, str]) -> JsonObject:
        out = self._asdict()
        if self.runtime is not None:
            del out["reason"]
        out["load_only"] = None if self.runtime is None else self.covered - self.runtime
        out["ran"] = self.ran
        if self.file in inexact and self.covered < self.statements:
            out["imported_early"] = inexact[self.file]
        return out


def _functions(files: Iterable[tuple[str, Figures]]) -> Iterator[_Function]:
    for file, figures in files:
        for kind, name, line, counts, runtime in figures.regions:  # each as a Region
            if kind == KIND and name and counts[0]:
                reason = figures.runtime_reason if runtime is None else None
                statements, missing = counts[0], counts[2]
                covered = statements - missing
                yield _Function(file, name, line, statements, covered, runtime, reason)
