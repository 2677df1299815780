"""Ctrl-C while our own code runs: it ends the process without a traceback, or waits.

Only where KeyboardInterrupt would be raised: a handler of the application's is left alone, and so
is a process that ignores Ctrl-C. Imports nothing that is not there at Python's start, so that as
little as can be runs before this does.

Concurrency: handlers can be set in the main thread; elsewhere nothing is done.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # signal itself is slow to import
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

INTERRUPTED = 130  # as shells have it


def _raise_once(number: int, frame: object) -> None:  # noqa: ARG001
    _signal.signal(_signal.SIGINT, _ignore)  # what is cleaned up now is cleaned up to its end
    raise KeyboardInterrupt


def _ignore(number: int, frame: object) -> None:
    """Not SIG_IGN, which processes would inherit that are started meanwhile."""


class Hold:
    """From its construction until `release`, Ctrl-C is only recorded."""

    came: bool = False

    def __init__(self) -> None:
        former = _signal.getsignal(_signal.SIGINT)
        self._is_holding = former in (_signal.default_int_handler, _raise_once) and _set(self._note)
        self._former = former

    def _note(self, number: int, frame: object) -> None:  # noqa: ARG002
        self.came = True

    def release(self, *, to_python: bool = False) -> bool:
        """Restore what Ctrl-C did before; tell whether one came meanwhile.

        Args:
            to_python: have it raise KeyboardInterrupt each time, as Python does by itself.
        """
        if self._is_holding and _signal.getsignal(_signal.SIGINT) == self._note:
            _set(_signal.default_int_handler if to_python else self._former)
        return self.came

    def __enter__(self) -> Hold:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def _set(handler: object) -> bool:
    try:
        _signal.signal(_signal.SIGINT, handler)
    except ValueError:  # in another thread than the main one
        return False
    return True


def end() -> NoReturn:
    """End this process as Ctrl-C does, after its exit handlers, without a traceback."""
    import atexit

    _signal.signal(_signal.SIGINT, _ignore)
    atexit._run_exitfuncs()  # noqa: SLF001  there is no other way to have them run before a signal
    _signal.signal(_signal.SIGINT, _signal.SIG_DFL)
    os.kill(os.getpid(), _signal.SIGINT)
    os._exit(INTERRUPTED)  # where the signal is blocked


def command(load: Callable[[], Callable[[], int]]) -> int:
    """Run a command of ours, which Ctrl-C ends without a traceback.

    The first one raises KeyboardInterrupt in it, and those that follow nothing.

    Args:
        load: imports the command; meanwhile Ctrl-C ends the process on the spot.

    Returns:
        Its exit code.
    """
    if _signal.getsignal(_signal.SIGINT) is not _signal.default_int_handler:
        return load()()
    _signal.signal(_signal.SIGINT, _signal.SIG_DFL)
    run = load()
    try:
        try:
            _signal.signal(_signal.SIGINT, _raise_once)
            return run()
        finally:
            if _signal.getsignal(_signal.SIGINT) is _raise_once:
                _signal.signal(_signal.SIGINT, _ignore)
    except KeyboardInterrupt:
        if _signal.getsignal(_signal.SIGINT) is not _ignore:
            raise  # a program's, which `wsgi-coverage run` has left Ctrl-C to
        return INTERRUPTED
