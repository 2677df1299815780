"""A request that is not ours reaches the application as if nothing stood before it."""

import io
import sys
from collections.abc import Iterable, Iterator
from types import ModuleType
from typing import Any

import pytest
from stand_ins import Site, StandInWorker
from wsgi_calls import call, environ_for, run

from wsgi_coverage import CoverageMiddleware


@pytest.fixture
def bare(worker: StandInWorker):
    """Wrap without a validator in between."""
    return lambda app: CoverageMiddleware(app, debug=True)


def test_the_application_gets_the_same_environ_and_the_same_start_response(bare) -> None:
    seen: list[object] = []
    environ, start_response = environ_for("GET", "/shop"), object()

    bare(lambda *given: seen.extend(given) or [])(environ, start_response)

    assert seen[0] is environ
    assert seen[1] is start_response


def test_the_environ_is_left_as_it_was(bare) -> None:
    environ = environ_for("GET", "/shop")
    before = dict(environ)

    bare(lambda environ, start_response: [])(environ, lambda *_: None)

    assert environ == before


def test_the_environ_of_our_own_requests_is_left_as_it_was_too(bare) -> None:
    environ = environ_for("GET", "/debug/coverage/")
    before = dict(environ)

    run(bare(lambda environ, start_response: []), environ)

    assert environ == before


def test_the_server_gets_the_same_iterable(bare) -> None:
    iterable = iter([b"x"])

    assert bare(lambda environ, start_response: iterable)(environ_for("GET", "/"), 0) is iterable


def test_exceptions_pass_unchanged(bare) -> None:
    raised = KeyError("mine")

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        raise raised

    with pytest.raises(KeyError) as caught:
        bare(app)(environ_for("GET", "/"), lambda *_: None)

    assert caught.value is raised


def test_exceptions_of_the_iterable_pass_unchanged(site, wrap) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        yield b"a"
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        call(wrap(app).app, "GET", "/")


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, GeneratorExit])
def test_exceptions_that_end_the_worker_pass_unchanged(bare, kind: type[BaseException]) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        raise kind

    with pytest.raises(kind):
        bare(app)(environ_for("GET", "/"), lambda *_: None)


def test_the_write_callable_works(wrap) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        write = start_response("200 OK", [("Content-Type", "text/plain")])
        write(b"written, ")
        return [b"returned"]

    assert call(wrap(app).app, "GET", "/").body == b"written, returned"


def test_exc_info_reaches_the_server(bare) -> None:
    given: list[object] = []

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        try:
            {}["x"]
        except KeyError:
            start_response("500 Oops", [("Content-Type", "text/plain")], sys.exc_info())
        return [b""]

    bare(app)(environ_for("GET", "/"), lambda *arguments: given.extend(arguments))

    assert given[2][0] is KeyError  # type: ignore[index]


class Lazy:
    """An iterable that tells what is done with it."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def __iter__(self) -> Iterator[bytes]:
        for number in range(3):
            self.told.append(f"item {number}")
            yield b"x"

    def close(self) -> None:
        self.told.append("close")


def test_the_iterable_is_closed_once(wrap) -> None:
    lazy = Lazy()

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        return lazy

    call(wrap(app).app, "GET", "/")

    assert lazy.told == ["item 0", "item 1", "item 2", "close"]


def test_nothing_is_buffered(bare) -> None:
    lazy = Lazy()
    items = iter(bare(lambda environ, start_response: lazy)(environ_for("GET", "/"), 0))

    next(items)

    assert lazy.told == ["item 0"]


def test_the_body_is_not_touched(bare) -> None:
    body = io.BytesIO(b"streamed")
    environ = environ_for("POST", "/upload") | {"wsgi.input": body}

    bare(lambda environ, start_response: [])(environ, lambda *_: None)

    assert body.tell() == 0


def test_only_our_own_requests_look_for_a_fork(site: Site) -> None:
    call(site.app, "GET", "/shop")
    assert site.worker.pid_checks == 0

    site.get("/files")
    assert site.worker.pid_checks == 1


def test_under_a_server_that_forks_in_c_every_request_looks_for_a_fork(
    wrap, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "uwsgi", ModuleType("uwsgi"))
    site = wrap()

    answer = call(site.app, "GET", "/shop")

    assert answer.headers["X-From"] == "application"
    assert site.worker.pid_checks == 1


def test_measuring_that_cannot_go_on_after_a_fork_leaves_the_application_alone(
    wrap, monkeypatch: pytest.MonkeyPatch, caplog
) -> None:
    def broken() -> None:
        raise OSError("no room for a socket")

    monkeypatch.setitem(sys.modules, "uwsgi", ModuleType("uwsgi"))
    site = wrap()
    monkeypatch.setattr(site.worker, "check_pid", broken)

    assert call(site.app, "GET", "/shop").headers["X-From"] == "application"
    assert "no room for a socket" in caplog.text


def test_an_answer_of_ours_does_not_ask_the_application(wrap) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        raise AssertionError("asked")

    site = wrap(app)

    assert [site.get(path).status for path in ("/", "/nothing", "/files")] == [200, 404, 404]


def test_wrapped_twice_the_outer_one_answers(wrap) -> None:
    inner = wrap(url_prefix="/inner").app
    outer = wrap(inner, url_prefix="/outer").app

    assert "Live coverage" in call(outer, "GET", "/outer/").text
    assert "Live coverage" in call(outer, "GET", "/inner/").text
    assert call(outer, "GET", "/").headers["X-From"] == "application"
