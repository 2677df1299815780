"""Who started the Coverage that measures a process. No state."""

from __future__ import annotations

from enum import StrEnum


class Ownership(StrEnum):
    """Who started the Coverage, which decides whether it may be reset or paused."""

    OURS = "ours"
    PROCESS_START = "process-start"  # COVERAGE_PROCESS_START: nobody else is waiting for its data
    FOREIGN = "foreign"  # coverage run, pytest-cov: read it, take nothing away
