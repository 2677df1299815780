"""Ports of pods, by the real kubectl and the real kubernetes package, from a stand-in cluster."""

from __future__ import annotations

import os
import re
import shutil
import socket
import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from wsgi_coverage.client import Client, ClientError
from wsgi_coverage.client.cluster import PodError
from wsgi_coverage.client.pods import forwarded

TIMEOUT = 20.0  # seconds for each step where nothing hangs
SHORT = 2.0  # seconds where something does


def get(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=TIMEOUT) as answer:
        return bytes(answer.read())


def children() -> list[str]:
    """The command lines of this process's child processes."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
            command = (stat.parent / "cmdline").read_text()
        except OSError:
            continue
        if parent == os.getpid():
            found.append(command)
    return found


def runs(pid: str) -> bool:
    """Whether there is such a process; one that has ended may wait for its parent to ask."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def forwarding() -> list[object]:
    """What is there while a port is forwarded: kubectl, or threads."""
    threads = [each for each in threading.enumerate() if each.name.startswith("wsgi-coverage")]
    return [*threads, *(each for each in children() if "port-forward" in each)]


def failure(selector: str, how: str, *, timeout: float = TIMEOUT, **more: Any) -> str:
    started = time.monotonic()
    with pytest.raises(PodError) as raised, forwarded(selector, how=how, timeout=timeout, **more):
        pytest.fail("there is a forward")
    assert time.monotonic() - started < TIMEOUT
    message = str(raised.value)
    assert "\n" not in message
    return message


def test_every_matching_pod_is_reached_and_whole_answers_come_back(
    cluster: Any, a_pod: Any, how: Any, program: Any
) -> None:
    cluster.pods = [a_pod(name, port=program.server_port) for name in ("web-1", "web-2")]
    cluster.pods.append(a_pod("cache-1", labels={"app": "cache"}))

    with forwarded("app=shop", namespace="shop", how=how) as found:
        answers = {name: [get(url) for _ in range(3)] for name, url in found}

    assert answers == {name: [program.answer] * 3 for name in ("web-1", "web-2")}


def test_whole_answers_come_back_from_a_cluster_that_ends_connections_without_a_word(
    cluster: Any, a_pod: Any, how: Any, program: Any
) -> None:
    cluster.pods = [a_pod("web-1", port=program.server_port)]
    cluster.is_abrupt = True

    with forwarded("web-1", namespace="shop", how=how) as [(_, url)]:
        answers = [get(url) for _ in range(10)]

    assert answers == [program.answer] * 10


def test_the_pod_that_is_reached_is_the_one_that_the_address_stands_for(
    cluster: Any, a_pod: Any, how: Any, program: Any
) -> None:
    cluster.pods = [a_pod("web-1", port=program.server_port), a_pod("web-2", silent=True)]

    with forwarded("web-1", namespace="shop", how=how) as [(name, url)]:
        assert (name, get(url)) == ("web-1", program.answer)

    assert len(cluster.paths("/web-1/portforward")) >= 1
    assert cluster.paths("/web-2/portforward") == []


def test_connections_at_the_same_time_do_not_disturb_each_other(
    cluster: Any, a_pod: Any, how: Any, program: Any
) -> None:
    cluster.pods = [a_pod("web-1", port=program.server_port)]
    bodies = [bytes([number]) * 300_000 for number in range(6)]

    with forwarded("web-1", namespace="shop", how=how) as [(_, url)], ThreadPoolExecutor() as pool:
        sent = [urllib.request.Request(url, data=body) for body in bodies]
        answers = list(pool.map(get, sent))

    assert answers == bodies


def test_kubectl_tunnels_through_a_websocket_and_through_spdy_alone_where_there_is_none(
    cluster: Any, a_pod: Any, how: Any, program: Any
) -> None:
    cluster.pods = [a_pod("web-1", port=program.server_port)]

    with forwarded("web-1", namespace="shop", how=how):
        spoken = set(cluster.spoken)

    protocol = {"kubectl": "SPDY/3.1+portforward.k8s.io", "kubernetes": "v4.channel.k8s.io"}[how]
    assert spoken == {protocol if cluster.tunnels else "SPDY/3.1"}


def test_the_first_running_pod_is_enough_where_that_is_asked_for(
    cluster: Any, a_pod: Any, how: Any, program: Any
) -> None:
    cluster.pods = [
        a_pod("web-0", phase="Pending"),
        *(a_pod(name, port=program.server_port) for name in ("web-1", "web-2")),
    ]

    with forwarded("app=shop", namespace="shop", how=how, all_matching=False) as found:
        assert [name for name, _ in found] == ["web-1"]


def test_pods_that_do_not_run_are_passed_over_and_named(
    cluster: Any, a_pod: Any, how: Any, program: Any
) -> None:
    cluster.pods = [
        a_pod("web-0", phase="Pending", waiting="ImagePullBackOff"),
        a_pod("web-1", port=program.server_port),
        a_pod("web-2", deleting=True),
    ]
    said: list[str] = []

    with forwarded("app=shop", namespace="shop", how=how, passed_over=said.append) as found:
        assert [name for name, _ in found] == ["web-1"]

    assert said == [
        "passed over: web-0 is Pending (ImagePullBackOff)",
        "passed over: web-2 is Terminating",
    ]


def test_nothing_is_left_when_the_block_ends(
    cluster: Any, a_pod: Any, how: Any, program: Any
) -> None:
    cluster.pods = [a_pod("web-1", port=program.server_port)]

    with forwarded("web-1", namespace="shop", how=how) as [(_, url)]:
        get(url)
        assert forwarding() != []

    assert forwarding() == []
    with pytest.raises(OSError, match="refused"):
        get(url)


def test_nothing_is_left_when_one_of_several_pods_cannot_be_reached(
    cluster: Any, a_pod: Any, how: Any, program: Any
) -> None:
    cluster.pods = [a_pod("web-1", port=program.server_port), a_pod("web-2")]

    assert "port 9095 of pod web-2" in failure("app=shop", how, namespace="shop")

    assert forwarding() == []


def test_no_pod_matches(cluster: Any, a_pod: Any, how: Any) -> None:
    cluster.pods = [a_pod("web-1")]

    message = failure("app=cellar", how, namespace="shop")

    assert message == "there is no pod with 'app=cellar' in namespace shop"


def test_no_pod_has_this_name(cluster: Any, how: Any) -> None:
    assert failure("web-9", how, namespace="shop") == "there is no pod web-9 in namespace shop"


def test_a_namespace_without_pods(cluster: Any, a_pod: Any, how: Any) -> None:
    cluster.pods = [a_pod("web-1")]

    message = failure("app=shop", how, namespace="elsewhere")

    assert message == "there is no pod with 'app=shop' in namespace elsewhere"


def test_without_a_namespace_it_is_the_contexts(
    cluster: Any, a_pod: Any, how: Any, program: Any
) -> None:
    cluster.pods = [a_pod("web-1", port=program.server_port)]
    cluster.write_kubeconfig(namespace="shop")

    with forwarded("app=shop", how=how) as found:
        assert [name for name, _ in found] == ["web-1"]


def test_a_pod_that_does_not_run(cluster: Any, a_pod: Any, how: Any) -> None:
    cluster.pods = [a_pod("web-1", phase="Pending", waiting="ImagePullBackOff")]

    message = failure("web-1", how, namespace="shop")

    assert message == (
        "no pod web-1 in namespace shop is running: web-1 is Pending (ImagePullBackOff)"
    )


def test_a_pod_in_which_nothing_listens(cluster: Any, a_pod: Any, how: Any) -> None:
    cluster.pods = [a_pod("web-1")]

    message = failure("web-1", how, namespace="shop")

    assert message.startswith("nothing answers on port 9095 of pod web-1: failed to connect to ")
    assert message.endswith("connection refused")
    assert forwarding() == []


def test_a_forward_behind_which_nothing_answers(cluster: Any, a_pod: Any, how: Any) -> None:
    cluster.pods = [a_pod("web-1", silent=True)]

    message = failure("web-1", how, namespace="shop", timeout=SHORT)

    assert message == "nothing answers on port 9095 of pod web-1 within 2 s"
    assert forwarding() == []


def test_a_cluster_that_forbids_the_forward(cluster: Any, a_pod: Any, how: Any) -> None:
    cluster.pods = [a_pod("web-1")]
    cluster.forbids = True

    message = failure("web-1", how, namespace="shop")

    assert 'pods "web-1" is forbidden: User "me" cannot create' in message
    assert forwarding() == []


def test_a_cluster_that_never_answers_the_forward(cluster: Any, a_pod: Any, how: Any) -> None:
    cluster.pods = [a_pod("web-1")]
    cluster.hangs = True

    message = failure("web-1", how, namespace="shop", timeout=SHORT)

    assert "pod web-1 within 2 s" in message
    assert [each for each in children() if "port-forward" in each] == []


def test_a_cluster_that_refuses_who_asks(cluster: Any, a_pod: Any, how: Any) -> None:
    cluster.pods = [a_pod("web-1")]
    cluster.write_kubeconfig(token="wrong")

    expected = {"kubectl": "You must be logged in to the server", "kubernetes": "Unauthorized"}
    assert expected[how] in failure("web-1", how, namespace="shop")


def test_a_cluster_whose_certificate_is_another_authoritys(
    cluster: Any, a_pod: Any, how: Any
) -> None:
    cluster.pods = [a_pod("web-1")]
    cluster.distrust()

    assert "certificate" in failure("web-1", how, namespace="shop")


def test_a_cluster_that_is_not_there(cluster: Any, how: Any) -> None:
    cluster.write_kubeconfig(server="https://127.0.0.1:1")

    assert "refused" in failure("web-1", how, namespace="shop")


def test_a_pod_that_goes_away_meanwhile_is_named_by_what_fails_then(
    cluster: Any, a_pod: Any, how: Any, program: Any
) -> None:
    pod = a_pod("web-1", port=program.server_port)
    cluster.pods = [pod]

    def ask() -> None:
        with forwarded("web-1", namespace="shop", how=how) as [(_, url)]:
            pod.port = None
            Client(url, retries=0, timeout=5).health()

    with pytest.raises(ClientError) as raised:
        ask()

    message = str(raised.value)
    assert message.startswith("pod web-1: http://127.0.0.1:")
    assert "is not HTTP" not in message
    assert message.endswith("connection refused")
    assert forwarding() == []


def test_a_cluster_that_takes_connections_and_says_nothing(cluster: Any, how: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        cluster.write_kubeconfig(server=f"https://127.0.0.1:{silent.getsockname()[1]}")

        message = failure("web-1", how, namespace="shop", timeout=SHORT)

    assert re.search("no answer|timed out|timeout", message, re.I)
    assert [each for each in children() if "kubectl" in each] == []


@pytest.mark.parametrize("silent", [True, False])
def test_what_a_program_called_kubectl_starts_ends_with_it(
    cluster: Any,
    a_pod: Any,
    program: Any,
    tmp_path: Path,
    monkeypatch: Any,
    until: Any,
    silent: bool,
) -> None:
    real = shutil.which("kubectl") or pytest.skip("no kubectl on PATH")
    wrapper = tmp_path / "bin/kubectl"
    wrapper.parent.mkdir()
    wrapper.write_text(f'#!/bin/sh\n{real} "$@" & echo $! >> {tmp_path}/pids\nwait $!\n')
    wrapper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{wrapper.parent}:{os.environ['PATH']}")
    cluster.pods = [a_pod("web-1", port=program.server_port, silent=silent)]

    if silent:
        failure("web-1", "kubectl", namespace="shop", timeout=SHORT)
    else:
        with forwarded("web-1", namespace="shop") as [(_, url)]:
            assert get(url) == program.answer

    started = (tmp_path / "pids").read_text().split()
    assert len(started) == 2
    until(lambda: not any(map(runs, started)), "both have ended")


def test_without_kubectl_it_says_so(cluster: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")

    assert failure("web-1", "kubectl").startswith("there is no kubectl on PATH")


def test_without_a_kubeconfig_it_says_which_file_is_missing(
    cluster: Any, how: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = str(cluster.kubeconfig.with_name("missing"))
    monkeypatch.setenv("KUBECONFIG", missing)
    expected = "localhost:8080" if how == "kubectl" else missing  # kubectl's own default

    assert expected in failure("web-1", how)


def test_a_port_forwarded_by_the_package_listens_on_this_machine_alone() -> None:
    pytest.importorskip("kubernetes", reason="kubernetes is not installed")
    from wsgi_coverage.client.kubernetes import _Listener

    listener = _Listener(lambda: None)
    try:
        assert listener._socket.getsockname()[0] == "127.0.0.1"
    finally:
        listener.close()
