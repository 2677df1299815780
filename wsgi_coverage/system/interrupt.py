"""Handle Ctrl-C while our own code runs: end the process without a traceback, or put it off.

This is done only where Python's own handler would raise KeyboardInterrupt, not where the
application has set a handler or ignores the signal. The module imports only what Python has loaded
at its start, so that it takes effect as early as possible.

Concurrency: signal handlers can be set in the main thread; in other threads nothing is done.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # signal itself is slow to import
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

INTERRUPTED = 130  # exit code, as in shells


def _raise_once(number: int, frame: object) -> None:  # noqa: ARG001
    _signal.signal(_signal.SIGINT, _ignore)  # so that a second Ctrl-C does not stop the clean-up
    raise KeyboardInterrupt


def _ignore(number: int, frame: object) -> None:
    """Ignore Ctrl-C. SIG_IGN is not used, because child processes would inherit it."""


class Hold:
    """Records Ctrl-C in `came`, and does nothing else for it, from construction to `release`."""

    came: bool = False

    def __init__(self) -> None:
        former = _signal.getsignal(_signal.SIGINT)
        self._is_holding = former in (_signal.default_int_handler, _raise_once) and _set(self._note)
        self._former = former

    def _note(self, number: int, frame: object) -> None:  # noqa: ARG002
        self.came = True

    def release(self, *, to_python: bool = False) -> bool:
        """Restore the handler of before; tell whether Ctrl-C came meanwhile.

        Args:
            to_python: whether to set Python's own handler instead, which raises KeyboardInterrupt.
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
    """Run exit handlers, then end this process by SIGINT, without a traceback."""
    import atexit

    _signal.signal(_signal.SIGINT, _ignore)
    atexit._run_exitfuncs()  # noqa: SLF001  there is no other way to have them run before a signal
    _signal.signal(_signal.SIGINT, _signal.SIG_DFL)
    os.kill(os.getpid(), _signal.SIGINT)
    os._exit(INTERRUPTED)  # if the signal is blocked


def command(load: Callable[[], Callable[[], int]]) -> int:
    """Run a command of ours so that Ctrl-C ends it without a traceback.

    The first Ctrl-C raises KeyboardInterrupt in the command; later ones do nothing.

    Args:
        load: imports the command and returns it; meanwhile Ctrl-C ends the process at once.

    Returns:
        The command's exit code.
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
            raise  # from a program under `wsgi-coverage run`, which handles Ctrl-C itself
        return INTERRUPTED
