"""The pages of sources: those that coverage.py's HTML report has, and no others."""

import json
import re
from collections.abc import Callable
from pathlib import Path

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


def _page(folder: Path, name: str) -> str:
    return formats.read_page(folder, name=name).decode()
