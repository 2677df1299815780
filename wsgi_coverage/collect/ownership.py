"""Whose the Coverage is that measures a process. No state."""

from __future__ import annotations

from enum import StrEnum


class Ownership(StrEnum):
    """It decides what may be done to a Coverage."""

    OURS = "ours"
    PROCESS_START = "process-start"  # COVERAGE_PROCESS_START: nobody else is waiting for its data
    FOREIGN = "foreign"  # coverage run, pytest-cov: read it, take nothing away
