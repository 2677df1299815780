"""The count of requests."""

import threading

from wsgi_coverage.collect.requests import Requests


def test_each_request_of_each_application_is_counted_once() -> None:
    requests = Requests()
    one, other = requests.counter(), requests.counter()

    for counter in (one, one, other):
        next(counter)

    assert requests.seen() == 3


def test_where_no_application_is_wrapped_the_count_is_not_known() -> None:
    assert Requests().seen() is None


def test_a_fork_counts_its_own() -> None:
    requests = Requests()
    counter = requests.counter()
    next(counter)

    requests.begin_anew()
    next(counter)

    assert requests.seen() == 1


def test_threads_lose_none() -> None:
    requests = Requests()
    counter = requests.counter()

    def serve() -> None:
        for _ in range(10_000):
            next(counter)

    threads = [threading.Thread(target=serve) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert requests.seen() == 40_000
