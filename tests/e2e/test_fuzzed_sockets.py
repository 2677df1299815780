"""Whatever bytes come in over a socket of a server: nothing that ran is lost, and nobody hangs.

The requests are made up without a state (tests/support/odd_requests.py), since one server gets them
all. A server's own answer to what it refuses is its affair; ours are told by their headers.
"""

from __future__ import annotations

import contextlib
import http.client
import itertools
import random
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import e2e_server_table as table
import pytest
from e2e_server_site import FILE
from examples import ARE_RANDOM, EXAMPLES
from odd_requests import ASIDE, End, Kind, OddRequest, odd_requests

pytestmark = pytest.mark.every_server

DASHBOARD = "/debug/coverage"
TIMEOUT = 20.0  # seconds for an answer that has to come
PATIENCE = 0.2  # seconds for one that need not
ROUNDS = 3  # of made-up requests, with the application's own after each
LABELLED = {"WSGI_COVERAGE_CONTEXTS": "header"}
GONE = struct.pack("ii", 1, 0)  # SO_LINGER: close by an RST
GUNICORN = ("gunicorn-sync", "gunicorn-gthread", "gunicorn-gevent", "gunicorn-gevent-pywsgi")
OTHERS = ("waitress", "cheroot", "granian", "mod_wsgi-express", "werkzeug-threaded")


def named(*names: str) -> list[Any]:
    return [each for each in table.ways() if each.id in names]


@dataclass
class OddClient:
    """Sends made-up requests, and notes what should not have been answered, or not like that."""

    port: int
    password: str
    is_side_port: bool = False
    seed: int = random.randrange(2**32) if ARE_RANDOM else 1
    answers_of_ours: int = 0
    failures: list[str] = field(default_factory=list)  # why, and what was sent
    # Of each request another one: an address is refused after some wrong passwords.
    addresses: Iterator[str] = field(
        default_factory=lambda: (f"127.1.{n // 250 % 250}.{n % 250 + 1}" for n in itertools.count())
    )

    def send(self, kind: Kind, count: int) -> None:
        self.seed += 1
        made = odd_requests(
            self.seed, count, kind, password=self.password, side_port=self.is_side_port
        )
        for each in made:
            if why := self._failure(each):
                self.failures.append(f"{why}\n{each}")

    def _failure(self, odd: OddRequest) -> str | None:
        try:
            answer = self._exchange(odd)
        except TimeoutError:
            return "no answer" if odd.end is End.READS else None
        except (OSError, http.client.HTTPException):  # the server's affair
            return None
        if answer is None:
            return None
        response, body = answer
        if response.headers.get("X-Content-Type-Options") != "nosniff":
            return None
        self.answers_of_ours += 1
        return f"{response.status}: {body!r}" if response.status >= 500 else None

    def _exchange(self, odd: OddRequest) -> tuple[http.client.HTTPResponse, bytes] | None:
        source = (next(self.addresses), 0)
        with socket.create_connection(("127.0.0.1", self.port), TIMEOUT, source) as connection:
            with contextlib.suppress(ConnectionError):  # it has answered before it has got it all
                for part in odd.parts:
                    connection.sendall(part)
            if odd.end is End.RESETS:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, GONE)
            if odd.end in (End.LEAVES, End.RESETS):
                return None
            if odd.end is End.SHUTS:
                connection.shutdown(socket.SHUT_WR)
                connection.settimeout(PATIENCE)
            response = http.client.HTTPResponse(connection, method=odd.method)
            with contextlib.closing(response):
                response.begin()
                return response, response.read()


def of_ours(output: str) -> list[str]:
    """The tracebacks of an output that have a frame of ours."""
    found = []
    for block in output.split("Traceback (most recent call last):\n")[1:]:
        frames = list(itertools.takewhile(lambda line: line.startswith(" "), block.splitlines()))
        if any("/wsgi_coverage/" in each for each in frames):
            found.append(block[:3000])
    return found


@pytest.mark.parametrize("way", named(*GUNICORN, "uwsgi", "uwsgi-threads", *OTHERS))
def test_made_up_bytes_lose_no_line_snapshot_or_process_of_any_server(site, way, password, until):
    with way.running(site.project, {**password, **LABELLED}) as site.server:
        check(site, OddClient(site.server.port, site.server.password), until)


@pytest.mark.parametrize("way", named("waitress"))
def test_nor_do_they_on_a_side_port(site, way, project, password, until):
    env = {**password, **LABELLED}
    site.server, side = project.serve_measured(*way.command, env=env)
    check(site, OddClient(side.port, side.password, is_side_port=True), until)


def check(site: Any, client: OddClient, until: Any) -> None:
    """Send made-up requests beside the application's own."""
    server = site.server

    def ran() -> set[int]:
        lines: set[int] = site.exported().get(FILE, set())
        return lines

    aside = {site.bodies[ASIDE.decode()]}
    load = site.load()
    lines = load | site.hit(until)
    site.exported()
    kept = server.post(f"{DASHBOARD}/snapshot?label=kept").json()["id"]
    export = server.get(f"{DASHBOARD}/snapshots/{kept}/export").body
    before = server.worker_pids(), site.diagnoses()

    for _ in range(ROUNDS):
        client.send(Kind.KEEPS, EXAMPLES // ROUNDS)
        client.send(Kind.REFUSED, EXAMPLES // ROUNDS // 5)
        lines |= site.hit(until)
    assert ran() | aside == lines | aside

    client.send(Kind.FORGETS, EXAMPLES // 5)

    def is_exact() -> bool:
        # What was sent last may still be on its way through the server.
        server.post(f"{DASHBOARD}/resume")
        server.reset()
        lines = load | site.hit(until)
        return ran() | aside == lines | aside

    until(is_exact, "after a reset there is what ran since")
    assert client.answers_of_ours > EXAMPLES // 4
    assert not client.failures, "\n".join(client.failures)
    assert (server.worker_pids(), site.diagnoses()) == before
    assert server.get(f"{DASHBOARD}/health").json()["problems"] == []
    assert server.get(f"{DASHBOARD}/snapshots/{kept}/export").body == export
    assert server.popen.poll() is None
    assert of_ours(server.output) == []
