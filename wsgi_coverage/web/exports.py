"""The formats of a report over HTTP: their titles on pages, their types and names. No state."""

from __future__ import annotations

from typing import NamedTuple


class Export(NamedTuple):
    """How a format is offered and sent."""

    title: str  # on pages
    mimetype: str
    filename: str | None = None  # that it is saved under; None: a browser shows it


EXPORTS: dict[str, Export] = {  # in the order of pages
    "coverage": Export("Data file", "application/octet-stream", ".coverage"),
    "json": Export("JSON", "application/json"),
    "xml": Export("XML", "application/xml", "coverage.xml"),
    "lcov": Export("LCOV", "text/plain", "coverage.lcov"),
    "html": Export("HTML (zip)", "application/zip", "coverage-html.zip"),
}
# Those that are asked for by `?format=`; the data file is what is sent without it.
FORMATS: dict[str, str] = {
    name: export.title for name, export in EXPORTS.items() if name != "coverage"
}
