"""What each request reads and writes in shared memory: the turn number, and the count of requests.

A reset or a pause writes a new turn number, so a request sees that something is due; the count of
requests is read by every process.

Concurrency: the interpreter's lock is not given away within one of these steps, so that threads
lose no request and take no lock.
"""

from __future__ import annotations

from typing import Any

ALWAYS = -1  # is no turn


class Attention:
    """The turn number whose changes a process has applied, and its count of requests."""

    __slots__ = ("applied", "requests", "turn")

    def __init__(self) -> None:
        self.begin(memoryview(bytearray(8)).cast("Q"), None)
        # The turn whose changes this process has applied; ALWAYS: to look at each request.
        self.applied: int = 0

    def begin(self, turn: Any, requests: Any | None) -> None:
        """Compare with this turn number, and count requests here, from now on.

        Args:
            turn: one word of shared memory, which a reset or a pause changes.
            requests: one word, in the table of processes; None: one of this process alone.
        """
        self.turn: Any = turn
        self.requests: Any = memoryview(bytearray(8)).cast("Q") if requests is None else requests
