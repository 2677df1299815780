"""Functions and methods of a finished report: how large they are, and when they ran.

Their lines are coverage.py's: the body without the `def`, without functions that are defined in it.

Concurrency: reads a report's folder, in which nothing changes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Literal, TypeAlias

from wsgi_coverage.analysis.cache import FIGURES, read
from wsgi_coverage.analysis.figures import Figures
from wsgi_coverage.data.phases import Ran, count_load_only
from wsgi_coverage.model import JsonObject
from wsgi_coverage.system import own_files

FUNCTIONS = "functions.json"
KIND = "function"
LARGEST = 10  # functions named in the summary

Unused: TypeAlias = bool | Literal["runtime"]
WANTED: Mapping[Unused, tuple[Ran, ...]] = {
    True: (Ran.NEVER,),
    "runtime": (Ran.NEVER, Ran.AT_LOAD_ONLY),
}


def functions(folder: Path, *, unused: Unused) -> list[JsonObject]:
    """Functions and methods that have statements, the largest first.

    Args:
        folder: the report's.
        unused: True: only those that never ran. "runtime": those, and those that ran at load only;
            one that ran in an unknown phase is not among them.

    Raises:
        FileNotFoundError: there is no report, or it has no data.
    """
    try:
        found: list[JsonObject] = json.loads((folder / FUNCTIONS).read_bytes())
    except (FileNotFoundError, ValueError):
        found = _from_figures(folder)
    told = map(_told, found)
    return [each for each in told if each["ran"] in WANTED[unused]] if unused else list(told)


def _from_figures(folder: Path) -> list[JsonObject]:
    """The functions of a report of an older version, which has no list of them."""
    plain = read(folder / FIGURES)
    if plain is None:
        raise FileNotFoundError(f"there are no figures in {folder}")
    entries = plain["files"].items()
    return _functions((name, Figures.from_plain(entry["figures"])) for name, entry in entries)


def keep(
    folder: Path, files: Iterable[tuple[str, Figures]], inexact: Mapping[str, str]
) -> JsonObject:
    """Store the list with a report that is being made.

    Args:
        folder: the report's.
        files: their figures.
        inexact: files whose lines were not all seen to run, and why.

    Returns:
        How many functions there are, how many never ran, the largest of these, and how many ran at
        load only; None for the last where the phase of one of them is unknown.

    Raises:
        OSError: there is no room.
    """
    found = _functions(files)
    for each in found:
        if each["file"] in inexact and each["covered"] < each["statements"]:
            each["imported_early"] = inexact[each["file"]]
    own_files.write(folder / FUNCTIONS, json.dumps(found))
    ran = [Ran.of(each["covered"], each["runtime"]) for each in found]
    unused = [each for each, when in zip(found, ran, strict=True) if when is Ran.NEVER]
    return {
        "functions": len(found),
        "unused_functions": len(unused),
        "load_only_functions": count_load_only(ran),
        "largest_unused": [*map(_told, unused[:LARGEST])],
    }


def _functions(files: Iterable[tuple[str, Figures]]) -> list[JsonObject]:
    """The functions of all files, the largest first."""
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


def _told(function: JsonObject) -> JsonObject:
    """A function with `load_only` and `ran`, which follow from its other figures."""
    covered, runtime = function["covered"], function["runtime"]
    load_only = None if runtime is None else covered - runtime
    return {**function, "load_only": load_only, "ran": Ran.of(covered, runtime)}
