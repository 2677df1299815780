"""Every endpoint answers as its documentation says."""

import html
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from stand_ins import FILE, FUNCTION, PAGE, SUMMARY, Site, build, figures_with
from wsgi_calls import BROWSER, JSON, Answer

from wsgi_coverage.analysis.cache import FIGURES
from wsgi_coverage.model import Report

READERS = ["/report", "/files", "/export", "/export?format=json", "/html/", "/html/index.html"]


@pytest.mark.parametrize("path", READERS)
def test_before_the_first_refresh_a_reader_answers_no_report(site: Site, path: str) -> None:
    answer = site.get(path)

    assert (answer.status, answer.error) == (404, "no-report")
    assert "refresh" in answer.json()["message"].lower()


@pytest.mark.parametrize("path", [*READERS, "/", "/snapshots"])
def test_a_reader_never_asks_a_worker(reported: Site, path: str) -> None:
    reported.worker.asked.clear()

    answer = reported.get(path)

    assert answer.status == 200
    assert reported.worker.asked == []


def test_the_dashboard_before_the_first_refresh_offers_the_button(site: Site) -> None:
    answer = site.get("/")

    assert (answer.status, answer.mimetype) == (200, "text/html")
    assert 'action="./refresh"' in answer.text
    assert "no report yet" in answer.text


def test_the_dashboard_shows_the_report_its_time_and_the_autosave_interval(reported: Site) -> None:
    page = reported.get("/").text

    assert "75 %" in page
    assert "50 %" in page
    assert 'href="./source/' in page
    assert "<time datetime=" in page
    assert re.search(r"\b30(\.0)? s", page)


def test_report_is_plain_text(reported: Site) -> None:
    answer = reported.get("/report")

    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert answer.text.startswith("Name")


def test_files_is_a_json_list(reported: Site) -> None:
    answer = reported.get("/files")

    assert answer.mimetype == "application/json"
    assert answer.json() == [FILE]


@pytest.mark.parametrize("path", ["/export", "/export?format=coverage"])
def test_export_is_the_data_file_as_a_download(reported: Site, path: str) -> None:
    answer = reported.get(path)

    assert answer.body.startswith(b"SQLite format 3")
    assert answer.mimetype == "application/octet-stream"
    assert answer.headers["Content-Disposition"] == 'attachment; filename=".coverage"'


def test_export_as_json_is_coverage_pys_json_report(reported: Site) -> None:
    assert reported.get("/export?format=json").json() == {"totals": {}}


@pytest.mark.parametrize("snapshot", [False, True], ids=["published", "snapshot"])
@pytest.mark.parametrize(
    ("wanted", "mimetype", "name", "body"),
    [
        ("xml", "application/xml", "coverage.xml", b"<coverage/>"),
        ("lcov", "text/plain", "coverage.lcov", b"SF:app.py"),
        ("html", "application/zip", "coverage-html.zip", b"PK"),
    ],
)
def test_every_other_export_is_a_download_of_its_type(
    reported: Site, snapshot: bool, wanted: str, mimetype: str, name: str, body: bytes
) -> None:
    taken = reported.post("/snapshot", JSON).json()["id"]
    below = f"/snapshots/{taken}" if snapshot else ""

    answer = reported.get(f"{below}/export?format={wanted}")

    assert (answer.body, answer.mimetype) == (body, mimetype)
    assert answer.headers["Content-Disposition"] == f'attachment; filename="{name}"'


@pytest.mark.parametrize("wanted", ["", "pdf", "JSON", "%00", "../x", "json%20"])
def test_export_in_an_unknown_format_is_refused(reported: Site, wanted: str) -> None:
    answer = reported.get(f"/export?format={wanted}")

    assert (answer.status, answer.error) == (400, "bad-parameter")
    assert "coverage, html, json, lcov, xml" in answer.json()["message"]


def test_html_has_its_index_and_its_files(reported: Site) -> None:
    index, style = reported.get("/html/"), reported.get("/html/style.css")

    assert (index.body, index.mimetype) == (PAGE, "text/html")
    assert (style.body, style.mimetype) == (b"body {}", "text/css")


@pytest.mark.parametrize(
    "path", ["..%2fmeta.json", "../meta.json", ".gitignore", "no.html", "a/b", "%00", "%5c..%5cx"]
)
def test_html_has_nothing_but_its_pages(reported: Site, path: str) -> None:
    answer = reported.get(f"/html/{path}")

    assert (answer.status, answer.error) == (404, "not-found")


def test_a_name_that_no_filesystem_takes_is_not_found(reported: Site) -> None:
    answer = reported.get(f"/html/{'a' * 300}.html")

    assert (answer.status, answer.error) == (404, "not-found")


def test_refresh_answers_with_all_its_keys(site: Site) -> None:
    answer = site.post("/refresh", JSON)

    assert answer.status == 200
    assert set(answer.json()) == {
        "refreshed_at",
        "duration_seconds",
        "autosave_interval_seconds",
        "summary",
        "complete",
        "workers",
        "warnings",
    }
    assert answer.json()["workers"] == [
        {"host": "h", "pid": 1, "state": "measuring", "published_at": None, "fresh": True}
    ]


@pytest.mark.parametrize("path", ["/refresh", "/snapshot", "/reset"])
@pytest.mark.parametrize(("wait", "seconds"), [("", 5.0), ("?wait=0", 0.0), ("?wait=1.5", 1.5)])
def test_wait_is_how_long_the_other_workers_are_waited_for(
    site: Site, path: str, wait: str, seconds: float
) -> None:
    assert site.post(path + wait, JSON).status == 200

    [(_, asked)] = site.worker.asked
    assert seconds - 1 <= asked <= seconds


@pytest.mark.parametrize("path", ["/refresh", "/snapshot", "/reset"])
@pytest.mark.parametrize("wait", ["", "-1", "nan", "inf", "x", "1e9", "301", "5;", "%00"])
def test_a_wait_that_is_no_waiting_time_is_refused_and_nothing_is_asked(
    site: Site, path: str, wait: str
) -> None:
    answer = site.post(f"{path}?wait={wait}", JSON)

    assert (answer.status, answer.error) == (400, "bad-parameter")
    assert site.worker.asked == []


def test_reset_answers_with_its_workers_and_withdraws_the_report(reported: Site) -> None:
    answer = reported.post("/reset", JSON)

    assert answer.json()["status"] == "reset"
    assert answer.json()["complete"] is True
    assert len(answer.json()["workers"]) == 1
    assert reported.get("/report").error == "no-report"


def test_health_says_what_is_measured_and_why(site: Site) -> None:
    health = site.get("/health").json()

    assert health["status"] == "ok"
    assert (health["core"], health["core_reason"]) == ("ctrace", "a stand-in")
    assert site.worker.verbs == ["status"]


def test_health_is_degraded_while_a_problem_is_known(site: Site) -> None:
    site.worker.problems.append("no channel to other workers")

    health = site.get("/health").json()

    assert health["status"] == "degraded"
    assert health["problems"] == ["no channel to other workers"]


def test_health_refuses_a_bad_wait(site: Site) -> None:
    assert site.get("/health?wait=soon").error == "bad-parameter"


def test_the_stylesheet_is_served(site: Site) -> None:
    answer = site.get("/static/style.css")

    assert (answer.status, answer.mimetype) == (200, "text/css")
    assert b"--accent" in answer.body


@pytest.mark.parametrize("name", ["", "no.css", "..%2fapp.py", "..", "%00", "style.css/x"])
def test_there_is_nothing_else_among_the_static_files(site: Site, name: str) -> None:
    assert site.get(f"/static/{name}").error == "not-found"


@pytest.mark.parametrize(
    "path", ["/report", "/files", "/export", "/snapshots", "/health", "/html", "/static/style.css"]
)
def test_a_trailing_slash_makes_no_difference_to_a_reader(reported: Site, path: str) -> None:
    def settled(path: str) -> Answer:
        answer = reported.get(path)
        if answer.status == 308:
            assert answer.headers["Location"] == "html/"
            answer = reported.get(f"{path}/")
        return answer

    without, with_slash = settled(path), settled(f"{path}/")

    assert (with_slash.status, with_slash.mimetype) == (200, without.mimetype)
    if path != "/health":
        assert with_slash.body == without.body


@pytest.mark.parametrize("path", ["/refresh/", "/reset/", "/snapshot/"])
def test_a_trailing_slash_makes_no_difference_to_a_post(site: Site, path: str) -> None:
    assert site.post(path, JSON).status == 200


@pytest.mark.parametrize("path", ["/nothing", "//", "/report/x", "/html2", "/refresh/now"])
def test_an_unknown_path_is_not_found(reported: Site, path: str) -> None:
    answer = reported.get(path)

    if path == "//":  # a proxy's doubled slash
        assert answer.mimetype == "text/html"
    else:
        assert (answer.status, answer.error) == (404, "not-found")


def test_json_answers_are_readable_as_utf_8(site: Site) -> None:
    answer = site.post("/snapshot?label=%C3%A9%E2%82%AC", JSON)

    assert json.loads(answer.body.decode("utf-8"))["label"] == "é€"


def test_a_file_name_that_is_not_utf_8_can_be_told(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "caf\udce9.py"  # as os.fsdecode gives the byte 0xE9
    site.worker.problems.append(name)

    def build_with_warning(*arguments: Any, **keywords: Any) -> Report:
        return replace(build(*arguments, **keywords), warnings=(name,))

    monkeypatch.setattr("wsgi_coverage.control.control.build", build_with_warning)

    assert site.post("/refresh", JSON).json()["warnings"] == [name]
    assert "caf\\udce9.py" in site.get("/").text
    assert site.get("/health").json()["problems"] == [name]


@pytest.mark.parametrize("path", ["/files", "/functions"])
@pytest.mark.parametrize("view", ["", "?view=list"])
def test_a_page_of_a_list_asks_no_worker(reported: Site, path: str, view: str) -> None:
    reported.worker.asked.clear()

    page = reported.get(path + (view if path == "/files" else ""), BROWSER)

    assert page.status == 200
    assert "app.py" in page.text
    assert reported.worker.asked == []


def test_a_report_of_an_older_version_is_shown_without_what_it_lacks(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def older(inputs: Any, folder: Path) -> Report:
        report = build(inputs, folder)
        file = {key: FILE[key] for key in ("file", "statements", "missing", "covered", "percent")}
        (folder / "files.json").write_text(json.dumps([file]))
        summary = {key: SUMMARY[key] for key in ("percent", "files", "statements", "covered")}
        return replace(report, summary={**summary, "missing": 1, "lowest": [file]})

    monkeypatch.setattr("wsgi_coverage.control.control.build", older)
    site.post("/refresh", JSON)

    overview = site.get("/", BROWSER).text
    files = site.get("/files?view=list", BROWSER).text

    assert "not known" in overview
    assert "this report lacks this figure" in overview
    assert "not known" in files
    assert "None" not in overview + files


@pytest.mark.parametrize("path", ["/", "/?in=x", "/files", "/files?view=list", "/functions"])
@pytest.mark.parametrize("name", ["a b#c?d%41&e=f.py", "\udcff.py", "<i>'\"{{ 7 }}.py", "漢ü.py"])
def test_a_page_shows_and_links_a_file_of_any_name(
    site: Site, monkeypatch: pytest.MonkeyPatch, path: str, name: str
) -> None:
    def odd(inputs: Any, folder: Path) -> Report:
        report = build(inputs, folder)
        listed = [{**FILE, "file": f"/srv/x/{each}", "html": each} for each in (name, "y/z.py")]
        (folder / "files.json").write_text(json.dumps(listed))
        found = {**FUNCTION, "file": f"/srv/x/{name}"}
        (folder / FIGURES).write_bytes(figures_with(found))
        return replace(report, summary={**SUMMARY, "largest_unused": [found]})

    monkeypatch.setattr("wsgi_coverage.control.control.build", odd)
    assert site.post("/refresh", JSON).status == 200

    page = site.get(path, BROWSER)

    assert page.status == 200
    shown = html.escape(name.encode("utf-8", "backslashreplace").decode()).replace(
        "&#x27;", "&#39;"
    )
    assert shown.replace("&quot;", "&#34;") in page.text
    assert f"source/{quote(name, errors='surrogateescape')}" in page.text


def test_the_answers_to_building_is_what_health_has(site: Site) -> None:
    assert site.get("/building").json() == {"building": None}
    assert site.get("/health").json()["building"] is None
