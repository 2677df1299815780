"""Render single pages by coverage.py's HTML reporter.

Concurrency: one instance belongs to one rendering, and writes into a folder of its own.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import coverage

from wsgi_coverage.compat import names, needs
from wsgi_coverage.compat.reporting import Counts, HookedCoverage, numbers
from wsgi_coverage.system.common_folder import common_folder

ESCAPES_ONCE: tuple[int, ...] = (7, 17, 1)


@cache
def parts_are_as_expected() -> bool:
    """Tell whether coverage.py's HTML reporter has the parts to render a single page."""
    return not names.missing(needs.PAGES)


class RegionRow(NamedTuple):
    """A function or class on an index page; without a name, the lines outside of all of them."""

    file: Any  # one of `Site.files`
    kind: str
    name: str
    start: int  # line
    counts: Counts


class Site:
    """The steps of coverage.py's HtmlReporter.report, which can be taken one by one.

    Args:
        cov: the Coverage to report on.
        target: the folder of the pages.
        made_at: the local time that the pages show.
        page_name: returns a source's page name, given the name that reports show.

    Raises:
        coverage.exceptions.NoDataError: there is nothing to report on.
    """

    def __init__(
        self,
        cov: HookedCoverage,
        target: Path,
        made_at: datetime,
        page_name: Callable[[str], str],
    ) -> None:
        self._cov = cov
        cov.config.html_dir = str(target)
        if cov.config.extra_css and not Path(cov.config.extra_css).exists():
            cov.config.extra_css = None
        reporter = self._reporter = names.find("coverage.html:HtmlReporter")(cov)
        reporter.incr = _Nothing()
        shown = {"time_stamp": names.find("coverage.misc:format_local_datetime")(made_at)}
        for template in (reporter.index_tmpl, reporter.source_tmpl):
            template.context.update(shown)
        reporter.directory_was_empty = False
        reporter.make_local_static_report_files()
        self._index = reporter.index_pages["file"]
        self.files: list[Any] = self._files_to_report(page_name)
        # Names are absolute where the sources are not below the folder that coverage.py ran in.
        absolute = [name for file in self.files if Path(name := _name_of(file)).is_absolute()]
        self._common = common_folder(absolute)
        for file in self.files:
            for noun, plural in file.fr.code_region_kinds():
                if noun not in reporter.index_pages:
                    reporter.index_pages[noun] = reporter.new_index_page(noun, plural)

    def _files_to_report(self, page_name: Callable[[str], str]) -> list[Any]:
        to_report = names.find("coverage.html:FileToReport")
        files = [
            to_report(reporter, analysis)
            for reporter, analysis in list(self._cov.analyses())
            if self._reporter.should_report(analysis, self._index)
        ]
        for file in files:
            file.html_filename = page_name(file.fr.relative_filename())
        for one, other in itertools.pairwise(files):
            one.next_html, other.prev_html = other.html_filename, one.html_filename
        if files:
            files[0].prev_html = files[-1].next_html = "index.html"
        return files

    @property
    def index_pages(self) -> dict[str, str]:
        """What each index page lists (file, function or class), by the page's name."""
        return {page.filename: noun for noun, page in self._reporter.index_pages.items()}

    def page_of(self, file: Any) -> str:
        """Return the name of a source's page."""
        return str(file.html_filename)

    def reporter_of(self, file: Any) -> Any:
        """Return the file reporter of a source."""
        return file.fr

    def write_index(self) -> str:
        """Write the page that lists all files; return its name."""
        item = names.find("coverage.html:IndexItem")
        self._index.summaries[:] = [
            item(url=file.html_filename, file=self._shown(file), nums=file.analysis.numbers)
            for file in self.files
        ]
        listed = [file.html_filename for file in self.files] or ["index.html"]
        self._reporter.write_index_page(self._index, first_html=listed[0], final_html=listed[-1])
        return str(self._index.filename)

    def write_regions(self, noun: str, rows: Iterable[RegionRow]) -> None:
        """Write the page that lists all functions, or all classes."""
        item = names.find("coverage.html:IndexItem")
        page = self._reporter.index_pages[noun]
        precision = self._cov.config.precision
        known = [(row, _Known(numbers(row.counts, precision))) for row in rows]
        page.summaries[:] = [
            item(
                url=f"{row.file.html_filename}#t{row.start}"
                if row.name
                else row.file.html_filename,
                file=self._shown(row.file),
                description=_described(row),
                nums=each.numbers,
            )
            for row, each in known
            if self._reporter.should_report(each, page)
        ]
        self._reporter.write_index_page(page)

    def _shown(self, file: Any) -> str:
        """Return a file's name as HtmlReporter passes it to the template of the index page.

        Of absolute names the folder is left out that all of these are in.
        """
        shown = _name_of(file)
        if self._common.strip("/"):
            shown = shown.removeprefix(self._common)
        # Before that coverage.py calls `escape` here, and its template does so again.
        return shown if coverage.version_info[:3] >= ESCAPES_ONCE else _escape(shown)

    def write_file(self, file: Any, analysis: Any) -> str:
        """Write the page of a source; return its name."""
        known = file.analysis
        try:
            file.analysis = analysis
            self._reporter.write_html_page(file)
        finally:
            file.analysis = known
        return str(file.html_filename)


class _Known:
    """Stands in for the analysis of a region, of which only the numbers are used."""

    def __init__(self, of: Any) -> None:
        self.numbers = of


class _Nothing:
    """Stands in for coverage.py's IncrementalChecker: every page is written."""

    def can_skip_file(self, *_: Any) -> bool:
        return False

    def set_index_info(self, *_: Any) -> None:
        pass


def _escape(text: str) -> str:
    return str(names.find("coverage.html:escape")(text))


def _name_of(file: Any) -> str:
    return str(file.fr.relative_filename())


def _described(row: RegionRow) -> str:
    if not row.name:
        return f"<data value=''><span class='no-noun'>(no {_escape(row.kind)})</span></data>"
    sorting = row.name.rpartition(".")[-1].lstrip("_")
    return f"<data value='{_escape(sorting)}'>{_escape(row.name)}</data>"
