"""Which page of coverage.py's HTML report shows a file. No state."""

from __future__ import annotations

import hashlib
import os
from typing import Any

from wsgi_coverage.compat.files import page_base

LONGEST = 200  # bytes; no file system takes more than 255, and some take less
# coverage.py's templates do not quote links; before 7.16 the last of these ends the attribute, too.
NOT_IN_LINKS = frozenset('%?#:\\"')


def page_of(shown: str, numbers: Any, config: Any) -> str | None:
    """The page of a source by the name that reports show; None: the configuration leaves it out.

    As coverage.py's HtmlReporter decides it; test_page_names.py compares the two.
    """
    complete = not numbers.n_missing and not numbers.n_partial_branches
    if complete and _either(config.html_skip_covered, config.skip_covered):
        return None
    if _either(config.html_skip_empty, config.skip_empty) and not numbers.n_statements:
        return None
    return page_name(shown)


def page_name(shown: str) -> str:
    """The name of a source's page: coverage.py's, where that can be a file name and a link."""
    base = page_base(shown)
    name = f"{base}.html"
    is_short = base is not None and len(os.fsencode(name)) <= LONGEST
    if is_short and name.isprintable() and NOT_IN_LINKS.isdisjoint(name):
        return name
    return f"z_{hashlib.blake2b(os.fsencode(shown), digest_size=16).hexdigest()}.html"


def _either(of_html: bool | None, of_all: bool) -> bool:
    return of_all if of_html is None else of_html
