"""Load and runtime, told apart by the contexts of a data file.

Lines that ran while the application was being imported are in the context ``load``, those that ran
after the first request in ``runtime``; after a static context of the user's own, joined as
coverage.py joins contexts: ``nightly|load``. The phase of a line in any other context is unknown.

Concurrency: values, and functions without state.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import StrEnum

JOIN = "|"  # coverage.py's own, between a static and a dynamic context


class Phase(StrEnum):
    """The phase in which a line ran; the value is the name of its context."""

    LOAD = "load"
    RUNTIME = "runtime"


class Ran(StrEnum):
    """When anything of a file or function ran; the value is what every answer calls it."""

    NEVER = "never"
    AT_LOAD_ONLY = "at load only"
    AT_RUNTIME = "at runtime"

    @classmethod
    def of(cls, covered: int, runtime: int | None) -> Ran | None:
        """When it ran; None: it did, in an unknown phase.

        Args:
            covered: statements that ran at all.
            runtime: of these, statements that ran at runtime; None: not known.
        """
        if not covered:
            return cls.NEVER
        if runtime is None:
            return None
        return cls.AT_RUNTIME if runtime else cls.AT_LOAD_ONLY


def count_load_only(states: Iterable[str | None]) -> int | None:
    """How many ran at load only; None: not known."""
    known = [*states]
    return None if None in known else known.count(Ran.AT_LOAD_ONLY)


def context_of(phase: Phase, static: str | None) -> str:
    """The context of lines that run in a phase."""
    return f"{static}{JOIN}{phase}" if static else str(phase)


def phase_of(context: str) -> Phase | None:
    """The phase that a context tells; None if it tells none."""
    last = context.rpartition(JOIN)[2]
    return Phase(last) if last in tuple(Phase) else None


def query(phase: Phase) -> list[str]:
    """What ``CoverageData.set_query_contexts`` takes to ask for one phase."""
    return [rf"^(.*{re.escape(JOIN)})?{phase}$"]
