"""Diagnoses: known problems with how a process is measured, each with its remedy.

Each is a pure function of facts (wsgi_coverage.health.facts), listed in CHECKS under its name,
which is its anchor in docs/reference/diagnoses.md. No state.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Mapping
from typing import TypeAlias

from wsgi_coverage.data.imported import NAMED, REMEDY, named
from wsgi_coverage.health.facts import Facts
from wsgi_coverage.model import MONITORING, Diagnosis
from wsgi_coverage.settings import AUTOSAVE_INTERVAL, variable

log: logging.Logger = logging.getLogger("wsgi_coverage")

MANY_CODE_OBJECTS = 2_000
# KB that sysmon keeps for each code object; measured with Jinja templates of two or three each.
CODE_OBJECT_SIZE = 2.4

SEES_ALL = frozenset({"sysmon", MONITORING})  # every thread, every greenlet
GREENLETS = frozenset({"gevent", "greenlet", "eventlet"})  # `concurrency` for greenlets

Finding: TypeAlias = tuple[str, str]  # the problem, and the remedy


def can_mark_statements() -> bool:
    """Tell whether this Python has sys.monitoring, by which statements alone can be measured."""
    return hasattr(sys, "monitoring")


def diagnose(facts: Facts) -> list[Diagnosis]:
    """Return every problem that the facts show; a check that fails is logged and left out."""
    out = []
    for name, check in CHECKS.items():
        try:
            finding = check(facts)
        except Exception:
            log.exception("the diagnosis %s failed", name)
            continue
        if finding is not None:
            out.append(Diagnosis(name=name, text=finding[0], remedy=finding[1]))
    return out


def imported_early(facts: Facts) -> Finding | None:
    """Measured modules were imported before measuring began."""
    modules = facts.imported_early
    if not modules:
        return None
    is_one = len(modules) == 1
    return (
        f"{len(modules)} module{' was' if is_one else 's were'} imported before measuring began "
        f"({named(modules)}): what ran while {'it was' if is_one else 'they were'} imported counts "
        "as missing",
        REMEDY,
    )


def gevent_without_concurrency(facts: Facts) -> Finding | None:
    """gevent's greenlets share a thread, and the core cannot tell one from another."""
    if not facts.gevent or facts.core in SEES_ALL or GREENLETS & facts.concurrency:
        return None
    return (
        f"gevent is active, and not configured for {facts.core} (concurrency is "
        f"{', '.join(sorted(facts.concurrency)) or 'not set'}): lines of one greenlet are recorded "
        "for the files of another",
        "set 'concurrency = gevent, thread' under [run] in coverage.py's configuration; or, where "
        "only statements are measured, use Python 3.12 or later, whose sysmon needs no such "
        "setting",
    )


def greenlets_under_tracer(facts: Facts) -> Finding | None:
    """A trace function is called for calls and returns, not for a switch between greenlets."""
    if facts.core in SEES_ALL or not facts.greenlets or facts.gevent:
        return None
    if GREENLETS & facts.concurrency:
        return None
    return (
        f"greenlets run in this process (SQLAlchemy's asyncio uses some), and are not "
        f"configured for {facts.core} (concurrency is "
        f"{', '.join(sorted(facts.concurrency)) or 'not set'}): "
        "lines of one greenlet are recorded for the files of another",
        "where only statements are measured, use Python 3.12 or later without naming a core; else "
        "set 'concurrency = greenlet, thread' under [run] in coverage.py's configuration, and let "
        "greenlets switch in code that is not measured, as SQLAlchemy's do",
    )


def plugins_disabled(facts: Facts) -> Finding | None:
    """sysmon does not support plugins that trace files."""
    if facts.core != "sysmon" or not facts.plugins:
        return None
    return (
        f"sysmon runs no plugins that trace files: {', '.join(facts.plugins)} "
        f"{'does' if len(facts.plugins) == 1 else 'do'} nothing",
        "set 'core = ctrace' under [run] in coverage.py's configuration; or remove the plugins",
    )


def unseen_threads(facts: Facts) -> Finding | None:
    """coverage.py's tracers reach only threads that the threading module makes."""
    if facts.core in SEES_ALL or facts.native_threads is None:
        return None
    return (
        f"{facts.native_threads} serves requests on threads that Python's threading module did "
        f"not make: {facts.core} sees nothing of what runs there",
        "use Python 3.12 or later (3.14 for branches), where sysmon sees every thread; or serve "
        "with processes instead of threads",
    )


def reloader_parent(facts: Facts) -> Finding | None:
    """The reloader's parent imports the application, but only its child serves requests."""
    if facts.reloader_parent is None:
        return None
    return (
        f"process {facts.reloader_parent} is the reloader's parent: it is measured and serves "
        "nothing; what ran while it was imported counts as executed",
        "nothing to do while developing; elsewhere turn the reloader off (use_reloader=False, "
        "flask run --no-reload, runserver --noreload)",
    )


def uwsgi_without_hooks(facts: Facts) -> Finding | None:
    """uWSGI forks in C after the application was imported, without Python's at-fork hooks."""
    if not facts.uwsgi_without_hooks:
        return None
    return (
        "uWSGI forks its workers after import without running Python's at-fork hooks: threads that "
        "the application starts while it is imported are not there in the workers, locks that "
        "they held stay held, and a worker that is forked while one of them runs never starts; "
        "what a thread of the master runs after the forks counts as load, resets or not",
        "start uWSGI with --lazy-apps, or with --py-call-uwsgi-fork-hooks",
    )


def uwsgi_hard_end(facts: Facts) -> Finding | None:
    """uWSGI runs no exit handlers in a worker that it ends during a request."""
    if not facts.uwsgi_hard_end or facts.engine == "memory":
        return None
    return (
        "where SIGTERM or SIGINT ends uWSGI while a worker is in a request, that worker ends as if "
        "it were killed: what it ran in its last second can be lost",
        "have requests end first: --hook-master-start 'unix_signal:15 gracefully_kill_them_all', "
        "and the same with 2 for SIGINT; or refresh before uWSGI is stopped",
    )


def dynamic_code(facts: Facts) -> Finding | None:
    """sysmon never frees a code object that it has seen."""
    if facts.core != "sysmon" or facts.dynamic_code <= MANY_CODE_OBJECTS:
        return None
    size = facts.dynamic_code * CODE_OBJECT_SIZE / 1000
    return (
        f"{facts.dynamic_code:,} code objects were compiled while running (templates from "
        f"strings, exec, eval), and sysmon keeps every one: about {size:.0f} MB",
        "compile a template once and keep it (render_template with a file instead of "
        "render_template_string); or set 'core = ctrace', which keeps none; or recycle workers "
        "(gunicorn --max-requests)",
    )


def configuration_ignored(facts: Facts) -> Finding | None:
    """coverage.py reads only the first configuration that it finds."""
    taken = f"coverage.py read {facts.configuration or 'none'}"
    if facts.unused_config_file is not None:
        return (
            f"config_file {facts.unused_config_file} ({facts.config_file_origin}) was not read, "
            f"because measuring was going on already: {taken}",
            "give the same configuration to whatever starts measuring (COVERAGE_PROCESS_START, "
            "coverage run --rcfile, start_early(config_file), the first application wrapped)",
        )
    if not facts.ignored_configurations:
        return None
    one = len(facts.ignored_configurations) == 1
    return (
        f"{', '.join(facts.ignored_configurations)} {'configures' if one else 'configure'} "
        f"coverage.py too, and {'was' if one else 'were'} not read: {taken}",
        "keep coverage.py's configuration in one file; or name the one meant by config_file or "
        "WSGI_COVERAGE_CONFIG_FILE",
    )


def lossy_flush(facts: Facts) -> Finding | None:
    """coverage.py's internals are not as expected, so a flush may lose lines."""
    if facts.flush_problem is None:
        return None
    return (
        "lines that run during a flush may be lost, because coverage.py "
        f"{facts.coverage_version} is not as expected: {facts.flush_problem}",
        "install a version of coverage.py that this version of wsgi-coverage was tested with, or "
        "a newer wsgi-coverage",
    )


def coverage_changed(facts: Facts) -> Finding | None:
    """coverage.py lacks undocumented names that this package uses."""
    if not facts.coverage_changes:
        return None
    return (
        f"coverage.py {facts.coverage_version} lacks names that are needed: "
        f"{'; '.join(facts.coverage_changes)}",
        "install a version of coverage.py that this version of wsgi-coverage was tested with, or "
        "a newer wsgi-coverage",
    )


def private_folder_taken(facts: Facts) -> Finding | None:
    """Anybody may make folders in shared memory, also with the names that this project uses."""
    if not facts.refused_folders:
        return None
    return (
        f"{'; '.join(facts.refused_folders)}: another user may have made it to read or change "
        f"what is measured, so it is not used; all processes of this user store executed lines in "
        f"{facts.private_folder} instead",
        "nothing is lost; find out who made it, remove it (its owner or root can), and restart the "
        "server",
    )


def no_channel(facts: Facts) -> Finding | None:
    """Workers call each other over Unix sockets, which cannot be used here."""
    if facts.why_no_channel is None:
        return None
    return (
        f"other workers cannot be called: {facts.why_no_channel}; a report may lack what they ran "
        "in the last second, resets and pauses do not reach some of them, and no answer is "
        "complete",
        "set TMPDIR to a folder with a short name, for all workers; or serve with one process, "
        "and refresh once more after a second",
    )


def hidden_children(facts: Facts) -> Finding | None:
    """Without /proc, a forked child that runs no new code cannot be found."""
    if not facts.hides_children:
        return None
    return (
        "this server has forked while it served, and there is no /proc to find such children by: "
        "a reset or pause reaches a child only when it runs code that has not run before, and "
        "answers do not name the child; so no answer to a reset or pause is complete",
        "nothing, where the children end by themselves; else restart the server after a reset",
    )


def autosave_off(facts: Facts) -> Finding | None:
    """Without autosave, no data file is written until the last process ends."""
    if facts.autosave_interval:
        return None
    return (
        "autosave is off (autosave_interval is 0): executed lines are only in memory of this host "
        "until the last process ends, and are lost if the host stops before that",
        f"set autosave_interval ({variable('autosave_interval')}), {AUTOSAVE_INTERVAL:g} seconds "
        "for instance",
    )


def paused(facts: Facts) -> Finding | None:
    """A pause lasts until it is resumed, even if the workers that it began in have ended."""
    if facts.paused_since is None:
        return None
    return (
        f"measuring has been paused since {facts.paused_since}: nothing that runs is counted",
        "POST to resume, or press Resume on the dashboard",
    )


def unmeasured_code(facts: Facts) -> Finding | None:
    """Some code has no readable source, no memory is left for it, or marking its lines failed."""
    if not facts.unmeasured:
        return None
    named = "; ".join(f"{what}: {why}" for what, why in [*facts.unmeasured.items()][:NAMED])
    count = len(facts.unmeasured)
    return (
        f"{count} piece{'' if count == 1 else 's'} of code that should be measured "
        f"{'is' if count == 1 else 'are'} not: {named}",
        "restart the workers if sources have changed; make room in /dev/shm if there was none; "
        "code that is made while running has no source of its own to report on",
    )


def trace_changed(facts: Facts) -> Finding | None:
    """A thread has only one trace function, and coverage.py's was replaced by another."""
    if not facts.threads_lost:
        return None
    return (
        f"another trace function was set (sys.settrace) in {facts.threads_lost} "
        f"thread{'' if facts.threads_lost == 1 else 's'} that {facts.core} measured: what runs "
        "there since is not counted",
        "take the debugger, profiler or sys.settrace(None) out; or, where only statements are "
        "measured, use Python 3.12 or later without naming a core, which needs no trace function",
    )


def branches_cost(facts: Facts) -> Finding | None:
    """Before Python 3.14 only coverage.py's ctrace measures branches."""
    if not facts.branch or facts.core != "ctrace" or not can_mark_statements():
        return None
    return (
        "branches are measured, which before Python 3.14 takes coverage.py's ctrace: a request "
        "costs about twice as much as without, and a worker that is killed loses what it ran "
        "in its last second",
        "set branch to false (WSGI_COVERAGE_BRANCH=0) to measure statements alone, which costs "
        "next to nothing; or use Python 3.14 or later",
    )


def other_namespaces(facts: Facts) -> Finding | None:
    """Process ids of another pid namespace cannot be looked up from this one."""
    count = facts.other_namespaces
    if not count:
        return None
    return (
        f"{count} other container{'' if count == 1 else 's'} of this host (pid namespaces) "
        f"{'has' if count == 1 else 'have'} the same data file: what ran there is in every report, "
        "but it is not known here which workers there are live, so they are not listed",
        "nothing, if that is meant; else give each container a data file in a folder of its own",
    )


def not_writable(facts: Facts) -> Finding | None:
    """Files cannot be written: lines are still marked in memory, but operations are refused."""
    if not facts.not_writable:
        return None
    named = "; ".join(f"{folder}: {why}" for folder, why in facts.not_writable.items())
    return (
        f"files cannot be written: {named}; measuring goes on in memory, but "
        "refreshes, snapshots, resets and autosaves that need them are refused (507)",
        "free disk space, make the path writable, or move away whatever is at a path that "
        "wsgi-coverage needs; nothing else has to be done",
    )


def no_descriptors(facts: Facts) -> Finding | None:
    """This process, or the system, has as many files open as it may."""
    if facts.has_descriptors:
        return None
    return (
        "too many files are open (EMFILE, ENFILE): no report can be read or made in this process",
        "close what the application leaves open, or raise the limit (ulimit -n)",
    )


def store_away(facts: Facts) -> Finding | None:
    """The store of the fleet cannot be used; lines stay on this host until it can."""
    problem = facts.fleet.get("problem")
    if not problem:
        return None
    return (
        f"since {facts.fleet['since']} nothing is sent to the store of the fleet, and nothing "
        f"received from other hosts: {problem}",
        "see that the store runs, that this host reaches it, and that the URL in "
        f"{variable('store')} or store= is right; what runs here meanwhile is kept and sent later",
    )


def store_lost(facts: Facts) -> Finding | None:
    """Keys of the current epoch have disappeared from the store of the fleet."""
    lost_at = facts.fleet.get("lost_at")
    if not lost_at:
        return None
    return (
        f"data of the fleet was lost in the store at {lost_at}: it was restarted empty, or has "
        "removed keys. What running hosts had executed was sent again; what had run only in "
        "processes that had ended by then is not counted",
        "set maxmemory-policy to noeviction, and have the store keep its data over a restart; "
        "reset when you want to begin anew",
    )


CHECKS: Mapping[str, Callable[[Facts], Finding | None]] = {
    "imported-early": imported_early,
    "gevent-without-concurrency": gevent_without_concurrency,
    "greenlets-under-tracer": greenlets_under_tracer,
    "plugins-disabled": plugins_disabled,
    "unseen-threads": unseen_threads,
    "reloader-parent": reloader_parent,
    "uwsgi-without-hooks": uwsgi_without_hooks,
    "uwsgi-hard-end": uwsgi_hard_end,
    "dynamic-code": dynamic_code,
    "configuration-ignored": configuration_ignored,
    "lossy-flush": lossy_flush,
    "coverage-changed": coverage_changed,
    "unmeasured-code": unmeasured_code,
    "trace-changed": trace_changed,
    "branches-cost": branches_cost,
    "other-namespaces": other_namespaces,
    "private-folder-taken": private_folder_taken,
    "no-channel": no_channel,
    "hidden-children": hidden_children,
    "autosave-off": autosave_off,
    "paused": paused,
    "not-writable": not_writable,
    "no-descriptors": no_descriptors,
    "store-away": store_away,
    "store-lost": store_lost,
}
