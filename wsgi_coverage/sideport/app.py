"""The side port's application: the dashboard below /debug/coverage, and py-coverage-http's paths.

    GET /coverage?name=…         everything executed so far, by every process
    GET, POST /coverage/reset    forget every line that ran since the load
    GET, POST /coverage/save     have every process flush, and write data files
    GET /health                  whether measuring goes on, and where data files are

Concurrency: immutable after construction; a request runs in whatever thread the server gives it.
"""

from __future__ import annotations

import base64
import logging
from collections.abc import Callable, Iterable
from typing import Any

from werkzeug.wrappers import Request, Response

from wsgi_coverage import bounds, clock
from wsgi_coverage.control import Control
from wsgi_coverage.errors import (
    MethodNotAllowedError,
    NotFoundError,
    UnauthorizedError,
    WsgiCoverageError,
    storage_errors,
)
from wsgi_coverage.model import JsonObject
from wsgi_coverage.settings import URL_PREFIX, Environ, Settings
from wsgi_coverage.web import auth
from wsgi_coverage.web.app import ControlApp, ControlRequest
from wsgi_coverage.web.audit import Change, audited
from wsgi_coverage.web.negotiation import as_json, finish, of_problem
from wsgi_coverage.web.throttle import Throttle

log: logging.Logger = logging.getLogger("wsgi_coverage")

DEFAULT_LABEL = "session"
NO_PHASES = "a side port sees no requests of the application, so it cannot tell where the load ends"


class SideApp:
    """A WSGI application for a port of its own.

    Args:
        settings: the access policy; its url_prefix is ignored.
        control: called by the endpoints.
    """

    def __init__(self, settings: Settings, control: Control) -> None:
        self._settings = settings
        self._control = control
        self._throttle = Throttle()
        self._dashboard = ControlApp(settings, control, throttle=self._throttle)

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answer a request."""
        path = environ.get("PATH_INFO", "")
        if path == URL_PREFIX or path.startswith(f"{URL_PREFIX}/"):
            mounted = {**environ, "SCRIPT_NAME": URL_PREFIX, "PATH_INFO": path[len(URL_PREFIX) :]}
            return self._dashboard(mounted, start_response)
        request = ControlRequest(environ)
        change = None
        if path in CHANGING and request.method in CHANGING_METHODS:
            change = Change(path.rpartition("/")[2], {})
        response = audited(request, change, lambda: self._respond(request, path))
        return finish(response)(environ, start_response)

    def _respond(self, request: Request, path: str) -> Response:
        try:
            with storage_errors(f"{path} needs to open files"):
                changes = path in CHANGING
                denied = auth.admit(request, self._settings, self._throttle, changes=changes)
                return denied if denied is not None else self._dispatch(request, path)
        except WsgiCoverageError as error:
            return self._problem(request, error)
        except Exception:
            log.exception("%r %r failed", request.method, path)
            internal = WsgiCoverageError("internal error: see the program's log")
            return self._problem(request, internal)

    def _dispatch(self, request: Request, path: str) -> Response:
        if path == "/":
            return Response(status=303, headers={"Location": f"{URL_PREFIX}/"})
        if path not in VIEWS:
            raise NotFoundError(f"there is nothing at this path; the dashboard is at {URL_PREFIX}/")
        allowed = CHANGING_METHODS if path in CHANGING else ("GET", "HEAD")
        if request.method not in allowed:
            raise MethodNotAllowedError(
                f"{request.method} is not allowed here; use {', '.join(allowed)}", allowed=allowed
            )
        return as_json(VIEWS[path](request, self._control))

    def _problem(self, request: Request, error: WsgiCoverageError) -> Response:
        response = as_json({"error": error.slug, "message": str(error)}, error.status)
        of_problem(request, error, response)
        if isinstance(error, UnauthorizedError):
            response.headers["WWW-Authenticate"] = auth.challenge(self._settings)
        return response


def _coverage(request: Request, control: Control) -> JsonObject:
    found = control.serialize(wait=bounds.WAIT)
    return {
        "label": request.args.get("name", DEFAULT_LABEL),
        "timestamp": clock.now_iso(),
        "coverage_data": base64.b64encode(found.data).decode(),
        "files_combined": found.parts,
        "warnings": found.warnings,
        **found.gathering.as_json(),
        "message": f"Combined {found.parts} coverage files",
    }


def _reset(request: Request, control: Control) -> JsonObject:  # noqa: ARG001
    return {"status": "reset", **control.reset(wait=bounds.WAIT).as_json()}


def _save(request: Request, control: Control) -> JsonObject:  # noqa: ARG001
    gathering = control.save(wait=bounds.WAIT)
    return {
        "status": "ok",
        "message": "Coverage saved",
        **_about_data(control),
        **gathering.as_json(),
    }


def _health(request: Request, control: Control) -> JsonObject:  # noqa: ARG001
    return {"status": "ok", "coverage_enabled": True, **_about_data(control)}


def _about_data(control: Control) -> JsonObject:
    return {"data_dir": control.data_folder, "coverage_files": control.count_data_files()}


VIEWS = {
    "/coverage": _coverage,
    "/coverage/reset": _reset,
    "/coverage/save": _save,
    "/health": _health,
}
CHANGING = frozenset({"/coverage/reset", "/coverage/save"})
CHANGING_METHODS = ("GET", "HEAD", "POST")
