"""The pages of sources: those that coverage.py's HTML report has, and no others."""

import html
import io
import json
import os
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from wsgi_coverage.model import Report
from wsgi_coverage.report import formats

Build = Callable[..., Report]
MakeData = Callable[..., Path]

SOURCES = {
    "half.py": "a = 1\nb = 2\n",
    "whole.py": "a = 1\n",
    "empty.py": "",
    "inner/half.py": "a = 1\nb = 2\n",
    "inner.half.py": "a = 1\nb = 2\n",
}
EXECUTED = {name: [1] for name in SOURCES} | {"empty.py": []}


@pytest.mark.parametrize(
    "configuration",
    [
        "",
        "[report]\nskip_covered = true\n",
        "[report]\nskip_empty = true\n",
        "[html]\nskip_covered = true\nskip_empty = true\n",
        "[report]\nskip_covered = true\n[html]\nskip_covered = false\n",
    ],
)
def test_the_pages_named_are_those_of_the_html_report(
    project: Path, data_file: MakeData, build_report: Build, tmp_path: Path, configuration: str
) -> None:
    for name, text in SOURCES.items():
        (project / name).parent.mkdir(exist_ok=True)
        (project / name).write_text(text)

    build_report(data_file(".coverage.a", EXECUTED), config=configuration)

    listed = json.loads((tmp_path / "out" / "files.json").read_text())
    named = {
        Path(each["file"]).relative_to(project).as_posix(): each.get("html") for each in listed
    }
    index = _page(tmp_path / "out", "index.html")
    linked = re.findall(r'<td class="name"><a href="([^"]+)">', index)
    assert named.keys() == SOURCES.keys()
    assert sorted(page for page in named.values() if page) == sorted(linked)
    for name, page in named.items():
        assert page is None or f"<title>Coverage for {name}:" in _page(tmp_path / "out", page)


ODD = [
    "a" * 250 + ".py",
    "\xe9" * 124 + ".py",
    "/".join(["d" * 100] * 7) + "/m.py",
    "new\nline.py",
    "carriage\rreturn.py",
    "tab\tand\x01.py",
    "p%2e%00?#.py",
    "percent%2e.py",
    "question?.py",
    "hash#.py",
    "q\"'<&>.py",
    "zero\ufeffwidth\u2028.py",
    "colon:s.py",
]


def test_every_source_has_a_page_that_can_be_linked_and_stored_whatever_its_name(
    project: Path, data_file: MakeData, build_report: Build, tmp_path: Path
) -> None:
    for name in ODD:
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text("a = 1\nb = 2\n")

    build_report(data_file(".coverage.a", {name: [1] for name in ODD}))

    out = tmp_path / "out"
    listed = {each["file"]: each["html"] for each in json.loads((out / "files.json").read_text())}
    assert listed.keys() == {str(project / name) for name in ODD}
    linked = [
        unquote(urlsplit(html.unescape(each)).path)  # as a browser takes it
        for each in re.findall(r'<td class="name"><a href="([^"]+)">', _page(out, "index.html"))
    ]
    assert sorted(linked) == sorted(listed.values())
    for page in listed.values():
        assert 'class="mis' in _page(out, page)
    with zipfile.ZipFile(io.BytesIO(formats.read(out, formats.SITE))) as site:
        assert set(listed.values()) <= set(site.namelist())


def test_what_is_asked_for_and_does_not_exist_leaves_nothing(
    project: Path, data_file: MakeData, build_report: Build, tmp_path: Path
) -> None:
    build_report(data_file(".coverage.a", {"app.py": [1]}))
    before = set((tmp_path / "out").rglob("*"))

    for name in ("nothing.html", "nothing_index.html", "a" * 244 + "_index.html"):
        with pytest.raises(FileNotFoundError):
            _page(tmp_path / "out", name)

    left = set((tmp_path / "out").rglob("*")) - before
    assert [path.name for path in left] in ([], [".html.lock"])


def test_a_name_that_no_data_file_holds_is_set_aside_by_name(
    project: Path, data_file: MakeData, build_report: Build, tmp_path: Path
) -> None:
    raw = os.fsencode(project) + b"/caf\xe9.py"
    name = os.fsdecode(raw)

    report = build_report(data_file(".coverage.a", {"app.py": [1]}), could_run=[(name, None)])

    assert report.warnings == (
        f"{name!a} is set aside: its name is no UTF-8, and no data file holds such a name",
    )
    listed = json.loads((tmp_path / "out" / "files.json").read_text())
    assert [each["file"] for each in listed] == [str(project / "app.py")]


def test_files_that_are_no_python_are_set_aside_by_name(
    project: Path, data_file: MakeData, build_report: Build
) -> None:
    names = [f"{number}.html" for number in range(5)]
    for name in names:
        (project / name).write_text("<p>{{ name }}</p>\n{% if x %}")

    report = build_report(data_file(".coverage.a", {"app.py": [1], **{n: [1] for n in names}}))

    (warning,) = report.warnings
    assert warning.startswith("files that are not Python, templates for instance, are left out: ")
    assert warning.endswith("2.html and 2 more")
    assert str(project / "0.html") in warning


def _page(folder: Path, name: str) -> str:
    return formats.read_page(folder, name=name).decode()
