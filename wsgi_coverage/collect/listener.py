"""The worker's thread: it answers calls on the channel, autosaves, and flushes.

It waits on the channel until a flush or an autosave is due; no signals are used. An engine that
holds lines back is flushed often while new lines run, so that a kill loses next to nothing. A
process that uWSGI will fork has no thread (wsgi_coverage.collect.servers.uwsgi).

Concurrency: the worker calls `start`, `stop` and `close` from one thread at a time; `interval` is
set from any.
"""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from wsgi_coverage.collect.servers import modwsgi, uwsgi
from wsgi_coverage.model import JsonObject
from wsgi_coverage.settings import AUTOSAVE_INTERVAL
from wsgi_coverage.store.channel import HAS_SOCKETS, Listener

SHORTEST_WAIT = 0.001  # seconds; a socket with a timeout of 0 would not wait at all
CHECK_INTERVAL = 60.0  # seconds between two checks where there are no autosaves
RETRY_INTERVAL = 1.0  # seconds until the channel is tried again after an error
LISTEN_TRIES = 5
# Signals that a thread itself causes, and those of profilers' timers.
OF_A_THREAD = {
    getattr(signal, name)
    for name in (
        "SIGABRT",
        "SIGBUS",
        "SIGFPE",
        "SIGILL",
        "SIGPROF",
        "SIGSEGV",
        "SIGSYS",
        "SIGTRAP",
        "SIGVTALRM",
    )
    if hasattr(signal, name)
}
FLUSH_INTERVAL, MAX_FLUSH_INTERVAL = (
    0.05,
    1.0,
)  # seconds between flushes: twice as long if nothing was new
STOP_TIMEOUT = 5.0  # seconds to wait for the thread to end before a fork


def leave_signals_alone() -> None:
    """Block all signals in a thread of ours, so that the application's threads get them.

    A thread that does not block a signal may get it instead of a thread that waits for it in
    sigwait. A thread that gevent has patched runs in the main thread, whose signals are not
    blocked.
    """
    if hasattr(signal, "pthread_sigmask") and not _is_the_main_thread():
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals() - OF_A_THREAD)


@contextlib.contextmanager
def signals_held() -> Iterator[None]:
    """Block all signals, so that a thread that is started inside begins with them blocked.

    A thread that blocks them itself may get one before that. Nothing is blocked under gevent, where
    the application may run inside of this.
    """
    if not hasattr(signal, "pthread_sigmask") or "gevent" in sys.modules:
        yield
        return
    former = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals() - OF_A_THREAD)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, former)


def _is_the_main_thread() -> bool:
    """Tell whether this is the main thread, by /proc: a monkey patch may have replaced Python's."""
    try:
        thread, process = (
            Path(f"/proc/{name}").readlink().name for name in ("thread-self", "self")
        )
    except OSError:  # no Linux
        return "gevent" in sys.modules
    return thread == process


class Service:
    """Answers the channel, autosaves and flushes, on a daemon thread.

    Args:
        folder: returns the private folder, made again if it was removed.
        answer: called with the verb of a call; returns the answer.
        autosave: called every `interval` seconds, or once a minute if there are no autosaves: it
            begins a new day, too; raises nothing.
        flush: called often; returns whether anything was new; raises nothing. None: the engine
            holds nothing back.
        note: called with a message when something goes wrong.
    """

    def __init__(
        self,
        *,
        folder: Callable[[], Path],
        answer: Callable[[str], JsonObject],
        autosave: Callable[[], None],
        flush: Callable[[], bool] | None = None,
        note: Callable[[str], None],
    ) -> None:
        self._folder = folder
        self._answer = answer
        self._autosave = autosave
        self._flush = flush
        self._note = note
        self._interval = AUTOSAVE_INTERVAL
        self._listener: Listener | None = None
        self._identity: JsonObject = {}
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()
        self._is_forked = False
        # Times of the last autosave and flush; attributes, because a fork restarts the thread.
        self._autosaved = self._flushed = time.monotonic()
        self._pause = FLUSH_INTERVAL  # seconds until the next flush

    @property
    def interval(self) -> float:
        """Seconds between autosaves; 0 means never."""
        return self._interval

    @interval.setter
    def interval(self, seconds: float) -> None:
        if seconds != self._interval:
            self._interval = seconds
            self._wake()

    def listen(self, identity: JsonObject) -> None:
        """Bind a socket on which this process answers calls, unless it has one.

        Args:
            identity: the worker's id, host and process id, for the answers.
        """
        if self._listener is not None and not self._listener.answers:
            self.let_go()
        self._bind(identity, answers=True)

    def be_listed(self, identity: JsonObject) -> None:
        """Bind a socket that answers no calls, so that `ss -x` shows this process as measured."""
        self._bind(identity, answers=False)

    def _bind(self, identity: JsonObject, *, answers: bool) -> None:
        if not HAS_SOCKETS or self.is_waiting or self._listener is not None:
            return
        self._identity = identity
        try:
            self._listener = self._new_listener(identity, answers=answers)
        except OSError as error:
            self._note(f"no channel to other workers: {error}")

    def _new_listener(self, identity: JsonObject, *, answers: bool = True) -> Listener:
        for _ in range(LISTEN_TRIES):
            with contextlib.suppress(FileNotFoundError):  # the last worker has removed the folder
                return Listener(self._folder(), identity, answers=answers)
        return Listener(self._folder(), identity, answers=answers)

    @property
    def is_waiting(self) -> bool:
        """Tell whether `listen` and `start` do nothing yet, because uWSGI is still to fork."""
        return not self._is_forked and uwsgi.is_to_fork()

    @property
    def has_begun(self) -> bool:
        """Tell whether the thread has been started in this process."""
        return self._thread is not None

    @property
    def has_thread(self) -> bool:
        """Tell whether the thread runs now."""
        return self._thread is not None and not self._stopping.is_set()

    def start(self) -> None:
        """Start the thread, if it does not run."""
        if self.is_waiting or self.has_thread:
            return
        self._stopping = threading.Event()
        self._thread = threading.Thread(
            target=self._run,
            args=(self._listener, self._stopping),
            name="wsgi-coverage",
            daemon=True,
        )
        with signals_held():
            self._thread.start()

    def stop(self) -> None:
        """Stop the thread; the next one answers the calls that come until then."""
        if self._thread is None:
            return
        self._stopping.set()
        self._wake()
        self._thread.join(STOP_TIMEOUT)
        # Before Python 3.13 the system may still have a thread that was joined. A thread that
        # gevent has patched runs in the main thread.
        if self._thread.native_id == threading.main_thread().native_id:
            return
        task, deadline = Path(f"/proc/self/task/{self._thread.native_id}"), time.monotonic() + 0.05
        while task.exists() and time.monotonic() < deadline:
            time.sleep(0)

    def forget(self) -> None:
        """Close a forked child's copy of the parent's socket; the parent's thread is not here."""
        self._is_forked = True
        self._thread = None
        self.let_go()

    def forgetting(self) -> Callable[[], object]:
        """Return, in the parent, a function that closes the socket's copy in a forked child."""
        return self._listener.letting_go() if self._listener is not None else list

    def let_go(self) -> None:
        """Close the socket, until the next `listen`; to be called when no thread runs."""
        listener, self._listener = self._listener, None  # before it is closed: a thread may use it
        if listener is not None:
            listener.close()

    def close(self) -> None:
        """Close the socket, without waiting for the thread."""
        self._stopping.set()
        if self._listener is not None:
            self._listener.close()

    def _wake(self) -> None:
        if self._listener is not None:
            self._listener.wake()

    def _run(self, listener: Listener | None, stopping: threading.Event) -> None:
        modwsgi.spare_this_thread()
        leave_signals_alone()
        problem = None  # the last one that was reported
        while not stopping.is_set():
            interval = self._interval or CHECK_INTERVAL
            left = max(self._autosaved + interval - time.monotonic(), SHORTEST_WAIT)
            if self._flush is not None:
                until = max(self._flushed + self._pause - time.monotonic(), SHORTEST_WAIT)
                left = min(left, until)
            try:
                if listener is None:
                    stopping.wait(left)
                else:
                    listener.serve(left, self._answer)
                    problem = None
            except Exception as error:  # noqa: BLE001  a loop survives
                if stopping.wait(RETRY_INTERVAL) or self._listener is not listener:
                    return  # the socket was closed because the worker ends, or has another
                if str(error) != problem:
                    problem = str(error)
                    self._note(f"the channel failed: {problem}")
                listener = self._mended(listener, stopping)
            if self._is_removed(listener):
                listener = self._mended(listener, stopping)
            if self._flush is not None and time.monotonic() >= self._flushed + self._pause:
                was_new = self._flush()
                self._pause = (
                    FLUSH_INTERVAL if was_new else min(2 * self._pause, MAX_FLUSH_INTERVAL)
                )
                self._flushed = time.monotonic()
            if time.monotonic() >= self._autosaved + interval:
                self._autosave()
                self._autosaved = time.monotonic()

    def _is_removed(self, listener: Listener | None) -> bool:
        """Tell whether the private folder, or the socket in it, was removed."""
        if listener is None or listener is not self._listener or listener.is_reachable:
            return False
        return not self._stopping.is_set()  # last: the end sets it before it removes the socket

    def _mended(self, old: Listener | None, stopping: threading.Event) -> Listener | None:
        """Return a new listener if the old one's socket was closed or removed, else the old one."""
        if old is None or (old.is_open and old.is_reachable):
            return old
        try:
            new = self._new_listener(self._identity)
        except OSError:
            return old  # to be tried again
        old.close()
        self._listener = new
        if stopping.is_set():
            new.close()  # `close` may not have seen it
        return new
