"""Whose credentials are sent, and through which proxy."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from wsgi_coverage.client import Client, RefusedError, credentials, transport


def basic(raw: str) -> str:
    return f"Basic {base64.b64encode(raw.encode()).decode()}"


@pytest.fixture
def netrc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Write the file that NETRC names."""

    def write(text: str) -> Path:
        path = tmp_path / "netrc"
        path.write_text(text)
        path.chmod(0o600)
        monkeypatch.setenv("NETRC", str(path))
        return path

    return write


@pytest.mark.parametrize(
    ("in_url", "environment", "given", "sent"),
    [
        ("", {}, {}, None),
        ("", {}, {"username": "eve"}, None),
        ("", {}, {"password": "s"}, "admin:s"),
        ("", {"PASSWORD": "s"}, {}, "admin:s"),
        ("", {"PASSWORD": "s", "USERNAME": "ann"}, {"username": "eve"}, "eve:s"),
        ("", {"PASSWORD": ""}, {}, None),
        ("eve:u%40@", {"PASSWORD": "s", "USERNAME": "ann"}, {}, "eve:u@"),
        ("eve:u@", {}, {"password": "ü:"}, "eve:ü:"),
    ],
)
def test_what_is_given_goes_before_the_address_and_that_before_the_environment(
    stand_in: Any,
    monkeypatch: pytest.MonkeyPatch,
    in_url: str,
    environment: dict[str, str],
    given: dict[str, str],
    sent: str | None,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(f"WSGI_COVERAGE_{name}", value)

    Client(stand_in.url.replace("http://", f"http://{in_url}"), **given).health()

    assert stand_in.authorizations == [None if sent is None else basic(sent)]


def test_where_nothing_else_says_a_password_netrc_does(stand_in: Any, netrc: Any) -> None:
    netrc("machine other login ann password o\nmachine 127.0.0.1 login eve password n\n")

    Client(stand_in.url).health()
    Client(stand_in.url, username="eve").health()
    Client(stand_in.url, username="ann").health()
    Client(stand_in.url, password="given").health()

    sent = [basic("eve:n"), basic("eve:n"), None, basic("admin:given")]
    assert stand_in.authorizations == sent


def test_a_netrc_that_cannot_be_read_is_named_where_a_password_is_asked_for(
    stand_in: Any, netrc: Any
) -> None:
    path = netrc("nonsense here\n")
    client = Client(stand_in.url)
    client.health()
    stand_in.put("GET /cov/health", (401, {"error": "unauthorized", "message": "no"}))

    with pytest.raises(RefusedError, match=f"{path} cannot be used") as raised:
        client.health()

    assert "\n" not in str(raised.value)


def test_no_error_shows_the_password(stand_in: Any, nobody: str) -> None:
    for url in (stand_in.root, nobody):
        with pytest.raises(Exception, match="http://127") as raised:
            Client(url.replace("http://", "http://eve:s3cret@"), retries=0).files()

        assert "s3cret" not in str(raised.value)


# Proxies


def test_a_host_elsewhere_is_reached_through_the_proxy_and_told_who_asks(
    stand_in: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", stand_in.root)
    target = "http://shop.invalid:81/cov/health"
    stand_in.put(f"GET {target}", stand_in.answers["GET /cov/health"])

    assert Client("http://shop.invalid:81/cov", password="s").health()["status"] == "ok"

    assert stand_in.asked == [f"GET {target}"]
    assert stand_in.authorizations == [basic("admin:s")]


@pytest.mark.parametrize("name", ["http_proxy", "all_proxy"])
def test_this_machine_is_never_reached_through_a_proxy(
    stand_in: Any, nobody: str, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, nobody)

    assert Client(stand_in.url, retries=0).health()["status"] == "ok"


def test_a_host_that_no_proxy_names_is_reached_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://proxy.invalid:3128")
    monkeypatch.setenv("no_proxy", "shop.invalid")

    assert transport._proxy("http", "shop.invalid") is None
    found = transport._proxy("http", "other.invalid")
    assert found is not None
    assert found.port == 3128


def test_a_proxys_own_credentials_are_for_the_proxy() -> None:
    proxy = urlsplit("http://me:p%40@proxy.invalid:3128")

    assert transport._for_proxy(proxy) == {"Proxy-Authorization": basic("me:p@")}


@pytest.mark.parametrize(
    ("host", "is_this_machine"),
    [
        ("localhost", True), ("a.localhost", True), ("127.0.0.1", True), ("127.9.9.9", True),
        ("::1", True), ("10.0.0.1", False), ("localhost.example", False), ("shop", False),
    ],
)  # fmt: skip
def test_this_machine_is_known_by_its_names(host: str, is_this_machine: bool) -> None:
    assert transport.is_loopback(host) is is_this_machine


def test_the_user_name_is_admin_unless_another_is_said() -> None:
    assert credentials.find(urlsplit("http://a/"), None, "s").username == "admin"
