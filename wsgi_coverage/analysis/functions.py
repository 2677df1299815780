"""Functions and methods of a finished report: how large they are, and when they ran.

Their lines are coverage.py's: the body without the `def`, without functions that are defined in it.

Made of the figures of files, which are stored with the report.

Concurrency: reads a report's folder, in which nothing changes.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

from wsgi_coverage.analysis.cache import FIGURES, read_packed
from wsgi_coverage.analysis.figures import Figures
from wsgi_coverage.data.phases import Ran, count_load_only
from wsgi_coverage.model import JsonObject

KIND = "function"
LARGEST = 10  # functions named in the summary

# Of files that are not exact: the lines of functions that may have run unseen; None: of all.
UnseenIn: TypeAlias = Mapping[str, Sequence[int] | None]
Unused: TypeAlias = bool | Literal["runtime"]


def functions(folder: Path, *, unused: Unused) -> list[JsonObject]:
    """Functions and methods that have statements, the largest first.

    Args:
        folder: the report's.
        unused: True: only those that never ran. "runtime": those that did not run at runtime; one
            that ran in an unknown phase is not among them.

    Raises:
        FileNotFoundError: there is no report, or it has no data.
    """
    plain = read_packed(folder / FIGURES)
    if plain is None:
        raise FileNotFoundError(f"there are no figures in {folder}")
    files = plain["files"].items()
    found = _functions(
        ((name, Figures.from_plain(entry["figures"])) for name, entry in files),
        plain.get("inexact", {}),  # older versions kept none
        plain.get("unseen_functions", {}),
    )
    wanted = [each for each in found if each.is_wanted(unused)]
    return [each.as_json() for each in sorted(wanted, key=_Function.rank)]


def summary(
    files: Iterable[tuple[str, Figures]], inexact: Mapping[str, str], unseen: UnseenIn
) -> JsonObject:
    """How many functions there are, how many never ran, and the largest of these.

    And how many ran at load only. None where it is unknown of one of them.

    Args:
        files: their figures.
        inexact: files whose lines were not all seen to run, and why.
        unseen: which of their functions may have run unseen.
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
    imported_early: str | None  # why more of it may have run; None: nothing has

    def rank(self) -> tuple[int, str, int]:
        return -self.statements, self.file, self.line

    @property
    def ran(self) -> Ran | None:
        return None if self.may_have_run else Ran.of(self.covered, self.runtime)

    @property
    def may_have_run(self) -> bool:
        """True where nothing of it was seen to run, and yet it may have, at load."""
        return self.imported_early is not None and not self.covered

    def is_wanted(self, unused: Unused) -> bool:
        if unused == "runtime":
            return not self.covered or self.ran is Ran.AT_LOAD_ONLY
        return not unused or self.ran is Ran.NEVER

    def as_json(self) -> JsonObject:
        out = self._asdict()
        if self.runtime is not None:
            del out["reason"]
        out["load_only"] = None if self.runtime is None else self.covered - self.runtime
        out["ran"] = self.ran
        if self.imported_early is None:
            del out["imported_early"]
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
