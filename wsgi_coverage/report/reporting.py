"""A Coverage that never measures: it combines data files and reports on them.

The running Coverage is never asked for a report: that costs three times as much, and goes stale
where `[paths]` is set. What these classes override are private methods of coverage.py; without them
reports would still be right, only slower, and warnings would go to the application's filters.

Concurrency: one instance belongs to one build or one rendering, and so to one thread.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from coverage import Coverage, files
from coverage.exceptions import ConfigError, NoSource, NotPython
from coverage.parser import PythonParser
from coverage.plugin import CodeRegion, FileReporter
from coverage.python import PythonFileReporter
from coverage.results import analysis_from_file_reporter

from wsgi_coverage.data import forksafe, regular, start
from wsgi_coverage.data.imported import Unseen
from wsgi_coverage.errors import ConfigurationError, is_shortage
from wsgi_coverage.offload import progress
from wsgi_coverage.report.analysis import Rules, parser_of, regions_of

PYTHON = (".py", ".pyw")  # what is not Python and does not say so is no failure


def plain_config(config: Any) -> dict[str, Any]:
    """A configuration of coverage.py as plain data."""
    return {
        name: value
        for name, value in vars(config).items()
        if not name.startswith("_") and _is_plain(value)
    }


def _is_plain(value: Any) -> bool:
    try:
        json.dumps(value)
    except (TypeError, ValueError):
        return False
    return True


def _anchored(patterns: list[str] | None) -> list[str] | None:
    """Patterns of files, as coverage.py reads them in the folder that measuring began in."""
    if not patterns or not start.has_moved():
        return patterns
    return [start.here(each) if each[:1] not in ("*", "?") else each for each in patterns]


def filter_of(config: Any) -> Callable[[str], bool]:
    """Tells which files a report is about, by their full names: as coverage.py does."""
    include, omit = (
        files.GlobMatcher(files.prep_patterns(patterns or []), "report")
        for patterns in (config.report_include, config.report_omit)
    )
    return lambda name: (
        (not config.report_include or include.match(name))
        and not (config.report_omit and omit.match(name))
    )


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


class ReportingCoverage(Coverage):
    """Reports on one data file, under the configuration of the running Coverage.

    Args:
        config: the running Coverage's configuration, which is copied; or as plain data.
        data_file: where the combined data goes.
    """

    def __init__(self, config: Any, data_file: Path) -> None:
        super().__init__(data_file=str(data_file), config_file=False)
        if isinstance(config, Mapping):
            for name in vars(self.config).keys() & config.keys():
                setattr(self.config, name, config[name])
        else:
            self.config: Any = config.copy()
        # coverage.py reads a list without any path, and fails on it later.
        self.config.paths = {name: paths for name, paths in self.config.paths.items() if paths}
        self.config.data_file = str(data_file)
        self.config.parallel = False
        for option in ("report_include", "report_omit"):
            setattr(self.config, option, _anchored(getattr(self.config, option)))
        self.config.ignore_errors = True  # one bad source must not hide the others
        self.notices: list[str] = []
        self.troubles: list[str] = []  # what a report lacks, and why
        self.failures: dict[str, str] = {}  # file: why it cannot be reported on
        # Files of which something had run when measuring began.
        self.imported_early: Mapping[str, Unseen] = {}
        self.inexact: dict[str, str] = {}  # of these, those with figures that are not exact: why
        self.not_python: list[str] = []  # files that do not say by their names that they are
        self.analyst: Analyst | None = None
        self._errors: dict[str, Exception] = {}
        self._shortage: Exception | None = None
        self._analysed: set[str] = set()
        self._files = 0  # in the combined data
        self._aliases: Any = None
        self.remapped: bool = False  # the data that is reported on is not the data file's any more

    def _warn(self, msg: str, slug: str | None = None, once: bool = False) -> None:  # noqa: ARG002
        self.notices.append(msg)

    def _init(self) -> None:
        """Each Coverage of a process sets the folder that relative names refer to, for all."""
        super()._init()
        if start.has_moved():
            files.RELATIVE_DIR = start.here("")

    def _prepare_data_for_reporting(self) -> None:
        """Every report would make a copy of all data, whether that changes a name or not."""
        self.map_names()

    def map_names(self) -> None:
        """Rename files of the data by `[paths]`, which combining has mostly done."""
        if any(self.local_name(name) != name for name in self.get_data().measured_files()):
            super()._prepare_data_for_reporting()
            self.remapped = True

    def _get_file_reporter(self, morf: Any) -> FileReporter:
        reporter = None
        if self.analyst and isinstance(morf, str):
            reporter = self.analyst.reporter(morf)
        elif isinstance(morf, FileReporter):  # from `_analyze`, which older versions give none to
            reporter = morf
        return reporter or self.own_reporter(morf)

    def own_reporter(self, morf: Any) -> FileReporter:
        """coverage.py's own reporter of a file, or that of a plugin."""
        return super()._get_file_reporter(start.here(morf) if isinstance(morf, str) else morf)

    def _analyze(self, morf: Any, file_reporter: FileReporter | None = None) -> Any:
        """Analyse a file once, so that all formats fail alike.

        coverage.py's parser, asked a second time about a source that it could not parse, says that
        there are no statements in it.
        """
        name = str(morf)
        if (known := self._errors.get(name)) is not None:
            raise known
        reporter = file_reporter or self._get_file_reporter(morf)
        try:
            if self.analyst is None:
                return self.full_analysis(reporter)
            return self.analyst.analysis(reporter, lambda: self.full_analysis(reporter))
        except Exception as error:
            self._errors[name] = error
            if is_shortage(error):
                self._shortage = error
            if not isinstance(error, NotPython) or name.endswith(PYTHON):
                self.failures[name] = str(error) or type(error).__name__
            else:
                self.not_python.append(name)
            raise
        finally:
            self._note_progress(name)

    def _note_progress(self, name: str) -> None:
        self._analysed.add(name)
        self._files = self._files or len(self.get_data().measured_files())
        progress.note(len(self._analysed), self._files)
        forksafe.pause()

    @contextlib.contextmanager
    def whole(self) -> Iterator[None]:
        """Raise where, in the block, a source cannot be read for want of room or of a descriptor.

        coverage.py goes on with the other sources, and the report would be stored without it.

        Raises:
            ConfigurationError: coverage.py refuses its configuration.
            OSError: there is no room, or no descriptor is left.
        """
        try:
            with forksafe.no_fork(), refusing_configuration(), self._refusing_precision():
                yield
        except Exception as error:
            if self._shortage is not None:
                raise self._shortage from error
            raise
        if self._shortage is not None:
            raise self._shortage

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
            if self.config.precision >= 0:
                raise
            raise ConfigError(
                f"precision={self.config.precision} is invalid. Must not be negative."
            ) from error

    @contextlib.contextmanager
    def connected(self) -> Iterator[None]:
        """Use one connection to the data file in the block, where each query would open its own."""
        connect = getattr(self.get_data(), "_connect", contextlib.nullcontext)
        with connect():
            yield

    def full_analysis(self, reporter: FileReporter) -> Any:
        """coverage.py's own analysis of a file.

        Raises:
            CoverageException: there is none.
        """
        if not isinstance(reporter, KeptFileReporter):
            check_source(reporter.filename)
        data = self.get_data()
        name = self._file_mapper(reporter.filename)
        return analysis_from_file_reporter(data, self.config.precision, reporter, name)

    def analysis_and_source(self, name: str) -> tuple[Any, str]:
        """What coverage.py's reporters are given for a measured file, and its source.

        Raises:
            CoverageException: it cannot be reported on.
        """
        reporter = self._get_file_reporter(name)
        return self._analyze(name, reporter), reporter.source()

    def local_name(self, name: str) -> str:
        """The name of a measured file here, by the `[paths]` of coverage.py's configuration."""
        if not self.config.paths:
            return name
        if self._aliases is None:
            self._aliases = self._make_aliases()
        return str(self._aliases.map(name))

    def path_map(self) -> Callable[[str], str]:
        """The function by which `coverage combine` maps the names of measured files.

        Raises:
            ConfigurationError: coverage.py refuses `[paths]`.
        """
        self.get_data()  # else the folder that relative names are relative to is not known yet
        with refusing_configuration():
            return self._make_aliases().map

    def close(self) -> None:
        """Close what reporting opened; coverage.py does that in an exit handler."""
        with forksafe.no_fork():
            for data in self._data_to_close:
                data.close(force=True)


def check_source(filename: str) -> None:
    """Refuse a source that is not a regular file of a bounded size, before coverage.py reads it.

    Raises:
        NoSource: it is not.
    """
    try:
        regular.check(filename)
    except regular.UnreadableError as error:
        raise NoSource(f"No source for code: '{filename}': {error.strerror}") from error
    except (OSError, ValueError):
        return  # they say so


class KeptFileReporter(PythonFileReporter):
    """coverage.py's reporter of a Python file, with a stored analysis instead of a parsed source.

    Args:
        name: the measured file.
        coverage: whose configuration holds.
        rules: of the analysis.
        load: returns the stored analysis; called when something is asked for.
    """

    def __init__(
        self,
        name: str,
        coverage: ReportingCoverage,
        rules: Rules,
        load: Callable[[KeptFileReporter], dict[str, Any]],
    ) -> None:
        super().__init__(start.here(name), coverage)
        self.source_name: str | None = None  # name of the stored analysis
        self._rules = rules
        self._load = load
        self._kept: dict[str, Any] | None = None

    @property
    def kept(self) -> dict[str, Any]:
        """The stored analysis, loaded when it is first asked for."""
        if self._kept is None:
            self._kept = self._load(self)
        return self._kept

    @property
    def parser(self) -> PythonParser:
        """coverage.py's parser in the state that it has after its work."""
        if self._parser is None:
            self._parser = parser_of(self.kept, self.filename, self._rules)
        return self._parser

    def remember(self, kept: dict[str, Any]) -> None:
        """Use an analysis that has just been made or read."""
        self._kept = kept

    def forget(self) -> None:
        """Free the memory of the analysis; it is loaded again when it is asked for."""
        self._kept = self._parser = None

    def source(self) -> str:
        """The text of the source as it was when it was analysed."""
        return str(self.kept["text"])

    def no_branch_lines(self) -> set[int]:
        """Lines that are excluded from branch measurement (`partial_branches`)."""
        return set(self.kept["no_branch"])

    def code_regions(self) -> Iterable[CodeRegion]:
        """The functions and classes of the source."""
        return regions_of(self.kept)
