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
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from wsgi_coverage import clock
from wsgi_coverage.collect import engine, live, modwsgi, saving, uwsgi
from wsgi_coverage.collect.attention import ALWAYS
from wsgi_coverage.collect.everywhere import trace_nowhere
from wsgi_coverage.collect.facts import imported_before
from wsgi_coverage.collect.guard import Guard
from wsgi_coverage.collect.keeping import keep
from wsgi_coverage.collect.marking import Marking
from wsgi_coverage.collect.member import Member
from wsgi_coverage.collect.others import others
from wsgi_coverage.collect.service import Service
from wsgi_coverage.collect.tracer import Tracer
from wsgi_coverage.data import stamp
from wsgi_coverage.data.reading import Reading
from wsgi_coverage.errors import DiskFullError, WsgiCoverageError, is_disk_full
from wsgi_coverage.model import Gathering, JsonObject, WorkerState
from wsgi_coverage.offload import child
from wsgi_coverage.patience import tick
from wsgi_coverage.store import processes
from wsgi_coverage.store.base import Store
from wsgi_coverage.store.channel import HAS_SOCKETS, call_all, listening, tell
from wsgi_coverage.store.files import FilesStore
from wsgi_coverage.store.memory import Memory, open_if_there
from wsgi_coverage.store.private import new_data_file, places, private_folder, sweep

log = logging.getLogger("wsgi_coverage")

PROBLEMS_KEPT = 10  # for /health
MISSED = (
    "another host has reset, and this one heard of it only now: what ran here in between is not "
    "told apart from what ran before, and is not counted"
)
KEEPER_PATIENCE = 5.0  # seconds for the process to write, which is told to wait for an interval


class Worker(Member):
    """What this process has executed, and the means to publish it.

    Args:
        config_file: coverage.py's configuration; None: where coverage.py always looks.

    Raises:
        SettingsError: the configuration cannot be read.
    """

    def __init__(self, *, config_file: Path | None = None, branch: bool | None = None) -> None:
        self._guard = Guard(self.close)
        self._forking = threading.Lock()
        self._forker: int | None = None  # the thread that holds it
        self._noticing = threading.Lock()
        self._looking = threading.Lock()
        self._configured = False
        self._paused = False
        self._closed = False
        self._has_forked = False
        self._is_forked = False
        self._tidy: Callable[[], object] | None = None
        self._keeper: child.Begun | None = None
        self.problems: list[str] = []  # what went wrong last, for /health
        self.imported_before = imported_before()  # names of modules
        # Registered before a Coverage of our own registers: runs after it, when all is recorded.
        atexit.register(self.close)
        try:
            self._start(config_file, branch)
        except BaseException:
            atexit.unregister(self.close)
            raise

    def _start(self, config_file: Path | None, branch: bool | None) -> None:
        self.tracer = engine.start(
            config_file=config_file,
            branch=branch,
            new_data_file=new_data_file,
            on_save=self._on_save,
        )
        self._name_anew()
        self._settle()
        self._paused = self.store_is_paused()  # as of the first request: the load is measured
        self._service = Service(
            folder=self._private_folder,
            answer=self._answer,
            autosave=lambda: self._attempt("autosave", self._look),
            note=self._note,
        )
        sweep(self.private, self._publish_for_another)
        self._service.listen(self._identity())
        self._begin_epoch()
        self.announce()
        if self.marking is None:
            self._guard.chain_sigterm()
        else:
            self.marking.lend(readings=self.readings, publish=self.save)
            self.marking.hear()
        self._start_service()

    def _settle(self) -> None:
        """Find the places where this process's user may write."""
        self._user = _user()
        self.private = self._private_folder()
        files = FilesStore(self.tracer.data_file, fallback=self.private, is_first=True)
        self.home = files.folder  # the cache and the snapshots go there by default
        self.store: Store = files

    def check_user(self) -> None:
        """Notice that a server has given up its user since, as gunicorn does after --preload."""
        if _user() != self._user:
            self._settle()

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

    def note_branch(self, branch: bool | None) -> None:
        """Whether branches are measured was settled at the beginning; say where that differs."""
        if branch is not None and branch is not self.tracer.measuring.branch:
            self._note(f"branch={branch} is ignored: measuring had begun without it")

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
        self._look_soon()

    def begin_load(self) -> None:
        """An application is being wrapped: what runs before its first request is its load."""
        self.wraps = True
        if isinstance(self.tracer, Tracer) and self.tracer.needs_looks:
            self.tracer.attention.heard = ALWAYS
        with self._guard.held():
            self.tracer.begin_load()
        self._stop_service()

    def end_load(self) -> None:
        """A first request has come: what runs from now on is runtime."""
        if self.marking is not None:
            self._serve_first(self.marking)
            return
        with self._guard.held():
            if modwsgi.traced_threads_hang():
                trace_nowhere()  # the load's; the main thread's would keep the process from ending
            self.tracer.end_load()
            if self._paused:
                self.tracer.pause()

    def _serve_first(self, marking: Marking) -> None:
        """From now on each request looks whether there is something to hear of: no thread does."""
        self.check_user()
        is_first = marking.serves()
        marking.end_load()
        if not is_first:
            return
        self._stop_service()
        if self._is_forked:
            self._service.listen(self._identity())  # so that others see that this process lives
        parent = marking.loading_parent()
        if parent is not None:
            tell(self.private, parent, "end-load")
        self._look_soon()

    def attend(self) -> None:
        """Do what a request found to be due, before it goes on; see Attention."""
        if isinstance(self.tracer, Tracer):
            self.tracer.look_at_thread()
            return
        self.tracer.hear()
        if self._looking.acquire(blocking=False):  # the other threads' requests go on
            try:
                self._attempt("looking after the memory", self._look)
            finally:
                self._looking.release()

    def _look_soon(self) -> None:
        """Look after the memory at the next request; now, where it may be that none comes."""
        if self.marking is None:
            return
        if self._service.has_thread:
            self._attempt("autosave", self._look)
        self.marking.attention.heard = ALWAYS  # until it has been heard of

    def _look(self) -> None:
        """See whether the memory is there, and have it written to a data file where that is due."""
        if (keeper := self._keeper) is not None and keeper.is_done():
            self._keeper = None
            if keeper.error is not None:
                self._note(f"autosave failed: {keeper.error}")
        if self.marking is None:
            self.publish()
            return
        self.announce()  # another host may have reset
        if self.autosave_interval:
            self._see_to_keeping(self.marking)

    def _see_to_keeping(self, marking: Marking) -> None:
        """Have a process wait to write what is new, where none does, or one for too long."""
        now, memory = time.monotonic(), marking.memory
        until = now + self.autosave_interval + KEEPER_PATIENCE
        if now < memory.kept_until <= until:
            return
        if self._keeper is not None:
            self._keeper.let_go()
        self._keeper = self._begin_keeping(marking)
        memory.keep_until(until)

    def _begin_keeping(self, marking: Marking) -> child.Begun | None:
        folder, data_file = marking.memory.folder, marking.data_file
        interval = self.autosave_interval
        try:
            return child.begin(keep, folder, data_file, self._static, self.pid, interval)
        except child.NoInterpreterError:
            self.save_here()
            return None

    @property
    def _static(self) -> str | None:
        static: str | None = self.tracer.config.context
        return static

    def save(self) -> None:
        """Write what is marked in memory to a data file; what is traced is published instead.

        In a child process, so that no fork of the application meets SQLite at work here.

        Raises:
            DiskFullError: there is no room; nothing is lost.
        """
        marking = self.marking
        if marking is None:
            self.publish()
            return
        folder, data_file = marking.memory.folder, marking.data_file
        try:
            child.call(saving.save_in, folder, data_file, self._static, tick=tick)
        except child.NoInterpreterError:
            self.save_here()
        except OSError as error:
            if is_disk_full(error):
                raise DiskFullError(str(error)) from error
            raise

    def save_here(self) -> None:
        """The same in this process, which ends, or has no Python to start."""
        marking = self.marking
        if marking is None:
            self.publish()
            return
        with saving.saving(marking.memory.folder):
            readings = marking.readings()
            store = FilesStore(marking.data_file, fallback=self.private)
            saving.save_readings(readings, store, self._static)
            marking.memory.note_saved(readings[0].checksum())

    @property
    def autosave_interval(self) -> float:
        """Seconds between autosaves; 0 means never."""
        return self._service.interval

    def keep_tidy(self, tidy: Callable[[], object]) -> None:
        """Have something done in this process soon, and in each of its forks: see Control.tidy."""
        self._tidy = tidy
        if self.marking is None:
            self._service.errand(lambda: self._attempt("tidying", tidy))

    def gather(self, verb: str, *, wait: float) -> Gathering:
        """Have every live worker of this host, this one included, do one thing.

        Args:
            verb: publish, reset, collect, pause, resume or status.
            wait: seconds to wait for answers, at most.

        Raises:
            WsgiCoverageError: this worker itself could not.
        """
        self.announce()
        mine = self._as_it_is(self._verbs()[verb]())
        silent = {} if self.memory is None else others(self.memory, verb, host=self.host)
        but = {self.id, *silent}
        answers = call_all(self.private, verb, wait=wait, but=but) if HAS_SOCKETS else []
        answered = (_state_of(answer) for answer in answers)
        workers = (mine, *answered, *silent.values())
        return Gathering(
            workers=tuple(sorted(workers, key=lambda worker: (worker.host, worker.pid))),
            ended_at=clock.now(),
        )

    def _as_it_is(self, mine: WorkerState) -> WorkerState:
        """This worker's state, where what it stands for is not all there."""
        memory = self.memory
        if memory is not None and memory.has_missed:
            return replace(mine, fresh=False, error=MISSED)
        return mine

    # The memory of this host

    @property
    def memory(self) -> Memory | None:
        """Where processes of this host mark lines; None: none does."""
        return self.tracer.memory or open_if_there(self.private)

    def announce(self) -> None:
        """Have the processes that mark lines hear of what the store says."""
        for memory in self._memories():
            if not self.store.announce(memory):
                epoch = memory.state().epoch
                memory.end_epochs(epoch)
                memory.miss(epoch)

    def _memories(self) -> list[Memory]:
        if self.marking is not None:
            self.marking.look_after()
        known = [each for each in (self.memory, *self.tracer.held) if each is not None]
        folders = {each.folder for each in known}
        more = (
            open_if_there(each) for each in places(self.tracer.data_file) if each not in folders
        )
        return [*known, *(each for each in more if each is not None)]

    def make_room(self) -> None:
        """Allocate what the next epoch needs, before anybody hears of it.

        Raises:
            DiskFullError: there is no room.
        """
        for memory in self._memories():
            try:
                memory.make_room(self.store.epoch() + 1)
            except OSError as error:
                if is_disk_full(error):
                    raise DiskFullError(f"no room in {memory.folder} for what will run") from error

    def readings(self, *, before: int | None = None) -> list[Reading]:
        """What is marked in this host's memory up to now.

        Args:
            before: only what belongs to older epochs than this, and the load.
        """
        return [each.read(before=before) for each in self._memories()]

    def end_epochs(self, before: int, counted: Sequence[Reading] = ()) -> None:
        """What is marked in epochs older than this counts no more; what comes late does.

        Args:
            before: the epoch that has begun.
            counted: what was read of them; else what they hold now.
        """
        known = {reading.id: reading for reading in counted}
        for memory in self._memories():
            with contextlib.suppress(OSError):
                memory.end_epochs(before, known.get(memory.id))
                memory.sweep()

    def live_ids(self) -> set[str]:
        """Ids of this host's workers that live; none of them is asked."""
        found = {self.id, *listening(self.private)} if HAS_SOCKETS else {self.id}
        for memory in self._memories():
            found.update(others(memory, "status", host=self.host))
        return found

    def memory_ids(self) -> set[str]:
        """Ids of this host's memories, which are those of their data files."""
        return {memory.id for memory in self._memories()}

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

    # The thread

    def _needs_thread(self) -> bool:
        """Tell whether nothing but a thread can tell this process of a reset.

        A process that serves looks itself; one that loads an application will; a forked child that
        does neither is told only below `wsgi-coverage run`.
        """
        if self.marking is None:
            return True
        if self.marking.flags & processes.SERVES:
            return False
        if self.wraps:
            return self._has_forked
        return not self._is_forked or live.with_children or live.inherited is not None

    def _start_service(self) -> None:
        if self._needs_thread():
            self._service.start()
            if self.marking is not None:
                self.marking.listens(does=self._service.has_thread)

    def _stop_service(self) -> None:
        if self.marking is not None and self._service.has_thread and not self._needs_thread():
            self._service.stop()
            self.marking.listens(does=False)

    # Forks

    def before_fork(self) -> None:
        """In the parent: nothing of ours is under way, and no thread of ours runs, at the fork.

        Python warns where a process with threads forks; the application shall not hear of ours.
        """
        runs = self._service.has_thread or self._forking.locked()  # another thread stops it
        if self.marking is not None and not runs:
            return
        self._forking.acquire()
        self._forker = threading.get_ident()
        self._service.stop()
        if self.marking is None:
            self._guard.acquire()

    def after_fork_in_parent(self) -> None:
        """In the parent: go on."""
        self._has_forked = True
        if self._forker != threading.get_ident():
            if self._needs_thread() and not self._closed:
                with self._forking:
                    self._start_service()
            return
        if self.marking is None:
            self._guard.release()
        if not self._closed:
            self._start_service()
        self._forker = None
        self._forking.release()

    def after_fork_in_child(self) -> None:
        """In a child: new locks, identity, private data file, socket and thread."""
        self._guard.renew()
        self._forking = threading.Lock()
        self._forker = None
        self._noticing = threading.Lock()
        self._looking = threading.Lock()
        self._closed = self._has_forked = False
        self._is_forked = True
        self._service.forget()
        self.tracer.after_fork()
        self._name_anew()
        if self._keeper is not None:
            self._keeper.let_go()
            self._keeper = None
        if self.marking is not None:
            if self._needs_thread():
                self._service.listen(self._identity())
                self._start_service()
            return
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
        if self.is_of_this_process and (self._service.has_begun or self.marking is not None):
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

    def publish_before_exec(self) -> None:
        """Another program takes this process over, which runs no exit handlers."""
        if self.marking is None:
            self.publish()
        elif self.marking.is_alone():
            self.save_here()

    def _publish_at_the_end(self) -> None:
        if self.marking is not None:
            self._leave(self.marking)
            return
        self._flush()
        self.tracer.touch_unexecuted_files()
        self._unpublished = True  # the touched files
        self.publish()
        self.tracer.let_go()

    def _leave(self, marking: Marking) -> None:
        """The last process of a memory writes it to a data file, and takes it away."""
        if not marking.close():
            return
        self.save_here()
        if self._tidy is not None:
            self._tidy()
        saving.take_away(marking.memory)

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


def _user() -> int:
    return os.geteuid() if hasattr(os, "geteuid") else 0


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
