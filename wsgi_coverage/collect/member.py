"""This process as one of the workers of an application: what it is asked to do, and its answer.

Concurrency: the engine takes a lock of its own; no state else.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from wsgi_coverage import clock
from wsgi_coverage.collect.base import Engine
from wsgi_coverage.collect.others import LOSES, worker_id
from wsgi_coverage.errors import storage_error
from wsgi_coverage.model import JsonObject, WorkerState
from wsgi_coverage.store.base import Store

TRACE_LOST = (
    "somebody has set another trace function in {} of its threads (sys.settrace), "
    "so that what runs there is not measured"
)
BEHIND = (
    "its Coverage belongs to somebody else, and is not reset: what had run there before the last "
    "reset is not counted when it runs again"
)


class Member:
    """What one process is asked, and answers.

    Whoever derives from it sets the engine and the store, and names it.
    """

    engine: Engine
    store: Store
    private: Path  # the folder of the memory
    wraps = False  # is an application wrapped in this process
    server: str | None = None  # as it calls itself; None before the first request

    def _name_anew(self) -> None:
        self.pid = os.getpid()
        self.host = socket.gethostname()

    @property
    def id(self) -> str:
        """Of this worker, for programs; another one in another memory."""
        return worker_id(self.host, self.pid, self.engine.token)

    def name_server(self, name: str | None) -> None:
        """Note what the server calls itself, where it does."""
        self.server = name
        if name is not None:
            self.engine.name_server(name)

    @property
    def requests(self) -> int | None:
        """Requests of this process; None where no application of it is wrapped."""
        return int(self.engine.attention.requests[0]) if self.wraps else None

    def _identity(self) -> JsonObject:
        return {"id": self.id, "host": self.host, "pid": self.pid}

    def publish(self) -> WorkerState:
        """Have everything in the memory that this process has executed up to now.

        Raises:
            StorageError: it cannot be written; nothing is lost, the next one has it all.
        """
        try:
            self.engine.flush()
        except OSError as error:
            what = f"{self.private} does not take what has run"
            if (refused := storage_error(error, what)) is not None:
                raise refused from error
            raise
        return self._state()

    def reset(self) -> WorkerState:
        """Begin the epoch that has been announced.

        Raises:
            NotOursError: the Coverage belongs to somebody else.
        """
        self.engine.check_is_ours("a reset")
        self.engine.hear()
        return self._state()

    def collect(self) -> WorkerState:
        """Hand over what ran in the epoch that has ended, and begin the new one.

        Raises:
            NotOursError: the Coverage belongs to somebody else.
            StorageError: it cannot be written; nothing is lost or forgotten.
        """
        self.engine.check_is_ours("a reset")
        self.engine.hear()
        return self.publish()

    def store_is_paused(self) -> bool:
        """Tell whether workers are to note nothing at present."""
        pauses = self.store.pauses()
        return bool(pauses) and pauses[-1].ended_at is None

    def pause(self) -> WorkerState:
        """Note nothing from now on; while the application is being loaded, from then on.

        Raises:
            NotOursError: the Coverage belongs to somebody else.
            CannotPauseError: measuring could not go on afterwards as it was before.
        """
        self.engine.check_can_pause()
        self.engine.hear()
        return self._state()

    def resume(self) -> WorkerState:
        """Note again what runs."""
        self.engine.hear()
        return self._state()

    def status(self) -> WorkerState:
        """Say that this worker is there, and what of it."""
        return replace(
            self._state(),
            server=self.server,
            core=self.engine.measuring.core,
            requests=self.requests,
        )

    def end_load_too(self) -> WorkerState:
        """A forked child has had a request: what this process goes on to run is runtime."""
        self.engine.end_load()
        return self._state()

    def _verbs(self) -> dict[str, Callable[[], WorkerState]]:
        return {
            "publish": self.publish,
            "reset": self.reset,
            "collect": self.collect,
            "pause": self.pause,
            "resume": self.resume,
            "status": self.status,
            "end-load": self.end_load_too,
        }

    def _state(self, *, error: str | None = None) -> WorkerState:
        lost = self._loss
        return WorkerState(
            id=self.id,
            host=self.host,
            pid=self.pid,
            state="failed" if error else "paused" if self.engine.is_paused else "measuring",
            published_at=clock.now_iso(),
            fresh=error is None and lost is None,
            error=error or lost,
        )

    @property
    def _loss(self) -> str | None:
        """Why some of what runs here is not measured, or was not; None: all of it is."""
        if lost := self.engine.threads_lost:
            return TRACE_LOST.format(lost)
        if self.engine.is_behind:
            return BEHIND
        return LOSES if self.engine.loses else None
