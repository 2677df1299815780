"""Ends that run no exit handlers, where an engine holds back what has run: SIGTERM, and os._exit.

SIGTERM is heeded in the process alone that has started a server or a program, where nobody else
does so. A forked child that inherits a handler in Python loses a signal that comes before Python
has set itself up there, and `multiprocessing.Pool.terminate()` then waits for it for ever. So
SIGTERM is blocked over a fork, and has its default action in the child before it is let through.
Whoever ends a process of multiprocessing has it flush first what it holds back.

Concurrency: the handler runs on the main thread between any two steps of it, also of our own. What
the mask of a forking thread was is kept for each thread.
"""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, NoReturn

Action = Callable[[], object]

_at_end: Action | None = None
_flush_of: Callable[[int], object] | None = None
_exit_is_ours = _children_are_ours = False
_masks: dict[int, set[Any]] = {}  # of threads that fork just now, before we blocked SIGTERM


def heed(at_end: Action, *, flush_of: Callable[[int], object]) -> None:
    """Have `at_end` called before SIGTERM, or os._exit, ends this process.

    Args:
        at_end: raises nothing that matters.
        flush_of: has a process flush; called before this one ends it by `Process.terminate` or
            `kill`.
    """
    global _at_end, _flush_of
    _at_end, _flush_of = at_end, flush_of
    _heed_exit()
    _heed_children()
    if _has_started_it() and threading.current_thread() is threading.main_thread():
        with contextlib.suppress(ValueError, OSError):
            if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
                signal.signal(signal.SIGTERM, _on_sigterm)


def before_fork() -> None:
    """In the parent: a SIGTERM to the child waits until it has its default action there."""
    if signal.getsignal(signal.SIGTERM) is _on_sigterm:
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        _masks[threading.get_ident()] = mask


def after_fork_in_parent() -> None:
    """In the parent: SIGTERM comes through again."""
    mask = _masks.pop(threading.get_ident(), None)
    if mask is not None:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def after_fork_in_child() -> None:
    """In a forked child: SIGTERM is as if we were not there."""
    with contextlib.suppress(ValueError, OSError):
        if signal.getsignal(signal.SIGTERM) is _on_sigterm:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
    after_fork_in_parent()
    _masks.clear()


def _has_started_it() -> bool:
    """Tell whether this is no child of multiprocessing, nor one of its helpers."""
    process: Any = sys.modules.get("multiprocessing.process")
    if process is not None and process.parent_process() is not None:
        return False
    return not any("multiprocessing" in argument for argument in sys.orig_argv)


def _on_sigterm(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
    _end()
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


def _end() -> None:
    with contextlib.suppress(Exception):
        if _at_end is not None:
            _at_end()


def _heed_exit() -> None:
    """So end the processes of requests (werkzeug's ``processes``), and children by fork of 3.11."""
    global _exit_is_ours
    if _exit_is_ours:
        return
    _exit_is_ours = True
    leave = os._exit

    @functools.wraps(leave)
    def _exit(status: int) -> NoReturn:
        _end()
        leave(status)

    os._exit = _exit


def _heed_children() -> None:
    """So end the processes of a pool, and daemons of multiprocessing."""
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
