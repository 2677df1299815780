"""py-coverage-http's documented client example, from a pod to an HTML report."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from coverage import CoverageData

from wsgi_coverage.client import ClientError
from wsgi_coverage.client.cluster import PodError
from wsgi_coverage.client.coverage_client import CoverageClient
from wsgi_coverage.errors import DiskFullError

pytestmark = pytest.mark.usefixtures("both_clients")

TIMEOUT = 60.0  # seconds
PROGRAM = Path(__file__).with_name("coverage_http.py")
SHOP = "def price():\n    return 1\n\n\ndef refund():\n    return 2\n\n\nprice()\n"
EXECUTED = [1, 2, 5, 9]
NAME = "my-pod-574fb6f489-abc12"


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The sources on the developer's machine, which is where the client runs."""
    folder = tmp_path / "checkout"
    folder.mkdir()
    (folder / "shop.py").write_text(SHOP)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def in_the_pod(tmp_path: Path) -> Iterator[int]:
    """The same sources in another folder, and what has a port for their coverage."""
    folder = tmp_path / "pod/app"
    folder.mkdir(parents=True)
    (folder / "shop.py").write_text(SHOP)
    with subprocess.Popen(
        [sys.executable, "-P", str(PROGRAM), str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    ) as process:
        try:
            yield int(process.stdout.readline())
            process.communicate(timeout=TIMEOUT)
        finally:
            process.kill()


@pytest.fixture
def shop(cluster: Any, a_pod: Any, in_the_pod: int) -> Any:
    """The cluster with the pod of the example."""
    cluster.namespace = "default"
    cluster.pods = [
        a_pod("my-pod-574fb6f489-00000", labels={"app": "my-app"}, phase="Pending"),
        a_pod(NAME, labels={"app": "my-app"}, port=in_the_pod),
    ]
    return cluster


Answer = Callable[[int, bytes], None]


@pytest.fixture
def answering(cluster: Any, a_pod: Any) -> Iterator[Answer]:
    """A pod that answers anything with what a test says."""
    said: list[tuple[int, bytes]] = []

    class Saying(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = said[-1]
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Saying) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        cluster.namespace = "default"
        cluster.pods = [a_pod(NAME, port=server.server_port)]
        yield lambda status, body: said.append((status, body))
        server.shutdown()
        thread.join()


def lines(data_file: Path) -> dict[str, list[int]]:
    data = CoverageData(basename=str(data_file))
    data.read()
    found = {name: sorted(data.lines(name) or ()) for name in data.measured_files()}
    data.close(force=True)
    return found


def test_the_documented_example_leads_from_the_pod_to_an_html_report(
    shop: Any, checkout: Path, example: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", example],
        cwd=checkout,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(r"^shop\.py +5 +1 +80%$", done.stdout, re.M)
    output = checkout / "coverage-output"
    assert (output / "report_my-test.txt").read_text() == done.stdout
    index = (output / "html_my-test/index.html").read_text()
    assert "shop.py" in index
    assert "80%" in index
    assert set(shop.spoken) == {"SPDY/3.1+portforward.k8s.io", "v4.channel.k8s.io"}


@pytest.mark.parametrize("use_kubectl", [True, False])
def test_what_is_collected_is_all_that_the_pod_has_under_the_pods_own_paths(
    shop: Any, checkout: Path, tmp_path: Path, use_kubectl: bool
) -> None:
    client = CoverageClient(output_dir=tmp_path / "out")

    path = client.collect_coverage_from_pod(NAME, "e2e", use_kubectl=use_kubectl)

    assert path == str(tmp_path / "out/.coverage_e2e")
    assert lines(Path(path)) == {str(tmp_path / "pod/app/shop.py"): EXECUTED}


@pytest.mark.parametrize("use_kubectl", [True, False, None])
def test_the_first_running_pod_is_found_by_its_label(shop: Any, use_kubectl: bool | None) -> None:
    name = CoverageClient.get_pod_name("default", "app=my-app", use_kubectl=use_kubectl)

    assert name == NAME


def test_without_kubectl_a_pod_is_found_by_the_kubernetes_package(
    shop: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")

    assert CoverageClient.get_pod_name("default", label_selector="app=my-app") == NAME


@pytest.mark.parametrize("use_kubectl", [True, False])
def test_no_running_pod_is_a_runtime_error_as_of_the_original(shop: Any, use_kubectl: bool) -> None:
    shop.pods = shop.pods[:1]

    with pytest.raises(RuntimeError, match=r"no pod with 'app=my-app' in .* is running"):
        CoverageClient.get_pod_name("default", "app=my-app", use_kubectl)


def test_a_report_on_a_checkout_elsewhere_and_in_xml(
    shop: Any, checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    client = CoverageClient(output_dir=tmp_path / "out")
    client.collect_coverage_from_pod(NAME, "e2e")

    client.generate_xml_report("e2e", source_dir=checkout)

    assert 'line-rate="0.8"' in (tmp_path / "out/coverage_e2e.xml").read_text()


def test_paths_that_are_right_already_can_be_left_as_they_are(
    shop: Any, checkout: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    client = CoverageClient(output_dir=tmp_path / "out")
    client.collect_coverage_from_pod(NAME, "e2e")

    client.generate_coverage_report("e2e", remap_paths=False)

    assert re.search(r"pod/app/shop\.py +5 +1 +80%$", capsys.readouterr().out, re.M)


def test_a_tests_name_leads_nowhere_else(shop: Any, checkout: Path, tmp_path: Path) -> None:
    client = CoverageClient(output_dir=tmp_path / "out")

    path = client.collect_coverage_from_pod(NAME, "/../../e2e[ä%]")
    client.generate_html_report("/../../e2e[ä%]")

    assert Path(path).name == ".coverage_%2F..%2F..%2Fe2e[ä%25]"
    assert {each.name for each in (tmp_path / "out").iterdir()} == {
        ".coverage_%2F..%2F..%2Fe2e[ä%25]",
        "html_%2F..%2F..%2Fe2e[ä%25]",
    }
    assert shop.spoken != []


def test_a_report_on_what_was_never_collected(checkout: Path) -> None:
    with pytest.raises(ClientError, match="nothing was collected as 'e2e'"):
        CoverageClient().generate_html_report("e2e")


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (401, b"", r"refuses \(401\): give a user name and a password"),
        (403, b'{"error": "cross-site", "message": "no"}', r"refuses \(403\): no"),
        (404, b"Not found", r"is no side port: /coverage\?name=e2e is not there \(404\)"),
        (500, b'{"error": "internal", "message": "it broke"}', "answers 500: it broke"),
        (200, b"<html>", "holds no coverage data"),
        (200, b'{"label": "e2e"}', "holds no coverage data"),
        (200, b'{"coverage_data": "!"}', "holds no coverage data"),
        (200, b'{"coverage_data": ""}', "has measured nothing yet"),
        (200, json.dumps({"coverage_data": "eno="}).encode(), "cannot be used: it is no coverage"),
    ],
)
@pytest.mark.parametrize("use_kubectl", [True, False])
def test_an_answer_without_data_is_one_line_that_names_the_pod(
    answering: Answer, checkout: Path, status: int, body: bytes, message: str, use_kubectl: bool
) -> None:
    answering(status, body)

    with pytest.raises(ClientError, match=message) as raised:
        CoverageClient().collect_coverage_from_pod(NAME, "e2e", use_kubectl=use_kubectl)

    assert NAME in str(raised.value)
    assert "\n" not in str(raised.value)
    assert [*(checkout / "coverage-output").iterdir()] == []


def test_the_password_of_the_environment_is_sent_to_the_pod(
    answering: Answer, checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answering(401, b"")
    monkeypatch.setenv("WSGI_COVERAGE_PASSWORD", "wrong")

    with pytest.raises(ClientError, match=r"refuses \(401\): wrong user name or password"):
        CoverageClient().collect_coverage_from_pod(NAME, "e2e")


def test_a_pod_that_is_not_there(cluster: Any, checkout: Path) -> None:
    with pytest.raises(PodError, match="there is no pod web-1 in namespace default"):
        CoverageClient().collect_coverage_from_pod("web-1", "e2e")


def test_a_full_disk_is_one_line_and_what_was_there_stays(
    shop: Any, checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = CoverageClient()
    path = Path(client.collect_coverage_from_pod(NAME, "e2e"))
    before = path.read_bytes()

    def full(source: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)

    with pytest.raises(DiskFullError, match="no room on the disk"):
        client.collect_coverage_from_pod(NAME, "e2e")

    assert path.read_bytes() == before
