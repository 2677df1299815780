"""The reports of two hosts that meet in a real store, without their workers and agents."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from wsgi_coverage import settings
from wsgi_coverage.data.packed import pack
from wsgi_coverage.fleet import reports
from wsgi_coverage.fleet.messages import FleetHost
from wsgi_coverage.fleet.reports import FleetReports
from wsgi_coverage.report.publish import Publisher
from wsgi_coverage.report.snapshots import ELSEWHERE, Snapshots
from wsgi_coverage.store.redis import FleetStore

KEY = "wsgi-coverage:{a}:%s".__mod__
IDENTITY = "20261127T090312.011815Z-{:08x}".format
METADATA = {
    "refreshed_at": "2026-11-27T09:03:12.011835+00:00",
    "duration_seconds": 0.1,
    "autosave_interval_seconds": 30.0,
    "summary": {},
    "complete": True,
    "workers": [],
    "warnings": [],
    "collected": {"boot": "b", "seconds": 1.0},
}

SUMMARY = {"since": "2026-11-27T09:00:00+00:00", "percent": None}


class Host:
    """What an agent has of reports and the store, and the folders of its host."""

    def __init__(self, store, folder: Path) -> None:
        url = settings.load({"store": store.url()}, env={}).store
        self.store = FleetStore(url, "a")
        self.folder = folder / "snapshots"
        self.snapshots = Snapshots(self.folder)
        about = FleetHost(
            url=url,
            namespace="a",
            release=None,
            days=0,
            data_file=folder / ".coverage",
            private=folder,
            cache_dir=folder / "cache",
            snapshot_dir=self.folder,
            with_sources=False,
            static=None,
            engine="memory",
            root=None,
        )
        self.cache = about.cache_dir
        self.publisher = Publisher(self.cache)
        self.reports = FleetReports(about, self.store)

    def publish(self, number: int) -> str:
        """Have a report published here, of which nobody has been told."""
        folder = self.cache / "reports" / IDENTITY(number)
        (folder / "sources").mkdir(parents=True)
        (folder / "meta.json").write_text(metadata(number, summary=SUMMARY))
        (folder / "figures").write_bytes(pack({"files": {}}))
        (self.cache / "current").write_text(folder.name)
        return folder.name

    def look(self) -> None:
        self.reports.exchange(self.store.join())

    def take(self, number: int, **more: object) -> str:
        """Have a snapshot here."""
        folder = self.folder / IDENTITY(number)
        (folder / "sources").mkdir(parents=True)
        (folder / "meta.json").write_text(metadata(number, **more))
        (folder / "figures").write_bytes(pack({"files": {}}))
        return folder.name

    def listed(self) -> list[str]:
        return [each.id for each in self.snapshots.all()]

    def close(self) -> None:
        self.store.close()


def metadata(number: int, **more: object) -> str:
    return json.dumps({"id": IDENTITY(number), **METADATA, **more})


@pytest.fixture
def make_host(store, closing, tmp_path):
    return lambda name: closing(Host(store, tmp_path / name))


@pytest.fixture
def hosts(make_host):
    return make_host("one"), make_host("other")


@pytest.mark.parametrize(
    "content",
    [
        "{}",
        "[]",
        "null",
        "[" * 100_000,
        metadata(2),  # of another one
        metadata(1, summary=1),
        metadata(1, workers=[1]),
        metadata(1, collected=None),
    ],
    ids=["empty", "list", "null", "deep", "other", "summary", "workers", "collected"],
)
def test_metadata_that_is_no_snapshots_is_passed_over(store, hosts, content):
    one, other = hosts
    with store.connected() as client:
        client.hset(KEY("snapshots"), IDENTITY(1), content)
    kept = one.take(3)
    one.look()

    other.look()
    other.look()

    assert other.listed() == other.snapshots.ids() == [kept]
    assert other.reports.problem is None


def test_a_report_that_is_about_to_be_sent_is_not_replaced_by_the_one_before(hosts):
    one, other = hosts
    first = one.publish(1)
    one.look()
    other.look()
    assert other.publisher.identity() == first
    second = other.publish(2)

    other.look()
    assert other.publisher.identity() == second
    other.reports.publish(other.store.join(), second)
    other.look()
    one.look()

    assert one.publisher.identity() == other.publisher.identity() == second


def test_what_was_made_while_the_store_was_away_gives_way_to_what_the_fleet_has(hosts):
    one, other = hosts
    first = one.publish(1)
    one.look()
    other.look()
    other.publish(2)

    other.reports.forget()  # the store was away
    other.look()

    assert other.publisher.identity() == first


@pytest.mark.parametrize("content", ["{}", "[" * 100_000, "no JSON"], ids=["empty", "deep", "text"])
def test_a_damaged_snapshot_of_this_host_alone_keeps_no_other_from_being_sent(hosts, content):
    one, other = hosts
    damaged, kept = one.take(1), one.take(2)
    (one.folder / damaged / "meta.json").write_text(content)

    for _ in range(3):
        one.look()
    other.look()

    assert other.listed() == other.snapshots.ids() == [kept]
    assert (one.folder / damaged / "meta.json").read_text() == content


def test_a_host_with_no_room_says_so_and_lists_them_once_it_has(hosts, monkeypatch):
    monkeypatch.setattr(reports, "RETRY_INTERVAL", 0.0)
    one, other = hosts
    kept = one.take(1)
    one.look()
    other.folder.parent.mkdir()
    other.folder.write_text("in the way")

    other.look()

    assert "other snapshots" in other.reports.problem
    other.folder.unlink()
    other.look()
    assert other.listed() == [kept]
    assert (other.folder / kept / ELSEWHERE).exists()
    assert other.reports.problem is None


def test_what_has_failed_is_tried_again_as_soon_as_another_host_has_stored_one(hosts):
    one, other = hosts
    kept = one.take(1)
    one.look()
    other.folder.parent.mkdir()
    other.folder.write_text("in the way")
    other.look()
    other.folder.unlink()
    other.look()
    assert other.listed() == []

    other.reports.hurry()
    other.look()

    assert other.listed() == [kept]


def test_what_is_another_snapshots_content_does_not_take_its_place(store, hosts):
    one, other = hosts
    kept, wrong = one.take(1), one.take(2)
    for _ in range(3):
        one.look()
    other.look()
    with store.connected() as client:
        client.copy(KEY(f"report:{wrong}"), KEY(f"report:{kept}"), replace=True)

    with pytest.raises(reports.UnknownSnapshotError, match="cannot be used"):
        other.reports.fetch_snapshot(kept)

    assert sorted(other.listed()) == [kept, wrong]
