"""Why a report is out of date."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from wsgi_coverage.data import versions
from wsgi_coverage.report import staleness

THEN = 1_700_000_000_000_000_000  # ns
AT_ONCE = -10_000_000_000  # ns


@pytest.fixture
def sources(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{name}.py" for name in "abcde"]
    for path in paths:
        path.write_text("x = 1\n")
    return paths


@pytest.fixture
def report(tmp_path: Path, sources: list[Path]) -> Path:
    """A report's folder, made of two workers and of all the sources."""
    folder = tmp_path / "report"
    folder.mkdir()
    staleness.note(folder, workers=["one", "two"], sources=map(str, sources))
    return folder


def test_nothing_is_said_while_nothing_has_changed(report: Path) -> None:
    assert staleness.differences(report, live={"two", "three"}) == []


def test_it_is_said_that_all_workers_have_ended(report: Path) -> None:
    [sentence] = staleness.differences(report, live={"three"})

    assert sentence.startswith("every process that the report was made of has ended since")


def test_nothing_is_said_of_workers_where_it_is_not_known_which_are_live(report: Path) -> None:
    assert staleness.differences(report, live=None) == []


@pytest.mark.parametrize("edit", ["x = 2\n", "x = 1\n\n"], ids=["same-size", "longer"])
def test_an_edited_source_is_named(report: Path, sources: list[Path], edit: str) -> None:
    sources[0].write_text(edit)

    [sentence] = staleness.differences(report, live=None)

    assert sentence == (
        f"1 source has changed since the report was made ({sources[0]}): "
        "what it says of it is about the version before"
    )


def test_three_changed_sources_are_named_and_the_others_counted(
    report: Path, sources: list[Path]
) -> None:
    for path in sources:
        path.write_text("x = 2\n")

    [sentence] = staleness.differences(report, live=None)

    named = ", ".join(map(str, sources[:3]))
    assert sentence.startswith(f"5 sources have changed since the report was made ({named} and 2 ")


def test_a_source_that_is_gone_has_changed(report: Path, sources: list[Path]) -> None:
    sources[0].unlink()

    [sentence] = staleness.differences(report, live=None)

    assert str(sources[0]) in sentence


def test_a_source_that_was_only_touched_has_not_changed(report: Path, sources: list[Path]) -> None:
    os.utime(sources[0], ns=(THEN, THEN))

    assert staleness.differences(report, live=None) == []


def test_an_edit_whose_time_is_set_back_is_noticed(tmp_path: Path, sources: list[Path]) -> None:
    os.utime(sources[0], ns=(THEN, THEN))
    folder = tmp_path / "report"
    folder.mkdir()
    staleness.note(folder, workers=[], sources=[str(sources[0])])

    sources[0].write_text("x = 2\n")
    os.utime(sources[0], ns=(THEN, THEN))

    assert len(staleness.differences(folder, live=None)) == 1


def test_an_unchanged_source_is_not_opened_unless_it_was_young(
    report: Path, sources: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(versions, "SETTLED", AT_ONCE)
        staleness.note(report, workers=[], sources=[str(sources[0])])
    monkeypatch.setattr("wsgi_coverage.data.stamp.fingerprint", _refuse)

    assert staleness.differences(report, live=None) == []

    monkeypatch.undo()
    staleness.note(report, workers=[], sources=[str(sources[1])])
    monkeypatch.setattr("wsgi_coverage.data.stamp.fingerprint", _refuse)
    with pytest.raises(AssertionError, match=sources[1].name):
        staleness.differences(report, live=None)


def test_a_changed_source_is_read_once(
    report: Path, sources: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(versions, "SETTLED", AT_ONCE)
    sources[0].write_text("x = 2\n")
    first = staleness.differences(report, live=None)
    monkeypatch.setattr("wsgi_coverage.data.stamp.fingerprint", _refuse)

    assert staleness.differences(report, live=None) == first != []


def _refuse(source: object) -> str:
    raise AssertionError(source)


def test_a_source_that_cannot_be_read_is_not_noted(tmp_path: Path, report: Path) -> None:
    staleness.note(report, workers=[], sources=[str(tmp_path / "none.py"), "\x00.py"])

    assert staleness.differences(report, live=None) == []


def test_a_name_that_is_no_utf_8_can_be_noted(tmp_path: Path, report: Path) -> None:
    path = tmp_path / "\udcff.py"
    path.write_text("x = 1\n")
    staleness.note(report, workers=[], sources=[str(path)])

    assert staleness.differences(report, live=None) == []


@pytest.mark.parametrize("text", [None, "", "[]", "{}"])
def test_a_report_that_notes_nothing_says_nothing(report: Path, text: str | None) -> None:
    path = report / staleness.ORIGIN
    path.unlink() if text is None else path.write_text(text)

    assert staleness.differences(report, live=set()) == []


def test_a_built_report_notes_its_workers_and_its_sources(
    project: Path, data_file: Callable[..., Path], build_report: Callable[..., object]
) -> None:
    build_report(data_file(".coverage.one", {"app.py": [1]}))
    out = project.parent / "out"

    assert staleness.differences(out, live={"h.1.a"}) == []

    (project / "app.py").write_text("changed = True\n")
    workers, sources = staleness.differences(out, live={"h.1.b"})
    assert "has ended since" in workers
    assert str(project / "app.py") in sources
