"""An ASGI application is refused wherever a WSGI application is to be wrapped, and no other is."""

import sys
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache, partial, partialmethod, singledispatch, wraps
from inspect import signature
from types import ModuleType
from typing import Any
from unittest.mock import MagicMock, Mock, create_autospec
from wsgiref.validate import validator

import pytest
from stand_ins import StandInWorker
from werkzeug.local import LocalProxy
from wsgi_calls import call, environ_for, run

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

    def behind(self, scope: Any, receive: Any, send: Any) -> Any: ...


def behind(scope: Any, receive: Any, send: Any) -> Any:
    return function(scope, receive, send)


def of_asgi2(scope: Any) -> Any:
    return partial(function, scope)


class OfScope:
    """An application of ASGI 2 that is a class."""

    def __init__(self, scope: Any) -> None:
        self.scope = scope

    async def __call__(self, receive: Any, send: Any) -> None: ...


class Cached:
    __call__ = lru_cache(function)


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
    "a function in front of another": lambda: behind,
    "that in a partial": lambda: partial(partial(behind)),
    "that behind wraps": lambda: wraps(function)(behind),
    "a method of three": lambda: Methods().behind,
    "a function of ASGI 2": lambda: of_asgi2,
    "a class of ASGI 2": lambda: OfScope,
    "a cached one": lambda: lru_cache(function),
    "an object with a cached one": Cached,
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


class New:
    def __new__(cls, environ: dict[str, Any], start_response: Any) -> Any:
        return plain(environ, start_response)

    def __init__(self, one: object) -> None: ...


class Meta(type):
    def __call__(cls, environ: dict[str, Any], start_response: Any) -> Any:
        return plain(environ, start_response)


class OfMeta(metaclass=Meta):
    def __init__(self, scope: object) -> None: ...


class WithScope:
    """An application whose parameters are named as those of ASGI."""

    def __call__(self, scope: Any, receive: Any, send: Any = None) -> Iterable[bytes]:
        return plain(scope, receive)

    def app(self, config: object, environ: Any, start_response: Any) -> Iterable[bytes]:
        return plain(environ, start_response)

    @classmethod
    def of_class(cls, environ: Any, start_response: Any) -> Iterable[bytes]:
        return plain(environ, start_response)


class Forms:
    """Objects whose ``__call__`` is something else than a method."""

    class Static:
        __call__ = staticmethod(plain)

    class OfClass:
        __call__ = WithScope.of_class

    class Partial:
        __call__ = partialmethod(WithScope.app, None)

    class Property:
        @property
        def __call__(self) -> Any:
            return plain

    class Other:
        __call__ = WithScope()


@wraps(function)
def bridged(environ: Any, start_response: Any) -> Iterable[bytes]:
    return plain(environ, start_response)


def with_extra(environ: Any, start_response: Any, extra: object = None) -> Iterable[bytes]:
    return plain(environ, start_response)


def with_any(*args: Any) -> Iterable[bytes]:
    return plain(*args)


def with_any_keywords(*args: Any, key: object = None, **keywords: Any) -> Iterable[bytes]:
    return plain(*args)


def with_config(environ: Any, start_response: Any, config: object) -> Iterable[bytes]:
    return plain(environ, start_response)


def with_key(environ: Any, start_response: Any, /, *, key: object) -> Iterable[bytes]:
    return plain(environ, start_response)


def pretending(*args: Any) -> Iterable[bytes]:
    return plain(*args)


@singledispatch
def dispatched(any_other: object) -> Iterable[bytes]:
    raise TypeError(any_other)


@dispatched.register
def of_environ(environ: dict, start_response: Any) -> Iterable[bytes]:  # type: ignore[type-arg]
    return plain(environ, start_response)


class OwnCall(partial[Any]):
    """A partial whose call is not what it is made of."""

    def __call__(self, environ: Any, start_response: Any) -> Any:  # type: ignore[override]
        return self.func()(environ, start_response)


pretending.__signature__ = signature(function)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "app",
    [
        plain,
        generator,
        OfEachRequest,
        New,
        OfMeta,
        WithScope(),
        WithScope().__call__,
        partial(WithScope.app, WithScope(), None),
        WithScope.of_class,
        Forms.Static(),
        Forms.OfClass(),
        Forms.Partial(),
        Forms.Property(),
        Forms.Other(),
        partial(generator),
        bridged,
        with_extra,
        with_any,
        with_any_keywords,
        partial(with_config, config=1),
        partial(with_key, key=1),
        singledispatch(plain),
        dispatched,
        OwnCall(lambda: plain),
        pretending,
        lambda scope, receive, *send: plain(scope, receive),
        Mock(side_effect=plain),
        MagicMock(side_effect=plain),
        create_autospec(plain, side_effect=plain),
        validator(plain),
        LocalProxy(lambda: plain),
    ],
)
def test_a_wsgi_application_of_any_form_is_served(
    worker: StandInWorker, app: Callable[..., Iterable[bytes]]
) -> None:
    assert call(CoverageMiddleware(app, debug=True), "GET", "/").body == b"served"


@pytest.mark.parametrize(
    ("app", "why"),
    [
        (None, "it is not callable"),
        (5, "it is not callable"),
        ("myapp:app", "it is not callable"),
        (object(), "it is not callable"),
        (lambda request: [], "it cannot be called with an environ and start_response"),
        (lambda *, key=None: [], "it cannot be called with an environ and start_response"),
        (lambda environ, *, start_response: [], "it cannot be called with an environ"),
        (Instance, "it cannot be called with an environ and start_response"),
        (partial(plain, {}), "it cannot be called with an environ and start_response"),
    ],
)
def test_what_is_no_application_at_all_is_refused(
    worker: StandInWorker, app: Any, why: str
) -> None:
    with pytest.raises(SettingsError) as error:
        CoverageMiddleware(app, debug=True)

    start = f"argument app: app must be a WSGI application, got {app!r}: "
    assert str(error.value).startswith(start + why)


@pytest.mark.parametrize(
    ("app", "returned"),
    [
        (lambda *args: function(*args, None), "coroutine"),
        (lambda *_: partial(function), "partial"),
        (lambda *_: Instance(), "Instance"),
    ],
)
def test_what_shows_by_its_result_alone_is_told_by_each_request(
    worker: StandInWorker, app: Any, returned: str
) -> None:
    site = CoverageMiddleware(app, debug=True)

    for _ in range(2):
        with pytest.raises(TypeError, match=f"is no WSGI application, it returned a {returned}: "):
            run(site, environ_for("GET", "/"))


class Iterated(list[bytes]):
    """A result that can be awaited, too."""

    def __await__(self) -> Any: ...


@pytest.mark.parametrize("result", [Iterated([b"served"]), None, 5])
def test_any_other_result_is_the_servers_to_judge(worker: StandInWorker, result: Any) -> None:
    site = CoverageMiddleware(lambda *_: result, debug=True)

    assert site(environ_for("GET", "/"), lambda *_: None) is result


def test_an_application_that_raises_a_type_error_does_so_itself(worker: StandInWorker) -> None:
    def app(environ: Any, start_response: Any) -> Any:
        raise TypeError("of its own")

    with pytest.raises(TypeError, match="of its own"):
        run(CoverageMiddleware(app, debug=True), environ_for("GET", "/"))


def test_where_coverage_is_disabled_nothing_is_looked_at(asgi: Any) -> None:
    CoverageMiddleware(asgi, disabled=True)
