"""Flush before a process ends without exit handlers: by SIGTERM, os._exit or multiprocessing.

For the second engine, which holds lines back. SIGTERM is caught only in a process that a user or a
server started, not a measured parent, and only where it had the default action. A forked child that
inherits a Python handler loses a signal that comes before Python is initialized there, and
`multiprocessing.Pool.terminate()` then waits for it for ever. So SIGTERM is blocked over a fork,
and has its default action in the child before it is unblocked. A process that ends another one
through multiprocessing has it flush first.

Concurrency: the handler runs on the main thread, between any two steps of its code and of ours. The
former signal mask is stored for each thread that forks.
"""

from __future__ import annotations

import contextlib
import functools
import operator
import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, NoReturn

from wsgi_coverage.collect.engines import own_coverage

AtEnd = Callable[[int | None], bool]

_at_end: AtEnd | None = None
_flush_of: Callable[[int], object] | None = None
_exit_is_ours = _children_are_ours = False
_masks: dict[int, set[Any]] = {}  # by id of a thread that forks: its mask before the fork


def register(at_end: AtEnd, *, flush_of: Callable[[int], object]) -> None:
    """Have `at_end` called before SIGTERM or os._exit ends this process.

    Args:
        at_end: called with the signal's number, or None before os._exit. Returns False where it
            cannot finish now and will call `die` itself.
        flush_of: called with a process id, has that process flush; called before this process ends
            it by `Process.terminate` or `Process.kill`.
    """
    global _at_end, _flush_of
    _at_end, _flush_of = at_end, flush_of
    _wrap_exit()
    _wrap_terminate()
    if _has_started_it() and threading.current_thread() is threading.main_thread():
        with contextlib.suppress(ValueError, OSError):
            if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
                signal.signal(signal.SIGTERM, _on_sigterm)


def before_fork() -> None:
    """Block SIGTERM in the parent, until the child has the default action for it.

    A handler of the application's may raise at any step here and in `after_fork_in_parent`.
    """
    if signal.getsignal(signal.SIGTERM) is _on_sigterm:
        if threading.get_ident() not in _masks:  # else the last fork has left it blocked
            _masks[threading.get_ident()] = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})


def after_fork_in_parent() -> None:
    """Restore the signal mask in the parent, which unblocks SIGTERM."""
    try:
        _restore()
    finally:
        _restore()


def _restore() -> None:
    mask = _masks.get(threading.get_ident())
    if mask is not None:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        del _masks[threading.get_ident()]


def after_fork_in_child() -> None:
    """Restore the default action of SIGTERM in a forked child, then its signal mask."""
    with contextlib.suppress(ValueError, OSError):
        if signal.getsignal(signal.SIGTERM) is _on_sigterm:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
    after_fork_in_parent()
    _masks.clear()


def _has_started_it() -> bool:
    """Tell whether a user or a server has started this process, and not a measured parent.

    A parent that has started a child, by multiprocessing or not, may end it by SIGTERM, and wait.
    """
    if own_coverage.inherited is not None:
        return False
    process: Any = sys.modules.get("multiprocessing.process")
    if process is not None and process.parent_process() is not None:
        return False
    return not any(
        argument.startswith("from multiprocessing.") or argument == "--multiprocessing-fork"
        for argument in sys.orig_argv
    )


def _on_sigterm(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
    if signal.getsignal(number) is not _on_sigterm:
        return  # another handler, which has been set since, calls the one before
    with contextlib.suppress(Exception):
        if _at_end is not None and not _at_end(number):
            return
    die(number)


def die(number: int) -> None:
    """End this process by a signal's default action."""
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


def _wrap_exit() -> None:
    """Wrap os._exit, by which werkzeug's request processes and, on 3.11, forked children end."""
    global _exit_is_ours
    if _exit_is_ours:
        return
    _exit_is_ours = True
    leave = os._exit

    @functools.wraps(leave)
    def _exit(status: int) -> NoReturn:
        number = operator.index(status)  # refused before anything is done
        with contextlib.suppress(Exception):
            if _at_end is not None:
                _at_end(None)
        leave(number)

    os._exit = _exit


def _wrap_terminate() -> None:
    """Wrap `terminate` and `kill` of multiprocessing, by which it ends pools and daemons."""
    global _children_are_ours
    if _children_are_ours:
        return
    _children_are_ours = True
    try:
        from multiprocessing.popen_fork import Popen
    except ImportError:  # no POSIX
        return
    kind: Any = Popen
    for name in ("terminate", "kill"):
        setattr(kind, name, _flushing_before(getattr(kind, name)))


def _flushing_before(end: Any) -> Any:
    @functools.wraps(end)
    def ending(process: Any) -> Any:
        with contextlib.suppress(Exception):
            if _flush_of is not None and process.returncode is None:
                _flush_of(process.pid)
        return end(process)

    return ending
