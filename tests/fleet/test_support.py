"""What the tests of a fleet stand on is what it says: servers in each state, a proxy, and hosts."""

from __future__ import annotations

import json
import os
import signal
import ssl
from collections import Counter

import pytest
import redis
from servers import process_state
from store_servers import Certificates, Port, User, WatchedPair, find

KILOBYTE = b"x" * 1024
NAMES = ["host-a", "host-b", "host-c"]


class TestServers:
    def test_it_is_the_one_that_was_asked_for(self, store, program):
        info = store.client().info("server")

        assert info.get("server_name", "redis") == program.name
        assert info["process_id"] == store.pid

    def test_it_is_there_over_tcp_and_over_its_socket(self, store):
        store.client().set("here", "yes")

        assert store.client(store.unix_url()).get("here") == b"yes"

    def test_nothing_but_loopback_and_its_socket_reaches_it(self, store):
        assert store.client().config_get("bind")["bind"] == "127.0.0.1"

    def test_it_writes_nothing_to_the_disk(self, store):
        store.client().set("here", "yes")
        store.stop()

        assert not [*(store.folder / "data").iterdir()]

    def test_nobody_else_gets_its_port_while_it_is_down(self, store):
        store.kill()

        with pytest.raises(redis.ConnectionError):
            store.client().ping()
        for _ in range(100):
            with Port() as other:
                assert other.number != store.port.number

    @pytest.mark.parametrize("end", ["stop", "kill"])
    def test_it_begins_empty_on_the_same_port(self, store, end):
        client = store.client()
        client.set("here", "yes")
        pid = store.pid
        getattr(store, end)()

        store.restart(empty=True)

        assert client.get("here") is None
        assert store.pid != pid

    def test_all_that_was_answered_is_there_again_where_it_keeps_its_data(self, start_store):
        store = start_store(keeps=True)
        client = store.client()
        for number in range(100):
            client.set(f"key-{number}", number)

        store.restart(empty=False)

        assert client.dbsize() == 100

        store.restart(empty=True)

        assert client.dbsize() == 0

    def test_nothing_is_answered_while_it_is_paused(self, store):
        client = store.client(socket_timeout=0.2)
        client.set("here", "yes")

        with store.paused():
            with pytest.raises(redis.TimeoutError):
                client.get("here")
            with pytest.raises(redis.TimeoutError):
                store.client(socket_timeout=0.2).get("here")

        assert client.get("here") == b"yes"

    def test_closing_it_leaves_nothing(self, start_store):
        store = start_store()
        pid, folder = store.pid, store.folder

        store.close()

        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
        assert not folder.exists()


class TestRefusals:
    def test_a_replica_of_a_dead_primary_takes_no_writes(self, store):
        client = store.client()
        client.set("here", "yes")

        with store.read_only():
            with pytest.raises(redis.ReadOnlyError):
                client.set("here", "no")
            assert client.get("here") == b"yes"
        client.set("here", "again")

        assert client.get("here") == b"again"

    def test_a_primary_without_its_replicas_takes_no_writes(self, store):
        client = store.client()

        with store.without_replicas(), pytest.raises(redis.ResponseError, match="NOREPLICAS"):
            client.set("here", "yes")
        client.set("here", "yes")

    def test_without_memory_it_takes_no_writes(self, store):
        client = store.client()
        client.set("here", "yes")

        with store.out_of_memory():
            with pytest.raises(redis.OutOfMemoryError):
                client.setbit("bits", 1, 1)
            assert client.get("here") == b"yes"
        client.setbit("bits", 1, 1)

    def test_with_little_memory_it_takes_some_writes_and_drops_nothing(self, store):
        client = store.client()

        def fill():
            for number in range(1000):
                client.set(f"key-{number}", KILOBYTE)

        with store.out_of_memory(room=200_000), pytest.raises(redis.OutOfMemoryError):
            fill()

        assert 10 < client.dbsize() < 1000
        assert client.get("key-0") == KILOBYTE

    def test_with_little_memory_it_drops_keys_where_it_evicts(self, store):
        client = store.client()

        with store.evicting(room=200_000):
            for number in range(1000):
                client.set(f"key-{number}", KILOBYTE)

        assert 10 < client.dbsize() < 1000
        assert client.info("stats")["evicted_keys"] == 1000 - client.dbsize()
        assert client.get("key-999") == KILOBYTE

    def test_it_wants_its_password(self, start_store):
        store = start_store(password="open sesame")
        unknown = f"redis://:wrong@127.0.0.1:{store.port.number}/0"

        assert store.client().ping()
        assert store.client(store.unix_url()).ping()
        with pytest.raises(redis.AuthenticationError):
            store.client(unknown).ping()
        with pytest.raises(redis.AuthenticationError):
            store.client(f"redis://127.0.0.1:{store.port.number}/0").ping()

    def test_a_user_may_do_what_the_rules_say(self, start_store):
        users = (User("fleet", "to day/@", "~fleet:* &fleet:* +@all -@dangerous"),)
        store = start_store(password="open sesame", users=users)

        client = store.client(store.url("fleet"))

        client.set("fleet:here", "yes")
        assert store.client(store.unix_url("fleet")).get("fleet:here") == b"yes"
        with pytest.raises(redis.exceptions.NoPermissionError):
            client.set("other", "yes")
        with pytest.raises(redis.exceptions.NoPermissionError):
            client.publish("other", "yes")
        with pytest.raises(redis.exceptions.NoPermissionError):
            client.keys("*")

    def test_over_tls_it_has_a_certificate_that_only_its_authority_vouches_for(
        self, start_store, program, tmp_path
    ):
        if not program.has_tls():
            pytest.skip(f"{program.path} was built without TLS")
        store = start_store(tls=True)
        stranger = Certificates(tmp_path)
        address = store.url().partition("?")[0]

        assert store.client().ping()
        with pytest.raises(redis.ConnectionError, match="certificate") as failed:
            store.client(address).ping()
        assert isinstance(failed.value.__cause__ or failed.value.__context__, ssl.SSLError)
        with pytest.raises(redis.ConnectionError, match="certificate"):
            store.client(f"{address}?ssl_ca_certs={stranger.authority}").ping()
        with pytest.raises(redis.ConnectionError):
            store.client(f"redis://127.0.0.1:{store.port.number}/0").ping()


class TestSeveralServers:
    def test_a_cluster_of_one_node_serves_all_keys_and_refuses_keys_of_several_slots(
        self, start_store
    ):
        store = start_store(cluster=True)
        cluster = redis.RedisCluster.from_url(store.url())

        try:
            cluster.set("{fleet}:here", "yes")
            cluster.set("anything", "yes")
            assert cluster.mget("{fleet}:here", "{fleet}:there") == [b"yes", None]
        finally:
            cluster.close()
        with pytest.raises(redis.ResponseError, match="same slot"):
            store.client().mget("one", "another")

    def test_a_sentinel_makes_the_replica_the_primary(self, program, closing):
        pair = closing(WatchedPair(program))
        pair.start()
        pair.primary.client().set("here", "yes")
        assert pair.primary.client().wait(1, 5000) == 1
        asked = redis.Sentinel([("127.0.0.1", pair.sentinel.port.number)])
        closing(asked.sentinels[0])
        client = closing(asked.master_for("fleet"))
        assert client.get("here") == b"yes"

        pair.fail_over()

        assert client.get("here") == b"yes"
        client.set("here", "again")
        assert pair.replica.client().get("here") == b"again"


class TestCounting:
    def test_a_server_counts_commands_and_bytes_and_not_the_asking(self, store):
        client = store.client()
        client.ping()

        with store.counted() as spent:
            assert spent() == spent() == type(spent())(Counter(), 0, 0)
            client.set("here", "yes")
            with store.out_of_memory(), pytest.raises(redis.OutOfMemoryError):
                client.set("here", "no")
            client.get("here")
            with client.pipeline(transaction=False) as pipe:
                for number in range(10):
                    pipe.setbit("bits", number, 1)
                pipe.execute()
            counted = spent()

        its_own = {"config|get", "config|set", "client|setinfo", "hello", "auth"}
        named = {name: count for name, count in counted.commands.items() if count}
        asked = {name: count for name, count in named.items() if name not in its_own}
        assert asked == {"set": 2, "get": 1, "setbit": 10}
        assert counted.calls == sum(named.values())

    @pytest.mark.parametrize("password", [None, "open sesame"])
    def test_a_server_counts_bytes_as_they_are_on_the_wire(self, start_store, proxy, password):
        store = start_store(password=password)
        between = proxy(store)
        client = store.client(store.url(port=between.port))
        client.ping()

        received, sent = between.received, between.sent
        with store.counted() as spent:
            client.set("here", KILOBYTE)
            client.get("here")
            counted = spent()

        assert counted.received == between.received - received > 1024
        assert counted.sent == between.sent - sent > 1024
        assert between.connections == 1


class TestProxy:
    def test_a_severed_connection_breaks_and_there_is_no_new_one(self, store, proxy):
        between = proxy(store)
        client = store.client(store.url(port=between.port))
        client.set("here", "yes")

        with between.severed():
            for _ in range(2):
                with pytest.raises(redis.ConnectionError):
                    client.get("here")
            assert store.client().get("here") == b"yes"

        assert client.get("here") == b"yes"

    def test_nothing_goes_through_while_it_is_stalled(self, store, proxy):
        between = proxy(store)
        client = store.client(store.url(port=between.port), socket_timeout=0.2)
        client.set("here", "yes")

        with between.stalled():
            with pytest.raises(redis.TimeoutError):
                client.set("here", "no")
            assert store.client().get("here") == b"yes"

        assert client.ping()

    def test_a_connection_to_a_dead_server_is_broken_off(self, store, proxy):
        between = proxy(store)
        client = store.client(store.url(port=between.port))
        client.set("here", "yes")
        store.kill()

        with pytest.raises(redis.ConnectionError):
            client.get("here")
        store.restart(empty=True)

        assert client.get("here") is None


class TestHosts:
    @pytest.fixture
    def hosts(self, make_host):
        return [make_host(name, store=None) for name in NAMES]

    def test_each_has_a_name_a_folder_and_a_private_folder_of_its_own(self, hosts):
        script = (
            "import os, socket, tempfile; "
            "print(socket.gethostname(), os.getcwd(), tempfile.gettempdir())"
        )
        here = os.uname().nodename

        told = [host.output_of("-c", script).split() for host in hosts]

        assert [name for name, _, _ in told] == NAMES
        assert here not in NAMES
        assert os.uname().nodename == here
        assert [folder for _, folder, _ in told] == [str(host.folder) for host in hosts]
        assert len({temporary for _, _, temporary in told}) == 3
        assert len({host.private for host in hosts}) == 3

    def test_each_sees_its_own_sources_under_one_path(self, make_host, tmp_path):
        at = tmp_path / "srv"
        hosts = [make_host(name, store=None, at=at) for name in NAMES]
        for host in hosts:
            host.write("who.py", f"NAME = {host.name!r}")

        told = [
            host.output_of("-c", "import os, who; print(os.getcwd(), who.NAME)") for host in hosts
        ]

        assert told == [f"{at} {name}" for name in NAMES]
        assert len({host.private for host in hosts}) == 3
        assert not [*at.iterdir()]

    def test_each_knows_the_store_its_namespace_and_the_password(self, make_host):
        host = make_host("host-a", store="redis://127.0.0.1:1/0", namespace="shop")
        script = "import json, os; print(json.dumps({**os.environ}))"

        told = json.loads(host.output_of("-c", script))

        assert {name: value for name, value in told.items() if "COVERAGE" in name} == {
            "WSGI_COVERAGE_PASSWORD": "open sesame",
            "WSGI_COVERAGE_STORE": "redis://127.0.0.1:1/0",
            "WSGI_COVERAGE_STORE_NAMESPACE": "shop",
        }

    @pytest.mark.parametrize("alike", [False, True], ids=["own-paths", "one-path"])
    def test_each_shows_exactly_what_its_two_workers_ran(self, make_host, lines, tmp_path, alike):
        at = tmp_path / "srv" if alike else None
        hosts = [make_host(name, store=None, at=at) for name in NAMES]
        for number, host in enumerate(hosts):
            host.begin()
            host.run_lines(lines.paths[number : 60 : len(hosts)])

        for number, host in enumerate(hosts):
            report = host.server.refresh()
            assert {worker["host"] for worker in report["workers"]} == {host.name}
            assert {worker["pid"] for worker in report["workers"]} == host.workers
            assert host.server.exported() == lines.of(lines.paths[number : 60 : len(hosts)])

    def test_its_processes_are_known_and_no_other_hosts(self, hosts):
        one, other, _ = hosts
        one.begin()
        other.begin()

        assert {one.server.pid, *one.workers} <= one.processes()
        assert {other.server.pid, *other.workers} <= other.processes()
        assert not one.processes() & other.processes()

    def test_a_paused_host_does_nothing_and_goes_on_afterwards(self, hosts, lines):
        one, other, _ = hosts
        one.begin()
        other.begin()

        with one.paused() as pids:
            assert {one.server.pid, *one.workers} <= pids
            assert {process_state(pid) for pid in pids} == {"T"}
            assert other.server.get("/r0").status == 200

        assert one.server.get("/r0").status == 200

    def test_a_killed_host_leaves_its_memory_to_the_next_start(self, hosts, lines):
        host = hosts[0]
        host.begin()
        host.run_lines(lines.paths[:10])

        host.kill()

        assert not host.processes()
        host.begin()
        host.server.refresh()
        assert host.server.exported() == lines.of(lines.paths[:10])

    def test_a_host_that_ends_by_itself_leaves_no_process_and_nothing_in_memory(self, hosts, until):
        host = hosts[0]
        host.begin()
        host.server.get("/r0")

        assert host.server.end(signal.SIGTERM) == 0

        assert host.left_over() == []
        until(lambda: not host.processes(), "no process is left")

    def test_closing_it_leaves_no_process_and_nothing_in_memory(self, hosts):
        host = hosts[0]
        host.begin()
        host.server.get("/r0")
        private = host.private
        assert host.processes()
        assert private.exists()

        host.close()

        assert not host.processes()
        assert not private.exists()


def test_a_server_that_is_not_installed_is_a_reason_to_skip(monkeypatch):
    monkeypatch.setenv("PATH", "")

    with pytest.raises(pytest.skip.Exception, match="there is no other-server"):
        find("other")
