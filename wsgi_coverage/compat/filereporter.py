"""coverage.py's reporter of a Python source, made to answer from a cached analysis.

The one module that needs a name of coverage.py to be imported: it is imported when a report is
made, once it is known that the name is there.

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
        path: of the source.
        coverage: whose configuration holds.
        exclude: a regular expression for lines to leave out.
        branch: whether branches are looked at.
        load: returns the cached analysis; called when something is asked for.
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
        self.source_name: str | None = None  # under which the cache has the analysis
        self._exclude = exclude
        self._branch = branch
        self._load = load
        self._analysis: dict[str, Any] | None = None

    @property
    def analysis(self) -> dict[str, Any]:
        """The analysis."""
        if self._analysis is None:
            self._analysis = self._load(self)
        return self._analysis

    @property
    def parser(self) -> Any:
        """A parser after its work, put together of the analysis."""
        if self._parser is None:
            self._parser = parser_of(
                self.analysis, self.filename, exclude=self._exclude, branch=self._branch
            )
        return self._parser

    def set_names(self, filename: str, shown: str) -> None:
        """Have it go by the names that it had when its figures were made."""
        self.filename, self.relname = filename, shown

    def remember(self, analysis: dict[str, Any]) -> None:
        """Answer from an analysis that is at hand."""
        self._analysis = analysis

    def forget(self) -> None:
        """Give the memory back; what is asked for next is loaded again."""
        self._analysis = self._parser = None

    def source(self) -> str:
        """The text of the source."""
        return str(self.analysis["text"])

    def no_branch_lines(self) -> set[int]:
        """Lines whose branches are left out."""
        return set(self.analysis["no_branch"])

    def code_regions(self) -> Iterable[CodeRegion]:
        """The functions and classes."""
        return regions_of(self.analysis)
