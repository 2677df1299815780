"""What an auth callback says: yes, no, or a response in place of both. No state.

A result counts by its truth. That of a coroutine, a generator, a text or a response says nothing,
because it is true whatever was decided: such a result lets nobody in.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from typing import Any

from werkzeug.exceptions import HTTPException
from werkzeug.local import LocalProxy
from werkzeug.wrappers import Response

log: logging.Logger = logging.getLogger("wsgi_coverage")

VIEW_VALUES = (str, bytes, bytearray, tuple, list, dict)  # Flask makes responses of these
NO_VERDICTS = (*VIEW_VALUES, Awaitable, Iterator, AsyncIterator, BaseException)


def ask(
    callback: Callable[[], object],
    respond: Callable[[Any], Response],
    *,
    answers: tuple[type, ...] = (),
) -> bool | Response:
    """Call an auth callback: does it let in, or what is to be sent instead?

    Args:
        callback: what to call.
        respond: makes a response of a returned one, of an HTTPException, and of `answers`.
        answers: further types of results that are responses; an empty one is a no all the same.

    Raises:
        TypeError: the result is no verdict.
        Exception: what the callback, or the truth of its result, raises.
    """
    try:
        result = callback()
    except HTTPException as error:
        result = error
    while isinstance(result, LocalProxy):  # a current_user; it has the methods of everything
        result = result._get_current_object()  # noqa: SLF001  documented
    if isinstance(result, (Response, HTTPException)):
        return respond(result)
    if not result:
        return False
    kind = type(result).__name__
    if isinstance(result, answers):
        log.warning("the auth callback returned a %s: it is sent, and lets nobody in", kind)
        return respond(result)
    if _is_no_verdict(result):
        if isinstance(result, Coroutine):
            result.close()  # else Python warns that it was never awaited
        raise TypeError(f"the auth callback returned a {kind}, which is neither yes nor no")
    return True


def _is_no_verdict(result: object) -> bool:
    # What can be called is a method whose parentheses were forgotten (user.is_admin), or a WSGI
    # application, of which Flask makes a response.
    return isinstance(result, NO_VERDICTS) or callable(result) or _is_a_response(result)


def _is_a_response(result: object) -> bool:
    """Tell Django's responses, Starlette's and httpx's; those of requests have a truth."""
    has_truth = any(hasattr(type(result), name) for name in ("__bool__", "__len__"))
    return not has_truth and hasattr(result, "status_code")
