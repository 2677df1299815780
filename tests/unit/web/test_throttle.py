"""An address that sends wrong passwords is refused for a while; nothing sleeps."""

import logging
import threading

import pytest

from wsgi_coverage.errors import TooManyAttemptsError
from wsgi_coverage.web.throttle import (
    FREE,
    KEPT,
    LINES_WINDOW,
    MAX_ADDRESSES,
    MAX_LINES,
    WINDOW,
    Throttle,
    shown,
)

MINE, OTHER = "192.0.2.1", "192.0.2.2"


class Clock:
    """A clock that goes on when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def throttle(clock: Clock) -> Throttle:
    return Throttle(clock)


def fail(throttle: Throttle, times: int, address: str = MINE) -> None:
    for _ in range(times):
        throttle.note_failure(address, "admin")


def refused_for(throttle: Throttle, address: str = MINE) -> int:
    """The seconds of `Retry-After`; 0: it is not refused."""
    try:
        throttle.check(address)
    except TooManyAttemptsError as error:
        return error.retry_after
    return 0


def test_an_address_that_never_failed_is_not_refused(throttle: Throttle) -> None:
    assert refused_for(throttle) == 0


def test_the_first_failures_are_free_and_each_further_one_costs_twice_as_much(
    throttle: Throttle, clock: Clock
) -> None:
    waits = []
    for _ in range(FREE + 8):
        fail(throttle, 1)
        waits.append(refused_for(throttle))
        clock.now += waits[-1]

    assert waits == [0] * (FREE - 1) + [1, 2, 4, 8, 16, 32, 60, 60, 60]


def test_a_refusal_ends_at_its_second_and_not_before(throttle: Throttle, clock: Clock) -> None:
    fail(throttle, FREE + 2)

    clock.now += 3.5
    assert refused_for(throttle) == 1
    clock.now += 0.5
    assert refused_for(throttle) == 0


def test_what_is_asked_while_an_address_is_refused_does_not_prolong_it(
    throttle: Throttle, clock: Clock
) -> None:
    fail(throttle, FREE)

    assert {refused_for(throttle) for _ in range(50)} == {1}
    clock.now += 1
    assert refused_for(throttle) == 0


def test_a_failure_is_forgotten_after_the_window(throttle: Throttle, clock: Clock) -> None:
    fail(throttle, KEPT)
    clock.now += WINDOW
    fail(throttle, FREE - 1)

    assert refused_for(throttle) == 0


def test_other_addresses_are_not_refused(throttle: Throttle) -> None:
    fail(throttle, FREE)

    assert refused_for(throttle, OTHER) == 0


@pytest.mark.parametrize(
    ("one", "another"),
    [
        ("2001:db8::1", "2001:db8::ffff:2"),  # a subscriber has all addresses of a /64 network
        ("::ffff:192.0.2.1", MINE),
        ("fe80::1%eth0", "fe80::2%eth1"),
        ("", ""),  # a Unix socket
        ("unix:", "unix:"),
    ],
)
def test_addresses_of_one_client_count_together(throttle: Throttle, one: str, another: str) -> None:
    fail(throttle, FREE, one)

    assert refused_for(throttle, another) == 1


@pytest.mark.parametrize(
    ("one", "another"),
    [("2001:db8::1", "2001:db8:0:1::1"), ("::ffff:192.0.2.1", "::ffff:192.0.2.2"), ("", MINE)],
)
def test_addresses_of_different_clients_do_not(throttle: Throttle, one: str, another: str) -> None:
    fail(throttle, FREE, one)

    assert refused_for(throttle, another) == 0


def test_the_addresses_remembered_are_bounded_and_the_oldest_failure_goes_first(
    throttle: Throttle, clock: Clock
) -> None:
    fail(throttle, FREE, OTHER)
    clock.now += 0.001
    fail(throttle, FREE, MINE)
    for number in range(MAX_ADDRESSES - 1):
        clock.now += 0.001
        fail(throttle, 1, f"198.51.{number // 256}.{number % 256}")

    assert len(throttle._failures) == MAX_ADDRESSES
    assert refused_for(throttle, OTHER) == 0  # forgotten
    assert refused_for(throttle, MINE) == 1


def test_what_is_remembered_of_an_address_is_bounded(throttle: Throttle) -> None:
    fail(throttle, 1000)

    assert [len(each) for each in throttle._failures.values()] == [KEPT]


def test_no_failure_of_several_threads_is_lost(throttle: Throttle) -> None:
    begin = threading.Barrier(FREE)

    def attempt() -> None:
        begin.wait()
        fail(throttle, 1)

    threads = [threading.Thread(target=attempt) for _ in range(FREE)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()

    assert refused_for(throttle) == 1


def test_failures_are_logged_with_where_they_came_from_and_what_follows(
    throttle: Throttle, caplog: pytest.LogCaptureFixture
) -> None:
    fail(throttle, FREE)
    throttle.note_failure("", "")

    assert {each.levelno for each in caplog.records} == {logging.WARNING}
    first, last, unknown = (caplog.messages[place] for place in (0, FREE - 1, FREE))
    told = "wrong user name or password for the dashboard from"
    assert first == f"{told} '192.0.2.1', user 'admin'"
    assert last == f"{first}; its requests are refused for 1 s"
    assert unknown == f"{told} an unknown address, user ''"


def test_the_log_is_not_flooded_and_says_what_is_left_out(
    throttle: Throttle, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(MAX_LINES + 7):
        fail(throttle, 1, f"198.51.100.{number}")
    assert len(caplog.records) == MAX_LINES

    clock.now += LINES_WINDOW
    fail(throttle, 2, OTHER)

    assert [each for each in caplog.messages if "not logged" in each] == [
        "wrong user name or password for the dashboard from '192.0.2.2', user 'admin'; "
        "7 more such failures are not logged"
    ]


@pytest.mark.parametrize("odd", ["a\nb", "a\rb", "\x1b[31m", "\x00", "\u2028", "\u202e", "é\x7f"])
def test_a_text_from_outside_stays_on_its_line_and_in_ascii(odd: str) -> None:
    assert shown(odd).isascii()
    assert shown(odd).isprintable()


def test_a_long_text_from_outside_is_cut() -> None:
    assert shown("a" * 5000) == f"'{'a' * 100}...'"
