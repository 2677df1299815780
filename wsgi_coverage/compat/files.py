"""How coverage.py names files, finds them, and matches patterns.

Concurrency: `take_names_from` changes what the whole process shares; all else only reads.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from wsgi_coverage.compat import names, needs


def names_from() -> str | None:
    """The folder that a Coverage that runs takes relative names to be about; None: not known."""
    if not names.has(needs.NAMES_FROM):
        return None
    return os.path.normpath(str(names.find("coverage.files:relative_directory")()))


def take_names_from(folder: str) -> None:
    """Have relative names be about a folder, with a separator at its end."""
    names.find("coverage.files:RELATIVE_DIR")
    names.find("coverage:files").RELATIVE_DIR = folder


def matcher(patterns: Sequence[str], name: str) -> Callable[[str], bool]:
    """Tells which files patterns match, by their full names.

    Args:
        patterns: as in coverage.py's configuration.
        name: of the option.

    Raises:
        CoverageChangedError: that cannot be done with this coverage.py.
    """
    names.require(needs.PATTERNS)
    prepared = names.find("coverage.files:prep_patterns")(patterns)
    found: Callable[[str], bool] = names.find("coverage.files:GlobMatcher")(prepared, name).match
    return found


def filter_of(config: Any) -> Callable[[str], bool]:
    """Tells which files a report is about, by their full names: as coverage.py does.

    Where that cannot be told with this coverage.py, it may be about any.
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
    """The sources that could run, imported or not, as coverage.py finds them.

    Args:
        config: coverage.py's.
        places: folders and modules of `source`.

    Raises:
        CoverageChangedError: that cannot be done with this coverage.py.
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
    """What the name of a source's HTML page begins with; None: not known with this coverage.py."""
    if names.missing(needs.PAGE_NAMES):
        return None
    return str(names.find("coverage.files:flat_rootname")(shown))
