"""The worker's lock, and how an end that runs no exit handlers takes its turn at it.

Concurrency: a signal handler runs on the main thread between any two steps of it. Where that is
inside the lock, the handler leaves a note, and the lock's owner acts on it when it lets go.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

PATIENCE = 5.0  # seconds that an end waits for what another thread does under the lock


class Guard:
    """A re-entrant lock around everything that touches the tracer or publishes it.

    Args:
        at_end: called before a SIGTERM or os._exit ends the process; the lock is held.
    """

    def __init__(self, at_end: Callable[[], None]) -> None:
        self._at_end = at_end
        self.renew()

    def renew(self) -> None:
        """In a forked child: the old lock may be held by a thread that is not there any more."""
        self._lock = threading.RLock()
        self._owner: int | None = None
        self._ending_by: int | None = None  # a signal that came while _owner was inside

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Hold the lock; afterwards end the process if a SIGTERM came meanwhile."""
        with self._lock:
            outermost = self._owner is None
            self._owner = threading.get_ident()
            try:
                yield
            finally:
                if outermost:
                    self._owner = None
        if outermost and self._ending_by is not None:
            self._end(self._ending_by)

    def acquire(self) -> None:
        """Take the lock before a fork."""
        self._lock.acquire()

    def release(self) -> None:
        """Let go of the lock after a fork, in the parent."""
        self._lock.release()

    def chain_sigterm(self) -> None:
        """Where SIGTERM would end the process on the spot, have `at_end` called first.

        A server's own handler is left alone: those end the process so that exit handlers run.
        """
        if threading.current_thread() is not threading.main_thread():
            return
        with contextlib.suppress(ValueError, OSError):
            if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
                signal.signal(signal.SIGTERM, self._on_sigterm)

    def _on_sigterm(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        if self._owner == threading.get_ident():
            self._ending_by = number  # further up this very stack
        else:
            self._end(number)

    def end(self) -> None:
        """The process is about to end without exit handlers: call `at_end`.

        Nothing is called where that is inside the lock: what is going on there cannot be completed.
        """
        if self._owner != threading.get_ident() and self._lock.acquire(timeout=PATIENCE):
            self._at_end()

    def _end(self, number: int) -> None:
        self.end()
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
