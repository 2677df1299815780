"""The labels of a finished report: what ran for the requests that had each of them.

Lines come from the report's data file, where a label follows the phase in the name of a context
(wsgi_coverage.data.phases). The numbers of requests come from the memories that the report was made
of; a data file has none.

Concurrency: reads a report's folder, in which nothing changes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from wsgi_coverage.data import database
from wsgi_coverage.data.bits import numbers_of
from wsgi_coverage.data.datafile import UnusableError, open_data_file
from wsgi_coverage.data.phases import JOIN, Phase, can_be_label
from wsgi_coverage.data.reading import LabelUse, Reading
from wsgi_coverage.errors import UnknownContextError
from wsgi_coverage.model import JsonObject
from wsgi_coverage.report.publish import DATA, read_file
from wsgi_coverage.system import own_files

USES = "labels.json"  # in the folder of a report
LABELLED = re.compile(rf"(?s)(?:.*?{re.escape(JOIN)})??{Phase.RUNTIME}{re.escape(JOIN)}(.+)")
LINES = """
    select context.context, file.path, line_bits.numbits from line_bits
    join file on file.id = line_bits.file_id join context on context.id = line_bits.context_id
    order by file.path
"""


class _Lines(NamedTuple):
    label: str
    file: str
    bits: int


def write_uses(folder: Path, readings: Iterable[Reading]) -> None:
    """Write how many requests each label had into the folder of a report.

    Raises:
        OSError: there is no room.
    """
    found: dict[str, LabelUse] = {}
    for reading in readings:
        for context, use in reading.labels.items():
            label = label_of(context)
            if label is not None:
                found[label] = found[label].joined(use) if label in found else use
    if found:
        own_files.write(folder / USES, json.dumps(found))


def contexts(folder: Path) -> list[JsonObject]:
    """Return the labels of a report, by name, each with its figures.

    Raises:
        FileNotFoundError: there is no report.
    """
    uses = _uses(folder)
    rows = list(_rows(folder))
    several: dict[str, int] = {}  # by file: lines that more than one label has run
    seen: dict[str, int] = {}
    for row in rows:
        several[row.file] = several.get(row.file, 0) | seen.get(row.file, 0) & row.bits
        seen[row.file] = seen.get(row.file, 0) | row.bits
    labels = {label: [0, 0, 0] for label in uses}
    for row in rows:
        counts = labels.setdefault(row.label, [0, 0, 0])
        counts[0] += 1
        counts[1] += row.bits.bit_count()
        counts[2] += (row.bits & ~several[row.file]).bit_count()
    return [
        {
            "label": label,
            **_use(uses.get(label)),
            "files": files,
            "lines": lines,
            "own_lines": own,
        }
        for label, (files, lines, own) in sorted(labels.items())
    ]


def context(folder: Path, label: str) -> JsonObject:
    """Return the lines that ran for one label, by file.

    Raises:
        FileNotFoundError: there is no report.
        UnknownContextError: the report does not have the label.
    """
    uses = _uses(folder)
    rows = [row for row in _rows(folder) if row.label == label]
    if not rows and label not in uses:
        raise UnknownContextError(f"the report has no label {label!r}")
    files = [{"file": row.file, "lines": numbers_of(row.bits)} for row in rows]
    return {"label": label, **_use(uses.get(label)), "files": files}


def label_of(context: str) -> str | None:
    """Return the label of a context; None: it has none."""
    match = LABELLED.fullmatch(context)
    return match[1] if match and can_be_label(match[1]) else None


def _rows(folder: Path) -> Iterable[_Lines]:
    found: dict[tuple[str, str], int] = {}
    try:
        with open_data_file(folder / DATA) as connection:
            for name, file, numbits in database.fetch(connection, LINES, kind=bytes):
                label = label_of(name)
                if label is not None:
                    key = label, file
                    found[key] = found.get(key, 0) | int.from_bytes(numbits, "little")
    except UnusableError:
        if (folder / DATA).exists():
            raise
    return [_Lines(label, file, bits) for (label, file), bits in found.items() if bits]


def _uses(folder: Path) -> Mapping[str, LabelUse]:
    try:
        found = json.loads(read_file(folder / USES))
    except FileNotFoundError:
        return {}
    return {label: LabelUse(*use) for label, use in found.items()}


def _use(use: LabelUse | None) -> JsonObject:
    if use is None:
        return {"requests": None, "first": None, "last": None}
    first, last = (datetime.fromtimestamp(at, UTC).isoformat() for at in (use.first, use.last))
    return {"requests": use.requests, "first": first, "last": last}
