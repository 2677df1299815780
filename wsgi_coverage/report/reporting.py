"""A Coverage that never measures: it combines data files and reports on them.

The running Coverage is never asked for a report: that costs three times as much, and goes stale
where `[paths]` is set. What this class overrides are private methods of coverage.py; without them
it would still be right, only slower, and its warnings would go to the application's filters.

Concurrency: one instance belongs to one build, and so to one thread.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from coverage import Coverage
from coverage.exceptions import CoverageException, NotPython

from wsgi_coverage.report import progress

PYTHON = (".py", ".pyw")  # what is not Python and does not say so is no failure


class ReportingCoverage(Coverage):
    """Reports on one data file, under the configuration of the running Coverage.

    Args:
        config: the running Coverage's configuration; it is copied.
        data_file: where the combined data goes.
    """

    def __init__(self, config: Any, data_file: Path) -> None:
        super().__init__(data_file=str(data_file), config_file=False)
        self.config = config.copy()
        self.config.data_file = str(data_file)
        self.config.parallel = False
        self.config.ignore_errors = True  # one bad source must not hide the others
        self.notices: list[str] = []
        self.troubles: list[str] = []  # what a report lacks, and why
        self.failures: dict[str, str] = {}  # file: why it cannot be reported on
        self._errors: dict[str, Exception] = {}
        self._reporters: dict[str, Any] = {}
        self._analysed: set[str] = set()
        self._files = 0  # in the combined data

    def _warn(self, msg: str, slug: str | None = None, once: bool = False) -> None:  # noqa: ARG002
        self.notices.append(msg)

    def _get_file_reporter(self, morf: Any) -> Any:
        """Parse a source once, not once for each format."""
        if not isinstance(morf, str):
            return super()._get_file_reporter(morf)
        if morf not in self._reporters:
            self._reporters[morf] = super()._get_file_reporter(morf)
        return self._reporters[morf]

    def _analyze(self, morf: Any, *arguments: Any, **keywords: Any) -> Any:
        """Fail for every format alike.

        coverage.py's parser, asked a second time about a source that it could not parse, says that
        there are no statements in it.
        """
        name = str(getattr(morf, "filename", morf))  # older versions pass the file reporter
        if (known := self._errors.get(name)) is not None:
            raise known
        try:
            return super()._analyze(morf, *arguments, **keywords)
        except Exception as error:
            self._errors[name] = error
            if not isinstance(error, NotPython) or name.endswith(PYTHON):
                self.failures[name] = str(error) or type(error).__name__
            raise
        finally:
            self._note_progress(name)

    def _note_progress(self, name: str) -> None:
        self._analysed.add(name)
        self._files = self._files or len(self.get_data().measured_files())
        progress.note(len(self._analysed), self._files)

    def local_name(self, name: str) -> str:
        """Where a measured file is here, by the `[paths]` of coverage.py's configuration."""
        return str(self._make_aliases().map(name)) if self.config.paths else name

    def path_map(self) -> Callable[[str], str]:
        """What `coverage combine` does to the names of measured files."""
        self.get_data()  # else the folder that relative names are relative to is not known yet
        return self._make_aliases().map

    def close(self) -> None:
        """Close what reporting opened; coverage.py does that in an exit handler."""
        for data in self._data_to_close:
            data.close(force=True)

    def shown_names(self) -> dict[str, str]:
        """Measured files by the name that coverage.py's reports show them under."""
        out = {}
        for name in sorted(self.get_data().measured_files()):
            try:
                out[self._get_file_reporter(name).relative_filename()] = name
            except CoverageException as error:
                self.failures[name] = str(error)
        return out
