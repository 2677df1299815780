"""Points in time: as texts for people, and comparable between the processes of a host. No state."""

from __future__ import annotations

import functools
import socket
import time
from datetime import UTC, datetime
from pathlib import Path

from wsgi_coverage.model import Moment

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class Deadline:
    """The time limit of an answer that has to wait for several things in turn.

    Args:
        within: seconds from now on; None: no limit.
    """

    def __init__(self, within: float | None) -> None:
        self._end = None if within is None else time.monotonic() + within

    def left(self, most: float) -> float:
        """Return how many seconds to wait for the next thing: the time left, `most` at most."""
        return most if self._end is None else min(most, max(self._end - time.monotonic(), 0.0))


def now_iso() -> str:
    """Return the current time, ISO 8601 in UTC with microseconds."""
    return iso(time.time())


def iso(timestamp: float) -> str:
    """Format seconds since the epoch as ISO 8601 in UTC, always with microseconds."""
    return datetime.fromtimestamp(timestamp, UTC).isoformat(timespec="microseconds")


def now() -> Moment:
    """Return the current moment, by a monotonic clock that all processes of this boot share."""
    return Moment(_boot(), time.monotonic())


@functools.cache
def _boot() -> str:
    try:
        boot = BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        boot = "unknown"
    return f"{socket.gethostname()} {boot}"
