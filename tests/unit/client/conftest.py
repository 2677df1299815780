"""A dashboard that is none, and answers that are none."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from stand_in_site import Handler, StandIn, serving


@pytest.fixture
def stand_in() -> Iterator[StandIn]:
    with serving() as server:
        yield server


@pytest.fixture(autouse=True)
def nothing_of_the_users(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """No netrc and no proxy of whoever runs the tests."""
    monkeypatch.setenv("NETRC", str(tmp_path / "no-netrc"))
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def closing() -> Callable[[Handler], None]:
    """An answer that is none: the connection is closed."""

    def close(handler: Handler) -> None:
        handler.close_connection = True

    return close


@pytest.fixture
def halving() -> Callable[[Handler], None]:
    """Half of an answer."""

    def half(handler: Handler) -> None:
        handler.reply(200, b"x" * 100_000, announced=200_000)
        handler.close_connection = True

    return half


@pytest.fixture
def nobody() -> Iterator[str]:
    """The address of nobody: a port that is taken, and where nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses between tries, which take no time."""
    from wsgi_coverage.client import transport

    taken: list[float] = []
    monkeypatch.setattr(transport, "sleep", taken.append)
    return taken
