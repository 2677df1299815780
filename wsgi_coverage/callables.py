"""Tell what a call would return, and what it takes, without calling.

Looks at types and code alone, never at attributes of an object that is not a function: an
application that loads itself when it is first touched stays unloaded. No state.
"""

from __future__ import annotations

import functools
import inspect
from types import FunctionType, MethodType
from typing import Any, NamedTuple

MOST_WRAPPERS = 100  # around each other; an object may be its own ``__call__``
CACHED: type = type(functools.lru_cache(len))
HEAP_TYPE = 1 << 9  # a class that was made by a class statement
PARTIAL = ("__partialmethod__", "_partialmethod")  # on Python 3.13, and before
PLACEHOLDER: object = getattr(functools, "Placeholder", object())  # since Python 3.14


class _Call(NamedTuple):
    """What runs in the end, and what it is given besides the arguments of the call.

    Attributes:
        function: which one.
        given: positional arguments before those of the call.
        keywords: names of keyword arguments.
        dispatched: whether another function may run, by the type of the first argument.
    """

    function: Any  # a FunctionType
    given: int
    keywords: frozenset[str]
    dispatched: bool


def is_async(called: object) -> bool:
    """Tell whether a call returns a coroutine or an async generator.

    False where that cannot be told: a class, a function that returns another one's coroutine.
    """
    call = _resolved(called)
    function = call and call.function
    return inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)


def is_generator(called: object) -> bool:
    """Tell whether a call returns a generator; False where that cannot be told."""
    call = _resolved(called)
    return call is not None and inspect.isgeneratorfunction(call.function)


def takes(called: object, count: int) -> bool:
    """Tell whether a call can have so many positional arguments; True where that cannot be told."""
    call = _resolved(called)
    if call is None or call.dispatched:
        return True
    code, given = call.function.__code__, call.given + count
    names = code.co_varnames[: code.co_argcount]
    if given > len(names) and not code.co_flags & inspect.CO_VARARGS:
        return False
    required = names[given : len(names) - len(call.function.__defaults__ or ())]
    of_keywords = code.co_varnames[len(names) : len(names) + code.co_kwonlyargcount]
    defaults = call.function.__kwdefaults__ or {}
    return not {*required, *(each for each in of_keywords if each not in defaults)} - call.keywords


def first_parameter(called: object) -> str | None:
    """The parameter that takes a call's first argument; None where it cannot be told."""
    call = _resolved(called)
    if call is None or call.given >= call.function.__code__.co_argcount:
        return None
    return str(call.function.__code__.co_varnames[call.given])


def _resolved(called: Any) -> _Call | None:
    """What runs in the end when a method, a partial, a class or an object is called."""
    given, keywords, dispatched = 0, frozenset[str](), False
    for _ in range(MOST_WRAPPERS):
        kind = type(called)
        if kind is FunctionType:
            inner = _wrapped_by_functools(called)
            if inner is None:
                return _Call(called, given, keywords, dispatched)
            dispatched |= "registry" in vars(called)
            called = inner
        elif _is_partial(kind):
            given += sum(each is not PLACEHOLDER for each in called.args)
            keywords |= frozenset(called.keywords)
            called = called.func
        elif kind is MethodType:
            given += 1
            called = called.__func__
        elif kind in (staticmethod, classmethod):
            called = called.__func__
        elif kind is CACHED:
            called = called.__wrapped__
        elif kind.__flags__ & HEAP_TYPE or issubclass(kind, type):
            called, more = _called_of(kind, called)
            given += more
        else:
            return None
    return None


def _is_partial(kind: type) -> bool:
    """Tell whether a call is one of what is in a partial; a subclass may do something else."""
    if issubclass(kind, functools.partial):
        return _found_in(kind, "__call__") is _found_in(functools.partial, "__call__")
    return issubclass(kind, functools.partialmethod)


def _called_of(kind: type, called: Any) -> tuple[Any, int]:
    """What an object's call runs: that, and how many arguments go before; None: it is not known."""
    found = _found_in(kind, "__call__")
    if found is not None and found is _found_in(type, "__call__"):
        return _made_by(called), 1
    if type(found) in (FunctionType, CACHED, classmethod, functools.partialmethod):
        return found, 1
    if type(found) in (staticmethod, MethodType) or not hasattr(type(found), "__get__"):
        return found, 0
    return None, 0


def _made_by(cls: type) -> Any:
    """What makes an instance of a class: ``__new__``, or ``__init__`` where that is object's."""
    new, init = _found_in(cls, "__new__"), _found_in(cls, "__init__")
    if new is not _found_in(object, "__new__"):
        return new
    if init is _found_in(object, "__init__"):
        return _of_nothing
    return init if type(init) is FunctionType else None


def _of_nothing(self: object) -> None:
    """Stand for what makes an instance of a class that takes no arguments."""


def _found_in(kind: type, name: str) -> Any:
    """An attribute of a class as it stands there, unbound; None: there is none."""
    return next((vars(each)[name] for each in kind.__mro__ if name in vars(each)), None)


def _wrapped_by_functools(function: Any) -> Any:
    """What `functools.singledispatch` or `functools.partialmethod` has wrapped; else None.

    `functools.wraps` says nothing: what it makes look like a coroutine function may wait for that.
    """
    if function.__globals__ is not vars(functools):
        return None
    partial = next((vars(function)[name] for name in PARTIAL if name in vars(function)), None)
    return vars(function).get("__wrapped__") if partial is None else partial
