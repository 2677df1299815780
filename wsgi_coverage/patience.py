"""While a request waits, or works for long: a sign of life to the server, now and then.

Whoever knows the server hands down what to do (`during`); every loop that may wait for seconds
calls `tick`. Nothing here knows what a server is.

Concurrency: what was handed down holds in the thread, or the task, that handed it down.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar

Beat = Callable[[], object]  # called from the thread that waits; raises nothing

_beat: ContextVar[Beat | None] = ContextVar("wsgi_coverage_beat", default=None)


@contextlib.contextmanager
def during(beat: Beat) -> Iterator[None]:
    """Have this called by every `tick` inside."""
    token = _beat.set(beat)
    try:
        yield
    finally:
        _beat.reset(token)


def tick() -> None:
    """Give a sign of life, if somebody wants one."""
    if (beat := _beat.get()) is not None:
        beat()
