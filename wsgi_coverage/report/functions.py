"""Functions and methods of a finished report: how large they are, and whether they ever ran.

Their lines are coverage.py's: the body without the `def`, without functions that are defined in it.

Concurrency: reads a report's folder, in which nothing changes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from wsgi_coverage import owned
from wsgi_coverage.model import JsonObject
from wsgi_coverage.report.figures import Figures
from wsgi_coverage.report.kept import FIGURES, read

FUNCTIONS = "functions.json"
KIND = "function"
LARGEST = 10  # functions named in the summary


def functions(folder: Path, *, unused: bool) -> list[JsonObject]:
    """Functions and methods that have statements, the largest first.

    Args:
        folder: the report's.
        unused: only those of which nothing ran at runtime; where load and runtime cannot be told
            apart, those of which nothing ran at all.

    Raises:
        FileNotFoundError: there is no report, or it has no data.
    """
    try:
        found: list[JsonObject] = json.loads((folder / FUNCTIONS).read_bytes())
    except (FileNotFoundError, ValueError):
        found = _from_figures(folder)
    return [each for each in found if not unused or _is_unused(each)]


def _from_figures(folder: Path) -> list[JsonObject]:
    """The functions of a report of an older version, which kept no list of them."""
    plain = read(folder / FIGURES)
    if plain is None:
        raise FileNotFoundError(f"there are no figures in {folder}")
    entries = plain["files"].items()
    return _functions((name, Figures.from_plain(entry["figures"])) for name, entry in entries)


def keep(folder: Path, files: Iterable[tuple[str, Figures]]) -> JsonObject:
    """Keep the list with a report that is being made.

    Returns:
        How many functions there are, how many never ran, and the largest of these.

    Raises:
        OSError: there is no room.
    """
    found = _functions(files)
    owned.write(folder / FUNCTIONS, json.dumps(found))
    unused = [each for each in found if _is_unused(each)]
    return {
        "functions": len(found),
        "unused_functions": len(unused),
        "largest_unused": unused[:LARGEST],
    }


def _functions(files: Iterable[tuple[str, Figures]]) -> list[JsonObject]:
    """Those of all files, the largest first."""
    found = [each for name, figures in files for each in _functions_of(name, figures)]
    return sorted(found, key=_rank)


def _rank(function: JsonObject) -> tuple[int, str, int]:
    return -function["statements"], function["file"], function["line"]


def _functions_of(name: str, figures: Figures) -> Iterator[JsonObject]:
    for kind, own_name, line, counts, runtime in figures.regions:  # each as a Region
        statements, missing = counts[0], counts[2]
        if kind == KIND and own_name and statements:
            found: JsonObject = {
                "file": name,
                "name": own_name,
                "line": line,
                "statements": statements,
                "covered": statements - missing,
                "runtime": runtime,
            }
            if runtime is None:
                found["reason"] = figures.runtime_reason
            yield found


def _is_unused(function: JsonObject) -> bool:
    ran = function["covered"] if function["runtime"] is None else function["runtime"]
    return not ran
