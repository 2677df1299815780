"""GET /metrics: figures of the published report, and of this host's workers, for Prometheus.

The text formats and their negotiation are those of `prometheus_client` (the extra `metrics`), which
only this module imports, when it is first asked. Nothing is added to its default registry, which
belongs to the application.

Concurrency: each answer has a registry of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import NamedTuple

from werkzeug.wrappers import Request, Response

import wsgi_coverage
from wsgi_coverage.control import Control
from wsgi_coverage.errors import MissingExtraError, NoReportError
from wsgi_coverage.model import Report

PREFIX = "wsgi_coverage_"


class Figure(NamedTuple):
    """A gauge, and the key of a report's summary that has its value."""

    key: str
    name: str  # without PREFIX
    about: str


FIGURES = (
    Figure("percent", "percent", "Percentage of the statements (and branches) that ran."),
    Figure("statements", "statements", "Statements."),
    Figure("covered", "covered_statements", "Statements that ran."),
    Figure("missing", "missing_statements", "Statements that never ran."),
    Figure("load_only", "load_only_statements", "Statements that ran at load only."),
    Figure("runtime", "runtime_statements", "Statements that ran at runtime."),
    Figure(
        "runtime_percent",
        "runtime_percent",
        "Percentage that ran at runtime of the statements that did not run at load only.",
    ),
    Figure("branches", "branches", "Branches."),
    Figure("covered_branches", "covered_branches", "Branches that were taken."),
    Figure("missing_branches", "missing_branches", "Branches that were never taken."),
    Figure("files", "files", "Files of the report."),
    Figure("unused_files", "unused_files", "Files of which nothing ever ran."),
    Figure("load_only_files", "load_only_files", "Files that ran at load only."),
    Figure("functions", "functions", "Functions and methods."),
    Figure("unused_functions", "unused_functions", "Functions that never ran."),
    Figure("load_only_functions", "load_only_functions", "Functions that ran at load only."),
)
AGE = "Seconds since the published report was made."
COMPLETE = "1 if every worker took part in the published report, 0 if not."
WARNINGS = "Warnings of the published report."
WORKERS = "Live workers of this host."
PAUSED = "1 if measuring is paused, 0 if not."


class Gauge(NamedTuple):
    """A gauge and its value."""

    name: str
    about: str
    value: float


def metrics(request: Request, control: Control) -> Response:
    """GET /metrics: figures of the published report, and the number of workers, for Prometheus.

    Raises:
        MissingExtraError: `prometheus_client` is not installed.
    """
    try:
        from prometheus_client import CollectorRegistry, make_wsgi_app
        from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily, Metric
        from prometheus_client.registry import Collector
    except ModuleNotFoundError as error:
        if error.name != "prometheus_client":
            raise
        raise MissingExtraError("metrics", needed_for="/metrics") from error

    class Figures(Collector):
        def collect(self) -> Iterable[Metric]:
            yield InfoMetricFamily(
                "wsgi_coverage",
                "How the process that answers is measured.",
                {
                    "version": wsgi_coverage.__version__,
                    "engine": control.measuring.engine,
                    "core": control.measuring.core,
                },
            )
            for each in gauges(control):
                yield GaugeMetricFamily(f"{PREFIX}{each.name}", each.about, each.value)

    registry = CollectorRegistry(auto_describe=False)
    registry.register(Figures())
    response = Response.from_app(make_wsgi_app(registry), request.environ)
    response.headers["Vary"] = "Accept, Accept-Encoding"
    return response


def gauges(control: Control) -> Iterator[Gauge]:
    """Yield the gauges whose values are known; without a report, none of it.

    Nothing is built, and no worker is asked.
    """
    if (workers := control.count_workers()) is not None:
        yield Gauge("workers", WORKERS, workers)
    yield Gauge("paused", PAUSED, control.is_paused)
    try:
        report = control.report()
    except NoReportError:
        return
    yield from _of_report(report)


def _of_report(report: Report) -> Iterator[Gauge]:
    for figure in FIGURES:
        if (value := report.summary.get(figure.key)) is not None:
            yield Gauge(figure.name, figure.about, value)
    age = datetime.now(UTC) - datetime.fromisoformat(report.refreshed_at)
    # The clock may have been set back, or be behind that of the host that made the report.
    yield Gauge("report_age_seconds", AGE, max(age.total_seconds(), 0.0))
    yield Gauge("report_complete", COMPLETE, report.complete)
    yield Gauge("report_warnings", WARNINGS, len(report.warnings))
