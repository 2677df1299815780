"""What is made of what kubectl writes."""

from __future__ import annotations

from pathlib import Path

import pytest

from wsgi_coverage.client.kubectl import Kubectl, connection_failure

WHY = "failed to connect to localhost:9095 inside namespace: dial tcp4: connection refused"


@pytest.mark.parametrize(
    "line",
    [
        f"E1121 15:55:17 22458 portforward.go:409] an error occurred forwarding 4 -> 9095: {WHY}\n",
        'E1121 15:55:17 22458 portforward.go:424] "Unhandled Error" '
        f'err="an error occurred forwarding 4 -> 9095: {WHY}"\n',
        'E1121 15:55:17 22458 portforward.go:424] "Unhandled Error" '
        f'err="an error occurred forwarding 4 -> 9095: {WHY}" logger="UnhandledError"\n',
        'E1121 15:55:17 22458 portforward.go:391] "An error occurred forwarding" '
        f'err="{WHY}" localPort=4 remotePort=9095\n',
    ],
)
def test_the_reason_is_the_same_whatever_the_version_of_kubectl(line: str) -> None:
    assert connection_failure(line) == WHY


def test_quotes_in_a_reason_are_as_they_were() -> None:
    line = r'"Unhandled Error" err="an error occurred forwarding 4 -> 9095: no \"pod\" here"'

    assert connection_failure(line) == 'no "pod" here'


def test_what_is_of_something_else_is_no_reason() -> None:
    line = '"Unhandled Error" err="error copying from local connection to remote stream: reset"'

    assert connection_failure(line) == ""


def test_the_forwarded_port_listens_on_this_machine_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in = tmp_path / "kubectl"
    stand_in.write_text(
        f"""#!/bin/sh
echo "$@" > {tmp_path}/arguments
echo "Forwarding from 127.0.0.1:4711 -> 9095"
exec sleep 60
"""
    )
    stand_in.chmod(0o700)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")

    with Kubectl(None, timeout=20.0).forward("shop-1", 9095) as forward:
        assert forward.port == 4711

    arguments = (tmp_path / "arguments").read_text().split()
    assert arguments[:2] == ["port-forward", "--address=127.0.0.1"]
