"""The contract of wsgi_coverage.store.base.DataFileStore, wherever its files lie."""

import errno
import os
import shutil
import socket
import sqlite3
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import coverage
import pytest

from wsgi_coverage.data import regular_files, stamp
from wsgi_coverage.data.fold import write_union
from wsgi_coverage.errors import DiskFullError
from wsgi_coverage.store.base import DataFileStore
from wsgi_coverage.store.files import FilesStore
from wsgi_coverage.system.own_files import TEMPORARY

SOURCE = "/src/app.py"


@pytest.fixture(params=["files", "files, read-only folder"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> DataFileStore:
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


def publish(store: DataFileStore, suffix: str, data_file: Path, *, epoch: int) -> None:
    with store.publishing(suffix, epoch=epoch) as path:
        shutil.copyfile(data_file, path)


def lines_of(path: Path) -> set[int]:
    data = coverage.CoverageData(str(path))
    data.read()
    try:
        return set(data.lines(SOURCE) or ())
    finally:
        data.close()


def lines_in(store: DataFileStore) -> list[set[int]]:
    return [lines_of(path) for path in store.published()]


def test_nothing_is_published_at_first(store: DataFileStore) -> None:
    assert list(store.published()) == []


def test_what_is_published_can_be_read(
    store: DataFileStore, data_file: Callable[..., Path]
) -> None:
    publish(store, "host.1.aa", data_file(1, 2), epoch=store.epoch())

    assert lines_in(store) == [{1, 2}]


def test_publishing_again_replaces_what_the_same_memory_had(
    store: DataFileStore, data_file: Callable[..., Path]
) -> None:
    publish(store, "host.1.aa", data_file(1), epoch=store.epoch())
    publish(store, "host.1.aa", data_file(1, 2), epoch=store.epoch())

    assert lines_in(store) == [{1, 2}]


def test_memories_do_not_touch_each_others_data(
    store: DataFileStore, data_file: Callable[..., Path]
) -> None:
    publish(store, "host.1.aa", data_file(1), epoch=store.epoch())
    publish(store, "host.1.bb", data_file(2), epoch=store.epoch())
    publish(store, "other.1.aa", data_file(3), epoch=store.epoch())

    assert sorted(map(sorted, lines_in(store))) == [[1], [2], [3]]


def test_withdrawing_takes_one_memorys_data_away(
    store: DataFileStore, data_file: Callable[..., Path]
) -> None:
    publish(store, "host.1.aa", data_file(1), epoch=store.epoch())
    publish(store, "host.2.bb", data_file(2), epoch=store.epoch())

    store.withdraw("host.1.aa")
    store.withdraw("host.1.aa")

    assert lines_in(store) == [{2}]


def test_erasing_takes_all_data_away(store: DataFileStore, data_file: Callable[..., Path]) -> None:
    for number in (1, 2, 3):
        publish(store, f"host.{number}.aa", data_file(number), epoch=store.epoch())

    store.erase()

    assert lines_in(store) == []


def full(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def without_room(path: Path) -> sqlite3.Connection:
    """An open data file that cannot grow."""
    connection = sqlite3.Connection(path)
    connection.execute("pragma max_page_count=1")
    return connection


NO_ROOM = {
    "to-copy": (shutil, "copyfile", full),
    "to-stamp": (stamp.sqlite3, "connect", without_room),
    "to-seal": (stamp, "_seal", full),
}


@pytest.mark.parametrize("where", NO_ROOM)
def test_a_full_disk_leaves_what_was_published(
    store: DataFileStore,
    data_file: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    where: str,
) -> None:
    publish(store, "host.1.aa", data_file(1), epoch=store.epoch())
    files = [*Path(store.describe()).iterdir()]
    more = data_file(1, 2)

    with monkeypatch.context() as patch:
        patch.setattr(*NO_ROOM[where])
        with pytest.raises(DiskFullError):
            publish(store, "host.1.aa", more, epoch=store.epoch())

    assert {*files, more} >= {*Path(store.describe()).iterdir()}
    assert lines_in(store) == [{1}]
    publish(store, "host.1.aa", data_file(1, 2), epoch=store.epoch())
    assert lines_in(store) == [{1, 2}]


def test_a_reader_never_sees_half_a_file(
    store: DataFileStore, data_file: Callable[..., Path]
) -> None:
    small, large = data_file(1), data_file(*range(1, 3000))
    publish(store, "host.1.aa", small, epoch=store.epoch())
    done = threading.Event()

    def publish_all_the_time() -> None:
        while not done.is_set():
            publish(store, "host.1.aa", large, epoch=store.epoch())
            publish(store, "host.1.aa", small, epoch=store.epoch())

    writer = threading.Thread(target=publish_all_the_time)
    writer.start()
    try:
        seen = [lines_in(store) for _ in range(100)]
    finally:
        done.set()
        writer.join(30)

    assert all(each in ([{1}], [set(range(1, 3000))]) for each in seen)


def test_a_new_epoch_hides_what_was_published_before(
    store: DataFileStore, data_file: Callable[..., Path]
) -> None:
    publish(store, "host.1.aa", data_file(1), epoch=store.epoch())

    epoch = store.begin_epoch()

    assert epoch == store.epoch() == 1
    assert lines_in(store) == []
    publish(store, "host.1.aa", data_file(2), epoch=epoch)
    assert lines_in(store) == [{2}]


def test_what_missed_a_new_epoch_is_published_where_nobody_reads(
    store: DataFileStore, data_file: Callable[..., Path]
) -> None:
    missed = store.epoch()
    store.begin_epoch()

    publish(store, "host.1.aa", data_file(1), epoch=missed)

    assert lines_in(store) == []


def test_a_full_disk_leaves_the_epoch_as_it_was(
    store: DataFileStore, data_file: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    store.begin_epoch()
    publish(store, "host.1.aa", data_file(1), epoch=1)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", full)
        with pytest.raises(DiskFullError):
            store.begin_epoch()

    assert store.epoch() == 1
    assert lines_in(store) == [{1}]


def test_folding_leaves_one_file_of_all_memories_that_are_gone_and_no_line_less(
    store: DataFileStore, data_file: Callable[..., Path]
) -> None:
    for number in range(1, 6):
        publish(store, f"host.{number}.aa", data_file(number), epoch=0)

    store.fold(live=["host.5.aa"], union=write_union)

    assert sorted(map(sorted, lines_in(store))) == [[1, 2, 3, 4], [5]]


def test_folding_again_and_again_is_the_same(
    store: DataFileStore, data_file: Callable[..., Path]
) -> None:
    for number in range(1, 4):
        publish(store, f"host.{number}.aa", data_file(number), epoch=0)
        store.fold(live=[], union=write_union)

    store.fold(live=[], union=write_union)

    assert lines_in(store) == [{1, 2, 3}]


def test_folding_that_is_interrupted_loses_nothing(
    store: DataFileStore, data_file: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(1, 4):
        publish(store, f"host.{number}.aa", data_file(number), epoch=0)

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", killed)
        with pytest.raises(KeyboardInterrupt):
            store.fold(live=[], union=write_union)

    assert set().union(*lines_in(store)) == {1, 2, 3}
    store.fold(live=[], union=write_union)
    assert lines_in(store) == [{1, 2, 3}]


def test_folding_leaves_alone_what_the_union_cannot_hold(
    store: DataFileStore, data_file: Callable[..., Path], tmp_path: Path
) -> None:
    other = tmp_path / "arcs"
    data = coverage.CoverageData(str(other))
    data.add_arcs({SOURCE: [(-1, 7), (7, -1)]})
    data.close()
    publish(store, "host.1.aa", data_file(1), epoch=0)
    publish(store, "host.2.aa", data_file(2), epoch=0)
    publish(store, "host.3.aa", other, epoch=0)

    store.fold(live=[], union=write_union)

    assert sorted(map(sorted, lines_in(store))) == [[1, 2], [7]]


def test_folding_keeps_versions_of_a_source_apart(
    store: DataFileStore, data_file: Callable[..., Path]
) -> None:
    for number, version in enumerate(["old", "new", "old", "new"], start=1):
        source = data_file(number)
        stamp.put_fingerprints(source, {SOURCE: version})
        publish(store, f"host.{number}.aa", source, epoch=0)

    store.fold(live=[], union=write_union)

    folded = {}
    for path in store.published():
        with stamp.reading(path) as connection:
            folded[stamp.read_fingerprints(connection)[SOURCE]] = path
    assert len(store.published()) == 2
    assert {version: lines_of(path) for version, path in folded.items()} == {
        "old": {1, 3},
        "new": {2, 4},
    }


def test_folding_opens_each_file_a_few_times_however_many_there_are(
    store: DataFileStore, data_file: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    number, opened = 24, 0
    load = regular_files.load

    def counted(*arguments: Any, **named: Any) -> regular_files.FileContent:
        nonlocal opened
        opened += 1
        return load(*arguments, **named)

    for each in range(number):
        source = data_file(each + 1)
        stamp.put_fingerprints(source, {SOURCE: f"version {each}"})
        publish(store, f"host.{each}.aa", source, epoch=0)
    monkeypatch.setattr(regular_files, "load", counted)

    store.fold(live=[], union=write_union)

    assert opened <= 2 * number
    assert len(store.published()) == number


def test_what_nobody_measures_the_mode_of_any_more_is_folded_too(
    store: DataFileStore, tmp_path: Path
) -> None:
    for number in range(1, 4):
        source = tmp_path / f"arcs-{number}"
        data = coverage.CoverageData(str(source))
        data.add_arcs({SOURCE: [(-1, number), (number, -1)]})
        data.close()
        publish(store, f"host.{number}.aa", source, epoch=0)

    store.fold(live=[], union=write_union)

    assert lines_in(store) == [{1, 2, 3}]


def test_a_file_that_goes_with_several_others_goes_with_the_first(
    store: DataFileStore, data_file: Callable[..., Path]
) -> None:
    for number, versions in enumerate(
        [{SOURCE: "old"}, {SOURCE: "new"}, {"/other.py": "x"}, {SOURCE: "new", "/other.py": "y"}],
        start=1,
    ):
        source = data_file(number)
        stamp.put_fingerprints(source, versions)
        publish(store, f"host.{number}.aa", source, epoch=0)

    store.fold(live=[], union=write_union)

    assert sorted(map(sorted, lines_in(store))) == [[1, 3], [2, 4]]


def test_what_is_no_file_is_named_for_a_report_to_set_it_aside(
    store: DataFileStore, data_file: Callable[..., Path]
) -> None:
    publish(store, "host.1.aa", data_file(1), epoch=0)
    pipe = Path(store.describe()) / ".coverage.pipe"
    os.mkfifo(pipe)
    store.begin_epoch()

    store.fold(live=[], union=write_union)

    assert store.published() == [pipe]


def test_what_is_published_anew_while_it_is_folded_stays(
    store: DataFileStore, data_file: Callable[..., Path]
) -> None:
    for number in range(1, 4):
        publish(store, f"host.{number}.aa", data_file(number), epoch=0)

    def meanwhile(paths: Sequence[Path], target: Path) -> Sequence[Path]:
        used = write_union(paths, target)
        publish(store, "host.1.aa", data_file(1, 7), epoch=0)
        return used

    store.fold(live=[], union=meanwhile)

    assert set().union(*lines_in(store)) == {1, 2, 3, 7}


def test_folding_leaves_alone_what_another_host_has_published(
    store: DataFileStore, data_file: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which of its memories are gone is not known here."""
    with monkeypatch.context() as patch:
        patch.setattr(socket, "gethostname", lambda: "other")
        publish(store, "other.1.aa", data_file(1), epoch=0)
        publish(store, "other.2.bb", data_file(2), epoch=0)
    publish(store, "host.3.cc", data_file(3), epoch=0)
    publish(store, "host.4.dd", data_file(4), epoch=0)

    store.fold(live=[], union=write_union)

    assert sorted(map(sorted, lines_in(store))) == [[1], [2], [3, 4]]


def test_folding_drops_what_was_reset_away(
    store: DataFileStore, data_file: Callable[..., Path], tmp_path: Path
) -> None:
    publish(store, "host.1.aa", data_file(1), epoch=0)
    publish(store, "host.2.aa", data_file(2), epoch=0)
    store.begin_epoch()

    store.fold(live=[], union=write_union)


def test_it_says_where_the_data_is(store: DataFileStore, tmp_path: Path) -> None:
    assert str(tmp_path) in store.describe()


def test_a_pause_goes_on_until_it_is_ended(store: DataFileStore) -> None:
    store.begin_pause()
    store.begin_pause()
    (going_on,) = store.pauses()
    store.end_pause()
    store.end_pause()
    (ended,) = store.pauses()

    assert going_on.ended_at is None
    assert ended.began_at == going_on.began_at
    assert ended.ended_at is not None


def test_a_new_epoch_forgets_the_pauses_that_have_ended_and_no_other(store: DataFileStore) -> None:
    store.begin_pause()
    store.end_pause()
    store.begin_pause()

    store.begin_epoch()

    (pause,) = store.pauses()
    assert pause.ended_at is None


def test_pauses_leave_the_epoch_as_it_is(store: DataFileStore) -> None:
    epoch = store.begin_epoch()

    store.begin_pause()
    store.end_pause()

    assert store.epoch() == epoch


def test_what_ran_before_a_collection_counts_until_it_has_ended(
    store: DataFileStore, data_file: Callable[..., Path]
) -> None:
    publish(store, "host.1.aa", data_file(1), epoch=store.epoch())
    epoch = store.begin_epoch(collecting=True)
    publish(store, "host.2.bb", data_file(2), epoch=epoch)

    assert sorted(map(sorted, lines_in(store))) == [[1], [2]]
    assert [lines_of(path) for path in store.published(before=epoch)] == [{1}]
    assert store.oldest() < epoch

    store.end_collecting()

    assert lines_in(store) == [{2}]
    assert store.oldest() == store.epoch() == epoch


def test_what_was_collected_is_discarded_and_nothing_else(
    store: DataFileStore, data_file: Callable[..., Path]
) -> None:
    publish(store, "host.1.aa", data_file(1), epoch=store.epoch())
    epoch = store.begin_epoch(collecting=True)
    publish(store, "host.2.bb", data_file(2), epoch=epoch)

    store.discard(store.published(before=epoch))

    assert lines_in(store) == [{2}]


def test_a_collection_that_failed_leaves_all_to_the_next_one(
    store: DataFileStore, data_file: Callable[..., Path]
) -> None:
    publish(store, "host.1.aa", data_file(1), epoch=store.epoch())
    first = store.begin_epoch(collecting=True)
    publish(store, "host.2.bb", data_file(2), epoch=first)

    second = store.begin_epoch(collecting=True)

    assert sorted(map(sorted, map(lines_of, store.published(before=second)))) == [[1], [2]]


def test_a_reset_hides_what_a_failed_collection_left(
    store: DataFileStore, data_file: Callable[..., Path]
) -> None:
    publish(store, "host.1.aa", data_file(1), epoch=store.epoch())
    store.begin_epoch(collecting=True)

    store.begin_epoch()

    assert lines_in(store) == []


def test_nothing_is_folded_while_somebody_collects_and_all_of_it_counts(
    store: DataFileStore, data_file: Callable[..., Path]
) -> None:
    publish(store, "host.1.aa", data_file(1), epoch=store.epoch())
    epoch = store.begin_epoch(collecting=True)
    publish(store, "host.2.bb", data_file(2), epoch=epoch)

    store.fold(live=[], union=write_union)

    assert lines_in(store) == [{1}, {2}]


def test_once_a_collection_has_failed_what_it_would_have_forgotten_is_folded(
    store: DataFileStore, data_file: Callable[..., Path]
) -> None:
    publish(store, "host.1.aa", data_file(1), epoch=store.epoch())
    epoch = store.begin_epoch(collecting=True)
    publish(store, "host.2.bb", data_file(2), epoch=epoch)

    store.give_up_collecting(epoch)
    store.fold(live=[], union=write_union)

    assert not store.is_collecting
    assert lines_in(store) == [{1, 2}]
    assert store.oldest() < epoch  # all of it counts


def test_a_collection_goes_on_that_others_end_and_none_that_is_over(store: DataFileStore) -> None:
    found = [store.is_collecting]
    first = store.begin_epoch(collecting=True, ends_here=False)
    found.append(store.is_collecting)
    store.give_up_collecting(first - 1)  # an older one
    found.append(store.is_collecting)
    store.end_collecting()

    assert [*found, store.is_collecting] == [False, True, True, False]


def test_a_pause_outlives_a_collection(store: DataFileStore) -> None:
    store.begin_pause()

    store.begin_epoch(collecting=True)
    store.end_collecting()

    assert [pause.ended_at for pause in store.pauses()] == [None]


def test_a_union_that_fails_leaves_nothing_and_the_data_as_it_was(
    store: DataFileStore, data_file: Callable[..., Path]
) -> None:
    store.begin_epoch()
    publish(store, "host.1.a", data_file(1), epoch=1)
    publish(store, "host.2.b", data_file(2), epoch=1)
    before = sorted(Path(store.describe()).iterdir())

    def fail(_: Sequence[Path], target: Path) -> Sequence[Path]:
        target.write_bytes(b"half")
        raise sqlite3.DatabaseError

    with pytest.raises(sqlite3.DatabaseError):
        store.fold(live=[], union=fail)

    assert sorted(Path(store.describe()).iterdir()) == before


def test_folding_removes_what_a_killed_worker_left_half_written_and_nothing_of_a_live_one(
    store: DataFileStore, tmp_path: Path
) -> None:
    folder = Path(store.describe())
    abandoned, fresh = folder / f"{TEMPORARY}0", folder / f"{TEMPORARY}1"
    theirs = folder / ".wsgi-coverage-of-somebody-else"
    for path in (abandoned, fresh, theirs):
        path.write_bytes(b"half")
    for path in (abandoned, theirs):
        os.utime(path, (0, 0))
    store.begin_epoch()

    store.fold(live=[], union=write_union)

    assert not abandoned.exists()
    assert fresh.exists()
    assert theirs.exists()
    assert store.epoch() == 1
