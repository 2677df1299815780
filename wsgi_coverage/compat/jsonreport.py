"""Build coverage.py's JSON report as an object: writing it would double the time.

Concurrency: functions without state.
"""

from __future__ import annotations

import json
import tempfile
from datetime import datetime
from pathlib import Path
from typing import Any

from wsgi_coverage.compat import names, needs
from wsgi_coverage.compat.reporting import HookedCoverage


def report(cov: HookedCoverage) -> dict[str, Any]:
    """Return what JsonReporter.report writes, and the `contexts` of each file's lines.

    Raises:
        coverage.exceptions.NoDataError: there is nothing to report on.
    """
    if names.missing(needs.DETAIL):
        return _by_itself(cov)
    reporter = names.find("coverage.jsonreport:JsonReporter")(cov)
    data = cov.get_data()
    contexts: Any = cov.get_option("report:contexts")
    data.set_query_contexts(contexts)
    files = {}
    with cov.connected():
        for of_file, analysis in cov.analyses():
            found = reporter.report_one_file(data, analysis, of_file)
            found["contexts"] = data.contexts_by_lineno(analysis.filename)
            files[of_file.relative_filename()] = found
    totals = reporter.make_summary(reporter.total)
    if data.has_arcs():
        totals.update(reporter.make_branch_summary(reporter.total))
    meta = {
        "format": names.find("coverage.jsonreport:FORMAT_VERSION"),
        "version": names.version(),
        "timestamp": datetime.now().isoformat(),  # noqa: DTZ005  as coverage.py's
        "branch_coverage": data.has_arcs(),
        "show_contexts": True,
    }
    return {"meta": meta, "files": files, "totals": totals}


def _by_itself(cov: HookedCoverage) -> dict[str, Any]:
    """Return the report by Coverage.json_report, which repeats contexts for each function."""
    with tempfile.TemporaryDirectory(prefix="wsgi-coverage-") as folder:
        target = Path(folder, "report.json")
        cov.json_report(outfile=str(target), show_contexts=True)
        found: dict[str, Any] = json.loads(target.read_text(encoding="utf-8"))
    return found
