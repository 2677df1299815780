"""Collect facts about this process, from which wsgi_coverage.health.diagnoses finds problems.

Concurrency: reads only, without the worker's lock; what changes meanwhile is copied first.
"""

from __future__ import annotations

import functools
import logging
import os
import re
import sys
import tomllib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType
from typing import TYPE_CHECKING, Any

from wsgi_coverage.collect.servers import uwsgi
from wsgi_coverage.compat import configuration, measurement, names
from wsgi_coverage.model import Pause, is_going_on
from wsgi_coverage.settings import AUTOSAVE_INTERVAL
from wsgi_coverage.store import channel
from wsgi_coverage.store.private import refused
from wsgi_coverage.store.writable import PathUse, blocked, can_open_files, why_not_writable
from wsgi_coverage.system import workdir

if TYPE_CHECKING:
    from coverage import Coverage

    from wsgi_coverage.collect.engines.base import Engine
    from wsgi_coverage.collect.worker import Worker

log: logging.Logger = logging.getLogger("wsgi_coverage")

RELOADER_CHILDREN = ("WERKZEUG_RUN_MAIN", "RUN_MAIN")  # set by werkzeug's and Django's reloader
# Where coverage.py looks for its configuration, and the sections that hold it in shared files.
CONFIGURATIONS = (".coveragerc", ".coveragerc.toml", "setup.cfg", "tox.ini", "pyproject.toml")
OWN_SECTION = re.compile(r"^\[(coverage:)?(run|report|paths|html|xml|json|lcov)\]", re.M)
SHARED_SECTION = re.compile(r"^\[coverage:\w+\]", re.M)


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Facts about one process; no fact is a problem while it has its default."""

    engine: str = "coverage"
    core: str = "ctrace"
    coverage_version: str = ""
    concurrency: frozenset[str] = frozenset()  # as set in coverage.py's configuration
    imported_early: tuple[str, ...] = ()  # measured modules, imported before measuring began
    gevent: bool = False  # gevent has patched modules, or runs a hub
    greenlets: bool = False  # a thread has used greenlets, gevent's or others
    plugins: tuple[str, ...] = ()  # coverage.py plugins that trace files
    native_threads: str | None = None  # the server, if it serves on threads not of `threading`
    reloader_parent: int | None = None  # process id of a reloader's parent that is measured
    uwsgi_without_hooks: bool = False
    uwsgi_hard_end: bool = False  # on a signal, uWSGI ends workers in the midst of requests
    dynamic_code: int = 0  # code objects without a file that the tracer keeps
    configuration: str | None = None  # the configuration file that coverage.py read
    unused_config_file: str | None = None  # a file named by `config_file` that was not read
    config_file_origin: str = ""  # where the value of `config_file` comes from
    ignored_configurations: tuple[str, ...] = ()  # coverage.py configurations that were not read
    flush_problem: str | None = None
    coverage_changes: tuple[str, ...] = ()  # consequences of names that coverage.py lacks
    unmeasured: Mapping[str, str] = field(default_factory=dict)  # code, and why it is not measured
    branch: bool = False  # branches are measured
    threads_lost: int = 0  # threads whose trace function was replaced
    private_folder: str = ""  # the folder of the memory of executed lines
    refused_folders: tuple[str, ...] = ()  # unused, as not this user's alone: each with its fault
    other_namespaces: int = 0  # other pid namespaces of this host with the same data file
    why_no_channel: str | None = None  # why other workers cannot be reached
    hides_children: bool = False  # forked children that run no new code cannot be found
    autosave_interval: float = AUTOSAVE_INTERVAL  # seconds; 0 means never
    paused_since: str | None = None  # ISO 8601, UTC
    not_writable: Mapping[str, str] = field(default_factory=dict)  # folders and files, and why
    has_descriptors: bool = True
    fleet: Mapping[str, Any] = field(default_factory=dict)  # as /health has it


def find_facts(
    worker: Worker,
    *,
    config_file: Path | None = None,
    config_file_origin: str = "",
    measured: Collection[int] = (),
    folders: Mapping[str, Path] | None = None,
    places: Mapping[Path, PathUse] | None = None,
    fleet: Mapping[str, Any] | None = None,
) -> Facts:
    """Determine the facts; one that cannot be determined is logged, and has its default.

    Args:
        worker: this process's worker.
        config_file: coverage.py's configuration, where a setting names it.
        config_file_origin: where that setting comes from.
        measured: process ids of this host's workers.
        folders: the folders of data, reports and snapshots, by their names in messages.
        places: paths in these folders that have to be of a certain kind, if they exist.
        fleet: the state of the fleet's store; None where there is no fleet.
    """
    engine = worker.engine
    measuring = engine.measuring
    cov = engine.coverage
    sources: dict[str, Callable[[], Any]] = {
        "engine": lambda: measuring.engine,
        "core": lambda: measuring.core,
        "coverage_version": lambda: measuring.coverage_version,
        "concurrency": lambda: frozenset(cov.get_option("run:concurrency") or ()),  # type: ignore[arg-type]
        "imported_early": lambda: imported_early(engine),
        "gevent": lambda: has_gevent(sys.modules),
        "greenlets": lambda: has_greenlets(sys.modules),
        "plugins": lambda: file_tracers(cov),
        "native_threads": lambda: native_threads(sys.modules),
        "reloader_parent": lambda: reloader_parent(os.environ, measured),
        "uwsgi_without_hooks": lambda: uwsgi_without_hooks(sys.modules),
        "uwsgi_hard_end": lambda: uwsgi_hard_end(sys.modules),
        "dynamic_code": lambda: count_dynamic(measurement.code_of_tracers(cov)),
        "configuration": lambda: configuration.file_of(cov),
        "unused_config_file": lambda: unused(config_file, configuration.file_of(cov)),
        "config_file_origin": lambda: config_file_origin,
        "ignored_configurations": lambda: ignored_configurations(
            configuration.file_of(cov), named=config_file is not None, folder=Path(workdir.here(""))
        ),
        "flush_problem": lambda: measuring.problem,
        "coverage_changes": lambda: tuple(names.problems()),
        "unmeasured": lambda: engine.unmeasured,
        "branch": lambda: measuring.branch,
        "threads_lost": lambda: engine.threads_lost,
        "private_folder": lambda: str(engine.memory.folder),
        "refused_folders": lambda: tuple(refused(engine.data_file, engine.memory.folder)),
        "other_namespaces": lambda: len(worker.memories.distant()),
        "why_no_channel": lambda: channel.why_not(worker.private),
        "hides_children": lambda: worker.memory.hides_children,
        "autosave_interval": lambda: worker.autosave_interval,
        "paused_since": lambda: paused_since(worker.store.pauses()),
        "not_writable": lambda: {
            **{
                described: why
                for described, each in (folders or {}).items()
                if (why := why_not_writable(each)) is not None
            },
            **blocked(places or {}),
        },
        "has_descriptors": can_open_files,
        "fleet": lambda: fleet or {},
    }
    known = {}
    for name, source in sources.items():
        try:
            known[name] = source()
        except Exception as error:  # noqa: BLE001  /health tells what it can
            log.warning(
                "%s cannot be determined for /health: %s: %s", name, type(error).__name__, error
            )
    return Facts(**known)


def paused_since(pauses: Sequence[Pause]) -> str | None:
    """Return when the present pause began, ISO 8601 in UTC; None where there is none."""
    return pauses[-1].began_at if is_going_on(pauses) else None


def imported_early(engine: Engine) -> tuple[str, ...]:
    """Return measured modules that had run, wholly or in part, before measuring began.

    A module whose import is still going on is left out if the engine sees the code that runs. Under
    other engines it is named only if it defines functions or classes: a module that just starts
    measuring does not.
    """
    return tuple(
        each.name
        for each in engine.measured_early()
        if each.unseen.has_ended or (each.defines and not engine.sees_running)
    )


def has_gevent(modules: Mapping[str, Any]) -> bool:
    """Tell whether gevent has patched the standard library, or runs a hub in this thread."""
    monkey, hubs = modules.get("gevent.monkey"), modules.get("gevent._hub_local")
    if monkey is not None and monkey.is_anything_patched():
        return True
    return hubs is not None and hubs.get_hub_if_exists() is not None


def has_greenlets(modules: Mapping[str, Any]) -> bool:
    """Tell whether some thread has used greenlets; SQLAlchemy imports them and may never do so."""
    count = getattr(modules.get("greenlet._greenlet"), "get_total_main_greenlets", None)
    return count is not None and count() > 0


def file_tracers(cov: Coverage) -> tuple[str, ...]:
    """Return the names of plugins that trace files."""
    if not cov.get_option("run:plugins"):
        return ()
    names = dict(cov.sys_info()).get("plugins.file_tracers") or ()
    return tuple(str(name).removesuffix(" (disabled)") for name in names)


def native_threads(modules: Mapping[str, Any]) -> str | None:
    """Name the server if it serves on threads that the threading module did not make; else None."""
    if "mod_wsgi" in modules:
        return "mod_wsgi"
    if "granian" in modules:
        return "granian"
    threads = uwsgi.options(modules).get("threads", "1")
    if threads.isdigit() and int(threads) > 1:
        return f"uWSGI with {threads} threads"
    return None


def uwsgi_without_hooks(modules: Mapping[str, Any]) -> bool:
    """Tell whether uWSGI forked, or will, after import and without running at-fork hooks."""
    options = uwsgi.options(modules)
    forks = "master" in options or options.get("processes", options.get("workers", "1")) != "1"
    hooked = {"lazy-apps", "lazy", "py-call-uwsgi-fork-hooks"} & options.keys()
    return bool(options) and forks and not hooked


def uwsgi_hard_end(modules: Mapping[str, Any]) -> bool:
    """Tell whether uWSGI, ended by a signal, ends its workers during requests."""
    options = uwsgi.options(modules)
    return bool(options) and "gracefully_kill_them_all" not in options.get("hook-master-start", "")


def reloader_parent(environ: Mapping[str, str], measured: Collection[int]) -> int | None:
    """Return the process id of the reloader's parent if it is measured; else None.

    It is this process, or the parent of this process if this is the reloader's child.
    """
    is_child = any(environ.get(name) == "true" for name in RELOADER_CHILDREN)
    for pid in (os.getpid(),) if _is_reloading() else (os.getppid(),) if is_child else ():
        if pid in measured:
            return pid
    return None


def _is_reloading() -> bool:
    """Tell whether a thread of this process waits for the reloader's child to end."""
    for frame in sys._current_frames().values():  # noqa: SLF001  other threads' have no other way
        at: Any = frame
        while at is not None:
            if at.f_code.co_name == "restart_with_reloader":
                return True
            at = at.f_back
    return False


def count_dynamic(codes: Collection[CodeType]) -> int:
    """Count the code objects that were not compiled from a file."""
    is_dynamic = functools.cache(_is_dynamic)
    return sum(is_dynamic(code.co_filename) for code in codes)


def _is_dynamic(filename: str) -> bool:
    if filename.startswith("<"):
        return not filename.startswith("<frozen ")
    path = Path(filename)
    return not path.exists() and not any(each.is_file() for each in path.parents)  # in a zip


def unused(config_file: Path | None, read: str | None) -> str | None:
    """Return the file that the setting `config_file` names, if coverage.py has not read it."""
    if config_file is None or (read is not None and Path(read) == config_file):
        return None
    return str(config_file)


def ignored_configurations(read: str | None, *, named: bool, folder: Path) -> tuple[str, ...]:
    """Return files that configure coverage.py and were not read.

    Args:
        read: the file that was read; None: none was.
        named: a setting named that file, so that coverage.py looked for no other.
        folder: where to look, besides the folder of the file that was read.
    """
    if named or (read is not None and Path(read).name not in CONFIGURATIONS):
        return ()
    folders = {folder, Path(read).parent} if read is not None else {folder}
    candidates = [each / name for each in sorted(folders) for name in CONFIGURATIONS]
    return tuple(str(each) for each in candidates if str(each) != read and configures(each))


def configures(path: Path) -> bool:
    """Tell whether a file configures coverage.py."""
    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".toml":
            document = tomllib.loads(text)
            own = path.name.startswith(".coveragerc") and bool(document)
            return own or "coverage" in document.get("tool", {})
    except (OSError, ValueError):
        return False
    return bool((OWN_SECTION if path.name == ".coveragerc" else SHARED_SECTION).search(text))
