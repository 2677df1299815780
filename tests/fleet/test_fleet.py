"""Three hosts of two workers that meet in a real store: one report, whichever of them is asked."""

from __future__ import annotations

import io
import itertools
import json
import os
import pickle
import re
import subprocess
import sys
import threading
import time
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import redis
from coverage import CoverageData
from fleet_hosts import Host, Lines
from proxies import Proxy
from servers import DASHBOARD, NOT_FOR_CHILDREN, Answer, until
from store_servers import Certificates, StoreServer, User, WatchedPair

from wsgi_coverage.fleet.messages import AGENT, ANSWER
from wsgi_coverage.store.channel import call_all

NAMES = ["host-a", "host-b", "host-c"]
NUMBERED = list(enumerate(NAMES))
NAMESPACE = "shop"
JSON = {"Accept": "application/json"}
HTML = {"Accept": "text/html"}
NOTHING = json.dumps([[], []])
WAIT = 1  # seconds that a call waits for other hosts where one is silent
# How the store may fail, and a pattern of what GET /health says then.
FAULTS = {
    "killed": r"refused|reach",
    "paused": r"answer|time|slow",
    "read_only": r"read.only",
    "without_replicas": r"replica",
    "out_of_memory": r"memory",
}
AT_ONCE = 2.0  # seconds that a request of the application may take, whatever the store does


@dataclass
class Fleet:
    """Hosts that serve, what they serve, and the store that they meet in."""

    hosts: list[Host]
    lines: Lines
    store: StoreServer

    def run_lines(self, paths: list[str]) -> None:
        """Have every worker of every host run its share of these."""
        for number, host in enumerate(self.hosts):
            host.run_lines(paths[number :: len(self.hosts)])

    @property
    def workers(self) -> set[tuple[str, int]]:
        """All that serve requests."""
        return {(host.name, pid) for host in self.hosts for pid in host.workers}

    def begin(self) -> None:
        with ThreadPoolExecutor(len(self.hosts)) as pool:
            list(pool.map(Host.begin, self.hosts))


@pytest.fixture
def make_fleet(make_host, lines, tmp_path) -> Callable[..., Fleet]:
    """Have hosts serve, all with their sources under one path unless that is `None`."""

    def make(
        store: StoreServer, count: int = 3, /, *, at: str | None = "srv", **more: Any
    ) -> Fleet:
        more = {"store": store.url(), "namespace": NAMESPACE, **more}
        path = at and tmp_path / at
        fleet = Fleet([make_host(name, at=path, **more) for name in NAMES[:count]], lines, store)
        fleet.begin()
        return fleet

    return make


@pytest.fixture
def fleet(make_fleet, store) -> Fleet:
    made: Fleet = make_fleet(store)
    return made


@pytest.fixture
def near_and_far(make_host, store, proxy, lines, tmp_path) -> tuple[Host, Host, Proxy]:
    """Two hosts that have met, and what stands between the second and the store."""
    between: Proxy = proxy(store)
    urls = [store.url(), store.url(port=between.port)]
    near, far = (
        make_host(name, store=url, namespace=NAMESPACE, at=tmp_path / "srv")
        for name, url in zip(NAMES, urls, strict=False)
    )
    for host in (near, far):
        host.begin()
    refreshed(near, lines.of([]))
    return near, far, between


def named(answer: dict[str, Any]) -> dict[str, set[int]]:
    """The processes that an answer names, by host."""
    hosts: dict[str, set[int]] = {}
    for worker in answer["workers"]:
        hosts.setdefault(worker["host"], set()).add(worker["pid"])
    return hosts


def not_fresh(answer: dict[str, Any]) -> set[str]:
    """The hosts of which an answer says that they did not do what they were asked."""
    return {worker["host"] for worker in answer["workers"] if not worker["fresh"]}


def posted(host: Host, verb: str, **parameters: Any) -> dict[str, Any]:
    """POST, which has to succeed."""
    query = "&".join(f"{name}={value}" for name, value in parameters.items())
    answer = host.server.post(f"{DASHBOARD}/{verb}?{query}")
    assert answer.status == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def asked(host: Host, path: str) -> Any:
    """GET of JSON, which has to succeed."""
    answer = host.server.get(f"{DASHBOARD}/{path}", headers=JSON)
    assert answer.status == 200, answer.text
    return answer.json()


def executed(host: Host, of: str = "") -> dict[str, set[int]]:
    """Executed lines by file, of the published report or a snapshot, in which each file is once."""
    answer = host.server.get(f"{DASHBOARD}{of}/export?format=json")
    assert answer.status == 200, answer.text
    files = [(Path(name).name, each) for name, each in answer.json()["files"].items()]
    assert max(Counter(name for name, _ in files).values()) == 1, files
    return {name: {*each["executed_lines"]} for name, each in files}


def problems(host: Host) -> str:
    """What GET /health says is wrong, and what to do about it."""
    health = asked(host, "health")
    told = json.dumps([health["problems"], health["diagnoses"]])
    assert health["status"] == "degraded" or told == NOTHING
    assert all(each["remedy"] for each in health["diagnoses"])
    return told


def refreshed(host: Host, expected: dict[str, set[int]]) -> None:
    """Refresh until all hosts take part, which has to give exactly these lines."""

    def is_complete() -> bool:
        return bool(posted(host, "refresh", wait=WAIT)["complete"])

    until(is_complete, "all hosts take part in a refresh")
    assert executed(host) == expected


class Load:
    """Requests to each host, all the time: every path is asked for once, on one of them."""

    def __init__(self, fleet: Fleet, paths: list[str]) -> None:
        self.answers: list[Answer] = []
        self.slowest = 0.0  # seconds
        self._paths = iter(paths)
        self._lock = threading.Lock()  # guards the three above
        self._pool = ThreadPoolExecutor(len(fleet.hosts))
        self._running = [self._pool.submit(self._ask, host) for host in fleet.hosts]

    def _ask(self, host: Host) -> None:
        while True:
            with self._lock:
                path = next(self._paths, None)
            if path is None:
                return
            began = time.monotonic()
            answer = host.server.get(path)
            with self._lock:
                self.slowest = max(self.slowest, time.monotonic() - began)
                self.answers.append(answer)

    def wait_for(self, count: int) -> None:
        """Wait until so many answers are there."""
        until(lambda: len(self.answers) >= count, f"{count} requests are answered")

    def finish(self) -> None:
        """Wait for the last answer: none failed, and none waited for the store."""
        for each in self._running:
            each.result()
        self._pool.shutdown()
        assert {answer.status for answer in self.answers} == {200}
        assert self.slowest < AT_ONCE


class TestRefresh:
    @pytest.mark.parametrize(
        ("at", "first"),
        [
            *(pytest.param("srv", number, id=f"one-path-{name}") for number, name in NUMBERED),
            pytest.param(None, 0, id="own-paths-host-a"),
        ],
    )
    def test_one_refresh_on_any_host_shows_exactly_what_all_ran(
        self, make_fleet, store, lines, at, first
    ):
        fleet = make_fleet(store, at=at)
        fleet.run_lines(lines.paths)
        host = fleet.hosts[first]

        report = posted(host, "refresh")

        assert report["complete"]
        assert {(each["host"], each["pid"]) for each in report["workers"]} >= fleet.workers
        assert named(report).keys() == {*NAMES}
        assert report["summary"]["files"] == lines.FILES
        assert executed(host) == lines.of(lines.paths)

    def test_what_nobody_ran_is_missing_on_every_host(self, fleet, lines):
        left_out = {*lines.paths[::7]}
        run = [path for path in lines.paths if path not in left_out]
        fleet.run_lines(run)

        posted(fleet.hosts[1], "refresh")

        assert executed(fleet.hosts[1]) == lines.of(run)

    def test_a_refresh_shows_what_ran_a_moment_before_again_and_again(self, fleet, lines):
        for number, path in enumerate(lines.paths[:30]):
            fleet.hosts[number % 3].server.get(path)

            posted(fleet.hosts[(number + 1) % 3], "refresh")

            assert executed(fleet.hosts[(number + 1) % 3]) == lines.of(lines.paths[: number + 1])

    def test_refreshes_on_all_hosts_at_once_show_the_same(self, fleet, lines):
        fleet.run_lines(lines.paths[:60])

        def refresh(host: Host) -> int:
            return int(host.server.post(f"{DASHBOARD}/refresh").status)

        with ThreadPoolExecutor(3) as pool:
            statuses = {*pool.map(refresh, fleet.hosts)}

        assert 200 in statuses <= {200, 409}
        for host in fleet.hosts:
            assert executed(host) == lines.of(lines.paths[:60])

    def test_what_a_host_ran_is_there_when_the_host_is_gone(self, fleet, lines):
        gone, left, _ = fleet.hosts
        gone.run_lines(lines.paths[:30])
        posted(left, "refresh")
        gone.kill()
        left.run_lines(lines.paths[30:60])

        report = posted(left, "refresh", wait=WAIT)

        assert executed(left) == lines.of(lines.paths[:60])
        assert gone.name in not_fresh(report) or gone.name not in named(report)

    def test_a_host_that_was_not_heard_lately_is_named_until_it_is_back(self, fleet, lines):
        client, prefix = fleet.store.client(), f"wsgi-coverage:{{{NAMESPACE}}}:"
        key, standing = f"{prefix}hosts", f"{prefix}standing"
        gone, left, _ = fleet.hosts
        gone.run_lines(lines.paths[:30])
        refreshed(left, lines.of(lines.paths[:30]))
        gone.kill()
        for identity, raw in client.hgetall(key).items():
            about = json.loads(raw)[1]
            if about["host"] == gone.name:
                client.hset(key, identity, json.dumps([int(time.time()) - 60, about]))

        report = posted(left, "refresh")

        assert not report["complete"]
        assert not_fresh(report) == {gone.name}
        assert "has not said that it ends" in json.dumps(report["workers"])
        assert client.hget(standing, "departed") == b"0"
        gone.begin()
        gone.run_lines(lines.paths[30:40])
        refreshed(left, lines.of(lines.paths[:40]))
        assert client.hget(standing, "departed") == b"0"

    def test_a_host_that_ends_by_itself_sends_what_it_ran_last(self, fleet, lines):
        gone, left, _ = fleet.hosts
        gone.run_lines(lines.paths[:30])
        assert gone.server.end() == 0
        until(lambda: not gone.processes(), "its last process has ended")

        refreshed(left, lines.of(lines.paths[:30]))

    def test_answers_that_nobody_has_read_are_removed(self, fleet):
        host = fleet.hosts[0]
        posted(host, "refresh")
        old, new = (host.private / f"1-{number}{ANSWER}" for number in range(2))
        for path in (old, new):
            path.write_bytes(b"of a worker that was killed")
        os.utime(old, (0, 0))

        until(lambda: not old.exists(), "the agent has removed it")
        assert new.exists()
        host.server.end()
        until(lambda: not host.private.exists(), "nothing of the host is left")

    def test_a_host_that_joins_later_is_in_the_report(self, make_fleet, make_host, store, lines):
        fleet = make_fleet(store, 2)
        fleet.run_lines(lines.paths[:30])
        posted(fleet.hosts[0], "refresh")
        at = fleet.hosts[0].at
        joins = make_host(NAMES[2], at=at, store=store.url(), namespace=NAMESPACE)
        joins.begin()
        joins.run_lines(lines.paths[30:60])

        report = posted(fleet.hosts[0], "refresh")

        assert report["complete"]
        assert named(report).keys() == {*NAMES}
        assert executed(fleet.hosts[0]) == lines.of(lines.paths[:60])

    def test_two_namespaces_of_one_store_know_nothing_of_each_other(self, make_host, store, lines):
        one, other = (
            make_host(name, store=store.url(), namespace=namespace)
            for name, namespace in zip(NAMES, ("shop", "shop2"), strict=False)
        )
        for number, host in enumerate((one, other)):
            host.begin()
            host.run_lines(lines.paths[number * 10 :][:10])

        for number, host in enumerate((one, other)):
            assert named(posted(host, "refresh")).keys() == {host.name}
            assert executed(host) == lines.of(lines.paths[number * 10 :][:10])

    def test_lines_of_another_version_of_a_source_are_not_mixed_with_a_hosts_own(
        self, make_host, store, lines, tmp_path
    ):
        at = tmp_path / "srv"
        old, new = (
            make_host(name, store=store.url(), namespace=NAMESPACE, at=at) for name in NAMES[:2]
        )
        name = "lines_0.py"
        new.write(name, f"# moved by one line\n{lines.sources[name]}")
        for host in (old, new):
            host.begin()
        old.run_lines([lines.paths[0]])
        new.run_lines([lines.paths[6]])  # of the same file

        for host in (old, new):
            until(lambda host=host: posted(host, "refresh")["complete"], "both hosts take part")
            if host is old:
                assert executed(old) == lines.of([lines.paths[0]])

        expected = lines.of([lines.paths[6]])
        expected[name] = {line + 1 for line in expected[name]}
        assert executed(new) == expected


class TestReports:
    """What one host has made is served by every other one."""

    @pytest.mark.parametrize(
        "at", [pytest.param("srv", id="one-path"), pytest.param(None, id="own-paths")]
    )
    def test_every_host_serves_the_report_that_one_has_published(
        self, make_fleet, store, lines, at
    ):
        fleet = make_fleet(store, at=at)
        fleet.run_lines(lines.paths[:60])
        first, second, third = fleet.hosts

        report = posted(second, "refresh")

        assert report["warnings"] == []
        text = second.server.get(f"{DASHBOARD}/report").text
        for host in (first, third):
            assert host.server.get(f"{DASHBOARD}/report").text == text
            assert published_on(host) == report["refreshed_at"]
            assert named_files(host) == named_files(second)
            assert page(host, "") == page(second, "")
            assert page(host, "lines_0_py.html") == page(second, "lines_0_py.html")
            assert executed(host) == lines.of(lines.paths[:60])
            assert data_of(host) == data_of(second)
            assert asked(host, "health")["report"]["outdated"] == []

    def test_the_dashboard_says_that_a_reset_is_for_all_hosts(self, fleet):
        answer = fleet.hosts[0].server.request("GET", f"{DASHBOARD}/", headers=HTML)

        assert "is forgotten, in every worker of every host of the fleet, and" in answer.text

    def test_the_last_one_is_served_whoever_made_it(self, fleet, lines):
        for number in range(6):
            fleet.hosts[number % 3].server.get(lines.paths[number])
            report = posted(fleet.hosts[(number + 1) % 3], "refresh")

            for host in fleet.hosts:
                assert published_on(host) == report["refreshed_at"]

    def test_a_host_that_joins_later_serves_it_and_lists_the_snapshots(
        self, make_fleet, make_host, store, lines
    ):
        fleet = make_fleet(store, 2)
        fleet.run_lines(lines.paths[:30])
        report = posted(fleet.hosts[0], "refresh")
        kept = posted(fleet.hosts[1], "snapshot", label="before")
        joins = make_host(NAMES[2], at=fleet.hosts[0].at, store=store.url(), namespace=NAMESPACE)
        joins.begin()

        until(lambda: published_on(joins) == report["refreshed_at"], "it has the report")
        until(lambda: listed(joins) == [kept["id"]], "it lists the snapshot")
        assert executed(joins) == lines.of(lines.paths[:30])
        assert executed(joins, f"/snapshots/{kept['id']}") == lines.of(lines.paths[:30])

    def test_a_reset_withdraws_it_everywhere(self, fleet, lines):
        fleet.run_lines(lines.paths[:6])
        posted(fleet.hosts[0], "refresh")

        posted(fleet.hosts[1], "reset")

        for host in fleet.hosts:
            assert host.server.get(f"{DASHBOARD}/report").status == 404
        assert not fleet.store.client().keys("*:report:*")

    def test_a_snapshot_is_listed_and_served_and_deleted_by_all(self, fleet, lines):
        first, second, third = fleet.hosts
        fleet.run_lines(lines.paths[:30])
        kept = posted(first, "snapshot", label="login", reset=1)
        fleet.run_lines(lines.paths[30:60])
        later = posted(second, "snapshot")

        for host in fleet.hosts:
            assert listed(host) == [later["id"], kept["id"]]
            assert executed(host, f"/snapshots/{kept['id']}") == lines.of(lines.paths[:30])
            assert page(host, "", f"/snapshots/{kept['id']}")
        found = asked(third, f"diff?a={kept['id']}&b={later['id']}")
        assert found["a"]["label"] == "login"
        of = f"{kept['id']}&merge={later['id']}"
        made = posted(third, "snapshots", merge=of, wait=WAIT)

        for host in fleet.hosts:
            assert asked(host, "snapshots")[0] == made
            assert executed(host, f"/snapshots/{made['id']}") == lines.of(lines.paths[:60])
        posted(first, f"snapshots/{made['id']}/delete")

        path = f"{DASHBOARD}/snapshots/{kept['id']}"
        deleted = third.server.request("DELETE", path, headers=JSON)
        assert deleted.json() == {"status": "deleted", "id": kept["id"]}
        for host in fleet.hosts:
            assert listed(host) == [later["id"]]
            assert host.server.get(f"{path}/report").status == 404
        assert len(fleet.store.client().keys("*:report:*")) == 1

    def test_an_agent_refuses_a_word_that_it_does_not_know(self, fleet, lines):
        """A worker of another release may be on the same host."""
        first = fleet.hosts[0]
        fleet.run_lines(lines.paths[:6])
        kept = posted(first, "snapshot")
        call = {"verb": "compact-snapshot", "wait": 0.0, "identity": kept["id"]}

        [answer] = call_all(first.private, call, wait=WAIT, suffix=AGENT)

        refused = pickle.loads(Path(answer["path"]).read_bytes()).refused
        assert "'compact-snapshot' is not a valid Verb" in refused
        assert listed(first) == [kept["id"]]

    def test_what_is_made_while_the_store_is_away_is_sent_when_it_is_back(
        self, make_fleet, start_store, lines
    ):
        store = start_store(keeps=True)
        fleet = make_fleet(store, 2)
        one, other = fleet.hosts
        one.run_lines(lines.paths[:6])
        posted(one, "refresh")
        store.kill()
        until(lambda: asked(one, "health")["fleet"]["state"] == "away", "it is noticed")
        kept = posted(one, "snapshot", wait=WAIT)
        assert not kept["complete"]
        assert "only what this host has executed is counted" in json.dumps(kept["warnings"])
        path = f"{DASHBOARD}/snapshots/{kept['id']}"

        refused = one.server.request("DELETE", path, headers=JSON)

        assert (refused.status, refused.json()["error"]) == (503, "store-unavailable")
        assert listed(one) == [kept["id"]]
        alone = posted(one, "refresh", wait=WAIT)
        assert published_on(one) == alone["refreshed_at"]
        store.start()
        until(lambda: listed(other) == [kept["id"]], "the other host lists it")
        until(lambda: published_on(one) == published_on(other), "all serve the same again")
        assert executed(other, f"/snapshots/{kept['id']}") == lines.of(lines.paths[:6])

    def test_a_store_that_was_restarted_empty_has_them_again(self, make_fleet, store, lines):
        fleet = make_fleet(store, 2)
        one, other = fleet.hosts
        one.run_lines(lines.paths[:6])
        report = posted(one, "refresh")
        kept = posted(one, "snapshot")
        assert listed(other) == [kept["id"]]

        store.restart(empty=True)

        client = store.client()
        until(lambda: len(client.keys("*:report:*")) == 2, "both are in the store again")
        until(lambda: listed(other) == [kept["id"]], "the other host lists it again")
        assert listed(one) == [kept["id"]]
        assert published_on(one) == published_on(other) == report["refreshed_at"]
        assert executed(other, f"/snapshots/{kept['id']}") == lines.of(lines.paths[:6])

    def test_a_published_report_that_has_vanished_is_sent_again_by_who_has_it(
        self, make_fleet, make_host, store, lines
    ):
        fleet = make_fleet(store, 2)
        fleet.hosts[0].run_lines(lines.paths[:6])
        report = posted(fleet.hosts[0], "refresh")
        client = store.client()
        assert client.delete(*client.keys("*:report:*")) == 1

        joins = make_host(NAMES[2], at=fleet.hosts[0].at, store=store.url(), namespace=NAMESPACE)
        joins.begin()
        joins.server.get(lines.paths[0])

        until(lambda: client.keys("*:report:*"), "it is in the store again")
        until(
            lambda: joins.server.get(f"{DASHBOARD}/files", headers=JSON).status == 200,
            "the new host serves it",
        )
        assert published_on(joins) == report["refreshed_at"]

    def test_a_snapshot_whose_data_has_vanished_is_said_to(self, fleet, lines):
        first, second, _ = fleet.hosts
        first.run_lines(lines.paths[:6])
        kept = posted(first, "snapshot")
        client = fleet.store.client()
        first.kill()
        client.delete(*client.keys("*:report:*"))

        path = f"{DASHBOARD}/snapshots/{kept['id']}/files"
        answer = second.server.get(path, headers=JSON)

        assert (answer.status, answer.json()["error"]) == (404, "unknown-snapshot")
        assert "vanished" in answer.json()["message"]

    @pytest.mark.parametrize("sent", [False, True])
    def test_a_host_without_the_sources_has_the_figures_and_the_text_if_it_may_be_sent(
        self, make_host, store, lines, tmp_path, sent
    ):
        env = {"WSGI_COVERAGE_STORE_SOURCES": str(int(sent))}
        has, lacks = (
            make_host(name, store=store.url(), namespace=NAMESPACE, at=tmp_path / "srv", env=env)
            for name in NAMES[:2]
        )
        lacks.write("lines_0.py", f"# another version\n{lines.sources['lines_0.py']}")
        has.begin()
        has.run_lines(lines.paths[:6])
        posted(has, "refresh")
        lacks.begin()

        until(lambda: published_on(lacks) == published_on(has), "it has the report")

        assert named_files(lacks) == named_files(has)
        assert asked(lacks, "functions") == asked(has, "functions")
        answer = lacks.server.get(f"{DASHBOARD}/html/lines_0_py.html", headers=JSON)
        if sent:
            assert answer.text == page(has, "lines_0_py.html")
            assert executed(lacks) == executed(has)
        else:
            assert (answer.status, answer.json()["error"]) == (409, "no-source")
            assert "store_sources" in answer.json()["message"]
            assert "another version" not in page(lacks, "")

    def test_the_dashboard_names_the_hosts(self, make_fleet, store, lines):
        fleet = make_fleet(store, 2, env={"WSGI_COVERAGE_RELEASE": "2026.11.3"})
        posted(fleet.hosts[0], "refresh")

        def shown(path: str) -> str:
            answer = fleet.hosts[0].server.get(
                f"{DASHBOARD}/{path}", headers={"Accept": "text/html"}
            )
            assert answer.status == 200, answer.text
            return " ".join(re.sub(r"<[^>]*>", " ", answer.text).split())

        assert "live on this host; the report has 4 of 2 hosts" in shown("")
        health = shown("health")
        assert f"namespace {NAMESPACE} State connected since" in health
        for host in fleet.hosts:
            assert f"{host.name} 2026.11.3 2 memory measuring" in health
        assert "4 processes of this application on 2 hosts." in shown("workers")

    def test_source_text_is_in_the_store_only_if_it_may_be(self, make_fleet, store, lines):
        fleet = make_fleet(store, 1)
        posted(fleet.hosts[0], "refresh")
        client = store.client()
        [key] = client.keys("*:report:*")

        with zipfile.ZipFile(io.BytesIO(client.get(key))) as bundle:
            texts = [zipped(bundle.read(name)) for name in bundle.namelist()]

        assert texts
        assert not any(b"return '/r0'" in text for text in texts)


def zipped(content: bytes) -> bytes:
    """A file of a report, unpacked where it is packed itself."""
    with suppress(zlib.error):
        return zlib.decompress(content[16:])
    return content


def named_files(host: Host) -> list[dict[str, Any]]:
    """GET /files, with each file by its name alone."""
    return [{**each, "file": Path(each["file"]).name} for each in asked(host, "files")]


def page(host: Host, name: str, of: str = "") -> str:
    """A page of coverage.py's HTML report."""
    answer = host.server.get(f"{DASHBOARD}{of}/html/{name}")
    assert answer.status == 200, answer.text
    return str(answer.text)


def data_of(host: Host) -> dict[str, set[int]]:
    """The lines in the combined data file of the published report."""
    answer = host.server.get(f"{DASHBOARD}/export?format=coverage")
    path = host.folder / "exported.data"
    path.write_bytes(answer.body)
    data = CoverageData(str(path))
    data.read()
    found = {Path(name).name: {*(data.lines(name) or ())} for name in data.measured_files()}
    assert {Path(name).parent for name in data.measured_files()} == {host.at}
    data.close()
    return found


def published_on(host: Host) -> str | None:
    """When the report that a host serves was made; None where it serves none."""
    report = asked(host, "health")["report"]
    return report and str(report["refreshed_at"])


def listed(host: Host) -> list[str]:
    """The ids of the snapshots that a host lists, the newest first."""
    return [each["id"] for each in asked(host, "snapshots")]


class TestReset:
    @pytest.mark.parametrize("asking", range(3), ids=NAMES)
    def test_a_reset_on_one_host_forgets_what_all_ran_before_and_nothing_of_afterwards(
        self, fleet, lines, asking
    ):
        fleet.run_lines(lines.paths[:60])

        answer = posted(fleet.hosts[asking], "reset")

        assert answer["complete"]
        assert {(each["host"], each["pid"]) for each in answer["workers"]} >= fleet.workers
        for host in fleet.hosts:
            assert host.server.get(f"{DASHBOARD}/report").status == 404
        fleet.run_lines(lines.paths[30:90])  # some of them once more
        for host in fleet.hosts:
            posted(host, "refresh")
            assert executed(host) == lines.of(lines.paths[30:90])

    def test_round_by_round_each_reset_leaves_what_its_round_ran(self, fleet, lines):
        for number in range(6):
            hit = lines.paths[12 * (number % 2) :][:12]
            posted(fleet.hosts[number % 3], "reset")
            fleet.run_lines(hit)

            posted(fleet.hosts[(number + 1) % 3], "refresh")

            assert executed(fleet.hosts[(number + 1) % 3]) == lines.of(hit)

    def test_what_a_host_ran_that_no_reset_reached_is_never_counted(self, near_and_far, lines):
        near, far, between = near_and_far

        with between.severed():
            far.run_lines(lines.paths[:10])
            near.run_lines(lines.paths[10:20])
            answer = posted(near, "reset", wait=WAIT)
            assert not answer["complete"]
            assert not_fresh(answer) == {far.name}
            near.run_lines(lines.paths[20:30])

        until(lambda: posted(near, "refresh", wait=WAIT)["complete"], "the host has heard of it")
        assert executed(near) == lines.of(lines.paths[20:30])
        far.run_lines(lines.paths[:5] + lines.paths[30:40])
        for host in (near, far):
            refreshed(host, lines.of(lines.paths[:5] + lines.paths[20:40]))

    def test_a_host_that_stands_still_in_a_reset_is_named_and_counts_from_then_on(
        self, fleet, lines
    ):
        stands, other, _ = fleet.hosts
        fleet.run_lines(lines.paths[:60])

        with stands.paused():
            answer = posted(other, "reset", wait=WAIT)

        assert not answer["complete"]
        assert not_fresh(answer) == {stands.name}
        until(lambda: posted(other, "refresh", wait=WAIT)["complete"], "it has heard of the reset")
        assert executed(other) == lines.of([])
        fleet.run_lines(lines.paths[:12])
        refreshed(other, lines.of(lines.paths[:12]))


class TestOtherVerbs:
    def test_a_pause_on_one_host_stops_all_until_a_resume_on_another(self, fleet, lines):
        one, other, third = fleet.hosts
        fleet.run_lines(lines.paths[:12])

        paused = posted(one, "pause")
        fleet.run_lines(lines.paths[12:24])
        resumed = posted(other, "resume")
        fleet.run_lines(lines.paths[24:36])

        assert paused["complete"]
        assert named(paused).keys() == {*NAMES}
        assert {worker["state"] for worker in paused["workers"]} == {"paused"}
        assert resumed["complete"]
        assert {worker["state"] for worker in resumed["workers"]} == {"measuring"}
        posted(third, "refresh")
        assert executed(third) == lines.of(lines.paths[:12] + lines.paths[24:36])

    def test_each_test_has_the_lines_that_it_ran_on_all_hosts_and_no_others(self, fleet, lines):
        found = {}
        posted(fleet.hosts[0], "snapshot", reset=1, keep=0)
        for number in range(6):
            hit = lines.paths[12 * (number % 3) :][:12]  # each comes round again
            fleet.run_lines(hit)

            host = fleet.hosts[number % 3]
            answer = posted(host, "snapshot", reset=1, keep=0, detail="lines", label=number)

            assert answer["complete"]
            found[number] = at_runtime(answer), lines.of(hit)

        for ran, expected in found.values():
            assert ran == {name: expected[name] - lines.load[name] for name in ran}

    def test_health_of_any_host_names_the_workers_of_all(self, fleet):
        for host in fleet.hosts:
            workers = asked(host, "health")["workers"]
            assert {(each["host"], each["pid"]) for each in workers} >= fleet.workers


def at_runtime(answer: dict[str, Any]) -> dict[str, set[int]]:
    """The lines that ran at runtime, by file, as the detail of a collection tells."""
    return {
        Path(name).name: {int(line) for line, when in each["contexts"].items() if "runtime" in when}
        for name, each in answer["detail"]["files"].items()
    }


class TestSilentHosts:
    def test_a_host_that_stands_still_is_named_and_the_answer_is_not_complete(self, fleet, lines):
        stands, other, _ = fleet.hosts
        fleet.run_lines(lines.paths[:30])
        posted(other, "refresh")
        stands.run_lines(lines.paths[30:40])

        with stands.paused():
            began = time.monotonic()
            report = posted(other, "refresh", wait=WAIT)
            took = time.monotonic() - began
            found = executed(other)

        assert not report["complete"]
        assert not_fresh(report) == {stands.name}
        assert {each["state"] for each in report["workers"] if each["host"] == stands.name} == {
            "silent"
        }
        assert took < 3 * WAIT
        for name, ran in lines.of(lines.paths[:30]).items():
            assert ran <= found[name] <= lines.of(lines.paths[:40])[name]
        refreshed(other, lines.of(lines.paths[:40]))

    def test_a_host_that_cannot_reach_the_store_is_named_and_catches_up(self, near_and_far, lines):
        near, far, between = near_and_far

        for cut_off in (between.severed, between.stalled):
            with cut_off():
                far.run_lines(lines.paths[:10])
                report = posted(near, "refresh", wait=WAIT)
                assert not report["complete"]
                assert not_fresh(report) == {far.name}
            refreshed(near, lines.of(lines.paths[:10]))


class TestStoreThatFails:
    @pytest.mark.parametrize("empty", [False, True], ids=["with-its-data", "empty"])
    def test_killed_and_restarted_under_load_it_loses_nothing(
        self, make_fleet, start_store, lines, empty
    ):
        store = start_store(keeps=True)
        fleet = make_fleet(store)
        load = Load(fleet, lines.paths)

        for count in (150, 300, 450):
            load.wait_for(count - 75)
            store.kill()
            load.wait_for(count)
            store.restart(empty=empty)
        load.finish()

        refreshed(fleet.hosts[0], lines.of(lines.paths))

    def test_down_at_the_start_the_application_serves_and_health_names_it(
        self, make_fleet, program, closing, lines
    ):
        store = closing(StoreServer(program, password="secret-of-the-store"))
        fleet = make_fleet(store)

        for host in fleet.hosts:
            until(lambda host=host: problems(host) != NOTHING, "it is noticed")
            assert re.search(rf"127\.0\.0\.1:{store.port.number}", problems(host))
            assert "secret-of-the-store" not in host.server.get(f"{DASHBOARD}/health").text
            assert "secret-of-the-store" not in host.server.output
        load = Load(fleet, lines.paths[:60])
        load.finish()

        store.start()

        until(lambda: all(problems(each) == NOTHING for each in fleet.hosts), "it is noticed")
        refreshed(fleet.hosts[2], lines.of(lines.paths[:60]))

    @pytest.mark.parametrize("fault", FAULTS)
    def test_the_application_goes_on_health_says_what_is_wrong_and_nothing_is_lost(
        self, make_fleet, start_store, lines, fault
    ):
        store = start_store(keeps=True)
        fleet = make_fleet(store)
        fleet.run_lines(lines.paths[:30])
        posted(fleet.hosts[0], "refresh")

        with broken(store, fault):
            Load(fleet, lines.paths[30:90]).finish()
            for host in fleet.hosts:
                until(
                    lambda host=host: re.search(FAULTS[fault], problems(host), re.I),
                    "health says what is wrong",
                )
            Load(fleet, lines.paths[90:150]).finish()

        until(lambda: all(problems(each) == NOTHING for each in fleet.hosts), "all is well")
        refreshed(fleet.hosts[1], lines.of(lines.paths[:150]))

    def test_where_it_evicts_that_is_told_and_no_line_counts_as_unused_for_it(
        self, make_fleet, store, lines
    ):
        fleet = make_fleet(store)
        fleet.run_lines(lines.paths[:60])
        posted(fleet.hosts[0], "refresh")
        client = store.client()
        filling = itertools.count()

        with store.evicting(room=100_000):
            while client.info("stats")["evicted_keys"] < 1000:
                with suppress(redis.OutOfMemoryError):  # what it could evict has gone
                    client.set(f"another-program:{next(filling)}", b"x" * 1024)
            for host in fleet.hosts:
                until(
                    lambda host=host: re.search("evict|lost|vanish", problems(host), re.I),
                    "it is noticed that keys are gone",
                )
        for key in client.scan_iter("another-program:*"):
            client.delete(key)

        refreshed(fleet.hosts[0], lines.of(lines.paths[:60]))

    def test_what_a_host_ran_that_is_gone_is_told_as_lost_where_the_store_begins_empty(
        self, make_fleet, store, lines
    ):
        fleet = make_fleet(store)
        gone, left, _ = fleet.hosts
        fleet.run_lines(lines.paths[:60])
        posted(left, "refresh")
        gone.kill()

        store.restart(empty=True)

        until(
            lambda: re.search(
                "lost|vanish", json.dumps(posted(left, "refresh", wait=WAIT)["warnings"]), re.I
            ),
            "the report says that data is lost",
        )
        kept = [path for path in lines.paths[:60] if path not in lines.paths[:60:3]]
        found = executed(left)
        assert all(found[name] >= ran for name, ran in lines.of(kept).items())

    def test_a_failover_loses_nothing(self, program, closing, make_host, lines, tmp_path):
        pair = closing(WatchedPair(program))
        pair.start()
        # How a Sentinel is named is the feature's to say: a proxy stands in for its clients here.
        between = closing(Proxy(pair.primary.port.number))
        url = pair.primary.url(port=between.port)
        hosts = [
            make_host(name, store=url, namespace=NAMESPACE, at=tmp_path / "srv") for name in NAMES
        ]
        fleet = Fleet(hosts, lines, pair.primary)
        fleet.begin()
        fleet.run_lines(lines.paths[:60])
        posted(hosts[0], "refresh")

        with between.severed():
            pair.fail_over()
            between.behind = pair.replica.port.number
            fleet.run_lines(lines.paths[60:90])

        refreshed(hosts[1], lines.of(lines.paths[:90]))

    def test_with_a_wrong_password_the_application_serves_and_health_says_so(
        self, make_fleet, start_store, lines
    ):
        store = start_store(password="open sesame")
        url = f"redis://:wrong-secret@127.0.0.1:{store.port.number}/0"
        fleet = make_fleet(store, 1, store=url)
        Load(fleet, lines.paths[:30]).finish()

        (host,) = fleet.hosts
        until(lambda: re.search("password|credential|auth", problems(host), re.I), "it is told")
        assert "wrong-secret" not in host.server.get(f"{DASHBOARD}/health").text
        assert "wrong-secret" not in host.server.output

    def test_with_a_wrong_certificate_the_application_serves_and_health_says_so(
        self, make_fleet, start_store, program, lines, tmp_path
    ):
        if not program.has_tls():
            pytest.skip(f"{program.path} was built without TLS")
        store = start_store(tls=True)
        (tmp_path / "stranger").mkdir()
        stranger = Certificates(tmp_path / "stranger").authority
        address = store.url().partition("?")[0]
        fleet = make_fleet(store, 1, store=f"{address}?ssl_ca_certs={stranger}")
        Load(fleet, lines.paths[:30]).finish()

        until(lambda: re.search("certificate", problems(fleet.hosts[0]), re.I), "it is told")

    def test_another_programs_keys_are_left_alone_and_health_says_so(
        self, make_fleet, store, lines
    ):
        fleet = make_fleet(store, 1)
        fleet.run_lines(lines.paths[:6])
        posted(fleet.hosts[0], "refresh")
        fleet.hosts[0].kill()
        client = store.client()
        keys = client.keys(f"*{NAMESPACE}*")
        assert keys
        client.flushall()
        client.mset(dict.fromkeys(keys, b"another program's"))

        fleet.hosts[0].begin()
        Load(fleet, lines.paths[:30]).finish()

        until(lambda: NAMESPACE in problems(fleet.hosts[0]), "it is told whose namespace it is")
        assert {*client.keys()} == {*keys}
        assert {*client.mget(keys)} == {b"another program's"}

    def test_what_nobody_of_us_would_write_stops_no_host(self, fleet, lines):
        client = fleet.store.client()
        key = f"wsgi-coverage:{{{NAMESPACE}}}:%s".__mod__
        seconds, _ = client.time()
        fleet.run_lines(lines.paths[:6])

        client.hset(key("hosts"), "x", json.dumps([seconds + 1_000, {"host": "x"}]))
        client.hset(key("hosts"), b"\xff.1.00000000", json.dumps([1, {}]))
        client.hset(key("snapshots"), b"\xff", b"\xff")
        client.hincrby(key("standing"), "changes", 1)
        for call in (
            "[" * 100_000,
            '{"verb": "status", "wait": 1}',
            '{"verb": "status", "wait": null, "id": "1"}',
            '{"verb": "status", "wait": 1e999, "id": "1"}',
        ):
            client.publish(key("calls"), call)

        for host in fleet.hosts:
            assert posted(host, "refresh")["complete"]
            assert executed(host) == lines.of(lines.paths[:6])


@contextmanager
def broken(store: StoreServer, fault: str) -> Iterator[None]:
    """Have a store that keeps its data fail in this way until the end."""
    if fault == "killed":
        store.kill()
        yield
        store.restart(empty=False)
    else:
        with getattr(store, fault)():
            yield


class TestWaysToTheStore:
    @pytest.mark.parametrize("way", ["unix", "password", "user", "tls"])
    def test_two_hosts_are_one_report(self, make_fleet, start_store, program, lines, way):
        if way == "tls" and not program.has_tls():
            pytest.skip(f"{program.path} was built without TLS")
        more = {
            "unix": {},
            "password": {"password": "open sesame/@"},
            "user": {"users": (User("fleet", "to/day", "~* &* +@all -@admin"),)},
            "tls": {"tls": True, "password": "open sesame"},
        }[way]
        store = start_store(**more)
        url = store.unix_url() if way == "unix" else store.url("fleet" if way == "user" else None)
        fleet = make_fleet(store, 2, store=url)
        fleet.run_lines(lines.paths[:20])

        report = posted(fleet.hosts[0], "refresh")

        assert report["complete"]
        assert named(report).keys() == {*NAMES[:2]}
        assert executed(fleet.hosts[0]) == lines.of(lines.paths[:20])


class TestSettings:
    MAKE = """
import sys
from wsgi_coverage import CoverageMiddleware, SettingsError
try:
    CoverageMiddleware(lambda environ, start_response: [], debug=True)
except SettingsError as error:
    print(error)
    sys.exit(3)
"""

    @pytest.fixture
    def refusal(self, tmp_path) -> Callable[..., str]:
        """What is said of a store that is refused."""

        def find(**variables: str) -> str:
            made = project_environment(variables)
            done = subprocess.run(
                [sys.executable, "-c", self.MAKE],
                cwd=tmp_path,
                env=made,
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            assert done.returncode == 3, done.stdout + done.stderr
            return done.stdout

        return find

    @pytest.mark.parametrize(
        "url",
        [
            *("http://127.0.0.1:6379/0", "postgres://localhost/db", "localhost:6379", "redis"),
            *("redis:/127.0.0.1:1/0", "redis://127.0.0.1:port/0", "unix://"),
            "redis://127.0.0.1:1/name",
        ],
    )
    def test_a_wrong_address_is_refused_and_named(self, refusal, url):
        said = refusal(WSGI_COVERAGE_STORE=url)

        assert "WSGI_COVERAGE_STORE" in said
        assert url in said

    def test_what_is_said_of_a_wrong_address_does_not_tell_its_password(self, refusal):
        said = refusal(WSGI_COVERAGE_STORE="http://somebody:a-secret@127.0.0.1/0")

        assert "WSGI_COVERAGE_STORE" in said
        assert "a-secret" not in said

    def test_a_server_does_not_start_with_a_wrong_address(self, make_host):
        host = make_host("host-a", store="http://127.0.0.1:6379/0")

        server = host.start("-c", self.MAKE)

        assert server.popen.wait(60) == 3
        assert "WSGI_COVERAGE_STORE" in server.output


def project_environment(variables: dict[str, str]) -> dict[str, str]:
    """An environment in which nothing but these variables is configured."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(NOT_FOR_CHILDREN)}
    return {**clean, **variables}
