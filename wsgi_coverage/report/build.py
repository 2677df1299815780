"""Build one report: combine, render, describe; or serialize the union of all data alone.

Concurrency: works in a folder of its own.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from wsgi_coverage import clock
from wsgi_coverage.analysis.cache import VERSIONS, AnalysisCache
from wsgi_coverage.analysis.reporting import ReportingCoverage
from wsgi_coverage.data import forksafe, imported, stamp, versions
from wsgi_coverage.data.imported import Unseen
from wsgi_coverage.data.reading import Reading
from wsgi_coverage.model import Gathering, Moment, Report
from wsgi_coverage.report import staleness
from wsgi_coverage.report.combine import DaysRecorded, combine, failures_of
from wsgi_coverage.report.finished import detail
from wsgi_coverage.report.publish import DATA, new_id
from wsgi_coverage.report.render import render
from wsgi_coverage.store.days import DaysStore
from wsgi_coverage.system import workdir

log: logging.Logger = logging.getLogger("wsgi_coverage")


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildInputs:
    """The data that a report is built from."""

    config: Any  # the running Coverage's configuration
    branch: bool
    data_files: Sequence[Path]
    could_run: Iterable[tuple[str, str | None]]  # files, each with its plugin's name
    gathering: Gathering
    collected: Moment  # everything flushed before this moment is included
    autosave_interval: float  # seconds
    analysis_dir: Path  # the analysis cache
    memory: Sequence[Reading] = ()  # readings of this host's memories, and of the fleet
    # Files that had begun to run when measuring began.
    imported_early: Mapping[str, Unseen] = field(default_factory=dict)
    remarks: Sequence[str] = ()  # further warnings of the report, about pauses for instance
    days: DaysRecorded | None = None  # where days are recorded; None: `no_days` says why nowhere
    no_days: str = "days are not recorded"

    @property
    def is_empty(self) -> bool:
        """Tell whether nothing that is measured has run."""
        return not self.data_files and all(reading.is_empty for reading in self.memory)


def build(inputs: BuildInputs, folder: Path) -> Report:
    """Write a report into a folder, and return its metadata."""
    started = time.monotonic()
    data_file = folder / DATA
    with _combined(inputs, folder) as (cov, warnings):
        left_out = list(cov.failures)
        noted = staleness.note(
            folder,
            workers=(worker.id for worker in inputs.gathering.workers),
            sources=cov.get_data().measured_files(),
        )
        summary = render(cov, folder, inputs.analysis_dir)
        if inputs.days is not None:
            _note_functions(inputs.days, cov)
        empty = not cov.get_data().measured_files()
    if empty:
        data_file.unlink(missing_ok=True)
    else:  # for readers that have other sources
        fingerprints = {name: version[-1] for name, version in noted.items()}
        stamp.put_fingerprints(
            data_file, {**fingerprints, **dict.fromkeys(left_out, stamp.CHANGED)}
        )
        stamp.put_labels(data_file, cov.label_uses)
    here = {workdir.here(name): version for name, version in noted.items()}
    AnalysisCache(inputs.analysis_dir).put(VERSIONS, here)
    return _described(inputs, folder, cov, warnings, summary, started=started)


def _note_functions(days: DaysRecorded, cov: ReportingCoverage) -> None:
    """Store where the functions of the current versions are, for reports on later ones."""
    if cov.new_functions:
        try:
            DaysStore(days.folder).note_functions(cov.new_functions, days.kept)
        except OSError as error:  # the next report tries again
            log.warning("lines of functions could not be stored beside the days: %s", error)


def build_detail(inputs: BuildInputs, folder: Path) -> Report:
    """Write only the file that `detail.read` reads; return metadata without figures."""
    started = time.monotonic()
    with _combined(inputs, folder) as (cov, warnings):
        detail.write(cov, folder, inputs.analysis_dir)
    return _described(inputs, folder, cov, warnings, {}, started=started)


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
    with _combined(replace(inputs, days=None), workspace) as (cov, warnings), forksafe.no_fork():
        return cov.get_data().dumps(), [*warnings, *inputs.remarks]


@contextlib.contextmanager
def _combined(inputs: BuildInputs, folder: Path) -> Iterator[tuple[ReportingCoverage, list[str]]]:
    """Combine all data into one file in the folder; yield a Coverage on it, and the warnings."""
    with contextlib.suppress(TypeError, ValueError, AttributeError):  # of another version
        versions.remember(AnalysisCache(inputs.analysis_dir).get(VERSIONS) or {})
    cov = ReportingCoverage(inputs.config, folder / DATA)
    with contextlib.closing(cov), cov.whole():
        warnings = combine(
            cov,
            inputs.data_files,
            branch=inputs.branch,
            could_run=inputs.could_run,
            imported_early=inputs.imported_early,
            memory=inputs.memory,
            days=inputs.days,
        )
        cov.no_days = cov.no_days or inputs.no_days
        yield cov, warnings


def _described(
    inputs: BuildInputs,
    folder: Path,
    cov: ReportingCoverage,
    warnings: list[str],
    summary: Mapping[str, Any],
    *,
    started: float,
) -> Report:
    data_file = folder / DATA
    warnings += cov.troubles
    warnings += failures_of(cov)
    if cov.not_python:
        left_out = imported.named(cov.not_python)
        warnings.append(
            f"files that are not Python, templates for instance, are left out: {left_out}"
        )
    warnings += inputs.remarks
    if (why_inexact := imported.warning(cov.inexact)) is not None:
        warnings.append(why_inexact)
    gathering = inputs.gathering
    warnings += gathering.problems
    warnings += [
        f"worker {worker.pid} on {worker.host} is not up to date: {worker.error}"
        for worker in gathering.workers
        if not worker.fresh
    ]
    return Report(
        id=new_id(),
        refreshed_at=clock.now_iso(),
        duration_seconds=round(time.monotonic() - started, 3),
        autosave_interval_seconds=inputs.autosave_interval,
        summary=summary,
        complete=gathering.complete,
        workers=tuple(worker.as_json() for worker in gathering.workers),
        warnings=tuple(warnings),
        collected=inputs.collected,
        size=data_file.stat().st_size if data_file.exists() else 0,
    )
