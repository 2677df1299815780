"""Serialize the union of all data, as `CoverageData.dumps` does.

Concurrency: works in a folder of its own.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from coverage import CoverageData

from wsgi_coverage.analysis.reporting import ReportingCoverage
from wsgi_coverage.data import forksafe
from wsgi_coverage.report.build import BuildInputs
from wsgi_coverage.report.combine import combine
from wsgi_coverage.report.publish import DATA


def serialize(inputs: BuildInputs, workspace: Path) -> tuple[bytes, list[str]]:
    """Combine all data, and serialize it for `CoverageData.loads`.

    Args:
        inputs: the data to combine.
        workspace: a folder to work in.

    Returns:
        The bytes (of empty data, where nothing has been measured), and the warnings.

    Raises:
        ConfigurationError: coverage.py refuses `[paths]`.
    """
    combined = workspace / DATA
    with contextlib.closing(ReportingCoverage(inputs.config, combined)) as cov, cov.whole():
        warnings = combine(
            cov,
            inputs.data_files,
            branch=inputs.branch,
            could_run=inputs.could_run,
            memory=inputs.memory,
        )
    data = CoverageData(basename=str(combined))
    with forksafe.no_fork():
        try:
            data.read()
            return data.dumps(), [*warnings, *inputs.remarks]
        finally:
            data.close(force=True)
