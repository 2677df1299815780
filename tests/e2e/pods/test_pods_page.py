"""The how-to about pods: its manifest is one, and its example is py-coverage-http's."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

HOW_TO = Path(__file__).parents[3] / "docs/how-to/pods.md"


def block(language: str, having: str = "") -> str:
    """The one example in a language that has some text."""
    found = re.findall(rf"^```{language}\n(.*?)^```", HOW_TO.read_text("utf-8"), re.M | re.S)
    [example] = [each for each in found if having in each]
    return str(example)


@pytest.fixture
def manifest(both_clients: None) -> Any:
    import yaml

    return yaml.safe_load(block("yaml"))


def test_kubectl_takes_the_manifest(cluster: Any, both_clients: None) -> None:
    done = subprocess.run(
        ["kubectl", "apply", "--dry-run=client", "--validate=false", "--filename=-"],
        input=block("yaml"),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (done.returncode, done.stdout) == (0, "deployment.apps/shop created (dry run)\n")


def test_every_field_of_the_manifest_is_one_of_a_deployment(manifest: Any) -> None:
    from kubernetes.client import ApiClient, Configuration, V1Deployment

    deployment = V1Deployment.from_dict(manifest)

    with ApiClient(Configuration()) as client:
        assert client.sanitize_for_serialization(deployment) == manifest


def test_the_manifest_gives_memory_to_write_to_where_the_root_is_read_only(manifest: Any) -> None:
    pod = manifest["spec"]["template"]["spec"]
    [container], [volume] = pod["containers"], pod["volumes"]

    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert volume["emptyDir"]["medium"] == "Memory"
    assert container["volumeMounts"] == [{"name": volume["name"], "mountPath": "/dev/shm"}]
    assert {"name": "COVERAGE_PORT", "value": "9095"} in container["env"]
    assert container["command"][:2] == ["wsgi-coverage", "run"]


def test_the_example_in_python_is_the_originals_but_for_the_import(example: str) -> None:
    documented = ast.parse(block("python", "CoverageClient("))

    assert ast.dump(documented) == ast.dump(ast.parse(example))
