"""A Coverage that never measures: it combines data files and reports on them.

The running Coverage is never asked for a report: that costs three times as much, and goes stale
where `[paths]` is set.

Concurrency: one instance belongs to one build or one rendering, and so to one thread.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeGuard

from coverage.exceptions import ConfigError, NoSource, NotPython
from coverage.plugin import FileReporter

from wsgi_coverage.analysis.seen import SeenDays
from wsgi_coverage.analysis.source import Rules
from wsgi_coverage.compat import names
from wsgi_coverage.compat.configuration import option
from wsgi_coverage.compat.parsing import joined
from wsgi_coverage.compat.reporting import HookedCoverage
from wsgi_coverage.data import forksafe, regular_files
from wsgi_coverage.data.imported import Unseen
from wsgi_coverage.data.reading import LabelUse
from wsgi_coverage.errors import ConfigurationError, is_shortage
from wsgi_coverage.offload import progress
from wsgi_coverage.store.days import Ranges
from wsgi_coverage.system import workdir

if TYPE_CHECKING:
    from wsgi_coverage.compat.filereporter import CachedFileReporter

PYTHON = (".py", ".pyw")  # only files with these endings are failures if they are not Python


def _anchored(patterns: list[str] | None) -> list[str] | None:
    """Make patterns of files relative to the folder that measuring began in."""
    if not patterns or not workdir.has_moved():
        return patterns
    return [workdir.here(each) if each[:1] not in ("*", "?") else each for each in patterns]


@contextlib.contextmanager
def refusing_configuration() -> Iterator[None]:
    """Turn coverage.py's errors about its configuration into a ConfigurationError.

    When it reads the configuration, coverage.py checks only a part of it: patterns of files and
    some numbers are checked when they are used, regular expressions for contexts never.
    """
    try:
        yield
    except ConfigError as error:
        raise ConfigurationError(f"coverage.py refuses its configuration: {error}") from error
    except re.error as error:
        raise ConfigurationError(
            f"coverage.py's configuration has an invalid regular expression: {error}: "
            f"{error.pattern!r}"
        ) from error


class Analyst(Protocol):
    """Provides reporters and analyses for the sources of a report."""

    def reporter(self, name: str) -> FileReporter | None:
        """Return the file reporter of a measured file; None for coverage.py's own."""

    def analysis(self, reporter: FileReporter, full: Callable[[], Any]) -> Any:
        """Return the analysis of a file for coverage.py's reporters; `full` returns its own."""


class ReportingCoverage(HookedCoverage):
    """Reports on one data file, under the configuration of the running Coverage.

    Args:
        config: the running Coverage's configuration, which is copied; or plain data made of it.
        data_file: the combined data file.

    Raises:
        CoverageChangedError: no report can be made with this coverage.py.
    """

    def __init__(self, config: Any, data_file: Path) -> None:
        super().__init__(config, data_file)
        for name in ("report:include", "report:omit"):
            self.set_option(name, _anchored(option(self.config, name)))
        self.precision: int = option(self.config, "report:precision")  # digits after the point
        self.notices: list[str] = []
        self.troubles: list[str] = []  # warnings: what a report lacks, and why
        self.failures: dict[str, str] = {}  # file: why it cannot be reported on
        # Files that had begun to run when measuring began.
        self.imported_early: Mapping[str, Unseen] = {}
        self.seen_days: SeenDays | None = None  # None: `no_days` says why days are not known
        self.no_days: str = ""
        self.label_uses: dict[str, LabelUse] = {}  # how many requests each label had, by context
        # Where functions are in versions that the days know, by name in data files and version.
        self.new_functions: dict[str, dict[str, dict[str, Ranges]]] = {}
        self.inexact: dict[str, str] = {}  # file of these: why its figures are not exact
        self.not_python: list[str] = []  # measured files that are no Python, such as templates
        self.analyst: Analyst | None = None
        self._errors: dict[str, Exception] = {}
        self._fatal: Exception | None = None  # an error that the whole report fails by
        self._analysed: set[str] = set()
        self._files = 0  # files in the combined data; 0: not counted yet
        self._map: Callable[[str], str] | None = None
        self.remapped: bool = False  # reports use a copy of the data, under mapped names

    def warned(self, message: str, slug: str | None) -> None:  # noqa: ARG002
        """Store a warning of coverage.py in `notices`."""
        self.notices.append(message)

    def names_from(self) -> str | None:
        """Return the folder that relative names refer to; None for the working directory."""
        return workdir.here("") if workdir.has_moved() else None

    def map_names(self) -> None:
        """Rename measured files by `[paths]`, if combining has not done so for all of them.

        Called once, because each of coverage.py's reports would copy all data for it otherwise.
        """
        if any(self.local_name(name) != name for name in self.get_data().measured_files()):
            self._copy_under_mapped_names()
            self.remapped = True

    def reporter_of(self, file: Any) -> FileReporter:
        """Return the reporter of a file: the analyst's, else coverage.py's own or a plugin's."""
        reporter = None
        if self.analyst and isinstance(file, str):
            reporter = self.analyst.reporter(file)
        elif isinstance(file, FileReporter):  # coverage.py analyses by name, or by reporter
            reporter = file
        return reporter or self.own_reporter(file)

    def own_reporter(self, file: Any) -> FileReporter:
        """Return coverage.py's own reporter of a file, or that of a plugin."""
        return self._coverages_reporter(workdir.here(file) if isinstance(file, str) else file)

    def analyse(self, file: Any, reporter: FileReporter | None) -> Any:
        """Return the analysis of a file; an error is stored, and raised again in every format.

        coverage.py's parser, called a second time for a source that it could not parse, returns an
        analysis without statements.
        """
        name = str(file)
        if (known := self._errors.get(name)) is not None:
            raise known
        known_by = reporter or self.reporter_of(file)
        try:
            if self.analyst is None:
                return self.full_analysis(known_by)
            return self.analyst.analysis(known_by, lambda: self.full_analysis(known_by))
        except Exception as error:
            self._errors[name] = error
            if is_shortage(error) or names.change(error):
                self._fatal = error
            if not isinstance(error, NotPython) or name.endswith(PYTHON):
                self.failures[name] = str(error) or type(error).__name__
            else:
                self.not_python.append(name)
            raise
        finally:
            self._note_progress(name)

    def _note_progress(self, name: str) -> None:
        if name not in self._analysed:  # each format analyses all files
            self._analysed.add(name)
            self._files = self._files or len(self.get_data().measured_files())
            progress.note(len(self._analysed), self._files)
        forksafe.allow_fork()

    @contextlib.contextmanager
    def whole(self) -> Iterator[None]:
        """Raise at the end of the block what coverage.py ignored in it, so that no source is lost.

        Where disk space, a descriptor or a name of coverage.py is missing, coverage.py goes on with
        the other sources, and an incomplete report would be stored.

        Raises:
            ConfigurationError: coverage.py refuses its configuration.
            CoverageChangedError: a name of coverage.py is missing.
        """
        with names.explaining(), self._telling_what_is_fatal():
            yield

    @contextlib.contextmanager
    def _telling_what_is_fatal(self) -> Iterator[None]:
        try:
            with forksafe.no_fork(), refusing_configuration(), self._refusing_precision():
                yield
        except Exception as error:
            if self._fatal is not None:
                raise self._fatal from error
            raise
        if self._fatal is not None:
            raise self._fatal

    def report(self, *args: Any, **options: Any) -> float:
        """Do as `Coverage.report`; any coverage.py raises ConfigError for a negative precision."""
        with self._refusing_precision():
            return super().report(*args, **options)

    @contextlib.contextmanager
    def _refusing_precision(self) -> Iterator[None]:
        """Turn a ValueError by a negative precision (before coverage.py 7.16) into ConfigError."""
        try:
            yield
        except ValueError as error:
            if self.precision >= 0:
                raise
            raise ConfigError(
                f"precision={self.precision} is invalid. Must not be negative."
            ) from error

    def full_analysis(self, reporter: FileReporter) -> Any:
        """Return coverage.py's own analysis of a file.

        Raises:
            CoverageException: the source cannot be read or parsed.
        """
        if not is_cached(reporter):
            check_source(reporter.filename)
        return self._coverages_analysis(reporter)

    def analysis_and_source(self, name: str) -> tuple[Any, str]:
        """Return a measured file's analysis, as coverage.py's reporters get it, and its source.

        Raises:
            CoverageException: the file cannot be reported on.
        """
        reporter = self.reporter_of(name)
        return self.analyse(name, reporter), reporter.source()

    def local_name(self, name: str) -> str:
        """Return the name of a measured file here, by `[paths]` of coverage.py's configuration."""
        if not self.get_option("paths"):
            return name
        if self._map is None:
            self._map = self._mapped()
        return self._map(name)

    def path_map(self) -> Callable[[str], str]:
        """Return the function by which `coverage combine` maps the names of measured files.

        Raises:
            ConfigurationError: coverage.py refuses `[paths]`.
            CoverageChangedError: `[paths]` is set, and a name of coverage.py is missing.
        """
        self.get_data()  # coverage.py sets the folder that relative names refer to only here
        with refusing_configuration():
            return self._mapped()

    def close(self) -> None:
        """Close the data file while no thread can fork."""
        with forksafe.no_fork():
            super().close()


def check_source(filename: str) -> None:
    """Refuse a source that is not a regular file of a bounded size, before coverage.py reads it.

    Raises:
        NoSource: the source is refused.
    """
    try:
        regular_files.check(filename)
    except regular_files.UnreadableError as error:
        raise NoSource(f"No source for code: '{filename}': {error.strerror}") from error
    except (OSError, ValueError):
        return  # they say so


def cached_reporter(
    name: str,
    cov: ReportingCoverage,
    rules: Rules,
    load: Callable[[CachedFileReporter], dict[str, Any]],
) -> CachedFileReporter:
    """Return a file reporter that answers from a cached analysis.

    Args:
        name: the measured file.
        cov: the Coverage whose configuration is used.
        rules: the rules of the analysis.
        load: returns the stored analysis; called when it is needed first.
    """
    from wsgi_coverage.compat.filereporter import CachedFileReporter

    path, exclude = workdir.here(name), joined(rules.exclude)
    return CachedFileReporter(path, cov, exclude=exclude, branch=rules.branch, load=load)


def is_cached(reporter: FileReporter) -> TypeGuard[CachedFileReporter]:
    """Tell whether a file reporter answers from a cached analysis."""
    return hasattr(reporter, "source_name")
