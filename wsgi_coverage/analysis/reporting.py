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

from wsgi_coverage.analysis.source import Rules
from wsgi_coverage.compat import names
from wsgi_coverage.compat.configuration import option
from wsgi_coverage.compat.parsing import joined
from wsgi_coverage.compat.reporting import HookedCoverage
from wsgi_coverage.data import forksafe, regular_files
from wsgi_coverage.data.imported import Unseen
from wsgi_coverage.errors import ConfigurationError, is_shortage
from wsgi_coverage.offload import progress
from wsgi_coverage.system import workdir

if TYPE_CHECKING:
    from wsgi_coverage.compat.filereporter import CachedFileReporter

PYTHON = (".py", ".pyw")  # what is not Python and does not say so is no failure


def _anchored(patterns: list[str] | None) -> list[str] | None:
    """Patterns of files, as coverage.py reads them in the folder that measuring began in."""
    if not patterns or not workdir.has_moved():
        return patterns
    return [workdir.here(each) if each[:1] not in ("*", "?") else each for each in patterns]


@contextlib.contextmanager
def refusing_configuration() -> Iterator[None]:
    """Turn coverage.py's errors about its configuration into a ConfigurationError.

    When it reads the configuration it checks a part only: patterns of files and some numbers when
    they are used, and expressions for contexts never.
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
        """The reporter of a measured file; None: coverage.py's own."""

    def analysis(self, reporter: FileReporter, full: Callable[[], Any]) -> Any:
        """What coverage.py's reporters are given for a file; `full` is coverage.py's analysis."""


class ReportingCoverage(HookedCoverage):
    """Reports on one data file, under the configuration of the running Coverage.

    Args:
        config: the running Coverage's configuration, which is copied; or as plain data.
        data_file: where the combined data goes.

    Raises:
        CoverageChangedError: no report can be made with this coverage.py.
    """

    def __init__(self, config: Any, data_file: Path) -> None:
        super().__init__(config, data_file)
        for name in ("report:include", "report:omit"):
            self.set_option(name, _anchored(option(self.config, name)))
        self.precision: int = option(self.config, "report:precision")  # digits after the point
        self.notices: list[str] = []
        self.troubles: list[str] = []  # what a report lacks, and why
        self.failures: dict[str, str] = {}  # file: why it cannot be reported on
        # Files of which something had run when measuring began.
        self.imported_early: Mapping[str, Unseen] = {}
        self.inexact: dict[str, str] = {}  # of these, those with figures that are not exact: why
        self.not_python: list[str] = []  # files that do not say by their names that they are
        self.analyst: Analyst | None = None
        self._errors: dict[str, Exception] = {}
        self._fatal: Exception | None = None  # what a report cannot be made without
        self._analysed: set[str] = set()
        self._files = 0  # in the combined data
        self._map: Callable[[str], str] | None = None
        self.remapped: bool = False  # the data that is reported on is not the data file's any more

    def warned(self, message: str, slug: str | None) -> None:  # noqa: ARG002
        """Keep a warning of coverage.py, for the answer."""
        self.notices.append(message)

    def names_from(self) -> str | None:
        """The folder that relative names are relative to; None: the working directory."""
        return workdir.here("") if workdir.has_moved() else None

    def map_names(self) -> None:
        """Have data under the names that `[paths]` gives them, which combining has mostly done.

        Every report would make a copy of all data, whether that changes a name or not.
        """
        if any(self.local_name(name) != name for name in self.get_data().measured_files()):
            self._copy_under_mapped_names()
            self.remapped = True

    def reporter_of(self, file: Any) -> FileReporter:
        """The reporter of a file: the analyst's, else coverage.py's own or a plugin's."""
        reporter = None
        if self.analyst and isinstance(file, str):
            reporter = self.analyst.reporter(file)
        elif isinstance(file, FileReporter):  # for an analysis that is asked for without one
            reporter = file
        return reporter or self.own_reporter(file)

    def own_reporter(self, file: Any) -> FileReporter:
        """coverage.py's own reporter of a file, or that of a plugin."""
        return self._coverages_reporter(workdir.here(file) if isinstance(file, str) else file)

    def analyse(self, file: Any, reporter: FileReporter | None) -> Any:
        """Analyse a file once, so that all formats fail alike.

        coverage.py's parser, asked a second time about a source that it could not parse, says that
        there are no statements in it.
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
        if name not in self._analysed:  # each format asks for all of them
            self._analysed.add(name)
            self._files = self._files or len(self.get_data().measured_files())
            progress.note(len(self._analysed), self._files)
        forksafe.allow_fork()

    @contextlib.contextmanager
    def whole(self) -> Iterator[None]:
        """See that no source is left out inside for want of room, a descriptor, or a name.

        coverage.py goes on with the other sources, and the report would be stored without it.

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
        """As `Coverage.report`; a negative `precision` is a ConfigError with every coverage.py."""
        with self._refusing_precision():
            return super().report(*args, **options)

    @contextlib.contextmanager
    def _refusing_precision(self) -> Iterator[None]:
        """Before 7.16, coverage.py fails on a negative precision by an error of Python's."""
        try:
            yield
        except ValueError as error:
            if self.precision >= 0:
                raise
            raise ConfigError(
                f"precision={self.precision} is invalid. Must not be negative."
            ) from error

    def full_analysis(self, reporter: FileReporter) -> Any:
        """coverage.py's own analysis of a file.

        Raises:
            CoverageException: there is none.
        """
        if not is_cached(reporter):
            check_source(reporter.filename)
        return self._coverages_analysis(reporter)

    def analysis_and_source(self, name: str) -> tuple[Any, str]:
        """What coverage.py's reporters are given for a measured file, and its source.

        Raises:
            CoverageException: it cannot be reported on.
        """
        reporter = self.reporter_of(name)
        return self.analyse(name, reporter), reporter.source()

    def local_name(self, name: str) -> str:
        """The name of a measured file here, by the `[paths]` of coverage.py's configuration."""
        if not self.get_option("paths"):
            return name
        if self._map is None:
            self._map = self._mapped()
        return self._map(name)

    def path_map(self) -> Callable[[str], str]:
        """The function by which `coverage combine` maps the names of measured files.

        Raises:
            ConfigurationError: coverage.py refuses `[paths]`.
            CoverageChangedError: there are some, and a name of coverage.py is missing.
        """
        self.get_data()  # else the folder that relative names are relative to is not known yet
        with refusing_configuration():
            return self._mapped()

    def close(self) -> None:
        """Close the data file, with no fork meanwhile."""
        with forksafe.no_fork():
            super().close()


def check_source(filename: str) -> None:
    """Refuse a source that is not a regular file of a bounded size, before coverage.py reads it.

    Raises:
        NoSource: it is not.
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
    """A file reporter that answers from a cached analysis.

    Args:
        name: the measured file.
        cov: whose configuration holds.
        rules: of the analysis.
        load: returns the stored analysis; called when something is asked for.
    """
    from wsgi_coverage.compat.filereporter import CachedFileReporter

    path, exclude = workdir.here(name), joined(rules.exclude)
    return CachedFileReporter(path, cov, exclude=exclude, branch=rules.branch, load=load)


def is_cached(reporter: FileReporter) -> TypeGuard[CachedFileReporter]:
    """Tell whether a file reporter answers from a cached analysis."""
    return hasattr(reporter, "source_name")
