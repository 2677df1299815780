"""Which page of coverage.py's HTML report shows a file. No state."""

from __future__ import annotations

import hashlib
import os
from typing import NamedTuple

from coverage import Coverage

from wsgi_coverage.compat.files import page_base
from wsgi_coverage.compat.reporting import Totals

LONGEST = 200  # bytes; no file system takes more than 255, and some take less
# coverage.py's templates do not quote links; before 7.16 the last of these ends the attribute, too.
NOT_IN_LINKS = frozenset('%?#:\\"')


class Skipped(NamedTuple):
    """Files that have no page, by the configuration."""

    covered: bool
    empty: bool

    @classmethod
    def by(cls, cov: Coverage) -> Skipped:
        """What the configuration of a Coverage says."""
        return cls(_is_set(cov, "skip_covered"), _is_set(cov, "skip_empty"))


def page_of(shown: str, totals: Totals, skipped: Skipped) -> str | None:
    """The page of a source by the name that reports show; None: the configuration leaves it out.

    As coverage.py's HtmlReporter decides it; test_page_names.py compares the two.
    """
    if skipped.covered and not totals.missing and not totals.partial_branches:
        return None
    if skipped.empty and not totals.statements:
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


def _is_set(cov: Coverage, option: str) -> bool:
    of_html = cov.get_option(f"html:{option}")
    return bool(cov.get_option(f"report:{option}") if of_html is None else of_html)
