"""Log one line for every request for a change, done or refused: who, what, from where.

    change=reset result=done status=200 user="admin" address="10.0.0.7" host="web-1" pid=4711

The logger `wsgi_coverage.audit` has no handler and no level of its own, so the application's
configuration of logging decides where lines go, if anywhere. Texts are JSON strings in ASCII.

No state; called in the thread of the request.
"""

from __future__ import annotations

import json
import logging
import os
import socket
from collections.abc import Callable, Mapping
from typing import NamedTuple

from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Request, Response

from wsgi_coverage.model import Operation
from wsgi_coverage.web.auth import SAFE_METHODS
from wsgi_coverage.web.noted import FORM, PROBLEM, USER
from wsgi_coverage.web.routes import URL_MAP

log: logging.Logger = logging.getLogger("wsgi_coverage")
audit_log: logging.Logger = logging.getLogger("wsgi_coverage.audit")

DONE = "done"
INTERRUPTED = "interrupted"  # by the server, which ends its worker for instance
MAX_TEXT = 200  # characters of a text from outside
# The parameters that belong to a change; `wait` and `back` do not.
PARAMETERS = ("label", "reset", "keep")
ID = {"identity": "id"}  # as answers call it


class Change(NamedTuple):
    """A change that a request asks for."""

    name: str  # such as reset
    arguments: Mapping[str, str]  # of the request's path, by name


def change_of(request: Request) -> Change | None:
    """Return the change that a request to the dashboard asks for; None where it asks for none."""
    if request.method in SAFE_METHODS:
        return None
    try:
        view, arguments = URL_MAP.bind("localhost", path_info=request.path).match(
            method=request.method
        )
    except HTTPException:  # no such path, or not by this method
        return None
    return Change(view.__name__, {ID.get(name, name): each for name, each in arguments.items()})


def audited(request: Request, change: Change | None, respond: Callable[[], Response]) -> Response:
    """Call a function that answers a request, and log the change that was asked for, if any."""
    response: Response | None = None
    try:
        response = respond()
        return response
    finally:
        if change is not None:
            _note(request, change, response)


def _note(request: Request, change: Change, response: Response | None) -> None:
    """Log a change; an error of that is logged, and raises nothing."""
    try:
        if audit_log.isEnabledFor(logging.INFO):
            audit_log.info("%s", _line(request, change, response))
    except Exception:
        log.exception("a line of the audit log cannot be written")


def _line(request: Request, change: Change, response: Response | None) -> str:
    result, status = INTERRUPTED, "-"
    if response is not None:
        result, status = request.environ.get(PROBLEM, DONE), str(response.status_code)
    given = {**request.environ.get(FORM, {}), **request.args.to_dict()}
    texts = {
        **change.arguments,
        **{name: given[name] for name in PARAMETERS if name in given},
        **{
            each.value: ",".join(request.args.getlist(each))
            for each in Operation
            if each in request.args
        },
        "user": request.environ.get(USER),
        "address": request.environ.get("REMOTE_ADDR"),
        "host": socket.gethostname(),
    }
    fields = {
        "change": change.name,
        "result": result,
        "status": status,
        **{name: _quoted(text) for name, text in texts.items()},
        "pid": str(os.getpid()),
    }
    return " ".join(f"{name}={value}" for name, value in fields.items())


def _quoted(value: object) -> str:
    """Return a text as a JSON string of bounded length, on one line; a dash where there is none."""
    if not value:
        return "-"
    text = str(value)
    return json.dumps(text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]}...")
