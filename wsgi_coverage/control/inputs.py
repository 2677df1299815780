"""Read what a report is built from: everything executed up to now, by every live worker.

`current` only reads it. `read_and_forget` reads and resets in one step, so that every line that
runs is either in this report or counts afterwards.

Concurrency: workers are asked without the build lock, and read under it. A collection holds the
collect lock from its beginning to its end.
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from wsgi_coverage import clock
from wsgi_coverage.clock import Deadline
from wsgi_coverage.collect.worker import Worker
from wsgi_coverage.data import stamp
from wsgi_coverage.data.union import has_branches
from wsgi_coverage.errors import DamagedReportError, WsgiCoverageError
from wsgi_coverage.fleet import asking
from wsgi_coverage.fleet.asking import Fleet
from wsgi_coverage.fleet.messages import FleetAnswer
from wsgi_coverage.model import Gathering
from wsgi_coverage.report.algebra.made import Operand
from wsgi_coverage.report.build import BuildInputs
from wsgi_coverage.report.combine import DaysRecorded, first_warnings
from wsgi_coverage.report.history import History
from wsgi_coverage.report.publish import LOCK_TIMEOUT, Publisher
from wsgi_coverage.store.channel import Verb
from wsgi_coverage.store.days import FOLDER, NOT_KEPT, SHARED_FOLDER, DaysStore, today

log: logging.Logger = logging.getLogger("wsgi_coverage")

GIVE_UP_TIMEOUT = 2.0  # seconds to wait for the build lock where a collection has failed

FOREIGN = "no days are recorded where 'coverage run' or a test runner started the Coverage"


class ReportInputs:
    """The inputs of one application's reports.

    Args:
        worker: this process's worker.
        publisher: has the build lock and the collect lock; `read_and_forget` withdraws its report.
        history: the history of the reports; `read_and_forget` adds a reset to it.
        analysis_dir: the folder of the analysis cache.
        fleet: the fleet that this host belongs to; None where it belongs to none.
    """

    def __init__(
        self,
        worker: Worker,
        publisher: Publisher,
        history: History,
        analysis_dir: Path,
        fleet: Fleet | None = None,
    ) -> None:
        self._fleet = fleet
        self._worker = worker
        self._publisher = publisher
        self._history = history
        self._analysis_dir = analysis_dir

    @contextlib.contextmanager
    def current(self, wait: float, deadline: Deadline) -> Iterator[BuildInputs]:
        """Have all workers flush, and yield what they have executed; hold the build lock meanwhile.

        Args:
            wait: seconds to wait for the other workers, at most.
            deadline: the end of the waits for workers and for the build lock together.

        Raises:
            RefreshBusyError, StorageError: the data cannot be read now.
        """
        gathering, answer = asking.ask_fleet_or_host(
            self._worker, self._fleet, Verb.FLUSH, wait=deadline.left(wait)
        )
        # coverage.py does one thing at a time
        with self._publisher.lock(deadline.left(LOCK_TIMEOUT)):
            yield self.read(gathering, answer=answer)

    @contextlib.contextmanager
    def read_and_forget(self, wait: float, deadline: Deadline) -> Iterator[BuildInputs]:
        """Yield what all workers have executed; forget it after the block, unless that raises.

        Args:
            wait: seconds to wait for the other workers, at most.
            deadline: the end of the waits for workers and for other builds together, until the
                new epoch has begun; from then on, the build lock is waited for as usual.

        Raises:
            NotOursError: 'coverage run' or a test runner started the Coverage.
            RefreshBusyError, StorageError: nothing is forgotten.
        """
        self._worker.engine.check_is_ours("a reset")
        if self._fleet is not None:
            with self._read_and_forget_everywhere(self._fleet, wait, deadline) as found:
                yield found
            return
        with self._publisher.collecting(deadline.left(LOCK_TIMEOUT)):
            with self._publisher.lock(deadline.left(LOCK_TIMEOUT)):
                remarks = self._remarks()
                self._publisher.check_removable()
                epoch = self._worker.memories.begin_collecting()
            try:
                gathering = self._worker.ask_all(Verb.COLLECT, wait=deadline.left(wait))
                # From here to the end of the collection, no data file can be written.
                with self._publisher.lock():
                    inputs = self.read(gathering, before=epoch)
                    yield replace(inputs, remarks=remarks)
                    self._forget(inputs, epoch)
            except BaseException:
                # If this fails, too, data files are written again after the next reset.
                with contextlib.suppress(WsgiCoverageError), self._publisher.lock(GIVE_UP_TIMEOUT):
                    self._worker.memories.give_up_collecting(epoch)
                raise

    @contextlib.contextmanager
    def _read_and_forget_everywhere(
        self, fleet: Fleet, wait: float, deadline: Deadline
    ) -> Iterator[BuildInputs]:
        """Do what `read_and_forget` does, on all hosts of the fleet."""
        with self._publisher.collecting(deadline.left(LOCK_TIMEOUT)):
            remarks = self._remarks()
            answer = fleet.have_all(Verb.COLLECT, wait=wait)
            gathering = asking.gathering_of(answer)
            with self._publisher.lock():
                epoch = self._worker.store.epoch()
                inputs = self.read(gathering, before=epoch, answer=answer)
                yield replace(inputs, remarks=remarks)
            if not _has_failed(gathering):
                fleet.change(Verb.END_COLLECTING, wait=wait)

    def _forget(self, inputs: BuildInputs, epoch: int) -> None:
        """Remove what the report was built from, withdraw the published one, and add a reset."""
        self._worker.memories.forget_collected(
            epoch, inputs.data_files, inputs.memory, is_over=not _has_failed(inputs.gathering)
        )
        self._publisher.withdraw()
        self._history.begin_anew(clock.now_iso())

    def read(
        self,
        gathering: Gathering,
        *,
        before: int | None = None,
        answer: FleetAnswer | None = None,
    ) -> BuildInputs:
        """Return what memories and data files hold now; the caller holds the build lock.

        Args:
            gathering: the workers' answers to the call to flush.
            before: read only epochs older than this one; None: all that count.
            answer: the answer of the fleet; None: there is none, or it was not asked.
        """
        engine = self._worker.engine
        # Read the memory before the files: the last process that marks there writes it to a
        # file, and then removes it.
        memory = self._worker.memories.readings(before=before)
        collected = clock.now()
        if answer is not None and answer.reading is not None:
            memory.append(answer.reading)
            # It is as old as the answers: later lines of other hosts are not in it.
            collected = gathering.ended_at
        return BuildInputs(
            collected=collected,
            config=engine.config,
            branch=engine.measuring.branch,
            data_files=self._worker.store.published(before=before),
            could_run=engine.files_that_could_run(memory),
            imported_early=engine.imported_early(memory),
            gathering=gathering,
            autosave_interval=self._worker.autosave_interval,
            memory=memory,
            remarks=self._remarks(),
            analysis_dir=self._analysis_dir,
            **self._days(answer),
        )

    def of_old_snapshot(self, data_file: Path) -> BuildInputs:
        """Return what a report of a snapshot of flask-coverage is built from: its data file alone.

        Raises:
            DamagedReportError: it is no data file.
        """
        try:
            with stamp.reading(data_file) as connection:
                branch = has_branches(connection)
        except sqlite3.Error as error:
            raise DamagedReportError(f"{data_file.name} is no data file: {error}") from error
        return BuildInputs(
            collected=clock.now(),
            config=self._worker.engine.config,
            branch=branch,
            data_files=[data_file],
            could_run=(),
            gathering=Gathering(workers=(), ended_at=clock.now()),
            autosave_interval=self._worker.autosave_interval,
            analysis_dir=self._analysis_dir,
            no_days="a snapshot of flask-coverage has none",
        )

    def of_operands(self, operands: Sequence[Operand]) -> BuildInputs:
        """Return what a report that is made of others is built from."""
        reports = {each.name: each.report for each in operands}
        problems = [
            f"{name} is not complete" for name, each in reports.items() if not each.complete
        ]
        warnings = [f"{name}: {text}" for name, each in reports.items() for text in each.warnings]
        return BuildInputs(
            collected=clock.now(),
            config=self._worker.engine.config,
            branch=self._worker.engine.measuring.branch,
            data_files=[each.data_file for each in operands if each.data_file.exists()],
            could_run=(),
            gathering=Gathering(workers=(), ended_at=clock.now(), problems=tuple(problems)),
            autosave_interval=self._worker.autosave_interval,
            remarks=first_warnings(warnings),
            analysis_dir=self._analysis_dir,
            no_days="a snapshot that is made of others has none",
        )

    def _days(self, answer: FleetAnswer | None) -> dict[str, Any]:
        """Return where days are recorded, or why they are not known."""
        kept = self._worker.data_file_writer.days
        if not kept:
            return {"no_days": NOT_KEPT if self._worker.engine.can_reset else FOREIGN}
        since = self._day_after_pauses()
        if self._fleet is None:
            return {"days": DaysRecorded(self._worker.home / FOLDER, kept, since)}
        answer = answer or FleetAnswer()
        if answer.days_since is None:
            return {"no_days": answer.no_days}
        since, folder = max(since, answer.days_since), self._worker.home / SHARED_FOLDER
        return {"days": DaysRecorded(folder, kept, since, of_fleet=True)}

    def _day_after_pauses(self) -> int:
        """Return the first day after the last pause; 0: there was none."""
        pauses = self._worker.store.pauses()
        if not pauses:
            return 0
        ended_at = pauses[-1].ended_at
        if ended_at is None:
            return today() + 1
        try:
            return datetime.fromisoformat(ended_at).toordinal() + 1
        except ValueError:  # another program's
            return today() + 1

    def note_gap_of_days(self) -> None:
        """Record that not all that runs today is known, because of a pause. Log failures."""
        days = DaysStore(self._worker.home / FOLDER)
        try:
            if days.is_there:
                days.note_gap(today())
        except OSError as error:
            log.warning("that there is a gap in the days could not be recorded: %s", error)

    def _remarks(self) -> list[str]:
        return [pause.warning for pause in self._worker.store.pauses()]


def _has_failed(gathering: Gathering) -> bool:
    """Tell whether a worker failed to flush, so that forgetting would lose its lines."""
    return any(worker.state == "failed" for worker in gathering.workers)
