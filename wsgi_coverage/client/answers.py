"""Types of the dashboard's answers, whose values are its JSON, unchanged (docs/reference/http.md).

No state.
"""

from __future__ import annotations

from typing import Any, NotRequired, TypedDict

from wsgi_coverage.model import ExportFormat

Format = ExportFormat


class WorkerAnswer(TypedDict):
    """One process that is measured: an entry of `workers` in an answer."""

    host: str
    pid: int
    state: str  # measuring, paused, silent, failed
    published_at: str | None  # ISO 8601, UTC: what it executed until then is in shared memory
    fresh: bool  # whether it did what the call asked for, in time
    error: NotRequired[str]  # why it did not


class Gathered(TypedDict):
    """The result of a call to all workers; `complete` is false if one did not answer in time."""

    complete: bool
    workers: list[WorkerAnswer]


class Refreshed(Gathered):
    """The answer to `refresh`."""

    refreshed_at: str
    duration_seconds: float
    autosave_interval_seconds: float
    summary: dict[str, Any]  # percent (null without data), files, statements, covered, missing, …
    warnings: list[str]


class Status(Gathered):
    """The answer to `reset`, `pause` and `resume`."""

    status: str


class Snapshot(Gathered):
    """The metadata of a snapshot."""

    id: str  # null in the answer to `snapshot` with keep=False
    label: str | None
    size: int  # bytes of its data file
    taken_at: str
    warnings: list[str]
    detail: NotRequired[dict[str, Any]]  # coverage.py's JSON report, where it was asked for


class File(TypedDict):
    """The figures of one file; null, and a reason, where there are none."""

    file: str
    statements: int | None
    missing: int | None
    covered: int | None
    percent: float | None
    load_only: NotRequired[int | None]  # statements that ran at load, and not at runtime
    ran: NotRequired[str | None]  # never, at load only, at runtime
    reason: NotRequired[str]
    first_seen: NotRequired[str | None]  # ISO 8601 date, UTC; null: it was seen on no day
    last_seen: NotRequired[str | None]
    seen_in: NotRequired[list[str]]  # releases
    seen_reason: NotRequired[str]  # why one of these days is not known


class Function(TypedDict):
    """The figures of the body of one function or method."""

    file: str
    name: str
    line: int
    statements: int
    covered: int
    runtime: int | None  # executed after the application was loaded; null, and a reason, if unknown
    load_only: NotRequired[int | None]  # executed while it was loaded, and not afterwards
    ran: NotRequired[str | None]  # never, at load only, at runtime; null: unknown
    reason: NotRequired[str]
    imported_early: NotRequired[str]  # why more of it may have run than the figures say
    first_seen: NotRequired[str | None]  # ISO 8601 date, UTC; null: it was seen on no day
    last_seen: NotRequired[str | None]
    seen_in: NotRequired[list[str]]  # releases
    seen_reason: NotRequired[str]  # why one of these days is not known


class LabelUse(TypedDict):
    """A label, and the requests that had it."""

    label: str
    requests: int | None  # null, and a reason, where what ran comes from data files alone
    first: str | None  # ISO 8601, UTC: when the first of these ended
    last: str | None
    reason: NotRequired[str]


class Context(LabelUse):
    """A label of requests, and the figures of what ran for it."""

    files: int  # of which some line ran
    lines: int
    own_lines: int  # of these, those that ran for no other label


class LinesOfContext(LabelUse):
    """What ran for one label."""

    files: list[dict[str, Any]]  # each with file and lines


class SourceLine(TypedDict):
    """A statement of a source, or an excluded line."""

    line: int
    ran: str | None  # never, at load only, at runtime, excluded; null: it is not known when
    contexts: NotRequired[list[str]]  # the labels that it ran for


class Source(TypedDict):
    """The source of one file, as it was when the report was made."""

    file: str
    text: str
    lines: list[SourceLine]
    imported_early: NotRequired[str]  # why lines that never ran may have run


class Side(TypedDict):
    """The lines and branches of a file that only one of two reports has; or null, and a reason."""

    lines: list[int]
    branches: NotRequired[list[list[int]]]


class DiffFile(TypedDict):
    """The difference in one file."""

    file: str
    only_a: Side | None
    only_b: Side | None
    reason: NotRequired[str]


class Diff(TypedDict):
    """The answer to `diff`."""

    a: dict[str, Any]  # id, label, taken_at, complete
    b: dict[str, Any]
    branch: bool  # whether both measured branches
    files: list[DiffFile]


class Health(Gathered):
    """How the application is measured, and its diagnoses; docs/reference/http.md has more."""

    status: str  # ok, degraded
    engine: NotRequired[str]
    engine_reason: NotRequired[str]
    core: str
    core_reason: str
    coverage_version: str
    branch: bool
    data_folder: str
    settings: NotRequired[dict[str, dict[str, Any]]]  # value and origin of each, by name
    contexts: NotRequired[dict[str, Any]]  # which requests are labelled, and how many are not
    problems: list[str]
    diagnoses: list[dict[str, str]]
    building: NotRequired[dict[str, Any] | None]
    report: NotRequired[dict[str, Any] | None]


def is_health(answer: object) -> bool:
    """Tell whether an answer is that of a dashboard's /health, not of another application's."""
    if not isinstance(answer, dict):
        return False
    if not isinstance(answer.get("core"), str) or not isinstance(answer.get("status"), str):
        return False
    lists = [answer.get(key) for key in ("workers", "problems", "diagnoses")]
    if not all(isinstance(each, list) for each in lists):
        return False
    workers, _, diagnoses = lists
    keys = {"name", "text", "remedy"}
    return all(isinstance(each, dict) for each in workers or ()) and all(
        isinstance(each, dict) and each.keys() >= keys for each in diagnoses or ()
    )
