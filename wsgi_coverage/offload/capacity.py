"""Compute how many more processes the host has cores and memory for.

Concurrency: functions without state; the answers may differ a moment later.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

MOST = 16  # processes
PART = 8  # an eighth of free memory is used at most
UNKNOWN = 1 << 30  # bytes of free memory to assume if it is unknown
MEMINFO = Path("/proc/meminfo")
CGROUP = Path("/sys/fs/cgroup")  # with cgroups of version 2, the container's own


def processes(memory: int) -> int:
    """Return how many processes may run at once; 0: there is no memory for one.

    Args:
        memory: bytes that each of them may use.
    """
    return min(cores(), room() // memory, MOST)


def room() -> int:
    """Return the bytes of memory that work which is not urgent may use."""
    return min(_free_memory(), default=UNKNOWN) // PART


def cores() -> int:
    """Return the number of cores that this process may use, at least 1."""
    if hasattr(os, "sched_getaffinity"):
        found = len(os.sched_getaffinity(0))
    else:
        found = os.cpu_count() or 1
    with contextlib.suppress(OSError, ValueError):  # there is no such limit ("max")
        quota, period = (CGROUP / "cpu.max").read_text(encoding="ascii").split()
        found = min(found, -(-int(quota) // int(period)))
    return max(found, 1)


def load() -> float:
    """Return the load average of the last minute per core; 0.0: unknown."""
    try:
        return os.getloadavg()[0] / (os.cpu_count() or 1)
    except (AttributeError, OSError):
        return 0.0


def _free_memory() -> Iterator[int]:
    """Yield the free memory of the host and of the container in bytes, as far as it is known."""
    with contextlib.suppress(OSError, ValueError):
        for line in MEMINFO.read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                yield int(line.split()[1]) * 1024
    with contextlib.suppress(OSError, ValueError):  # there is no such limit ("max")
        limit, used = (
            int((CGROUP / name).read_text(encoding="ascii"))
            for name in ("memory.max", "memory.current")
        )
        yield max(limit - used, 0)
