"""What a request looks at before it reaches the application, and the count of requests.

Both are bytes of the host's memory, where there is one: whoever resets or pauses writes a new turn,
and the count is seen by every process.

Concurrency: the interpreter's lock is not given away within one of these steps, so that threads
lose no request and take no lock.
"""

from __future__ import annotations

from typing import Any

ALWAYS = -1  # is no turn


class Attention:
    """One process's; a fork begins its own."""

    __slots__ = ("heard", "requests", "turn")

    def __init__(self) -> None:
        self.begin(memoryview(bytearray(8)).cast("Q"), None)
        # The turn that this process last heard of; ALWAYS: to look at each request.
        self.heard: int = 0

    def begin(self, turn: Any, requests: Any | None) -> None:
        """Look at this turn, and count here, from now on.

        Args:
            turn: one word, which somebody may change.
            requests: one word; None: one of this process alone.
        """
        self.turn: Any = turn
        self.requests: Any = memoryview(bytearray(8)).cast("Q") if requests is None else requests
