"""Programs under `wsgi-coverage run`, as pods: from the manifest's command to a report here."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from wsgi_coverage.client import RefusedError
from wsgi_coverage.client.coverage_client import CoverageClient

pytestmark = pytest.mark.usefixtures("both_clients")

TIMEOUT = 60.0  # seconds
HOW_TO = Path(__file__).parents[3] / "docs/how-to/pods.md"
NAME = "my-pod-574fb6f489-abc12"
SHOP = """\
from flask import Flask

app = Flask(__name__)


@app.get("/buy")
def buy():
    return "bought"


@app.get("/sell")
def sell():
    return "sold"
"""
BUY, SELL = SHOP.splitlines().index('    return "bought"') + 1, len(SHOP.splitlines())


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "desk"
    folder.mkdir()
    (folder / "shop.py").write_text(SHOP)
    monkeypatch.chdir(folder)
    return folder


Served = Callable[..., Any]


@pytest.fixture
def served(cluster: Any, a_pod: Any, project: Any) -> Served:
    """Run the manifest's command as the pod of the example; return a client for its site."""
    import yaml

    [page] = re.findall(r"^```yaml\n(.*?)^```", HOW_TO.read_text("utf-8"), re.M | re.S)
    [container] = yaml.safe_load(page)["spec"]["template"]["spec"]["containers"]
    own = {each["name"]: each["value"] for each in container["env"]}
    project.write("shop.py", SHOP)
    project.coveragerc("source = .")

    def serve(**env: str) -> Any:
        filled = [each.replace("0.0.0.0:8000", "fd://{fd}") for each in container["command"]]
        assert filled.pop(0) == "wsgi-coverage"
        filled += ["--no-control-socket"]
        site = project.serve(
            "-m", "wsgi_coverage", *filled, env={**own, "COVERAGE_PORT": "0", **env}
        )
        cluster.namespace = "default"
        labels = {"app": "my-app"}
        cluster.pods = [a_pod(NAME, labels=labels, port=project.side_port(site).port)]
        return site

    return serve


def desk_command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", *arguments],
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )


def test_the_originals_example_leads_from_the_manifests_command_to_an_html_report(
    served: Served, desk: Path, example: str
) -> None:
    assert served().get("/buy").text == "bought"

    done = desk_command("-W", "error", "-c", example)

    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(r"^shop\.py +8 +1 +88%$", done.stdout, re.M)
    [page] = [*(desk / "coverage-output/html_my-test").glob("*shop_py.html")]
    missing = re.findall(r'<p class="mis[^"]*"><span class="n"><a id="t(\d+)"', page.read_text())
    assert missing == [str(SELL)]


def test_collect_asks_the_side_port_where_no_other_is_named(
    served: Served, desk: Path, how: str, lines_in: Any
) -> None:
    site = served()
    site.get("/buy")
    site.get("/sell")

    by = ["--kubernetes"] if how == "kubernetes" else []
    done = desk_command("-m", "wsgi_coverage", "collect", "--pod", "app=my-app", *by)

    assert (done.returncode, done.stderr) == (
        0,
        "wsgi-coverage: 1 file in .coverage, of 1 instance\n",
    )
    assert {BUY, SELL} <= lines_in((desk / ".coverage").read_bytes())["shop.py"]


def test_what_was_reset_is_not_collected_again(served: Served, desk: Path, lines_in: Any) -> None:
    site = served()
    site.get("/buy")
    client = CoverageClient()

    assert client.reset_coverage(NAME)
    site.get("/sell")
    path = client.collect_coverage_from_pod(NAME, "e2e", use_kubectl=False)

    executed = lines_in(Path(path).read_bytes())["shop.py"]
    assert SELL in executed
    assert BUY not in executed


@pytest.mark.parametrize("use_kubectl", [True, False])
def test_a_wrong_password_is_one_line_that_names_the_pod(
    served: Served, desk: Path, use_kubectl: bool
) -> None:
    served(WSGI_COVERAGE_PASSWORD="open sesame")
    right = CoverageClient(password="open sesame")

    with pytest.raises(
        RefusedError, match=rf"^pod {NAME}: port 9095 refuses \(401\): .+"
    ) as raised:
        CoverageClient(password="open barley").collect_coverage_from_pod(
            NAME, "e2e", use_kubectl=use_kubectl
        )

    assert "\n" not in str(raised.value)
    assert right.collect_coverage_from_pod(NAME, "e2e", use_kubectl=use_kubectl)
