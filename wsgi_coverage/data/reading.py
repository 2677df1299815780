"""A reading: the content of a host's memory of executed lines at one moment.

Concurrency: values, made once.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

from wsgi_coverage.data.imported import EarlyModule
from wsgi_coverage.data.phases import Phase, context_of

# Translates a byte for a line to a digit: Python parses a number of base 2 in linear time.
DIGITS = bytes([*b"01", *b"0" * 254])
ARC_BITS = 32  # bits for the second line number of an arc
ARC_MIDDLE = 1 << (ARC_BITS - 1)


K = TypeVar("K")


class Day(NamedTuple):
    """A day, and the release that ran."""

    day: int  # as `date.toordinal` counts
    release: str  # "": it has no name


class Place(NamedTuple):
    """Where the bytes for the lines of one version of a source are."""

    chunk: int
    at: int  # offset of line 0 in the chunk's lines
    room: int  # number of bytes: line numbers are below this


class Claim(NamedTuple):
    """One version of a source, and its place in the memory."""

    name: str  # its name in data files
    version: str  # fingerprint of its content, or stamp.CHANGED
    place: Place


def room_of(content: bytes) -> int:
    """Return the number of bytes that the lines of a source need, one for each, and for line 0."""
    return len(content.splitlines()) + 2  # a carriage return alone ends a line, as in Python


class Record(NamedTuple):
    """Arcs, or lines, of one version of a source that are not stored as a byte for each line."""

    name: str  # its name in data files
    version: str | None  # fingerprint of its content; None: unknown
    tracer: str  # the plugin that traces the file; "": none
    context: str | None  # the context in data files; None: that of the phase
    has_arcs: bool
    numbers: tuple[int, ...] = ()  # lines, or arcs as `arc_of` packs them, sorted


Lines = Mapping[Phase | None, int]  # by phase (None: unknown); bit n is line n


def arc_of(start: int, end: int) -> int:
    """Pack the two line numbers of an arc, which may be negative, into one integer."""
    return (start << ARC_BITS) + end + ARC_MIDDLE


def ends_of(arc: int) -> tuple[int, int]:
    """Unpack the two line numbers of an arc from `arc_of`."""
    return arc >> ARC_BITS, (arc & (2 * ARC_MIDDLE - 1)) - ARC_MIDDLE


class LabelUse(NamedTuple):
    """The requests that had one label."""

    requests: int
    first: float  # seconds of Unix time: when the first one ended
    last: float  # when the last one ended

    def joined(self, other: LabelUse) -> LabelUse:
        """Return the use of both."""
        return LabelUse(
            self.requests + other.requests,
            min(self.first, other.first),
            max(self.last, other.last),
        )


def join_uses(found: dict[str, LabelUse], more: Iterable[tuple[str, LabelUse]]) -> None:
    """Add the uses of labels, by context, to those that were found before."""
    for context, use in more:
        found[context] = found[context].joined(use) if context in found else use


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """The content of a memory at one moment."""

    id: str  # of the memory: host, process id of its creator, random
    host: str
    epoch: int
    sources: tuple[Claim, ...]
    by_phase: Mapping[Phase | None, Mapping[int, bytes]]  # by phase and chunk, a byte for each line
    records: Mapping[Phase | None, Sequence[Record]] = field(default_factory=dict)  # by phase
    processes: tuple[int, ...] = ()  # ids of the processes in the memory's table
    problems: tuple[str, ...] = ()  # sentences about files that could not be read, or are damaged
    early: frozenset[EarlyModule] = frozenset()  # early modules of any process of the memory
    # By day, release and chunk: a byte for each line.
    days: Mapping[Day, Mapping[int, bytes]] = field(default_factory=dict)
    lost_day: int = 0  # the last day of which some lines are not in `days`; 0: none
    labels: Mapping[str, LabelUse] = field(default_factory=dict)  # by context in data files

    @property
    def is_empty(self) -> bool:
        """Tell whether no measured source has run."""
        return not self.sources and not any(self.records.values())

    def names(self) -> Iterator[str]:
        """Yield the names of the sources in data files; one may come more than once."""
        yield from (claim.name for claim in self.sources)
        yield from (record.name for records in self.records.values() for record in records)

    def executed(self) -> Iterator[tuple[Claim, Lines]]:
        """Yield each version of a source, with its executed lines."""
        yield from _by_claim(self.sources, self.by_phase)

    def seen(self) -> Iterator[tuple[Claim, Mapping[Day, int]]]:
        """Yield each version of a source, with the lines that ran by day; bit n is line n."""
        yield from _by_claim(self.sources, self.days)

    def in_contexts(self, static: str | None) -> Iterator[tuple[str, Record]]:
        """Yield each record, after its context in data files.

        Args:
            static: coverage.py's static context.
        """
        for phase, records in self.records.items():
            for record in records:
                yield record.context or context_in(phase, static), record

    def checksum(self) -> int:
        """Return a checksum of the epoch, sources, lines and records; never 0."""
        out = zlib.crc32(repr((self.epoch, len(self.sources))).encode())
        for phase in sorted(self.by_phase, key=str):
            for number, chunk in sorted(self.by_phase[phase].items()):
                out = zlib.crc32(chunk, zlib.crc32(repr((phase, number)).encode(), out))
        for phase in sorted(self.records, key=str):
            out = zlib.crc32(repr((phase, self.records[phase])).encode(), out)
        for day in sorted(self.days):
            for number, chunk in sorted(self.days[day].items()):
                out = zlib.crc32(chunk, zlib.crc32(repr((day, number)).encode(), out))
        for context, use in sorted(self.labels.items()):
            out = zlib.crc32(repr((context, use)).encode(errors="surrogatepass"), out)
        return out or 1


def _by_claim(
    sources: Sequence[Claim], planes: Mapping[K, Mapping[int, bytes]]
) -> Iterator[tuple[Claim, dict[K, int]]]:
    """Yield each version of a source, with its marked lines in each plane; bit n is line n."""
    digits = {
        (plane, number): chunk.translate(DIGITS)[::-1]
        for plane, chunks in planes.items()
        for number, chunk in chunks.items()
    }
    for claim in sources:
        chunk, at, room = claim.place
        lines = {}
        for plane in planes:
            text = digits.get((plane, chunk))
            if text is not None:
                end = len(text) - at
                bits = int(text[end - room : end] or b"0", 2)
                if bits:
                    lines[plane] = bits
        yield claim, lines


def by_context(lines: Lines, static: str | None) -> dict[str, int]:
    """Convert lines by phase to lines by coverage.py's contexts.

    Args:
        lines: executed lines by phase.
        static: coverage.py's static context.
    """
    return {context_in(phase, static): bits for phase, bits in lines.items()}


def context_in(phase: Phase | None, static: str | None) -> str:
    """Return the context of a phase in a data file; for an unknown phase, the static one."""
    return context_of(phase, static) if phase is not None else static or ""
