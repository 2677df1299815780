"""Wrong passwords: counted by address, refused for a while, logged; the application never waits."""

import base64
from collections.abc import Callable
from functools import partial
from typing import Any
from wsgiref.validate import validator

import pytest
from flask import Flask
from flask_calls import client_of
from stand_ins import Site, StandInWorker
from werkzeug.middleware.proxy_fix import ProxyFix
from werkzeug.utils import redirect
from wsgi_calls import BROWSER, JSON, PREFIX, call, environ_for, run

from wsgi_coverage import settings
from wsgi_coverage.control import Control
from wsgi_coverage.sideport.app import SideApp
from wsgi_coverage.web.throttle import FREE, Throttle

MINE, OTHER = "192.0.2.1", "192.0.2.2"


class Clock:
    """A clock that goes on when it is told to."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    for module in ("web.app", "sideport.app"):
        monkeypatch.setattr(f"wsgi_coverage.{module}.Throttle", partial(Throttle, clock))
    return clock


def basic(password: str, name: str = "admin") -> dict[str, str]:
    encoded = base64.b64encode(f"{name}:{password}".encode()).decode()
    return {"Authorization": f"Basic {encoded}"}


RIGHT, WRONG = basic("secret"), basic("guess")


@pytest.fixture
def guarded(wrap: Callable[..., Site], clock: Clock) -> Site:
    """A dashboard behind a password, on the clock of the test."""
    return wrap(password="secret")


def status(site: Site, headers: dict[str, str], address: str = MINE) -> int:
    return site.get("/files", headers, REMOTE_ADDR=address).status


def fail(site: Site, times: int = FREE, address: str = MINE) -> None:
    for _ in range(times):
        assert status(site, WRONG, address) == 401


def test_after_too_many_wrong_passwords_an_address_gets_429_and_is_let_in_again_later(
    guarded: Site, clock: Clock
) -> None:
    fail(guarded)

    refused = guarded.get("/files", RIGHT, REMOTE_ADDR=MINE)
    assert (refused.status, refused.error) == (429, "too-many-attempts")
    assert refused.headers["Retry-After"] == "1"
    assert refused.headers["Cache-Control"] == "no-store"
    assert "WWW-Authenticate" not in refused.headers  # else a browser asks for another password
    assert guarded.worker.asked == []

    clock.now += 1
    assert status(guarded, RIGHT) == 404  # no report yet


def test_the_refusal_is_a_page_for_a_browser(guarded: Site) -> None:
    fail(guarded)

    answer = guarded.get("/", BROWSER, REMOTE_ADDR=MINE)

    assert (answer.status, answer.mimetype) == (429, "text/html")
    assert "Too many failed logins" in answer.text
    assert "try again in 1 s" in answer.text


def test_another_address_is_served_meanwhile_whatever_it_says_it_forwards(guarded: Site) -> None:
    fail(guarded)

    assert status(guarded, RIGHT, OTHER) == 404
    assert status(guarded, {**RIGHT, "X-Forwarded-For": MINE}, OTHER) == 404
    assert status(guarded, {**RIGHT, "X-Forwarded-For": OTHER}, MINE) == 429


def test_no_request_waits(guarded: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def asleep(seconds: float) -> None:
        raise AssertionError("the worker's thread sleeps")

    monkeypatch.setattr("time.sleep", asleep)
    fail(guarded)

    assert status(guarded, RIGHT) == 429


def test_behind_a_proxy_the_address_is_the_clients_where_proxy_fix_says_so(
    guarded: Site,
) -> None:
    behind = Site(ProxyFix(guarded.app), guarded.worker)
    for _ in range(FREE):
        assert status(behind, {**WRONG, "X-Forwarded-For": MINE}, "10.0.0.1") == 401

    assert status(behind, {**RIGHT, "X-Forwarded-For": MINE}, "10.0.0.1") == 429
    assert status(behind, {**RIGHT, "X-Forwarded-For": OTHER}, "10.0.0.1") == 404


def test_a_right_password_does_not_clear_the_failures_of_its_address(guarded: Site) -> None:
    fail(guarded, FREE - 1)
    assert status(guarded, RIGHT) == 404
    fail(guarded, 1)

    assert status(guarded, RIGHT) == 429


@pytest.mark.parametrize("headers", [{}, {"Authorization": ""}, {"Authorization": "Bearer x"}])
def test_a_request_without_a_user_name_and_password_is_no_failure(
    guarded: Site, headers: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(2 * FREE):
        assert status(guarded, headers) == 401

    assert status(guarded, RIGHT) == 404
    assert caplog.messages == []


@pytest.mark.parametrize("encoded", ["", "!", "/w==", "YWRtaW4="])
def test_malformed_credentials_are_failures(guarded: Site, encoded: str) -> None:
    for _ in range(FREE):
        assert status(guarded, {"Authorization": f"Basic {encoded}"}) == 401

    assert status(guarded, RIGHT) == 429


def test_the_application_is_served_meanwhile(guarded: Site) -> None:
    fail(guarded)

    assert run(guarded.app, environ_for("GET", "/shop", WRONG, REMOTE_ADDR=MINE)).status == 200


@pytest.mark.parametrize("verdict", [False, None, redirect("/login")])
def test_what_a_callback_refuses_is_not_counted(
    wrap: Callable[..., Site], clock: Clock, verdict: object
) -> None:
    site = wrap(auth=lambda environ: environ.get("HTTP_X") == "yes" or verdict)

    for _ in range(2 * FREE):
        assert status(site, WRONG) in (302, 401)

    assert status(site, {"X": "yes"}) == 404


def test_a_wrong_password_is_logged_without_the_password(
    guarded: Site, caplog: pytest.LogCaptureFixture
) -> None:
    status(guarded, basic("hunter2\nERROR forged", "eve\r\nERROR forged\x1b[31m"))

    [record] = caplog.records
    assert (record.name, record.levelname) == ("wsgi_coverage", "WARNING")
    assert record.getMessage() == (
        "wrong user name or password for the dashboard from '192.0.2.1', "
        r"user 'eve\r\nERROR forged\x1b[31m'"
    )


def test_an_address_from_a_server_that_names_none_is_counted_too(guarded: Site) -> None:
    fail(guarded, address="")

    assert status(guarded, RIGHT, "") == 429


def test_flask_coverages_password_is_throttled(
    app: Flask, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLASK_COVERAGE_PASSWORD", "secret")
    client = client_of(app)

    for _ in range(FREE):
        assert client.get(f"{PREFIX}/", auth=("admin", "guess")).status_code == 401
    assert client.get(f"{PREFIX}/", auth=("admin", "secret")).status_code == 429
    assert client.get("/").status_code == 200

    clock.now += 1
    assert client.get(f"{PREFIX}/", auth=("admin", "secret")).status_code == 200


def side_port(worker: StandInWorker, **keywords: Any) -> Any:
    loaded = settings.load(keywords, env={})
    return validator(SideApp(loaded, Control(worker, loaded)))  # type: ignore[arg-type]


def test_the_side_port_counts_the_failures_at_all_of_its_paths_together(
    worker: StandInWorker, clock: Clock
) -> None:
    side = side_port(worker, password="secret")

    def ask(path: str, headers: dict[str, str]) -> int:
        return call(side, "GET", path, {**JSON, **headers}, REMOTE_ADDR=MINE).status

    for number in range(FREE):
        path = ("/coverage", f"{PREFIX}/files", "/nothing", "/coverage/reset")[number % 4]
        assert ask(path, WRONG) == 401

    assert {ask(path, RIGHT) for path in ("/health", "/nothing", f"{PREFIX}/files")} == {429}
    clock.now += 1
    assert ask("/health", RIGHT) == 200
    assert worker.asked == []


def test_the_side_ports_429_says_when_to_try_again(worker: StandInWorker, clock: Clock) -> None:
    side = side_port(worker, password="secret")
    for _ in range(FREE):
        call(side, "GET", "/health", WRONG, REMOTE_ADDR=MINE)

    refused = call(side, "GET", "/health", RIGHT, REMOTE_ADDR=MINE)

    assert (refused.status, refused.error) == (429, "too-many-attempts")
    assert refused.headers["Retry-After"] == "1"
