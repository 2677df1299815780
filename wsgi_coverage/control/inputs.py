"""What a report is built from: everything executed up to now, by every live worker.

It is read, or read and forgotten in one step, so that every line that runs is in this
report or counts afterwards.

Concurrency: workers are asked without the build lock, and read under it. A collection holds the
collect lock from its beginning to its end.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from wsgi_coverage import clock
from wsgi_coverage.clock import Deadline
from wsgi_coverage.collect.worker import Worker
from wsgi_coverage.data.reading import Reading
from wsgi_coverage.fleet import asking
from wsgi_coverage.fleet.asking import Fleet
from wsgi_coverage.model import Gathering
from wsgi_coverage.report.build import BuildInputs
from wsgi_coverage.report.history import History
from wsgi_coverage.report.publish import LOCK_TIMEOUT, Publisher
from wsgi_coverage.store.channel import Verb


class ReportInputs:
    """The inputs of one application's reports.

    Args:
        worker: this process's worker.
        publisher: whose locks are held; a collection withdraws its report.
        history: of the reports; a collection begins it anew.
        analysis_dir: the analysis cache.
        fleet: that this host belongs to; None: none.
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
        """What every live worker has executed up to now; in the block, the build lock is held.

        Args:
            wait: seconds to wait for the other workers, at most.
            deadline: of that and of the wait for the build lock.

        Raises:
            RefreshBusyError, StorageError: it cannot be read now.
        """
        gathering, fleet = asking.ask_fleet_or_host(
            self._worker, self._fleet, Verb.FLUSH, wait=deadline.left(wait)
        )
        # coverage.py does one thing at a time
        with self._publisher.lock(deadline.left(LOCK_TIMEOUT)):
            yield self.read(gathering, fleet=fleet)

    @contextlib.contextmanager
    def read_and_forget(self, wait: float, deadline: Deadline) -> Iterator[BuildInputs]:
        """As `current`, and what was read is forgotten afterwards, unless the block raises.

        Args:
            wait: seconds to wait for the other workers, at most.
            deadline: of that and of the wait for other builds, until the collection has begun.

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
            gathering = self._worker.ask_all(Verb.COLLECT, wait=deadline.left(wait))
            # It has begun: until it is over, no data file can be written.
            with self._publisher.lock():
                inputs = self.read(gathering, before=epoch)
                yield replace(inputs, remarks=remarks)
                self._forget(inputs, epoch)

    @contextlib.contextmanager
    def _read_and_forget_everywhere(
        self, fleet: Fleet, wait: float, deadline: Deadline
    ) -> Iterator[BuildInputs]:
        """As `read_and_forget`, on all hosts of the fleet."""
        with self._publisher.collecting(deadline.left(LOCK_TIMEOUT)):
            remarks = self._remarks()
            answer = fleet.have_all(Verb.COLLECT, wait=wait)
            gathering = asking.gathering_of(answer)
            with self._publisher.lock():
                epoch = self._worker.store.epoch()
                inputs = self.read(gathering, before=epoch, fleet=asking.reading_of(answer))
                yield replace(inputs, remarks=remarks)
            if not _has_failed(gathering):
                fleet.change(Verb.END_COLLECTING, wait=wait)

    def _forget(self, inputs: BuildInputs, epoch: int) -> None:
        """Forget what has been handed out."""
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
        fleet: Sequence[Reading] = (),
    ) -> BuildInputs:
        """What is there now; the caller holds the build lock.

        Args:
            gathering: the workers' answers to the call to flush.
            before: an epoch, where only older ones count.
            fleet: what other hosts have executed.
        """
        engine = self._worker.engine
        # The memory before the files: the last process that marks there writes it to one, and
        # then takes it away.
        memory = [*self._worker.memories.readings(before=before), *fleet]
        # What other hosts have executed since is not in it.
        collected = gathering.ended_at if fleet else clock.now()
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
        )

    def _remarks(self) -> list[str]:
        return [pause.warning for pause in self._worker.store.pauses()]


def _has_failed(gathering: Gathering) -> bool:
    """Tell whether a worker could not do it, so that it still has what would be lost."""
    return any(worker.state == "failed" for worker in gathering.workers)
