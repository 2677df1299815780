"""This process's worker: its engine, its socket of the channel, its forks, and its end.

There is one worker a process, however many applications are wrapped in it.

Concurrency: changes of what is measured take the engine's lock, under which no answer of another
process is waited for. No lock is held over a fork. `_starting` is held while the thread is started
or stopped, `_noticing` while a fork without hooks is handled, `_checking` by the one request, or
thread, that checks the memory. One daemon thread (wsgi_coverage.collect.listener), where one is
needed, answers calls, flushes and autosaves.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from wsgi_coverage import clock
from wsgi_coverage.collect import engine, exits, gathering, restarting
from wsgi_coverage.collect.engines import own_coverage
from wsgi_coverage.collect.engines.attention import ALWAYS
from wsgi_coverage.collect.engines.base import Engine
from wsgi_coverage.collect.listener import CHECK_INTERVAL, Service
from wsgi_coverage.collect.memories import HostMemories
from wsgi_coverage.collect.peers import worker_id
from wsgi_coverage.collect.problems import Problems
from wsgi_coverage.collect.saves import saving
from wsgi_coverage.collect.saves.data_file_writer import DataFileWriter
from wsgi_coverage.collect.servers import modwsgi, uwsgi
from wsgi_coverage.collect.sources.imported_before import Before, modules_now
from wsgi_coverage.collect.verbs import Verbs
from wsgi_coverage.errors import storage_errors
from wsgi_coverage.model import Gathering, JsonObject, WorkerState, is_going_on
from wsgi_coverage.store import processes
from wsgi_coverage.store.base import DataFileStore
from wsgi_coverage.store.channel import Verb, call_all, tell
from wsgi_coverage.store.days import DaysKept
from wsgi_coverage.store.files import FilesStore
from wsgi_coverage.store.memory import Memory
from wsgi_coverage.store.private import private_folder
from wsgi_coverage.system import interrupt

log: logging.Logger = logging.getLogger("wsgi_coverage")

START_TIMEOUT = 1.0  # seconds to wait for another thread to have started or stopped ours
FLUSH_TIMEOUT = 0.5  # seconds to wait for a child's flush, which takes some milliseconds
END_TIMEOUT = 5.0  # seconds that an end waits for what another thread does


class Worker:
    """Measures this process, and answers for it.

    Args:
        config_file: coverage.py's configuration; None: where coverage.py always looks.
        branch: whether branches are measured; None: as the configuration says.
        wraps: whether an application is about to be wrapped.

    Raises:
        SettingsError: the configuration cannot be read.
    """

    def __init__(
        self, *, config_file: Path | None = None, branch: bool | None = None, wraps: bool = False
    ) -> None:
        self.wraps: bool = wraps  # whether an application is wrapped in this process
        self.server: str | None = None  # the server's name; None before the first request
        self._starting = threading.Lock()
        self._forkers: set[int] = set()  # ids of threads that are about to fork
        self._noticing = threading.Lock()
        self._checking = threading.Lock()
        # The turn number at the last check of the memory, and when that was (monotonic clock).
        self._checked, self._checked_at = -1, 0.0
        self._configured = False
        self._closed = False
        self._has_forked = False
        self._is_forked = False
        # A forked child calls this instead of `after_fork_in_child` if it registers late.
        self.be_late: Callable[[], None] | None = None
        self._tidy: Callable[[], object] | None = None
        self._see_to_agent: Callable[[], None] | None = None
        self._problems = Problems()
        self._verbs = Verbs(self)
        self.started_at: str = clock.now_iso()
        self._last_failure: str | None = None  # message of the last flush, if it failed
        there = modules_now()
        # Registered before that of our own Coverage, so that it runs after it.
        atexit.register(self.close)
        try:
            self._start(config_file, branch, there)
        except BaseException:
            atexit.unregister(self.close)
            raise

    def _start(self, config_file: Path | None, branch: bool | None, there: Before) -> None:
        self.engine: Engine = engine.start(config_file=config_file, branch=branch)
        self.engine.note_early(there.without_lazy())
        self.memories: HostMemories = HostMemories(self.engine, lambda: self.store)
        self.data_file_writer: DataFileWriter = DataFileWriter(
            self.engine,
            self.memories,
            self._problems,
            private=lambda: self.private,
            flush=self.flush,
            end=self.close,
        )
        self._name_anew()
        self._settle()
        self._service = Service(
            folder=self._private_folder,
            answer=self._verbs.answer,
            autosave=lambda: self._problems.attempt("autosave", self._check),
            flush=self._try_to_flush
            if self.engine.holds_lines_back and self.engine.measuring.lossless
            else None,
            note=self._problems.note,
        )
        self.memories.announce_epoch()
        self.engine.answer_from_memory(readings=self.memories.readings, save=self.save)
        self.engine.apply_announced()
        if self.engine.holds_lines_back:
            exits.register(self.close_in_time, flush_of=self._have_flushed)
        self._start_service()
        self._service.be_listed(self._identity())

    def _settle(self) -> None:
        """Choose the folders that this process's user may write to."""
        self._user = _user()
        self.private: Path = self._private_folder()
        files = FilesStore(self.engine.data_file, fallback=self.private, is_first=True)
        self.home: Path = files.folder  # default folder of the analysis cache and the snapshots
        self.store: DataFileStore = files

    def check_user(self) -> None:
        """Choose the folders again where the process's user has changed, as gunicorn's does."""
        if _user() != self._user:
            self._settle()

    def _private_folder(self) -> Path:
        return private_folder(self.engine.data_file)

    # Identity

    def _name_anew(self) -> None:
        self.pid: int = os.getpid()
        self.host: str = socket.gethostname()

    @property
    def id(self) -> str:
        """The worker's id in answers: host, process id, random token of its entry in the memory."""
        return worker_id(self.host, self.pid, self.engine.token)

    def name_server(self, name: str | None) -> None:
        """Record the server's name; None: unknown."""
        self.server = name
        if name is not None:
            self.engine.name_server(name)

    @property
    def requests(self) -> int | None:
        """Number of the application's requests in this process; None if none is wrapped here."""
        return int(self.engine.attention.requests[0]) if self.wraps else None

    def _identity(self) -> JsonObject:
        return {"id": self.id, "host": self.host, "pid": self.pid}

    @property
    def memory(self) -> Memory:
        """The shared memory of this process."""
        return self.engine.memory

    # From the load to the first request

    def note_branch(self, branch: bool | None) -> None:
        """Report a problem if an application sets another `branch` than the first one."""
        if branch is not None and branch is not self.engine.measuring.branch:
            self._problems.note(f"branch={branch} is ignored: measuring had begun without it")

    def configure(self, autosave_interval: float, *, provisional: bool = False) -> None:
        """Set the autosave interval.

        Args:
            autosave_interval: seconds; 0 means never. Of two applications of one process, the
                shorter interval is used.
            provisional: whether the next call replaces it.
        """
        if provisional and self._configured:
            return
        if self._configured:
            given = [seconds for seconds in (self.autosave_interval, autosave_interval) if seconds]
            autosave_interval = min(given, default=0.0)
        self._configured = not provisional
        self._service.interval = autosave_interval
        self._set_pace()
        self._check_soon()

    def _set_pace(self) -> None:
        """Have every request check where nothing else would tell of a new day."""
        self.engine.always_checks = not self.autosave_interval and self.memories.marks_days

    def keep_days(self, kept: DaysKept) -> None:
        """Record on which days lines run, from now on.

        Of two applications, the one that keeps more days wins, and the first one that has a
        release. Nothing is recorded where 'coverage run' or a test runner started the Coverage.

        Args:
            kept: how many days, and the name of the deploy.
        """
        days = kept.days if self.engine.can_reset else 0
        self.data_file_writer.days = max(self.data_file_writer.days, days)
        self.engine.memory.release = self.engine.memory.release or kept.release
        if self.data_file_writer.days:
            self.memories.marks_days = True
            self._set_pace()
            self.memories.announce_epoch()
            self.engine.apply_announced()

    def begin_load(self) -> None:
        """Count what has run, and what runs until the first request, as an application's load."""
        self.engine.register_late()
        self.wraps = True
        self.engine.begin_load()
        self._stop_service()

    def end_load(self) -> None:
        """Count what runs from now on as runtime: the first request has come.

        After that, each request checks whether a reset or a pause is due.
        """
        self.engine.register_late()
        self.check_user()
        if modwsgi.traced_threads_hang() and self.engine.holds_lines_back:
            from wsgi_coverage.collect.engines.all_threads import trace_nowhere  # loads ctypes

            trace_nowhere()  # with a trace function, the main thread would hang at its end
        is_first = self.engine.note_request()
        self.engine.end_load()
        if not is_first:
            return
        self._stop_service()
        parent = self.engine.loading_parent()
        if parent is not None:
            tell(self.private, parent, Verb.END_LOAD)
        self._check_soon()

    def before_request(self) -> None:
        """Apply resets and pauses before a request; check the memory if no thread does."""
        self.engine.register_late()
        if self.engine.before_request():
            turn = self.engine.attention.turn
            if self.engine.always_checks and not self._is_check_due(turn[0]):
                return
            self._problems.attempt("checking the shared memory", self._check)
            self.engine.apply_announced()  # a new day, which this request belongs to
            self._checked, self._checked_at = turn[0], time.monotonic()

    def _is_check_due(self, turn: int) -> bool:
        """Tell whether there is news, or the last check is long ago."""
        if turn != self._checked or self.memories.is_new_day(self.engine.day):
            return True
        return time.monotonic() > self._checked_at + CHECK_INTERVAL

    def _check_soon(self) -> None:
        """Have the next request check the memory; check now if our thread runs."""
        if self._service.has_thread:
            self._problems.attempt("autosave", self._check)
        if not self.engine.holds_lines_back:  # else the thread does
            self.engine.attention.applied = ALWAYS  # until the next request has checked

    def _check(self) -> None:
        """Announce the store's epoch; start the fleet's agent and an autosave if they are due."""
        if self._checking.acquire(blocking=False):  # other requests, and the thread, go on
            try:
                self._check_alone()
            finally:
                self._checking.release()

    def _check_alone(self) -> None:
        self.memories.announce_epoch()  # another host may have reset
        if self._see_to_agent is not None:
            self._problems.attempt("starting the agent of this host", self._see_to_agent)
        if self._service.has_thread:  # there may be no request to do so
            self._problems.attempt("beginning a new day", self.engine.apply_announced)
        self.data_file_writer.check_autosave(self.autosave_interval, stays=self._service.has_thread)

    def _try_to_flush(self) -> bool:
        """Flush what the engine holds back; tell whether anything was new. Log failures."""
        try:
            new = self.engine.flush()
        except Exception as error:  # noqa: BLE001  the thread goes on, and tries again
            failure = f"{type(error).__name__}: {error}"
            if failure != self._last_failure:
                self._problems.note(f"executed lines could not be flushed yet: {failure}")
            self._last_failure = failure
            return False
        self._last_failure = None
        return new

    def _have_flushed(self, pid: int) -> None:
        """Have another process flush, because this one is about to end it."""
        call_all(self.private, Verb.FLUSH, wait=FLUSH_TIMEOUT, only=pid)

    def save(self) -> None:
        """Write what has been executed on this host up to now to a data file.

        Raises:
            StorageError: it cannot be written; nothing is lost.
        """
        if self._closed:
            self._save_after_the_end()
        else:
            self.data_file_writer.save()

    @property
    def autosave_interval(self) -> float:
        """Seconds between autosaves; 0 means never."""
        return self._service.interval

    def on_last_end(self, tidy: Callable[[], object]) -> None:
        """Set the function that the last process calls at its end: `Control.tidy`."""
        self._tidy = tidy

    def on_check(self, see_to: Callable[[], None]) -> None:
        """Set the function that starts the agent of this host's fleet if it does not run.

        Args:
            see_to: called at each check of the memory. The first application of a process sets it
                for all.
        """
        self._see_to_agent = self._see_to_agent or see_to

    # Calls from this process and from others

    def ask_all(self, verb: Verb, *, wait: float) -> Gathering:
        """Have every live worker of this host, this one included, do one thing: see `gathering`.

        Args:
            verb: what to do.
            wait: seconds to wait for answers, at most.

        Raises:
            WsgiCoverageError: this worker itself has failed.
        """
        return gathering.ask_all(self, verb, wait=wait)

    def live_ids(self) -> set[str] | None:
        """Return the ids of this host's live workers, without a call; None: they are unknown."""
        return gathering.live_ids(self)

    def do(self, verb: Verb) -> WorkerState:
        """Do one of the things that all workers of a host are asked to do: see `Verbs`."""
        return self._verbs.do(verb)

    def flush(self) -> None:
        """Flush everything that this process has executed up to now into the memory.

        Raises:
            StorageError: it cannot be written; nothing is lost, the next flush tries again.
        """
        with storage_errors(f"{self.private} cannot store the executed lines"):
            self.engine.flush()

    @property
    def problems(self) -> list[str]:
        """The last problems of this process, for /health."""
        return self._problems.recent

    def note_problem(self, problem: str) -> None:
        """Log a problem of this process, and keep it for /health, unless it was the last one."""
        self._problems.note_once(problem)

    def store_is_paused(self) -> bool:
        """Tell whether the store says that measuring is paused."""
        return is_going_on(self.store.pauses())

    # The thread

    def _needs_thread(self) -> bool:
        """Tell whether this process needs a thread, to be told of a reset or to flush.

        A process that serves requests checks for resets itself, and one that loads an application
        will. A forked child that does neither has a thread only below `wsgi-coverage run`.
        """
        if self.engine.holds_lines_back:
            return True
        if self.engine.flags & processes.SERVES:
            return False
        if self.wraps:
            return self._has_forked
        return (
            not self._is_forked or own_coverage.with_children or own_coverage.inherited is not None
        )

    @property
    def _may_have_thread(self) -> bool:
        """Tell whether our thread runs, or is just being started."""
        return self._service.has_thread or self._starting.locked()

    @contextlib.contextmanager
    def _one_at_a_time(self) -> Iterator[None]:
        """Let one thread at a time start or stop ours; give up a lock that is never released.

        An application's signal handler that raises just after the lock was acquired leaves it so.
        """
        lock = self._starting
        is_taken = lock.acquire(timeout=START_TIMEOUT)
        if not is_taken:
            self._starting = threading.Lock()
        try:
            yield
        finally:
            if is_taken:
                lock.release()

    def _start_service(self) -> None:
        with self._one_at_a_time():
            if self._needs_thread() and not self._forkers and not self._closed:
                self._service.listen(self._identity())
                self._service.start()
                self.engine.note_listening(listens=self._service.has_thread)

    def _stop_service(self) -> None:
        if self._service.has_thread and not self._needs_thread():
            with self._one_at_a_time():
                self._service.stop()
                self._service.let_go()  # calls that came meanwhile are refused
                self._service.be_listed(self._identity())
            self.engine.note_listening(listens=False)
            self.data_file_writer.dismiss_autosave()

    # Forks

    def before_fork(self) -> bool:
        """Stop our thread in the parent before a fork.

        Python warns if a process with threads forks, and shall not warn the application of ours.

        Returns:
            Whether `after_fork_in_parent` has anything to do. A call without need costs time: each
            page of memory that it writes to has to be copied after a fork.
        """
        holds = self.engine.holds_lines_back
        self.engine.register_late()
        if self.engine.flags & processes.SERVES and not holds and not self._may_have_thread:
            self.be_late = self.engine.being_late(self._begin_late, self._service.forgetting())
            return False
        if holds:
            exits.before_fork()
        self._forkers.add(threading.get_ident())  # no thread is started after this
        if self._may_have_thread:
            with self._one_at_a_time():
                self._service.stop()
        return True

    def after_fork_in_parent(self) -> None:
        """Start our thread again in the parent, also if an application's signal handler raises."""
        try:
            if self.engine.holds_lines_back:
                exits.after_fork_in_parent()
        finally:
            self._has_forked = True
            self._forkers.discard(threading.get_ident())
            if not self._service.has_thread and self._needs_thread():
                restarting.after_the_count(self._start_service)

    def after_fork_in_child(self) -> None:
        """Give a forked child new locks, an id, and a socket and a thread if it needs them."""
        self._starting = threading.Lock()
        self._forkers = set()
        self._noticing = threading.Lock()
        self._checking = threading.Lock()
        self._closed = self._has_forked = False
        self.be_late = None
        self._is_forked = True
        if self.engine.holds_lines_back:
            exits.after_fork_in_child()
        self._service.forget()
        self.engine.after_fork()
        self._name_anew()
        self.data_file_writer.after_fork()
        if self._needs_thread():
            self._start_service()

    def _begin_late(self) -> None:
        """Register a forked child that runs something new for the first time."""
        self.after_fork_in_child()
        self.engine.apply_announced()

    @property
    def is_of_this_process(self) -> bool:
        """False right after a fork that ran no hooks."""
        return self.pid == os.getpid()

    def check_pid(self) -> None:
        """Register a child that was forked without hooks, or start the thread that uWSGI put off.

        Raises:
            RuntimeError: measuring would end this process by a segmentation fault.
        """
        self.engine.register_late()
        if self.is_of_this_process and (
            self._service.has_begun or not self.engine.holds_lines_back
        ):
            return
        with self._noticing:
            if not self.is_of_this_process:
                uwsgi.check_threads()
                self.after_fork_in_child()
            elif not self._service.has_begun:
                self._start_service()

    # The end

    def close(self) -> None:
        """Flush at the end of the process, save if it is the last, remove its socket and entry."""
        self.engine.register_late()
        if self._closed or self.pid != os.getpid():
            return
        with interrupt.Hold(), self.data_file_writer.writing():
            self._closed = True
            self.engine.check_memory()
            self._problems.attempt("the last flush", self.engine.flush)
            self._problems.attempt("the last save", self._leave)
            self._service.close()
            self._leave_no_folder()

    def close_in_time(self, number: int | None) -> bool:
        """Call `close`, unless another thread holds the engine's lock for 5 seconds.

        Args:
            number: number of the signal that ends the process; None: it ends by itself.

        Returns:
            False if this very thread is writing a data file, after which it ends the process.
        """
        if self.data_file_writer.puts_off(number):
            return False
        if self.engine.is_free_within(END_TIMEOUT):
            self.close()
        return True

    def save_before_exec(self) -> None:
        """Flush before an exec, which runs no exit handlers; save if this process is the last."""
        self.engine.register_late()
        self.flush()
        if self.engine.is_alone():
            self._save_at_the_end()

    def _leave(self) -> None:
        """Free this process's entry; if it was the last, save the memory and remove it."""
        if not self.engine.close():
            return
        self._save_at_the_end()
        if not self._is_forked and self._tidy is not None:
            self._tidy()
        saving.take_away(self.memory)

    def _save_at_the_end(self) -> None:
        if self._is_forked:
            # A thread of the parent may have been inside SQLite, whose locks would stay held here.
            self.data_file_writer.save_elsewhere()
        else:
            self.data_file_writer.save_here()

    def _save_after_the_end(self) -> None:
        """Save once more what exit handlers have run after `close`."""
        if self.engine.reopen():
            self._problems.attempt("the last save", self._leave)
            self._leave_no_folder()

    def _leave_no_folder(self) -> None:
        with contextlib.suppress(OSError):  # other workers are in it
            self.private.rmdir()


def _user() -> int:
    return os.geteuid() if hasattr(os, "geteuid") else 0
