"""Labelled requests on several hosts of a fleet: each label has the lines of all, in one report."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from fleet_hosts import Host, Lines
from servers import DASHBOARD

pytestmark = pytest.mark.skipif(sys.version_info < (3, 12), reason="needs sys.monitoring")

JSON = {"Accept": "application/json"}


@pytest.fixture
def hosts(make_host, store, tmp_path) -> list[Host]:
    meeting = {"store": store.url(), "namespace": "shop", "at": tmp_path / "srv"}
    env = {"WSGI_COVERAGE_CONTEXTS": "header"}
    found = [make_host(name, env=env, **meeting) for name in ("host-a", "host-b")]
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(Host.begin, found))
    return found


def run(host: Host, path: str, label: str) -> None:
    assert host.server.get(path, headers={"X-Coverage-Context": label}).status == 200


def asked(host: Host, path: str) -> Any:
    answer = host.server.get(f"{DASHBOARD}/{path}", headers=JSON)
    assert answer.status == 200, answer.text
    return answer.json()


def lines_of(host: Host, label: str) -> set[tuple[str, int]]:
    return {
        (Path(file["file"]).name, line)
        for file in asked(host, f"contexts/{label}")["files"]
        for line in file["lines"]
    }


def test_a_label_has_what_ran_for_it_on_every_host(hosts: list[Host], lines: Lines) -> None:
    first, second = hosts
    for number, host in enumerate(hosts):
        run(host, f"/r{number}", "both")
        run(host, f"/r{10 + number}", f"of{number}")
        host.server.get(f"/r{20 + number}")
    answer = first.server.post(f"{DASHBOARD}/refresh").json()
    assert answer["complete"], answer

    for host in hosts:
        assert [each["label"] for each in asked(host, "contexts")] == ["both", "of0", "of1"]
        assert lines_of(host, "both") == {lines.body("/r0"), lines.body("/r1")}
        assert lines_of(host, "of0") == {lines.body("/r10")}
        assert lines_of(host, "of1") == {lines.body("/r11")}
    refused = second.server.request("DELETE", f"{DASHBOARD}/contexts/both", headers=JSON)
    assert (refused.status, refused.json()["error"]) == (409, "label-of-fleet")

    second.server.post(f"{DASHBOARD}/reset")
    run(first, "/r2", "both")
    second.server.post(f"{DASHBOARD}/refresh")
    assert lines_of(second, "both") == {lines.body("/r2")}
