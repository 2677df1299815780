"""The two words of shared memory that each request uses: the turn number, the count of requests.

A reset or a pause writes a new turn number, by which the next request sees that it has to be
applied. Every process of the host can read the count of requests.

Concurrency: the GIL is not released within one of these steps, so threads lose no count without a
lock.
"""

from __future__ import annotations

from typing import Any

ALWAYS = -1  # equals no turn number


class Attention:
    """The turn number that a process has applied, beside the current one; its count of requests."""

    __slots__ = ("applied", "requests", "turn")

    def __init__(self) -> None:
        self.begin(memoryview(bytearray(8)).cast("Q"), None)
        # The turn whose changes this process has applied; ALWAYS: have every request check.
        self.applied: int = 0

    def begin(self, turn: Any, requests: Any | None) -> None:
        """Use these words for the turn number and the count of requests from now on.

        Args:
            turn: a word of shared memory, which a reset or a pause changes.
            requests: a word in the table of processes; None: use one that no other process sees.
        """
        self.turn: Any = turn
        self.requests: Any = memoryview(bytearray(8)).cast("Q") if requests is None else requests
