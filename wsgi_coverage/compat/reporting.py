"""A Coverage for reports whose reporters get their input from subclasses; and its figures.

Concurrency: one instance belongs to one report, and so to one thread.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from coverage import Coverage
from coverage.exceptions import NoDataError, NoSource
from coverage.plugin import FileReporter

from wsgi_coverage.compat import files, names, needs
from wsgi_coverage.compat.measurement import WarningCoverage
from wsgi_coverage.errors import is_shortage

Counts = Sequence[int]  # statements, excluded, missing, branches, partial and missing branches


class Totals(NamedTuple):
    """coverage.py's figures of one file, or of several."""

    statements: int
    missing: int
    executed: int
    branches: int
    partial_branches: int
    missing_branches: int
    executed_branches: int
    percent: float  # not rounded


class Analysed(NamedTuple):
    """coverage.py's analysis of a file: its lines, and counts."""

    statements: set[int]
    missing: set[int]
    missing_text: str  # missing lines and branches, as in coverage.py's text report
    counts: Counts


class KnownAnalysis:
    """Stands in for coverage.py's analysis in its text report and index pages.

    Args:
        counts: the file's counts.
        missing: missing lines and branches, as in coverage.py's text report.
        precision: decimal digits of percentages.
    """

    def __init__(self, counts: Counts, missing: str, precision: int) -> None:
        self.numbers: Any = numbers(counts, precision)
        self._missing = missing

    def missing_formatted(self, branches: bool = False) -> str:
        """Return missing lines and branches, as in coverage.py's text report.

        Args:
            branches: must be True if branches are measured: only that text is stored.
        """
        if not branches and self.numbers.n_branches:
            raise NotImplementedError
        return self._missing


class MissingReporter(FileReporter):
    """Stands in for the file reporter of a plugin that has none, and says why.

    Args:
        filename: the measured file.
        why: why there is none.
    """

    def __init__(self, filename: str, why: str) -> None:
        super().__init__(filename)
        self._error = NoSource(why)

    def lines(self) -> set[int]:
        """Raise NoSource, as `source` does."""
        raise self._error

    def source(self) -> str:
        """Raise NoSource: no line of the file can be judged."""
        raise self._error


class PluginCoverage(Coverage):
    """A Coverage whose report has a file without figures where a plugin cannot report on it.

    A data file may name any plugin, also one that is not in the configuration any more.
    coverage.py's report fails as a whole then.
    """

    def _get_file_reporter(self, morf: Any) -> FileReporter:
        try:
            return super()._get_file_reporter(morf)
        except Exception as error:
            if not isinstance(morf, str) or is_shortage(error) or names.change(error):
                raise
            plugin = self.get_data().file_tracer(self._file_mapper(morf))
            if not plugin:
                raise
            return MissingReporter(morf, _why_missing(plugin, error))


def _why_missing(plugin: str, error: Exception) -> str:
    if isinstance(error, KeyError):
        return (
            f"the plugin {plugin!r} has measured it, and coverage.py's configuration does not have "
            "that (any more)"
        )
    return f"the plugin {plugin!r} cannot report on it: {type(error).__name__}: {error}"


class HookedCoverage(PluginCoverage, WarningCoverage):
    """A Coverage that never measures, and calls methods of ours for its reporters' input.

    Args:
        config: another Coverage's configuration object, which is copied, or one as plain data.
        data_file: the data file that it reports on.

    Raises:
        CoverageChangedError: this coverage.py has not the internals that it takes.
    """

    config: Any

    def __init__(self, config: Any, data_file: Path) -> None:
        names.require(needs.REPORTS)
        super().__init__(data_file=str(data_file), config_file=False)
        if isinstance(config, Mapping):
            for name in vars(self.config).keys() & config.keys():
                setattr(self.config, name, config[name])
        else:
            self.config = config.copy()
        # coverage.py reads a list without any path, and fails on it later.
        self.config.paths = {name: paths for name, paths in self.config.paths.items() if paths}
        self.config.data_file = str(data_file)
        self.config.parallel = False
        self.config.ignore_errors = True  # one bad source must not hide the others

    # What coverage.py calls

    def names_from(self) -> str | None:
        """Return the folder of relative names, with a separator at its end; None: do not set it."""
        raise NotImplementedError

    def map_names(self) -> None:
        """Map the names in the data by `[paths]`."""
        raise NotImplementedError

    def reporter_of(self, file: Any) -> FileReporter:
        """Return the file reporter of a measured file, or `file` if that is a reporter itself."""
        raise NotImplementedError

    def analyse(self, file: Any, reporter: FileReporter | None) -> Any:
        """Return the analysis of a file that reporters get.

        Raises:
            CoverageException: it cannot be reported on.
        """
        raise NotImplementedError

    def _init(self) -> None:
        super()._init()
        if (folder := self.names_from()) is not None:
            files.take_names_from(folder)  # a global that each Coverage of a process sets

    def _prepare_data_for_reporting(self) -> None:
        self.map_names()

    def _get_file_reporter(self, morf: Any) -> FileReporter:
        return self.reporter_of(morf)

    def _analyze(self, morf: Any, file_reporter: FileReporter | None = None) -> Any:
        return self.analyse(morf, file_reporter)

    # What coverage.py itself would do

    def _copy_under_mapped_names(self) -> None:
        super()._prepare_data_for_reporting()

    def _coverages_reporter(self, file: Any) -> FileReporter:
        return super()._get_file_reporter(file)

    def _coverages_analysis(self, reporter: FileReporter) -> Any:
        analysed = names.find("coverage.results:analysis_from_file_reporter")
        name = self._file_mapper(reporter.filename)
        return analysed(self.get_data(), self.config.precision, reporter, name)

    def _mapped(self) -> Callable[[str], str]:
        if not (self.config.paths or self.config.relative_files or names.has(needs.PATHS)):
            return str
        names.require(needs.PATHS)
        found: Callable[[str], str] = self._make_aliases().map
        return found

    def analyses(self) -> Iterable[tuple[FileReporter, Any]]:
        """Return every file to report on, in the order of reports, with its analysis.

        Raises:
            coverage.exceptions.NoDataError: there is none.
        """
        found: Iterable[tuple[FileReporter, Any]] = names.find(
            "coverage.report_core:get_analysis_to_report"
        )(self, None)
        return found

    def total(self) -> Totals | None:
        """Analyse every file to report on; return the sum of figures; None: there is no file."""
        found = None
        with contextlib.suppress(NoDataError):
            for _, analysis in self.analyses():
                found = analysis.numbers + (found or self._no_numbers())
        return None if found is None else _totals(found)

    def _no_numbers(self) -> Any:
        return names.find("coverage.results:Numbers")(self.config.precision)

    @contextlib.contextmanager
    def connected(self) -> Iterator[None]:
        """Use one connection to the data file in the block, instead of one for each query."""
        connect = getattr(self.get_data(), "_connect", contextlib.nullcontext)
        with connect():
            yield

    def close(self) -> None:
        """Close the data files that reporting opened; coverage.py does that at exit only."""
        for data in self._data_to_close:
            data.close(force=True)


class CheckedCoverage(PluginCoverage):
    """A Coverage that calls `look_at` with each source before it is opened."""

    def look_at(self, filename: str) -> None:
        """Check whether a source may be opened.

        Raises:
            CoverageException: it may not.
        """
        raise NotImplementedError

    def _analyze(self, morf: Any, *more: Any, **named: Any) -> Any:
        self.look_at(str(getattr(morf, "filename", morf)))
        return super()._analyze(morf, *more, **named)


def python_reporter(path: str, cov: Coverage) -> Any:
    """Return coverage.py's reporter of a Python source."""
    return names.find("coverage.python:PythonFileReporter")(path, cov)


def numbers(counts: Counts, precision: int) -> Any:
    """Return coverage.py's Numbers of one file or region, from its counts."""
    return names.find("coverage.results:Numbers")(precision, 1, *counts)


def totals_of(counts: Counts) -> Totals:
    """Return coverage.py's figures of one file, from its counts."""
    return _totals(numbers(counts, 0))


def _totals(of: Any) -> Totals:
    return Totals(
        statements=of.n_statements,
        missing=of.n_missing,
        executed=of.n_executed,
        branches=of.n_branches,
        partial_branches=of.n_partial_branches,
        missing_branches=of.n_missing_branches,
        executed_branches=of.n_executed_branches,
        percent=of.pc_covered,
    )


def analysed(analysis: Any) -> Analysed:
    """Return the part of coverage.py's analysis of a file that is cached."""
    return Analysed(
        statements=analysis.statements,
        missing=analysis.missing,
        missing_text=analysis.missing_formatted(branches=True),
        counts=_counts(analysis.numbers),
    )


def executed_in(analysis: Any) -> tuple[frozenset[int], frozenset[tuple[int, int]]]:
    """Return the executed lines and branches of a file, from coverage.py's analysis."""
    branches = {
        (start, end) for start, ends in analysis.executed_branch_arcs().items() for end in ends
    }
    return frozenset(analysis.executed), frozenset(branches)


def branches_not_taken(analysis: Any) -> dict[int, list[int]]:
    """Return where branches lead that were never taken, by line; below 1: out of the code object.

    Args:
        analysis: coverage.py's analysis of a file.
    """
    return {line: list(ends) for line, ends in analysis.missing_branch_arcs().items()}


def _counts(of: Any) -> Counts:
    return (
        of.n_statements,
        of.n_excluded,
        of.n_missing,
        of.n_branches,
        of.n_partial_branches,
        of.n_missing_branches,
    )


def narrowed(analysis: Any, regions: Sequence[set[int]]) -> Iterator[Counts]:
    """Yield the counts of parts of a file, each given by its lines."""
    narrower = names.find("coverage.results:AnalysisNarrower")(analysis)
    narrower.add_regions(regions)
    for lines in regions:
        yield _counts(narrower.narrow(lines).numbers)


def shown(percent: float, precision: int) -> str:
    """Format a percentage as coverage.py does.

    Raises:
        CoverageChangedError: this coverage.py lacks the function.
    """
    names.require(needs.REQUIRED)
    return str(names.find("coverage.results:display_covered")(percent, precision))


def is_enough(percent: float, required: float, precision: int) -> bool:
    """Tell whether a percentage, rounded as it is shown, reaches the required one.

    Raises:
        CoverageChangedError: this coverage.py lacks the function.
    """
    names.require(needs.REQUIRED)
    fails = names.find("coverage.results:should_fail_under")
    return not fails(percent, required, precision)
