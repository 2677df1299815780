"""Install a trace function in every running thread, so that ctrace measures after a pause again.

`sys.settrace` sets the trace function of the calling thread only. Python 3.12 and later can set it
in all threads; on Python 3.11 this calls the C API.

Concurrency: called under the engine's lock; the function that is installed runs in each thread at
its next event.
"""

from __future__ import annotations

import ctypes
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

from wsgi_coverage.collect.servers import modwsgi

TraceFunction = Callable[[FrameType, str, Any], Any]
EVENTS = ("call", "exception", "line", "return", "c_call", "c_exception", "c_return", "opcode")

_callbacks: list[Any] = []  # C code refers to them without a reference count


def can_trace_everywhere() -> bool:
    """Tell whether `trace_everywhere` works here."""
    if modwsgi.traced_threads_hang():
        return False
    return hasattr(threading, "settrace_all_threads") or _set_trace() is not None


def trace_everywhere(install: TraceFunction) -> None:
    """Have each running thread, this one included, call a function at its next event.

    Args:
        install: a trace function as for `sys.settrace`, which installs the permanent one.
    """
    if sys.version_info >= (3, 12):
        hook = threading.gettrace()
        threading.settrace_all_threads(install)
        threading.settrace(hook)  # type: ignore[arg-type]  # new threads get theirs elsewhere
        return
    set_trace = _set_trace()
    if set_trace is None:
        return

    def once(_: object, frame: FrameType, event: int, arg: object) -> int:  # noqa: ARG001
        install(frame, EVENTS[event], None)
        return 0

    callback = _CALLBACK(once)
    _callbacks[:] = [callback]
    for state in _thread_states():
        set_trace(state, callback, None)


def trace_nowhere() -> None:
    """Remove the trace functions of all threads, on Python 3.11."""
    set_trace = _set_trace()
    if set_trace is not None:
        for state in _thread_states():
            set_trace(state, _CALLBACK(), None)


_CALLBACK = ctypes.PYFUNCTYPE(
    ctypes.c_int, ctypes.py_object, ctypes.py_object, ctypes.c_int, ctypes.c_void_p
)


def _set_trace() -> Any:
    """Return the C function that sets another thread's trace function; None: there is none."""
    found = getattr(ctypes.pythonapi, "_PyEval_SetTrace", None)
    if found is not None:
        found.argtypes = [ctypes.c_void_p, _CALLBACK, ctypes.py_object]
        found.restype = ctypes.c_int
    return found


def _thread_states() -> list[int]:
    api = ctypes.pythonapi
    api.PyInterpreterState_Get.restype = ctypes.c_void_p
    for each in (api.PyInterpreterState_ThreadHead, api.PyThreadState_Next):
        each.restype = ctypes.c_void_p
        each.argtypes = [ctypes.c_void_p]
    out = []
    state = api.PyInterpreterState_ThreadHead(api.PyInterpreterState_Get())
    while state:
        out.append(state)
        state = api.PyThreadState_Next(state)
    return out
