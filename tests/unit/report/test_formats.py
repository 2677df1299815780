"""What is rendered when it is first asked for, and of what."""

import json
import re
import shutil
import threading
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from wsgi_coverage.analysis import cache
from wsgi_coverage.compat import htmlreport
from wsgi_coverage.errors import BuildFailedError, DamagedReportError
from wsgi_coverage.model import Report
from wsgi_coverage.offload import child
from wsgi_coverage.report import formats, pages
from wsgi_coverage.report.finished import reported

Build = Callable[..., Report]
MakeData = Callable[..., Path]

ALL = [formats.JSON, formats.XML, formats.LCOV, formats.SITE]


@pytest.fixture
def out(data_file: MakeData, build_report: Build, tmp_path: Path) -> Path:
    """The folder of a report of which nothing was asked yet."""
    build_report(data_file(".coverage.a", {"app.py": [1, 2, 5]}))
    return tmp_path / "out"


def test_a_refresh_renders_no_format(out: Path) -> None:
    names = {path.name for path in out.iterdir()}

    assert names == {
        *("data.coverage", "figures", "files.json", "meta.json"),
        *("origin.json", "report.txt", "sources"),
    }


@pytest.mark.parametrize("change", ["edited", "deleted"])
def test_a_report_does_not_change_when_a_source_does(
    out: Path, project: Path, tmp_path: Path, change: str
) -> None:
    reference = shutil.copytree(out, tmp_path / "reference")
    before = everything(reference)
    if change == "edited":
        (project / "app.py").write_text("x = 1\n" * 50)
    else:
        (project / "app.py").unlink()

    assert everything(out) == before


def test_a_report_needs_nothing_of_the_cache(out: Path, tmp_path: Path) -> None:
    before = everything(shutil.copytree(out, tmp_path / "reference"))
    shutil.rmtree(tmp_path / "analysis")

    assert everything(out) == before


def test_a_report_is_rendered_under_the_configuration_of_its_refresh(
    data_file: MakeData, build_report: Build, project: Path, tmp_path: Path
) -> None:
    data = data_file(".coverage.a", {"app.py": [1, 2, 5]})
    build_report(data, config="[html]\ntitle = Before\n[report]\nexclude_also = def second\n")

    (project / ".coveragerc").write_text("[html]\ntitle = After\n")

    assert b"Before" in formats.read_page(tmp_path / "out", "index.html")
    totals = json.loads(formats.read(tmp_path / "out", formats.JSON))["totals"]
    assert totals["num_statements"] == 2


@pytest.mark.parametrize("name", ALL)
def test_a_format_is_rendered_once(out: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    first = formats.read(out, name)
    monkeypatch.setattr(formats, "open_report", None)
    monkeypatch.setattr(pages, "open_report", None)

    assert formats.read(out, name) == first


def test_rendering_leaves_nothing_but_what_was_asked_for(out: Path) -> None:
    before, beside = {path.name for path in out.iterdir()}, set(out.parent.iterdir())

    formats.read(out, formats.XML)
    formats.read_page(out, "app_py.html")

    left = {path.name for path in out.iterdir()} - before
    assert left == {formats.XML, "html"}
    assert set(out.parent.iterdir()) == beside
    made = {path.name for path in (out / "html").iterdir()}
    assert {name for name in made if name.endswith(".html")} == {"app_py.html"}


def test_every_link_of_every_page_leads_to_a_page(out: Path) -> None:
    pending, seen = {"index.html"}, set()
    while pending:
        name = pending.pop()
        seen.add(name)
        content = formats.read_page(out, name)
        if name.endswith(".html"):
            links = re.findall(r'(?:href|src)="([^"#]+)', content.decode())
            pending |= {link for link in links if not link.startswith("https:")} - seen

    assert {"app_py.html", "function_index.html", "class_index.html"} < seen
    assert any(name.startswith("style") for name in seen)


def test_the_zip_holds_the_pages_that_are_served(out: Path) -> None:
    with zipfile.ZipFile(BytesIO(formats.read(out, formats.SITE))) as site:
        names = [name for name in site.namelist() if not name.endswith("/")]
        for name in names:
            assert site.read(name) == formats.read_page(out, name), name

    assert {"index.html", "app_py.html", "function_index.html", "class_index.html"} < set(names)


@pytest.mark.parametrize("name", ["nothing.html", "data.coverage", "app.py", "status.json"])
def test_a_page_that_there_is_not_is_not_found(out: Path, name: str) -> None:
    with pytest.raises(FileNotFoundError):
        formats.read_page(out, name)


def test_without_data_there_is_no_format(build_report: Build, tmp_path: Path) -> None:
    build_report()

    for name in ALL:
        with pytest.raises(FileNotFoundError):
            formats.read(tmp_path / "out", name)
    with pytest.raises(FileNotFoundError):
        formats.read_page(tmp_path / "out", "index.html")


def test_first_askers_for_a_page_at_the_same_time_all_get_the_whole(out: Path) -> None:
    together = threading.Barrier(4)

    def ask(_: int) -> bytes:
        together.wait(30)
        return without_time(formats.read_page(out, "app_py.html"))

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(ask, range(4)))

    assert answers == [without_time((out / "html" / "app_py.html").read_bytes())] * 4
    assert b"first" in answers[0]


@pytest.mark.parametrize("name", ALL)
def test_a_large_format_is_rendered_in_another_process_and_is_the_same(
    out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    here = shutil.copytree(out, tmp_path / "here")
    formats.read(here, name)
    render_elsewhere(monkeypatch)

    there = formats.read(out, name)

    assert content_of(there, name) == content_of((here / name).read_bytes(), name)


def test_large_pages_of_all_functions_and_classes_are_rendered_in_another_process_too(
    out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = shutil.copytree(out, tmp_path / "here")
    names = ["function_index.html", "class_index.html"]
    before = [without_time(formats.read_page(here, name)) for name in names]
    render_elsewhere(monkeypatch)

    assert [without_time(formats.read_page(out, name)) for name in names] == before


def test_those_who_ask_for_the_same_large_format_at_the_same_time_have_it_rendered_once(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = render_elsewhere(monkeypatch)

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: formats.read(out, formats.LCOV), range(4)))

    assert len(calls) == 1
    assert len(set(answers)) == 1


def test_a_child_process_that_fails_to_render_leaves_nothing_and_is_an_error(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    render_elsewhere(monkeypatch)
    (out / cache.FIGURES).write_bytes(b"damaged")
    before = set(out.parent.rglob("*"))

    with pytest.raises(DamagedReportError, match="lacks some of its files"):
        formats.read(out, formats.XML)

    assert set(out.parent.rglob("*")) == before


def test_somebody_else_who_renders_for_too_long_is_an_error_that_says_so(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(formats, "RENDER_TIMEOUT", 0.05)
    started, go_on = threading.Event(), threading.Event()

    def render(*_: object) -> None:
        started.set()
        go_on.wait(30)
        (out / formats.XML).write_text("")

    monkeypatch.setattr(formats, "call_for", render)
    with ThreadPoolExecutor(1) as pool:
        pool.submit(formats.read, out, formats.XML)
        assert started.wait(30)

        with pytest.raises(BuildFailedError, match="another process or thread has been rendering"):
            formats.read(out, formats.XML)

        go_on.set()


def test_another_html_reporter_than_expected_gives_the_whole_site_at_once(
    out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_page = shutil.copytree(out, tmp_path / "by-page")
    monkeypatch.setattr(htmlreport, "parts_are_as_expected", lambda: False)

    formats.read_page(out, "index.html")

    names = [path.name for path in (out / "html").iterdir()]
    assert {"index.html", "app_py.html", "function_index.html"} < set(names)
    monkeypatch.undo()
    for name in names:
        assert without_time((out / "html" / name).read_bytes()) == without_time(
            formats.read_page(by_page, name)
        ), name


@pytest.mark.parametrize("same", [True, False], ids=["same", "edited"])
def test_what_is_damaged_in_a_report_is_made_again_of_the_same_source_only(
    out: Path, project: Path, same: bool
) -> None:
    (kept,) = (out / reported.SOURCES).iterdir()
    kept.unlink()  # it may be a link to what the cache has
    kept.write_bytes(b"damaged")
    if not same:
        (project / "app.py").write_text("x = 1\n")

    files = json.loads(formats.read(out, formats.JSON))["files"]

    assert list(files) == (["app.py"] if same else [])


def test_a_report_that_is_taken_away_meanwhile_is_not_found(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: object) -> None:
        shutil.rmtree(out)
        raise OSError("a file that is not there any more")

    monkeypatch.setitem(formats.REPORTERS, formats.XML, gone)

    with pytest.raises(FileNotFoundError):
        formats.read(out, formats.XML)


def everything(folder: Path) -> dict[str, bytes]:
    """All formats and pages, but for the time."""
    out = {name: without_time(formats.read(folder, name)) for name in ALL[:3]}
    for name in ("index.html", "app_py.html", "function_index.html", "class_index.html"):
        out[name] = without_time(formats.read_page(folder, name))
    assert b"first" in out["app_py.html"]
    return out


def render_elsewhere(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Take everything for large, and render nothing in this process; calls of a child."""
    calls: list[object] = []
    call = child.call

    def counted(function: Callable[[], Any], **more: Any) -> Any:
        calls.append(function)
        return call(function, **more)

    monkeypatch.setattr(child, "call", counted)
    monkeypatch.setattr(formats, "LARGE", 0)
    monkeypatch.setattr(formats, "open_report", None)
    monkeypatch.setattr(pages, "open_report", None)
    return calls


def content_of(content: bytes, name: str) -> object:
    """A format, but for the time that it was rendered at."""
    if name != formats.SITE:
        return without_time(content)
    with zipfile.ZipFile(BytesIO(content)) as site:
        return {each: without_time(site.read(each)) for each in site.namelist()}


def without_time(content: bytes) -> bytes:
    return re.sub(rb'timestamp(=|": )"[^"]*"|created at [-+ :\d]+', b"", content)
