"""The contract of wsgi_coverage.store.base.Store, for every store."""

import errno
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import coverage
import pytest

from wsgi_coverage.errors import DiskFullError
from wsgi_coverage.store.base import Store
from wsgi_coverage.store.files import FilesStore

SOURCE = "/src/app.py"


@pytest.fixture(params=["files", "files, read-only folder"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    fallback = tmp_path / "private"
    fallback.mkdir()
    folder = tmp_path / "project"
    if request.param == "files":
        folder.mkdir()
    else:
        folder.write_text("not a folder, so that nobody can write into it, root included")
    return FilesStore(folder / ".coverage", fallback=fallback)


@pytest.fixture
def data_file(tmp_path: Path) -> Callable[..., Path]:
    def make(*lines: int) -> Path:
        path = tmp_path / f"data-{os.urandom(4).hex()}"
        data = coverage.CoverageData(str(path))
        data.add_lines({SOURCE: lines})
        data.close()
        return path

    return make


def lines_in(store: Store) -> list[set[int]]:
    out = []
    for path in store.published():
        data = coverage.CoverageData(str(path))
        data.read()
        out.append(set(data.lines(SOURCE) or ()))
        data.close()
    return out


def test_nothing_is_published_at_first(store: Store) -> None:
    assert list(store.published()) == []
    assert not store.is_published("host.1.aa")


def test_what_is_published_can_be_read(store: Store, data_file: Callable[..., Path]) -> None:
    store.publish("host.1.aa", data_file(1, 2), epoch=store.epoch())

    assert store.is_published("host.1.aa")
    assert lines_in(store) == [{1, 2}]


def test_publishing_again_replaces_what_the_same_worker_published(
    store: Store, data_file: Callable[..., Path]
) -> None:
    store.publish("host.1.aa", data_file(1), epoch=store.epoch())
    store.publish("host.1.aa", data_file(1, 2), epoch=store.epoch())

    assert lines_in(store) == [{1, 2}]


def test_workers_do_not_touch_each_others_data(
    store: Store, data_file: Callable[..., Path]
) -> None:
    store.publish("host.1.aa", data_file(1), epoch=store.epoch())
    store.publish("host.1.bb", data_file(2), epoch=store.epoch())
    store.publish("other.1.aa", data_file(3), epoch=store.epoch())

    assert sorted(map(sorted, lines_in(store))) == [[1], [2], [3]]


def test_the_private_file_may_change_after_it_is_published(
    store: Store, data_file: Callable[..., Path]
) -> None:
    source = data_file(1)
    store.publish("host.1.aa", source, epoch=store.epoch())
    source.write_bytes(b"changed")

    assert lines_in(store) == [{1}]


def test_withdrawing_takes_one_workers_data_away(
    store: Store, data_file: Callable[..., Path]
) -> None:
    store.publish("host.1.aa", data_file(1), epoch=store.epoch())
    store.publish("host.2.bb", data_file(2), epoch=store.epoch())

    store.withdraw("host.1.aa")
    store.withdraw("host.1.aa")

    assert lines_in(store) == [{2}]
    assert not store.is_published("host.1.aa")


def test_erasing_keeps_the_named_workers_only(store: Store, data_file: Callable[..., Path]) -> None:
    for number in (1, 2, 3):
        store.publish(f"host.{number}.aa", data_file(number), epoch=store.epoch())

    store.erase(keep=["host.2.aa"])

    assert lines_in(store) == [{2}]


def test_a_full_disk_leaves_what_was_published(
    store: Store, data_file: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    store.publish("host.1.aa", data_file(1), epoch=store.epoch())

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copyfile", full)
        with pytest.raises(DiskFullError):
            store.publish("host.1.aa", data_file(1, 2), epoch=store.epoch())

    assert lines_in(store) == [{1}]
    store.publish("host.1.aa", data_file(1, 2), epoch=store.epoch())
    assert lines_in(store) == [{1, 2}]


def test_a_reader_never_sees_half_a_file(store: Store, data_file: Callable[..., Path]) -> None:
    small, large = data_file(1), data_file(*range(1, 3000))
    store.publish("host.1.aa", small, epoch=store.epoch())
    done = threading.Event()

    def publish_all_the_time() -> None:
        while not done.is_set():
            store.publish("host.1.aa", large, epoch=store.epoch())
            store.publish("host.1.aa", small, epoch=store.epoch())

    writer = threading.Thread(target=publish_all_the_time)
    writer.start()
    try:
        seen = [lines_in(store) for _ in range(100)]
    finally:
        done.set()
        writer.join(30)

    assert all(each in ([{1}], [set(range(1, 3000))]) for each in seen)


def test_a_new_epoch_hides_what_was_published_before(
    store: Store, data_file: Callable[..., Path]
) -> None:
    store.publish("host.1.aa", data_file(1), epoch=store.epoch())

    epoch = store.begin_epoch()

    assert epoch == store.epoch() == 1
    assert lines_in(store) == []
    store.publish("host.1.aa", data_file(2), epoch=epoch)
    assert lines_in(store) == [{2}]


def test_a_worker_that_missed_a_new_epoch_publishes_where_nobody_reads(
    store: Store, data_file: Callable[..., Path]
) -> None:
    missed = store.epoch()
    store.begin_epoch()

    store.publish("host.1.aa", data_file(1), epoch=missed)

    assert lines_in(store) == []


def test_a_full_disk_leaves_the_epoch_as_it_was(
    store: Store, data_file: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    store.begin_epoch()
    store.publish("host.1.aa", data_file(1), epoch=1)

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", full)
        with pytest.raises(DiskFullError):
            store.begin_epoch()

    assert store.epoch() == 1
    assert lines_in(store) == [{1}]


def test_it_says_where_the_data_is(store: Store, tmp_path: Path) -> None:
    assert str(tmp_path) in store.describe()
