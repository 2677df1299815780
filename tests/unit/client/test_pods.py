"""Which pods a text means, what is said of pods, and how the `kubernetes` extra is missed."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from wsgi_coverage.client import pods
from wsgi_coverage.client.cluster import Pod, PodError, described
from wsgi_coverage.client.errors import BadAddressError


class StandInCluster:
    def __init__(self, *found: Pod) -> None:
        self._found = [*found]

    def pods(self, which: pods.Which) -> list[Pod]:
        return self._found


@pytest.mark.parametrize("text", ["web-1", "pod/web-1"])
def test_a_name_is_a_name(text: str) -> None:
    which = pods.parse(text, "shop")

    assert (which.name, which.selector, which.namespace) == ("web-1", None, "shop")


@pytest.mark.parametrize(
    "text",
    ["app=shop", "app==shop,tier!=cache", "app in (shop, cellar)", "!canary", "example.org/app"],
)
def test_what_has_an_operator_is_a_selector(text: str) -> None:
    which = pods.parse(text)

    assert (which.name, which.selector) == (None, text)


@pytest.mark.parametrize("text", ["", "--all", "-n", "Web", "app=sh\0op", "app=shöp", "web-"])
def test_what_can_be_neither_is_refused(text: str) -> None:
    with pytest.raises(BadAddressError, match="must be a pod's name or a label selector"):
        pods.parse(text)


@pytest.mark.parametrize("namespace", ["", "--all-namespaces", "Shop", "a.b", "x" * 64])
def test_what_can_be_no_namespace_is_refused(namespace: str) -> None:
    with pytest.raises(BadAddressError, match="no namespace can be called"):
        pods.parse("web-1", namespace)


@pytest.mark.parametrize("port", [0, -1, 65536])
def test_what_can_be_no_port_is_refused(port: int) -> None:
    with (
        pytest.raises(BadAddressError, match=f"must be 1 to 65535, got {port}"),
        pods.forwarded("web-1", container_port=port),
    ):
        pytest.fail("there is a forward")


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ({"phase": "Running"}, "Running"),
        ({"phase": "Succeeded"}, "Succeeded"),
        ({"phase": "Failed", "reason": "Evicted"}, "Failed (Evicted)"),
        (
            {"phase": "Pending", "containerStatuses": [{"state": {"waiting": {"reason": "Slow"}}}]},
            "Pending (Slow)",
        ),
        ({"phase": "Pending", "containerStatuses": [{"state": {"running": {}}}]}, "Pending"),
        ({}, "Unknown"),
    ],
)
def test_the_state_of_a_pod_in_a_few_words(status: dict[str, Any], state: str) -> None:
    assert described({"metadata": {"name": "web-1"}, "status": status}) == Pod("web-1", state)


def test_a_pod_that_is_being_deleted_does_not_count_as_running() -> None:
    metadata = {"name": "web-1", "deletionTimestamp": "2026-01-01T00:00:00Z"}

    assert not described({"metadata": metadata, "status": {"phase": "Running"}}).is_running


def test_only_some_of_many_pods_that_do_not_run_are_named() -> None:
    cluster = StandInCluster(*(Pod(f"web-{number}", "Pending") for number in range(9)))

    with pytest.raises(PodError) as raised:
        pods.running(cluster, pods.parse("app=shop"))

    assert str(raised.value) == (
        "no pod with 'app=shop' is running: web-0 is Pending, web-1 is Pending, web-2 is Pending, "
        "web-3 is Pending, web-4 is Pending, and 4 more"
    )


def test_without_the_package_the_extra_is_named() -> None:
    script = (
        "import sys; sys.modules['kubernetes'] = None\n"
        "from wsgi_coverage.client import pods\n"
        "from wsgi_coverage.errors import MissingExtraError\n"
        "try:\n    pods.connect(None, 'kubernetes', 1)\n"
        "except MissingExtraError as error:\n    print(error)\n"
    )

    done = subprocess.run(
        [sys.executable, "-P", "-c", script], capture_output=True, text=True, timeout=60, check=True
    )

    assert done.stdout == (
        "reaching pods without kubectl needs the extra 'kubernetes': "
        "pip install 'wsgi-coverage[kubernetes]'\n"
    )
