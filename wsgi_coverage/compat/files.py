"""Use coverage.py's functions that name files, find them, and match patterns.

Concurrency: `take_names_from` changes a global variable of coverage.py; all else only reads.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from wsgi_coverage.compat import names, needs


def names_from() -> str | None:
    """Return the folder in which coverage.py resolves relative names; None: unknown."""
    if not names.has(needs.NAMES_FROM):
        return None
    return os.path.normpath(str(names.find("coverage.files:relative_directory")()))


def take_names_from(folder: str) -> None:
    """Have coverage.py resolve relative names in a folder, given with a separator at its end."""
    names.find("coverage.files:RELATIVE_DIR")
    names.find("coverage:files").RELATIVE_DIR = folder


def matcher(patterns: Sequence[str], name: str) -> Callable[[str], bool]:
    """Return a function that tells whether patterns match a file, given by its full name.

    Args:
        patterns: patterns as in coverage.py's configuration.
        name: the name of the option.

    Raises:
        CoverageChangedError: this coverage.py has no such matcher.
    """
    names.require(needs.PATTERNS)
    prepared = names.find("coverage.files:prep_patterns")(patterns)
    found: Callable[[str], bool] = names.find("coverage.files:GlobMatcher")(prepared, name).match
    return found


def filter_of(config: Any) -> Callable[[str], bool]:
    """Return a function that tells whether reports include a file, given by its full name.

    If this coverage.py has no such matcher, it is true of every file.
    """
    if names.missing(needs.PATTERNS):
        return bool
    include, omit = (
        matcher(patterns or [], "report")
        for patterns in (config.report_include, config.report_omit)
    )
    return lambda name: (
        (not config.report_include or include(name)) and not (config.report_omit and omit(name))
    )


def below(config: Any, places: Iterable[str]) -> Iterator[str]:
    """Yield the sources that could run, imported or not, without those that `run_omit` matches.

    Args:
        config: coverage.py's configuration object.
        places: folders, and files of modules, of `source`.

    Raises:
        CoverageChangedError: this coverage.py cannot find them.
    """
    omitted = matcher(config.run_omit or [], "omit")
    find = names.find("coverage.files:find_python_files")
    canonical = names.find("coverage.files:canonical_filename")
    for place in places:
        found: Iterable[str] = [place]
        if not place.endswith(".py"):
            found = find(place, config.include_namespace_packages)
        for name in map(canonical, found):
            if not (config.run_omit and omitted(name)):
                yield name


def page_base(shown: str) -> str | None:
    """Return a source's HTML page name without extension; None: this coverage.py does not tell."""
    if names.missing(needs.PAGE_NAMES):
        return None
    return str(names.find("coverage.files:flat_rootname")(shown))
