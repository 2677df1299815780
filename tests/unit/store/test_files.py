"""What is particular to data files in a folder."""

import os
from collections.abc import Callable
from pathlib import Path

import coverage
import pytest
from special_files import device, loop, pipe

from wsgi_coverage.store.files import FilesStore


@pytest.fixture
def store(tmp_path: Path) -> FilesStore:
    return FilesStore(tmp_path / ".coverage", fallback=tmp_path / "private")


def publish(store: FilesStore) -> None:
    with store.publishing("host.1.aa", epoch=0) as path:
        coverage.CoverageData(str(path)).add_lines({"app.py": [1]})


def test_data_files_lie_where_coverage_combine_looks(store: FilesStore, tmp_path: Path) -> None:
    publish(store)

    combined = coverage.Coverage(data_file=str(tmp_path / ".coverage"), config_file=False)
    combined.combine(strict=True)
    assert combined.get_data().lines("app.py") == [1]


def test_published_files_are_for_the_own_user_only(store: FilesStore, tmp_path: Path) -> None:
    publish(store)

    assert (tmp_path / ".coverage.host.1.aa").stat().st_mode & 0o777 == 0o600


def test_what_lay_there_before_is_combined_too(store: FilesStore, tmp_path: Path) -> None:
    for name in (".coverage", ".coverage.old", ".coveragerc", ".coverage.x-journal", "other"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / ".coverage.folder").mkdir()

    assert [path.name for path in store.published()] == [".coverage", ".coverage.old"]


def test_a_link_to_itself_is_among_the_data_files_and_hides_no_other(
    store: FilesStore, tmp_path: Path
) -> None:
    (tmp_path / ".coverage.one").write_bytes(b"x")
    loop(tmp_path / ".coverage.loop")

    assert [path.name for path in store.published()] == [".coverage.loop", ".coverage.one"]


@pytest.mark.parametrize("make", [Path.mkdir, loop, pipe, device])
def test_an_epoch_file_that_is_no_regular_file_counts_as_none(
    store: FilesStore, tmp_path: Path, make: Callable[[Path], None]
) -> None:
    make(tmp_path / ".wsgi-coverage-epoch.coverage")

    assert (store.epoch(), store.oldest(), list(store.pauses())) == (0, 0, [])


def test_erasing_leaves_foreign_files_alone(store: FilesStore, tmp_path: Path) -> None:
    for name in (".coverage", ".coverage.old", ".coveragerc", "app.py"):
        (tmp_path / name).write_bytes(b"x")

    store.erase()

    assert sorted(path.name for path in tmp_path.iterdir()) == [".coveragerc", "app.py"]


def test_a_failed_publish_leaves_no_temporary_file(store: FilesStore, tmp_path: Path) -> None:
    def fail() -> None:
        with store.publishing("host.1.aa", epoch=0) as path:
            path.write_bytes(b"a half")
            raise ValueError("amid")

    with pytest.raises(ValueError, match="amid"):
        fail()

    assert list(tmp_path.iterdir()) == []


def test_data_files_of_which_no_epoch_is_known_are_read_in_every_epoch(
    store: FilesStore, tmp_path: Path
) -> None:
    (tmp_path / ".coverage.of_coverage_run").write_bytes(b"x")

    store.begin_epoch()

    assert [path.name for path in store.published()] == [".coverage.of_coverage_run"]


def test_an_epoch_file_that_is_a_pipe_counts_as_none_and_is_replaced(
    store: FilesStore, tmp_path: Path
) -> None:
    store.begin_epoch()
    (epoch_file,) = tmp_path.glob(".wsgi-coverage-epoch*")
    epoch_file.unlink()
    os.mkfifo(epoch_file)

    assert store.epoch() == 0
    assert store.begin_epoch() == store.epoch() == 1


def test_an_epoch_file_that_was_spoilt_counts_as_none(store: FilesStore, tmp_path: Path) -> None:
    store.begin_epoch()
    (epoch_file,) = tmp_path.glob(".wsgi-coverage-epoch*")
    epoch_file.write_text("spoilt")

    assert store.epoch() == 0
