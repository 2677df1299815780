"""Tell what an auth callback decided: yes, no, or a response to be sent instead. No state.

A result counts by its truth value. A coroutine, a future, a generator, a text or a response is
true whatever was decided, so it admits nobody.
"""

from __future__ import annotations

import logging
from collections import UserDict, UserList, UserString
from collections.abc import (
    AsyncIterable,
    Awaitable,
    Callable,
    Coroutine,
    Iterator,
)
from http import HTTPStatus
from typing import Any

from werkzeug.exceptions import HTTPException
from werkzeug.local import LocalProxy
from werkzeug.wrappers import Response

log: logging.Logger = logging.getLogger("wsgi_coverage")

VIEW_VALUES = (str, bytes, bytearray, tuple, list, dict)  # Flask makes responses of these
RESPONSES = (Response, HTTPException)
NO_VERDICTS = (
    *VIEW_VALUES,
    *RESPONSES,
    UserString,
    UserList,
    UserDict,
    memoryview,
    Awaitable,
    Iterator,
    AsyncIterable,
    BaseException,
    HTTPStatus,
)
UNDECIDED = (NotImplemented, ...)  # bool(NotImplemented) raises since Python 3.14
FUTURE = ("ready", "get")  # methods of futures that have no add_done_callback


def ask(
    callback: Callable[[], object],
    respond: Callable[[Any], Response],
    *,
    answers: tuple[type, ...] = (),
) -> bool | Response:
    """Call an auth callback; return whether it admits the request, or the response to be sent.

    Args:
        callback: the auth callback.
        respond: turns a result that is a Response, an HTTPException or one of `answers` into the
            response to be sent.
        answers: further types of results that are responses; one that is false denies, though.

    Raises:
        TypeError: the result is neither yes nor no nor a response.
        BaseException: what the callback, or the truth value of its result, raises.
    """
    try:
        result = callback()
    except HTTPException as error:
        result = error
    while isinstance(result, LocalProxy):  # a current_user; it has the methods of everything
        result = result._get_current_object()  # noqa: SLF001  documented
    if issubclass(type(result), RESPONSES):  # by its type: a mock says that it is one
        return respond(result)
    kind = type(result).__name__
    if any(result is each for each in UNDECIDED):
        raise TypeError(f"the auth callback returned a {kind}, which is neither yes nor no")
    if not result:
        return False
    if isinstance(result, answers):
        log.warning(
            "the auth callback returned a %s, which admits nobody: it is sent as the response", kind
        )
        return respond(result)
    if _is_no_verdict(result):
        if isinstance(result, Coroutine):
            result.close()  # else Python warns that it was never awaited
        raise TypeError(f"the auth callback returned a {kind}, which is neither yes nor no")
    return True


def _is_no_verdict(result: object) -> bool:
    # What can be called is a method whose parentheses were forgotten (user.is_admin), or a WSGI
    # application, of which Flask makes a response.
    return (
        isinstance(result, NO_VERDICTS)
        or callable(result)
        or _is_a_response(result)
        or _is_a_future(result)
    )


def _is_a_future(result: object) -> bool:
    """Tell whether a result is a future, such as those of concurrent, gevent and Celery."""
    kind = type(result)
    return hasattr(kind, "add_done_callback") or all(hasattr(kind, each) for each in FUTURE)


def _is_a_response(result: object) -> bool:
    """Tell whether a result is a response of Django, Starlette or httpx, which are always true.

    A response of requests has a truth value of its own.
    """
    return not hasattr(type(result), "__bool__") and hasattr(result, "status_code")
