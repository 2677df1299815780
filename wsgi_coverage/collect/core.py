"""Choose coverage.py's measuring core, and say why.

Decided once, before the Coverage starts; no state.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass

from coverage import Coverage

GREENLETS = frozenset({"gevent", "eventlet", "greenlet"})
BRANCHES_UNDER_SYSMON = (3, 14)  # sys.monitoring tells a branch's two ways apart from here on
STATEMENTS_UNDER_SYSMON = (3, 12)


@dataclass(frozen=True, slots=True)
class CoreChoice:
    """What to set ``run:core`` to (None: leave it as it is), and the reason to show."""

    core: str | None
    reason: str


def choose(cov: Coverage) -> CoreChoice:
    """Take sysmon wherever coverage.py can run it, unless the user named a core.

    sysmon costs 0 to 7 % of a request where ctrace costs 60 to 180 %, and sees threads that
    Python's threading module did not make.
    """
    if cov.get_option("run:timid"):
        return CoreChoice(None, "timid is set in coverage.py's configuration")
    if os.environ.get("COVERAGE_CORE"):
        return CoreChoice(None, "COVERAGE_CORE is set")
    if cov.get_option("run:core"):
        return CoreChoice(None, "core is set in coverage.py's configuration")
    if why_not := _why_not_sysmon(cov):
        return CoreChoice("ctrace", f"sysmon cannot be used: {why_not}")
    return CoreChoice("sysmon", "the fastest that can measure this here")


def _why_not_sysmon(cov: Coverage) -> str | None:
    version = f"Python {sys.version_info[0]}.{sys.version_info[1]}"
    if sys.version_info < STATEMENTS_UNDER_SYSMON:
        return f"{version} has no sys.monitoring"
    if cov.get_option("run:branch") and sys.version_info < BRANCHES_UNDER_SYSMON:
        return f"it cannot measure branches on {version}"
    dynamic_context = cov.get_option("run:dynamic_context")
    if dynamic_context and dynamic_context != "none":
        return "dynamic_context is set"
    concurrency = cov.get_option("run:concurrency") or ()
    if greenlets := GREENLETS.intersection(concurrency):  # type: ignore[arg-type]
        return f"concurrency is {', '.join(sorted(greenlets))}"
    if cov.get_option("run:plugins"):
        # Only loading them tells what they do, and sys_info() is the public way to.
        loaded = dict(cov.sys_info())
        for kind in ("file_tracers", "context_switchers"):
            if names := loaded.get(f"plugins.{kind}"):
                return f"the plugins {', '.join(map(str, names))} need another core"
    return None
