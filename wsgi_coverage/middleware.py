"""Entry point: wrap a WSGI application, and its coverage is at ``/debug/coverage/``.

    application = CoverageMiddleware(application)

A request that is not ours costs one comparison and reaches the application untouched: the same
environ, the same iterable, the same exceptions.

Concurrency: immutable after construction, but for the first request, which replaces the wrapper
that ends the load by the application itself.
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
from wsgi_coverage.collect.servers import uwsgi
from wsgi_coverage.collect.worker import Worker
from wsgi_coverage.compat import names
from wsgi_coverage.errors import SettingsError, StorageError, UnsupportedPythonError, storage_errors
from wsgi_coverage.settings import ORIGINAL, Environ, Settings

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
        SettingsError: a setting is wrong, coverage.py's configuration cannot be read, or this is no
            WSGI application, but an ASGI one for instance.
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
        if settings.disabled:
            self._prefix = self._below = "\x00"  # no path starts like that
            return
        check_is_wsgi(app)
        settings.require_auth()
        # environ holds the path's bytes as latin-1 (PEP 3333).
        self._prefix = settings.url_prefix.encode().decode("latin-1")
        self._below = f"{self._prefix}/"
        self._settings = settings
        self._control_app: ControlApp | None = None
        self._why_not = ""  # measuring could not be started
        self._start_measuring(settings)
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
            worker.configure(settings.autosave_interval)  # may start the process that does so
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
        """What answers below the prefix, with all that it imports: made when it is first asked.

        A worker that is never asked is smaller by 8 MB, and its forks faster.
        """
        if self._control_app is None:
            from wsgi_coverage.web.app import ControlApp

            control = None if self._worker is None else self._control(self._worker)
            self._control_app = ControlApp(self._settings, control, self._why_not)
        return self._control_app

    def _control(self, worker: Worker) -> Control:
        from wsgi_coverage.control import Control

        return Control(worker, self._settings)

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answer what is ours; hand everything else on."""
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
        except StorageError as error:  # no descriptor is left to import it by
            return _refused(error, start_response)
        return dashboard(self._mounted(environ, path), start_response)

    def _before_request(self) -> None:
        """Before a request: do what is due in this process, a reset or an autosave for instance."""
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
        """The environ as the control app is to see it: the prefix belongs to SCRIPT_NAME."""
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
        """After a change of user: choose the folders for reports anew, where this one may write."""
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
        """The application, for its first request in this process; later ones go there directly.

        Requests that come meanwhile wait, so that none of their lines counts as load.
        """

        def application(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
            if self._worker is not None:
                try:
                    self._worker.end_load()
                    self._note_server(environ)
                except Exception:
                    log.exception("load cannot be told from runtime")
            if self._app is application:
                self._app = app
            result = app(environ, start_response)
            try:
                _check_is_iterable(result, app)
            except TypeError:
                self._app = application  # the next request is told, too
                raise
            return result

        return application

    def _notice_uwsgi_forks(self) -> None:
        """Have uWSGI call right after a fork, before the worker has threads."""
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
        """The application, behind a look at the process's id.

        That costs 0.1 to 0.2 microseconds, so only those pay whose server forks without hooks.
        """

        def application(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
            self._notice_fork()
            return app(environ, start_response)

        return application


def check_is_wsgi(app: object) -> None:
    """Refuse what is no WSGI application, so that each request of it would fail.

    Raises:
        SettingsError: it cannot be called as one, or calling it gives a coroutine.
    """
    if why := why_not_wsgi(app):
        raise SettingsError(f"argument app: app must be a WSGI application, got {app!r}: {why}")


def why_not_wsgi(app: object) -> str | None:
    """Why something is no WSGI application, as far as that can be told without calling it."""
    if not callable(app):
        return "it is not callable"
    if callables.is_async(app):
        return ASGI
    if callables.takes(app, 2):
        return None
    # Functions that call an application of ASGI 3 or 2, and classes of ASGI 2.
    return ASGI if callables.takes(app, 3) or callables.first_parameter(app) == "scope" else NO_WSGI


def _check_is_iterable(result: object, app: object) -> None:
    """Say what an application is whose result nobody can iterate over.

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
    """The answer where the modules that answer cannot be imported."""
    body = json.dumps({"error": error.slug, "message": str(error)}).encode()
    headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
    start_response(
        f"{error.status} Insufficient Storage", [*headers, ("Cache-Control", "no-store")]
    )
    return [body]


def _server_of(environ: Environ) -> str | None:
    """What a server calls itself."""
    for name in ("uwsgi.version", "mod_wsgi.version"):
        if name in environ:
            return f"{name.partition('.')[0]} {_version(environ[name])}"
    software = environ.get("SERVER_SOFTWARE")
    return str(software)[:100] if software else None


def _version(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("latin-1")
    return ".".join(map(str, value)) if isinstance(value, tuple) else str(value)
