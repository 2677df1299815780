"""Convert what has run, between readings or data files and the content of a fleet's store.

Concurrency: functions without state.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from wsgi_coverage.data import database, stamp
from wsgi_coverage.data.bits import bits_of, numbers_of
from wsgi_coverage.data.datafile import open_data_file
from wsgi_coverage.data.phases import Phase
from wsgi_coverage.data.reading import (
    ARC_BITS,
    ARC_MIDDLE,
    Claim,
    Place,
    Reading,
    Record,
    by_context,
    context_in,
)
from wsgi_coverage.data.union import has_branches
from wsgi_coverage.store.redis import Content, StoredSource

PHASES = (Phase.LOAD, Phase.RUNTIME, None)
LINES = """
    select file.path, context.context, line_bits.numbits from line_bits
    join file on file.id = line_bits.file_id join context on context.id = line_bits.context_id
"""
ARCS = f"""
    select file.path, context.context,
        group_concat((arc.fromno << {ARC_BITS}) + arc.tono + {ARC_MIDDLE})
    from arc join file on file.id = arc.file_id join context on context.id = arc.context_id
    group by arc.file_id, arc.context_id
"""  # noqa: S608  constants
FILES = "select path, '' from file"
TRACERS = "select file.path, tracer.tracer from tracer join file on file.id = tracer.file_id"
# Translates digits to the bytes 0 and 1.
FLAGS = bytes.maketrans(b"01", b"\0\1")


class _Collected:
    """Collects lines and arcs to a `Content`."""

    def __init__(self) -> None:
        self._lines: dict[StoredSource, int] = {}
        self._arcs: dict[StoredSource, set[int]] = {}

    def add_lines(self, source: StoredSource, bits: int) -> None:
        if database.is_storable(source.name):
            self._lines[source] = self._lines.get(source, 0) | bits

    def add_arcs(self, source: StoredSource, arcs: Iterable[int]) -> None:
        if database.is_storable(source.name):
            self._arcs.setdefault(source, set()).update(arcs)

    def content(self) -> Content:
        return Content(lines=self._lines, arcs=self._arcs)


def of_readings(
    readings: Iterable[Reading], static: str | None, root: str | None = None
) -> Content:
    """Convert readings of memories to content of the store.

    Args:
        readings: the readings.
        static: coverage.py's static context.
        root: the folder that names are made relative to, so that all hosts have the same names;
            None: names are not changed.
    """
    out = _Collected()
    begin = _beginning(root)
    for reading in readings:
        for claim, lines in reading.executed():
            known = by_context(lines, static) or {context_in(None, static): 0}
            for context, bits in known.items():
                name = claim.name.removeprefix(begin)
                out.add_lines(StoredSource(name, claim.version, "", context, False), bits)
        for context, record in reading.in_contexts(static):
            name = record.name.removeprefix(begin)
            source = StoredSource(name, record.version, record.tracer, context, record.has_arcs)
            if record.has_arcs:
                out.add_arcs(source, record.numbers)
            else:
                out.add_lines(source, bits_of(record.numbers))
    return out.content()


def of_data_file(path: Path, root: str | None = None) -> Content:
    """Convert a data file to content of the store.

    Args:
        path: the data file.
        root: as for `of_readings`.

    Raises:
        UnusableError: it cannot be used.
    """
    out, begin = _Collected(), _beginning(root)
    with open_data_file(path) as connection:
        versions = stamp.read_fingerprints(connection)
        tracers = dict(database.fetch(connection, TRACERS, kind=str))
        has_arcs = has_branches(connection)

        def source(name: str, context: str) -> StoredSource:
            version, tracer = versions.get(name), tracers.get(name, "")
            return StoredSource(name.removeprefix(begin), version, tracer, context, has_arcs)

        for name, _ in database.fetch(connection, FILES, kind=str):
            if has_arcs:
                out.add_arcs(source(name, ""), ())
            else:
                out.add_lines(source(name, ""), 0)
        if has_arcs:
            for name, context, text in database.fetch(connection, ARCS, kind=str):
                out.add_arcs(source(name, context), map(int, text.split(",")))
        else:
            for name, context, numbits in database.fetch(connection, LINES, kind=bytes):
                out.add_lines(source(name, context), int.from_bytes(numbits, "little"))
    return out.content()


def _beginning(root: str | None) -> str:
    return "" if root is None else os.path.join(root, "")  # noqa: PTH118


def without(content: Content, known: Content) -> Content:
    """Return the lines, arcs and sources of one content that another lacks."""
    lines, arcs = {}, {}
    for source, bits in content.lines.items():
        before = known.lines.get(source)
        if before is None or bits & ~before:
            lines[source] = bits if before is None else bits & ~before
    for source, found in content.arcs.items():
        had = known.arcs.get(source)
        new = {*found} - {*(had or ())}
        if had is None or new:
            arcs[source] = new
    return Content(lines=lines, arcs=arcs)


def united(contents: Iterable[Content]) -> Content:
    """Return the union of contents."""
    out = _Collected()
    for content in contents:
        for source, bits in content.lines.items():
            out.add_lines(source, bits)
        for source, arcs in content.arcs.items():
            out.add_arcs(source, arcs)
    return out.content()


def as_reading(
    content: Content, *, name: str, epoch: int, static: str | None, root: str | None = None
) -> Reading:
    """Convert content of the store to a reading, as if it was of a memory.

    Args:
        content: the content.
        name: the name of the fleet.
        epoch: the current epoch of this host's data files.
        static: coverage.py's static context here.
        root: the folder of relative names; None: names are not changed.
    """
    begin = root or ""
    phases = {context_in(phase, static): phase for phase in PHASES}
    plain: dict[tuple[str, str], dict[Phase | None, int]] = {}
    records: dict[Phase | None, list[Record]] = {}
    for source, bits in content.lines.items():
        if source.version is not None and not source.tracer and source.context in phases:
            name_here = os.path.join(begin, source.name)  # noqa: PTH118  thousands
            lines = plain.setdefault((name_here, source.version), {})
            if bits:
                lines[phases[source.context]] = bits
        else:
            records.setdefault(None, []).append(_record(source, begin, numbers_of(bits)))
    for source, arcs in content.arcs.items():
        records.setdefault(None, []).append(_record(source, begin, arcs))
    claims, planes = _placed(plain)
    return Reading(
        id=name,
        host=name,
        epoch=epoch,
        sources=claims,
        by_phase=planes,
        records=records,
    )


def _placed(
    plain: Mapping[tuple[str, str], Mapping[Phase | None, int]],
) -> tuple[tuple[Claim, ...], dict[Phase | None, dict[int, bytes]]]:
    """Lay out sources in one chunk, a byte for each line; return claims, and chunks by phase."""
    claims: list[Claim] = []
    parts: dict[Phase | None, list[bytes]] = {phase: [] for phase in PHASES}
    at = 0
    for (name, version), lines in plain.items():
        room = max((bits.bit_length() for bits in lines.values()), default=1)
        claims.append(Claim(name, version, Place(0, at, room)))
        for phase, found in parts.items():
            digits = f"{lines.get(phase, 0):0{room}b}"[::-1]
            found.append(digits.encode().translate(FLAGS))
        at += room
    planes = {phase: {0: b"".join(found)} for phase, found in parts.items()}
    return tuple(claims), planes


def _record(source: StoredSource, begin: str, numbers: Iterable[int]) -> Record:
    return Record(
        name=os.path.join(begin, source.name),  # noqa: PTH118
        version=source.version,
        tracer=source.tracer,
        context=source.context,
        has_arcs=source.has_arcs,
        numbers=tuple(sorted(numbers)),
    )
