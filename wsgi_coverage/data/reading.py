"""The content of a host's memory of executed lines at one moment, as plain data and as integers.

Concurrency: values, made once.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from wsgi_coverage.data.imported import EarlyModule
from wsgi_coverage.data.phases import Phase, context_of

# A byte for a line becomes a digit: Python reads a number of base 2 in linear time.
DIGITS = bytes([*b"01", *b"0" * 254])
ARC_BITS = 32  # of an arc's end
ARC_MIDDLE = 1 << (ARC_BITS - 1)


class Place(NamedTuple):
    """Where the bytes of one source version's lines are: chunk, offset, number of lines."""

    chunk: int
    at: int  # of line 0, from the beginning of the chunk's lines
    room: int  # line numbers from 0 to below this


class Claim(NamedTuple):
    """One source version and its place in the memory."""

    name: str  # as in data files
    version: str  # fingerprint of its content, or stamp.CHANGED
    place: Place


def room_of(content: bytes) -> int:
    """Line numbers, from 0, that a source of this content may have."""
    return len(content.splitlines()) + 2  # a carriage return alone ends a line, as for Python


class Record(NamedTuple):
    """Arcs, or lines, of one source version that are not stored as a byte a line."""

    name: str  # as in data files
    version: str | None  # fingerprint of its content; None: not known
    tracer: str  # the plugin that traces the file; "": none
    context: str | None  # as in data files; None: that of the phase
    has_arcs: bool
    numbers: tuple[int, ...] = ()  # lines; or arcs, as `arc_of` gives them; in order


Lines = Mapping[Phase | None, int]  # by phase (None: unknown); bit n is line n


def arc_of(start: int, end: int) -> int:
    """An arc as one integer that holds both line numbers, which may be negative."""
    return (start << ARC_BITS) + end + ARC_MIDDLE


def ends_of(arc: int) -> tuple[int, int]:
    """The two line numbers of an arc from `arc_of`."""
    return arc >> ARC_BITS, (arc & (2 * ARC_MIDDLE - 1)) - ARC_MIDDLE


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """The content of a memory at one moment."""

    id: str  # of the memory: host, process id of its maker, random
    host: str
    epoch: int
    sources: tuple[Claim, ...]
    by_phase: Mapping[Phase | None, Mapping[int, bytes]]  # by phase and chunk, a byte for each line
    records: Mapping[Phase | None, Sequence[Record]] = field(default_factory=dict)  # by phase
    processes: tuple[int, ...] = ()  # ids of those that mark lines there
    problems: tuple[str, ...] = ()  # what is not as it should be, by name
    early: frozenset[EarlyModule] = frozenset()  # of any of its processes

    @property
    def is_empty(self) -> bool:
        """Tell whether nothing that is measured has run."""
        return not self.sources and not any(self.records.values())

    def names(self) -> Iterator[str]:
        """The names of the sources, as in data files; one may come more than once."""
        yield from (claim.name for claim in self.sources)
        yield from (record.name for records in self.records.values() for record in records)

    def executed(self) -> Iterator[tuple[Claim, Lines]]:
        """Each source version, with the lines that have run of it."""
        digits = {
            (phase, number): chunk.translate(DIGITS)[::-1]
            for phase, chunks in self.by_phase.items()
            for number, chunk in chunks.items()
        }
        for claim in self.sources:
            chunk, at, room = claim.place
            lines = {}
            for phase in self.by_phase:
                text = digits.get((phase, chunk))
                if text is not None:
                    end = len(text) - at
                    bits = int(text[end - room : end] or b"0", 2)
                    if bits:
                        lines[phase] = bits
            yield claim, lines

    def in_contexts(self, static: str | None) -> Iterator[tuple[str, Record]]:
        """Each record, with its context in data files.

        Args:
            static: coverage.py's static context.
        """
        for phase, records in self.records.items():
            for record in records:
                yield record.context or context_in(phase, static), record

    def checksum(self) -> int:
        """A checksum of the epoch, sources and lines, to tell one state from another."""
        out = zlib.crc32(repr((self.epoch, len(self.sources))).encode())
        for phase in sorted(self.by_phase, key=str):
            for number, chunk in sorted(self.by_phase[phase].items()):
                out = zlib.crc32(chunk, zlib.crc32(repr((phase, number)).encode(), out))
        for phase in sorted(self.records, key=str):
            out = zlib.crc32(repr((phase, self.records[phase])).encode(), out)
        return out or 1


def by_context(lines: Lines, static: str | None) -> dict[str, int]:
    """Lines by phase as lines by coverage.py's contexts.

    Args:
        lines: by phase.
        static: coverage.py's static context.
    """
    return {context_in(phase, static): bits for phase, bits in lines.items()}


def context_in(phase: Phase | None, static: str | None) -> str:
    """The context of a phase in a data file; for an unknown phase the static one."""
    return context_of(phase, static) if phase is not None else static or ""
