"""Start measuring before the application's modules are imported.

Concurrency: see wsgi_coverage.collect.forks, which makes the one worker of the process.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path

from coverage import Coverage

from wsgi_coverage import settings as settings_module
from wsgi_coverage.collect import forks
from wsgi_coverage.errors import SettingsError, UnsupportedPythonError
from wsgi_coverage.store.days import DaysKept

log: logging.Logger = logging.getLogger("wsgi_coverage")


def start_early(
    config_file: str | Path | None = None, *, env_names: Mapping[str, str] | None = None
) -> Coverage | None:
    """Start measuring, before the application's modules are imported.

    Call it before any import of the application. What wraps the application later uses the same
    measurement.

    Args:
        config_file: coverage.py's configuration; None: ``WSGI_COVERAGE_CONFIG_FILE``, else where
            coverage.py always looks.
        env_names: see wsgi_coverage.settings.load.

    Returns:
        The Coverage that was started; None if measuring is disabled or was going on already, or if
        it could not be started, which is logged.

    Raises:
        SettingsError: a setting is wrong, or coverage.py's configuration cannot be read.
        UnsupportedPythonError: this Python cannot measure.
    """
    forks.note_folder()
    settings = settings_module.load(
        {"config_file": config_file}, env=os.environ, env_names=env_names
    )
    if settings.disabled:
        return None
    ours = Coverage.current() is None and forks.current() is None
    try:
        with settings.reading_config_file():
            worker = forks.start(config_file=settings.config_file, branch=settings.branch)
        worker.keep_days(DaysKept(settings.seen_days, settings.release or ""))
        worker.configure(settings.autosave_interval, provisional=True)
    except (SettingsError, UnsupportedPythonError):
        raise
    except Exception:
        log.exception("measuring could not be started; the application goes on without it")
        return None
    return worker.engine.coverage if ours else None


def loading() -> None:
    """Count what runs from now on as the load of an application, which will be wrapped."""
    worker = forks.current()
    if worker is not None:
        worker.begin_load()


def running() -> Coverage | None:
    """Return the Coverage that wsgi-coverage measures this process with; None: there is none."""
    worker = forks.current()
    return None if worker is None else worker.engine.coverage
