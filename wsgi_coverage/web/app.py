"""The control app: authorize a request, match its URL, call the view, finish the response.

Concurrency: immutable after construction; a request runs in whatever thread the server gives it.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import quote

from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound
from werkzeug.routing import RequestRedirect
from werkzeug.wrappers import Request, Response

from wsgi_coverage import liveness
from wsgi_coverage.compat import names
from wsgi_coverage.control import Control
from wsgi_coverage.errors import (
    MethodNotAllowedError,
    NotFoundError,
    NotMeasuringError,
    RequestError,
    UnauthorizedError,
    WsgiCoverageError,
    storage_errors,
)
from wsgi_coverage.settings import Environ, Settings
from wsgi_coverage.web import audit, auth, negotiation
from wsgi_coverage.web.heartbeat import Heartbeat
from wsgi_coverage.web.routes import URL_MAP
from wsgi_coverage.web.throttle import Throttle

log: logging.Logger = logging.getLogger("wsgi_coverage")

NOT_ASCII = re.compile(rb"[^\x00-\x7f]")
MAX_BODY = 65_536  # bytes; what is sent here is a label at most


class ControlRequest(Request):
    """A request with a limit on its body; non-ASCII bytes of its query are percent-encoded."""

    # werkzeug refuses a body of unknown length that has just this length, hence one byte more.
    max_content_length: int | None = MAX_BODY + 1
    max_form_memory_size: int | None = MAX_BODY
    max_form_parts = 20

    def __init__(self, environ: Environ) -> None:
        super().__init__(environ)
        # Some servers pass on raw bytes, of a link on a latin-1 page for instance; werkzeug decodes
        # them as UTF-8, and fails if they are not.
        self.query_string: bytes = NOT_ASCII.sub(
            lambda raw: b"%%%02X" % ord(raw[0]), self.query_string
        )


class ControlApp:
    """A WSGI application that answers everything below the prefix.

    Args:
        settings: the access policy.
        control: what the views call; None when measuring could not be started.
        why_not: why `control` is None: the message of the 503 for each request.
        throttle: counts wrong passwords; None: one of its own.
    """

    def __init__(
        self,
        settings: Settings,
        control: Control | None,
        why_not: str = "",
        *,
        throttle: Throttle | None = None,
    ) -> None:
        self._settings = settings
        self._control = control
        self._why_not = why_not
        self._throttle = throttle or Throttle()

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answer a request; SCRIPT_NAME ends, and PATH_INFO begins, where the prefix does."""
        request = ControlRequest(environ)
        with liveness.during(Heartbeat()):
            response = audit.audited(
                request, audit.change_of(request), lambda: self._respond(request)
            )
        return negotiation.finish(response)(environ, start_response)

    def _respond(self, request: Request) -> Response:
        try:
            with storage_errors(f"{request.method} needs to open files"):
                denied = auth.admit(request, self._settings, self._throttle)
                return denied if denied is not None else self._dispatch(request)
        except WsgiCoverageError as error:
            return self._problem(request, error)
        except Exception as error:
            if (changed := names.change(error)) is not None:
                log.warning("%r %r failed", request.method, request.path, exc_info=True)
                return self._problem(request, changed)
            log.exception("%r %r failed", request.method, request.path)
            return self._problem(request, WsgiCoverageError("internal error: see the server's log"))

    def _dispatch(self, request: Request) -> Response:
        if not request.environ.get("PATH_INFO") and request.root_path:
            return _to_folder(request)
        adapter = URL_MAP.bind("localhost", path_info=request.path)
        try:
            view, arguments = adapter.match(method=request.method)
        except RequestRedirect:
            raise NotFoundError("there is nothing at this path") from None
        except MethodNotAllowed as error:
            return self._other_method(request, tuple(sorted(error.valid_methods or ())))
        except NotFound:
            raise NotFoundError("there is nothing at this path") from None
        if self._control is None:
            raise NotMeasuringError(self._why_not)
        try:
            response: Response = view(request, self._control, **arguments)
        except HTTPException as error:  # werkzeug's own, about a malformed request
            raise RequestError(error.description or str(error)) from error
        return response

    def _other_method(self, request: Request, valid: tuple[str, ...]) -> Response:
        allowed = tuple(sorted({*valid, "OPTIONS"}))
        if request.method == "OPTIONS":
            response = Response(status=204, headers={"Allow": ", ".join(allowed)})
            del response.headers["Content-Type"]
            return response
        raise MethodNotAllowedError(
            f"{request.method} is not allowed here; use {', '.join(allowed)}", allowed=allowed
        )

    def _problem(self, request: Request, error: WsgiCoverageError) -> Response:
        response = negotiation.problem(request, error)
        if isinstance(error, UnauthorizedError):
            response.headers["WWW-Authenticate"] = auth.challenge(self._settings)
        return response


def _to_folder(request: Request) -> Response:
    """Redirect to the dashboard's address with a slash, so that links on it can be relative."""
    query = request.query_string.decode("latin-1")
    location = f"{quote(request.root_path.rpartition('/')[2])}/{'?' if query else ''}{query}"
    return Response(status=308, headers={"Location": location})
