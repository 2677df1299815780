"""Whatever is asked while reports change, and whatever lies about on disk: whole, true answers."""

from __future__ import annotations

import contextlib
import io
import json
import re
import sqlite3
import zipfile
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from xml.etree import ElementTree as ET

import coverage
import pytest

DASHBOARD = "/debug/coverage"
BACK = re.compile(r"\n *<p class=\"text\"><a href=\"../files\">Back to the dashboard</a></p>")


def whole_xml(body: bytes) -> None:
    assert ET.fromstring(body).tag == "coverage"


def whole_zip(body: bytes) -> None:
    with zipfile.ZipFile(io.BytesIO(body)) as site:
        assert site.testzip() is None
        assert "index.html" in site.namelist()


def whole_page(body: bytes) -> None:
    assert body.rstrip().endswith(b"</html>")


def whole_text(body: bytes) -> None:
    assert re.search(rb"^TOTAL .*%$|^lines\.py .*%$", body, re.MULTILINE)


def whole_data(body: bytes) -> None:
    data = coverage.CoverageData(no_disk=True)
    with contextlib.closing(sqlite3.connect(":memory:")) as connection:
        connection.deserialize(body)
        assert connection.execute("pragma quick_check").fetchone() == ("ok",)
    data.close()


READERS = {
    "": whole_page,
    "report": whole_text,
    "files": json.loads,
    "functions": json.loads,
    "functions?unused=1": json.loads,
    "export": whole_data,
    "export?format=json": json.loads,
    "export?format=xml": whole_xml,
    "export?format=lcov": lambda body: body.index(b"end_of_record"),
    "export?format=html": whole_zip,
    "html/": whole_page,
    "html/function_index.html": whole_page,
    "html/lines_py.html": whole_page,
    "snapshots": json.loads,
    "health": json.loads,
}
ROUNDS = 6


def test_readers_of_every_endpoint_get_whole_answers_while_reports_are_replaced(
    project, routes, password
):
    routes.write(project)
    options = ("-w", "2", "--worker-class", "gthread", "--threads", "4")
    server = project.gunicorn(*options, "served:application", env=password)
    server.wait_for_workers(2)
    server.get("/r0")
    server.refresh()
    paths = list(routes.bodies)

    def replace() -> set[int]:
        return {
            status
            for number in range(ROUNDS)
            for status in (
                server.get(paths[number]).status,
                server.post(f"{DASHBOARD}/refresh").status,
            )
        }

    def read(name: str) -> set[int]:
        out = set()
        for _ in range(ROUNDS):
            answer = server.get(f"{DASHBOARD}/{name}")
            assert answer.status == 200, (name, answer.status, answer.text[:300])
            READERS[name](answer.body)
            out.add(answer.status)
        return out

    with ThreadPoolExecutor(5) as pool:
        replacing = pool.submit(replace)
        readers = list(pool.map(read, READERS))
        assert replacing.result() == {200}

    assert readers == [{200}] * len(READERS)
    assert "Traceback" not in server.output


def test_all_readers_of_one_refresh_agree(project, routes, password, until):
    routes.write(project, "branch = true", early=True)
    server = project.gunicorn("-w", "2", "served:application", env=password)
    hit = list(routes.bodies)[:7]
    for path in hit:
        server.get(path)

    def refresh() -> dict[str, Any] | None:
        """None: a worker has still to wrap the application, and what it ran is of no phase."""
        found = server.refresh()["summary"]
        return None if found["runtime"] is None else found

    summary = until(refresh, "both workers have loaded")

    def ask(name: str) -> Any:
        return server.get(f"{DASHBOARD}/{name}")

    ran = routes.load | routes.of(hit)
    (file,) = ask("files").json()
    exported = ask("export?format=json").json()
    page = ask("html/lines_py.html").text
    tree = ET.fromstring(ask("export?format=xml").body)
    assert file["covered"] == summary["covered"] == exported["totals"]["covered_lines"] == len(ran)
    assert f" {file['statements']} " in ask("report").text
    assert server.exported() == {routes.FILE: ran}
    assert set(exported["files"][routes.FILE]["executed_lines"]) == ran
    shown = re.findall(r'<p class="run[^"]*"><span class="n"><a id="t(\d+)', page)
    in_xml = [each.get("number") for each in tree.iter("line") if each.get("hits") == "1"]
    in_lcov = re.findall(r"^DA:(\d+),1", ask("export?format=lcov").text, re.MULTILINE)
    assert [set(map(int, each)) for each in (shown, in_xml, in_lcov)] == [ran] * 3
    with zipfile.ZipFile(io.BytesIO(ask("export?format=html").body)) as site:
        assert site.read("lines_py.html").decode() == BACK.sub("", page)
    functions = ask("functions").json()
    assert sum(1 for each in functions if each["runtime"]) == len(hit)
    assert [each["name"] for each in functions if each["runtime"]] == [path[1:] for path in hit]


@pytest.fixture
def odd(project, routes, password):
    """A site of which three sources cannot be read any more, or never could be."""
    routes.write(project)
    project.write("gone.py", "def ran():\n    return 1\n")
    project.write("broken.py", "def unparsable(:\n")
    (project.folder / "coded.py").write_bytes(b"# coding: klingon-8\nx = 'qapla'\n")
    served = project.folder / "served.py"
    served.write_text(served.read_text() + "\nimport gone\ngone.ran()\n")
    server = project.gunicorn("-w", "1", "served:application", env=password)
    server.get("/r1")
    (project.folder / "gone.py").unlink()
    return server


def test_sources_that_cannot_be_read_are_listed_with_a_warning_and_all_else_is_reported(
    odd, routes
):
    report = odd.refresh()

    files = {each["file"].rpartition("/")[2]: each for each in odd.get(f"{DASHBOARD}/files").json()}
    for name in ("gone.py", "broken.py", "coded.py"):
        assert files[name]["percent"] is None
        assert files[name]["reason"]
        assert [each for each in report["warnings"] if name in each]
    assert files[routes.FILE]["covered"] == 1
    assert routes.FILE in odd.get(f"{DASHBOARD}/report").text
    for name in ("export?format=json", "export?format=xml", "export?format=lcov", "html/"):
        answer = odd.get(f"{DASHBOARD}/{name}")
        assert answer.status == 200
        assert "lines" in answer.text
    assert odd.get(f"{DASHBOARD}/export?format=html").status == 200
    assert odd.get(f"{DASHBOARD}/functions").status == 200


def test_data_files_that_are_no_good_are_set_aside_by_name(project, routes, password):
    routes.write(project)
    server = project.gunicorn("-w", "2", "served:application", env=password)
    server.wait_for_workers(2)
    server.get("/r1")
    good = coverage.CoverageData(str(project.folder / ".coverage.other.1.good"))
    good.add_lines({str(project.folder / routes.FILE): [routes.bodies["/r2"]]})
    good.close(force=True)
    whole = (project.folder / ".coverage.other.1.good").read_bytes()
    bad = {
        ".coverage.other.1.truncated": whole[: len(whole) // 2],
        ".coverage.other.1.empty": b"",
        ".coverage.other.1.garbage": b"garbage" * 1000,
    }
    for name, content in bad.items():
        (project.folder / name).write_bytes(content)
    branches = coverage.CoverageData(str(project.folder / ".coverage.other.1.branches"))
    branches.add_arcs({str(project.folder / routes.FILE): [(1, 2)]})
    branches.close(force=True)
    schema = project.folder / ".coverage.other.1.schema"
    schema.write_bytes(whole)
    with contextlib.closing(sqlite3.connect(schema)) as connection, connection:
        connection.execute("update coverage_schema set version = 999")

    report = server.refresh()

    for name in (*bad, branches.base_filename().rpartition("/")[2], schema.name):
        assert [each for each in report["warnings"] if name in each], name
        assert (project.folder / name).exists()
    assert len(report["warnings"]) == 6  # these five, and that the application was imported early
    assert "imported before measuring began" in report["warnings"][-1]
    assert server.exported() == {routes.FILE: routes.of(["/r1", "/r2"])}
