"""Measure the Python processes that a measured program starts, as its forks are.

`begin` puts into the environment what they need to know; the line in `children.pth`, which is
installed beside the packages, calls `start` at the start of every Python that finds it there. So
nothing is written anywhere, and a child with an environment of its own making is not measured.

Concurrency: runs in the main thread, before the program's first line.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import json
import logging
import os
from collections.abc import Iterator, MutableMapping
from pathlib import Path
from typing import Any

from wsgi_coverage.collect import forking, live
from wsgi_coverage.collect.worker import Worker

log = logging.getLogger("wsgi_coverage")

VARIABLE = "WSGI_COVERAGE_CHILDREN"

_exec_is_ours = False


def begin(
    env: MutableMapping[str, str],
    *,
    config_file: Path | None,
    branch: bool | None,
    interval: float,
) -> Worker:
    """Measure this process, and the Python processes that get this environment.

    Their coverage.py gets this one's configuration as it is now, with absolute paths: a child may
    have another working directory.

    Args:
        env: this process's environment.
        config_file: coverage.py's configuration; None: where coverage.py always looks.
        branch: whether branches are measured; None: as the configuration says.
        interval: seconds between autosaves.

    Raises:
        SettingsError: the configuration cannot be read.
    """
    live.with_children = True
    worker = forking.start(config_file=config_file, branch=branch)
    worker.configure(interval)
    _announce(env, live.for_children(worker.engine.coverage), worker.autosave_interval)
    _publish_before_exec()
    return worker


def announce_only(
    env: MutableMapping[str, str],
    *,
    config_file: Path | None,
    branch: bool | None,
    data_file: Path,
    interval: float,
) -> Any:
    """Have the Python processes that get this environment measured; this one is not.

    Args:
        env: an environment for them.
        config_file: coverage.py's configuration; None: where coverage.py always looks.
        branch: whether branches are measured; None: as the configuration says.
        data_file: beside which they publish, instead of the configured one.
        interval: seconds between autosaves.

    Returns:
        coverage.py's configuration, to report with.

    Raises:
        SettingsError: the configuration cannot be read.
    """
    cov = live.make(live.LiveCoverage, config_file, branch=branch)
    _announce(env, live.for_children(cov, data_file=data_file), interval)
    return cov.config


def _announce(env: MutableMapping[str, str], config: str, interval: float) -> None:
    told = {"pid": os.getpid(), "config": config, "interval": interval}
    env[VARIABLE] = base64.b64encode(json.dumps(told).encode()).decode()


def announcer(env: MutableMapping[str, str]) -> int | None:
    """The process id of the process that announced; None: none did."""
    told = _told(env)
    return None if told is None else told["pid"]


def start() -> None:
    """Begin to measure this process, if it is the child of one that announced; never raises."""
    told = _told(os.environ)
    if told is None or forking.current() is not None:
        return
    try:
        live.inherited = told["config"]
        with _quiet():
            worker = forking.start()
        worker.configure(told["interval"], provisional=True)
        _publish_before_exec()
    except Exception:
        log.exception("this process cannot be measured; it goes on without")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Say nothing of what is so for the parent too, which has said it."""
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)


def _told(env: MutableMapping[str, str]) -> dict[str, Any] | None:
    raw = env.get(VARIABLE)
    if not raw:
        return None
    try:
        told = json.loads(base64.b64decode(raw, validate=True))
        return {
            "pid": int(told["pid"]),
            "config": str(told["config"]),
            "interval": float(told["interval"]),
        }
    except (ValueError, KeyError, TypeError):
        log.warning("the environment variable %s is not as it was made", VARIABLE)
        return None


def _publish_before_exec() -> None:
    """Where another program takes this process over, which runs no exit handlers."""
    global _exec_is_ours
    if _exec_is_ours:
        return
    _exec_is_ours = True
    for name in ("execv", "execve"):  # all others of the family end in one of them
        setattr(os, name, _publishing_before(getattr(os, name)))


def _publishing_before(replace: Any) -> Any:
    @functools.wraps(replace)
    def execute(*arguments: Any, **keywords: Any) -> Any:
        worker = forking.current()
        if worker is not None:
            with contextlib.suppress(Exception):
                worker.publish_before_exec()
        return replace(*arguments, **keywords)

    return execute
