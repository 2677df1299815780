"""What the tests with pods get: a stand-in for a cluster, and programs that serve as pods."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

ANSWER = bytes(range(256)) * 8192  # 2 MiB: more than the buffers on the way hold


# As py-coverage-http documents it, but for the import.
EXAMPLE = """\
from wsgi_coverage.client.coverage_client import CoverageClient

# Create client
client = CoverageClient(namespace="default", output_dir="./coverage-output")

# Option A: Discover pod automatically by label
pod_name = CoverageClient.get_pod_name("default", label_selector="app=my-app")

# Option B: Use a known pod name
pod_name = "my-pod-574fb6f489-abc12"

# Collect from Kubernetes pod (uses kubectl binary by default)
client.collect_coverage_from_pod(
    pod_name=pod_name,
    test_name="my-test",
    coverage_port=9095
)

# Or use native Python port-forward (no kubectl binary required!)
client.collect_coverage_from_pod(
    pod_name=pod_name,
    test_name="my-test",
    coverage_port=9095,
    use_kubectl=False  # Use native Python
)

# Generate reports with automatic path remapping
client.generate_coverage_report("my-test")
client.generate_html_report("my-test")
"""


def need(what: str) -> None:
    """Skip where a program or a package is missing."""
    if what == "kubectl" and shutil.which("kubectl") is None:
        pytest.skip("no kubectl on PATH")
    if what != "kubectl" and importlib.util.find_spec(what) is None:
        pytest.skip(f"the package {what} is not installed")


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A cluster without pods; this process's kubeconfig leads to it."""
    need("trustme")
    from kube_api import KubeApi

    home = tmp_path / "home"
    home.mkdir()
    with KubeApi(home) as api:
        monkeypatch.setenv("KUBECONFIG", str(api.kubeconfig))
        monkeypatch.setenv("HOME", str(home))
        for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
            monkeypatch.delenv(name)
        yield api


@pytest.fixture
def example() -> str:
    """How py-coverage-http's client is used."""
    return EXAMPLE


@pytest.fixture
def both_clients() -> None:
    """Of the cluster: kubectl, and the Python package."""
    need("kubectl")
    need("kubernetes")


@pytest.fixture
def a_pod() -> Any:
    """Makes a pod of the stand-in."""
    need("trustme")
    from kube_api import Pod

    return Pod


@pytest.fixture(params=["kubectl", "kubectl over SPDY", "kubernetes"])
def how(request: pytest.FixtureRequest, cluster: Any) -> str:
    """By which of its clients the cluster is asked."""
    name, _, over = request.param.partition(" over ")
    need(name)
    cluster.tunnels = not over
    return str(name)


class _Program(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.0"

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(ANSWER)))
        self.end_headers()
        self.wfile.write(ANSWER)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def program() -> Iterator[Any]:
    """A program in a pod: it answers a GET with 2 MiB, and a POST with what was sent."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Program) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        server.answer = ANSWER
        yield server
        server.shutdown()
        thread.join()
