"""Choose between the engines, and choose coverage.py's core if it measures, each with the reason.

No state: decided once, before the Coverage starts.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from typing import Any

from coverage import Coverage

from wsgi_coverage.collect.engines import monitoring
from wsgi_coverage.compat import names, needs
from wsgi_coverage.errors import UnsupportedPythonError
from wsgi_coverage.store import mapped

GREENLETS = frozenset({"gevent", "eventlet", "greenlet"})
BRANCHES_UNDER_SYSMON = (3, 14)  # sys.monitoring tells a branch's two ways apart from here on
STATEMENTS_UNDER_SYSMON = (3, 12)


@dataclass(frozen=True, slots=True)
class CoreChoice:
    """The value for ``run:core`` (None: leave it as it is), and the reason that users see."""

    core: str | None
    reason: str


def check_python() -> None:
    """Refuse a Python that cannot measure correctly.

    Raises:
        UnsupportedPythonError: it is not CPython, or runs without the GIL.
    """
    name = sys.implementation.name
    if name != "cpython":
        # PyPy frees memory that is still mapped into a view, and ends by a segmentation fault.
        raise UnsupportedPythonError(
            f"wsgi-coverage measures by CPython alone, and this is {name}: use CPython, or set "
            "WSGI_COVERAGE_DISABLED=1"
        )
    if not getattr(sys, "_is_gil_enabled", lambda: True)():
        raise UnsupportedPythonError(
            "this Python runs without the GIL, and lines of threads that run at once would be "
            "lost: start it with PYTHON_GIL=1 (or -X gil=1), or set WSGI_COVERAGE_DISABLED=1"
        )


def choose(cov: Coverage) -> CoreChoice:
    """Choose sysmon wherever coverage.py can use it, unless the user configured a core.

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


def why_not_marking(cov: Coverage, *, branch: bool | None, with_children: bool) -> str | None:
    """Return why lines cannot be marked in shared memory here; None: they can.

    Args:
        cov: a Coverage with the configuration.
        branch: whether branches are measured; None: as the configuration says.
        with_children: whether the processes that this one starts are measured by wsgi-coverage.
    """
    if why_not := monitoring.why_not() or names.why_without(needs.RULES):
        return why_not
    if cov.get_option("run:timid"):
        return "timid is set in coverage.py's configuration"
    if os.environ.get("COVERAGE_CORE"):
        return "COVERAGE_CORE is set"
    if cov.get_option("run:core"):
        return "core is set in coverage.py's configuration"
    if cov.get_option("run:branch") if branch is None else branch:
        return "branches are measured"
    if why_not := _why_coverages_tracer(cov):
        return why_not
    concurrency: Any = cov.get_option("run:concurrency") or ()
    if "multiprocessing" in concurrency and not with_children:
        return "concurrency is multiprocessing, which coverage.py follows by its own tracer"
    if cov.get_option("run:patch"):
        return "patch is set in coverage.py's configuration"
    if not mapped.is_possible():
        return "there is no shared memory here"
    return None


def _why_coverages_tracer(cov: Coverage) -> str | None:
    dynamic_context = cov.get_option("run:dynamic_context")
    if dynamic_context and dynamic_context != "none":
        return "dynamic_context is set"
    if cov.get_option("run:plugins"):
        # Only loading them tells what they do, and sys_info() is the public way to.
        loaded = dict(cov.sys_info())
        for kind in ("file_tracers", "context_switchers"):
            if names := loaded.get(f"plugins.{kind}"):
                return f"the plugins {', '.join(map(str, names))} need another core"
    return None


def _why_not_sysmon(cov: Coverage) -> str | None:
    version = f"Python {sys.version_info[0]}.{sys.version_info[1]}"
    if sys.version_info < STATEMENTS_UNDER_SYSMON:
        return f"{version} has no sys.monitoring"
    if cov.get_option("run:branch") and sys.version_info < BRANCHES_UNDER_SYSMON:
        return f"it cannot measure branches on {version}"
    concurrency = cov.get_option("run:concurrency") or ()
    if greenlets := GREENLETS.intersection(concurrency):  # type: ignore[arg-type]
        return f"concurrency is {', '.join(sorted(greenlets))}"
    return _why_coverages_tracer(cov)
