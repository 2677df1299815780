"""Name the page of coverage.py's HTML report that shows a file. No state."""

from __future__ import annotations

import hashlib
import os
from typing import NamedTuple

from coverage import Coverage

from wsgi_coverage.compat.files import page_base
from wsgi_coverage.compat.reporting import Totals

LONGEST = 200  # bytes; no file system takes more than 255, and some take less
# coverage.py's templates do not quote links; before 7.16 a '"' even ends the href attribute.
NOT_IN_LINKS = frozenset('%?#:\\"')


class Skipped(NamedTuple):
    """The options of coverage.py that say which files have no page."""

    covered: bool
    empty: bool

    @classmethod
    def by(cls, cov: Coverage) -> Skipped:
        """Read the options from the configuration of a Coverage."""
        return cls(_is_set(cov, "skip_covered"), _is_set(cov, "skip_empty"))


def page_of(shown: str, totals: Totals, skipped: Skipped) -> str | None:
    """Return the page of a source; None: the configuration leaves it out.

    Decides as coverage.py's HtmlReporter does; test_page_names.py compares the two.

    Args:
        shown: the source's name as reports show it.
        totals: its numbers.
        skipped: which files have no page.
    """
    if skipped.covered and not totals.missing and not totals.partial_branches:
        return None
    if skipped.empty and not totals.statements:
        return None
    return page_name(shown)


def page_name(shown: str) -> str:
    """Return the name of a source's page: coverage.py's, if it is fit for a file and a link."""
    base = page_base(shown)
    name = f"{base}.html"
    is_short = base is not None and len(os.fsencode(name)) <= LONGEST
    if is_short and name.isprintable() and NOT_IN_LINKS.isdisjoint(name):
        return name
    return f"z_{hashlib.blake2b(os.fsencode(shown), digest_size=16).hexdigest()}.html"


def _is_set(cov: Coverage, option: str) -> bool:
    of_html = cov.get_option(f"html:{option}")
    return bool(cov.get_option(f"report:{option}") if of_html is None else of_html)
