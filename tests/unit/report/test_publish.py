"""Publishing: old or new, never a half; one build for all who asked in time."""

import errno
import os
import re
import shutil
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from reports import a_report

from wsgi_coverage import clock, liveness
from wsgi_coverage.errors import (
    DiskFullError,
    NoReportError,
    RefreshBusyError,
    RefusedReportError,
    RemovedError,
    SnapshotLimitError,
    UnknownSnapshotError,
)
from wsgi_coverage.model import Gathering, Moment, Report, WorkerState
from wsgi_coverage.report import publish, snapshots
from wsgi_coverage.report.publish import Publisher, new_id
from wsgi_coverage.report.snapshots import Snapshots

REPORT = a_report(id="")


def gathered(*, complete: bool = True) -> Gathering:
    worker = WorkerState(
        id="a", host="h", pid=1, state="measuring", published_at=None, fresh=complete
    )
    return Gathering(workers=(worker,), ended_at=clock.now())


def build_of(text: str, collected: Moment | None = None) -> Callable[[Path], Report]:
    def build(folder: Path) -> Report:
        (folder / "report.txt").write_text(text)
        return replace(REPORT, id=new_id(), collected=collected or clock.now())

    return build


def no_room(folder: Path) -> Report:
    (folder / "report.txt").write_text("half")
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.fixture
def publisher(tmp_path: Path) -> Publisher:
    return Publisher(tmp_path / "cache")


def text(publisher: Publisher) -> str:
    return publisher.read(lambda folder: (folder / "report.txt").read_text())


def take(snapshots: Snapshots, build: Callable[[Path], Report]) -> Report:
    with snapshots.taking(build) as (report, _):
        return report


def test_before_the_first_refresh_there_is_no_report(publisher: Publisher) -> None:
    with pytest.raises(NoReportError, match="refresh"):
        publisher.current()


def test_a_published_report_can_be_read(publisher: Publisher) -> None:
    report = publisher.refresh(gathered(), build_of("one"))

    assert publisher.current() == report
    assert text(publisher) == "one"


def test_a_newer_report_takes_the_place_of_the_old(publisher: Publisher) -> None:
    publisher.refresh(gathered(), build_of("one"))
    publisher.refresh(gathered(), build_of("two"))

    assert text(publisher) == "two"


def test_a_report_that_has_all_that_was_gathered_is_shared(publisher: Publisher) -> None:
    asked = gathered()
    first = publisher.refresh(gathered(), build_of("one"))

    second = publisher.refresh(asked, build_of("two"))

    assert second == first
    assert text(publisher) == "one"


def test_an_incomplete_gathering_shares_nothing(publisher: Publisher) -> None:
    asked = gathered(complete=False)
    publisher.refresh(gathered(), build_of("one"))

    publisher.refresh(asked, build_of("two"))

    assert text(publisher) == "two"


def test_a_report_of_another_boot_is_not_shared(publisher: Publisher) -> None:
    long_ago = Moment("another boot", clock.now().seconds + 1000)
    publisher.refresh(gathered(), build_of("old", collected=long_ago))

    publisher.refresh(gathered(), build_of("new"))

    assert text(publisher) == "new"


def test_requests_that_wait_for_a_build_share_the_next_one(publisher: Publisher) -> None:
    builds: list[str] = []
    started, go_on = threading.Event(), threading.Event()

    def counted(folder: Path) -> Report:
        builds.append("x")
        return build_of("text")(folder)

    def slow(folder: Path) -> Report:
        report = counted(folder)
        started.set()
        go_on.wait(30)
        return report

    first = threading.Thread(target=publisher.refresh, args=(gathered(), slow))
    first.start()
    started.wait(30)
    waiting = [
        threading.Thread(target=publisher.refresh, args=(gathered(), counted)) for _ in range(6)
    ]
    for thread in waiting:
        thread.start()
    go_on.set()
    for thread in (first, *waiting):
        thread.join(30)

    assert len(builds) == 2


def test_a_failed_build_leaves_the_old_report_and_no_half(
    publisher: Publisher, tmp_path: Path
) -> None:
    publisher.refresh(gathered(), build_of("one"))
    before = sorted(path.name for path in (tmp_path / "cache" / "reports").iterdir())

    with pytest.raises(DiskFullError):
        publisher.refresh(gathered(), no_room)

    assert text(publisher) == "one"
    assert sorted(path.name for path in (tmp_path / "cache" / "reports").iterdir()) == before
    publisher.refresh(gathered(), build_of("two"))
    assert text(publisher) == "two"


@pytest.mark.parametrize("by", ["a reset", "newer reports"])
def test_who_reads_a_report_that_is_removed_misses_all_of_it_and_not_a_part(
    publisher: Publisher, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    report = publisher.refresh(gathered(), build_of("one"))
    folder = publisher.read(lambda found: found)
    seen = []

    def remove(path: Path, **_: object) -> None:
        seen.append(folder.exists())

    monkeypatch.setattr("wsgi_coverage.system.own_files.shutil.rmtree", remove)
    if by == "a reset":
        with publisher.lock():
            publisher.withdraw()
    else:
        for text_of in ("two", "three"):
            publisher.refresh(gathered(), build_of(text_of))

    assert report.id == folder.name
    assert not folder.exists()
    assert not seen[-1]


def test_a_withdrawn_report_is_gone(publisher: Publisher) -> None:
    publisher.refresh(gathered(), build_of("one"))

    with publisher.lock():
        publisher.withdraw()

    with pytest.raises(NoReportError):
        text(publisher)


def outside(tmp_path: Path) -> str:
    """A report that is not in the cache."""
    publisher = Publisher(tmp_path / "elsewhere")
    return str(tmp_path / "elsewhere" / "reports" / publisher.refresh(gathered(), build_of("x")).id)


@pytest.mark.parametrize("way", ["absolute", "dots", "link to a name", "linked report", "pipe"])
def test_what_leads_out_of_the_cache_is_refused_by_name(
    publisher: Publisher, tmp_path: Path, way: str
) -> None:
    current = tmp_path / "cache" / "current"
    report = publisher.refresh(gathered(), build_of("one"))
    published, theirs = tmp_path / "cache" / "reports" / report.id, outside(tmp_path)
    if way == "absolute":
        current.write_text(theirs)
    elif way == "dots":
        current.write_text(os.path.relpath(theirs, published.parent))
    elif way == "link to a name":
        (tmp_path / "name").write_text(report.id)
        current.unlink()
        current.symlink_to(tmp_path / "name")
    elif way == "pipe":
        current.unlink()
        os.mkfifo(current)
    else:
        shutil.rmtree(published)
        published.symlink_to(theirs)

    with pytest.raises(RefusedReportError, match=re.escape(str(tmp_path / "cache"))):
        text(publisher)

    publisher.refresh(gathered(), build_of("two"))
    assert text(publisher) == "two"


def test_reports_are_not_written_through_a_link(publisher: Publisher, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "reports").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(RefusedReportError, match="symbolic link"):
        publisher.refresh(gathered(), build_of("one"))

    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_snapshot_that_is_a_link_is_none(tmp_path: Path) -> None:
    kept = Snapshots(tmp_path / "kept")
    take(kept, build_of("x"))
    planted = tmp_path / "kept" / new_id()
    planted.symlink_to(outside(tmp_path))

    assert planted.name not in {report.id for report in kept.all()}
    for read in (kept.find, kept.delete):
        with pytest.raises(UnknownSnapshotError):
            read(planted.name)


def test_old_reports_do_not_pile_up(publisher: Publisher, tmp_path: Path) -> None:
    (tmp_path / "cache" / "reports" / ".building-killed").mkdir(parents=True)

    for number in range(5):
        publisher.refresh(gathered(), build_of(str(number)))

    assert len(list((tmp_path / "cache" / "reports").iterdir())) == 2


def test_readers_get_whole_reports_while_others_are_published(publisher: Publisher) -> None:
    publisher.refresh(gathered(), build_of("0"))
    done = threading.Event()

    def publish_all_the_time() -> None:
        number = 0
        while not done.is_set():
            number += 1
            publisher.refresh(gathered(), build_of(str(number)))

    writer = threading.Thread(target=publish_all_the_time)
    writer.start()
    try:
        seen = [int(text(publisher)) for _ in range(200)]
    finally:
        done.set()
        writer.join(30)

    assert seen == sorted(seen)


def test_a_lock_that_is_held_for_too_long_is_an_error(publisher: Publisher) -> None:
    with publisher.lock(), pytest.raises(RefreshBusyError, match=r"build\.lock for 0\.05 seconds"):
        publisher.refresh(gathered(), build_of("one"), 0.05)


def test_who_waits_for_the_lock_gives_signs_of_life(publisher: Publisher) -> None:
    free = threading.Event()
    held = threading.Event()

    def hold() -> None:
        with publisher.lock():
            held.set()
            free.wait(30)

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait(30)
    with liveness.during(free.set), publisher.lock(timeout=30.0):
        pass
    holder.join(30)

    assert free.is_set()


def test_ids_never_collide_and_sort_by_time() -> None:
    ids = [new_id() for _ in range(2000)]

    assert len(set(ids)) == 2000
    assert [each.partition("-")[0] for each in ids] == sorted(e.partition("-")[0] for e in ids)
    assert all(snapshots.ID.fullmatch(each) for each in ids)


def test_snapshots_are_listed_newest_first(tmp_path: Path) -> None:
    kept = Snapshots(tmp_path / "kept")
    taken = [take(kept, build_of(str(number))).id for number in range(3)]

    assert [report.id for report in kept.all()] == taken[::-1]


def test_a_snapshot_of_a_whole_second_has_an_id_like_any_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(clock, "now_iso", lambda: clock.iso(1_700_000_000.0))

    assert snapshots.ID.fullmatch(new_id())


def test_a_deleted_snapshot_is_gone(tmp_path: Path) -> None:
    kept = Snapshots(tmp_path / "kept")
    report = take(kept, build_of("x"))

    kept.delete(report.id)

    assert kept.all() == []
    assert list((tmp_path / "kept").iterdir()) == []
    with pytest.raises(UnknownSnapshotError):
        kept.delete(report.id)


@pytest.mark.parametrize(
    "identity",
    ["", "..", "../kept", "/etc", "a\x00b", ".building-x", "20260101T000000.000000Z-00000000"],
)
def test_an_unknown_id_is_no_snapshot(tmp_path: Path, identity: str) -> None:
    kept = Snapshots(tmp_path / "kept")
    take(kept, build_of("x"))

    with pytest.raises(UnknownSnapshotError):
        kept.find(identity)


def test_a_snapshot_without_room_is_not_listed(tmp_path: Path) -> None:
    kept = Snapshots(tmp_path / "kept")

    with pytest.raises(DiskFullError):
        take(kept, no_room)

    assert kept.all() == []
    assert list((tmp_path / "kept").iterdir()) == []
    assert kept.all() == []
    assert take(kept, build_of("x")) == kept.all()[0]


def test_there_is_a_limit_to_snapshots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshots, "MAX_SNAPSHOTS", 2)
    kept = Snapshots(tmp_path / "kept")
    take(kept, build_of("1"))
    take(kept, build_of("2"))

    with pytest.raises(SnapshotLimitError, match="delete some"):
        take(kept, build_of("3"))

    assert len(kept.all()) == 2


def test_a_snapshot_that_is_not_whole_is_not_listed(tmp_path: Path) -> None:
    kept = Snapshots(tmp_path / "kept")
    (tmp_path / "kept" / new_id()).mkdir(parents=True)

    assert kept.all() == []


@pytest.mark.parametrize("removed", ["cache", "cache/reports"])
def test_a_report_whose_folder_is_removed_while_it_is_built_is_refused_by_name(
    publisher: Publisher, tmp_path: Path, removed: str
) -> None:
    def build(folder: Path) -> Report:
        shutil.rmtree(tmp_path / removed)
        return build_of("text")(folder)

    with pytest.raises(RemovedError, match="try again"):
        publisher.refresh(gathered(), build)

    publisher.refresh(gathered(), build_of("second"))
    assert text(publisher) == "second"


def test_a_snapshot_whose_folder_is_removed_while_it_is_taken_is_refused_by_name(
    tmp_path: Path,
) -> None:
    def build(folder: Path) -> Report:
        shutil.rmtree(tmp_path / "snapshots")
        return build_of("text")(folder)

    with pytest.raises(RemovedError):
        take(Snapshots(tmp_path / "snapshots"), build)


@pytest.mark.parametrize(("times", "outcome"), [(1, "locked"), (99, "removed")])
def test_a_cache_that_is_removed_while_the_lock_is_taken_is_made_again(
    publisher: Publisher, monkeypatch: pytest.MonkeyPatch, times: int, outcome: str
) -> None:
    left = [*range(times)]

    def make_and_remove(folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        if left:
            left.pop()
            folder.rmdir()

    monkeypatch.setattr(publish.own_files, "make_folder", make_and_remove)

    try:
        with publisher.lock():
            found = "locked"
    except RemovedError:
        found = "removed"
    assert found == outcome


def test_a_folder_that_is_removed_before_anything_is_built_in_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publish.own_files, "make_folder", lambda _: None)  # and removed at once

    with pytest.raises(RemovedError), publish.build_folder(tmp_path / "reports", "cache_dir"):
        pass
