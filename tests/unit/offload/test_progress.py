"""The build that is under way, as any worker can see it."""

import json
from pathlib import Path

import pytest

from wsgi_coverage import clock
from wsgi_coverage.offload import progress
from wsgi_coverage.offload.progress import BuildProgress


@pytest.fixture
def build_progress(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> BuildProgress:
    monkeypatch.setattr(progress, "WRITE_INTERVAL", 0.0)
    return BuildProgress(tmp_path)


def test_nothing_is_shown_where_nobody_builds(build_progress: BuildProgress) -> None:
    assert build_progress.read() is None


def test_files_done_of_all_are_shown_while_it_lasts(build_progress: BuildProgress) -> None:
    with build_progress.shown():
        progress.note(3, 10)
        found = build_progress.read()
    assert found is not None

    assert found.pop("started_at") <= clock.now_iso()
    assert found == {"files_done": 3, "files_total": 10}
    assert build_progress.read() is None


def test_until_the_data_is_combined_the_number_of_files_is_not_known(
    build_progress: BuildProgress,
) -> None:
    with build_progress.shown() as shown:
        shown.tick()
        found = build_progress.read()

    assert found is not None
    assert (found["files_done"], found["files_total"]) == (0, None)


def test_a_build_that_fails_is_shown_no_longer(
    build_progress: BuildProgress, tmp_path: Path
) -> None:
    def fail() -> None:
        with build_progress.shown():
            progress.note(3, 10)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()

    assert list(tmp_path.iterdir()) == []


def test_a_short_build_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "WRITE_INTERVAL", 3600.0)
    with BuildProgress(tmp_path).shown():
        progress.note(1, 1)
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "change",
    [
        {"pid": 2**22 + 1},  # above any process id
        {"seconds": clock.now().seconds - progress.STALE_AGE - 1},
        {"boot": "another host"},
        {"pid": "x"},
    ],
)
def test_what_a_killed_process_left_is_not_shown(
    build_progress: BuildProgress, tmp_path: Path, change: dict[str, object]
) -> None:
    with build_progress.shown():
        progress.note(3, 10)
        found = json.loads((tmp_path / "building.json").read_text())
        (tmp_path / "building.json").write_text(json.dumps({**found, **change}))

        assert build_progress.read() is None


@pytest.mark.parametrize("text", ["", "{", "[]", "{}"])
def test_a_damaged_file_is_not_shown(
    build_progress: BuildProgress, tmp_path: Path, text: str
) -> None:
    (tmp_path / "building.json").write_text(text)

    assert build_progress.read() is None
