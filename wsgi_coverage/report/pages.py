"""coverage.py's HTML report, rendered one page at a time.

The one place that touches the internals of coverage.py's HTML reporter. If they are not as
expected, the whole site is rendered when its first page is asked for.

Concurrency: writes into a folder that belongs to one rendering.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from datetime import datetime
from functools import cache
from html import escape
from pathlib import Path
from typing import Any

from coverage import html
from coverage.exceptions import NoDataError
from coverage.misc import format_local_datetime
from coverage.report_core import get_analysis_to_report

from wsgi_coverage.data import imported
from wsgi_coverage.offload import progress
from wsgi_coverage.report.figures import Region, numbers, regions_of
from wsgi_coverage.report.names import page_name
from wsgi_coverage.report.publish import read_meta
from wsgi_coverage.report.reported import Reported, opened
from wsgi_coverage.report.reporting import ReportingCoverage

NEEDED: dict[str, tuple[str, ...]] = {
    "HtmlReporter": (
        "new_index_page",
        "should_report",
        "make_local_static_report_files",
        "write_html_page",
        "write_index_page",
    ),
    "FileToReport": (),
    "IndexItem": (),
    "escape": (),
}
END_OF_FIGURE = "</h2>"  # in the head of a page
BOOKKEEPING = (".gitignore", "status.json")  # of coverage.py's own, between two of its runs


@cache
def parts_are_as_expected() -> bool:
    """Tell whether coverage.py's HTML reporter can be asked for a single page."""
    return all(
        hasattr(getattr(html, name, None), part)
        for name, parts in NEEDED.items()
        for part in (*parts, "__call__")
    )


def render(folder: Path, name: str, target: Path) -> None:
    """Render one page of a finished report, and the static files, if there is such a page.

    Raises:
        FileNotFoundError: there is nothing to report on, or no report.
        OSError: there is no room.
    """
    with opened(folder) as (cov, reported):
        if parts_are_as_expected():
            _Site(cov, reported, folder, target).page(name)
        else:
            _whole(cov, target)
    _tidy(target)


def render_site(folder: Path, target: Path) -> None:
    """Render every page of a finished report.

    Raises:
        FileNotFoundError: there is nothing to report on, or no report.
        OSError: there is no room.
    """
    target.mkdir()
    with opened(folder) as (cov, reported):
        if parts_are_as_expected():
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
    """The steps of HtmlReporter.report, each on its own."""

    def __init__(
        self, cov: ReportingCoverage, reported: Reported, folder: Path, target: Path
    ) -> None:
        self._cov = cov
        self._reported = reported
        cov.config.html_dir = str(target)
        if cov.config.extra_css and not Path(cov.config.extra_css).exists():
            cov.config.extra_css = None
        reporter = self._reporter = html.HtmlReporter(cov)
        reporter.incr = _Nothing()  # type: ignore[assignment]
        self._date(datetime.fromisoformat(read_meta(folder).refreshed_at))
        reporter.directory_was_empty = False
        reporter.make_local_static_report_files()
        reported.figures_only = True
        self._index = reporter.index_pages["file"]
        self._files = self._files_to_report()
        for file in self._files:
            for noun, plural in file.fr.code_region_kinds():
                if noun not in reporter.index_pages:
                    reporter.index_pages[noun] = reporter.new_index_page(noun, plural)

    def page(self, name: str) -> None:
        """Write the page of this name, if there is one."""
        nouns = {page.filename: noun for noun, page in self._reporter.index_pages.items()}
        if nouns.get(name) == "file":
            self._write_index()
        elif name in nouns:
            self._write_regions(nouns[name])
        else:
            for file in self._files:
                if file.html_filename == name:
                    self._write_file(file)

    def every_page(self) -> None:
        """Write the whole site."""
        for done, file in enumerate(self._files, 1):
            self._write_file(file)
            progress.note(done, len(self._files))
        for noun in self._reporter.index_pages:
            self._write_index() if noun == "file" else self._write_regions(noun)

    def _date(self, when: datetime) -> None:
        """Have the pages show when the report was made, not when they were rendered."""
        shown = {"time_stamp": format_local_datetime(when.astimezone().replace(tzinfo=None))}
        for template in (self._reporter.index_tmpl, self._reporter.source_tmpl):
            template.context.update(shown)

    def _files_to_report(self) -> list[Any]:
        try:
            found = list(get_analysis_to_report(self._cov, None))
        except NoDataError as error:
            raise FileNotFoundError(str(error)) from error
        if not found:
            raise FileNotFoundError("there is nothing to report on")
        files = [
            html.FileToReport(reporter, analysis)
            for reporter, analysis in found
            if self._reporter.should_report(analysis, self._index)
        ]
        for file in files:
            file.html_filename = page_name(file.fr.relative_filename())
        for one, other in itertools.pairwise(files):
            one.next_html, other.prev_html = other.html_filename, one.html_filename
        if files:
            files[0].prev_html = files[-1].next_html = "index.html"
        return files

    def _write_index(self) -> None:
        self._index.summaries[:] = [
            html.IndexItem(
                url=file.html_filename,
                file=_file_of(file),
                nums=file.analysis.numbers,
            )
            for file in self._files
        ]
        names = [file.html_filename for file in self._files] or ["index.html"]
        self._reporter.write_index_page(self._index, first_html=names[0], final_html=names[-1])
        inexact = [
            file.fr.relative_filename()
            for file in self._files
            if self._reported.why_inexact(file.fr) is not None
        ]
        self._say(self._index.filename, imported.warning(inexact))

    def _say(self, name: str, why_inexact: str | None) -> None:
        """Put on a page, below its figure, why that is not exact, if it is not."""
        if why_inexact is not None:
            page = Path(self._reporter.directory) / name
            note = f'{END_OF_FIGURE}\n<p class="text">{escape(why_inexact)}</p>'
            found = page.read_text(encoding="ascii").replace(END_OF_FIGURE, note, 1)
            page.write_bytes(found.encode("ascii", "xmlcharrefreplace"))

    def _write_file(self, file: Any) -> None:
        known, self._reported.figures_only = file.analysis, False
        try:
            file.analysis = self._cov.full_analysis(file.fr)
            self._reporter.write_html_page(file)
            self._say(file.html_filename, self._reported.why_inexact(file.fr))
        finally:
            file.analysis, self._reported.figures_only = known, True
            forget = getattr(file.fr, "forget", None)
            if forget:
                forget()

    def _write_regions(self, noun: str) -> None:
        page = self._reporter.index_pages[noun]
        page.summaries[:] = [
            html.IndexItem(
                url=f"{file.html_filename}#t{region.start}" if region.name else file.html_filename,
                file=_file_of(file),
                description=_described(region),
                nums=known.numbers,
            )
            for file in self._files
            for region, known in self._regions(file, noun)
            if self._reporter.should_report(known, page)
        ]
        self._reporter.write_index_page(page)

    def _regions(self, file: Any, noun: str) -> Iterable[tuple[Region, Any]]:
        for region in regions_of(self._reported.figures(file.fr), noun):
            yield region, _Known(numbers(region.counts, self._cov.config.precision))


class _Known:
    """Stands in for a region's analysis."""

    def __init__(self, of: Any) -> None:
        self.numbers = of


class _Nothing:
    """Stands in for coverage.py's record of what it wrote last time."""

    def can_skip_file(self, *_: Any) -> bool:
        return False

    def set_index_info(self, *_: Any) -> None:
        pass


def _escape(text: str) -> str:
    escape: Callable[[str], str] = vars(html)["escape"]
    return escape(text)


def _file_of(file: Any) -> str:
    """A file as HtmlReporter passes it to the template, which escapes it."""
    shown = str(file.fr.relative_filename())
    # coverage.py 7.14 has an `escape` of its own, and calls it here once too often.
    return _escape(shown) if vars(html)["escape"].__module__ == html.__name__ else shown


def _described(region: Region) -> str:
    if not region.name:
        return f"<data value=''><span class='no-noun'>(no {_escape(region.kind)})</span></data>"
    sorting = region.name.rpartition(".")[-1].lstrip("_")
    return f"<data value='{_escape(sorting)}'>{_escape(region.name)}</data>"
