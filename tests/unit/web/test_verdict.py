"""Results that admit by their truth, those that are sent instead, and those that are no verdict."""

import asyncio
import gc
import io
import sqlite3
import warnings
from collections import UserDict, UserList, UserString
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent import futures
from contextlib import closing, contextmanager
from http import HTTPStatus
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock, NonCallableMock

import pytest
from no_verdicts import async_generator, coroutine, generator
from werkzeug.exceptions import Forbidden, HTTPException
from werkzeug.local import LocalProxy
from werkzeug.wrappers import Response

from wsgi_coverage.web.verdict import VIEW_VALUES, ask


class User:
    """Somebody, without a truth of their own."""

    name = "ada"

    def is_admin(self) -> bool:
        return False


class Anonymous(User):
    def __bool__(self) -> bool:
        return False


class Undecided(User):
    def __bool__(self) -> bool:
        raise LookupError("no database")


class Awaited:
    def __await__(self) -> Iterator[Any]:
        yield


class Submitted:
    """As Celery's and multiprocessing's AsyncResult."""

    def ready(self) -> bool:
        return False

    def get(self, timeout: float | None = None) -> bool:
        return False


class AsyncIterable:
    def __aiter__(self) -> AsyncIterator[bool]:
        raise NotImplementedError


LOOP = MagicMock(spec=asyncio.AbstractEventLoop, get_debug=lambda: False)


class DjangoResponse:
    """As Django's: true whatever its status."""

    status_code = 403

    def __iter__(self) -> Iterator[bytes]:
        yield b""


class ResponseOfParts(DjangoResponse):
    def __len__(self) -> int:
        return 1


class SaidToBeOne:
    __class__ = Response  # type: ignore[assignment]


class RequestsResponse(DjangoResponse):
    """As that of requests."""

    def __bool__(self) -> bool:
        return self.status_code < 400


class RequestsOk(RequestsResponse):
    status_code = 200


def verdict_of(result: object, **keywords: Any) -> bool | Response:
    return ask(lambda: result, responded, **keywords)


def responded(answer: Any) -> Response:
    """Stands for whoever makes responses; tells what of."""
    return Response(f"made of {answer!r}")


YES: list[object] = [True, 1, 2.5, object(), User(), {"admin"}, RequestsOk(), LocalProxy(User)]
NO: list[object] = [
    False, None, 0, "", b"", (), [], {}, set(), Anonymous(), RequestsResponse(),
    LocalProxy(Anonymous), LocalProxy(str),
]  # fmt: skip
NO_VERDICTS: dict[str, Callable[[], object]] = {
    "a string": lambda: "False",
    "bytes": lambda: b"no",
    "a bytearray": lambda: bytearray(b"no"),
    "a tuple": lambda: ("no", 401),
    "a list": lambda: ["no"],
    "a dict": lambda: {"error": "no"},
    "a coroutine": coroutine,
    "an awaitable": Awaited,
    "a generator": generator,
    "an async generator": async_generator,
    "an iterator": lambda: iter([False]),
    "a file": io.StringIO,
    "an exception": lambda: PermissionError("no"),
    "a method": lambda: User().is_admin,
    "a class": lambda: User,
    "a response of Django": DjangoResponse,
    "NotImplemented": lambda: NotImplemented,
    "an ellipsis": lambda: ...,
    "a future": futures.Future,
    "a future of asyncio": lambda: asyncio.Future(loop=LOOP),
    "a task's result that has not come": lambda: Submitted(),
    "a user string": lambda: UserString("no"),
    "a user list": lambda: UserList(["no"]),
    "a user dict": lambda: UserDict(error="no"),
    "a view of bytes": lambda: memoryview(b"no"),
    "a status": lambda: HTTPStatus.FORBIDDEN,
    "an async iterable": AsyncIterable,
    "a context manager": contextmanager(generator),
    "a response that has a length": ResponseOfParts,
    "what says that it is a response": SaidToBeOne,
    "a mock of a response": lambda: NonCallableMock(Response),
    "a string in a proxy": lambda: LocalProxy(lambda: "no"),
}


@pytest.mark.parametrize("result", YES)
def test_a_true_result_lets_in(result: object) -> None:
    assert verdict_of(result) is True
    assert verdict_of(result, answers=VIEW_VALUES) is True


@pytest.mark.parametrize("result", NO)
def test_a_false_result_does_not(result: object) -> None:
    assert verdict_of(result) is False
    assert verdict_of(result, answers=VIEW_VALUES) is False


@pytest.mark.parametrize("name", NO_VERDICTS)
def test_what_is_no_verdict_never_lets_in(name: str) -> None:
    with pytest.raises(TypeError, match=r"returned a .* neither yes nor no"):
        ask(NO_VERDICTS[name], responded)


def test_a_cursor_is_no_verdict() -> None:
    with (
        closing(sqlite3.connect(":memory:")) as database,
        pytest.raises(TypeError, match="returned a Cursor"),
    ):
        ask(lambda: database.execute("select 1 where 0"), responded)


def test_what_raises_when_it_is_asked_for_its_truth_raises_here() -> None:
    with pytest.raises(LookupError, match="no database"):
        verdict_of(Undecided())


def test_a_coroutine_is_closed_so_that_python_does_not_warn() -> None:
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        with pytest.raises(TypeError):
            ask(coroutine, responded)
        gc.collect()

    assert [str(each.message) for each in warned] == []


@pytest.mark.parametrize("raised", [True, False])
def test_an_http_exception_is_responded_to_raised_or_returned(*, raised: bool) -> None:
    seen: list[object] = []
    error = Forbidden()

    def callback() -> HTTPException:
        if raised:
            raise error
        return error

    def respond(answer: object) -> Response:
        seen.append(answer)
        return Response(status=403)

    answer = ask(callback, respond)

    assert isinstance(answer, Response)
    assert (answer.status_code, seen) == (403, [error])


def test_a_response_is_responded_with() -> None:
    response = Response("go away")

    assert ask(lambda: response, lambda answer: answer) is response


@pytest.mark.parametrize("result", ["no", b"no", ("no", 403), ["no"], {"error": "no"}])
def test_where_values_are_answers_they_are_sent_and_logged(
    result: object, caplog: pytest.LogCaptureFixture
) -> None:
    answer = verdict_of(result, answers=VIEW_VALUES)

    assert isinstance(answer, Response)
    assert answer.get_data(as_text=True) == f"made of {result!r}"
    assert f"returned a {type(result).__name__}" in caplog.text
    assert "no'" not in caplog.text


def test_an_attribute_of_a_user_is_not_looked_at_for_its_truth() -> None:
    assert verdict_of(SimpleNamespace(is_admin=False)) is True
