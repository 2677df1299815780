"""Data files to report on, without measuring anything in this process."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import coverage
import pytest

from wsgi_coverage import clock
from wsgi_coverage.model import Gathering, Report, WorkerState
from wsgi_coverage.report.build import Source, build

SOURCE = (
    "def first():\n    return 1\n\n\ndef second(x):\n    if x:\n        return 2\n    return 3\n"
)

Build = Callable[..., Report]


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
        source = Source(
            config=coverage.Coverage(branch=branch).config,
            branch=branch,
            data_files=data_files,
            unexecuted=more.pop("unexecuted", ()),
            gathering=Gathering(workers=(worker,), ended_at=clock.now()),
            collected=clock.now(),
            autosave_interval=30.0,
        )
        return build(source, out, **more)

    return make
