"""The union of all published data files; what cannot be used is set aside by name.

Non-destructive: every file is copied first, because coverage.py's own readers are not safe on a
file that another process is writing, and nothing that lies there is ever changed.

Concurrency: works in a folder of its own; any number may run at once.
"""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from coverage import CoverageData
from coverage.exceptions import CoverageException

from wsgi_coverage.report.reporting import ReportingCoverage
from wsgi_coverage.store import stamp

TRIES = 4  # to get a whole copy of a file that somebody writes to
PAUSE = 0.02  # seconds between tries


def combine(
    cov: ReportingCoverage,
    data_files: Sequence[Path],
    *,
    branch: bool,
    workspace: Path,
    unexecuted: Iterable[tuple[str, str | None]],
) -> list[str]:
    """Combine data files into a Coverage, path remapping included.

    Args:
        cov: what to combine into.
        data_files: what to combine; none of them is changed.
        branch: whether this application measures branches; files that differ are set aside.
        workspace: a folder to work in.
        unexecuted: files that could have run, each with its plugin's name, to be shown at 0.

    Returns:
        A warning for each file that was set aside.
    """
    warnings: list[str] = []
    stale: set[str] = set()
    for number, path in enumerate(data_files):
        copy = workspace / f"part-{number}"
        try:
            if why_not := _why_not(path, copy, branch=branch):
                warnings.append(f"data file {path} is set aside: {why_not}")
                continue
            warnings += _leave_out_stale(cov, copy, stale)
            before = len(cov.notices)
            cov.combine([str(copy)], strict=False, keep=True)
            warnings += [
                f"data file {path} is set aside: {_rename(notice, copy, path)}"
                for notice in cov.notices[before:]
            ]
            del cov.notices[before:]
        except CoverageException as error:
            warnings.append(f"data file {path} is set aside: {_rename(str(error), copy, path)}")
        finally:
            copy.unlink(missing_ok=True)
    data = cov.get_data()
    left_out = stale - data.measured_files()
    for name in left_out:
        cov.failures[name] = "its source has changed since it was loaded: restart the workers"
    if data.measured_files():
        for name, plugin in unexecuted:
            if name not in left_out:
                data.touch_file(name, plugin or "")
    return warnings


def _leave_out_stale(cov: ReportingCoverage, copy: Path, stale: set[str]) -> list[str]:
    """Take out what was recorded of another version of a source than the one that is there now."""
    old = []
    for name, loaded in stamp.read_fingerprints(copy).items():
        now = stamp.fingerprint(cov.local_name(name))
        if now is not None and now != loaded:
            old.append(name)
    if not old:
        return []
    stamp.leave_out(copy, old)
    stale.update(map(cov.local_name, old))
    found = stamp.read(copy)
    worker = f"worker {found.worker_id}" if found else "a worker"
    return [
        f"{cov.local_name(name)} has changed since {worker} loaded it: "
        "what that worker recorded of it is left out"
        for name in old
    ]


def _why_not(path: Path, copy: Path, *, branch: bool) -> str | None:
    """Copy a data file and look whether it can be used; None if it can."""
    problem: str | None = None
    for attempt in range(TRIES):
        if attempt:
            time.sleep(PAUSE)
        try:
            whole = _copy(path, copy)
        except FileNotFoundError:
            return "it has just been removed"
        except OSError as error:
            return f"{error.strerror or error}"
        problem = "it changes all the time" if not whole else _damage(copy)
        if problem is None:
            return _other_kind(copy, branch=branch)
    return problem


def _copy(path: Path, copy: Path) -> bool:
    """Copy a file; tell whether it stayed the same meanwhile."""
    before = path.stat()
    shutil.copyfile(path, copy)
    after = path.stat()
    return (before.st_mtime_ns, before.st_size, before.st_ino) == (
        after.st_mtime_ns,
        after.st_size,
        after.st_ino,
    )


def _damage(copy: Path) -> str | None:
    if copy.stat().st_size == 0:
        return "it is empty"
    try:
        with contextlib.closing(sqlite3.connect(copy)) as connection:
            verdict = connection.execute("pragma quick_check(1)").fetchone()[0]
            # coverage.py would make a data file of any other database.
            connection.execute("select version from coverage_schema").fetchone()
    except sqlite3.Error as error:
        return str(error)
    return None if verdict == "ok" else str(verdict)


def _other_kind(copy: Path, *, branch: bool) -> str | None:
    data = CoverageData(basename=str(copy))
    try:
        data.read()
        if not data.measured_files() or data.has_arcs() == branch:
            return None
    except CoverageException as error:
        return str(error).replace(str(copy), copy.name)
    finally:
        data.close(force=True)
    kinds = {True: "branches", False: "statements only"}
    return f"it holds {kinds[not branch]}, and this application measures {kinds[branch]}"


def _rename(text: str, copy: Path, path: Path) -> str:
    return text.replace(str(copy), str(path))
