"""What coverage.py's own tracer has seen, in the form in which the memory takes it.

Concurrency: functions without state; the caller holds the worker's lock.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from coverage import CoverageData

from wsgi_coverage.compat import measurement
from wsgi_coverage.data.reading import arc_of


class Flushed(NamedTuple):
    """Of one context."""

    has_arcs: bool
    numbers: dict[str, set[int]]  # by name: lines, or arcs as `arc_of` gives them
    tracers: dict[str, str]  # names of plugins, by names of files that they trace


def converted(collector: Any, seen: measurement.TraceData) -> Flushed:
    """What the trace data held, as coverage.py would write it; by its own code."""
    has_arcs, numbers, tracers = measurement.convert(collector, seen)
    packed = {
        name: {arc_of(*each) for each in found} if has_arcs else found
        for name, found in numbers.items()
    }
    return Flushed(has_arcs, packed, {**tracers})


def saved(data: CoverageData) -> Iterator[tuple[str | None, Flushed]]:
    """What a data set holds, by context."""
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
