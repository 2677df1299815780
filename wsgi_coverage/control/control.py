"""`Control`: one method for each thing that can be asked.

No HTTP and no argparse here. Reading methods return what is published and never touch the tracer.

Concurrency: no state of its own; the worker, the publisher and the snapshots each keep their rule.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar, cast

from wsgi_coverage import clock
from wsgi_coverage.analysis.cache import ANALYSIS
from wsgi_coverage.analysis.functions import Unused, functions
from wsgi_coverage.clock import Deadline
from wsgi_coverage.collect.worker import Worker
from wsgi_coverage.control.inputs import ReportInputs
from wsgi_coverage.data.fold import write_union
from wsgi_coverage.errors import (
    BadParameterError,
    DamagedReportError,
    LabelOfFleetError,
    NoDataError,
    NoReportError,
    NotFoundError,
    RefreshBusyError,
    RefusedReportError,
    UnknownContextError,
    is_shortage,
    storage_errors,
)
from wsgi_coverage.fleet import asking
from wsgi_coverage.fleet.asking import Fleet
from wsgi_coverage.fleet.messages import FleetAnswer
from wsgi_coverage.health.diagnoses import diagnose
from wsgi_coverage.health.facts import find_facts
from wsgi_coverage.model import (
    Gathering,
    JsonObject,
    Measuring,
    Operation,
    Point,
    Report,
    SerializedData,
)
from wsgi_coverage.model.answers import (
    AboutLabels,
    AboutMeasuring,
    AboutReport,
    Building,
    ComparedReport,
    Context,
    Diff,
    Function,
    Health,
    Labelled,
    LinesOfContext,
    SettingAnswer,
    Source,
)
from wsgi_coverage.offload.progress import BuildProgress
from wsgi_coverage.report import formats, offloading, staleness
from wsgi_coverage.report.algebra.made import Operand, build_made, read_operand
from wsgi_coverage.report.build import BuildInputs, build, build_detail, serialize
from wsgi_coverage.report.finished import contexts
from wsgi_coverage.report.finished import detail as details
from wsgi_coverage.report.finished.diff import diff
from wsgi_coverage.report.finished.source import source
from wsgi_coverage.report.history import History, in_order
from wsgi_coverage.report.publish import (
    DATA,
    LACKS,
    LOCK_TIMEOUT,
    Publisher,
    check_file,
    read_file,
    read_meta,
)
from wsgi_coverage.report.render import FILES, TEXT
from wsgi_coverage.report.snapshots import Snapshots, snapshot_id
from wsgi_coverage.settings import Settings
from wsgi_coverage.store import channel
from wsgi_coverage.store.channel import Verb
from wsgi_coverage.store.workspace import workplace

FOLD_ABOVE = 6  # data files; the last process to end folds what it can, if there are more
TIDY_WAIT = 0.5  # seconds; a worker that is silent counts as live
MAX_LABEL = 1000  # characters
NOTHING_RAN = "there is no data to store: nothing that is measured has run yet"
NOTHING_HAD_RUN = "no data yet: nothing that is measured had run"

CURRENT = "current"  # the name of the published report, beside ids of snapshots
LEAST_COMBINED = 2  # reports

TRIES = 3  # to refresh, where resets come between

T = TypeVar("T")


class _ResetError(Exception):
    """A reset came after the workers' lines were read, so that these do not count any more."""


class Compared(NamedTuple):
    """A report, or what ran for one of its labels."""

    identity: str | None  # a snapshot's id; None: the published report
    context: str | None = None  # the label; None: all that ran


class Control:
    """What can be asked of one application's coverage.

    Everywhere `identity` is a snapshot's id, or None for the published report.

    Args:
        worker: this process's worker.
        settings: where reports and snapshots go.
        no_phases: why load and runtime cannot be told apart here; None: `measuring` of the
            worker's engine says whether they can.
    """

    def __init__(self, worker: Worker, settings: Settings, no_phases: str | None = None) -> None:
        self._worker = worker
        self._settings = settings
        self._no_phases = no_phases
        self.cache_dir: Path = worker.home / settings.cache_dir
        self.snapshot_dir: Path = worker.home / settings.snapshot_dir
        self._cache_dir_described = settings.described("cache_dir", self.cache_dir)
        self._snapshot_dir_described = settings.described("snapshot_dir", self.snapshot_dir)
        self._publisher = Publisher(self.cache_dir, self._cache_dir_described)
        self._snapshots = Snapshots(self.snapshot_dir, self._snapshot_dir_described)
        self._progress = BuildProgress(self.cache_dir)
        self._history = History(self.cache_dir)
        self._fleet = None if settings.store is None else Fleet(worker, settings)
        self._inputs = ReportInputs(
            worker, self._publisher, self._history, self.cache_dir / ANALYSIS, self._fleet
        )
        self._started_at = worker.started_at
        self._sweep()

    def _sweep(self) -> None:
        """Remove sockets and half-made reports that killed processes have left."""
        channel.sweep_dead(self._worker.private)
        self._publisher.sweep()
        self._snapshots.sweep()

    # Asking all workers

    def _ask_all(self, verb: Verb, *, wait: float) -> tuple[Gathering, FleetAnswer | None]:
        """Call all workers of the host or fleet; return their states, and the fleet's answer."""
        return asking.ask_fleet_or_host(self._worker, self._fleet, verb, wait=wait)

    def refresh(self, *, wait: float, within: float | None = None) -> Report:
        """Publish a new report of everything executed up to now, by every live worker.

        Args:
            wait: seconds to wait for the other workers, at most.
            within: seconds to wait for workers and for other builds together; None: `wait` for
                workers, and two minutes more for other builds.

        Raises:
            RefreshBusyError, BuildFailedError, ConfigurationError, StorageError: nothing was
                published; the old report stands.
        """
        deadline = Deadline(within)
        self._sweep()
        for attempt in range(TRIES):
            gathering, answer = self._ask_all(Verb.FLUSH, wait=deadline.left(wait))
            build_report = partial(self._fold_and_build, gathering, answer)
            try:
                report = self._publisher.refresh(
                    gathering, build_report, deadline.left(LOCK_TIMEOUT)
                )
            except _ResetError as error:
                if attempt == TRIES - 1:
                    raise RefreshBusyError(str(error)) from error
            else:
                return self._shared(Verb.SHARE_REPORT, report)
        raise AssertionError  # pragma: no cover

    def _shared(self, verb: Verb, report: Report) -> Report:
        """Send a report or snapshot to the fleet's other hosts, if there is a fleet; return it."""
        if self._fleet is None or not self._fleet.is_connected:
            return report  # it is sent once the fleet's store is reachable again
        return self._fleet.share(verb, report)

    def _fold_and_build(
        self, gathering: Gathering, answer: FleetAnswer | None, folder: Path
    ) -> Report:
        reading = None if answer is None else answer.reading
        if reading is not None and reading.epoch < self._worker.store.oldest():
            raise _ResetError("the fleet was reset while its lines were read")
        self._fold(gathering)
        report = self._build(build, self._inputs.read(gathering, answer=answer), folder)
        self._history.add(report, since=report.summary["since"])
        return report

    def _build(self, by: Callable[..., Report], inputs: BuildInputs, folder: Path) -> Report:
        report = offloading.build_somewhere(by, inputs, folder, progress=self._progress)
        since = self._history.since(self._started_at)
        return replace(report, summary={**report.summary, "since": since})

    def tidy(self) -> None:
        """Remove what killed processes have left; fold data files of ended ones, if there are many.

        Nothing is folded during a build. The last process of a host to end calls this, so that
        restarts leave few files even where no report is ever made.
        """
        self._sweep()
        published = len(self._worker.store.published())
        if not published and self._history.read().since is not None:
            with contextlib.suppress(RefreshBusyError), self._publisher.lock(timeout=0.0):
                self._history.forget_since()
        if published <= FOLD_ABOVE:
            return
        with contextlib.suppress(RefreshBusyError), self._publisher.lock(timeout=0.0):
            self._fold(self._worker.ask_all(Verb.STATUS, wait=TIDY_WAIT))

    def _fold(self, gathering: Gathering) -> None:
        live = {worker.id for worker in gathering.workers} | self._worker.memories.ids()
        self._worker.store.fold(live=live, union=write_union)

    def snapshot(
        self,
        *,
        label: str | None,
        wait: float,
        within: float | None = None,
        reset: bool = False,
        keep: bool = True,
        detail: bool = False,
    ) -> tuple[Report, JsonObject | None]:
        """Make a report of everything executed up to now, without publishing it.

        Args:
            label: the snapshot's name for people.
            wait: seconds to wait for the other workers, at most.
            within: seconds to wait for workers and for other builds together; None: `wait` for
                workers, and two minutes more for other builds.
            reset: forget the executed lines that are in the report, in one step: every line that
                runs is either in this report or counts afterwards. The published report is
                withdrawn then.
            keep: store the report as a snapshot; False: make it for the answer only.
            detail: return coverage.py's JSON report, too.

        Returns:
            The report's metadata; and the JSON report, None where it was not asked for or there is
            no data.

        Raises:
            BadParameterError: the label is too long.
            NoDataError: there is no data to store, because nothing was measured yet.
            NotOursError: `reset`, and 'coverage run' or a test runner started the Coverage.
            SnapshotLimitError, BuildFailedError, StorageError: nothing was kept, or forgotten.
        """
        _check_label(label)
        self._sweep()
        reading = self._inputs.read_and_forget if reset else self._inputs.current
        with reading(wait, Deadline(within)) as inputs:
            if keep and inputs.is_empty:
                raise NoDataError(NOTHING_RAN)
            builder = partial(self._build, build if keep else build_detail, inputs)
            taking = self._snapshots.taking(builder, label=label or None, keep=keep)
            with taking as (report, folder):
                found = _detail(folder, is_whole=keep) if detail else None
        return self._shared(Verb.SHARE_SNAPSHOT, report) if keep else report, found

    def combine(
        self,
        operation: Operation,
        identities: Sequence[str | None],
        *,
        label: str | None,
        within: float | None = None,
        keep: bool = True,
        detail: bool = False,
    ) -> tuple[Report, JsonObject | None]:
        """Make a report of what finished reports have executed.

        No worker is asked. What runs meanwhile is in none of them.

        Args:
            operation: merge, subtract or intersect (report/algebra/operations.py).
            identities: the reports, in order: ids of snapshots; None: the published report.
            label, keep, detail: as for `snapshot`.
            within: seconds to wait for other builds; None: two minutes.

        Returns:
            As `snapshot`.

        Raises:
            BadParameterError: there are fewer than two; or the label is too long.
            NoReportError, UnknownSnapshotError: there is no such report.
            NoDataError: in none of them has anything run.
            MixedDataError, SourceVersionsError: they cannot be combined.
            SnapshotLimitError, BuildFailedError, StorageError: nothing was kept.
        """
        _check_label(label)
        if len(identities) < LEAST_COMBINED:
            raise BadParameterError(
                f"{operation} must be given {LEAST_COMBINED} reports or more, got {len(identities)}"
            )
        self._sweep()
        with workplace(self._worker.private) as workspace:
            found = {  # one that is named several times is copied once
                identity: self._read_whole(
                    identity,
                    partial(read_operand, name=identity or CURRENT, target=workspace / str(number)),
                )
                for number, identity in enumerate(dict.fromkeys(identities))
            }
            operands = [found[identity] for identity in identities]
            builder = partial(self._build_made, operation, operands, is_detail=not keep)
            with (
                self._publisher.lock(Deadline(within).left(LOCK_TIMEOUT)),
                self._snapshots.taking(builder, label=label or None, keep=keep) as (report, folder),
            ):
                lines = _detail(folder, is_whole=keep) if detail else None
        return self._shared(Verb.SHARE_SNAPSHOT, report) if keep else report, lines

    def _build_made(
        self, operation: Operation, operands: Sequence[Operand], folder: Path, *, is_detail: bool
    ) -> Report:
        made = partial(build_made, operation, operands, is_detail=is_detail)
        inputs = self._inputs.of_operands(operands)
        report = offloading.build_somewhere(made, inputs, folder, progress=self._progress)
        return replace(
            report,
            operation=str(operation),
            made_of=tuple(each.as_json() for each in operands),
            summary={**report.summary, "since": None},
        )

    def reset(self, *, wait: float, within: float | None = None) -> Gathering:
        """Forget every line executed so far but at load, in all live workers and all data files.

        The published report is withdrawn; snapshots stay.

        Args:
            wait: seconds to wait for the other workers, at most.
            within: seconds to wait for workers and for other builds together; None: `wait` for
                workers, and two minutes more for other builds.

        Raises:
            RefreshBusyError: another process builds; nothing is forgotten.
            NotOursError: 'coverage run' or a test runner started the Coverage.
            StorageError: nothing is forgotten.
        """
        self._worker.engine.check_is_ours("a reset")
        if self._fleet is not None:
            return asking.gathering_of(self._fleet.have_all(Verb.RESET, wait=wait))
        deadline = Deadline(within)
        with self._publisher.lock(deadline.left(LOCK_TIMEOUT)):
            self._publisher.check_removable()
            self._worker.memories.reset()
            self._publisher.withdraw()
            self._history.begin_anew(clock.now_iso())
        return self._worker.ask_all(Verb.RESET, wait=deadline.left(wait))

    def pause(self, *, wait: float, within: float | None = None) -> Gathering:
        """Have every live worker measure nothing until `resume`; reports name the gap.

        Args:
            wait, within: as for `reset`.

        Raises:
            RefreshBusyError: another process builds; nothing is paused.
            NotOursError, CannotPauseError: nothing is paused.
        """
        self._worker.engine.check_can_pause()
        if self._fleet is not None:
            return asking.gathering_of(self._fleet.have_all(Verb.PAUSE, wait=wait))
        deadline = Deadline(within)
        with self._publisher.lock(deadline.left(LOCK_TIMEOUT)):
            self._worker.store.begin_pause()
            self._inputs.note_gap_of_days()
        return self._worker.ask_all(Verb.PAUSE, wait=deadline.left(wait))

    def resume(self, *, wait: float, within: float | None = None) -> Gathering:
        """Have every live worker measure again.

        Args:
            wait, within: as for `reset`.

        Raises:
            RefreshBusyError: another process builds; the pause goes on.
        """
        if self._fleet is not None:
            return asking.gathering_of(self._fleet.have_all(Verb.RESUME, wait=wait))
        deadline = Deadline(within)
        with self._publisher.lock(deadline.left(LOCK_TIMEOUT)):
            self._worker.store.end_pause()
            self._inputs.note_gap_of_days()
        return self._worker.ask_all(Verb.RESUME, wait=deadline.left(wait))

    def forget_label(self, label: str, *, wait: float, within: float | None = None) -> Gathering:
        """Forget what ran for requests with a label; finished reports and snapshots keep it.

        A request that is open meanwhile counts afterwards.

        Args:
            label: the label.
            wait, within: as for `reset`.

        Raises:
            UnknownContextError: nothing ran for the label.
            LabelOfFleetError: this host is one of a fleet.
            RefreshBusyError, StorageError: not all of it is forgotten.
        """
        if self._fleet is not None:
            raise LabelOfFleetError(
                "in a fleet, labels are forgotten by a reset: hosts may have sent on what ran"
            )
        deadline = Deadline(within)
        gathering = self._worker.ask_all(Verb.FLUSH, wait=deadline.left(wait))
        with self._publisher.lock(deadline.left(LOCK_TIMEOUT)):
            if not self._worker.memories.forget_label(label):
                raise UnknownContextError(f"nothing ran for the label {label!r}")
        return gathering

    # Handing out data: py-coverage-http's requests

    def serialize(self, *, wait: float) -> SerializedData:
        """Return all data, of every live worker up to now, as bytes for `CoverageData.loads`.

        Args:
            wait: seconds to wait for the other workers, at most.

        Raises:
            RefreshBusyError, StorageError: the data cannot be read now; nothing is lost.
        """
        with (
            self._inputs.current(wait, Deadline(None)) as inputs,
            workplace(self._worker.private) as folder,
        ):
            data, warnings = serialize(inputs, folder)
        return SerializedData(
            data=data,
            parts=len(inputs.data_files) + sum(bool(each.sources) for each in inputs.memory),
            warnings=tuple(warnings),
            gathering=inputs.gathering,
        )

    def save(self, *, wait: float) -> Gathering:
        """Have every live worker of this host flush what it has executed; write it to data files.

        Args:
            wait: seconds to wait for the other workers, at most.

        Raises:
            StorageError: no data file can be written; nothing is lost.
        """
        gathering = self._worker.ask_all(Verb.FLUSH, wait=wait)
        self._worker.save()
        return gathering

    def count_data_files(self) -> int:
        """Return the number of published data files."""
        return len(self._worker.store.published())

    @property
    def data_folder(self) -> str:
        """The folder where data files are published."""
        return self._worker.store.describe()

    # Reading finished reports: files written when a report was made, or rendered from these

    def report(self, identity: str | None = None) -> Report:
        """Return a report's metadata.

        Raises:
            NoReportError, UnknownSnapshotError: there is no such report. All methods that read a
                report raise these.
        """
        if identity is not None:
            return self._read(identity, read_meta)
        return self._publisher.current()

    def text(self, identity: str | None = None) -> str:
        """Return the text report."""
        return self._read_whole(identity, lambda folder: read_file(folder / TEXT).decode())

    def files(self, identity: str | None = None, *, label: str | None = None) -> bytes:
        """Return the list of files, as JSON.

        Args:
            identity: a snapshot's id; None: the published report.
            label: with the figures for this label; None: for all that ran.

        Raises:
            UnknownContextError: the report does not have the label.
            BuildFailedError: the child process failed, in which a large report is read for a label.
        """
        if label is not None:
            found = self._read_whole(identity, partial(contexts.files, label=label))
            return json.dumps(found).encode()
        return self._read_whole(identity, lambda folder: read_file(folder / FILES))

    def functions(
        self,
        identity: str | None = None,
        *,
        unused: Unused = False,
        unused_for: int | None = None,
        label: str | None = None,
    ) -> list[Function]:
        """Return functions and methods, the largest first.

        Args:
            identity: a snapshot's id; None: the published report.
            unused: True: those that never ran; "runtime": those that did not run at runtime.
            unused_for: only those that certainly ran on none of so many days.
            label: with the figures for this label; None: for all that ran.

        Raises:
            BadParameterError: both a label and days are given.
            HistoryTooShortError: so many days are not known.
            UnknownContextError, BuildFailedError: as `files`.
        """
        if label is not None:
            if unused_for is not None:
                raise BadParameterError(
                    "on which days code ran is not known of a label: ask with unused_for or with "
                    "context, not with both"
                )
            ask = partial(contexts.functions, label=label, unused=unused)
            return self._read_whole(identity, ask)
        read = partial(functions, unused=unused, unused_for=unused_for)
        return self._read_whole(identity, read)

    def contexts(self, identity: str | None = None) -> list[Context]:
        """Return the labels of requests, each with its figures.

        Args:
            identity: a snapshot's id; None: the published report.
        """
        return self._read_whole(identity, contexts.contexts)

    def context(self, label: str, identity: str | None = None) -> LinesOfContext:
        """Return the lines that ran for one label, by file.

        Args:
            label: the label.
            identity: a snapshot's id; None: the published report.

        Raises:
            UnknownContextError: the report does not have the label.
        """
        return self._read_whole(identity, partial(contexts.context, label=label))

    def source(self, name: str, identity: str | None = None, *, label: str | None = None) -> Source:
        """Return the source of one file, and of each line when it ran, and for which labels.

        Args:
            name: the file, as in the list of files, or its path below the folder that has all.
            identity: a snapshot's id; None: the published report.
            label: as if only the requests with this label had run; None: all that ran.

        Raises:
            NotFoundError: the report has no such file.
            NoSourceError: the source is not on this host.
            UnknownContextError: the report does not have the label.
        """
        return self._read_whole(identity, partial(source, name=name, label=label))

    def diff(self, a: Compared, b: Compared) -> Diff:
        """Return the lines and branches that only one of two reports has executed.

        Args:
            a, b: reports, or labels of the published one.

        Raises:
            UnknownContextError: there is no such label.
            BuildFailedError: the child process that compared them failed.
        """

        def compare(first: Path, second: Path) -> Diff:
            return {
                "a": _about(a, read_meta(first)),
                "b": _about(b, read_meta(second)),
                **diff(first, second, label_a=a.context, label_b=b.context),
            }

        return self._read_whole(
            a.identity,
            lambda first: self._read_whole(b.identity, lambda second: compare(first, second)),
        )

    def export(self, wanted: str, identity: str | None = None) -> bytes:
        """Return the report in another format, rendered when it is first asked for.

        Args:
            wanted: `coverage` (the combined data file), `json`, `xml`, `lcov` or `html` (a zip of
                the whole site).
            identity: a snapshot's id; None: the published report.

        Raises:
            BadParameterError: there is no such format.
            NoDataError: nothing was measured.
            StorageError: the rendered format cannot be written, for instance on a full disk.
        """
        if wanted not in formats.EXPORTS:
            raise BadParameterError(
                f"format must be one of {', '.join(sorted(formats.EXPORTS))}, got {wanted!r}"
            )
        try:
            return self._render(identity, partial(formats.read, name=formats.EXPORTS[wanted]))
        except FileNotFoundError:
            raise NoDataError(NOTHING_HAD_RUN) from None

    def html(self, path: str, identity: str | None = None) -> bytes:
        """Return a file of coverage.py's HTML report, rendered when it is first asked for.

        Raises:
            NoDataError: nothing was measured.
            NotFoundError: there is no such page.
            StorageError: the page cannot be written, for instance on a full disk.
        """
        try:
            return self._render(identity, partial(formats.read_page, name=path))
        except FileNotFoundError:
            raise NotFoundError("there is no such page in the HTML report") from None

    def _read(self, identity: str | None, reader: Callable[[Path], T]) -> T:
        if identity is None:
            return self._publisher.read(reader)
        identity = snapshot_id(identity)
        if (old := self._snapshots.old(identity)) is not None:
            self._open_old_snapshot(identity, old)
        if self._fleet is not None and not self._snapshots.is_whole(identity):
            self._fleet.fetch_snapshot(identity)
        return self._snapshots.read(identity, reader)

    def _open_old_snapshot(self, identity: str, data_file: Path) -> None:
        """Make a report of a snapshot of flask-coverage, from its data file alone.

        Raises:
            BuildFailedError, StorageError: it cannot be made; the data file stays.
        """
        inputs = self._inputs.of_old_snapshot(data_file)
        self._snapshots.open_old(identity, partial(self._build, build, inputs))

    def _read_whole(self, identity: str | None, reader: Callable[[Path], T]) -> T:
        """Do as `_read`, for files that every report has: a missing one is damage."""
        try:
            return self._read(identity, reader)
        except FileNotFoundError as error:
            raise DamagedReportError(LACKS) from error

    def _render(self, identity: str | None, reader: Callable[[Path], bytes]) -> bytes:
        try:
            self._read(identity, lambda folder: check_file(folder / DATA))
        except FileNotFoundError:
            raise NoDataError(NOTHING_HAD_RUN) from None
        with storage_errors("this cannot be rendered; what was there is untouched"):
            return self._read(identity, reader)

    def outdated(self) -> list[str]:
        """Return sentences that say why the published report is out of date; empty if it is not.

        It is out of date if a source has changed, or all workers that it was made of have ended.
        Cheap: nothing is parsed, and no worker is asked.

        Raises:
            NoReportError: nothing is published.
        """
        # In a fleet, lines of ended workers stay in the store, and others may have made the report.
        live = self._worker.live_ids() if self._fleet is None else None
        return self._publisher.read(lambda folder: staleness.differences(folder, live=live))

    def count_workers(self) -> int | None:
        """Return the number of this host's live workers, without a call; None if not known."""
        live = self._worker.live_ids()
        return None if live is None else len(live)

    def points(self, last: int) -> list[Point]:
        """Return the last refreshes, resets and snapshots, the oldest first.

        Args:
            last: how many points, at most.
        """
        measured = [each for each in self._snapshots.newest(last) if each.operation is None]
        return in_order(self._history.read(), measured, last)

    # Snapshots

    def snapshots(self) -> list[Report]:
        """Return the metadata of all snapshots, newest first."""
        return self._snapshots.all()

    def snapshot_path(self, identity: str) -> Path | None:
        """Return the data file of a snapshot, by its id; None if it is not on this host."""
        return self._snapshots.file(snapshot_id(identity))

    def delete_snapshot(self, identity: str) -> None:
        """Remove a snapshot.

        Raises:
            UnknownSnapshotError: there is no snapshot with this id.
            StoreUnavailableError: the fleet's store cannot be used; the snapshot is still there.
        """
        identity = snapshot_id(identity)
        if self._fleet is None:
            self._snapshots.delete(identity)
        else:
            self._snapshots.find(identity)
            self._fleet.delete_snapshot(identity)

    # About

    def health(self, *, wait: float) -> Health:
        """Return the answer to GET /health: what is measured and how, all workers, all diagnoses.

        Args:
            wait: seconds to wait for the other workers, at most.
        """
        gathering, _ = self._ask_all(Verb.STATUS, wait=wait)
        problems: list[str] = [*self._worker.problems, *gathering.problems]
        if (problem := offloading.problem()) is not None:
            problems.append(problem)
        try:
            report = self._about_the_report()
        except RefusedReportError as error:
            problems.append(str(error))
            report = None
        pids = [each.pid for each in gathering.workers if each.host == self._worker.host]
        fleet = None if self._fleet is None else self._fleet.state()
        if fleet is not None and (problem := fleet.get("reports_problem")):
            problems.append(problem)
        facts = find_facts(
            self._worker,
            config_file=self._settings.config_file,
            config_file_origin=self._settings.origin("config_file"),
            measured=pids,
            folders={
                self.data_folder: Path(self.data_folder),
                self._cache_dir_described: self.cache_dir,
                self._snapshot_dir_described: self.snapshot_dir,
            },
            places={
                **self._worker.store.used_paths(),
                **self._publisher.used_paths(),
                self.cache_dir / ANALYSIS: "folder",
            },
            fleet=fleet,
        )
        diagnoses = [each.as_json() for each in diagnose(facts)]
        is_ok = gathering.complete and not problems and not diagnoses
        return {
            "status": "ok" if is_ok else "degraded",
            **cast(AboutMeasuring, asdict(self.measuring)),
            "data_folder": self.data_folder,
            "cache_dir": str(self.cache_dir),
            "snapshot_dir": str(self.snapshot_dir),
            "autosave_interval_seconds": self._worker.autosave_interval,
            "settings": cast(dict[str, SettingAnswer], self._settings.as_json()),
            **gathering.as_json(),
            "contexts": self._about_labels(),
            "fleet": fleet,
            "report": report,
            "building": self._progress.read(),
            "problems": problems,
            "diagnoses": diagnoses,
        }

    def _about_labels(self) -> AboutLabels:
        """Return which requests are labelled, why none can be, and how many were refused here."""
        engine = self._worker.engine
        mode = cast(Labelled, self.label_mode)
        problem = None if mode == "off" else engine.why_no_labels
        return {"labelled": mode, "problem": problem, "too_many": engine.labels_refused}

    def _about_the_report(self) -> AboutReport | None:
        try:
            refreshed_at = self.report().refreshed_at
            return {"refreshed_at": refreshed_at, "outdated": self.outdated()}
        except RefusedReportError:
            raise
        except NoReportError:
            return None
        except OSError as error:
            if is_shortage(error):
                return None  # a diagnosis says so
            raise

    def workers(self, *, wait: float) -> Gathering:
        """Call every live worker of this host or fleet; one that does not answer is `silent`.

        Args:
            wait: seconds to wait for answers, at most.
        """
        return self._ask_all(Verb.STATUS, wait=wait)[0]

    @property
    def measuring(self) -> Measuring:
        """What is measured in this process, by which core and why."""
        measuring = self._worker.engine.measuring
        if measuring.phase is None and measuring.phase_reason is None:
            return replace(measuring, phase_reason=self._no_phases)
        return measuring

    @property
    def is_paused(self) -> bool:
        """Tell whether workers measure nothing at present."""
        return self._worker.store_is_paused()

    def building(self) -> Building | None:
        """Return the progress of the report that is being built; None if none is.

        `files_done`; `files_total`, None until the data is combined; `started_at`, ISO 8601 in UTC.
        """
        return self._progress.read()

    @property
    def can_reset(self) -> bool:
        """Tell whether executed lines can be reset: not under 'coverage run' or a test runner."""
        return self._worker.engine.can_reset

    @property
    def settings(self) -> Settings:
        """The settings of the application."""
        return self._settings

    @property
    def label_mode(self) -> str:
        """Which requests are labelled: off, header or route."""
        return self._settings.labels

    @property
    def is_fleet(self) -> bool:
        """Tell whether what is asked here is done on all hosts that share a store."""
        return self._fleet is not None


def _check_label(label: str | None) -> None:
    if label is not None and len(label) > MAX_LABEL:
        raise BadParameterError(f"label must have at most {MAX_LABEL} characters, got {len(label)}")


def _detail(folder: Path, *, is_whole: bool) -> JsonObject | None:
    """Return coverage.py's JSON report of a report that was just built."""
    if is_whole:
        return formats.call_for(folder, partial(details.of_finished, folder))
    return details.read(folder)


def _about(of: Compared, report: Report) -> ComparedReport:
    return {
        "id": of.identity or CURRENT,
        "context": of.context,
        "label": report.label,
        "taken_at": report.refreshed_at,
        "complete": report.complete,
    }
