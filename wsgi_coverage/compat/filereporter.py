"""Subclass coverage.py's reporter of Python sources to answer from a cached analysis.

This is the only module whose import needs an undocumented name of coverage.py. It is imported when
a report is built, after a check that the name is there.

Concurrency: one instance belongs to one report.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from coverage import Coverage
from coverage.plugin import CodeRegion
from coverage.python import PythonFileReporter

from wsgi_coverage.compat.parsing import parser_of, regions_of


class CachedFileReporter(PythonFileReporter):
    """Answers from a cached analysis, by the code of coverage.py's own reporter.

    Args:
        path: the source file.
        coverage: the Coverage with the configuration.
        exclude: a regular expression for excluded lines.
        branch: whether branches are reported.
        load: returns the cached analysis; called when it is first needed.
    """

    filename: str
    relname: str

    def __init__(
        self,
        path: str,
        coverage: Coverage,
        *,
        exclude: str,
        branch: bool,
        load: Callable[[CachedFileReporter], dict[str, Any]],
    ) -> None:
        super().__init__(path, coverage)
        self.source_name: str | None = None  # name of the analysis in the cache
        self._exclude = exclude
        self._branch = branch
        self._load = load
        self._analysis: dict[str, Any] | None = None

    @property
    def analysis(self) -> dict[str, Any]:
        """The cached analysis, which is loaded at first use."""
        if self._analysis is None:
            self._analysis = self._load(self)
        return self._analysis

    @property
    def parser(self) -> Any:
        """coverage.py's parser in its state after parsing, restored from the analysis."""
        if self._parser is None:
            self._parser = parser_of(
                self.analysis, self.filename, exclude=self._exclude, branch=self._branch
            )
        return self._parser

    def set_names(self, filename: str, shown: str) -> None:
        """Set the names that the file had when its figures were computed."""
        self.filename, self.relname = filename, shown

    def remember(self, analysis: dict[str, Any]) -> None:
        """Set the analysis, so that it is not loaded."""
        self._analysis = analysis

    def forget(self) -> None:
        """Drop the analysis and the parser to free memory; the next use loads them again."""
        self._analysis = self._parser = None

    def source(self) -> str:
        """Return the text of the source."""
        return str(self.analysis["text"])

    def no_branch_lines(self) -> set[int]:
        """Return the lines whose partial branches are not reported (`partial_branches`)."""
        return set(self.analysis["no_branch"])

    def code_regions(self) -> Iterable[CodeRegion]:
        """Return the functions and classes."""
        return regions_of(self.analysis)
