"""Pack a finished report into one value of the fleet's store, and unpack it on other hosts.

It is a zip file of the report's folder without the formats that are rendered later. Source text,
which is in the analyses, is left out unless it is wanted: a host with the same sources has the same
analyses, or computes them. Names are changed for hosts that have the application in another folder.

Concurrency: functions without state; they work in folders that belong to the caller.
"""

from __future__ import annotations

import io
import json
import os
import re
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from wsgi_coverage.analysis.cache import FIGURES, AnalysisCache
from wsgi_coverage.data import database, stamp
from wsgi_coverage.data.packed import pack, read_packed
from wsgi_coverage.report.publish import DATA, META, read_file
from wsgi_coverage.report.render import FILES, SOURCES, TEXT
from wsgi_coverage.report.staleness import ORIGIN
from wsgi_coverage.system import own_files

ABOUT = "about.json"
CONTENT = (META, ORIGIN, TEXT, FILES, FIGURES, DATA)
ANALYSIS = re.compile(rf"{SOURCES}/[0-9a-f]{{8,64}}")
# What reading raises if a value is no report, or a damaged one.
DAMAGED = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    LookupError,
    TypeError,
    AttributeError,
    RuntimeError,
)
MOST = 512 << 20  # bytes of a report, packed or not


class BundleError(ValueError):
    """A value of the store is no report that this version can read."""


def packed(folder: Path, *, root: str | None, with_sources: bool) -> bytes:
    """Pack a finished report into bytes.

    Args:
        folder: the folder of the report.
        root: the folder of the application here; None: names are relative to it already.
        with_sources: whether to include source text.

    Raises:
        FileNotFoundError: the report was removed meanwhile.
        BundleError: the report is too large.
    """
    names = [name for name in CONTENT if (folder / name).exists()]
    if META not in names:
        raise FileNotFoundError(folder)
    if with_sources:
        names += [f"{SOURCES}/{path.name}" for path in sorted((folder / SOURCES).iterdir())]
    if sum((folder / name).stat().st_size for name in names) > MOST:
        raise BundleError(f"the report takes more than {MOST >> 20} MB")
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as bundle:
        bundle.writestr(ABOUT, json.dumps({"root": root}))
        for name in names:
            bundle.writestr(name, read_file(folder / name))
    return out.getvalue()


def unpack(content: bytes, folder: Path, *, root: str | None, analyses: AnalysisCache) -> None:
    """Write a finished report into a folder.

    Args:
        content: what `packed` returned, on any host.
        folder: the folder to write into.
        root: the folder of the application here; None: names are relative to it already.
        analyses: the analysis cache of this host.

    Raises:
        BundleError: it is no report.
        OSError: there is no room.
    """
    own_files.make_folder(folder / SOURCES)
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as bundle:
            entries = bundle.infolist()
            if sum(entry.file_size for entry in entries) > MOST:
                raise BundleError(f"it takes more than {MOST >> 20} MB")
            begins = json.loads(bundle.read(ABOUT))["root"]
            for entry in entries:
                if entry.filename in CONTENT or ANALYSIS.fullmatch(entry.filename):
                    own_files.write(folder / entry.filename, bundle.read(entry))
        if not (folder / META).exists() or (figures := read_packed(folder / FIGURES)) is None:
            raise BundleError("it lacks what a report has")
        if isinstance(begins, str) and root is not None and begins != root:
            figures = _move(folder, figures, begins, root)
        analysed = {entry["source"] for entry in figures["files"].values()} - {None}
        for name in analysed:
            path = f"{SOURCES}/{name}"
            if ANALYSIS.fullmatch(path) and not (folder / path).exists():
                analyses.link_into(name, folder / SOURCES)
    except DAMAGED as error:
        raise BundleError(f"it is no report: {error}") from error


def _move(folder: Path, figures: Any, begins: str, root: str) -> Any:
    """Change file names to this host's folder of the application; return the changed figures."""
    moved = _mover(begins, root)
    figures = _mapped(figures, moved)
    own_files.write(folder / FIGURES, pack(figures))
    for name in (FILES, ORIGIN):
        if (folder / name).exists():
            found = json.loads((folder / name).read_text(encoding="utf-8"))
            own_files.write(folder / name, json.dumps(_mapped(found, moved), indent=1))
    data = folder / DATA
    if data.exists():
        with stamp.changing(data) as connection:
            versions = stamp.read_fingerprints(connection)
            for (name,) in database.fetch(connection, "select path from file", kind=str):
                if (there := moved(name)) != name:
                    database.run(
                        connection, "update file set path = ? where path = ?", [there, name]
                    )
            database.run(connection, f"drop table if exists {stamp.SOURCES}")
        stamp.put_fingerprints(data, {moved(name): each for name, each in versions.items()})
    return figures


def _mover(begins: str, root: str) -> Callable[[str], str]:
    below = os.path.join(begins, "")  # noqa: PTH118

    def moved(name: str) -> str:
        if name == begins:
            return root
        return os.path.join(root, name[len(below) :]) if name.startswith(below) else name  # noqa: PTH118

    return moved


def _mapped(value: Any, moved: Callable[[str], str]) -> Any:
    """Return JSON in which every text, also as a key, has been mapped by `moved`."""
    if isinstance(value, str):
        return moved(value)
    if isinstance(value, list):
        return [_mapped(each, moved) for each in value]
    if isinstance(value, dict):
        return {moved(key): _mapped(each, moved) for key, each in value.items()}
    return value
