"""The days on which code ran, of all hosts of a fleet: in the store, and on each host."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

import pytest
from fleet_hosts import Host, Lines
from servers import DASHBOARD, Answer, until
from store_servers import User

from wsgi_coverage import settings
from wsgi_coverage.data.stamp import fingerprint
from wsgi_coverage.store.days import FOLDER, SHARED_FOLDER, Bitmaps, DaysStore, today
from wsgi_coverage.store.fleet_days import FleetDays, SourceVersion
from wsgi_coverage.store.redis import FleetState, FleetStore

NAMESPACE = "shop"
PREFIX = f"wsgi-coverage:{{{NAMESPACE}}}:"
JSON = {"Accept": "application/json"}
LONG_AGO = 40  # days
DAY = 86_400  # seconds


@pytest.fixture
def fleet(store, closing) -> FleetStore:
    url = settings.load({"store": store.url()}, env={}).store
    return closing(FleetStore(url, NAMESPACE))


@pytest.fixture
def begun(fleet) -> FleetState:
    return fleet.join()


@pytest.fixture
def days(fleet, begun) -> FleetDays:
    return fleet.days


def ran(bits: int, name: str = "app.py", version: str = "v1", release: str = "r1") -> Bitmaps:
    return {release: {name: {version: bits}}}


class TestStore:
    def test_lines_of_a_day_only_grow(self, days, begun):
        now = today()
        for each in (ran(0b1010), ran(1 << 9_000), ran(0b10), ran(4, version="v2")):
            assert days.add(begun.id, now, each, now + 90)
        assert days.add(begun.id, now, ran(8, release="r2"), now + 90)

        assert days.read(now) == {
            "r1": {"app.py": {"v1": 0b1010 | 1 << 9_000, "v2": 4}},
            "r2": {"app.py": {"v1": 8}},
        }
        assert days.read(now - 1) is None

    def test_what_the_store_has_is_not_sent_again(self, store, days, begun):
        now = today()
        days.add(begun.id, now, ran(0b110), now + 90)
        before = days.stored()

        days.add(begun.id, now, ran(0b10), now + 90)

        assert days.stored() == before
        days.add(begun.id, now, ran(0b1), now + 90)
        assert days.stored() != before

    def test_many_sources_take_several_calls(self, days, begun):
        many = {"r1": {f"m{number}.py": {"v": number + 1} for number in range(1_000)}}

        days.add(begun.id, today(), many, today() + 90)

        assert days.read(today()) == many

    def test_a_day_that_is_over_is_removed_at_once(self, store, days, begun):
        days.add(begun.id, today() - 9, ran(1), today() - 2)

        assert days.read(today() - 9) is None

    def test_the_store_removes_days_that_are_kept_no_longer(self, store, days, begun):
        now = today()
        days.add(begun.id, now, ran(1), now + 90)
        days.add(begun.id, now, ran(2), now + 30)  # of a host that keeps less

        client = store.client()
        for key in (f"day:{now}", f"day-sources:{now // 10}"):
            assert 89 * DAY < client.ttl(PREFIX + key) <= 91 * DAY

    @pytest.mark.parametrize("key", ["day:{}", "day-sources:{}"])
    def test_a_day_that_vanished_is_noticed(self, store, days, begun, key):
        now = today()
        for day in (now - 3, now - 25):
            days.add(begun.id, day, ran(2), now + 90)
        assert days.stored().since == now + 1
        store.client().hset(f"{PREFIX}days", "since", now - 30)
        lost = key.format(now - 3 if key.startswith("day:") else (now - 3) // 10)

        store.client().delete(PREFIX + lost)

        assert days.read(now - 3) is None
        assert days.read(now - 25) == ran(2)

    def test_a_day_that_vanished_and_is_made_again_is_not_wholly_known(self, store, days, begun):
        now = today()
        days.add(begun.id, now, ran(2), now + 90)
        store.client().delete(f"{PREFIX}day:{now}")

        days.add(begun.id, now, ran(4), now + 90)

        assert days.stored().since == now + 1

    def test_days_are_known_from_now_on_where_all_of_them_vanished(self, store, days, begun):
        now = today()
        days.add(begun.id, now, ran(2), now + 90)
        store.client().delete(f"{PREFIX}days")

        days.add(begun.id, now, ran(4), now + 90)

        assert days.stored().since == now + 1

    def test_nothing_is_added_to_a_store_that_was_emptied(self, store, fleet, days, begun):
        store.client().flushall()

        assert not days.add(begun.id, today(), ran(2), today() + 90)
        assert days.read(today()) is None

    def test_since_is_only_raised(self, days):
        days.raise_since(700_000)
        days.raise_since(600_000)
        assert days.stored().since == 700_000

        days.raise_since(999_999)  # of a host whose clock is wrong
        assert days.stored().since == today() + 1

    def test_functions_are_there_by_version_and_period(self, store, days):
        one, two = SourceVersion("app.py", "v1"), SourceVersion("app.py", "v2")
        now = today()
        days.put_functions(now - 40, {one: {"f": [[1, 2], [4, 4]]}}, now + 50)
        before = days.stored().of_functions
        days.put_functions(now, {two: {"g": [[3, 3]]}}, now + 90)

        assert days.stored().of_functions != before
        assert days.functions(range(now - 90, now)) == {
            one: {"f": [[1, 2], [4, 4]]},
            two: {"g": [[3, 3]]},
        }
        assert days.functions(range(now - 20, now)) == {two: {"g": [[3, 3]]}}
        assert 0 < store.client().ttl(f"{PREFIX}functions:{now // 10}") <= 91 * DAY


@pytest.fixture
def host(make_host, store, tmp_path) -> Callable[..., Host]:
    """Make a host of the fleet; keywords are settings."""

    def make(name: str, **more: Any) -> Host:
        env = {f"WSGI_COVERAGE_{key.upper()}": str(each) for key, each in more.items()}
        made: Host = make_host(
            name, at=tmp_path / "srv", store=store.url(), namespace=NAMESPACE, env=env
        )
        return made

    return make


def long_ago() -> int:
    return today() - LONG_AGO


def record(host: Host, day: int, file: str, *lines: int) -> None:
    """Let some lines of the release "old" have run on a day, on this host."""
    version = fingerprint(str(host.folder / file))
    assert version is not None
    bits = sum(1 << line for line in lines)
    found = {"old": {str(host.at / file): {version: bits}}}
    DaysStore(host.folder / FOLDER).add({day: found}, 90)


def refresh(host: Host) -> None:
    """Refresh until all hosts take part."""
    until(
        lambda: host.server.post(f"{DASHBOARD}/refresh?wait=1").json()["complete"],
        "all hosts take part in a refresh",
    )


def seen(host: Host) -> dict[str, tuple[Any, ...]]:
    """First day, last day, releases and reason, by function; days as days before today."""
    fields = ("first_seen", "last_seen", "seen_in", "seen_reason")
    names = {(date.fromordinal(today()) - timedelta(days=n)).isoformat(): n for n in range(99)}
    found = host.server.get(f"{DASHBOARD}/functions", headers=JSON).json()

    def told(value: Any) -> Any:
        return names.get(value, value) if isinstance(value, str) else value

    return {each["name"]: tuple(told(each.get(field)) for field in fields) for each in found}


def unused_for(host: Host, days: int) -> Answer:
    answer: Answer = host.server.get(f"{DASHBOARD}/functions?unused_for={days}d", headers=JSON)
    return answer


class TestFleet:
    def test_days_and_releases_of_all_hosts_are_told_by_each(self, store, host, lines: Lines):
        near, far = host("near", release="r1"), host("far", release="r2")
        file, line = lines.body("/r0")
        record(near, long_ago(), file, line)
        for each in (near, far):
            each.begin()
        near.server.get("/r0")
        far.server.get("/r1")

        refresh(far)

        found = seen(far)
        assert found["r0"] == (LONG_AGO, 0, ["old", "r1"], None)
        assert found["r1"] == (0, 0, ["r2"], None)
        assert found["r2"] == (None, None, None, None)
        assert seen(near) == found
        assert near.server.post(f"{DASHBOARD}/reset").json()["complete"]
        near.server.get("/r2")
        refresh(far)
        assert seen(far) == {**found, "r2": (0, 0, ["r1"], None)}

        # Nobody knows what ran before the fleet began, until somebody does.
        assert unused_for(far, 1).json()["error"] == "history-too-short"
        client = store.client()
        client.hset(f"{PREFIX}days", "since", long_ago() - 9)
        refresh(near)
        names = {each["name"] for each in unused_for(near, 30).json()}
        assert {"r0", "r1", "r2"}.isdisjoint(names)
        assert "r3" in names
        assert unused_for(near, LONG_AGO).status == 200
        # Neither does anybody when a day has vanished, but for hosts that have read it.
        client.delete(f"{PREFIX}day:{long_ago()}")
        refresh(near)
        assert unused_for(near, LONG_AGO).status == 200
        (near.folder / SHARED_FOLDER / date.fromordinal(long_ago()).isoformat()).unlink()
        refresh(near)
        assert unused_for(near, LONG_AGO - 1).status == 200
        assert unused_for(near, LONG_AGO).json()["error"] == "history-too-short"

    def test_what_hosts_have_is_sent_to_a_store_that_was_emptied(self, store, host, lines: Lines):
        near, far = host("near"), host("far")
        file, line = lines.body("/r0")
        record(near, long_ago(), file, line)
        for each in (near, far):
            each.begin()
        near.server.get("/r1")
        refresh(far)
        store.client().hset(f"{PREFIX}days", "since", long_ago())
        refresh(far)
        assert unused_for(far, 30).status == 200

        store.client().flushall()

        refresh(far)
        found = seen(far)
        assert found["r0"] == (LONG_AGO, LONG_AGO, ["old"], None)
        assert found["r1"] == (0, 0, None, None)
        # What hosts that are gone had run is lost.
        assert unused_for(far, 1).json()["error"] == "history-too-short"

    def test_functions_are_found_in_the_version_of_a_host_that_is_gone(self, host, lines: Lines):
        old = host("before", release="r1")
        old.begin()
        old.server.get("/r0")
        refresh(old)
        old.server.end()
        until(lambda: not old.processes(), "its last process has ended")
        new = host("after", release="r2")
        for name, text in lines.sources.items():
            new.write(name, f"'A new version.'\n{text}")
        new.begin()
        new.server.get("/r1")

        refresh(new)

        found = seen(new)
        assert found["r0"] == (0, 0, ["r1"], None)
        assert found["r1"] == (0, 0, ["r2"], None)
        assert found["r2"] == (None, None, None, None)

    def test_a_host_that_records_no_days_leaves_a_gap(self, store, host):
        near, far = host("near"), host("far", seen_days=0)
        near.begin()
        refresh(near)
        store.client().hset(f"{PREFIX}days", "since", long_ago())
        refresh(near)
        assert unused_for(near, 30).status == 200

        far.begin()
        far.server.get("/r0")
        refresh(near)

        assert unused_for(near, 30).json()["error"] == "history-too-short"
        assert seen(near)["r0"][3].startswith("it ran before days were recorded, or in a process")
        refresh(far)
        assert {each[3] for each in seen(far).values()} == {"no days are recorded: seen_days is 0"}

    def test_where_the_store_refuses_days_lines_are_sent_and_it_is_said(
        self, start_store, make_host, tmp_path
    ):
        all_else = ("standing", "hosts", "*s:*", "answers:*", "snapshots", "deleted", "report:*")
        keys = " ".join(f"~{PREFIX}{name}" for name in (*all_else, "sending:*"))
        store = start_store(users=(User("fleet", "secret", f"{keys} &* +@all"),))
        near, far = (
            make_host(name, at=tmp_path / "srv", store=store.url("fleet"), namespace=NAMESPACE)
            for name in ("near", "far")
        )
        for each in (near, far):
            each.begin()
        far.server.get("/r0")

        refresh(near)

        found = seen(near)
        assert found["r0"][:2] == (None, None)
        assert "permission" in found["r0"][3].lower()
        summary = near.server.get(f"{DASHBOARD}/functions?unused=1", headers=JSON).json()
        assert "r0" not in {each["name"] for each in summary}
        assert unused_for(near, 1).json()["error"] == "history-too-short"
