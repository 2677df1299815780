"""coverage.py's JSON report, with contexts for each file, for one answer: `detail=lines`.

As coverage.py writes it, but that each file has `contexts`: for each line, the contexts in which it
ran (coverage.py, told to show contexts, repeats them for every function and class).

Concurrency: reads a report's folder, in which nothing changes.
"""

from __future__ import annotations

import contextlib
import io
import json
from datetime import datetime
from pathlib import Path

import coverage
from coverage import jsonreport
from coverage.exceptions import NoDataError
from coverage.jsonreport import JsonReporter
from coverage.report_core import get_analysis_to_report

from wsgi_coverage import owned
from wsgi_coverage.model import JsonObject
from wsgi_coverage.report.building import Building
from wsgi_coverage.report.kept import Kept
from wsgi_coverage.report.render import SOURCES, executed
from wsgi_coverage.report.reported import opened
from wsgi_coverage.report.reporting import ReportingCoverage

DETAIL = "detail.json"


def write(cov: ReportingCoverage, folder: Path, analysis_dir: Path) -> None:
    """Write it into the folder of a report of which only this is wanted.

    Raises:
        OSError: there is no room.
    """
    sources = folder / SOURCES
    owned.make_folder(sources)
    cov.map_names()
    building = Building(cov, executed(cov, folder), Kept(analysis_dir), sources, whole=True)
    cov.analyst = building
    with contextlib.suppress(NoDataError):
        owned.write(folder / DETAIL, json.dumps(_report(cov)))
    if building.fatal:
        raise building.fatal
    building.tidy()


def read(folder: Path) -> JsonObject | None:
    """The JSON that `write` wrote; None where there was no data."""
    try:
        found: JsonObject = json.loads((folder / DETAIL).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return found


def of_finished(folder: Path) -> JsonObject | None:
    """The JSON of a finished report.

    Raises:
        FileNotFoundError: there is no report.
    """
    with opened(folder) as (cov, _):
        try:
            return _report(cov)
        except NoDataError:
            return None


def _report(cov: ReportingCoverage) -> JsonObject:
    """As JsonReporter.report, without writing a file: that takes as long as all the rest."""
    if not hasattr(JsonReporter, "report_one_file"):
        return _by_itself(cov)
    reporter = JsonReporter(cov)
    data = cov.get_data()
    data.set_query_contexts(cov.config.report_contexts)
    files = {}
    with cov.connected():
        for of_file, analysis in get_analysis_to_report(cov, None):
            found = reporter.report_one_file(data, analysis, of_file)
            found["contexts"] = data.contexts_by_lineno(analysis.filename)
            files[of_file.relative_filename()] = found
    totals = reporter.make_summary(reporter.total)
    if data.has_arcs():
        totals.update(reporter.make_branch_summary(reporter.total))
    meta = {
        "format": jsonreport.FORMAT_VERSION,
        "version": coverage.__version__,
        "timestamp": datetime.now().isoformat(),  # noqa: DTZ005  as coverage.py's
        "branch_coverage": data.has_arcs(),
        "show_contexts": True,
    }
    return {"meta": meta, "files": files, "totals": totals}


def _by_itself(cov: ReportingCoverage) -> JsonObject:
    out = io.StringIO()
    reporter = JsonReporter(cov)
    reporter.config.json_show_contexts = True
    reporter.report(None, out)
    found: JsonObject = json.loads(out.getvalue())
    return found
