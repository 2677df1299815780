"""Functions and methods of a finished report: how large they are, and whether they ever ran.

Their lines are coverage.py's: the body without the `def`, without functions that are defined in it.

Concurrency: reads a report's folder, in which nothing changes.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from wsgi_coverage.model import JsonObject
from wsgi_coverage.report.figures import Figures, numbers, regions_of
from wsgi_coverage.report.kept import FIGURES, read

KIND = "function"


def functions(folder: Path, *, unused: bool) -> list[JsonObject]:
    """Functions and methods that have statements, the largest first.

    Args:
        folder: the report's.
        unused: only those of which nothing ran at runtime; where load and runtime cannot be told
            apart, those of which nothing ran at all.

    Raises:
        FileNotFoundError: there is no report, or it has no data.
    """
    plain = read(folder / FIGURES)
    if plain is None:
        raise FileNotFoundError(f"there are no figures in {folder}")
    found = [
        each
        for name, entry in plain["files"].items()
        for each in _functions_of(name, Figures.from_plain(entry["figures"]))
        if not unused or _is_unused(each)
    ]
    return sorted(found, key=lambda each: (-each["statements"], each["file"], each["line"]))


def _functions_of(name: str, figures: Figures) -> Iterator[JsonObject]:
    for region in regions_of(figures, KIND):
        of = numbers(region.counts, 0)
        if region.name and of.n_statements:
            found: JsonObject = {
                "file": name,
                "name": region.name,
                "line": region.start,
                "statements": of.n_statements,
                "covered": of.n_executed,
                "runtime": region.runtime,
            }
            if region.runtime is None:
                found["reason"] = figures.runtime_reason
            yield found


def _is_unused(function: JsonObject) -> bool:
    ran = function["covered"] if function["runtime"] is None else function["runtime"]
    return not ran
