"""coverage.py's HTML report, rendered one page at a time.

If the parts of coverage.py's HTML reporter are not as expected, the whole site is rendered when its
first page is asked for.

Concurrency: writes into a folder that belongs to one rendering.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from html import escape
from pathlib import Path
from typing import Any

from coverage.exceptions import NoDataError

from wsgi_coverage.analysis.figures import regions_of
from wsgi_coverage.analysis.page_names import page_name
from wsgi_coverage.analysis.reporting import ReportingCoverage, is_cached
from wsgi_coverage.compat import htmlreport
from wsgi_coverage.compat.htmlreport import RegionRow
from wsgi_coverage.data import imported
from wsgi_coverage.offload import progress
from wsgi_coverage.report.finished.reported import Reported, open_report
from wsgi_coverage.report.publish import read_meta
from wsgi_coverage.system import own_files

END_OF_FIGURE = "</h2>"  # in the head of a page
BOOKKEEPING = (".gitignore", "status.json")  # files that coverage.py writes for its next run


def render(folder: Path, name: str, target: Path) -> None:
    """Render one page of a finished report, and the static files, if there is such a page.

    Raises:
        FileNotFoundError: there is nothing to report on, or no report.
        OSError: the page cannot be written.
    """
    with open_report(folder) as (cov, reported):
        if htmlreport.parts_are_as_expected():
            _Site(cov, reported, folder, target).page(name)
        else:
            _whole(cov, target)
    _tidy(target)


def render_site(folder: Path, target: Path) -> None:
    """Render every page of a finished report.

    Raises:
        FileNotFoundError: there is nothing to report on, or no report.
        OSError: a page cannot be written.
    """
    own_files.make_folder(target)
    with open_report(folder) as (cov, reported):
        if htmlreport.parts_are_as_expected():
            _Site(cov, reported, folder, target).every_page()
        else:
            _whole(cov, target)
    _tidy(target)


def _whole(cov: ReportingCoverage, target: Path) -> None:
    try:
        cov.html_report(directory=str(target))
    except NoDataError as error:
        raise FileNotFoundError(str(error)) from error


def _tidy(target: Path) -> None:
    for name in BOOKKEEPING:
        (target / name).unlink(missing_ok=True)


class _Site:
    """Writes the pages of a finished report: source pages by full analyses, others by figures."""

    def __init__(
        self, cov: ReportingCoverage, reported: Reported, folder: Path, target: Path
    ) -> None:
        self._cov = cov
        self._reported = reported
        self._target = target
        reported.figures_only = True
        # The pages show when the report was made, not when they were rendered.
        made_at = datetime.fromisoformat(read_meta(folder).refreshed_at).astimezone()
        try:
            self._site = htmlreport.Site(cov, target, made_at.replace(tzinfo=None), page_name)
        except NoDataError as error:
            raise FileNotFoundError(str(error)) from error

    def page(self, name: str) -> None:
        """Write the page of this name, if there is one."""
        noun = self._site.index_pages.get(name)
        if noun is not None:
            self._write_list(noun)
        else:
            for file in self._site.files:
                if self._site.page_of(file) == name:
                    self._write_file(file)

    def every_page(self) -> None:
        """Write the whole site."""
        for done, file in enumerate(self._site.files, 1):
            self._write_file(file)
            progress.note(done, len(self._site.files))
        for noun in self._site.index_pages.values():
            self._write_list(noun)

    def _write_list(self, noun: str) -> None:
        if noun != "file":
            self._site.write_regions(noun, self._rows(noun))
            return
        reporters = map(self._site.reporter_of, self._site.files)
        inexact = [
            reporter.relative_filename()
            for reporter in reporters
            if self._reported.why_inexact(reporter) is not None
        ]
        self._say(self._site.write_index(), imported.warning(inexact))

    def _rows(self, noun: str) -> Iterable[RegionRow]:
        for file in self._site.files:
            for region in regions_of(self._reported.figures(self._site.reporter_of(file)), noun):
                yield RegionRow(file, region.kind, region.name, region.start, region.counts)

    def _say(self, name: str, why_inexact: str | None) -> None:
        """Insert into a page, below its percentage, why that is not exact, if it is not."""
        if why_inexact is not None:
            page = self._target / name
            page.chmod(own_files.FILE)  # coverage.py has made it as the umask says
            note = f'{END_OF_FIGURE}\n<p class="text">{escape(why_inexact)}</p>'
            found = page.read_text(encoding="ascii").replace(END_OF_FIGURE, note, 1)
            page.write_bytes(found.encode("ascii", "xmlcharrefreplace"))

    def _write_file(self, file: Any) -> None:
        reporter = self._site.reporter_of(file)
        self._reported.figures_only = False
        try:
            name = self._site.write_file(file, self._cov.full_analysis(reporter))
            self._say(name, self._reported.why_inexact(reporter))
        finally:
            self._reported.figures_only = True
            if is_cached(reporter):
                reporter.forget()
