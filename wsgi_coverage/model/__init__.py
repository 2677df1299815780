"""Frozen values that packages pass to each other. No state: any thread may read them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Literal, TypeAlias, cast, get_args

from wsgi_coverage.model import answers

JsonObject = dict[str, Any]

ExportFormat: TypeAlias = Literal["coverage", "json", "xml", "lcov", "html"]
EXPORT_FORMATS: tuple[ExportFormat, ...] = get_args(ExportFormat)  # of a finished report
CHECKOUT_FORMATS = ("text", *(each for each in EXPORT_FORMATS if each != "coverage"))


class Operation(StrEnum):
    """How a snapshot is made of others."""

    MERGE = "merge"  # what ran in any of them
    SUBTRACT = "subtract"  # what ran in the first and in none of the others
    INTERSECT = "intersect"  # what ran in all of them


MONITORING = "monitoring"  # this package's own core, which marks lines in shared memory


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerState:
    """The answer of one process to a call to all workers, or the state `silent` without one."""

    id: str  # the worker's id; not part of the JSON
    host: str
    pid: int
    state: str  # measuring, paused, silent (no answer in time), failed (answered with an error)
    published_at: str | None  # ISO 8601, UTC: all that it executed up to then is in the memory
    fresh: bool  # it did what the call asked for, in time
    error: str | None = None  # why it is not fresh, if it has answered that
    # Only in answers to a call for the status:
    server: str | None = None  # the server's name; None before the first request
    core: str | None = None
    requests: int | None = None  # passed on to the application since the process started

    def as_json(self) -> answers.WorkerAnswer:
        """Return an entry of `workers` in answers, without optional fields that are not known."""
        known = asdict(self)
        del known["id"]
        optional = ("error", "server", "core", "requests")
        shown = {k: v for k, v in known.items() if v is not None or k not in optional}
        return cast(answers.WorkerAnswer, shown)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gathering:
    """The result of one call to all live workers: of this host, or of a fleet."""

    workers: tuple[WorkerState, ...]
    ended_at: Moment  # by then, all that fresh workers had run before the call was flushed
    problems: tuple[str, ...] = ()  # why lines may be missing although every worker is fresh

    @property
    def complete(self) -> bool:
        """Tell whether every live worker did what the call asked for, and no problem is known."""
        return not self.problems and all(worker.fresh for worker in self.workers)

    def as_json(self) -> answers.Gathered:
        """Return `complete` and `workers`, as answers have them."""
        return {"complete": self.complete, "workers": [w.as_json() for w in self.workers]}


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """A time during which nothing was measured, because a pause was requested."""

    began_at: str  # ISO 8601, UTC
    ended_at: str | None  # None: it goes on

    @property
    def warning(self) -> str:
        """A sentence about the pause, for a report's warnings."""
        until = f"to {self.ended_at}" if self.ended_at else "on"
        return f"measuring was paused from {self.began_at} {until}: what ran then is not counted"


def is_going_on(pauses: Sequence[Pause]) -> bool:
    """Tell whether the last of the pauses has not ended."""
    return bool(pauses) and pauses[-1].ended_at is None


@dataclass(frozen=True, slots=True, order=True)
class Moment:
    """A point in time that can be compared between the processes of one boot of one host."""

    boot: str  # which boot of which host; moments of different boots are never compared
    seconds: float  # CLOCK_MONOTONIC

    def is_covered_by(self, other: Moment) -> bool:
        """Tell whether another moment is the same or later, by the same clock."""
        return self.boot == other.boot and other.seconds >= self.seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Measuring:
    """How this process is measured; what /health shows."""

    engine: str = "coverage"  # memory: lines are marked in shared memory; coverage: by its tracer
    engine_reason: str = ""  # why this engine
    core: str  # MONITORING (our own); ctrace, sysmon or pytrace (coverage.py's)
    core_reason: str  # why this core
    coverage_version: str
    branch: bool
    ownership: str  # ours, process-start, foreign
    lossless: bool  # False: coverage.py's internals are not as expected
    problem: str | None  # why not lossless
    data_file: str  # as configured; published data files lie beside it
    phase: str | None = None  # load or runtime: the phase of what runs now; None: not known
    phase_reason: str | None = None  # why the phase is not known


@dataclass(frozen=True, slots=True, kw_only=True)
class SerializedData:
    """Everything executed up to now, in coverage.py's own serialization."""

    data: bytes  # for `CoverageData.loads`
    parts: int  # data files, and memories with lines, that were combined
    warnings: tuple[str, ...]
    gathering: Gathering


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """One problem with how this process is measured."""

    name: str  # its anchor in docs/reference/diagnoses.md
    text: str  # the problem, with figures where there are some
    remedy: str  # what to do

    def as_json(self) -> answers.DiagnosisAnswer:
        """Return an entry of `diagnoses` in GET /health."""
        return {"name": self.name, "text": self.text, "remedy": self.remedy}


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The metadata of a report or snapshot; the report's files are in the same folder."""

    id: str
    refreshed_at: str  # ISO 8601, UTC
    duration_seconds: float
    autosave_interval_seconds: float
    summary: Mapping[str, Any]  # answers.Summary; empty where only the data was wanted
    complete: bool
    workers: tuple[Mapping[str, Any], ...]  # each an answers.WorkerAnswer
    warnings: tuple[str, ...]
    collected: Moment  # everything flushed before this moment is in the report
    label: str | None = None  # snapshots only
    size: int = 0  # bytes of the combined data file
    operation: str | None = None  # how a snapshot was made of others; None: it was measured
    # Each of these others: `id`, `label`, `taken_at`, `complete`.
    made_of: tuple[Mapping[str, Any], ...] = ()

    def _workers(self) -> list[answers.WorkerAnswer]:
        return [cast(answers.WorkerAnswer, dict(worker)) for worker in self.workers]

    def as_json(self) -> answers.Refreshed:
        """Return the answer to POST /refresh."""
        return {
            "refreshed_at": self.refreshed_at,
            "duration_seconds": self.duration_seconds,
            "autosave_interval_seconds": self.autosave_interval_seconds,
            "summary": cast(answers.Summary, dict(self.summary)),
            "complete": self.complete,
            "workers": self._workers(),
            "warnings": list(self.warnings),
        }

    def as_snapshot(self) -> answers.Snapshot:
        """Return an entry of GET /snapshots."""
        made: answers.Combined = {}
        if self.operation is not None:
            others = [cast(answers.MadeOf, dict(each)) for each in self.made_of]
            made = {"operation": self.operation, "made_of": others}
        return {
            "id": self.id,
            "label": self.label,
            "size": self.size,
            "taken_at": self.refreshed_at,
            "complete": self.complete,
            "workers": self._workers(),
            "warnings": list(self.warnings),
            **made,
        }

    def as_taken(self, *, is_kept: bool) -> answers.Taken:
        """Return the answer to those who made it; without an id, where it is not kept."""
        return cast(answers.Taken, {**self.as_snapshot(), "id": self.id if is_kept else None})


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A point of the chart over time: an earlier report, or a reset."""

    at: str  # ISO 8601, UTC
    kind: str  # refresh, snapshot or reset
    percent: float | None = None
    runtime_percent: float | None = None
    label: str | None = None  # of a snapshot


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSummary:
    """One file's figures, from coverage.py's analysis; null, with a reason, if there is none."""

    file: str
    statements: int | None
    missing: int | None
    covered: int | None
    percent: float | None  # coverage.py's own, branches included where they are measured
    reason: str | None = None  # why a figure is null
    imported_early: str | None = None  # why figures are not exact: more may have run
    load: int | None = None  # statements that ran at load
    load_only: int | None = None  # of these, those that did not run at runtime
    runtime: int | None = None  # statements that ran at runtime
    ran: answers.When | None = None  # None: it has no statements, or unknown
    runtime_percent: float | None = None  # of what did not run at load only
    runtime_reason: str | None = None  # why a figure of load and runtime is null
    html: str | None = None  # its page in the HTML report
    branches: Mapping[str, int] = field(default_factory=dict)

    def as_json(self) -> answers.File:
        """Return an entry of GET /files, without reasons that are None."""
        out: answers.File = {
            "file": self.file,
            "statements": self.statements,
            "missing": self.missing,
            "covered": self.covered,
            "percent": self.percent,
            "load": self.load,
            "load_only": self.load_only,
            "runtime": self.runtime,
            "runtime_percent": self.runtime_percent,
            "ran": self.ran,
            **self.branches,  # type: ignore[typeddict-item]
        }
        if self.html is not None:
            out["html"] = self.html
        if self.runtime_reason is not None:
            out["runtime_reason"] = self.runtime_reason
        if self.imported_early is not None:
            out["imported_early"] = self.imported_early
        if self.reason is not None:
            out["reason"] = self.reason
        return out
