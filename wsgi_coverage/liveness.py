"""Tell the server now and then that the worker is alive, while a request waits or works for long.

`web` passes down what tells it (`during`); every loop that may wait for seconds calls `tick`. This
module does not know which server that is.

Concurrency: what was passed down holds in the thread, or the task, that passed it down.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar

Beat = Callable[[], object]  # called from the thread that waits; raises nothing

_beat: ContextVar[Beat | None] = ContextVar("wsgi_coverage_beat", default=None)


@contextlib.contextmanager
def during(beat: Beat) -> Iterator[None]:
    """Have every `tick` inside call this.

    Args:
        beat: tells the server; called often, so it limits itself.
    """
    token = _beat.set(beat)
    try:
        yield
    finally:
        _beat.reset(token)


def tick() -> None:
    """Tell the server that this worker is alive, if `during` was given something to call."""
    if (beat := _beat.get()) is not None:
        beat()
