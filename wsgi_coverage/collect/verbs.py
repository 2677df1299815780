"""Do in a worker what all workers of a host are asked to do, and answer with its state.

Concurrency: any thread may call `do` and `answer`; the engine takes its lock. A reset, collection,
pause or resume is announced in the shared memory before; a worker applies what it reads there.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from wsgi_coverage import clock
from wsgi_coverage.collect.peers import LOSES
from wsgi_coverage.model import JsonObject, WorkerState
from wsgi_coverage.store.channel import Verb

if TYPE_CHECKING:
    from wsgi_coverage.collect.engines.base import Engine
    from wsgi_coverage.collect.worker import Worker

log: logging.Logger = logging.getLogger("wsgi_coverage")

TRACE_LOST = (
    "another trace function was set (sys.settrace) in {} of its threads, "
    "so that what runs there is not measured"
)
BEHIND = (
    "its Coverage was started by 'coverage run' or a test runner, and is not reset: what had run "
    "there before the last reset is not counted when it runs again"
)


class Verbs:
    """Does what every worker of a host is asked to do at once.

    Args:
        worker: this process's worker.
    """

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    @property
    def _engine(self) -> Engine:
        return self._worker.engine

    def do(self, verb: str) -> WorkerState:
        """Do one thing; return the worker's state after it.

        Raises:
            ValueError: there is no such verb, or it is not for workers.
            NotOursError: 'coverage run' or a test runner started the Coverage.
            CannotPauseError: measuring could not be resumed as it was before.
            StorageError: the memory cannot be written; nothing is lost, the next flush tries again.
        """
        actions: dict[Verb, Callable[[], WorkerState]] = {
            Verb.FLUSH: self._flush,
            Verb.STATUS: self._status,
            Verb.RESET: self._reset,
            Verb.COLLECT: self._collect,
            Verb.PAUSE: self._pause,
            Verb.RESUME: self._resume,
            Verb.END_LOAD: self._end_load,
        }
        asked = Verb(verb)
        if asked not in actions:
            raise ValueError(f"{verb!r} is not for a worker")
        return actions[asked]()

    def answer(self, verb: str) -> JsonObject:
        """Call `do` for a call over the channel; log an exception, and return it in the answer."""
        try:
            return {**self.do(verb).as_json()}
        except Exception as error:  # noqa: BLE001  it is in the answer; the thread goes on
            log.warning("%s failed: %s", verb, error)
            return {**self._state(error=f"{type(error).__name__}: {error}").as_json()}

    def _status(self) -> WorkerState:
        """Return the worker's state with server, core and requests, for GET /workers."""
        return replace(
            self._state(),
            server=self._worker.server,
            core=self._engine.measuring.core,
            requests=self._worker.requests,
        )

    def _flush(self) -> WorkerState:
        self._worker.flush()
        return self._state()

    def _reset(self) -> WorkerState:
        """Begin the epoch that has been announced."""
        self._engine.check_is_ours("a reset")
        self._engine.apply_announced()
        return self._state()

    def _collect(self) -> WorkerState:
        """Flush what ran in the epoch that has ended, and begin the new one."""
        self._engine.check_is_ours("a reset")
        self._engine.apply_announced()
        return self._flush()

    def _pause(self) -> WorkerState:
        """Stop measuring; while the application loads, only after that."""
        self._engine.check_can_pause()
        self._engine.apply_announced()
        return self._state()

    def _resume(self) -> WorkerState:
        self._engine.apply_announced()
        return self._state()

    def _end_load(self) -> WorkerState:
        """End the load in a parent, because a forked child has had a request."""
        self._engine.end_load()
        return self._state()

    def _state(self, *, error: str | None = None) -> WorkerState:
        lost = self._loss
        return WorkerState(
            id=self._worker.id,
            host=self._worker.host,
            pid=self._worker.pid,
            state="failed" if error else "paused" if self._engine.is_paused else "measuring",
            published_at=clock.now_iso(),
            fresh=error is None and lost is None,
            error=error or lost,
        )

    @property
    def _loss(self) -> str | None:
        """Why some lines that ran in this process are not counted; None: all are."""
        if lost := self._engine.threads_lost:
            return TRACE_LOST.format(lost)
        if self._engine.is_behind:
            return BEHIND
        return LOSES if self._engine.loses_lines else None
