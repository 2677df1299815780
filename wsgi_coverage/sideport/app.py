"""What the side port answers: the dashboard below /debug/coverage, and py-coverage-http's paths.

    GET /coverage?name=…         everything executed so far, by every process
    GET, POST /coverage/reset    forget it
    GET, POST /coverage/save     have every process publish what it has executed
    GET /health                  whether it runs, and where its data is

Concurrency: immutable after construction; a request runs in whatever thread the server gives it.
"""

from __future__ import annotations

import base64
import logging
from collections.abc import Callable, Iterable
from typing import Any

from werkzeug.wrappers import Request, Response

from wsgi_coverage import bounds, clock
from wsgi_coverage.collect.worker import Worker
from wsgi_coverage.control import Control
from wsgi_coverage.errors import (
    MethodNotAllowedError,
    NotFoundError,
    UnauthorizedError,
    WsgiCoverageError,
    storage_errors,
)
from wsgi_coverage.model import JsonObject
from wsgi_coverage.report.serialize import serialize
from wsgi_coverage.settings import URL_PREFIX, Environ, Settings
from wsgi_coverage.store.workspace import workplace
from wsgi_coverage.web import auth
from wsgi_coverage.web.app import ControlApp, ControlRequest
from wsgi_coverage.web.negotiation import as_json, finish

log: logging.Logger = logging.getLogger("wsgi_coverage")

DEFAULT_LABEL = "session"
NO_PHASES = "a side port sees no requests of the application, so it cannot tell where the load ends"


class ProgramControl(Control):
    """`Control` of a program that wraps no application, with py-coverage-http's requests."""

    def __init__(self, worker: Worker, settings: Settings) -> None:
        super().__init__(worker, settings)
        self._program = worker

    def collect(self, *, wait: float) -> JsonObject:
        """Everything executed up to now, by every live process, as py-coverage-http has it.

        Args:
            wait: seconds to wait for the other processes, at most.

        Raises:
            RefreshBusyError, StorageError: nothing could be collected; nothing is lost.
        """
        gathering, fleet = self._ask_all("publish", wait=wait)
        with (
            self._publisher.lock(),  # else data files are folded while they are read
            workplace(self._program.private) as folder,
        ):
            inputs = self._inputs.read(gathering, fleet=fleet)
            serialized, warnings = serialize(inputs, folder)
        return {
            "coverage_data": base64.b64encode(serialized).decode(),
            "files_combined": len(inputs.data_files) + sum(bool(r.sources) for r in inputs.memory),
            "warnings": warnings,
            **gathering.as_json(),
        }

    def save(self, *, wait: float) -> JsonObject:
        """Have every live process publish what it has executed."""
        gathering = self._program.ask_all("publish", wait=wait)
        self._program.save()
        return {**self.about_data(), **gathering.as_json()}

    def about_data(self) -> JsonObject:
        """Where published data lies, and how many data files there are."""
        store = self._program.store
        return {"data_dir": store.describe(), "coverage_files": len(store.published())}

    def health(self, *, wait: float) -> JsonObject:
        """As `Control.health`, with the reason why load is not told from runtime here.

        Args:
            wait: seconds to wait for the other processes, at most.
        """
        health = super().health(wait=wait)
        if health["phase"] is None and health["phase_reason"] is None:
            health["phase_reason"] = NO_PHASES
        return health


class SideApp:
    """A WSGI application for a port of its own.

    Args:
        settings: the access policy; its url_prefix is ignored.
        control: what the endpoints call.
    """

    def __init__(self, settings: Settings, control: ProgramControl) -> None:
        self._settings = settings
        self._control = control
        self._dashboard = ControlApp(settings, control)

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answer."""
        path = environ.get("PATH_INFO", "")
        if path == URL_PREFIX or path.startswith(f"{URL_PREFIX}/"):
            mounted = {**environ, "SCRIPT_NAME": URL_PREFIX, "PATH_INFO": path[len(URL_PREFIX) :]}
            return self._dashboard(mounted, start_response)
        request = ControlRequest(environ)
        return finish(self._respond(request, path))(environ, start_response)

    def _respond(self, request: Request, path: str) -> Response:
        try:
            with storage_errors(f"{path} needs to open files"):
                changes = path in CHANGING
                denied = auth.admit(request, self._settings, changes=changes)
                return denied if denied is not None else self._dispatch(request, path)
        except WsgiCoverageError as error:
            return self._problem(error)
        except Exception:
            log.exception("%r %r failed", request.method, path)
            return self._problem(WsgiCoverageError("internal error: see the program's log"))

    def _dispatch(self, request: Request, path: str) -> Response:
        if path == "/":
            return Response(status=303, headers={"Location": f"{URL_PREFIX}/"})
        if path not in VIEWS:
            raise NotFoundError(f"there is nothing at this path; the dashboard is at {URL_PREFIX}/")
        allowed = ("GET", "HEAD", "POST") if path in CHANGING else ("GET", "HEAD")
        if request.method not in allowed:
            raise MethodNotAllowedError(
                f"{request.method} is not allowed here; use {', '.join(allowed)}", allowed=allowed
            )
        return as_json(VIEWS[path](request, self._control))

    def _problem(self, error: WsgiCoverageError) -> Response:
        response = as_json({"error": error.slug, "message": str(error)}, error.status)
        if isinstance(error, MethodNotAllowedError):
            response.headers["Allow"] = ", ".join(error.allowed)
        if isinstance(error, UnauthorizedError):
            response.headers["WWW-Authenticate"] = auth.challenge(self._settings)
        return response


def _coverage(request: Request, control: ProgramControl) -> JsonObject:
    label = request.args.get("name", DEFAULT_LABEL)
    collected = control.collect(wait=bounds.WAIT)
    message = f"Combined {collected['files_combined']} coverage files"
    return {"label": label, "timestamp": clock.now_iso(), **collected, "message": message}


def _reset(request: Request, control: ProgramControl) -> JsonObject:  # noqa: ARG001
    return {"status": "reset", **control.reset(wait=bounds.WAIT).as_json()}


def _save(request: Request, control: ProgramControl) -> JsonObject:  # noqa: ARG001
    return {"status": "ok", "message": "Coverage saved", **control.save(wait=bounds.WAIT)}


def _health(request: Request, control: ProgramControl) -> JsonObject:  # noqa: ARG001
    return {"status": "ok", "coverage_enabled": True, **control.about_data()}


VIEWS = {
    "/coverage": _coverage,
    "/coverage/reset": _reset,
    "/coverage/save": _save,
    "/health": _health,
}
CHANGING = frozenset({"/coverage/reset", "/coverage/save"})
