"""What a call would return, told without calling."""

import functools
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from types import MethodType
from typing import Any

import pytest

from wsgi_coverage.callables import is_async, is_generator


async def coroutine(*_: object) -> bool:
    return False


async def async_generator(*_: object) -> AsyncIterator[bool]:
    yield False


def generator(*_: object) -> Iterator[bytes]:
    yield b""


def plain(*_: object) -> bool:
    return True


@functools.wraps(coroutine)
def that_waits(*_: object) -> bool:
    return True


@functools.singledispatch
async def of_any_type(_: object) -> bool:
    return False


@functools.singledispatch
def chosen(_: object) -> bool:
    return True


class Methods:
    coroutine, async_generator, generator, plain = coroutine, async_generator, generator, plain
    static = staticmethod(coroutine)
    of_class = classmethod(coroutine)
    partial = functools.partialmethod(coroutine)


class Async:
    async def __call__(self, *_: object) -> bool:
        return False


class AsyncStatic:
    __call__ = staticmethod(coroutine)


class AsyncOfClass:
    __call__ = classmethod(coroutine)


class AsyncInherited(Async):
    pass


class AsyncPartial:
    __call__ = functools.partialmethod(coroutine, 1)


class AsyncCached:
    __call__ = functools.cache(coroutine)


class AsyncTwice:
    __call__ = Async()


class Endless:
    __call__: Any


Endless.__call__ = Endless()


class PlainPartial:
    __call__ = functools.partialmethod(plain, 1)


class Generator:
    def __call__(self, *_: object) -> Iterator[bytes]:
        yield b""


class Plain:
    def __call__(self, *_: object) -> bool:
        return True


class OfWsgi:
    """An application that is a class: each call makes what is iterated over."""

    def __init__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> None:
        self.called = environ, start_response

    def __iter__(self) -> Iterator[bytes]:
        yield b""


class OfScope:
    """An ASGI application that is a class, by which nobody can tell it."""

    def __init__(self, scope: dict[str, Any]) -> None:
        self.scope = scope

    async def __call__(self, receive: object, send: object) -> None: ...


class LoadedLater:
    """Stands for an application that is imported by the first touch, which fails here."""

    def __getattr__(self, name: str) -> Any:
        raise ImportError(f"touched by {name}")

    def __call__(self, *_: object) -> Iterable[bytes]:
        return []


ASYNC = [
    coroutine,
    async_generator,
    Methods().coroutine,
    Methods().async_generator,
    Methods.static,
    Methods.of_class,
    Methods().partial,
    Async(),
    AsyncStatic(),
    AsyncOfClass(),
    AsyncInherited(),
    Async().__call__,
    MethodType(Async(), "self"),
    functools.lru_cache(coroutine),
    functools.cache(Async()),
    of_any_type,
    staticmethod(coroutine),
    staticmethod(functools.cache(coroutine)),
    AsyncPartial(),
    AsyncCached(),
    AsyncTwice(),
]
GENERATORS = [
    generator,
    Methods().generator,
    Generator(),
    Generator().__call__,
    functools.lru_cache(generator),
    functools.singledispatch(generator),
    staticmethod(generator),
]
PLAIN = [
    plain,
    that_waits,
    functools.cache(that_waits),
    chosen,
    staticmethod(plain),
    Endless(),
    PlainPartial(),
    Methods().plain,
    Plain(),
    OfWsgi,
    OfScope,
    Async,
    bool,
    print,
    [].append,
    type,
    None,
]


def partials(called: Any) -> list[Any]:
    return [
        called,
        functools.partial(called, 1),
        functools.partial(functools.partial(called), more=2),
    ]


@pytest.mark.parametrize("called", ASYNC)
def test_async_functions_are_told_through_methods_partials_and_objects(called: Any) -> None:
    assert [is_async(each) for each in partials(called)] == [True, True, True]
    assert not is_generator(called)


@pytest.mark.parametrize("called", GENERATORS)
def test_generator_functions_are_told_and_are_not_async(called: Any) -> None:
    assert [is_generator(each) for each in partials(called)] == [True, True, True]
    assert not any(is_async(each) for each in partials(called))


@pytest.mark.parametrize("called", PLAIN)
def test_what_cannot_be_told_is_neither(called: Any) -> None:
    several = partials(called) if callable(called) else [called]

    assert not any(is_async(each) or is_generator(each) for each in several)


def test_an_application_that_loads_itself_when_it_is_touched_is_not_touched() -> None:
    assert not is_async(LoadedLater())
    assert not is_async(functools.partial(LoadedLater()))
