"""Send the server signs of life of its worker while a request waits or works for long.

`web` passes a function that does so to `during`; every loop that may wait for seconds calls `tick`,
which calls that function. This module does not know any server.

Concurrency: `during` affects only the thread, or the asyncio task, that calls it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar

Beat = Callable[[], object]  # called from the thread that waits; raises nothing

_beat: ContextVar[Beat | None] = ContextVar("wsgi_coverage_beat", default=None)


@contextlib.contextmanager
def during(beat: Beat) -> Iterator[None]:
    """Have every `tick` in the block call a function.

    Args:
        beat: sends the sign of life; called often, so it has to limit how often it does.
    """
    token = _beat.set(beat)
    try:
        yield
    finally:
        _beat.reset(token)


def tick() -> None:
    """Send the server a sign of life, if this is called in a block of `during`."""
    if (beat := _beat.get()) is not None:
        beat()
