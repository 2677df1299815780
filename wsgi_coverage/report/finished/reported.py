"""Open a finished report's folder as a Coverage, from which further formats are rendered.

The folder has everything: the data, the configuration of the refresh, the figures, the sources as
they were. So a report does not change when a source or the configuration does, and rendering needs
no running Coverage.

Concurrency: one instance belongs to one rendering; folders are only added to.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coverage.exceptions import CoverageException, NoSource
from coverage.plugin import FileReporter

from wsgi_coverage.analysis.cache import FIGURES
from wsgi_coverage.analysis.figures import Figures
from wsgi_coverage.analysis.reporting import ReportingCoverage, cached_reporter
from wsgi_coverage.analysis.source import (
    Rules,
    analyse,
    analysis_name,
    read_content,
    rules_of,
    text_of,
)
from wsgi_coverage.data.packed import read_packed
from wsgi_coverage.data.stamp import fingerprint_of
from wsgi_coverage.errors import DamagedReportError, NoSourceError
from wsgi_coverage.report.publish import DATA, LACKS, META, check_file, reading_stored
from wsgi_coverage.report.render import SOURCES

if TYPE_CHECKING:
    from wsgi_coverage.compat.filereporter import CachedFileReporter

ELSEWHERE = (
    "{} as it was when this report was made is not on this host: ask the host that made the "
    "report, or set store_sources for the next ones"
)


class Reported:
    """Provides reporters and analyses for the sources of a finished report.

    Args:
        cov: the Coverage that renders.
        folder: the report's folder.
        plain: the content of its figures file.
    """

    def __init__(self, cov: ReportingCoverage, folder: Path, plain: dict[str, Any]) -> None:
        self.plain = plain
        self.figures_only = False  # True: `analysis` answers from figures, and loads no source
        self._cov = cov
        self._folder = folder
        self.files: dict[str, dict[str, Any]] = plain["files"]  # FileEntry.as_plain, by name
        self.failures: dict[str, str] = plain["failures"]
        # Reports of older versions lack it.
        self._inexact: dict[str, str] = plain.get("inexact", {})
        self._rules: Rules = rules_of(cov.config, branch=cov.get_data().has_arcs())
        self._names: dict[str, str] = {}

    def reporter(self, name: str) -> FileReporter | None:
        """Return a measured file's reporter, which answers from the report's stored analysis."""
        entry = self.files.get(name)
        if entry is None or entry["source"] is None:
            found = self._cov.own_reporter(name)
        else:
            found = cached = cached_reporter(name, self._cov, self._rules, self._load)
            cached.set_names(entry["filename"], entry["shown"])
            cached.source_name = entry["source"]
        self._names[found.filename] = name
        return found

    def analysis(self, reporter: FileReporter, full: Callable[[], Any]) -> Any:
        """Return the analysis of a file; with `figures_only` one that is made of its figures.

        Raises:
            CoverageException: the report has no figures of the file; the message says why.
        """
        name = self._names[reporter.filename]
        if name in self.failures or name not in self.files:
            raise CoverageException(self.failures.get(name, "it was not there at the refresh"))
        if self.figures_only:
            return self.figures(reporter).analysis(self._cov.precision)
        return full()

    def figures(self, reporter: FileReporter) -> Figures:
        """Return the figures of a file that `reporter` was called for."""
        return Figures.from_plain(self.files[self._names[reporter.filename]]["figures"])

    def why_inexact(self, reporter: FileReporter) -> str | None:
        """Return why the figures of a file are not exact; None: they are."""
        return self._inexact.get(self._names[reporter.filename])

    def _load(self, reporter: CachedFileReporter) -> dict[str, Any]:
        """Return the stored analysis of a source; if it is missing, analyse an unchanged source.

        Raises:
            NoSourceError: no analysis is stored, as in a fleet where another host made the report,
                and the source is missing or has changed.
            NoSource: the stored analysis is damaged, and the source is missing or has changed.
        """
        path = self._folder / SOURCES / str(reporter.source_name)
        analysis = read_packed(path)
        if analysis is None:
            is_elsewhere = not path.exists()
            try:
                content = read_content(reporter.filename)
            except NoSource:
                if not is_elsewhere:
                    raise
                content = b""
            if analysis_name(fingerprint_of(content), self._rules) != reporter.source_name:
                if is_elsewhere:
                    raise NoSourceError(ELSEWHERE.format(reporter.filename))
                raise NoSource(f"the stored analysis of {reporter.filename} is damaged")
            text = text_of(reporter.filename, content)
            analysis = analyse(text, reporter.filename, self._rules)
        return dict(analysis)


@contextmanager
def open_report(folder: Path) -> Iterator[tuple[ReportingCoverage, Reported]]:
    """Open a finished report, to render from it.

    Raises:
        FileNotFoundError: the folder, or its metadata, is not there.
        DamagedReportError: its files are not as they were written.
    """
    plain = read_packed(folder / FIGURES)
    if plain is None:
        if (folder / META).exists():
            raise DamagedReportError(LACKS)
        raise FileNotFoundError(f"there are no figures in {folder}")
    with reading_stored(), ExitStack() as opened:
        with contextlib.suppress(FileNotFoundError):  # no data file: nothing had run
            check_file(folder / DATA)
        cov = opened.enter_context(closing(ReportingCoverage(plain["config"], folder / DATA)))
        opened.enter_context(cov.whole())
        cov.load()
        cov.map_names()
        cov.analyst = reported = Reported(cov, folder, plain)
        yield cov, reported
