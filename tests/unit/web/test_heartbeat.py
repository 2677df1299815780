"""The sign of life to gunicorn's worker, which is found on the stack of the request's thread."""

from collections.abc import Callable
from typing import Any

import pytest

from wsgi_coverage import liveness
from wsgi_coverage.web import heartbeat
from wsgi_coverage.web.heartbeat import Heartbeat

base = pytest.importorskip("gunicorn.workers.base")


class StandIn(base.Worker):  # type: ignore[misc]
    """A worker that serves nothing."""

    def __init__(self, notify: Callable[[], object]) -> None:
        self.notify = notify


# A method of a module of gunicorn's, as one stands on the stack of every request.
_gunicorn: dict[str, Any] = {"__name__": "gunicorn.workers.sync"}
exec("def handle_request(self, work):\n    return work()\n", _gunicorn)
in_a_request_of = _gunicorn["handle_request"]


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat, "INTERVAL", 0.0)


def test_gunicorns_worker_is_told_that_it_is_alive(at_once: None) -> None:
    told: list[None] = []

    in_a_request_of(StandIn(lambda: told.append(None)), Heartbeat())

    assert told == [None]


def test_it_is_told_now_and_then_however_often_that_is_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[float] = []
    times = [100.0]
    monkeypatch.setattr(heartbeat.time, "monotonic", lambda: times[-1])
    beat = Heartbeat()
    worker = StandIn(lambda: told.append(times[-1]))

    for now in (100.0, 100.2, 100.3, 100.4, 100.6):
        times.append(now)
        in_a_request_of(worker, beat)

    assert told == [100.3, 100.6]


def test_what_is_not_gunicorns_worker_is_left_alone(at_once: None) -> None:
    told: list[None] = []

    class Other:
        def notify(self) -> None:
            told.append(None)

    in_a_request_of(Other(), Heartbeat())

    assert told == []


def test_outside_of_gunicorn_nothing_happens(at_once: None) -> None:
    beat = Heartbeat()

    assert [beat(), beat()] == [None, None]


def test_a_worker_that_cannot_be_told_disturbs_no_request(
    at_once: None, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise OSError("closed")

    beat = Heartbeat()
    in_a_request_of(StandIn(fail), beat)
    in_a_request_of(StandIn(fail), beat)

    assert caplog.text.count("could not be notified") == 1


def test_a_loop_that_waits_reaches_the_heartbeat_of_its_request(at_once: None) -> None:
    told: list[None] = []

    with liveness.during(Heartbeat()):
        in_a_request_of(StandIn(lambda: told.append(None)), liveness.tick)
    in_a_request_of(StandIn(lambda: told.append(None)), liveness.tick)

    assert told == [None]
