"""Hold a lock during a method, and release it even if a signal handler raises at any step.

On Python 3.14 and later, a handler's exception may come after `with` has acquired a lock and before
it is sure to release it: the lock would be held for ever (98 of 22,690 signals).

Concurrency: the lock is an attribute `_lock` of the object, re-entrant.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from wsgi_coverage.data.forksafe import is_not_held

P = ParamSpec("P")
R = TypeVar("R")


class HasLock(Protocol):
    """An object with `synchronized` methods."""

    @property
    def _lock(self) -> Any: ...


S = TypeVar("S", bound=HasLock)


def synchronized(method: Callable[Concatenate[S, P], R]) -> Callable[Concatenate[S, P], R]:
    """Let only one thread at a time run the methods of an object that have this decorator."""

    @functools.wraps(method)
    def holding(self: S, /, *args: P.args, **kwargs: P.kwargs) -> R:
        lock = self._lock
        try:
            lock.acquire()
            return method(self, *args, **kwargs)
        finally:
            try:
                lock.release()
            except RuntimeError as error:
                if not is_not_held(error):
                    raise

    return holding
