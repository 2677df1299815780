"""GET /metrics: figures for Prometheus, in both text formats, of what is published alone."""

import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import prometheus_client
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as prometheus_text
from stand_ins import SUMMARY, Site, StandInWorker, build
from wsgi_calls import BROWSER, JSON

from wsgi_coverage.report.publish import Publisher
from wsgi_coverage.web.metrics import FIGURES, PREFIX

RunScript = Callable[..., Any]
Wrap = Callable[..., Site]

OPENMETRICS = {"Accept": "application/openmetrics-text; version=1.0.0"}
WITHOUT_A_REPORT = {"wsgi_coverage_workers": 1.0, "wsgi_coverage_paused": 0.0}
OF_THE_REPORT = {
    "wsgi_coverage_percent": 75.0,
    "wsgi_coverage_statements": 4.0,
    "wsgi_coverage_covered_statements": 3.0,
    "wsgi_coverage_missing_statements": 1.0,
    "wsgi_coverage_load_only_statements": 2.0,
    "wsgi_coverage_runtime_statements": 1.0,
    "wsgi_coverage_runtime_percent": 50.0,
    "wsgi_coverage_files": 1.0,
    "wsgi_coverage_unused_files": 0.0,
    "wsgi_coverage_load_only_files": 0.0,
    "wsgi_coverage_functions": 1.0,
    "wsgi_coverage_unused_functions": 1.0,
    "wsgi_coverage_load_only_functions": 0.0,
    "wsgi_coverage_report_complete": 1.0,
    "wsgi_coverage_report_warnings": 0.0,
}
AGE = "wsgi_coverage_report_age_seconds"


def samples(text: str, parse: Any = prometheus_text) -> dict[str, float]:
    """The value of each sample but of `wsgi_coverage_info`, by its name."""
    found = [each for family in parse(text) for each in family.samples]
    assert len({each.name for each in found}) == len(found)
    return {each.name: each.value for each in found if each.name != "wsgi_coverage_info"}


def publish_with(monkeypatch: pytest.MonkeyPatch, site: Site, **fields: Any) -> None:
    """Publish a report with other metadata than the stand-in's."""
    monkeypatch.setattr(
        "wsgi_coverage.control.control.build", lambda *of: replace(build(*of), **fields)
    )
    site.post("/refresh", JSON)


def test_without_a_report_there_are_figures_of_the_workers_alone(site: Site) -> None:
    answer = site.get("/metrics")

    assert (answer.status, answer.mimetype) == (200, "text/plain")
    assert samples(answer.text) == WITHOUT_A_REPORT


def test_the_figures_are_those_of_the_published_report(reported: Site) -> None:
    found = samples(reported.get("/metrics").text)

    assert 0 <= found.pop(AGE) < 60
    assert found == {**WITHOUT_A_REPORT, **OF_THE_REPORT}


def test_a_client_that_accepts_openmetrics_gets_it(reported: Site) -> None:
    answer = reported.get("/metrics", OPENMETRICS)

    assert answer.mimetype == "application/openmetrics-text"
    assert answer.text.endswith("# EOF\n")
    assert samples(answer.text, openmetrics).keys() == {AGE, *WITHOUT_A_REPORT, *OF_THE_REPORT}


def test_a_figure_that_is_not_known_has_no_sample(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    summary = {**SUMMARY, "percent": None, "runtime": None, "unused_functions": None}
    publish_with(monkeypatch, site, summary=summary)

    missing = OF_THE_REPORT.keys() - samples(site.get("/metrics").text).keys()

    assert missing == {
        "wsgi_coverage_percent",
        "wsgi_coverage_runtime_statements",
        "wsgi_coverage_unused_functions",
    }


@pytest.mark.parametrize(("ago", "shown"), [(3600, 3600.0), (-3600, 0.0)])
def test_the_age_is_that_of_the_report_and_never_negative(
    site: Site, monkeypatch: pytest.MonkeyPatch, ago: int, shown: float
) -> None:
    made_at = (datetime.now(UTC) - timedelta(seconds=ago)).isoformat()
    publish_with(monkeypatch, site, refreshed_at=made_at, complete=False, warnings=("one",))

    found = samples(site.get("/metrics").text)

    assert shown <= found[AGE] < shown + 60
    assert found["wsgi_coverage_report_complete"] == 0.0
    assert found["wsgi_coverage_report_warnings"] == 1.0


def test_a_scrape_asks_no_worker_and_makes_nothing(
    reported: Site, worker: StandInWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker.asked.clear()
    monkeypatch.setattr("wsgi_coverage.control.control.build", None)
    monkeypatch.setattr(Publisher, "lock", None)

    assert reported.get("/metrics").status == 200
    assert worker.asked == []


def test_the_registry_of_the_application_is_left_alone(reported: Site) -> None:
    before = prometheus_client.generate_latest()

    reported.get("/metrics")

    names = {each.name for each in prometheus_client.REGISTRY.collect()}
    assert b"wsgi_coverage" not in before
    assert not any("wsgi_coverage" in name for name in names)


def test_without_the_extra_the_answer_names_it(
    reported: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)

    answer = reported.get("/metrics")

    assert (answer.status, answer.error) == (501, "missing-extra")
    assert "pip install 'wsgi-coverage[metrics]'" in answer.json()["message"]


def test_figures_need_authorization(wrap: Wrap) -> None:
    site = wrap(password="secret")

    assert site.get("/metrics").status == 401


def test_a_browser_gets_text_as_well_and_a_post_is_refused(reported: Site) -> None:
    assert reported.get("/metrics", BROWSER).mimetype == "text/plain"
    assert reported.call("HEAD", "/metrics").body == b""
    assert reported.post("/metrics", JSON).status == 405


def test_the_applications_folder_for_many_processes_does_not_matter(
    run_script: RunScript,
) -> None:
    found = run_script(
        """
        import json
        from wsgi_calls import PREFIX, JSON, call
        from wsgi_coverage import CoverageMiddleware, start_early
        start_early()
        import shop
        app = CoverageMiddleware(shop.app, debug=True)
        call(app, "GET", "/")
        call(app, "POST", PREFIX + "/refresh", JSON)
        print(json.dumps(call(app, "GET", PREFIX + "/metrics").text))
        """,
        {
            "shop.py": """
            def app(environ, start_response):
                start_response("200 OK", [("Content-Type", "text/plain")])
                return [b"shop"]


            def never():
                return 1
            """
        },
        env={"PROMETHEUS_MULTIPROC_DIR": "there/is/no/such/folder"},
    )

    shown = samples(found)
    assert shown["wsgi_coverage_unused_functions"] == 1.0
    assert shown["wsgi_coverage_statements"] == 5.0
    assert shown["wsgi_coverage_workers"] == 1.0


def test_the_metrics_of_the_documentation_are_those_there_are() -> None:
    page = Path(__file__).parents[2].joinpath("docs/how-to/prometheus.md").read_text("utf-8")

    for name in (*(f"{PREFIX}{each.name}" for each in FIGURES), *OF_THE_REPORT, AGE):
        assert f"`{name}`" in page
