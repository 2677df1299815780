"""Who started the Coverage that measures a process. No state."""

from __future__ import annotations

from enum import StrEnum


class Ownership(StrEnum):
    """Who started the Coverage, which decides whether it may be reset or paused."""

    OURS = "ours"
    PROCESS_START = "process-start"  # COVERAGE_PROCESS_START: its data is for wsgi-coverage alone
    FOREIGN = "foreign"  # coverage run, pytest-cov: read it, take nothing away
