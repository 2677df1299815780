"""Convert what coverage.py's own tracer has seen to the form in which it is put into the memory.

Concurrency: functions without state; the caller holds the engine's lock.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from coverage import CoverageData

from wsgi_coverage.compat import measurement
from wsgi_coverage.data.reading import arc_of


class Flushed(NamedTuple):
    """Executed lines, or arcs, of one context."""

    has_arcs: bool
    numbers: dict[str, set[int]]  # by name in data files: lines, or arcs packed by `arc_of`
    tracers: dict[str, str]  # names of file tracer plugins, by names of files


def converted(collector: Any, seen: measurement.TraceData) -> Flushed:
    """Convert trace data as coverage.py's own code does before it writes them."""
    has_arcs, numbers, tracers = measurement.convert(collector, seen)
    packed = {
        name: {arc_of(*each) for each in found} if has_arcs else found
        for name, found in numbers.items()
    }
    return Flushed(has_arcs, packed, {**tracers})


def saved(data: CoverageData) -> Iterator[tuple[str | None, Flushed]]:
    """Yield each context of a CoverageData with what was executed in it; None: no context."""
    tracers = {name: data.file_tracer(name) or "" for name in data.measured_files()}
    for context in sorted(data.measured_contexts()):
        data.set_query_context(context)
        numbers: dict[str, set[int]] = {}
        for name in tracers:
            if data.has_arcs():
                numbers[name] = {arc_of(*ends) for ends in data.arcs(name) or ()}
            else:
                numbers[name] = {*(data.lines(name) or ())}
        yield context or None, Flushed(data.has_arcs(), numbers, tracers)
    data.set_query_contexts(None)
