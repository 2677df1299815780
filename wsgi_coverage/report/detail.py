"""coverage.py's JSON report of a finished report, and what ran at load or since: for one answer.

As the file of that name, but that each file has `contexts`: for each line, the contexts in which it
ran (coverage.py, told to show contexts, repeats them for every function and class).

Concurrency: reads a report's folder, in which nothing changes.
"""

from __future__ import annotations

import io
import json
from datetime import datetime
from functools import partial
from pathlib import Path

import coverage
from coverage import jsonreport
from coverage.exceptions import NoDataError
from coverage.jsonreport import JsonReporter
from coverage.report_core import get_analysis_to_report

from wsgi_coverage.model import JsonObject
from wsgi_coverage.report.formats import call_for
from wsgi_coverage.report.reported import opened
from wsgi_coverage.report.reporting import ReportingCoverage


def detail(folder: Path) -> JsonObject:
    """The report, made in a child process if it is large.

    Raises:
        FileNotFoundError: there is nothing to report on, or no report.
        BuildFailedError: the child process failed.
    """
    return call_for(folder, partial(make, folder))


def make(folder: Path) -> JsonObject:
    """The same, here."""
    with opened(folder) as (cov, _):
        try:
            return _report(cov) if hasattr(JsonReporter, "report_one_file") else _by_itself(cov)
        except NoDataError as error:
            raise FileNotFoundError(str(error)) from error


def _report(cov: ReportingCoverage) -> JsonObject:
    """What JsonReporter.report does, without writing it: that takes as long as all the rest."""
    reporter = JsonReporter(cov)
    data = cov.get_data()
    data.set_query_contexts(cov.config.report_contexts)
    files = {}
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
