"""This process's worker: its tracer, its autosave, its end of the channel.

There is one worker a process, however many applications are wrapped in it.

Concurrency: `_lock` guards the tracer and everything that publishes it; no store or channel call of
another process is waited for under it. One daemon thread waits for calls on the channel, with the
autosave interval as its timeout. A signal handler that interrupts the main thread inside the lock
leaves a note there, and the lock's owner acts on it when it lets go.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import re
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

from wsgi_coverage import clock
from wsgi_coverage.collect.tracer import Tracer
from wsgi_coverage.errors import WsgiCoverageError
from wsgi_coverage.model import Gathering, JsonObject, WorkerState
from wsgi_coverage.store.base import Store
from wsgi_coverage.store.channel import HAS_SOCKETS, Listener, call_all
from wsgi_coverage.store.files import FilesStore
from wsgi_coverage.store.private import private_folder

log = logging.getLogger("wsgi_coverage")

DEFAULT_INTERVAL = 30.0  # seconds
LISTEN_TRIES = 5
END_PATIENCE = 5.0  # seconds that a SIGTERM waits for a flush that is under way
SOON = 0.001  # seconds; a socket with a timeout of 0 would not wait at all
RETRY = 1.0  # seconds until the channel is tried again after an error


class Worker:
    """What this process has executed, and the means to publish it.

    Args:
        config_file: coverage.py's configuration; None: where coverage.py always looks.

    Raises:
        SettingsError: the configuration cannot be read.
    """

    def __init__(self, *, config_file: Path | None = None) -> None:
        self._make_locks()
        self._interval = DEFAULT_INTERVAL
        self._configured = False
        self._closed = False
        self.problems: list[str] = []  # what went wrong last, for /health
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
            config_file=config_file, new_data_file=self._new_data_file, on_save=self._on_save
        )
        self.private = private_folder(self.tracer.data_file)
        files = FilesStore(self.tracer.data_file, fallback=self.private)
        self.home = files.folder  # the cache and the snapshots go there by default
        self.store: Store = files
        self._sweep()
        self._listen()
        self._start_thread()
        self._chain_sigterm()

    # Identity

    def _name_anew(self) -> None:
        self.pid = os.getpid()
        self.host = socket.gethostname()
        self.id = f"{self.host}.{self.pid}.{os.urandom(4).hex()}"
        self._published_at: str | None = None

    def _new_data_file(self, data_file: Path) -> Path:
        return private_folder(data_file) / f"data-{os.getpid()}-{os.urandom(4).hex()}"

    def _sweep(self) -> None:
        """Remove private data files of processes that were killed."""
        for path in self.private.glob("data-*"):
            match = re.fullmatch(r"data-(\d+)-[0-9a-f]+", path.name)
            if match and not _is_alive(int(match[1])):
                with contextlib.suppress(OSError):
                    path.unlink()

    # The lock

    def _make_locks(self) -> None:
        self._lock = threading.RLock()
        self._forking = threading.Lock()  # held from before a fork to after it
        self._owner: int | None = None  # the thread that holds _lock
        self._ending_by: int | None = None  # a signal that came while _owner was inside

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        with self._lock:
            outermost = self._owner is None
            self._owner = threading.get_ident()
            try:
                yield
            finally:
                if outermost:
                    self._owner = None
        if outermost and self._ending_by is not None:
            self._end_by_signal(self._ending_by)

    # What can be asked of it

    def configure(self, autosave_interval: float, *, provisional: bool = False) -> None:
        """Set the autosave interval, in seconds, 0 for never.

        Where two applications of one process differ, the shorter one holds for both. A provisional
        one holds until an application says otherwise.
        """
        if provisional and self._configured:
            return
        if self._configured:
            given = [seconds for seconds in (self._interval, autosave_interval) if seconds]
            autosave_interval = min(given, default=0.0)
        self._configured = not provisional
        if autosave_interval != self._interval:
            self._interval = autosave_interval
            self._wake()

    @property
    def autosave_interval(self) -> float:
        """Seconds between autosaves; 0 means never."""
        return self._interval

    def publish(self) -> WorkerState:
        """Publish everything that this process has executed up to now.

        Raises:
            DiskFullError: there is no room; nothing is lost, the next publish has it all.
        """
        with self._locked():
            new = self._flush()
            source = self.tracer.private_data()
            if source is not None and (new or not self.store.is_published(self.id)):
                self.store.publish(self.id, source)
            self._published_at = clock.now_iso()
            return self._state()

    def reset(self) -> WorkerState:
        """Forget what ran up to now, here and in what was published.

        Raises:
            NotOursError: the Coverage belongs to somebody else.
        """
        with self._locked():
            self.tracer.reset()
            self.store.withdraw(self.id)
            self._published_at = clock.now_iso()
            return self._state()

    def status(self) -> WorkerState:
        """Say that this worker is there."""
        return self._state()

    def gather(self, verb: str, *, wait: float) -> Gathering:
        """Have every live worker of this host, this one included, do one thing.

        Args:
            verb: publish, reset or status.
            wait: seconds to wait for answers, at most.

        Raises:
            WsgiCoverageError: this worker itself could not.
        """
        mine = self._verbs()[verb]()
        answers = call_all(self.private, verb, wait=wait, but=self.id) if HAS_SOCKETS else []
        others = (_state_of(answer) for answer in answers)
        workers = sorted((mine, *others), key=lambda worker: (worker.host, worker.pid))
        return Gathering(workers=tuple(workers), ended_at=clock.now())

    def _verbs(self) -> dict[str, Callable[[], WorkerState]]:
        return {"publish": self.publish, "reset": self.reset, "status": self.status}

    def _state(self, *, error: str | None = None) -> WorkerState:
        return WorkerState(
            id=self.id,
            host=self.host,
            pid=self.pid,
            state="failed" if error else "measuring",
            published_at=self._published_at,
            fresh=error is None,
            error=error,
        )

    def _flush(self) -> bool:
        try:
            return self.tracer.flush()
        except Exception:
            self.tracer.rescue()
            raise

    def _on_save(self, flush: Callable[[], bool]) -> bool:
        """Somebody else asked the Coverage to save; its exit handler comes this way too."""
        with self._locked():
            private_folder(self.tracer.data_file)  # gone, if all workers have ended
            flushed = flush()
            self._attempt("saving", self._publish_after_the_end if self._closed else self.publish)
        return flushed

    # The thread

    def _listen(self) -> None:
        self._listener: Listener | None = None
        if HAS_SOCKETS:
            identity = {"id": self.id, "host": self.host, "pid": self.pid}
            try:
                self._listener = self._new_listener(identity)
            except OSError as error:
                self._note(f"no channel to other workers: {error}")

    def _new_listener(self, identity: JsonObject) -> Listener:
        for _ in range(LISTEN_TRIES):
            with contextlib.suppress(FileNotFoundError):  # the last worker to end removes the folder
                return Listener(private_folder(self.tracer.data_file), identity)
        return Listener(private_folder(self.tracer.data_file), identity)

    def _start_thread(self) -> None:
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="wsgi-coverage", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        listener, stopping = self._listener, self._stopping
        last = time.monotonic()
        while not stopping.is_set():
            interval = self._interval
            left = max(last + interval - time.monotonic(), SOON) if interval else None
            try:
                if listener is None:
                    stopping.wait(left)
                else:
                    listener.serve(left, self._answer)
            except Exception as error:  # noqa: BLE001  a loop survives
                if stopping.wait(RETRY):
                    return  # the socket was closed because the worker ends
                self._note(f"the channel failed: {error}")
            if interval and time.monotonic() >= last + interval:
                self._attempt("autosave", self.publish)
                last = time.monotonic()

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
        self.problems = [*self.problems[-9:], f"{clock.now_iso()} {problem}"]

    def _wake(self) -> None:
        if self._listener is not None:
            self._listener.wake()

    # Forks

    def before_fork(self) -> None:
        """In the parent: nothing of ours is under way, and no thread of ours runs, at the fork.

        Python warns where a process with threads forks; the application shall not hear of ours.
        """
        self._forking.acquire()
        self._stop_thread()
        self._lock.acquire()

    def after_fork_in_parent(self) -> None:
        """In the parent: go on."""
        self._lock.release()
        if not self._closed:
            self._start_thread()
        self._forking.release()

    def after_fork_in_child(self) -> None:
        """In a child: new locks, identity, private data file, socket and thread."""
        self._make_locks()
        self._closed = False
        if self._listener is not None:
            self._listener.close()
        self._name_anew()
        self.tracer.after_fork()
        self._listen()
        self._start_thread()

    def _stop_thread(self) -> None:
        self._stopping.set()
        self._wake()
        self._thread.join(END_PATIENCE)
        # Before Python 3.13 a joined thread may still be there for the system, which is asked.
        tasks, deadline = Path(f"/proc/self/task/{self._thread.native_id}"), time.monotonic() + 0.05
        while tasks.exists() and time.monotonic() < deadline:
            time.sleep(0)

    def check_pid(self) -> None:
        """Notice a fork that ran no hooks (uWSGI forks in C)."""
        if self.pid != os.getpid():
            self.after_fork_in_child()

    # The end

    def close(self) -> None:
        """Publish what is left and leave no trace; the process ends."""
        if self._closed or self.pid != os.getpid():
            return
        with self._locked():
            self._closed = True
            self._attempt("the last save", self._publish_at_the_end)
            self._stopping.set()
            if self._listener is not None:
                self._listener.close()
            self._leave_no_folder()

    def _publish_at_the_end(self) -> None:
        self._flush()
        self.tracer.touch_unexecuted_files()
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

    def _chain_sigterm(self) -> None:
        """Where SIGTERM would end the process on the spot, publish first.

        A server's own handler is left alone: those end the process so that exit handlers run.
        """
        if threading.current_thread() is not threading.main_thread():
            return
        with contextlib.suppress(ValueError, OSError):
            if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
                signal.signal(signal.SIGTERM, self._on_sigterm)

    def _on_sigterm(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        if self._owner == threading.get_ident():
            self._ending_by = number  # mid-flush, further up this very stack
        else:
            self._end_by_signal(number)

    def _end_by_signal(self, number: int) -> None:
        if self._lock.acquire(timeout=END_PATIENCE):
            self.close()
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)


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
    )


def _is_alive(pid: int) -> bool:
    with contextlib.suppress(OSError):  # one that nobody has waited for yet has ended, too
        if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
            return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
