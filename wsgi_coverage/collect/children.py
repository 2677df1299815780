"""Measure the Python processes that a measured program starts, as its forks are.

`begin` announces the measurement in an environment variable. The line in `children.pth`, which is
installed beside the packages, has `wsgi_coverage.started` call `start` in every Python process that
has this variable. A child that is started with an environment without it is not measured.

Concurrency: runs in the main thread, before the program's first line.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import json
import logging
import os
from collections.abc import Iterable, Iterator, MutableMapping
from pathlib import Path
from typing import Any

from coverage import Coverage

from wsgi_coverage.collect import forks
from wsgi_coverage.collect.engines import core, own_coverage
from wsgi_coverage.collect.labels import serving
from wsgi_coverage.collect.labels.serving import Labels
from wsgi_coverage.collect.sources.could_run import find
from wsgi_coverage.collect.worker import Worker
from wsgi_coverage.compat import measurement, names, needs
from wsgi_coverage.errors import UnsupportedPythonError
from wsgi_coverage.model import JsonObject
from wsgi_coverage.store import processes
from wsgi_coverage.store.days import NO_DAYS, DaysKept
from wsgi_coverage.system import workdir

log: logging.Logger = logging.getLogger("wsgi_coverage")

VARIABLE = "WSGI_COVERAGE_CHILDREN"

UNLABELLED = Labels()

_exec_is_ours = False


def begin(
    env: MutableMapping[str, str],
    *,
    config_file: Path | None,
    branch: bool | None,
    interval: float,
    data_folder: str | None = None,
    days: DaysKept = NO_DAYS,
    labels: Labels = UNLABELLED,
) -> Worker:
    """Start to measure this process, and announce it to processes that inherit the environment.

    Their coverage.py gets this process's configuration, with absolute paths, and resolves relative
    names in the same folder: a child may have another working directory.

    Args:
        env: this process's environment.
        config_file: coverage.py's configuration; None: where coverage.py always looks.
        branch: whether branches are measured; None: as the configuration says.
        interval: seconds between autosaves.
        data_folder: where data files are written; None: as the configuration says.
        days: which days are recorded.
        labels: which requests are labelled, in all these processes.

    Raises:
        SettingsError: the configuration cannot be read.
    """
    own_coverage.with_children = True
    own_coverage.data_folder = data_folder
    worker = forks.start(config_file=config_file, branch=branch)
    worker.keep_days(days)
    worker.configure(interval)
    config = worker.data_file_writer.config
    if config is None:
        log.warning("processes that this one starts are not measured, for the same reason")
    else:
        _announce(env, config, worker.autosave_interval, days, labels)
    _save_before_exec()
    serving.begin(worker, labels)
    return worker


def announce_only(
    env: MutableMapping[str, str],
    *,
    config_file: Path | None,
    branch: bool | None,
    data_file: Path,
    interval: float,
    labels: Labels = UNLABELLED,
) -> Coverage:
    """Have Python processes with this environment measured, but not this process.

    Args:
        env: an environment for them.
        config_file: coverage.py's configuration; None: where coverage.py always looks.
        branch: whether branches are measured; None: as the configuration says.
        data_file: the data file beside which they write theirs, instead of the configured one.
        interval: seconds between autosaves.
        labels: which requests are labelled.

    Returns:
        A Coverage with their configuration, to report by; it does not measure.

    Raises:
        SettingsError: the configuration cannot be read.
        UnsupportedPythonError: this Python cannot measure.
        CoverageChangedError: they cannot be measured, or reported on, with this coverage.py.
    """
    core.check_python()
    workdir.note()
    cov = own_coverage.make(own_coverage.LoggedCoverage, config_file, branch=branch)
    for need in (needs.RULES, needs.REPORTS, needs.REQUIRED):
        names.require(need)  # now, not once all has run
    measurement.finds_never_run(cov)
    config = own_coverage.for_children(cov, data_file=data_file)
    _announce(env, config, interval, labels=labels)
    return cov


def could_run(cov: Coverage, executed: Iterable[str]) -> list[tuple[str, str | None]]:
    """Return files of `source` that those processes could have run, each with its plugin's name.

    Args:
        cov: what `announce_only` returned.
        executed: names of files that any of them has executed.

    Raises:
        SettingsError: the configuration cannot be used.
        CoverageChangedError: they cannot be found with this coverage.py.
    """
    return [(name, plugin) for _, name, plugin in find(cov, executed)]


def _announce(
    env: MutableMapping[str, str],
    config: str,
    interval: float,
    days: DaysKept = NO_DAYS,
    labels: Labels = UNLABELLED,
) -> None:
    _tell(
        env,
        pid=os.getpid(),
        at=processes.noted_now(),
        folder=workdir.folder(),
        config=config,
        interval=interval,
        days=list(days),
        labels=list(labels),
    )


def announce_port(env: MutableMapping[str, str], port: JsonObject) -> None:
    """Add this process's side port to the announcement, for the program that an exec starts.

    Args:
        env: this process's environment, with the announcement of `begin`.
        port: host, number and authorization policy, as JSON.
    """
    told = _told(env)
    if told is not None:
        _tell(env, **{**told, "port": port})


def _tell(env: MutableMapping[str, str], **told: Any) -> None:
    env[VARIABLE] = base64.b64encode(json.dumps(told).encode()).decode()


def is_below_another(env: MutableMapping[str, str]) -> bool:
    """Tell whether another process, which still runs, wrote the announcement."""
    told = _told(env)
    return told is not None and told["pid"] != os.getpid() and _runs(told)


def announced_port(env: MutableMapping[str, str]) -> JsonObject | None:
    """Return the side port that this process announced before an exec; None: it announced none."""
    told = _told(env)
    return told["port"] if told is not None and told["pid"] == os.getpid() and _runs(told) else None


def _runs(told: JsonObject) -> bool:
    """Tell whether the process that wrote the announcement still runs (process ids are reused)."""
    return processes.is_noted_process(told["pid"], told["at"])


def start() -> Worker | None:
    """Measure this process if its environment has an announcement. Raises nothing.

    Returns:
        The new worker; None: nothing is announced, there is a worker already, or this process
        cannot be measured, which is logged.
    """
    told = _told(os.environ)
    if told is None or forks.current() is not None:
        return None
    try:
        own_coverage.inherited = told["config"]
        own_coverage.inherited_folder = told["folder"]
        with _quiet():
            worker = forks.start()
        worker.keep_days(told["days"])
        worker.configure(told["interval"], provisional=True)
        _save_before_exec()
        serving.begin(worker, told["labels"])
    except UnsupportedPythonError as error:
        log.warning("this process is not measured: %s", error)
        return None
    except Exception:
        log.exception("this process cannot be measured; it goes on without")
        return None
    return worker


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Log errors only: the parent has logged the warnings already."""
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
            "at": float(told["at"]),
            "folder": None if told["folder"] is None else str(told["folder"]),
            "config": str(told["config"]),
            "interval": float(told["interval"]),
            "days": DaysKept(int(told["days"][0]), str(told["days"][1])),
            "labels": Labels(str(told["labels"][0]), tuple(map(str, told["labels"][1]))),
            "port": None if told.get("port") is None else dict(told["port"]),
        }
    except (ValueError, KeyError, TypeError, IndexError):
        log.warning(
            "the environment variable %s was changed since it was set, and is ignored", VARIABLE
        )
        return None


def _save_before_exec() -> None:
    """Wrap os.execv and os.execve to flush and save first: an exec runs no exit handlers."""
    global _exec_is_ours
    if _exec_is_ours:
        return
    _exec_is_ours = True
    for name in ("execv", "execve"):  # all others of the family end in one of them
        setattr(os, name, _saving_before(getattr(os, name)))


def _saving_before(replace: Any) -> Any:
    @functools.wraps(replace)
    def execute(*arguments: Any, **keywords: Any) -> Any:
        worker = forks.current()
        if worker is not None:
            with contextlib.suppress(Exception):
                worker.save_before_exec()
        return replace(*arguments, **keywords)

    return execute
