"""The side port's application: the dashboard below /debug/coverage, and py-coverage-http's paths.

    GET /coverage?name=…         everything executed so far, by every process
    GET, POST /coverage/reset    forget every line that ran since the load
    GET, POST /coverage/save     have every process flush, and write data files
    GET /health                  whether measuring goes on, and where data files are
    GET /openapi.json            these paths, for machines

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
from wsgi_coverage.model.answers import AboutData, Collected, Saved, SideHealth, Status
from wsgi_coverage.settings import URL_PREFIX, Environ, Settings
from wsgi_coverage.web import auth
from wsgi_coverage.web.app import ControlApp, ControlRequest
from wsgi_coverage.web.audit import Change, audited
from wsgi_coverage.web.negotiation import as_json, finish, of_problem
from wsgi_coverage.web.openapi import Access, document
from wsgi_coverage.web.parameters import NAME
from wsgi_coverage.web.route import BUILDS, NOTHING, RESETS, Route, json_of
from wsgi_coverage.web.throttle import Throttle

log: logging.Logger = logging.getLogger("wsgi_coverage")

ABOUT = f"""\
Everything that a program and its child processes have executed, as py-coverage-http answers it. \
The dashboard on the same port has a document of its own: `{URL_PREFIX}/openapi.json`. HEAD works \
where GET does; any other method is a 405."""
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
        route = PATHS.get(path)
        change = None
        if route is not None and route.changes and request.method in (route.methods or ()):
            change = Change(route.name, {})
        response = audited(request, change, lambda: self._respond(request, path))
        return finish(response)(environ, start_response)

    def _respond(self, request: Request, path: str) -> Response:
        try:
            with storage_errors(f"{path} needs to open files"):
                changes = path in PATHS and PATHS[path].changes
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
            return _to_dashboard(request, self._control)
        if path not in PATHS:
            raise NotFoundError(f"there is nothing at this path; the dashboard is at {URL_PREFIX}/")
        route = PATHS[path]
        allowed = tuple(sorted(route.methods or ()))
        if request.method not in allowed:
            raise MethodNotAllowedError(
                f"{request.method} is not allowed here; use {', '.join(allowed)}", allowed=allowed
            )
        return as_json(route.view(request, self._control))

    def _problem(self, request: Request, error: WsgiCoverageError) -> Response:
        response = as_json({"error": error.slug, "message": str(error)}, error.status)
        of_problem(request, error, response)
        if isinstance(error, UnauthorizedError):
            response.headers["WWW-Authenticate"] = auth.challenge(self._settings)
        return response


def _to_dashboard(request: Request, control: Control) -> Response:  # noqa: ARG001
    """GET /: the dashboard's address."""
    return Response(status=303, headers={"Location": f"{URL_PREFIX}/"})


def _coverage(request: Request, control: Control) -> Collected:
    """GET /coverage: everything executed so far, by every process."""
    found = control.serialize(wait=bounds.WAIT)
    return {
        "label": request.args.get("name", DEFAULT_LABEL),
        "timestamp": clock.now_iso(),
        "coverage_data": base64.b64encode(found.data).decode(),
        "files_combined": found.parts,
        "warnings": list(found.warnings),
        **found.gathering.as_json(),
        "message": f"Combined {found.parts} coverage files",
    }


def _reset(request: Request, control: Control) -> Status:  # noqa: ARG001
    """GET, POST /coverage/reset: forget every line that ran since the load."""
    return {"status": "reset", **control.reset(wait=bounds.WAIT).as_json()}


def _save(request: Request, control: Control) -> Saved:  # noqa: ARG001
    """GET, POST /coverage/save: have every process flush, and write data files."""
    gathering = control.save(wait=bounds.WAIT)
    return {
        "status": "ok",
        "message": "Coverage saved",
        **_about_data(control),
        **gathering.as_json(),
    }


def _health(request: Request, control: Control) -> SideHealth:  # noqa: ARG001
    """GET /health: whether measuring goes on, and where data files are."""
    return {"status": "ok", "coverage_enabled": True, **_about_data(control)}


def _about_data(control: Control) -> AboutData:
    return {"data_dir": control.data_folder, "coverage_files": control.count_data_files()}


def _openapi(request: Request, control: Control) -> JsonObject:
    """GET /openapi.json: these paths, for machines: an OpenAPI 3.1 document."""
    return document(
        ROUTES,
        Access.of(control.settings),
        request.root_path,
        title="wsgi-coverage: side port",
        about=ABOUT,
        negotiates=False,
    )


ROUTES = (
    Route("GET", "/", _to_dashboard, NOTHING, status=303, name="dashboard"),
    Route("GET", "/coverage", _coverage, json_of(Collected), query=[NAME], errors=BUILDS),
    Route("GET, POST", "/coverage/reset", _reset, json_of(Status), changes=True, errors=RESETS),
    Route("GET, POST", "/coverage/save", _save, json_of(Saved), changes=True),
    Route("GET", "/health", _health, json_of(SideHealth)),
    Route("GET", "/openapi.json", _openapi, json_of(JsonObject)),
)
PATHS = {each.rule: each for each in ROUTES if each.content}
