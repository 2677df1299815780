"""What a data file's contexts tell of load and runtime."""

from pathlib import Path

import pytest
from coverage import CoverageData

from wsgi_coverage.data.phases import (
    Phase,
    call_it_load,
    context_of,
    forget_runtime,
    phase_of,
    query,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data"


def written(path: Path, static: str | None, *, arcs: bool = False) -> None:
    data = CoverageData(basename=str(path))
    for phase, line in ((Phase.LOAD, 1), (Phase.RUNTIME, 2)):
        data.set_context(context_of(phase, static))
        if arcs:
            data.add_arcs({"/app.py": [(line, line + 10)]})
        else:
            data.add_lines({"/app.py": [line]})
    add = data.add_arcs if arcs else data.add_lines
    add({"/late.py": [(5, 6)] if arcs else [5]})  # type: ignore[dict-item]
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


@pytest.mark.parametrize("arcs", [False, True])
@pytest.mark.parametrize("static", [None, "nightly"])
def test_of_a_data_file_its_load_can_be_kept_alone(
    path: Path, static: str | None, arcs: bool
) -> None:
    written(path, static, arcs=arcs)

    forget_runtime(path, load=True, files=False)

    assert lines(path) == {"/app.py": [1, 11] if arcs else [1]}


@pytest.mark.parametrize("static", [None, "nightly"])
def test_what_was_noted_in_no_phase_can_be_called_load(path: Path, static: str | None) -> None:
    data = CoverageData(basename=str(path))
    data.set_context(static)
    data.add_lines({"/app.py": [3]})
    data.close(force=True)

    call_it_load(path, static)

    assert lines(path, *query(Phase.LOAD)) == {"/app.py": [3]}
