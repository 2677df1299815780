"""Start our thread after a fork only when Python has counted the threads of the process.

Python 3.12 and later warn if a process with threads forks. Python 3.13, and 3.14.0, count the
threads after the parent's at-fork hooks, which start ours again: the application would get a
warning about a thread that did not run at the fork. So the thread is started by a pending call
(Py_AddPendingCall), which Python makes when `os.fork()` has returned, before the application's next
step.

Concurrency: only the main thread uses `_due`: a hook appends, a pending call empties it. A process
that forks in another thread has threads of the application, and so is warned anyway.
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

_due: list[tuple[int, Callable[[], object]]] = []  # process id, and what to call in that process
# The parent's last hook, a partial: it requests a pending call, or does nothing.
_hook: Any = None


def prepare() -> None:
    """Register the hook that `after_the_count` needs, after the hooks that call that."""
    global _hook
    if COUNTS_LATE and hasattr(os, "register_at_fork"):
        # No Python function: the pending call would be made at its end, before the other hooks.
        _hook = partial(int)
        os.register_at_fork(after_in_parent=_hook)


def after_the_count(start: Callable[[], object]) -> None:
    """Call `start` as soon as Python has counted the threads; for an at-fork hook of the parent.

    Args:
        start: starts the threads that do not run; is called in the main thread, or at once.
    """
    # By ids, because a monkey patch may replace `threading`: the main thread has the process id.
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
    """Return the C function that requests a pending call, and its arguments."""
    import ctypes  # a fork takes longer with each library that is loaded

    call = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p)(_go_on)
    return ctypes.pythonapi.Py_AddPendingCall, (call, None)
