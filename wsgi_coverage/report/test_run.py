"""Report on a test run that has ended: write one data file, and coverage.py's reports on it.

Concurrency: works in a folder of its own; no process writes to the data files any more.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from coverage.exceptions import CoverageException

from wsgi_coverage.analysis.reporting import ReportingCoverage
from wsgi_coverage.compat import reporting
from wsgi_coverage.compat.configuration import option
from wsgi_coverage.data import stamp
from wsgi_coverage.data.reading import Reading
from wsgi_coverage.report.combine import combine, failures_of
from wsgi_coverage.report.publish import DATA
from wsgi_coverage.system import outputs, own_files


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The result of `conclude`."""

    percent: float | None  # as Coverage.report returns it; None: nothing measured, or no report
    is_enough: bool = True  # the required percentage is reached
    shortage: str = ""  # the message where `is_enough` is False
    warnings: list[str] = field(default_factory=list)


def conclude(
    config: Any,
    data_files: Sequence[Path],
    workspace: Path,
    *,
    text: IO[str],
    html: Path | None,
    required: float | None,
    could_run: Iterable[tuple[str, str | None]] = (),
    memory: Sequence[Reading] = (),
) -> Outcome:
    """Combine into the configured data file, write the text report, and the HTML if asked for.

    Args:
        config: coverage.py's configuration; the data file that it names is replaced.
        data_files: the files to combine.
        workspace: an empty folder to work in.
        text: where the text report is written.
        html: a folder for coverage.py's HTML; None: none is made.
        required: per cent that must be covered; None: `fail_under` of coverage.py's configuration.
            Branches count as in the report, as for `coverage report`.
        could_run: files that could have run, each with its plugin's name, to be shown at 0 %.
        memory: readings of memories, of lines that are in no data file.

    Raises:
        ConfigurationError: coverage.py refuses `[paths]`.
    """
    combined, target = workspace / DATA, Path(option(config, "run:data_file")).absolute()
    with contextlib.closing(ReportingCoverage(config, combined)) as cov, cov.whole():
        warnings = combine(
            cov,
            data_files,
            branch=bool(option(config, "run:branch")),
            could_run=could_run,
            memory=memory,
        )
        if not cov.get_data().measured_files():
            return Outcome(percent=None, warnings=warnings)
        try:
            stamp.put_fingerprints(combined, _versions(cov))
            stamp.put_labels(combined, cov.label_uses)
            _put(combined, target)
        except OSError as error:
            warnings.append(f"{target} cannot be written: {error.strerror or error}")
        percent = None
        try:
            percent = cov.report(file=text)
            if html is not None:
                cov.html_report(directory=str(html))
        except CoverageException as error:
            warnings.append(str(error))
        except OSError as error:
            warnings.append(f"{html} cannot be written: {error.strerror or error}")
        warnings += failures_of(cov)
    if percent is None:
        return Outcome(percent=None, warnings=warnings)
    least: float = option(config, "report:fail_under") if required is None else required
    precision = option(config, "report:precision")
    shown = f"{reporting.shown(percent, precision)} %"
    return Outcome(
        percent=percent,
        is_enough=reporting.is_enough(percent, least, precision),
        shortage=f"{shown} was executed, and {least:g} % is required",
        warnings=warnings,
    )


def _versions(cov: ReportingCoverage) -> dict[str, str]:
    """Return the versions of the sources, for readers that have others."""
    found = ((name, stamp.fingerprint(name)) for name in cov.get_data().measured_files())
    return {name: version for name, version in found if version is not None}


def _put(source: Path, target: Path) -> None:
    """Replace a file in one step; the two may be on different disks."""
    own_files.sweep(target.parent)
    with outputs.replacing(target) as temporary:
        shutil.copyfile(source, temporary)
