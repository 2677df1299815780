"""Tell load from runtime by the contexts of a data file.

Lines that ran while the application was being imported are in the context ``load``, those that ran
after the first request in ``runtime``. If the user has set a static context, it comes first, joined
as coverage.py joins contexts: ``nightly|load``. Lines of a labelled request are in a context of
its label, too, after the phase: ``runtime|label``. The phase of lines in any other context is
unknown.

Concurrency: values, and functions without state.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import StrEnum

NONE = "(?!)"  # a regular expression that no context matches
JOIN = "|"  # between a static and a dynamic context, as in coverage.py


class Phase(StrEnum):
    """The phase in which a line ran; the value is the name of its context."""

    LOAD = "load"
    RUNTIME = "runtime"


LABELLED = re.compile(rf"(?s)(?:.*?{re.escape(JOIN)})??{Phase.RUNTIME}{re.escape(JOIN)}(.+)")


class Ran(StrEnum):
    """When a file or function ran; the value is the text in answers."""

    NEVER = "never"
    AT_LOAD_ONLY = "at load only"
    AT_RUNTIME = "at runtime"

    @classmethod
    def of(cls, covered: int, runtime: int | None) -> Ran | None:
        """Tell when a file or function ran, from its counts; None: it ran in an unknown phase.

        Args:
            covered: number of statements that ran at all.
            runtime: number of these that ran at runtime; None: unknown.
        """
        if not covered:
            return cls.NEVER
        if runtime is None:
            return None
        return cls.AT_RUNTIME if runtime else cls.AT_LOAD_ONLY


def count_load_only(states: Iterable[str | None]) -> int | None:
    """Count those that ran at load only; None: unknown, because the phase of some is."""
    known = [*states]
    return None if None in known else known.count(Ran.AT_LOAD_ONLY)


def context_of(phase: Phase, static: str | None) -> str:
    """Return the context of lines that run in a phase."""
    return f"{static}{JOIN}{phase}" if static else str(phase)


def can_be_label(label: str) -> bool:
    """Tell whether the context of a label cannot be mistaken for that of a phase."""
    return label.rpartition(JOIN)[2] not in tuple(Phase)


def labelled_context(label: str, static: str | None) -> str:
    """Return the context of lines that run for a labelled request."""
    return f"{context_of(Phase.RUNTIME, static)}{JOIN}{label}"


def label_of(context: str) -> str | None:
    """Return the label of a context; None: it has none."""
    match = LABELLED.fullmatch(context)
    return match[1] if match and can_be_label(match[1]) else None


def phase_of(context: str) -> Phase | None:
    """Return the phase of lines in a context; None: unknown."""
    parts = context.split(JOIN)
    if parts[-1] in tuple(Phase):
        return Phase(parts[-1])
    return Phase.RUNTIME if Phase.RUNTIME in parts else None  # and a label


def query_of(contexts: Iterable[str]) -> list[str]:
    """Return the argument by which ``CoverageData.set_query_contexts`` selects some contexts."""
    return [f"^{re.escape(context)}$" for context in contexts] or [NONE]


def query(phase: Phase) -> list[str]:
    """Return the argument by which ``CoverageData.set_query_contexts`` selects one phase."""
    join = re.escape(JOIN)
    label = rf"|(^|{join}){Phase.RUNTIME}{join}(?!(.*{join})?{Phase.LOAD}$)"
    return [rf"^(.*{join})?{phase}$" + (label if phase is Phase.RUNTIME else "")]
