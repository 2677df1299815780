"""The analyst of a new report: parses sources that are new, and counts figures that have changed.

Concurrency: one instance belongs to one build.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coverage.plugin import FileReporter

from wsgi_coverage.analysis.cache import FIGURES, VERSIONS, AnalysisCache, digest
from wsgi_coverage.analysis.figures import Executed, Figures, figures_of
from wsgi_coverage.analysis.parsing import ParsingProcesses, analysed
from wsgi_coverage.analysis.reporting import ReportingCoverage, cached_reporter, is_cached
from wsgi_coverage.analysis.source import (
    analysis_name,
    current_analysis_name,
    read_content,
    rules_of,
)
from wsgi_coverage.compat.files import filter_of
from wsgi_coverage.compat.parsing import can_be_cached
from wsgi_coverage.data import forksafe
from wsgi_coverage.data.packed import pack, read_packed
from wsgi_coverage.data.stamp import fingerprint_of
from wsgi_coverage.system import own_files, workdir

if TYPE_CHECKING:
    from wsgi_coverage.compat.filereporter import CachedFileReporter

FORM = b"4"  # version of stored figures; figures of another version are computed anew


@dataclass(frozen=True, slots=True, kw_only=True)
class FileEntry:
    """What a report stores about one file, besides the analysis of its source."""

    filename: str  # FileReporter.filename
    shown: str  # FileReporter.relative_filename(), as reports show it
    source: (
        str | None
    )  # the name of its stored analysis; None: coverage.py's or a plugin's reporter
    known_as: str | None  # hash of what the figures were computed from; None: not known
    figures: Figures

    def as_plain(self) -> dict[str, Any]:
        """Return the entry in its stored form: JSON types only."""
        return {
            "filename": self.filename,
            "shown": self.shown,
            "source": self.source,
            "known_as": self.known_as,
            "figures": self.figures.as_plain(),
        }


class ReportAnalyst:
    """Provides reporters and analyses for the sources of a report that is being made.

    Args:
        cov: the Coverage that reports on the data.
        executed: the same data, read at once.
        cache: the analysis cache of this application.
        sources: the folder of the report's own copies of analyses.
        whole: provide coverage.py's full analyses instead of ones made of figures.
    """

    def __init__(
        self,
        cov: ReportingCoverage,
        executed: Executed,
        cache: AnalysisCache,
        sources: Path,
        *,
        whole: bool = False,
    ) -> None:
        self.entries: dict[str, FileEntry] = {}  # by measured file
        self.fatal: OSError | None = None  # what a report cannot be made without
        self._names: dict[str, str] = {}  # measured file, by the reporter's file name
        self._reporters: dict[str, FileReporter] = {}  # by measured file
        self._cov = cov
        self._executed = executed
        self._cache = cache
        self._sources = sources
        self._whole = whole
        self._used: set[str] = set()  # names of analyses
        self._has_new = False
        self._rules = rules_of(cov.config, branch=cov.get_data().has_arcs())
        self._known = {} if whole else _figures(cache.get(FIGURES))
        self.processes: ParsingProcesses = ParsingProcesses(
            self._parsed_here(), self._rules, cache.folder
        )

    def _parsed_here(self) -> Iterator[str]:
        """Yield the sources that reports analyse themselves (no plugin does), in their order."""
        is_reported = filter_of(self._cov.config)
        for name in sorted(self._cov.get_data().measured_files()):
            if not self._executed.tracers.get(name) and is_reported(workdir.here(name)):
                yield name

    def reporter(self, name: str) -> FileReporter | None:
        """Return the file reporter of a measured file; here never None."""
        if (known := self._reporters.get(name)) is not None:
            return known
        if not can_be_cached() or self._executed.tracers.get(name):
            found = self._cov.own_reporter(name)
        else:
            found = cached_reporter(name, self._cov, self._rules, self._load)
        self._names[found.filename] = name
        if is_cached(found) and not self._whole:  # used twice; small, since it forgets its analysis
            self._reporters[name] = found
        return found

    def analysis(self, reporter: FileReporter, full: Callable[[], Any]) -> Any:
        """Return the analysis of a file, made of its figures; with `whole` coverage.py's own.

        Figures are taken from the last report if nothing that they depend on has changed.

        Args:
            reporter: the file's reporter.
            full: returns coverage.py's own analysis.

        Raises:
            CoverageException: the source cannot be read or parsed.
        """
        if self._whole:
            if is_cached(reporter) and reporter.source_name is None:
                self._keep(reporter)
            return full()
        name = self._names[reporter.filename]
        if name not in self.entries:
            self.entries[name] = self._entry(name, reporter, full)
            if is_cached(reporter):
                reporter.forget()
        return self.entries[name].figures.analysis(self._cov.precision)

    def _load(self, reporter: CachedFileReporter) -> dict[str, Any]:
        if reporter.source_name is None:  # older versions of coverage.py make one reporter more
            self._keep(reporter)
        return dict(read_packed(self._sources / str(reporter.source_name)))

    def tidy(self) -> None:
        """Prune the analysis cache to its size limit, if this report added to it."""
        if self._has_new:
            self._cache.prune(self._used | {FIGURES, VERSIONS})

    def _entry(self, name: str, reporter: FileReporter, full: Callable[[], Any]) -> FileEntry:
        source = known_as = figures = None
        if is_cached(reporter):
            source = self._keep(reporter)
            executed = self._executed.digest(name)
            known_as = digest(FORM, source.encode(), executed)
            figures = self._known.get(known_as)
        return FileEntry(
            filename=reporter.filename,
            shown=reporter.relative_filename(),
            source=source,
            known_as=known_as,
            figures=figures or figures_of(full(), reporter, self._executed, name),
        )

    def _keep(self, reporter: CachedFileReporter) -> str:
        """Store a source's analysis in the report, if possible from the cache; return its name."""
        source = current_analysis_name(reporter.filename, self._rules)
        if source is None or not self._link_into_report(source):
            content = read_content(reporter.filename)
            source = analysis_name(fingerprint_of(content), self._rules)
            with forksafe.forks():
                found = analysed(reporter.filename, content, self._rules)
            reporter.remember(found)
            self._put(source, found)
            self.processes.note(len(content))
        reporter.source_name = source
        self._used.add(source)
        return source

    def _link_into_report(self, source: str) -> bool:
        try:
            return self._cache.link_into(source, self._sources)
        except OSError as error:
            self.fatal = error
            raise

    def _put(self, source: str, found: dict[str, Any]) -> None:
        self._has_new = True
        try:
            packed = pack(found)
            own_files.replace(self._sources / source, packed)
            self._cache.take(source, self._sources)
        except OSError as error:
            self.fatal = error
            raise


def _figures(last: Any) -> Mapping[str, Figures]:
    """Return the figures of the last report, by the hash of what they were computed from."""
    try:
        return {
            entry["known_as"]: Figures.from_plain(entry["figures"])
            for entry in last["files"].values()
            if entry["known_as"]
        }
    except (KeyError, TypeError, AttributeError):
        return {}
