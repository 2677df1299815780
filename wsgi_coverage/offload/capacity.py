"""How many processes the host has cores and memory for, beside what runs on it.

Concurrency: functions without state; the answers may differ a moment later.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

MOST = 16  # processes
PART = 8  # of free memory, this part is taken at most
UNKNOWN = 1 << 30  # bytes of it, where nothing tells
MEMINFO = Path("/proc/meminfo")
CGROUP = Path("/sys/fs/cgroup")  # a container's own, where cgroups are of version 2


def processes(memory: int) -> int:
    """How many processes may run at once; 0 where there is no memory for one.

    Args:
        memory: bytes that each of them may take.
    """
    return min(cores(), room() // memory, MOST)


def room() -> int:
    """Bytes of memory that work which is not urgent may take."""
    return min(_free_memory(), default=UNKNOWN) // PART


def cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        found = len(os.sched_getaffinity(0))
    else:
        found = os.cpu_count() or 1
    with contextlib.suppress(OSError, ValueError):  # there is no such limit ("max")
        quota, period = (CGROUP / "cpu.max").read_text(encoding="ascii").split()
        found = min(found, -(-int(quota) // int(period)))
    return max(found, 1)


def load() -> float:
    """Processes of this host that run or wait for a core, for each core; 0.0 where unknown."""
    try:
        return os.getloadavg()[0] / (os.cpu_count() or 1)
    except (AttributeError, OSError):
        return 0.0


def _free_memory() -> Iterator[int]:
    """Free memory of the host and the container in bytes, as far as it is known."""
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
