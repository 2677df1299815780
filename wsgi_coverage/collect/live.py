"""Make the Coverage that measures this process, where none runs yet.

No state; called once a process, under the lock that makes the worker.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from coverage import Coverage
from coverage.exceptions import CoverageException

from wsgi_coverage.collect import core
from wsgi_coverage.errors import SettingsError

log = logging.getLogger("wsgi_coverage")

# Each would repeat on every flush.
QUIET = ["no-data-collected", "module-not-imported"]

# The configuration of the Coverage of the process that started this one; it holds here too.
inherited: str | None = None

# Whether the processes that this one starts are measured by wsgi_coverage.collect.children.
with_children = False


class LiveCoverage(Coverage):
    """A Coverage whose warnings reach our log, not the application's warning filters."""

    was_our_choice = False  # the core; the user named none

    def _warn(self, msg: str, slug: str | None = None, once: bool = False) -> None:  # noqa: ARG002
        if slug not in QUIET:
            log.warning("coverage.py: %s", msg)


def make(config_file: Path | None) -> tuple[Coverage, str]:
    """A Coverage of our own, not yet started, and why it has the core that it has.

    Raises:
        SettingsError: the configuration cannot be read; coverage.py's own message.
    """
    given: str | bool = True if config_file is None else str(config_file)
    try:
        cov = LiveCoverage(config_file=given if inherited is None else f":data:{inherited}")
        choice = core.choose(cov)
        if choice.core is not None:
            cov.set_option("run:core", choice.core)
        already: Any = cov.get_option("run:disable_warnings") or []
        cov.set_option("run:disable_warnings", [*already, *(set(QUIET) - {*already})])
        cov.set_option("run:sigterm", False)  # it would replace the server's own handler
        if with_children or inherited is not None:
            # It would start a second Coverage in each child, which takes the lines of the first.
            concurrency: Any = cov.get_option("run:concurrency") or []
            others = [each for each in concurrency if each != "multiprocessing"]
            cov.set_option("run:concurrency", others or ["thread"])
    except CoverageException as error:
        raise SettingsError(str(error)) from error
    cov.was_our_choice = choice.core is not None
    return cov, choice.reason


def for_children(cov: Coverage, *, data_file: Path | None = None) -> str:
    """A Coverage's configuration for `inherited`, with absolute paths, and no core of our choice.

    A child may have another working directory, and another Python.

    Args:
        cov: whose configuration.
        data_file: instead of the configured one.
    """
    config = cov.config.copy()
    if data_file is not None:
        config.data_file = str(data_file)
    if getattr(cov, "was_our_choice", False):
        config.core = None
    return config.serialize()
