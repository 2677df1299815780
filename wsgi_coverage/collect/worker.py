"""This process's worker: its tracer, what it publishes, its end of the channel.

There is one worker a process, however many applications are wrapped in it.

Concurrency: `_guard` guards the tracer and everything that publishes it; no answer of another
process is waited for under it. `_forking` is held from before a fork to after it, `_noticing` while
a fork without hooks is noticed. One daemon thread (wsgi_coverage.collect.service) answers calls and
autosaves.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path

from wsgi_coverage import clock
from wsgi_coverage.collect import modwsgi, uwsgi
from wsgi_coverage.collect.everywhere import trace_nowhere
from wsgi_coverage.collect.facts import imported_before
from wsgi_coverage.collect.guard import Guard
from wsgi_coverage.collect.member import Member
from wsgi_coverage.collect.requests import Requests
from wsgi_coverage.collect.service import Service
from wsgi_coverage.collect.tracer import Tracer
from wsgi_coverage.data import stamp
from wsgi_coverage.errors import WsgiCoverageError
from wsgi_coverage.model import Gathering, JsonObject, WorkerState
from wsgi_coverage.store.base import Store
from wsgi_coverage.store.channel import HAS_SOCKETS, call_all
from wsgi_coverage.store.files import FilesStore
from wsgi_coverage.store.private import new_data_file, private_folder, sweep

log = logging.getLogger("wsgi_coverage")

PROBLEMS_KEPT = 10  # for /health


class Worker(Member):
    """What this process has executed, and the means to publish it.

    Args:
        config_file: coverage.py's configuration; None: where coverage.py always looks.

    Raises:
        SettingsError: the configuration cannot be read.
    """

    def __init__(self, *, config_file: Path | None = None) -> None:
        self._guard = Guard(self.close)
        self._forking = threading.Lock()
        self._noticing = threading.Lock()
        self._configured = False
        self._paused = False
        self._closed = False
        self._tidy: Callable[[], object] | None = None
        self.requests = Requests()
        self.problems: list[str] = []  # what went wrong last, for /health
        self.imported_before = imported_before()  # names of modules
        self._name_anew()
        # Registered before a Coverage of our own registers: runs after it, when all is recorded.
        atexit.register(self.close)
        try:
            self._start(config_file)
        except BaseException:
            atexit.unregister(self.close)
            raise

    def _start(self, config_file: Path | None) -> None:
        self.tracer = Tracer(
            config_file=config_file, new_data_file=new_data_file, on_save=self._on_save
        )
        self.private = self._private_folder()
        files = FilesStore(self.tracer.data_file, fallback=self.private)
        self.home = files.folder  # the cache and the snapshots go there by default
        self.store: Store = files
        self._paused = self.store_is_paused()  # as of the first request: the load is measured
        self._service = Service(
            folder=self._private_folder,
            answer=self._answer,
            autosave=lambda: self._attempt("autosave", self.publish),
            note=self._note,
        )
        sweep(self.private, self._publish_for_another)
        self._service.listen(self._identity())
        self._begin_epoch()
        self._service.start()
        self._guard.chain_sigterm()

    def _publish_for_another(self, path: Path) -> bool:
        """Publish what a worker could not that has ended; False if there is no room yet."""
        left = stamp.read(path)
        try:
            if left is not None:
                self.store.publish(left.worker_id, path, epoch=left.epoch)
        except WsgiCoverageError as error:
            self._note(f"what worker {left and left.worker_id} ran is still in {path}: {error}")
            return False
        return True

    def _private_folder(self) -> Path:
        return private_folder(self.tracer.data_file)

    # What can be asked of it

    def configure(self, autosave_interval: float, *, provisional: bool = False) -> None:
        """Set the autosave interval, in seconds, 0 for never.

        Where two applications of one process differ, the shorter one holds for both. A provisional
        one holds until an application says otherwise.
        """
        if provisional and self._configured:
            return
        if self._configured:
            given = [seconds for seconds in (self.autosave_interval, autosave_interval) if seconds]
            autosave_interval = min(given, default=0.0)
        self._configured = not provisional
        self._service.interval = autosave_interval

    def begin_load(self) -> None:
        """An application is being wrapped: what runs before its first request is its load."""
        with self._guard.held():
            self.tracer.begin_load()

    def end_load(self) -> None:
        """A first request has come: what runs from now on is runtime."""
        with self._guard.held():
            if modwsgi.traced_threads_hang():
                trace_nowhere()  # the load's; the main thread's would keep the process from ending
            self.tracer.end_load()
            if self._paused:
                self.tracer.pause()

    @property
    def autosave_interval(self) -> float:
        """Seconds between autosaves; 0 means never."""
        return self._service.interval

    def keep_tidy(self, tidy: Callable[[], object]) -> None:
        """Have something done in this process soon, and in each of its forks: see Control.tidy."""
        self._tidy = tidy
        self._service.errand(lambda: self._attempt("tidying", tidy))

    def gather(self, verb: str, *, wait: float) -> Gathering:
        """Have every live worker of this host, this one included, do one thing.

        Args:
            verb: publish, reset, collect, pause, resume or status.
            wait: seconds to wait for answers, at most.

        Raises:
            WsgiCoverageError: this worker itself could not.
        """
        mine = self._verbs()[verb]()
        answers = call_all(self.private, verb, wait=wait, but=self.id) if HAS_SOCKETS else []
        others = (_state_of(answer) for answer in answers)
        workers = sorted((mine, *others), key=lambda worker: (worker.host, worker.pid))
        return Gathering(workers=tuple(workers), ended_at=clock.now())

    def _on_save(self, flush: Callable[[], bool]) -> bool:
        """Somebody else asked the Coverage to save; its exit handler comes this way too."""
        with self._guard.held():
            self._private_folder()  # gone, if all workers have ended
            flushed = flush()
            self._unpublished |= flushed
            self._attempt("saving", self._publish_after_the_end if self._closed else self.publish)
        return flushed

    def _answer(self, verb: str) -> JsonObject:
        try:
            return self._verbs()[verb]().as_json()
        except Exception as error:  # noqa: BLE001  the caller is told, the thread goes on
            log.warning("%s failed: %s", verb, error)
            return self._state(error=f"{type(error).__name__}: {error}").as_json()

    def _attempt(self, what: str, action: Callable[[], object]) -> None:
        try:
            action()
        except WsgiCoverageError as error:
            self._note(f"{what} failed: {error}")
        except Exception as error:
            log.exception("%s failed", what)
            self._remember(f"{what} failed: {type(error).__name__}: {error}")

    def _note(self, problem: str) -> None:
        log.warning("%s", problem)
        self._remember(problem)

    def _remember(self, problem: str) -> None:
        self.problems = [*self.problems[1 - PROBLEMS_KEPT :], f"{clock.now_iso()} {problem}"]

    # Forks

    def before_fork(self) -> None:
        """In the parent: nothing of ours is under way, and no thread of ours runs, at the fork.

        Python warns where a process with threads forks; the application shall not hear of ours.
        """
        self._forking.acquire()
        self._service.stop()
        self._guard.acquire()

    def after_fork_in_parent(self) -> None:
        """In the parent: go on."""
        self._guard.release()
        if not self._closed:
            self._service.start()
        self._forking.release()

    def after_fork_in_child(self) -> None:
        """In a child: new locks, identity, private data file, socket and thread."""
        self._guard.renew()
        self._forking = threading.Lock()
        self._closed = False
        self.requests.begin_anew()
        self._service.forget()
        self._name_anew()
        self.tracer.after_fork()
        self._service.listen(self._identity())
        self._begin_epoch()
        self._service.start()
        if self._tidy is not None:
            self.keep_tidy(self._tidy)

    @property
    def is_of_this_process(self) -> bool:
        """False right after a fork that ran no hooks."""
        return self.pid == os.getpid()

    def check_pid(self) -> None:
        """Notice a fork that ran no hooks, or that the one waited for did not come: see `uwsgi`.

        Raises:
            RuntimeError: measuring would end this process by a segmentation fault.
        """
        if self.is_of_this_process and self._service.has_begun:
            return
        with self._noticing:
            if not self.is_of_this_process:
                uwsgi.check_threads()
                self.after_fork_in_child()
            elif not self._service.has_begun:
                self._service.listen(self._identity())
                self._service.start()

    # The end

    def close(self) -> None:
        """Publish what is left and leave no trace; the process ends."""
        if self._closed or self.pid != os.getpid():
            return
        with self._guard.held():
            self._closed = True
            self._attempt("the last save", self._publish_at_the_end)
            self._service.close()
            self._leave_no_folder()

    def close_in_time(self) -> None:
        """The same, where nothing may keep the process from ending for long."""
        self._guard.end()

    def _publish_at_the_end(self) -> None:
        self._flush()
        self.tracer.touch_unexecuted_files()
        self._unpublished = True  # the touched files
        self.publish()
        self.tracer.let_go()

    def _publish_after_the_end(self) -> None:
        """Exit handlers that ran after `close` may have run measured lines: one more data file."""
        if self.tracer.private_data() is not None:
            self._name_anew()
            self.publish()
            self.tracer.let_go()
        self._leave_no_folder()

    def _leave_no_folder(self) -> None:
        with contextlib.suppress(OSError):  # other workers are in it
            self.private.rmdir()


def _state_of(answer: JsonObject) -> WorkerState:
    answered = bool(answer["answered"])
    return WorkerState(
        id=answer["id"],
        host=answer["host"],
        pid=answer["pid"],
        state=answer["state"] if answered else "silent",
        published_at=answer.get("published_at"),
        fresh=answered and answer["fresh"],
        error=answer.get("error") if answered else "no answer in time",
        server=answer.get("server"),
        core=answer.get("core"),
        requests=answer.get("requests"),
    )
