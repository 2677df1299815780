"""This process as one of the workers of an application: what it is asked to do, and its answer.

Concurrency: `_guard` guards the tracer and everything that publishes what it saw; each method that
may be called from outside takes it.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from wsgi_coverage import clock
from wsgi_coverage.collect.engine import Engine
from wsgi_coverage.collect.guard import Guard
from wsgi_coverage.collect.marking import Marking
from wsgi_coverage.collect.others import LOSES, worker_id
from wsgi_coverage.collect.tracer import Tracer
from wsgi_coverage.data import stamp
from wsgi_coverage.data.phases import Phase
from wsgi_coverage.data.stamp import Stamp
from wsgi_coverage.errors import DiskFullError, is_disk_full
from wsgi_coverage.model import JsonObject, WorkerState
from wsgi_coverage.store.base import Store

TRACE_LOST = (
    "somebody has set another trace function in {} of its threads (sys.settrace), "
    "so that what runs there is not measured"
)


class Member:
    """What one process publishes, of which epoch, and whether it is paused.

    Whoever derives from it sets the tracer and the store, and names it.
    """

    tracer: Engine
    store: Store
    private: Path  # the folder for live data
    wraps = False  # is an application wrapped in this process
    server: str | None = None  # as it calls itself; None before the first request
    _guard: Guard
    _epoch: int  # of the lines that are held here
    _paused = False

    def _name_anew(self) -> None:
        self.pid = os.getpid()
        self.host = socket.gethostname()
        self.id = self._new_id()
        self._published_at: str | None = None
        self._unpublished = False  # does the private data hold more than was published

    @property
    def marking(self) -> Marking | None:
        """The engine, where it marks lines in memory; None: coverage.py's tracer measures."""
        return self.tracer if isinstance(self.tracer, Marking) else None

    def _new_id(self) -> str:
        if self.marking is not None:
            return worker_id(self.host, self.pid, self.marking.token)
        return f"{self.host}.{self.pid}.{os.urandom(4).hex()}"

    def name_server(self, name: str | None) -> None:
        """Note what the server calls itself, where it does."""
        self.server = name
        if name is not None and self.marking is not None:
            self.marking.name_server(name)

    @property
    def requests(self) -> int | None:
        """Requests of this process; None where no application of it is wrapped."""
        return int(self.tracer.attention.requests[0]) if self.wraps else None

    def _identity(self) -> JsonObject:
        return {"id": self.id, "host": self.host, "pid": self.pid}

    def _begin_epoch(self) -> None:
        """Call it once others can reach this worker: they count on those that they do not find."""
        self._epoch = self.store.epoch()  # of the lines that are held here

    def publish(self) -> WorkerState:
        """Publish everything that this process has executed up to now.

        Raises:
            DiskFullError: there is no room; nothing is lost, the next publish has it all.
        """
        with self._guard.held():
            if self.tracer.can_reset:
                self._catch_up()
            self._flush()
            source = self.tracer.private_data()
            if source is not None and (self._unpublished or not self.store.is_published(self.id)):
                self._publish(self.id, source)
            self._unpublished = False
            self._published_at = clock.now_iso()
            return self._state()

    def reset(self) -> WorkerState:
        """Forget what ran up to now, here and in what was published.

        Raises:
            NotOursError: the Coverage belongs to somebody else.
        """
        with self._guard.held():
            epoch = self.store.epoch()
            self.tracer.reset()
            self._epoch = epoch
            self._unpublished = False
            self.store.withdraw(self.id)
            self._published_at = clock.now_iso()
            return self._state()

    def collect(self) -> WorkerState:
        """Hand over what ran in the epoch that has ended, and begin the new one.

        Raises:
            NotOursError: the Coverage belongs to somebody else.
            DiskFullError: there is no room; nothing is lost or forgotten.
        """
        with self._guard.held():
            self.tracer.check_is_ours("a reset")
            self._catch_up()
            self._published_at = clock.now_iso()
            return self._state()

    def _hand_over(self, epoch: int) -> None:
        """Publish under a name that nobody publishes under again; what comes is of the new epoch.

        Every line is in what is handed over or in what comes, in none of both only if it never ran.
        """
        self._flush()
        source = self.tracer.private_data()
        if source is not None:
            self._publish(self._new_id(), source)
        self.tracer.forget(keeping_files=True)
        self._epoch = epoch
        self._unpublished = True  # the load, and the names of files
        self.store.withdraw(self.id)

    def _publish(self, name: str, source: Path) -> None:
        try:
            self.store.publish(name, source, epoch=self._epoch)
        except DiskFullError:
            # Should this process end before there is room, another one publishes it: see `sweep`.
            with contextlib.suppress(OSError):
                stamp.put(source, Stamp(worker_id=name, host=self.host, epoch=self._epoch))
            raise

    def _catch_up(self) -> None:
        """Do what this worker was not told of in time."""
        epoch = self.store.epoch()
        if epoch > self._epoch:
            if self._epoch < self.store.oldest():
                self.reset()
            else:
                self._hand_over(epoch)
        paused = self.store_is_paused()
        if paused != self._paused:
            (self.pause if paused else self.resume)()

    @property
    def _is_paused(self) -> bool:
        """Tell whether this worker notes nothing now; while it loads, from its first request on."""
        marking = self.marking
        return self._paused if marking is None else marking.memory.state().paused

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
        with self._guard.held():
            if self.tracer.phase is not Phase.LOAD:
                self.tracer.pause()
            self._paused = True
            return self._state()

    def check_can_pause(self) -> None:
        """Refuse a pause before anybody is told of it.

        Raises:
            NotOursError, CannotPauseError: as `pause`, which is done where it cannot be refused.
        """
        if self.marking is None:
            self.pause()

    def resume(self) -> WorkerState:
        """Note again what runs."""
        with self._guard.held():
            self.tracer.resume()
            self._paused = False
            return self._state()

    def status(self) -> WorkerState:
        """Say that this worker is there, and what of it."""
        return replace(
            self._state(),
            server=self.server,
            core=self.tracer.measuring.core,
            requests=self.requests,
        )

    def end_load_too(self) -> WorkerState:
        """A forked child has had a request: what this process goes on to run is runtime."""
        with self._guard.held():
            self.tracer.end_load()
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
            state="failed" if error else "paused" if self._is_paused else "measuring",
            published_at=self._published_at if self.marking is None else clock.now_iso(),
            fresh=error is None and lost is None,
            error=error or lost,
        )

    @property
    def _loss(self) -> str | None:
        """Why some of what runs here is not measured, or was not; None: all of it is."""
        if isinstance(self.tracer, Tracer):
            lost = self.tracer.threads_lost
            return TRACE_LOST.format(lost) if lost else None
        return LOSES if self.tracer.loses else None

    def _flush(self) -> None:
        try:
            self._unpublished |= self.tracer.flush()
        except Exception as error:
            self._unpublished = True  # part of it may have been written
            self.tracer.rescue()
            if is_disk_full(error):
                raise DiskFullError(f"no room in {self.private} for what has run") from error
            raise
