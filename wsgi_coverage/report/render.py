"""Render combined data: text, the list of files, coverage.py's JSON and HTML.

All from one analysis, so they agree with each other.

Concurrency: writes into a folder that belongs to one build.
"""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from coverage.exceptions import CoverageException, NoDataError

from wsgi_coverage.model import FileSummary
from wsgi_coverage.report.reporting import ReportingCoverage

TEXT = "report.txt"
FILES = "files.json"
JSON = "coverage.json"
HTML = "html"
NO_DATA = "no data yet: nothing that is measured has run\n"
LOWEST = 5  # files named in the summary

# coverage.py's names for branch figures, and ours.
BRANCHES = {
    "num_branches": "branches",
    "num_partial_branches": "partial_branches",
    "covered_branches": "covered_branches",
    "missing_branches": "missing_branches",
}


def render(cov: ReportingCoverage, folder: Path) -> Mapping[str, Any]:
    """Write every format into the folder; return the summary.

    Figures are coverage.py's own. A source that cannot be read or parsed is listed with null
    figures and the reason.
    """
    totals = _render_json(cov, folder / JSON)
    files = _files(cov, folder / JSON if totals else None)
    as_json = [file.as_json() for file in files]
    (folder / FILES).write_text(json.dumps(as_json, indent=1), encoding="utf-8")
    (folder / TEXT).write_text(_text(cov), encoding="utf-8")
    _render_html(cov, folder / HTML)
    return _summary(files, totals)


def _render_html(cov: ReportingCoverage, folder: Path) -> None:
    try:
        cov.html_report(directory=str(folder))
    except NoDataError:
        shutil.rmtree(folder, ignore_errors=True)
    except UnicodeError as error:  # a path that is no UTF-8 ends in coverage.py's HTML settings
        shutil.rmtree(folder, ignore_errors=True)
        cov.troubles.append(f"there is no HTML: {error}")


def _render_json(cov: ReportingCoverage, path: Path) -> Mapping[str, Any] | None:
    """coverage.py's JSON report; its totals, or None if there is nothing to report on."""
    try:
        cov.json_report(outfile=str(path))
    except NoDataError:
        path.unlink(missing_ok=True)
        return None
    totals = json.loads(path.read_text(encoding="utf-8"))["totals"]
    return totals if isinstance(totals, dict) else None


def _text(cov: ReportingCoverage) -> str:
    out = io.StringIO()
    try:
        cov.report(file=out)
    except CoverageException as error:
        return NO_DATA if isinstance(error, NoDataError) else f"{error}\n"
    return out.getvalue()


def _files(cov: ReportingCoverage, path: Path | None) -> list[FileSummary]:
    reported = json.loads(path.read_text(encoding="utf-8"))["files"] if path else {}
    names = cov.shown_names()
    out = [_file(names.get(shown, shown), entry["summary"]) for shown, entry in reported.items()]
    out += [
        FileSummary(
            file=name, statements=None, missing=None, covered=None, percent=None, reason=reason
        )
        for name, reason in cov.failures.items()
    ]
    return sorted(out, key=lambda file: file.file)


def _file(name: str, figures: Mapping[str, Any]) -> FileSummary:
    empty = not figures["num_statements"]
    return FileSummary(
        file=name,
        statements=figures["num_statements"],
        missing=figures["missing_lines"],
        covered=figures["covered_lines"],
        percent=None if empty else _percent(figures["percent_covered"]),
        reason="no statements" if empty else None,
        branches={ours: figures[theirs] for theirs, ours in BRANCHES.items() if theirs in figures},
    )


def _percent(exact: float) -> float:
    """Two digits, but 0 and 100 only where they are exact."""
    if exact in (0.0, 100.0):
        return exact
    return min(max(round(exact, 2), 0.01), 99.99)


def _summary(files: list[FileSummary], totals: Mapping[str, Any] | None) -> dict[str, Any]:
    """Headline figures; null, and a reason, where there are none."""
    if totals is None or not totals["num_statements"]:
        return {
            "percent": None,
            "files": len(files),
            "statements": None,
            "covered": None,
            "missing": None,
            "lowest": [],
            "reason": "no data yet",
        }
    ranked = sorted(
        (file for file in files if file.percent is not None),
        key=lambda file: (file.percent, -(file.statements or 0), file.file),
    )
    return {
        "percent": _percent(totals["percent_covered"]),
        "files": len(files),
        "statements": totals["num_statements"],
        "covered": totals["covered_lines"],
        "missing": totals["missing_lines"],
        **{ours: totals[theirs] for theirs, ours in BRANCHES.items() if theirs in totals},
        "lowest": [file.as_json() for file in ranked[:LOWEST]],
    }
