"""Merge, subtract and intersect what reports have executed, phase by phase.

A value is a set: lines as the bits of a number, or arcs as texts. Lines that ran for a label are in
the runtime, too.

Concurrency: one instance belongs to one thread.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from wsgi_coverage.data.phases import JOIN, Phase, label_of, phase_of
from wsgi_coverage.model import Operation

Sets = dict[str, Any]  # by file: lines, or arcs
Executed = Mapping[str, Sets]  # by context
Key = Phase | None | tuple[str, ...]  # a phase; a label, as a tuple of one; ANY

ANY: tuple[str, ...] = ()  # in whatever phase


class Result:
    """What an operation makes of the reports that are added to it, one after another.

    - merge: what ran in any of them, in the same phase and for the same label.
    - subtract: what ran in the first, in a phase in which it ran in none of the others; labels are
      those of the first.
    - intersect: what ran in all of them in the same phase; and for a label, in all for that label.

    Where the phase of some lines is not known, subtract and intersect do not tell phases apart.

    Args:
        operation: the operation.
    """

    def __init__(self, operation: Operation) -> None:
        self._operation = operation
        self._first: dict[str, Sets] | None = None  # of a merge: all of them
        self._kept: dict[Key, Sets] = {}
        self.tells_phases: bool = True  # whether the phase of all lines is known

    def add(self, executed: Executed) -> None:
        """Add what one report has executed; the first one is the first operand."""
        if self._operation is Operation.MERGE:
            self._first = {} if self._first is None else self._first
            for context, sets in executed.items():
                _unite(self._first.setdefault(context, {}), sets)
            return
        found = _by_key(executed)
        self.tells_phases &= None not in found
        if self._first is None:
            self._first, self._kept = {**executed}, found
            return
        for key, kept in self._kept.items():
            others = found.get(key, {})
            for file, value in kept.items():
                common = value & others.get(file, value ^ value)
                # Of sets and of numbers alike, this is the difference.
                is_subtracted = self._operation is Operation.SUBTRACT
                kept[file] = value ^ common if is_subtracted else common

    def executed(self) -> Iterator[tuple[str, str, Any]]:
        """Yield contexts and files of the result, with what ran there; a pair may come twice."""
        for context, sets in (self._first or {}).items():
            for target, key in self._targets(context):
                for file, value in sets.items():
                    nothing = value ^ value
                    is_merge = self._operation is Operation.MERGE
                    found = value if is_merge else value & self._kept[key].get(file, nothing)
                    if found:
                        yield target, file, found

    def _targets(self, context: str) -> Iterator[tuple[str, Key]]:
        """Yield where lines of a context of the first report go, and which of them are kept."""
        phase = phase_of(context) if self.tells_phases else ANY
        label = label_of(context)
        if label is None or self._operation is not Operation.INTERSECT:
            yield context, phase
        else:  # what did not run for the label in all may have run in the phase in all
            yield context, (label,)
            yield context.removesuffix(f"{JOIN}{label}"), phase


def _by_key(executed: Executed) -> dict[Key, Sets]:
    out: dict[Key, Sets] = {}
    for context, sets in executed.items():
        label = label_of(context)
        for key in (phase_of(context), ANY, *(() if label is None else ((label,),))):
            _unite(out.setdefault(key, {}), sets)
    return out


def _unite(found: Sets, more: Sets) -> None:
    for file, value in more.items():
        found[file] = found[file] | value if file in found else value
