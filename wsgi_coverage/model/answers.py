"""The types of the dashboard's answers, whose values are its JSON (docs/reference/http.md).

The server returns them, the client casts to them, and `GET /openapi.json` is made of them, with a
class's docstring as its description. Keys that are not required are left out where they say
nothing, or are missing in reports that older versions made.

No state.
"""

from __future__ import annotations

from typing import Any, Literal, NotRequired, TypeAlias, TypedDict

When: TypeAlias = Literal["never", "at load only", "at runtime"]
Labelled: TypeAlias = Literal["off", "header", "route"]


class WorkerAnswer(TypedDict):
    """One process that is measured: an entry of `workers` in an answer."""

    host: str
    pid: int
    state: Literal["measuring", "paused", "silent", "failed"]
    published_at: str | None  # ISO 8601, UTC: what it executed until then is in shared memory
    fresh: bool  # whether it did what the call asked for, in time
    error: NotRequired[str]  # why it did not
    # Only in answers of GET /workers and GET /health:
    server: NotRequired[str]  # name and version; after a first request
    core: NotRequired[str]
    requests: NotRequired[int]  # passed on to the application since the process started


class Gathered(TypedDict):
    """The result of a call to all workers; `complete` is false if one did not answer in time."""

    complete: bool
    workers: list[WorkerAnswer]


class Seen(TypedDict):
    """On which days, UTC, something ran; null: on none that is recorded, or not known."""

    first_seen: NotRequired[str | None]  # ISO 8601 date
    last_seen: NotRequired[str | None]
    seen_in: NotRequired[list[str]]  # releases
    seen_reason: NotRequired[str]  # why one of these days is not known


class Branches(TypedDict):
    """The figures of branches, where these are measured."""

    branches: NotRequired[int]
    partial_branches: NotRequired[int]
    covered_branches: NotRequired[int]
    missing_branches: NotRequired[int]


class Phases(TypedDict):
    """Statements by when they ran; null, and a reason, where that is not known."""

    load: NotRequired[int | None]
    load_only: NotRequired[int | None]  # statements that ran at load, and not at runtime
    runtime: NotRequired[int | None]
    runtime_percent: NotRequired[float | None]  # of what did not run at load only
    runtime_reason: NotRequired[str]


class File(Phases, Branches, Seen):
    """The figures of one file; null, and a reason, where there are none."""

    file: str
    statements: int | None
    missing: int | None
    covered: int | None
    percent: float | None
    ran: NotRequired[When | None]  # null: without statements, or not known when
    html: NotRequired[str]  # its page below /html/
    imported_early: NotRequired[str]  # why more of it may have run than the figures say
    reason: NotRequired[str]


class Function(Seen):
    """The figures of the body of one function or method."""

    file: str
    name: str
    line: int
    last: NotRequired[int]  # its last line; in answers about one file
    statements: int
    covered: int
    runtime: int | None  # executed after the application was loaded; null, and a reason, if unknown
    load_only: NotRequired[int | None]  # executed while it was loaded, and not afterwards
    ran: NotRequired[When | None]  # null: unknown
    reason: NotRequired[str]
    imported_early: NotRequired[str]  # why more of it may have run than the figures say


class Summary(Phases, Branches):
    """The figures of all files together; null, and a reason, where there is no data."""

    percent: float | None
    files: int
    statements: int | None
    covered: int | None
    missing: int | None
    imported_early_files: NotRequired[int | None]
    unused_files: NotRequired[int | None]
    load_only_files: NotRequired[int | None]
    functions: NotRequired[int | None]
    unused_functions: NotRequired[int | None]
    load_only_functions: NotRequired[int | None]
    largest_unused: NotRequired[list[Function]]
    lowest: NotRequired[list[File]]
    since: NotRequired[str | None]  # ISO 8601, UTC: when the data begins
    reason: NotRequired[str]


class Refreshed(Gathered):
    """The answer to `refresh`."""

    refreshed_at: str
    duration_seconds: float
    autosave_interval_seconds: float
    summary: Summary
    warnings: list[str]


class Status(Gathered):
    """The answer to `reset`, `pause` and `resume`."""

    status: Literal["reset", "paused", "measuring"]


class Forgotten(Gathered):
    """The answer to the deletion of what ran for a label."""

    status: Literal["forgotten"]
    label: str


class MadeOf(TypedDict):
    """One of the reports that a snapshot was made of."""

    id: str  # of a snapshot; current: the published report
    label: str | None
    taken_at: str
    complete: bool


class Combined(TypedDict):
    """How a snapshot was made of others, where it was not measured."""

    operation: NotRequired[str]  # merge, subtract or intersect
    made_of: NotRequired[list[MadeOf]]


class Snapshot(Gathered, Combined):
    """The metadata of a snapshot."""

    id: str
    label: str | None
    size: int  # bytes of its data file
    taken_at: str
    warnings: list[str]


class Taken(Gathered, Combined):
    """The answer to `snapshot` and `combine`: its metadata, and what else was asked for."""

    id: str | None  # null: it was not kept
    label: str | None
    size: int  # bytes of its data file
    taken_at: str
    warnings: list[str]
    detail: NotRequired[dict[str, Any] | None]  # coverage.py's JSON report
    reason: NotRequired[str]  # why `detail` is null


class Deleted(TypedDict):
    """The answer to the deletion of a snapshot."""

    status: Literal["deleted"]
    id: str


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


class LinesOfFile(TypedDict):
    """Lines of one file."""

    file: str
    lines: list[int]


class LinesOfContext(LabelUse):
    """What ran for one label."""

    files: list[LinesOfFile]


class NotTaken(TypedDict):
    """A branch that was never taken, of a line that ran."""

    to: int | None  # the line that it leads to; null: out of the function, class or module
    text: str  # coverage.py's sentence


class SourceLine(TypedDict):
    """A statement of a source, or an excluded line."""

    line: int
    ran: When | Literal["excluded"] | None  # null: it is not known when
    last: NotRequired[int]  # the last line of a statement of several
    not_taken: NotRequired[list[NotTaken]]  # where branches are measured
    contexts: NotRequired[list[str]]  # the labels that it ran for


class Source(TypedDict):
    """The source of one file, as it was when the report was made."""

    file: str
    text: str
    lines: list[SourceLine]
    functions: list[Function]  # those with statements, in the order of the file
    imported_early: NotRequired[str]  # why lines that never ran may have run


class Side(TypedDict):
    """The lines and branches of a file that only one of two reports has executed."""

    lines: list[int]
    branches: NotRequired[list[list[int]]]


class DiffFile(TypedDict):
    """The difference in one file; null, and a reason, where it cannot be compared."""

    file: str
    only_a: Side | None
    only_b: Side | None
    reason: NotRequired[str]


class ComparedReport(TypedDict):
    """One of two reports that are compared."""

    id: str  # of a snapshot, or current
    context: str | None  # the label, where only what ran for it is compared
    label: str | None
    taken_at: str
    complete: bool


class Diff(TypedDict):
    """The answer to `diff`."""

    a: ComparedReport
    b: ComparedReport
    branch: bool  # whether both measured branches
    files: list[DiffFile]


class Building(TypedDict):
    """The progress of the report that is being built."""

    files_done: int
    files_total: int | None  # null until the data is combined
    started_at: str  # ISO 8601, UTC


class BuildingAnswer(TypedDict):
    """The answer of GET /building."""

    building: Building | None  # null: none is being built


class SettingAnswer(TypedDict):
    """The value of a setting, and where it comes from."""

    value: Any  # of a secret "set", or null
    origin: str


class AboutLabels(TypedDict):
    """Which requests are labelled."""

    labelled: Labelled
    problem: str | None  # why requests cannot be told apart in this process
    too_many: int  # requests of this process with a label beyond those that it keeps


class AboutReport(TypedDict):
    """The published report."""

    refreshed_at: str  # ISO 8601, UTC
    outdated: list[str]  # sentences that say what has changed since


class DiagnosisAnswer(TypedDict):
    """A known problem with how the answering process is measured."""

    name: str  # its anchor in docs/reference/diagnoses.md
    text: str
    remedy: str


class HostOfFleet(TypedDict):
    """A host of a fleet that was heard in the last 15 seconds."""

    host: str | None
    release: str | None
    workers: int | None
    engine: str | None
    state: str | None


class FleetStore(TypedDict):
    """The store in which the hosts of a fleet meet, as this host sees it."""

    store: str
    namespace: str
    state: Literal["starting", "connected", "away"]
    since: str | None  # ISO 8601, UTC
    problem: str | None
    sent_at: str | None  # when this host last sent something
    reports_problem: str | None  # why other hosts may serve other reports
    lost_at: str | None  # when data was found to be missing in the store
    hosts: list[HostOfFleet]


class AboutMeasuring(TypedDict):
    """How the answering process is measured."""

    engine: str
    engine_reason: str
    core: str
    core_reason: str
    coverage_version: str
    branch: bool
    ownership: Literal["ours", "process-start", "foreign"]
    lossless: bool
    problem: str | None  # why not lossless
    data_file: str
    phase: Literal["load", "runtime"] | None
    phase_reason: str | None


class Health(Gathered, AboutMeasuring):
    """How the application is measured, and its diagnoses; docs/reference/http.md has more."""

    status: Literal["ok", "degraded"]
    data_folder: str
    cache_dir: str
    snapshot_dir: str
    autosave_interval_seconds: float
    settings: dict[str, SettingAnswer]
    contexts: AboutLabels
    fleet: FleetStore | None
    report: AboutReport | None
    building: Building | None
    problems: list[str]
    diagnoses: list[DiagnosisAnswer]


class Problem(TypedDict):
    """An error: its slug, which is its anchor in docs/reference/errors.md, and a sentence."""

    error: str
    message: str


# The side port's own answers, beside those of the dashboard


class AboutData(TypedDict):
    """Where data files are."""

    data_dir: str
    coverage_files: int


class SideHealth(AboutData):
    """The side port's answer of GET /health."""

    status: Literal["ok"]
    coverage_enabled: Literal[True]


class Saved(AboutData, Gathered):
    """The side port's answer to /coverage/save."""

    status: Literal["ok"]
    message: str


class Collected(Gathered):
    """The side port's answer of GET /coverage: everything executed so far."""

    label: str
    timestamp: str  # ISO 8601, UTC
    coverage_data: str  # for `CoverageData.loads`, in base64
    files_combined: int
    warnings: list[str]
    message: str
