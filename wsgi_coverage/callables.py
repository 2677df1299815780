"""Tell whether a callable is async, a generator, or takes some arguments, without calling it.

Only types and code are inspected, never attributes of an object that is not a function: an
application that is loaded lazily, on the first access to an attribute, stays unloaded. No state.
"""

from __future__ import annotations

import functools
import inspect
from types import FunctionType, MethodType
from typing import Any, NamedTuple

MOST_WRAPPERS = 100  # nested; a bound, because an object may be its own ``__call__``
CACHED: type = type(functools.lru_cache(len))
HEAP_TYPE = 1 << 9  # a class that was made by a class statement
PARTIAL = ("__partialmethod__", "_partialmethod")  # on Python 3.13, and before
PLACEHOLDER: object = getattr(functools, "Placeholder", object())  # since Python 3.14


class _Call(NamedTuple):
    """The function that a call runs in the end, and arguments that wrappers add.

    Attributes:
        function: the function.
        given: the number of positional arguments before those of the call.
        keywords: names of keyword arguments that are added.
        dispatched: whether another function may run, by the type of the first argument.
    """

    function: Any  # a FunctionType
    given: int
    keywords: frozenset[str]
    dispatched: bool


def is_async(called: object) -> bool:
    """Tell whether a call returns a coroutine or an async generator.

    False where it is not known: for a class, or a function that returns another one's coroutine.
    """
    call = _resolved(called)
    function = call and call.function
    return inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)


def is_generator(called: object) -> bool:
    """Tell whether a call returns a generator; False where it is not known."""
    call = _resolved(called)
    return call is not None and inspect.isgeneratorfunction(call.function)


def takes(called: object, count: int) -> bool:
    """Tell whether a call can have `count` positional arguments; True where it is not known."""
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
    """Return the name of the parameter for a call's first argument; None where it is not known."""
    call = _resolved(called)
    if call is None or call.given >= call.function.__code__.co_argcount:
        return None
    return str(call.function.__code__.co_varnames[call.given])


def _resolved(called: Any) -> _Call | None:
    """Return what a call of a method, a partial, a class or an object runs; None: not known."""
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
    """Tell whether a type is a partial that is called as usual; a subclass may override that."""
    if issubclass(kind, functools.partial):
        return _found_in(kind, "__call__") is _found_in(functools.partial, "__call__")
    return issubclass(kind, functools.partialmethod)


def _called_of(kind: type, called: Any) -> tuple[Any, int]:
    """Return what an object's `__call__` runs (None: not known), and the arguments that precede."""
    found = _found_in(kind, "__call__")
    if found is not None and found is _found_in(type, "__call__"):
        return _made_by(called), 1
    if type(found) in (FunctionType, CACHED, classmethod, functools.partialmethod):
        return found, 1
    if type(found) in (staticmethod, MethodType) or not hasattr(type(found), "__get__"):
        return found, 0
    return None, 0


def _made_by(cls: type) -> Any:
    """Return what a call of a class runs: ``__new__``, or ``__init__`` if that is object's."""
    new, init = _found_in(cls, "__new__"), _found_in(cls, "__init__")
    if new is not _found_in(object, "__new__"):
        return new
    if init is _found_in(object, "__init__"):
        return _of_nothing
    return init if type(init) is FunctionType else None


def _of_nothing(self: object) -> None:
    """Stand in for the constructor of a class without arguments."""


def _found_in(kind: type, name: str) -> Any:
    """Return an attribute of a class or its bases as it is stored, unbound; None: there is none."""
    return next((vars(each)[name] for each in kind.__mro__ if name in vars(each)), None)


def _wrapped_by_functools(function: Any) -> Any:
    """Return what `functools.singledispatch` or `functools.partialmethod` has wrapped; else None.

    `__wrapped__` of other wrappers is not followed: one around a coroutine function may well run it
    to its end, and return the result.
    """
    if function.__globals__ is not vars(functools):
        return None
    partial = next((vars(function)[name] for name in PARTIAL if name in vars(function)), None)
    return vars(function).get("__wrapped__") if partial is None else partial
