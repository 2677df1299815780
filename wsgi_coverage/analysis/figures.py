"""Compute the figures of one file: coverage.py's numbers, load and runtime, functions and classes.

Figures are small, so that those of all files fit in memory, and plain, so that they can be stored
with a report. The text report, the list of files and the HTML index pages are made of them alone.

Concurrency: frozen values, and functions without state.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, fields
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from coverage.numbits import numbits_to_nums
from coverage.plugin import FileReporter

from wsgi_coverage.analysis.cache import digest
from wsgi_coverage.compat.reporting import (
    Counts,
    KnownAnalysis,
    Totals,
    analysed,
    narrowed,
    totals_of,
)
from wsgi_coverage.data.phases import Phase, phase_of
from wsgi_coverage.line_ranges import ranges_of

KIND = "function"  # of regions


class Region(NamedTuple):
    """A function or class; with an empty name, the code that is in none of that kind."""

    kind: str
    name: str
    start: int  # line
    counts: Counts
    runtime: int | None  # statements that ran at runtime; None where phases are not known


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """The figures of one file."""

    counts: Counts
    missing: str  # as coverage.py formats it, branches included
    load: int | None = None  # statements that ran at load
    load_only: int | None = None  # of these, those that did not run at runtime
    runtime: int | None = None  # statements that ran at runtime
    runtime_reason: str | None = None  # why these three are None
    regions: Sequence[Sequence[Any]] = ()  # each as a Region
    first_missing: int | None = None  # first missing line outside of functions; None: none is
    # Lines of each function, as ranges, in the order of `regions` of this kind with a name.
    function_lines: Sequence[Sequence[Sequence[int]]] = ()

    def as_plain(self) -> dict[str, Any]:
        """Return the figures in their stored form: JSON types only."""
        return {each.name: getattr(self, each.name) for each in fields(self)}

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> Figures:
        """Return figures from their stored form.

        Raises:
            TypeError: the stored form is of another version.
        """
        return cls(**plain)

    def totals(self) -> Totals:
        """Return coverage.py's numbers of the file."""
        return totals_of(self.counts)

    def analysis(self, precision: int) -> KnownAnalysis:
        """Return a stand-in for coverage.py's analysis, for reporters that need figures alone.

        Args:
            precision: digits after the point of percentages.
        """
        return KnownAnalysis(self.counts, self.missing, precision)


class WithPhases(Protocol):
    """Tells when the lines of files ran."""

    def phases(self, name: str) -> tuple[set[int], set[int], str | None]:
        """Return a file's lines that ran at load and at runtime, and the first context of neither.

        None for the latter: it is known of all lines.
        """
        ...


class Executed:
    """The content of a data file by measured file, read at once (coverage.py documents its tables).

    Args:
        path: a data file that nothing writes to.
        contexts: regular expressions, as in coverage.py's configuration; None: all contexts.
    """

    def __init__(self, path: Path, contexts: Sequence[str] | None) -> None:
        self.tracers: dict[str, str] = {}
        self._rows: dict[str, list[tuple[str, bytes | str]]] = {}
        self._untold: str | None = None  # the first context, if all contexts are of no phase
        if not path.exists():
            return
        address = f"{path.absolute().as_uri()}?mode=ro"
        with closing(sqlite3.connect(address, uri=True)) as connection:
            names = dict(connection.execute("select id, context from context"))
            self.tracers = dict(
                connection.execute("select path, tracer from tracer join file on id = file_id")
            )
            rows = [*connection.execute(LINES), *connection.execute(ARCS)]
        if contexts:
            names = {
                number: name
                for number, name in names.items()
                if any(re.search(pattern, name) for pattern in contexts)
            }
        rows = [row for row in rows if row[1] in names]
        rows.sort(key=itemgetter(0))
        for name, group in groupby(rows, itemgetter(0)):
            self._rows[name] = sorted((names[number], content) for _, number, content in group)
        contexts_there = sorted({names[row[1]] for row in rows})
        if contexts_there and not any(map(phase_of, contexts_there)):
            self._untold = contexts_there[0]

    def digest(self, name: str) -> bytes:
        """Return a hash of all that was executed of a file."""
        rows = self._rows.get(name, ())
        parts = [part if isinstance(part, bytes) else part.encode() for row in rows for part in row]
        if not rows and self._untold is not None:
            parts = [b"no phases", self._untold.encode()]
        return digest(*parts).encode()

    def phases(self, name: str) -> tuple[set[int], set[int], str | None]:
        """Return a file's lines that ran at load and at runtime, and the first context of neither.

        For a file of which nothing ran, that context is the first one of all data, if no context
        of the data is of a phase.
        """
        ran: dict[Phase, set[int]] = {Phase.LOAD: set(), Phase.RUNTIME: set()}
        rows = self._rows.get(name)
        other = None if rows else self._untold
        for context, content in rows or ():
            phase = phase_of(context)
            lines = _lines(content)
            if phase is not None:
                ran[phase] |= lines
            elif lines and other is None:
                other = context
        return ran[Phase.LOAD], ran[Phase.RUNTIME], other


LINES = "select path, context_id, numbits from line_bits join file on id = file_id"
# In the order of the table's own index, so that the same arcs make the same text.
ARCS = """
    select path, context_id, group_concat(fromno || ' ' || tono, ' ') from
        (select file_id, context_id, fromno, tono from arc
         order by file_id, context_id, fromno, tono)
    join file on id = file_id group by file_id, context_id
"""


def _lines(content: bytes | str) -> set[int]:
    if isinstance(content, bytes):
        return set(numbits_to_nums(content))
    return {line for line in map(int, content.split()) if line > 0}


def figures_of(analysis: Any, reporter: FileReporter, executed: WithPhases, name: str) -> Figures:
    """Compute the figures of one file from coverage.py's analysis."""
    load, runtime, other = executed.phases(name)
    found = analysed(analysis)
    load = reporter.translate_lines(load) & found.statements
    runtime = reporter.translate_lines(runtime) & found.statements
    known: dict[str, Any] = {
        "counts": found.counts,
        "missing": found.missing_text,
        "first_missing": min(_outside_of_functions(found.missing, reporter), default=None),
        "regions": tuple(_regions(analysis, reporter, None if other is not None else runtime)),
        "function_lines": _function_lines(reporter),
    }
    if other is not None:
        context = f"the context {other!r}" if other else "a context without a name"
        return Figures(**known, runtime_reason=f"{context} does not tell load from runtime")
    return Figures(**known, load=len(load), load_only=len(load - runtime), runtime=len(runtime))


def if_nothing_ran(figures: Figures) -> Figures:
    """Return the figures of a file as they were if nothing of it had run."""

    def counts(of: Counts) -> Counts:
        statements, excluded, _, branches, _, _ = of
        return statements, excluded, statements, branches, 0, branches

    regions = [Region(*each) for each in figures.regions]
    return Figures(
        counts=counts(figures.counts),
        missing="",  # not known, and not needed for counts
        load=0,
        load_only=0,
        runtime=0,
        regions=[each._replace(counts=counts(each.counts), runtime=0) for each in regions],
        function_lines=figures.function_lines,
    )


def regions_of(figures: Figures, kind: str) -> Iterable[Region]:
    """Return the functions or classes of a file, in the order of coverage.py's index pages."""
    return (Region(*each) for each in figures.regions if each[0] == kind)


def _function_lines(reporter: FileReporter) -> list[list[list[int]]]:
    """Return the lines of each function's body, as ranges, in coverage.py's order.

    All lines, because any line of a statement of several may be the one that runs.
    """
    regions = (each for each in reporter.code_regions() if each.kind == KIND)
    return [ranges_of(sorted(each.lines)) for each in regions if each.name]


def _outside_of_functions(lines: set[int], reporter: FileReporter) -> set[int]:
    """Return the given lines that lie outside of every function: an import runs these."""
    inside = (region.lines for region in reporter.code_regions() if region.kind == KIND)
    return lines.difference(*inside)


def _regions(analysis: Any, reporter: FileReporter, runtime: set[int] | None) -> Iterable[Region]:
    """Yield the functions and classes of coverage.py's index pages, in their order."""
    kinds = [kind for kind, _ in reporter.code_region_kinds()]
    if not kinds:
        return
    regions = list(reporter.code_regions())
    everything = set(range(1, len(reporter.source().splitlines()) + 1))
    for kind in kinds:
        ours = [region for region in regions if region.kind == kind]
        outside = everything.difference(*(region.lines for region in ours))
        named = [*((r.name, r.start, r.lines) for r in ours), ("", 0, outside)]
        found = narrowed(analysis, [lines for _, _, lines in named])
        for (name, start, lines), counts in zip(named, found, strict=True):
            ran = None if runtime is None else len(runtime & lines)
            yield Region(kind, name, start, counts, ran)
