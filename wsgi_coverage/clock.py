"""Points in time: for people, and for comparing between the processes of a host. No state."""

from __future__ import annotations

import functools
import socket
import time
from datetime import UTC, datetime
from pathlib import Path

from wsgi_coverage.model import Moment

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def now_iso() -> str:
    """The current time, ISO 8601 in UTC with microseconds."""
    return iso(time.time())


def iso(timestamp: float) -> str:
    """Seconds since the epoch, as ISO 8601 in UTC; always with microseconds."""
    return datetime.fromtimestamp(timestamp, UTC).isoformat(timespec="microseconds")


def now() -> Moment:
    """The current moment on the clock that all processes of this boot share and nobody sets."""
    return Moment(_boot(), time.monotonic())


@functools.cache
def _boot() -> str:
    try:
        boot = BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        boot = "unknown"
    return f"{socket.gethostname()} {boot}"
