"""The export formats over HTTP: their titles on pages, media types and file names. No state."""

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
# Formats for `?format=`; without it, the data file is sent.
FORMATS: dict[str, str] = {
    name: export.title for name, export in EXPORTS.items() if name != "coverage"
}
