"""The store of a fleet, on a real Redis and a real Valkey: what it holds, and what it refuses."""

from __future__ import annotations

import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from store_servers import MASTER, User, WatchedPair

from wsgi_coverage import settings
from wsgi_coverage.errors import StoreUnavailableError
from wsgi_coverage.model import Pause
from wsgi_coverage.store import redis
from wsgi_coverage.store.days import today
from wsgi_coverage.store.fleet_days import SourceVersion
from wsgi_coverage.store.redis import (
    Content,
    EpochGoneError,
    FleetStore,
    ForeignError,
    StoredSource,
)

APP = StoredSource("app.py", "v1", "", "runtime", False)
LOAD = APP._replace(context="load")
ARCS = StoredSource("app.py", "v1", "", "runtime", True)
NEVER = StoredSource("never.py", "v1", "", "", False)
STATE_KEY = "wsgi-coverage:{a}:standing"
ROOT = Path(__file__).parents[2]
DEEP = "[" * 100_000  # more than a parser takes
ACL = "docs/how-to/redis.md"


def lines(**more: int) -> Content:
    return Content(lines={APP: more["app"]}, arcs={})


@pytest.fixture
def fleet(store, closing):
    return closing(at(store))


def at(store, namespace="a", url=None):
    return FleetStore(settings.load({"store": url or store.url()}, env={}).store, namespace)


@pytest.fixture
def begun(fleet):
    return fleet.join()


class TestLines:
    def test_what_is_sent_is_there(self, fleet, begun):
        sent = Content(
            lines={APP: 0b1010, LOAD: 1 << 9_000, NEVER: 0}, arcs={ARCS: {-1 << 32, (7 << 32) + 3}}
        )

        fleet.add(begun, 0, sent)

        assert fleet.content([0]) == sent

    def test_it_only_grows_whatever_is_sent_again_or_in_another_order(self, fleet, begun):
        parts = [1 << number for number in range(1, 900, 7)]
        for bits in random.sample([*parts, *parts], 2 * len(parts)):
            fleet.add(begun, 0, lines(app=bits))

        assert fleet.content([0]).lines == {APP: sum(parts)}

    def test_hosts_that_send_at_once_lose_nothing(self, store, fleet, begun):
        many = [StoredSource(f"m{number}.py", "v", "", "runtime", False) for number in range(300)]

        def send(host):
            own = at(store)
            for turn in range(5):
                bits = 1 << (host * 5 + turn)
                own.add(begun, 0, Content(lines=dict.fromkeys(many, bits), arcs={}))
            own.close()

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(send, range(8)))

        assert fleet.content([0]).lines == dict.fromkeys(many, (1 << 40) - 1)

    def test_it_says_what_it_has_of_some_sources(self, fleet, begun):
        fleet.add(begun, 0, Content(lines={APP: 6, NEVER: 0}, arcs={}))

        assert fleet.known(0, [APP, NEVER, LOAD]).lines == {APP: 6, NEVER: 0}

    def test_two_files_with_one_content_are_told_apart(self, fleet, begun):
        other = APP._replace(name="copy.py")

        fleet.add(begun, 0, Content(lines={APP: 2, other: 4}, arcs={}))

        assert fleet.content([0]).lines == {APP: 2, other: 4}

    def test_namespaces_do_not_meet(self, store, closing, fleet, begun):
        other = closing(at(store, "b"))
        fleet.add(begun, 0, lines(app=2))
        other.add(other.join(), 0, lines(app=4))

        assert fleet.content([0]).lines == {APP: 2}

    @pytest.mark.parametrize("name", ["sources", "lines", "arcs"])
    def test_a_key_that_was_lost_and_is_made_again_is_told_from_the_one_before(
        self, store, fleet, begun, name
    ):
        sent = Content(lines={APP: 2}, arcs={ARCS: {1}})
        fleet.add(begun, 0, sent)
        first = fleet.beat("a", {}, 0)
        fleet.add(begun, 0, sent)
        again = fleet.beat("a", {}, 0)
        store.client().delete(f"wsgi-coverage:{{a}}:{name}:0")

        fleet.add(begun, 0, sent)

        anew = fleet.beat("a", {}, 0)
        assert again == first
        assert anew.counts == first.counts
        assert [now != before for now, before in zip(anew.made, first.made, strict=True)] == [
            each == name for each in ("sources", "lines", "arcs")
        ]

    def test_a_first_sending_takes_few_commands(self, store, fleet, begun):
        many = {StoredSource(f"m{n}.py", "v", "", "runtime", False): 1 << 500 for n in range(1500)}
        with store.counted() as spent:
            fleet.add(begun, 0, Content(lines=many, arcs={}))
            calls = spent().commands["evalsha"]

        assert calls < 10


class TestEpochs:
    def test_all_get_the_same_state(self, store, closing, begun):
        assert closing(at(store)).join() == begun
        assert (begun.epoch, begun.oldest, begun.pauses, begun.lost) == (0, 0, (), "")

    def test_a_new_epoch_takes_all_away_and_refuses_what_comes_late(self, store, fleet, begun):
        fleet.add(begun, 0, Content(lines={APP: 2}, arcs={ARCS: {5}}))

        epoch = fleet.begin_epoch(begun, collecting=False, began_at="now")

        assert epoch == 1
        assert fleet.content([0, 1]) == Content(lines={}, arcs={})
        with pytest.raises(EpochGoneError):
            fleet.add(begun, 0, lines(app=8))
        now = fleet.join()
        assert (now.epoch, now.oldest, now.swept) == (1, 1, 1)
        fleet.add(now, 1, lines(app=4))
        assert fleet.content([1]).lines == {APP: 4}
        keys = {key.rsplit(b":", 1)[-1] for key in store.client().scan_iter()}
        assert keys == {b"standing", b"1"}
        made = [field for field in store.client().hkeys(STATE_KEY) if field.startswith(b"made:")]
        assert {field.rsplit(b":", 1)[1] for field in made} == {b"1"}

    def test_what_ran_before_a_collection_counts_until_it_has_ended(self, fleet, begun):
        fleet.add(begun, 0, lines(app=2))
        fleet.begin_epoch(begun, collecting=True, began_at="now")
        now = fleet.join()
        fleet.add(now, 0, lines(app=4))
        fleet.add(now, 1, lines(app=8))
        during = fleet.content([0]).lines, fleet.content([1]).lines

        fleet.end_collecting(now)

        assert during == ({APP: 6}, {APP: 8})
        assert fleet.join().oldest == 1
        assert fleet.content([0, 1]).lines == {APP: 8}
        with pytest.raises(EpochGoneError):
            fleet.add(now, 0, lines(app=16))

    def test_a_collection_that_another_has_overtaken_ends_nothing(self, fleet, begun):
        fleet.begin_epoch(begun, collecting=True, began_at="now")
        first = fleet.join()
        fleet.begin_epoch(first, collecting=True, began_at="now")

        fleet.end_collecting(first)

        assert fleet.join().oldest == 0

    def test_an_epoch_that_has_not_begun_takes_nothing(self, fleet, begun):
        with pytest.raises(EpochGoneError):
            fleet.add(begun, 1, lines(app=2))

    def test_a_pause_outlives_a_new_epoch_and_one_that_has_ended_does_not(self, fleet, begun):
        fleet.set_pauses([Pause(began_at="1", ended_at="2")])
        fleet.begin_epoch(fleet.join(), collecting=False, began_at="3")
        after_one_that_has_ended = fleet.join().pauses
        fleet.set_pauses([Pause(began_at="1", ended_at=None)])

        fleet.begin_epoch(fleet.join(), collecting=False, began_at="3")

        assert after_one_that_has_ended == ()
        assert fleet.join().pauses == (Pause(began_at="3", ended_at=None),)

    def test_a_loss_is_known_until_it_is_mended_and_no_other_has_come(self, fleet, begun):
        fleet.note_loss("yesterday")
        first = fleet.join()
        fleet.note_loss("today")
        second = fleet.join()
        fleet.note_mended(first)
        before = fleet.join().lost

        fleet.note_mended(second)

        assert (before, fleet.join().lost, second.losses) == ("today", "", 2)

    def test_a_loss_is_known_until_a_new_epoch(self, fleet, begun):
        fleet.note_loss("yesterday")
        noted = fleet.join().lost

        fleet.begin_epoch(fleet.join(), collecting=False, began_at="now")

        assert (noted, fleet.join().lost) == ("yesterday", "")

    def test_a_reset_that_was_done_is_none_that_failed(self, fleet, begun, monkeypatch):
        fleet.add(begun, 0, lines(app=2))

        def fail(*_keys):
            raise redis.RedisError("gone just now")

        with monkeypatch.context() as patched:
            patched.setattr(fleet._client, "unlink", fail)
            epoch = fleet.begin_epoch(begun, collecting=False, began_at="now")

        assert (epoch, fleet.join().epoch) == (1, 1)
        fleet.begin_epoch(fleet.join(), collecting=False, began_at="now")
        assert fleet.content([0, 1]).lines == {}

    def test_an_emptied_store_refuses_what_was_for_the_one_before(self, store, fleet, begun):
        store.client().flushall()

        with pytest.raises(EpochGoneError):
            fleet.begin_epoch(begun, collecting=False, began_at="now")
        assert fleet.beat("h", {}, 0).state is None
        assert fleet.join().id != begun.id
        with pytest.raises(EpochGoneError):
            fleet.add(begun, 0, lines(app=2))


class TestHosts:
    def test_all_are_told_of_each_other(self, fleet, begun):
        fleet.beat("a", {"host": "one"}, 0)
        fleet.add(begun, 0, Content(lines={APP: 1, NEVER: 0}, arcs={ARCS: {1, 2, 3}}))

        beat = fleet.beat("b", {"host": "two"}, 0)

        assert fleet.hosts() == ({"a": {"host": "one"}, "b": {"host": "two"}}, {})
        assert beat.hosts == 2
        assert beat.counts == (3, 1, 3)
        assert None not in beat.made
        assert beat.state == begun

    def test_one_that_was_not_heard_lately_is_missing_and_after_long_it_is_gone(
        self, store, fleet, begun, monkeypatch
    ):
        fleet.beat("a", {"host": "one"}, 0)
        monkeypatch.setattr(redis, "LIVE_AGE", -1)
        found = fleet.hosts()
        number = fleet.beat("a", {}, 0).hosts
        monkeypatch.setattr(redis, "KEEP_AGE", -1)

        fleet.hosts()

        assert (found.living, found.missing, number) == ({}, {"a": {"host": "one"}}, 1)
        assert store.client().hlen("wsgi-coverage:{a}:hosts") == 0
        assert fleet.join().departed == 1

    def test_one_that_takes_its_leave_is_gone(self, fleet, begun):
        fleet.beat("a", {}, 0)

        fleet.forget_hosts("a")

        assert fleet.hosts() == ({}, {})
        assert fleet.join().departed == 1

    def test_one_that_another_id_stands_for_has_not_left(self, fleet, begun):
        fleet.beat("a", {}, 0)

        fleet.forget_hosts("a", succeeded=True)

        assert fleet.hosts() == ({}, {})
        assert fleet.join().departed == 0

    def test_a_call_is_heard_and_answered(self, fleet, begun):
        heard = []
        listens = threading.Event()

        def serve():
            with fleet.listening() as next_call:
                next_call(0.01)
                listens.set()
                heard.append(next_call(30))
            fleet.answer("1", {"id": "b", "says": "yes"})

        server = threading.Thread(target=serve)
        server.start()
        assert listens.wait(30)
        fleet.call({"id": "1", "verb": "publish"})

        answers = fleet.answers("1", ["b"], time.monotonic() + 30)

        server.join(30)
        assert heard == [{"id": "1", "verb": "publish"}]
        assert answers == [{"id": "b", "says": "yes"}]

    def test_who_does_not_answer_is_waited_for_until_the_deadline(self, fleet, begun):
        fleet.answer("1", {"id": "b"})

        answers = fleet.answers("1", ["b", "c"], time.monotonic() + 0.3)

        assert answers == [{"id": "b"}]


class TestFaults:
    def test_another_programs_keys_are_left_alone(self, store, fleet):
        client = store.client()
        client.set("wsgi-coverage:{a}:standing", "theirs")

        with pytest.raises(ForeignError):
            fleet.join()

        assert client.get("wsgi-coverage:{a}:standing") == b"theirs"
        assert len(client.keys()) == 1

    def test_another_version_s_keys_are_left_alone(self, store, fleet, begun):
        store.client().hset("wsgi-coverage:{a}:standing", "format", "2")

        with pytest.raises(ForeignError):
            fleet.join()

    def test_what_nobody_of_us_would_write_is_passed_over(self, store, fleet, begun):
        fleet.add(begun, 0, lines(app=2))
        client = store.client()
        client.hset("wsgi-coverage:{a}:sources:0", "x", "no JSON")
        client.hset("wsgi-coverage:{a}:lines:0", "y", "of nothing")
        client.sadd("wsgi-coverage:{a}:arcs:0", b"short")
        client.hset("wsgi-coverage:{a}:hosts", "h", "[]")
        client.hset("wsgi-coverage:{a}:hosts", b"\xff", "[1, {}]")
        client.hset("wsgi-coverage:{a}:hosts", "deep", DEEP)
        client.hset("wsgi-coverage:{a}:snapshots", b"\xff", b"\xff")
        client.hset("wsgi-coverage:{a}:snapshots", "s", b"\xff")
        client.rpush("wsgi-coverage:{a}:answers:1", "no JSON", "[]", DEEP, '{"id": "h"}')

        assert fleet.content([0]).lines == {APP: 2}
        fleet.beat("a", {}, 0)
        assert [*fleet.hosts().living] == ["a"]
        assert client.hkeys("wsgi-coverage:{a}:hosts") == [b"a"]
        assert sorted(fleet.snapshots()) == ["s", "\ufffd"]
        assert fleet.metadata(["s"]) == {"s": "\ufffd"}
        assert fleet.answers("1", ["h"], time.monotonic() + 5) == [{"id": "h"}]

    @pytest.mark.parametrize("state", ["read_only", "out_of_memory", "without_replicas"])
    def test_a_store_that_refuses_says_so_and_has_what_it_had(self, store, fleet, begun, state):
        fleet.add(begun, 0, lines(app=2))
        many = {StoredSource(f"m{n}.py", "v", "", "runtime", False): 1 << 9_000 for n in range(500)}

        with getattr(store, state)():
            with pytest.raises(StoreUnavailableError):
                fleet.add(begun, 0, Content(lines=many, arcs={}))
            with pytest.raises(StoreUnavailableError):
                fleet.begin_epoch(begun, collecting=False, began_at="now")

        assert fleet.content([0]).lines[APP] == 2
        fleet.add(begun, 0, Content(lines=many, arcs={}))
        assert len(fleet.content([0]).lines) == 501

    def test_one_that_is_not_there_says_where_it_should_be(self, store, fleet, begun):
        store.kill()

        with pytest.raises(StoreUnavailableError, match=f"127.0.0.1:{store.port.number}"):
            fleet.join()

    def test_one_that_does_not_answer_is_not_waited_for_for_long(
        self, store, fleet, begun, monkeypatch
    ):
        monkeypatch.setattr(redis, "TIMEOUT", 0.2)
        slow = at(store)
        begun = time.monotonic()
        with store.paused(), pytest.raises(StoreUnavailableError):
            slow.join()

        assert time.monotonic() - begun < 20
        slow.close()

    def test_no_message_has_the_password(self, start_store):
        store = start_store(users=(User("us", "s3cret", "~* +@all"),))
        url = f"redis://us:wr0ng@127.0.0.1:{store.port.number}"

        with pytest.raises(StoreUnavailableError) as refused:
            at(store, url=url).join()

        assert "us:***@" in str(refused.value)
        assert "wr0ng" not in str(refused.value)


class TestReports:
    def test_the_published_report_is_known_with_the_state(self, fleet, begun):
        fleet.publish(begun, "r1", b"one")

        beat = fleet.beat("h", {}, 0)

        assert beat.state.published == "r1"
        assert beat.state.changes == begun.changes + 1
        assert fleet.report("r1") == b"one"

    def test_a_newer_one_takes_its_place(self, store, fleet, begun):
        fleet.publish(begun, "r1", b"one")
        fleet.publish(begun, "r2", b"two")

        assert fleet.join().published == "r2"
        assert fleet.report("r1") is None
        assert fleet.report("r2") == b"two"
        client = store.client()
        assert {client.ttl(key) for key in client.scan_iter()} == {-1}

    def test_it_is_sent_and_read_in_pieces(self, fleet, begun, monkeypatch):
        monkeypatch.setattr(redis, "PIECE", 1000)
        content = random.randbytes(3500)

        fleet.publish(begun, "r1", content)

        assert fleet.report("r1") == content

    @pytest.mark.parametrize("collecting", [False, True])
    def test_it_is_withdrawn_with_what_it_was_made_of(self, store, fleet, begun, collecting):
        fleet.publish(begun, "r1", b"one")

        fleet.begin_epoch(begun, collecting=collecting, began_at="now")
        if collecting:
            assert fleet.join().published == "r1"
            fleet.end_collecting(fleet.join())

        now = fleet.join()
        assert (now.published, fleet.report("r1")) == ("", None)
        assert now.changes > begun.changes + 1
        with pytest.raises(EpochGoneError):
            fleet.publish(begun, "r2", b"of before")
        assert fleet.join().published == ""
        assert not store.client().keys("*:report:*")
        assert not store.client().keys("*:sending:*")

    def test_one_is_whole_whichever_of_several_hosts_that_send_it_is_last(
        self, store, closing, begun, monkeypatch
    ):
        monkeypatch.setattr(redis, "PIECE", 10)
        contents = [bytes([65 + number]) * (25 + number) for number in range(4)]
        barrier = threading.Barrier(len(contents))

        def send(content):
            host = closing(at(store))
            barrier.wait(30)
            host.add_snapshot(begun, "s", "m", content)
            return host.report("s")

        with ThreadPoolExecutor(len(contents)) as pool:
            found = {*pool.map(send, contents)}

        assert len(found) == 1
        assert found <= {*contents}
        assert not store.client().keys("*:sending:*")

    @pytest.mark.parametrize("left", [b"", b"1234", bytes(35)], ids=["none", "less", "more"])
    def test_one_of_which_a_piece_was_lost_is_not_taken(
        self, store, fleet, begun, monkeypatch, left
    ):
        monkeypatch.setattr(redis, "PIECE", 10)
        client, expire = store.client(), fleet._client.expire
        done = []

        def expire_and_lose(key, seconds):
            expire(key, seconds)
            if not done:
                done.append(key)
                client.delete(key)
                if left:
                    client.set(key, left[:25])

        monkeypatch.setattr(fleet._client, "expire", expire_and_lose)

        with pytest.raises(StoreUnavailableError, match="lost a part"):
            fleet.add_snapshot(begun, "s", "m", bytes(35))

        assert (fleet.snapshots(), fleet.report("s")) == ([], None)
        fleet.add_snapshot(begun, "s", "m", bytes(35))
        assert fleet.report("s") == bytes(35)

    def test_a_half_sent_one_is_gone_some_time_later(self, store, fleet, begun, monkeypatch):
        monkeypatch.setattr(redis, "PIECE", 10)
        client = store.client()
        times = []

        def look(*_, **__):
            times.append(client.ttl(client.keys("*:sending:*")[0]))
            raise redis.RedisError("the agent is killed")

        monkeypatch.setattr(fleet, "_list", look)
        with pytest.raises(StoreUnavailableError):
            fleet.add_snapshot(begun, "s", "m", bytes(35))

        assert 0 < times[0] <= redis.SENDING_AGE

    def test_what_was_half_sent_takes_no_more_room_when_it_is_sent_again(
        self, store, fleet, begun, monkeypatch
    ):
        monkeypatch.setattr(redis, "PIECE", 10)
        client = store.client()

        def away(*_, **__):
            raise redis.RedisError("the store is away")

        with monkeypatch.context() as broken:
            broken.setattr(fleet._client, "expire", away)
            broken.setattr(fleet._client, "unlink", lambda *_: None)
            for _ in range(3):
                with pytest.raises(StoreUnavailableError):
                    fleet.add_snapshot(begun, "s", "m", bytes(35))

        assert len(client.keys("*:sending:*")) == 1
        fleet.add_snapshot(begun, "s", "m", bytes(35))
        assert fleet.report("s") == bytes(35)
        assert not client.keys("*:sending:*")

    def test_a_piece_that_comes_late_spoils_nothing(self, store, fleet, begun, monkeypatch):
        client, published = store.client(), fleet._publish

        def late(*, keys, args):
            client.append(keys[2], b"of a connection that was given up")
            return published(keys=keys, args=args)

        monkeypatch.setattr(fleet, "_publish", late)

        with pytest.raises(EpochGoneError):
            fleet.publish(begun, "r1", b"one")

        assert fleet.report("r1") is None
        assert not client.keys("*:sending:*")

    def test_snapshots_are_listed_with_their_metadata(self, fleet, begun, monkeypatch):
        monkeypatch.setattr(redis, "METADATA", 2)
        for number in range(5):
            fleet.add_snapshot(begun, f"s{number}", f"m{number}", b"content")

        listed = fleet.snapshots()

        assert sorted(listed) == [f"s{number}" for number in range(5)]
        assert fleet.metadata([*listed, "s9"]) == {f"s{n}": f"m{n}" for n in range(5)}
        assert fleet.report("s3") == b"content"

    def test_a_deleted_one_is_not_listed_again(self, fleet, begun):
        for name in ("s1", "s2"):
            fleet.add_snapshot(begun, name, "m", b"content")
        fleet.delete_snapshot("s1")

        fleet.add_snapshot(begun, "s1", "m", b"from a host that has not heard")

        assert fleet.snapshots() == ["s2"]
        assert fleet.report("s1") is None
        assert fleet.deleted(["s1", "s2", "s3"]) == {"s1"}
        assert fleet.deleted([]) == set()

    def test_as_many_are_remembered_as_there_may_be(self, fleet, begun, monkeypatch):
        monkeypatch.setattr(redis, "DELETED", 3)
        for number in range(5):
            fleet.delete_snapshot(f"s{number}")

        assert len(fleet.deleted([f"s{number}" for number in range(5)])) == 3

    def test_one_whose_content_has_vanished_can_be_sent_again(self, store, fleet, begun):
        fleet.add_snapshot(begun, "s1", "m", b"content")
        fleet.note_vanished("s1")
        assert fleet.snapshots() == ["s1"]
        store.client().delete("wsgi-coverage:{a}:report:s1")

        fleet.note_vanished("s1")

        assert fleet.snapshots() == []
        fleet.add_snapshot(begun, "s1", "m", b"content")
        assert fleet.report("s1") == b"content"

    def test_a_store_that_was_emptied_takes_nothing_for_the_one_before(self, store, fleet, begun):
        store.client().flushall()
        fleet.join()

        fleet.add_snapshot(begun, "s1", "m", b"content")
        with pytest.raises(EpochGoneError):
            fleet.publish(begun, "r1", b"one")

        assert fleet.snapshots() == []
        assert fleet.join().published == ""

    def test_reports_leave_room_for_lines(self, start_store, closing):
        store = start_store("maxmemory 16mb", "maxmemory-policy noeviction")
        fleet = closing(at(store))
        begun = fleet.join()
        taken = []

        def fill(size):
            for number in range(500):
                fleet.add_snapshot(begun, f"s{size}-{number}", "m", random.randbytes(size))
                taken.append(f"s{size}-{number}")

        for size in (1 << 20, 10_000):
            with pytest.raises(StoreUnavailableError, match="maxmemory"):
                fill(size)

        assert len(taken) > 5
        fleet.add(begun, 0, lines(app=2))
        assert fleet.content([0]).lines == {APP: 2}
        for name in taken[:3]:
            fleet.delete_snapshot(name)
        fleet.add_snapshot(begun, "last", "m", random.randbytes(1 << 20))
        assert "last" in fleet.snapshots()

    def test_what_has_no_room_leaves_nothing(self, start_store, closing):
        store = start_store("maxmemory 3mb", "maxmemory-policy noeviction")
        fleet = closing(at(store))
        begun = fleet.join()

        with pytest.raises(StoreUnavailableError, match="memory"):
            fleet.publish(begun, "r1", random.randbytes(9 << 20))

        assert fleet.report("r1") is None
        assert fleet.join().published == ""


class TestUrls:
    def test_a_unix_socket(self, store, closing):
        assert closing(at(store, url=store.unix_url())).join().epoch == 0

    def test_a_user_who_may_do_the_least_that_is_documented(self, start_store, closing):
        page = (ROOT / ACL).read_text(encoding="utf-8")
        [rules] = [block for block in page.split("```") if "user coverage on" in block]
        words = rules.split()
        assert words[:4] == ["user", "coverage", "on", ">secret"]
        store = start_store()
        store.client().execute_command("ACL", "SETUSER", "coverage", *words[2:])
        fleet = closing(at(store, url=f"redis://coverage:secret@127.0.0.1:{store.port.number}"))

        state = fleet.join()
        fleet.add(state, 0, Content(lines={APP: 2}, arcs={ARCS: {1}}))
        fleet.known(0, [APP])
        fleet.beat("h", {}, 0)
        fleet.hosts()
        with fleet.listening() as next_call:
            next_call(0.01)
            fleet.call({"id": "1"})
        fleet.answer("1", {"id": "h"})
        fleet.answers("1", ["h"], time.monotonic() + 5)
        fleet.publish(state, "r", b"a report")
        fleet.report("r")
        fleet.add_snapshot(state, "s", "{}", b"a snapshot")
        fleet.metadata(fleet.snapshots())
        fleet.note_vanished("s")
        fleet.delete_snapshot("s")
        fleet.deleted(["s"])
        fleet.days.add(state.id, today(), {"r": {"a.py": {"v": 2}}}, today() + 1)
        fleet.days.read(today())
        fleet.days.stored()
        fleet.days.raise_since(today())
        fleet.days.put_functions(today(), {SourceVersion("a.py", "v"): {}}, today() + 1)
        fleet.days.functions(range(today(), today()))
        fleet.note_loss("now")
        fleet.note_mended(fleet.join())
        fleet.set_pauses([])
        fleet.begin_epoch(state, collecting=True, began_at="now")
        fleet.end_collecting(fleet.join())
        fleet.forget_hosts("h")

        assert fleet.content([1]) == Content(lines={}, arcs={})

    def test_tls(self, start_store, closing, program):
        if not program.has_tls():
            pytest.skip(f"this {program.name} was built without TLS")
        store = start_store(tls=True)
        fleet = closing(at(store))

        fleet.add(fleet.join(), 0, lines(app=2))

        assert fleet.content([0]).lines == {APP: 2}

    def test_a_cluster(self, start_store, closing):
        store = start_store(cluster=True)
        url = f"redis+cluster://127.0.0.1:{store.port.number}"
        fleet = closing(at(store, url=url))
        begun = fleet.join()
        fleet.add(begun, 0, Content(lines={APP: 2}, arcs={ARCS: {1}}))

        assert fleet.content([0]) == Content(lines={APP: 2}, arcs={ARCS: {1}})
        assert fleet.beat("h", {}, 0).counts == (2, 1, 1)
        fleet.begin_epoch(begun, collecting=False, began_at="now")
        assert fleet.join().swept == 1

    def test_a_sentinel_leads_to_the_new_master_after_a_failover(self, program, closing):
        pair = closing(WatchedPair(program))
        pair.start()
        url = f"redis+sentinel://127.0.0.1:{pair.sentinel.port.number}/{MASTER}"
        fleet = closing(at(None, url=url))
        begun = fleet.join()
        fleet.add(begun, 0, lines(app=2))
        with pair.primary.connected() as client:
            assert client.wait(1, 10_000) == 1  # the replica has it, too
        pair.fail_over()

        fleet.add(begun, 0, lines(app=4))

        assert fleet.content([0]).lines == {APP: 6}
