"""What a data file's contexts tell of load and runtime."""

from pathlib import Path

import pytest
from coverage import CoverageData

from wsgi_coverage.data.phases import (
    Phase,
    context_of,
    phase_of,
    query,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data"


def written(path: Path, static: str | None) -> None:
    data = CoverageData(basename=str(path))
    for phase, line in ((Phase.LOAD, 1), (Phase.RUNTIME, 2)):
        data.set_context(context_of(phase, static))
        data.add_lines({"/app.py": [line]})
    data.add_lines({"/late.py": [5]})
    data.close(force=True)


def lines(path: Path, *contexts: str) -> dict[str, list[int]]:
    data = CoverageData(basename=str(path))
    data.read()
    data.set_query_contexts(contexts or None)
    out = {name: sorted(data.lines(name) or ()) for name in data.measured_files()}
    data.close(force=True)
    return out


@pytest.mark.parametrize("static", [None, "nightly", "a|b"])
@pytest.mark.parametrize("phase", list(Phase))
def test_a_context_tells_its_phase_whatever_static_context_it_follows(
    static: str | None, phase: Phase
) -> None:
    assert phase_of(context_of(phase, static)) is phase


@pytest.mark.parametrize("context", ["", "nightly", "loaded", "load|test", "runtime.x"])
def test_other_contexts_tell_no_phase(context: str) -> None:
    assert phase_of(context) is None


@pytest.mark.parametrize("static", [None, "nightly"])
def test_coverage_py_finds_a_phase_by_its_query(path: Path, static: str | None) -> None:
    written(path, static)

    assert lines(path, *query(Phase.LOAD))["/app.py"] == [1]
    assert lines(path, *query(Phase.RUNTIME))["/app.py"] == [2]
