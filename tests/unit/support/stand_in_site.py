"""A stand-in for a dashboard that answers as told: well, badly, late, or half."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

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
    """Answers `METHOD /path` as told, remembers what was asked, and knows nothing else.

    An answer is a pair of status and JSON or bytes, or a function that is given the handler. Of a
    list, each is given once, and the last for ever.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: dict[str, Any] = {"GET /cov/health": (200, HEALTH)}
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
        answer = self.server.answers.get(what.partition("?")[0], (404, b"nothing here"))
        if isinstance(answer, list):
            answer = answer.pop(0) if len(answer) > 1 else answer[0]
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


@contextlib.contextmanager
def serving() -> Iterator[StandIn]:
    """One that answers inside of the block."""
    with StandIn() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
