"""Data files to report on, without measuring anything in this process.

More that the unit tests share lies in `support`.
"""

import contextlib
import json
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import coverage
import pytest

from wsgi_coverage import clock
from wsgi_coverage.analysis.reporting import ReportingCoverage
from wsgi_coverage.model import Gathering, Report, WorkerState
from wsgi_coverage.report.build import BuildInputs, build
from wsgi_coverage.report.combine import combine
from wsgi_coverage.report.publish import META

sys.path.insert(0, str(Path(__file__).parent / "support"))

SOURCE = (
    "def first():\n    return 1\n\n\ndef second(x):\n    if x:\n        return 2\n    return 3\n"
)

Build = Callable[..., Report]


@dataclass(frozen=True, kw_only=True)
class Content:
    """All that coverage.py's public API tells of a data file."""

    has_arcs: bool
    contexts: set[str]
    tracers: dict[str, str | None]  # of every measured file
    lines: dict[tuple[str, str], set[int]]  # by context and file
    arcs: dict[tuple[str, str], set[tuple[int, int]]]


def content_of(path: Path) -> Content:
    data = coverage.CoverageData(str(path))
    data.read()
    files = data.measured_files()
    contexts = data.measured_contexts() if files else set()
    lines, arcs = {}, {}
    for context in contexts:
        data.set_query_context(context)
        lines.update({(context, name): set(data.lines(name) or ()) for name in files})
        arcs.update({(context, name): set(data.arcs(name) or ()) for name in files})
    found = Content(
        has_arcs=data.has_arcs(),
        contexts=contexts,
        tracers={name: data.file_tracer(name) for name in files},
        lines={key: these for key, these in lines.items() if these},
        arcs={key: these for key, these in arcs.items() if these},
    )
    data.close(force=True)
    return found


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with one module, which is the working directory."""
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "app.py").write_text(SOURCE)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def data_file(project: Path) -> Callable[..., Path]:
    def make(
        name: str,
        lines: Mapping[str, Iterable[int]] | None = None,
        arcs: Mapping[str, Iterable[tuple[int, int]]] | None = None,
    ) -> Path:
        path = project / name
        data = coverage.CoverageData(str(path))
        if lines is not None:
            data.add_lines({str(project / each): list(these) for each, these in lines.items()})
        if arcs is not None:
            data.add_arcs({str(project / each): list(these) for each, these in arcs.items()})
        data.close()
        return path

    return make


@pytest.fixture
def build_report(project: Path, tmp_path: Path) -> Build:
    """Build a report of data files into the folder `out`."""

    def make(*data_files: Path, branch: bool = False, config: str = "", **more: Any) -> Report:
        (project / ".coveragerc").write_text(config)
        out = tmp_path / "out"
        out.mkdir(exist_ok=True)
        worker = WorkerState(
            id="h.1.a", host="h", pid=1, state="measuring", published_at=None, fresh=True
        )
        inputs = BuildInputs(
            config=coverage.Coverage(branch=branch).config,
            branch=branch,
            data_files=data_files,
            could_run=more.pop("could_run", ()),
            imported_early=more.pop("imported_early", {}),
            gathering=Gathering(workers=(worker,), ended_at=clock.now()),
            collected=clock.now(),
            autosave_interval=30.0,
            analysis_dir=tmp_path / "analysis",
        )
        report: Report = more.pop("by", build)(inputs, out, **more)
        (out / META).write_text(json.dumps(asdict(report)))
        return report

    return make


@pytest.fixture(name="content_of")
def content_of_fixture() -> Callable[[Path], Content]:
    return content_of


@pytest.fixture
def combined(project: Path, tmp_path: Path) -> Callable[..., tuple[Content, list[str]]]:
    """Combine data files as a report does; what is in the result, and the warnings."""

    def make(
        *data_files: Path, branch: bool = False, config: str = "", **more: Any
    ) -> tuple[Content, list[str]]:
        (project / ".coveragerc").write_text(config)
        workspace = tmp_path / "workspace"
        workspace.mkdir(exist_ok=True)
        target = workspace / "data.coverage"
        cov = ReportingCoverage(coverage.Coverage(branch=branch).config, target)
        could_run = more.pop("could_run", ())
        with contextlib.closing(cov):
            warnings = combine(cov, data_files, branch=branch, could_run=could_run)
        assert [path.name for path in workspace.iterdir()] == [target.name]
        return content_of(target), warnings

    return make
