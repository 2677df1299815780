"""Tell which of some lines of a checkout are statements, and which of these ran, by a data file.

Concurrency: one call belongs to one thread.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from coverage.exceptions import CoverageException

from wsgi_coverage.analysis.reporting import PYTHON, ReportingCoverage, check_source
from wsgi_coverage.checkout.sources import Checkout
from wsgi_coverage.compat import names
from wsgi_coverage.compat.reporting import python_reporter

JUDGED, UNKNOWN, NOT_MEASURED = "judged", "unknown", "not measured"


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """The verdict on some lines of one file."""

    file: str
    state: str  # judged; unknown: of another version; not measured: not in the data
    statements: int = 0  # how many of the lines are statements
    missing: tuple[int, ...] = ()
    reason: str | None = None  # why unknown

    @property
    def covered(self) -> int:
        """The number of statements that were executed."""
        return self.statements - len(self.missing)

    def as_json(self) -> dict[str, Any]:
        """Return an entry of `files` in the JSON of `wsgi-coverage gate`."""
        out = {
            "file": self.file,
            "state": self.state,
            "statements": self.statements,
            "covered": self.covered,
            "missing": list(self.missing),
        }
        return out if self.reason is None else {**out, "reason": self.reason}


def judge(
    data_file: Path,
    changed: Mapping[str, set[int]],
    checkout: Checkout,
    unknown: Mapping[str, str],
) -> list[Judged]:
    """Tell which of the changed lines were executed.

    Args:
        data_file: data about this checkout; if the file does not exist, nothing was executed.
        changed: file names, relative to the checkout, and their changed lines.
        checkout: the sources.
        unknown: files that may be of another version than what was measured, and why.

    Returns:
        The verdict on each Python file, in the order of their names. Lines that are no statements
        do not count; a line inside a statement counts as that statement.
    """
    with (
        names.explaining(),
        contextlib.closing(ReportingCoverage(checkout.config, data_file)) as cov,
    ):
        cov.load()
        measured = {str(checkout.folder / name) for name in cov.get_data().measured_files()}
        why_not = {str(checkout.folder / name): why for name, why in unknown.items()}
        out = []
        for file in sorted(changed):
            path = str(checkout.folder / file)
            if not file.endswith(PYTHON):
                continue
            if path in why_not:
                out.append(Judged(file=file, state=UNKNOWN, reason=why_not[path]))
            elif path not in measured:
                out.append(Judged(file=file, state=NOT_MEASURED))
            else:
                out.append(_judged(cov, file, path, changed[file]))
        return out


def _judged(cov: ReportingCoverage, file: str, path: str, lines: set[int]) -> Judged:
    try:
        check_source(path)
        first = python_reporter(path, cov).translate_lines(lines)
        _, statements, _, missing, _ = cov.analysis2(path)
    except CoverageException as error:
        return Judged(file=file, state=UNKNOWN, reason=f"it cannot be parsed: {error}")
    return Judged(
        file=file,
        state=JUDGED,
        statements=len(first & set(statements)),
        missing=tuple(sorted(first & set(missing))),
    )
