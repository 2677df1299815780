"""Every format is the same, to the letter, as coverage.py makes it of the exported data file."""

import random
import re
import shutil
import sysconfig
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import coverage
import pytest
from coverage.python import PythonFileReporter

from wsgi_coverage.model import Report
from wsgi_coverage.report import formats, pages
from wsgi_coverage.report.publish import write_meta

Build = Callable[..., Report]

STANDARD_LIBRARY = Path(sysconfig.get_path("stdlib"))
SOME = (
    *("contextlib", "heapq", "sched", "shlex"),
    *("json/decoder", "importlib/util"),
)
ODD: dict[str, bytes] = {
    "empty.py": b"",
    "comments.py": b"# nothing\n\n# else",
    "latin.py": "# -*- coding: latin-1 -*-\nname = 'caf\xe9'\n".encode("latin-1"),
    "wrong_utf8.py": b"# \xe9\nx = 1\n",
    "dos.py": b"def f(x):\r\n    if x:\r\n        return 1\r\n    return 2\r\n",
    "feed.py": b"x = 1\n\x0c\ny = [\n    1,\n    2,\n]\n",
    "marked.py": b'\xef\xbb\xbfdef f(a):\n    """One."""\n    return a\n',
    "broken.py": b"def (:\n",
    "unknown.py": b"# -*- coding: klingon -*-\nx = 1\n",
    "a&b <c>.py": b"class A:\n    def f(self):\n        return 1 if self else 2\n",
    "branches.py": b"""
import contextlib

def walk(items, deep=False):
    for item in items:
        if item and (deep or
                     item > 3):
            with contextlib.nullcontext(), contextlib.suppress(
                ValueError
            ):
                yield item
        elif item is None:  # pragma: no cover
            return
        else:
            while True:  # pragma: no branch
                match item:
                    case 0: break
                    case _: continue
    try:
        pass
    finally:
        print("done")

class Outer:
    @property
    def one(self): return [x for x in (1, 2) if x]
    class Inner:
        async def two(self):
            async with self as s: return s
""",
}
NO_TIME = [
    (re.compile(r'"timestamp": "[^"]*"'), '"timestamp"'),
    (re.compile(r'timestamp="\d+"'), "timestamp"),
    (re.compile(r"created at \d{4}-\d\d-\d\d \d\d:\d\d [+-]\d{4}"), "created at"),
]
EXCLUDING = """
[report]
exclude_also =
    if TYPE_CHECKING:
    def __repr__
partial_also =
    if typing
show_missing = true
precision = 2
skip_covered = true
skip_empty = true
sort = -cover
omit = */heapq.py
[html]
title = A & B
[json]
pretty_print = true
[lcov]
line_checksums = true
"""


@pytest.fixture
def sources(project: Path) -> list[Path]:
    """Odd sources, and some real ones."""
    for name, content in ODD.items():
        (project / name).write_bytes(content)
    for name in SOME:
        if (STANDARD_LIBRARY / f"{name}.py").exists():
            target = project / "lib" / f"{name}.py"
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes((STANDARD_LIBRARY / f"{name}.py").read_bytes())
    return sorted(project.rglob("*.py"))


def half_of(sources: list[Path], path: Path, *, branch: bool, named: Callable[[Path], str]) -> Path:
    """A data file that says that about half of these sources ran."""
    chance = random.Random(7)
    reference = coverage.Coverage(config_file=False, data_file=None)
    data = coverage.CoverageData(basename=str(path))
    for context in ("load", "runtime"):
        data.set_context(context)
        for source in sources:
            reporter = PythonFileReporter(str(source), reference)
            try:
                could = sorted(reporter.arcs() if branch else reporter.lines())
            except Exception:
                could = [(-1, 1), (1, -1)] if branch else [1]
            ran = {named(source): [each for each in could if chance.random() < 0.4]}
            data.add_arcs(ran) if branch else data.add_lines(ran)
    data.close()
    return path


def by_coverage(out: Path, folder: Path) -> Iterator[tuple[str, str]]:
    """Name and content of all that coverage.py makes of an exported data file."""
    folder.mkdir()
    with (folder / "report.txt").open("w", encoding="utf-8") as text:
        for make in (
            lambda cov: cov.report(file=text),
            lambda cov: cov.json_report(outfile=str(folder / "coverage.json")),
            lambda cov: cov.xml_report(outfile=str(folder / "coverage.xml")),
            lambda cov: cov.lcov_report(outfile=str(folder / "coverage.lcov")),
            lambda cov: cov.html_report(directory=str(folder / "html")),
        ):
            cov = coverage.Coverage(data_file=str(out / "data.coverage"))
            cov.config.ignore_errors = True
            cov.load()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                make(cov)
            for data in cov._data_to_close:
                data.close(force=True)
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name not in pages.BOOKKEEPING:
            yield str(path.relative_to(folder)), _text(path.read_bytes())


def by_page(out: Path, name: str) -> str:
    folder, _, page = name.rpartition("/")
    if folder:
        return _text(formats.read_page(out, page))
    return _text((out / name).read_bytes() if name == "report.txt" else formats.read(out, name))


def by_site(out: Path, name: str) -> str:
    folder, _, page = name.rpartition("/")
    if not folder:
        return by_page(out, name)
    formats.read(out, formats.SITE)
    with zipfile.ZipFile(out / formats.SITE) as site:
        return _text(site.read(page))


def _text(content: bytes) -> str:
    text = content.decode("utf-8", "surrogateescape")
    for pattern, replacement in NO_TIME:
        text = pattern.sub(replacement, text)
    return text


def check_all(report: Report, out: Path, by_us: Callable[[Path, str], str]) -> set[str]:
    """Compare every format and page; return their names."""
    write_meta(out, report)
    out.rename(out.parent / "finished")
    names = set()
    for name, theirs in by_coverage(out.parent / "finished", out.parent / "theirs"):
        ours = by_us(out.parent / "finished", name)
        assert ours.splitlines() == theirs.splitlines(), name
        names.add(name)
    return names


CASES = {
    "statements": (False, ""),
    "branches": (True, ""),
    "statements, excluding": (False, EXCLUDING),
    "branches, excluding": (True, EXCLUDING),
    "relative files": (True, "[run]\nrelative_files = true\n"),
    "one context": (False, "[report]\ncontexts = run\n"),
    "contexts shown": (True, "[html]\nshow_contexts = true\n[json]\nshow_contexts = true\n"),
    "paths": (True, "[paths]\nsource =\n    {project}\n    /container\n"),
    "paths, one after the other": (
        False,
        "[paths]\none =\n    {project}/middle\n    /first\n"
        "two =\n    {project}\n    {project}/middle\n",
    ),
}


def check_case(
    sources: list[Path],
    project: Path,
    build_report: Build,
    *,
    branch: bool,
    config: str,
    by_us: Callable[[Path, str], str] = by_page,
) -> set[str]:
    def named(path: Path) -> str:
        relative = path.relative_to(project)
        if "relative_files" in config:
            return str(relative)
        recorded = "/first" if "/first" in config else "/container"
        return f"{recorded}/{relative}" if recorded in config else str(path)

    if "middle" in config:
        shutil.copytree(project, project / "middle")
    data = half_of(sources, project / ".coverage.a", branch=branch, named=named)
    report = build_report(data, branch=branch, config=config.format(project=project))
    return check_all(report, project.parent / "out", by_us)


@pytest.mark.parametrize(("branch", "config"), CASES.values(), ids=CASES)
def test_every_format_and_page_is_as_coverage_py_makes_it(
    sources: list[Path], project: Path, build_report: Build, branch: bool, config: str
) -> None:
    names = check_case(sources, project, build_report, branch=branch, config=config)

    assert {"report.txt", "coverage.json", "coverage.xml", "coverage.lcov"} < names
    assert {"html/index.html", "html/function_index.html", "html/class_index.html"} < names
    assert len(names) > 15


@pytest.mark.every_source
@pytest.mark.parametrize(("branch", "config"), CASES.values(), ids=CASES)
def test_hundreds_of_real_files_are_as_coverage_py_makes_them(
    project: Path, build_report: Build, branch: bool, config: str
) -> None:
    django = Path(pytest.importorskip("django").__file__).parent
    for source in [*sorted(django.rglob("*.py"))[::2], *sorted(STANDARD_LIBRARY.glob("*.py"))[::2]]:
        root = django.parent if source.is_relative_to(django) else STANDARD_LIBRARY
        if "locale" not in source.parts:
            target = project / source.relative_to(root)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read_bytes())
    sources = sorted(project.rglob("*.py"))

    names = check_case(sources, project, build_report, branch=branch, config=config, by_us=by_site)

    assert len(sources) > 300
    assert len(names) > 150
