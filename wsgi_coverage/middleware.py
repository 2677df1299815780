"""Entry point: wrap a WSGI application, and serve its coverage at ``/debug/coverage/``.

    application = CoverageMiddleware(application)

A request that is not ours costs two comparisons and a count, and reaches the application untouched:
the same environ, the same iterable, the same exceptions.

Concurrency: immutable after construction, with two exceptions: the first request replaces the
wrapper that ends the load by the application itself, and the control app is made when it is needed.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from wsgi_coverage import callables, upkeep
from wsgi_coverage import settings as settings_module
from wsgi_coverage.collect import forks
from wsgi_coverage.collect.engines.attention import Attention
from wsgi_coverage.collect.labels import serving
from wsgi_coverage.collect.labels.requests import LabellingApplication
from wsgi_coverage.collect.servers import uwsgi
from wsgi_coverage.collect.worker import Worker
from wsgi_coverage.compat import names
from wsgi_coverage.errors import (
    NotMeasuringError,
    SettingsError,
    StorageError,
    UnsupportedPythonError,
    storage_errors,
)
from wsgi_coverage.settings import ORIGINAL, Environ, Settings
from wsgi_coverage.store.days import DaysKept

if TYPE_CHECKING:
    from wsgi_coverage.control import Control
    from wsgi_coverage.web.app import ControlApp

log: logging.Logger = logging.getLogger("wsgi_coverage")

WsgiApplication = Callable[[Environ, Callable[..., Any]], Iterable[bytes]]

ASGI = (
    "it is async, an ASGI application, and those are measured by `wsgi-coverage run`, as in "
    "'wsgi-coverage run -m uvicorn module:app'"
)
NO_WSGI = "it cannot be called with an environ and start_response (PEP 3333)"


class CoverageMiddleware:
    """Measures this process and answers below ``url_prefix``; all else goes to the application.

    Args:
        app: the WSGI application to wrap.
        **keywords: see docs/reference/settings.md; ``WSGI_COVERAGE_<NAME>`` stands in for each.

    Raises:
        SettingsError: a setting is wrong, coverage.py's configuration cannot be read, or `app` is
            no WSGI application, but an ASGI one for instance.
        AuthNotConfiguredError: no auth callback, no password, and debug is off.
        UnsupportedPythonError: this is not CPython, or it runs without the GIL.
    """

    def __init__(self, app: WsgiApplication, **keywords: Any) -> None:
        forks.note_folder()
        self._start(app, settings_module.load(keywords, env=os.environ))

    @classmethod
    def with_settings(cls, app: WsgiApplication, settings: Settings) -> CoverageMiddleware:
        """Wrap an application under settings that an entry point has loaded already."""
        self = cls.__new__(cls)
        self._start(app, settings)
        return self

    def _start(self, app: WsgiApplication, settings: Settings) -> None:
        self._app = app
        self._worker: Worker | None = None
        self._attention = Attention()
        self._why_not = ""  # why measuring could not be started
        if settings.disabled:
            self._prefix = self._below = "\x00"  # no path starts like that
            return
        check_is_wsgi(app)
        settings.require_auth()
        settings = _labelling_as_the_program(settings)
        # environ holds the path's bytes as latin-1 (PEP 3333).
        self._prefix = settings.url_prefix.encode().decode("latin-1")
        self._below = f"{self._prefix}/"
        self._settings = settings
        self._control_app: ControlApp | None = None
        self._start_measuring(settings)
        if settings.labels != "off":
            app = LabellingApplication(
                app, lambda: self._worker, by_route=settings.labels == "route"
            )
        self._app = self._ending_the_load(app)
        if uwsgi.is_here():
            self._app = self._noticing_forks(self._app)
            self._notice_uwsgi_forks()

    def _start_measuring(self, settings: Settings) -> None:
        try:
            with settings.reading_config_file():
                worker = forks.start(
                    config_file=settings.config_file, branch=settings.branch, wraps=True
                )
            upkeep.set_up(worker, settings)
            worker.keep_days(DaysKept(settings.seen_days, settings.release or ""))
            worker.engine.labelled_too += settings.contexts_include
            worker.configure(settings.autosave_interval)  # may start the autosave process
            worker.begin_load()
            self._attention = worker.engine.attention
            self._home = worker.home
            self._worker = worker
        except (SettingsError, UnsupportedPythonError):
            raise
        except Exception as error:
            log.exception("measuring could not be started; the application goes on without it")
            self._go_on_without(error)

    def _go_on_without(self, error: Exception) -> None:
        self._worker = self._control_app = None
        self._why_not = f"{type(error).__name__}: {names.change(error) or error}"

    def _dashboard(self) -> ControlApp:
        """Return the control app; import and make it on the first call.

        A worker that gets no request to the dashboard saves 8 MB, and forks faster.
        """
        if self._control_app is None:
            from wsgi_coverage.web.app import ControlApp

            control = None if self._worker is None else self._control(self._worker)
            self._control_app = ControlApp(self._settings, control, self._why_not)
        return self._control_app

    def make_control(self) -> Control:
        """Return what the dashboard calls, for code of this process.

        Raises:
            NotMeasuringError: nothing is measured.
        """
        self._notice_fork()
        if self._worker is None:
            raise NotMeasuringError(self._why_not or "measuring is disabled")
        self._before_request()
        return self._control(self._worker)

    def _control(self, worker: Worker) -> Control:
        from wsgi_coverage.control import Control

        return Control(worker, self._settings)

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answer requests below the prefix; pass all others on to the application."""
        path = environ.get("PATH_INFO", "")
        if not path.startswith(self._prefix) or not self._owns(path):
            attention = self._attention
            if attention.turn[0] != attention.applied:
                self._before_request()
            attention.requests[0] += 1
            return self._app(environ, start_response)
        self._notice_fork()
        self._note_server(environ)
        self._before_request()
        self._notice_user()
        try:
            with storage_errors("the dashboard cannot be loaded"):
                dashboard = self._dashboard()
        except StorageError as error:  # no descriptor is left to import modules
            return _refused(error, start_response)
        return dashboard(self._mounted(environ, path), start_response)

    def _before_request(self) -> None:
        """Do what is due in this process before a request, a reset or an autosave for instance."""
        try:
            if self._worker is not None:
                self._worker.before_request()
        except Exception:
            log.exception(
                "a reset, pause or autosave that was due has failed; the application goes on"
            )

    def _owns(self, path: str) -> bool:
        return path == self._prefix or path.startswith(self._below)

    def _mounted(self, environ: Mapping[str, Any], path: str) -> Environ:
        """Return the environ for the control app, with the prefix moved to SCRIPT_NAME."""
        script_name = environ.get("SCRIPT_NAME", "") + self._prefix
        return {
            **environ,
            "SCRIPT_NAME": script_name,
            "PATH_INFO": path[len(self._prefix) :],
            ORIGINAL: environ,
        }

    def _notice_fork(self) -> None:
        if self._worker is None:
            return
        try:
            self._worker.check_pid()
        except Exception as error:
            log.exception("measuring cannot go on after a fork; the application goes on without it")
            self._go_on_without(error)

    def _notice_user(self) -> None:
        """Have the folders of reports chosen anew if the process's user has changed."""
        if self._worker is None:
            return
        try:
            self._worker.check_user()
            if self._worker.home != self._home:
                self._home = self._worker.home
                self._control_app = None
        except Exception:
            log.exception("the folders of reports cannot be set up after a change of user")

    def _note_server(self, environ: Environ) -> None:
        if self._worker is not None and self._worker.server is None:
            self._worker.name_server(_server_of(environ))

    def _ending_the_load(self, app: WsgiApplication) -> WsgiApplication:
        """Wrap an application so that the first request ends the load; later ones skip the wrapper.

        Requests that come while the load ends wait, so that none of their lines counts as load.
        """

        def application(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
            if self._worker is not None:
                try:
                    self._worker.end_load()
                    self._note_server(environ)
                except Exception:
                    log.exception("ending the load failed: load and runtime may be mixed up")
            if self._app is application:
                self._app = app
            result = app(environ, start_response)
            try:
                _check_is_iterable(result, app)
            except TypeError:
                self._app = application  # so that the next request fails by the same message
                raise
            return result

        return application

    def _notice_uwsgi_forks(self) -> None:
        """Register a hook that uWSGI calls right after a fork, before the worker has threads."""
        module: Any = sys.modules["uwsgi"]
        before = getattr(module, "post_fork_hook", None)

        def hook() -> None:
            if self._worker is not None and not self._worker.is_of_this_process:
                uwsgi.forget_threads_of_the_master()
            self._notice_fork()
            if before is not None:
                before()

        module.post_fork_hook = hook

    def _noticing_forks(self, app: WsgiApplication) -> WsgiApplication:
        """Wrap an application so that each request checks whether the process was forked.

        That takes 0.1 to 0.2 microseconds, so it is done only for uWSGI, which forks without hooks.
        """

        def application(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
            self._notice_fork()
            return app(environ, start_response)

        return application


def _labelling_as_the_program(settings: Settings) -> Settings:
    """Return settings that label the requests which `run` or `test` has had labelled, if any.

    The application's own `contexts` goes before.
    """
    labels = serving.labels()
    if labels is None or settings.contexts is not None:
        return settings
    return settings.having("wsgi-coverage run or test", contexts=labels.which)


def check_is_wsgi(app: object) -> None:
    """Check that an object can be a WSGI application.

    Raises:
        SettingsError: it cannot be called with two arguments, or a call returns a coroutine.
    """
    if why := why_not_wsgi(app):
        raise SettingsError(f"argument app: app must be a WSGI application, got {app!r}: {why}")


def why_not_wsgi(app: object) -> str | None:
    """Return why an object is no WSGI application; None: it may be one (it is not called)."""
    if not callable(app):
        return "it is not callable"
    if callables.is_async(app):
        return ASGI
    if callables.takes(app, 2):
        return None
    # Functions that call an application of ASGI 3 or 2, and classes of ASGI 2.
    return ASGI if callables.takes(app, 3) or callables.first_parameter(app) == "scope" else NO_WSGI


def _check_is_iterable(result: object, app: object) -> None:
    """Explain why a result cannot be iterated over, if the application is an ASGI one.

    Raises:
        TypeError: the result is a coroutine, or the application itself of ASGI 2.
    """
    kind = type(result)
    if hasattr(kind, "__iter__") or hasattr(kind, "__getitem__"):
        return
    if isinstance(result, Awaitable) or callables.is_async(result):
        if isinstance(result, Coroutine):
            result.close()  # else Python warns that it was never awaited
        raise TypeError(f"{app!r} is no WSGI application, it returned a {kind.__name__}: {ASGI}")


def _refused(error: StorageError, start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Return a 507 for a request to the dashboard whose modules cannot be imported."""
    body = json.dumps({"error": error.slug, "message": str(error)}).encode()
    headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
    start_response(
        f"{error.status} Insufficient Storage", [*headers, ("Cache-Control", "no-store")]
    )
    return [body]


def _server_of(environ: Environ) -> str | None:
    """Return the server's name and version from an environ; None where it has none."""
    for name in ("uwsgi.version", "mod_wsgi.version"):
        if name in environ:
            return f"{name.partition('.')[0]} {_version(environ[name])}"
    software = environ.get("SERVER_SOFTWARE")
    return str(software)[:100] if software else None


def _version(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("latin-1")
    return ".".join(map(str, value)) if isinstance(value, tuple) else str(value)
