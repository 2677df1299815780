"""Render what a refresh writes: the text report, the list of files, figures, and analyses.

Every other format is rendered from these when it is first asked for (formats.py, pages.py).

Concurrency: writes into a folder that belongs to one build.
"""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from coverage import CoverageData
from coverage.exceptions import CoverageException, NoDataError

from wsgi_coverage.analysis import functions, seen
from wsgi_coverage.analysis.analyst import FileEntry, ReportAnalyst
from wsgi_coverage.analysis.cache import FIGURES, AnalysisCache
from wsgi_coverage.analysis.figures import KIND, Executed, Figures, regions_of
from wsgi_coverage.analysis.page_names import Skipped, page_of
from wsgi_coverage.analysis.reporting import ReportingCoverage
from wsgi_coverage.analysis.seen import Seen
from wsgi_coverage.compat import configuration
from wsgi_coverage.compat.configuration import option
from wsgi_coverage.compat.reporting import Totals
from wsgi_coverage.data import imported
from wsgi_coverage.data.packed import pack
from wsgi_coverage.data.phases import Ran, count_load_only
from wsgi_coverage.model import FileSummary, answers
from wsgi_coverage.system import own_files

TEXT = "report.txt"
FILES = "files.json"
SOURCES = "sources"
NO_DATA = "no data yet: nothing that is measured has run\n"
LOWEST = 5  # files named in the summary


def render(cov: ReportingCoverage, folder: Path, analysis_dir: Path) -> Mapping[str, Any]:
    """Write a report into the folder; return the summary.

    Figures are coverage.py's own. A source that cannot be read or parsed is listed with null
    figures and the reason.

    Raises:
        OSError: the report cannot be written.
    """
    own_files.make_folder(folder / SOURCES)
    cov.map_names()
    cache = AnalysisCache(analysis_dir)
    analyst = ReportAnalyst(cov, executed(cov, folder), cache, folder / SOURCES)
    cov.analyst = analyst
    cov.get_data().set_query_contexts(option(cov.config, "report:contexts"))
    with cov.connected(), analyst.processes:
        totals = cov.total()
    if analyst.fatal:
        raise analyst.fatal
    cov.inexact, unseen = _inexact(cov, analyst.entries)
    branch = cov.get_data().has_arcs()
    files = _files(analyst.entries, cov, branch=branch)
    days, of_files = _seen(cov, analyst.entries)
    as_json = [{**file.as_json(), **of_files.get(file.file, {})} for file in files]
    own_files.write(folder / FILES, json.dumps(as_json, indent=1))
    own_files.write(folder / TEXT, _text(cov))
    _keep(analyst.entries, cov, unseen, days, folder, cache)
    analyst.tidy()
    of_functions = functions.summary(
        ((name, entry.figures) for name, entry in analyst.entries.items()), cov.inexact, unseen
    )
    return _summary(files, analyst.entries, totals, of_functions, branch=branch)


def _inexact(
    cov: ReportingCoverage, entries: Mapping[str, FileEntry]
) -> tuple[dict[str, str], functions.UnseenIn]:
    """Find the files that were imported early and have missing lines that may have run.

    Returns:
        For each of these files, why its figures are not exact; and which of its functions may have
        run (by their first lines; None: any).
    """
    why: dict[str, str] = {}
    which: dict[str, list[int] | None] = {}
    for early, unseen in cov.imported_early.items():
        name = cov.local_name(early)
        if name not in entries:
            continue
        figures = entries[name].figures
        regions = regions_of(figures, KIND)
        missing = {each.start: each.counts[2] for each in regions if each.name}
        found = imported.unseen_functions(unseen, missing)
        if not imported.is_exact(unseen, figures.first_missing) or any(
            missing[line] for line in (missing if found is None else found)
        ):
            why[name], which[name] = imported.reason(unseen), found
    return why, which


def executed(cov: ReportingCoverage, folder: Path) -> Executed:
    """Read all data of the combined data file at once, under the names that reports use."""
    contexts = option(cov.config, "report:contexts")
    if not cov.remapped:
        return Executed(Path(option(cov.config, "run:data_file")), contexts)
    remapped = folder / "remapped"
    try:
        with contextlib.closing(CoverageData(basename=str(remapped))) as copy:
            copy.update(cov.get_data())
        return Executed(remapped, contexts)
    finally:
        remapped.unlink(missing_ok=True)


def _text(cov: ReportingCoverage) -> str:
    out = io.StringIO()
    try:
        cov.report(file=out)
    except CoverageException as error:
        return NO_DATA if isinstance(error, NoDataError) else f"{error}\n"
    return out.getvalue()


def _keep(
    entries: Mapping[str, FileEntry],
    cov: ReportingCoverage,
    unseen: functions.UnseenIn,
    days: Mapping[str, Any],
    folder: Path,
    cache: AnalysisCache,
) -> None:
    """Write the figures file, which other formats and the next report are made from."""
    plain = {
        "config": configuration.plain(cov.config),
        "files": {name: entry.as_plain() for name, entry in entries.items()},
        "failures": cov.failures,
        "inexact": cov.inexact,
        "unseen_functions": unseen,
        "seen": days,
    }
    own_files.replace(folder / FIGURES, pack(plain))
    cache.take(FIGURES, folder)


def _seen(
    cov: ReportingCoverage, entries: Mapping[str, FileEntry]
) -> tuple[dict[str, Any], dict[str, answers.Seen]]:
    """Find out when code was seen to run.

    Returns:
        What is stored of functions; and fields of the list of files, by file.
    """
    days = cov.seen_days
    if days is None:
        nothing = Seen(None, None, (), cov.no_days)
        return {"reason": cov.no_days}, dict.fromkeys(entries, nothing.as_json())
    lines = {cov.local_name(name): found for name, found in days.lines.items()}
    of_functions: dict[str, dict[int, Seen]] = {}
    of_files: dict[str, answers.Seen] = {}
    for name, entry in entries.items():
        if cov.get_data().file_tracer(name):
            unknown = Seen(None, None, (), seen.BY_PLUGIN)
            of_files[name] = unknown.as_json()
            of_functions[name] = {each.start: unknown for each in regions_of(entry.figures, KIND)}
            continue
        found = lines.get(name, ())
        of_files[name] = seen.of_file(found, entry.figures).as_json()
        of_functions[name] = seen.of_functions(found, entry.figures, days.functions)
        for each in found:
            if each.is_current and each.version not in days.functions.get(each.name, {}):
                of = cov.new_functions.setdefault(each.name, {})
                of[each.version] = seen.function_lines(entry.figures)
    stored = {
        "since": seen.iso(days.since),
        "until": seen.iso(days.until),
        "functions": of_functions,
    }
    return stored, of_files


def _files(
    entries: Mapping[str, FileEntry], cov: ReportingCoverage, *, branch: bool
) -> list[FileSummary]:
    skipped = Skipped.by(cov)
    out = [
        _file(name, entry, skipped, why_inexact=cov.inexact.get(name), branch=branch)
        for name, entry in entries.items()
    ]
    out += [
        FileSummary(
            file=name, statements=None, missing=None, covered=None, percent=None, reason=reason
        )
        for name, reason in cov.failures.items()
    ]
    return sorted(out, key=lambda file: file.file)


def _file(
    name: str, entry: FileEntry, skipped: Skipped, *, why_inexact: str | None, branch: bool
) -> FileSummary:
    figures = entry.figures
    totals = figures.totals()
    empty = not totals.statements
    return FileSummary(
        file=name,
        statements=totals.statements,
        missing=totals.missing,
        covered=totals.executed,
        percent=None if empty else percentage(totals.percent),
        reason="no statements" if empty else None,
        imported_early=why_inexact,
        ran=None if empty else _ran(totals, figures, is_exact=why_inexact is None),
        html=page_of(entry.shown, totals, skipped),
        branches=_branches(totals) if branch else {},
        **_phases([("", figures)]),
    )


def _ran(totals: Totals, figures: Figures, *, is_exact: bool) -> answers.When | None:
    """Return when a file ran; one that was imported early ran at load, seen or not."""
    if is_exact or totals.executed:
        ran = Ran.of(totals.executed, figures.runtime)
        return None if ran is None else ran.value
    return None if figures.runtime is None else Ran.AT_LOAD_ONLY.value


def _branches(totals: Totals) -> dict[str, int]:
    return {
        "branches": totals.branches,
        "partial_branches": totals.partial_branches,
        "covered_branches": totals.executed_branches,
        "missing_branches": totals.missing_branches,
    }


def _phases(files: Iterable[tuple[str, Figures]]) -> dict[str, Any]:
    """Sum up statements by phase; all are null, with a reason, if one file's are not known."""
    load = load_only = runtime = could = 0
    for name, of in files:
        if of.load is None or of.load_only is None or of.runtime is None:
            return {
                "load": None,
                "load_only": None,
                "runtime": None,
                "runtime_percent": None,
                "runtime_reason": f"{name}: {of.runtime_reason}" if name else of.runtime_reason,
            }
        load += of.load
        load_only += of.load_only
        runtime += of.runtime
        could += of.counts[0] - of.load_only
    out: dict[str, Any] = {
        "load": load,
        "load_only": load_only,
        "runtime": runtime,
        "runtime_percent": None,
    }
    if could:
        out["runtime_percent"] = percentage(100.0 * runtime / could)
    else:
        out["runtime_reason"] = "there is nothing that could run at runtime"
    return out


def _is_unrun(file: tuple[str, Figures]) -> bool:
    """Tell whether nothing of a file ran; sorts such files last, after those that have reasons."""
    statements, missing = file[1].counts[0], file[1].counts[2]
    return statements == missing


def percentage(exact: float) -> float:
    """Round a percentage to two digits, but to 0 and 100 only where they are exact."""
    if exact in (0.0, 100.0):
        return exact
    return min(max(round(exact, 2), 0.01), 99.99)


def _summary(
    files: list[FileSummary],
    entries: Mapping[str, FileEntry],
    totals: Totals | None,
    of_functions: Mapping[str, Any],
    *,
    branch: bool,
) -> dict[str, Any]:
    """Return the figures of the whole report; null, with a reason, where there is no data."""
    if totals is None or not totals.statements:
        return {
            "percent": None,
            "files": len(files),
            "statements": None,
            "covered": None,
            "missing": None,
            "load": None,
            "load_only": None,
            "runtime": None,
            "runtime_percent": None,
            "imported_early_files": None,
            "unused_files": None,
            "load_only_files": None,
            "functions": None,
            "unused_functions": None,
            "load_only_functions": None,
            "largest_unused": [],
            "lowest": [],
            "reason": "no data yet",
        }
    told = [file.ran for file in files if file.statements]
    ranked = sorted(
        (file for file in files if file.percent is not None),
        key=lambda file: (file.percent, -(file.statements or 0), file.file),
    )
    return {
        "percent": percentage(totals.percent),
        "files": len(files),
        "statements": totals.statements,
        "covered": totals.executed,
        "missing": totals.missing,
        **_phases(
            sorted(((name, entry.figures) for name, entry in entries.items()), key=_is_unrun)
        ),
        **(_branches(totals) if branch else {}),
        "imported_early_files": sum(file.imported_early is not None for file in files),
        "unused_files": told.count(Ran.NEVER.value),
        "load_only_files": count_load_only(told),
        **of_functions,
        "lowest": [file.as_json() for file in ranked[:LOWEST]],
    }
