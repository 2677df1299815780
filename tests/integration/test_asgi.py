"""An ASGI application is refused wherever a WSGI application is to be wrapped, and no other is."""

import sys
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from types import ModuleType
from typing import Any

import pytest
from stand_ins import StandInWorker
from wsgi_calls import call

from flask_coverage import FlaskCoverage
from wsgi_coverage import CoverageMiddleware, SettingsError
from wsgi_coverage.paste import filter_factory
from wsgi_coverage.wsgi import find_application

ADVICE = "ASGI application, and those are measured by `wsgi-coverage run`"


async def function(scope: Any, receive: Any, send: Any) -> None: ...


class Instance:
    """What FastAPI and Starlette make."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None: ...


class Methods:
    async def app(self, scope: Any, receive: Any, send: Any) -> None: ...


def of_fastapi() -> Any:
    return pytest.importorskip("fastapi").FastAPI()


def of_starlette() -> Any:
    return pytest.importorskip("starlette.applications").Starlette()


MADE: dict[str, Callable[[], Any]] = {
    "a function": lambda: function,
    "an instance": Instance,
    "a method": lambda: Methods().app,
    "a partial of a function": lambda: partial(function),
    "a partial of an instance": lambda: partial(Instance()),
    "FastAPI": of_fastapi,
    "Starlette": of_starlette,
}


@pytest.fixture(params=MADE)
def asgi(request: pytest.FixtureRequest) -> Any:
    return MADE[request.param]()


def assert_refused(error: pytest.ExceptionInfo[SettingsError], start: str) -> None:
    assert str(error.value).startswith(start)
    assert ADVICE in str(error.value)


def test_the_middleware_refuses_it_and_measures_nothing(
    asgi: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[object] = []
    monkeypatch.setattr("wsgi_coverage.collect.forks.start", lambda **_: started.append(1))

    with pytest.raises(SettingsError) as error:
        CoverageMiddleware(asgi, password="p")

    assert_refused(error, f"argument app: app must be a WSGI application, got {asgi!r}: ")
    assert started == []


def test_a_paste_pipeline_refuses_it(asgi: Any, worker: StandInWorker) -> None:
    with pytest.raises(SettingsError) as error:
        filter_factory({}, password="p")(asgi)

    assert_refused(error, "argument app: ")


def test_the_adapter_refuses_it(asgi: Any, worker: StandInWorker) -> None:
    with pytest.raises(SettingsError) as error:
        FlaskCoverage(asgi, debug=True)

    assert_refused(error, "argument app: ")


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A module that can be imported."""
    made = ModuleType("applications")
    monkeypatch.setitem(sys.modules, "applications", made)
    return made


@pytest.mark.parametrize("named", ["applications:asgi", "applications:make()", "applications"])
def test_it_is_refused_where_the_environment_names_it(asgi: Any, module: Any, named: str) -> None:
    module.asgi = module.app = asgi
    module.make = lambda: asgi

    with pytest.raises(SettingsError) as error:
        find_application(named)

    start = f"environment variable WSGI_COVERAGE_APP must lead to a WSGI application, got {named!r}"
    assert_refused(error, start)


def test_a_factory_that_is_async_is_refused_uncalled(module: Any) -> None:
    module.make = function

    with pytest.raises(SettingsError, match="is async, and gives no application"):
        find_application("applications:make()")


def start_ok(start_response: Callable[..., Any]) -> None:
    start_response("200 OK", [("Content-Type", "text/plain")])


def plain(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    start_ok(start_response)
    return [b"served"]


def generator(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterator[bytes]:
    start_ok(start_response)
    yield b"served"


class OfEachRequest:
    """An application that is a class, and has something async besides."""

    def __init__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> None:
        self.start_response = start_response

    def __iter__(self) -> Iterator[bytes]:
        start_ok(self.start_response)
        yield b"served"

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None: ...


class WithScope:
    """An application whose parameters are named as those of ASGI."""

    def __call__(self, scope: Any, receive: Any, send: Any = None) -> Iterable[bytes]:
        return plain(scope, receive)


@pytest.mark.parametrize(
    "app",
    [plain, generator, OfEachRequest, WithScope(), WithScope().__call__, partial(generator)],
)
def test_a_wsgi_application_of_any_form_is_served(
    worker: StandInWorker, app: Callable[..., Iterable[bytes]]
) -> None:
    assert call(CoverageMiddleware(app, debug=True), "GET", "/").body == b"served"


class OfScope:
    """An ASGI application that is a class; a class of WSGI may look like it."""

    def __init__(self, scope: Any) -> None:
        self.scope = scope

    async def __call__(self, receive: Any, send: Any) -> None: ...


def test_what_cannot_be_told_is_not_refused(worker: StandInWorker) -> None:
    CoverageMiddleware(OfScope, debug=True)


def test_where_coverage_is_disabled_nothing_is_looked_at(asgi: Any) -> None:
    CoverageMiddleware(asgi, disabled=True)
