"""Tell who started the Coverage that measures a process. No state."""

from __future__ import annotations

from enum import StrEnum


class Ownership(StrEnum):
    """Who started the Coverage, which decides whether it may be reset or paused."""

    OURS = "ours"
    PROCESS_START = "process-start"  # by COVERAGE_PROCESS_START: wsgi-coverage takes over its data
    FOREIGN = "foreign"  # by 'coverage run' or pytest-cov: its data are read, never removed
