"""What the first engine does for labelled requests: record them, and store what ran for each.

A failure of labels fails nothing else: what cannot be stored is said on /health, once in the log.

Concurrency: belongs to the engine, which holds its lock during each call but `abandon`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from fnmatch import fnmatch
from types import CodeType
from typing import TYPE_CHECKING

from wsgi_coverage.collect.labels.label_log import LabelLog
from wsgi_coverage.collect.labels.labelling import TOOLS, Labelled, Labelling, Ran, free_tools
from wsgi_coverage.store.memory import Memory

if TYPE_CHECKING:
    from wsgi_coverage.collect.engines.monitoring import Monitoring

log: logging.Logger = logging.getLogger("wsgi_coverage")

TAKEN = "too many tools of sys.monitoring are taken"


class Recording:
    """Labelled requests in one process.

    Args:
        monitoring: marks the lines that run in this process.
        static: coverage.py's static context.
        patterns: of installed sources that labels are for, too.
    """

    def __init__(
        self, monitoring: Monitoring, static: str | None, patterns: tuple[str, ...]
    ) -> None:
        self._monitoring = monitoring
        self._patterns = patterns
        self._log = LabelLog(static)
        self._labelling = Labelling(self._own_codes, monitoring.lock)
        monitoring.on_code = self._note_code
        monitoring.on_gone = self._labelling.forget

    @property
    def refused(self) -> int:
        """How many requests had a label that was one too many, in this epoch."""
        return self._log.refused

    @property
    def problem(self) -> str | None:
        """Why labels are not recorded, or not stored; None: they are."""
        if not self._labelling.has_begun and len(free_tools()) < TOOLS:
            return TAKEN
        return self._log.problem

    def open(self, memory: Memory, epoch: int, label: str, *, paused: bool) -> Labelled | None:
        """Open a labelled request; None: there is no room for its label.

        Args:
            memory: in which others are stored that were abandoned.
            epoch: the current one.
            label: its label; "": it is known at the end.
            paused: whether measuring is paused.

        Raises:
            RuntimeError: too many tools of sys.monitoring are taken.
        """
        self.close_abandoned(memory, epoch, paused=paused)
        if label and not self._log.takes(memory.state().epoch, label):
            return None
        return self._labelling.open(label)

    def close(self, memory: Memory, epoch: int, labelled: Labelled, *, paused: bool) -> None:
        """Close a labelled request, and store what has run for it since it was cut.

        Args:
            memory: in which it is stored.
            epoch: the one that this process is in.
            labelled: the request.
            paused: whether measuring is paused.
        """
        self.close_abandoned(memory, epoch, paused=paused)
        self._close(memory, epoch, labelled, paused=paused)

    def store(self, memory: Memory, epoch: int, labelled: Labelled, *, paused: bool) -> None:
        """Store what has run for a request up to now; it stays open, and may never be closed.

        Args:
            memory, epoch, labelled, paused: as for `close`.
        """
        ran = self._labelling.cut_one(labelled)
        self._store_all(memory, epoch, labelled, ran, paused=paused)

    def abandon(self, labelled: Labelled) -> None:
        """Close a request without a lock, from a destructor; it is stored with the next one."""
        labelled.is_open = False
        self._labelling.abandoned.append(labelled)

    def cut(self, memory: Memory, epoch: int, *, paused: bool) -> None:
        """Store what open requests have run up to now, before an epoch or a pause begins or ends.

        Args:
            memory: in which it is stored.
            epoch: the one in which it has run.
            paused: whether measuring was paused, so that it does not count.
        """
        self.close_abandoned(memory, epoch, paused=paused)
        for labelled, ran in self._labelling.cut():
            if paused:
                continue
            if labelled.label:
                self._store(memory, epoch, labelled.label, ran, requests=0)
            else:
                labelled.kept.append((epoch, ran))

    def close_abandoned(self, memory: Memory, epoch: int, *, paused: bool) -> None:
        """Close, and store, the requests that were abandoned.

        Args:
            memory, epoch, paused: as for `close`.
        """
        while self._labelling.abandoned:
            self._close(memory, epoch, self._labelling.abandoned.popleft(), paused=paused)

    def store_again(self, memory: Memory, epoch: int) -> None:
        """Store in another memory what has been stored in the one before."""
        try:
            self._log.store_again(memory, epoch)
        except OSError as error:
            self._failed(error)

    def after_fork(self) -> None:
        """Forget, in a forked child, the requests of its parent. Takes no lock."""
        self._labelling.after_fork()
        self._log.after_fork()

    def _close(self, memory: Memory, epoch: int, labelled: Labelled, *, paused: bool) -> None:
        ran = self._labelling.close(labelled)
        self._store_all(memory, epoch, labelled, ran, paused=paused)

    def _store_all(
        self, memory: Memory, epoch: int, labelled: Labelled, ran: Ran, *, paused: bool
    ) -> None:
        kept, labelled.kept = labelled.kept, []
        for before, part in kept:
            self._store(memory, before, labelled.label, part, requests=0)
        if not paused:
            requests, labelled.is_counted = 0 if labelled.is_counted else 1, True
            self._store(memory, epoch, labelled.label, ran, requests=requests)

    def _store(
        self, memory: Memory, epoch: int, label: str, ran: Ran, *, requests: int = 1
    ) -> None:
        state = memory.state()
        if epoch < state.oldest or epoch > state.epoch:
            epoch = state.epoch  # reset meanwhile, which this process has not followed yet
        if not label or not self._log.takes(state.epoch, label):
            return
        found: dict[tuple[str, str], set[int]] = {}
        for code, lines in ran.items():
            version = self._monitoring.version_of(code)
            if version is not None:
                found.setdefault(version, set()).update(lines - {0})
        try:
            self._log.add(memory, epoch, label, found, requests=requests)
        except OSError as error:
            self._failed(error)

    def _failed(self, error: OSError) -> None:
        if self._log.problem is None:
            log.warning("what ran for labelled requests could not be stored: %s", error)
        self._log.problem = f"what ran for some requests could not be stored: {error}"

    def _own_codes(self) -> Iterator[CodeType]:
        return (each for each in self._monitoring.codes() if self._is_own(each.co_filename))

    def _note_code(self, code: CodeType) -> None:
        if self._is_own(code.co_filename):
            self._labelling.add(code)

    def _is_own(self, filename: str) -> bool:
        from wsgi_coverage.collect.engines.monitoring import is_installed

        return not is_installed(filename) or any(fnmatch(filename, each) for each in self._patterns)
