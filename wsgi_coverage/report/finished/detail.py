"""Make coverage.py's JSON report, with contexts for each file, for answers with `detail=lines`.

It is as coverage.py writes it, except that each file has `contexts`: for each line, the contexts in
which it ran (with show_contexts, coverage.py repeats them for every function and class).

Concurrency: reads a report's folder, in which nothing changes.
"""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

from coverage.exceptions import NoDataError

from wsgi_coverage.analysis.analyst import ReportAnalyst
from wsgi_coverage.analysis.cache import AnalysisCache
from wsgi_coverage.analysis.reporting import ReportingCoverage
from wsgi_coverage.compat import jsonreport
from wsgi_coverage.model import JsonObject
from wsgi_coverage.report.finished.reported import open_report
from wsgi_coverage.report.render import SOURCES, executed
from wsgi_coverage.system import own_files

DETAIL = "detail.json"


def write(cov: ReportingCoverage, folder: Path, analysis_dir: Path) -> None:
    """Write the JSON report into the folder of a report that has nothing else.

    Raises:
        OSError: the report cannot be written.
    """
    sources = folder / SOURCES
    own_files.make_folder(sources)
    cov.map_names()
    analyst = ReportAnalyst(
        cov, executed(cov, folder), AnalysisCache(analysis_dir), sources, whole=True
    )
    cov.analyst = analyst
    with contextlib.suppress(NoDataError):
        own_files.write(folder / DETAIL, json.dumps(jsonreport.report(cov)))
    if analyst.fatal:
        raise analyst.fatal
    analyst.tidy()


def read(folder: Path) -> JsonObject | None:
    """Return the JSON report that `write` wrote; None where there was no data."""
    try:
        found: JsonObject = json.loads((folder / DETAIL).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return found


def of_finished(folder: Path) -> JsonObject | None:
    """Return the JSON report of a finished report; None where there is no data.

    Raises:
        FileNotFoundError: there is no report.
    """
    with open_report(folder) as (cov, _):
        try:
            return jsonreport.report(cov)
        except NoDataError:
            return None
