"""Start threads after a fork only when Python has counted those that the process had at the fork.

Python 3.12 and later warn where a process with threads forks. Python 3.13, and 3.14.0, count them
after the parent's at-fork hooks, in which ours are started again: the application would hear of a
thread that was not there. A pending call of Python's is made when `os.fork()` has returned, before
the application goes on.

Concurrency: `_due` is appended to by the main thread in a hook, and emptied by it in a pending
call. A process whose other threads fork has threads of the application's, and so is warned anyway.
"""

from __future__ import annotations

import functools
import os
import sys
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

from wsgi_coverage.data.forksafe import IDLE

COUNTS_LATE = sys.version_info[:2] == (3, 13) or sys.version_info[:3] == (3, 14, 0)

_due: list[tuple[int, Callable[[], object]]] = []  # with the process that it is due in
# The parent's last hook, a partial: it asks for a pending call, or does nothing.
_hook: Any = None


def prepare() -> None:
    """Register the hooks that `after_the_count` needs; to be called after the hooks that use it."""
    global _hook
    if COUNTS_LATE and hasattr(os, "register_at_fork"):
        # No function in Python: a call that it asked for would be made at its end, amid the hooks.
        _hook = partial(int)
        os.register_at_fork(after_in_parent=_hook)


def after_the_count(start: Callable[[], object]) -> None:
    """In an at-fork hook of the parent: start threads as soon as Python has counted them.

    Args:
        start: starts what does not run; may be called at any time in the main thread.
    """
    # A monkey patch answers for `threading`; the first thread of a process has its number.
    if _hook is not None and threading.get_native_id() == os.getpid():
        _due.append((os.getpid(), start))
        _hook.__setstate__((*_asking(), {}, None))
    else:
        start()


def _go_on(_: object) -> int:
    _hook.__setstate__(IDLE)
    due, _due[:] = _due[:], []
    for pid, start in due:
        if pid == os.getpid():
            start()
    return 0


@functools.cache
def _asking() -> tuple[Any, tuple[Any, None]]:
    """The function that requests a pending call, and its arguments."""
    import ctypes  # a fork takes longer with each library that is loaded

    call = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p)(_go_on)
    return ctypes.pythonapi.Py_AddPendingCall, (call, None)
