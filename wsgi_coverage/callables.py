"""Tell what a call would return, without calling: a coroutine, a generator, or a result.

Looks at types and code flags alone, never at attributes of an object that is not a function: an
application that loads itself when it is first touched stays unloaded. No state.
"""

from __future__ import annotations

import functools
import inspect
from types import FunctionType, MethodType
from typing import Any


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
    while type(called) is not FunctionType:
        kind = type(called)
        if issubclass(kind, functools.partial):
            called = called.func
        elif kind is MethodType:
            called = called.__func__
        else:
            called = getattr(kind, "__call__", None)  # noqa: B004  which, not whether
            if type(called) not in (FunctionType, MethodType):
                return None
    return called
