"""A stand-in for a dashboard that answers as told: well, badly, late, or half."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

HEALTH = {
    "status": "ok",
    "core": "sysmon",
    "core_reason": "",
    "coverage_version": "7.17.3",
    "branch": False,
    "data_folder": "/srv/shop",
    "complete": True,
    "workers": [],
    "problems": [],
    "diagnoses": [],
}


class StandIn(ThreadingHTTPServer):
    """Answers `METHOD /path` with what was put there, one after another, the last for ever.

    An answer is a pair of status and JSON or bytes, or a function that is given the handler.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: dict[str, list[Any]] = {"GET /cov/health": [(200, HEALTH)]}
        self.headers: dict[str, str] = {}
        self.asked: list[str] = []  # method and target
        self.authorizations: list[str | None] = []
        self.accepted: list[str | None] = []

    @property
    def root(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def url(self) -> str:
        return f"{self.root}/cov"

    def put(self, what: str, *answers: Any) -> None:
        self.answers[what] = list(answers)

    @property
    def asked_for(self) -> list[str]:
        """The same without the first question, which looks for a dashboard."""
        assert self.asked[0].startswith("GET /cov/health")
        return self.asked[1:]


class Handler(BaseHTTPRequestHandler):
    server: StandIn

    def answer(self) -> None:
        what = f"{self.command} {self.path}"
        self.server.asked.append(what)
        self.server.authorizations.append(self.headers.get("Authorization"))
        self.server.accepted.append(self.headers.get("Accept"))
        answers = self.server.answers.get(what.partition("?")[0], [(404, b"nothing here")])
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if callable(answer):
            answer(self)
        else:
            self.reply(*answer)

    def reply(self, status: int, answer: Any, *, announced: int | None = None) -> None:
        body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(status)
        for name, value in self.server.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body) if announced is None else announced))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        self.answer()

    def do_POST(self) -> None:
        self.answer()

    def do_DELETE(self) -> None:
        self.answer()

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    with StandIn() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


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
