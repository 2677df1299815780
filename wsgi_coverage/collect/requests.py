"""How many requests a process has handed on to its applications, at the cost of one `next`.

Concurrency: `next` on these iterators is one step of the interpreter, so that threads take no lock
and lose no request.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import repeat
from operator import length_hint

MANY = 2**62


class Requests:
    """The count of one process; a fork begins its own."""

    def __init__(self) -> None:
        self._counters: list[repeat[None]] = []
        self._before = 0  # in the process that this one was forked from

    def counter(self) -> Iterator[None]:
        """For one application: call `next` on it for each request."""
        counter = repeat(None, MANY)
        self._counters.append(counter)
        return counter

    def seen(self) -> int | None:
        """Requests of this process; None where no application of it is wrapped."""
        return self._total() - self._before if self._counters else None

    def begin_anew(self) -> None:
        """The process is a fork."""
        self._before = self._total()

    def _total(self) -> int:
        return sum(MANY - length_hint(counter) for counter in self._counters)
