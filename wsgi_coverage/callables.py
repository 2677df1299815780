"""Tell what a call would return, without calling: a coroutine, a generator, or a result.

Looks at types and code flags alone, never at attributes of an object that is not a function: an
application that loads itself when it is first touched stays unloaded. No state.
"""

from __future__ import annotations

import functools
import inspect
from types import FunctionType, MethodType
from typing import Any

MOST_WRAPPERS = 100  # around each other; an object may be its own ``__call__``
CACHED: type = type(functools.lru_cache(len))
HEAP_TYPE = 1 << 9  # a class that was made by a class statement
PARTIAL = ("__partialmethod__", "_partialmethod")  # on Python 3.13, and before


def is_async(called: object) -> bool:
    """Tell whether a call returns a coroutine or an async generator.

    False where that cannot be told: a class, a function that returns another one's coroutine.
    """
    function = _function(called)
    return inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)


def is_generator(called: object) -> bool:
    """Tell whether a call returns a generator; False where that cannot be told."""
    return inspect.isgeneratorfunction(_function(called))


def _function(called: Any) -> FunctionType | None:
    """What runs in the end when a method, a partial or an object with ``__call__`` is called."""
    for _ in range(MOST_WRAPPERS):
        kind = type(called)
        if kind is FunctionType:
            inner = _wrapped_by_functools(called)
            if inner is None:
                return called  # type: ignore[no-any-return]
            called = inner
        elif issubclass(kind, functools.partial):
            called = called.func
        elif kind in (MethodType, staticmethod, classmethod):
            called = called.__func__
        elif kind is CACHED:
            called = called.__wrapped__
        elif not kind.__flags__ & HEAP_TYPE or issubclass(kind, type):
            return None
        else:
            called = getattr(kind, "__call__", None)  # noqa: B004  which, not whether
    return None


def _wrapped_by_functools(function: Any) -> Any:
    """What `functools.singledispatch` or `functools.partialmethod` has wrapped; else None.

    `functools.wraps` says nothing: what it makes look like a coroutine function may wait for that.
    """
    if function.__globals__ is not vars(functools):
        return None
    partial = next((vars(function)[name] for name in PARTIAL if name in vars(function)), None)
    return vars(function).get("__wrapped__") if partial is None else partial.func
