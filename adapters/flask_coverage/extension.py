"""Entry point for Flask: ``FlaskCoverage(app)``.

Translates Flask's idea of configuration and authorization into wsgi_coverage's, and decides nothing
itself. Concurrency: immutable after construction, but for the applications that `init_app` wraps.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flask import Flask, Response, session
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response as BaseResponse

from wsgi_coverage import settings as settings_module
from wsgi_coverage.collect import early, forks
from wsgi_coverage.errors import SettingsError, UnauthorizedError
from wsgi_coverage.middleware import CoverageMiddleware, check_is_wsgi
from wsgi_coverage.system import workdir
from wsgi_coverage.web.verdict import VIEW_VALUES, ask

if TYPE_CHECKING:
    from coverage import Coverage

    from wsgi_coverage.settings import AuthCallback, Environ

ENV_NAMES = {
    name: f"FLASK_COVERAGE_{name.upper()}" for name in ("password", "username", "disabled")
}
FOLDERS = {
    name: (Path(f".flask-coverage-{folder}"), settings_module.BUILT_IN)
    for name, folder in (("cache_dir", "cache"), ("snapshot_dir", "snapshots"))
}


class FlaskCoverage:
    """Measures a Flask application and serves its coverage at ``url_prefix``.

    Args:
        app: the application; or call `init_app` later.
        url_prefix: where the dashboard is.
        auth: called without arguments inside a request context. A result that is true lets the
            request in; what a view may return is sent instead, as 401 where it has no status of its
            own; ``abort()`` works; an exception denies. Neither async nor a generator function.
        config_file: coverage.py's configuration. Unless set, coverage.py looks where it always
            does, then for a ``pyproject.toml`` above the application's folder.
        snapshot_dir: the folder of snapshots; beside the data file unless set.
        cache_dir: the folder of reports; beside the data file unless set.
        autosave_interval: seconds between two saves of a worker; 0 turns it off.
        debug: serve without credentials, to local host names only; ``app.debug`` unless set.
        settings: the other settings of docs/reference/settings.md, which has the defaults.

    Raises:
        AuthNotConfiguredError: a RuntimeError; no password, no `auth`, and debug is off.
        SettingsError: a ValueError; a setting is wrong.
    """

    def __init__(
        self,
        app: Flask | None = None,
        *,
        url_prefix: str | None = None,
        auth: Callable[[], object] | None = None,
        config_file: str | Path | None = None,
        snapshot_dir: str | Path | None = None,
        cache_dir: str | Path | None = None,
        autosave_interval: float | None = None,
        debug: bool | None = None,
        **settings: Any,
    ) -> None:
        self._auth = auth
        self._keywords = {
            "url_prefix": url_prefix,
            "config_file": config_file,
            "snapshot_dir": snapshot_dir,
            "cache_dir": cache_dir,
            "autosave_interval": autosave_interval,
            "debug": debug,
            **settings,
        }
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """Wrap an application; any number of applications can share one FlaskCoverage.

        Raises:
            AuthNotConfiguredError: a RuntimeError; no password, no `auth`, and debug is off.
            SettingsError: a ValueError; a setting is wrong.
        """
        check_is_wsgi(app)  # Quart's applications look like Flask's
        if app.extensions.get("coverage") is self:
            return
        forks.note_folder()
        keywords = dict(self._keywords)
        if self._auth is not None:
            keywords["auth"] = in_request_context(app, self._auth)
        settings = settings_module.load(
            keywords,
            env=os.environ,
            env_names=ENV_NAMES,
            defaults={
                "debug": (app.debug, "app.debug"),
                "config_file": (_pyproject_above(app), "found above the application"),
                **FOLDERS,
            },
        )
        if settings.disabled:
            return
        if self._auth is not None:
            try:
                settings_module.check_callback(self._auth)
            except ValueError as error:
                raise SettingsError(f"keyword auth: auth {error}, got {self._auth!r}") from None
        app.wsgi_app = CoverageMiddleware.with_settings(  # type: ignore[method-assign]
            app.wsgi_app, settings
        )
        app.extensions.setdefault("coverage", self)

    @property
    def coverage(self) -> Coverage:
        """The Coverage that measures this process.

        Raises:
            RuntimeError: nothing is measured: `init_app` was not called, or coverage is disabled.
        """
        running = early.running()
        if running is None:
            raise RuntimeError("nothing is measured: call init_app first")
        return running


def start_early(config_file: str | Path | None = None) -> Coverage | None:
    """Start measuring before the application's modules are imported; call it first of all.

    Returns:
        The Coverage that was started; None if ``FLASK_COVERAGE_DISABLED`` is set, or if measuring
        was going on already.

    Raises:
        SettingsError: coverage.py's configuration cannot be read.
    """
    return early.start_early(config_file, env_names=ENV_NAMES)


def in_request_context(app: Flask, auth: Callable[[], object]) -> AuthCallback:
    """Turn a callback that needs a request context into one that takes an environ."""

    def respond(answer: Any) -> Response:
        has_status = isinstance(answer, (BaseResponse, HTTPException, tuple))
        response = app.make_response(answer if has_status else (answer, UnauthorizedError.status))
        app.session_interface.save_session(app, session, response)
        return response

    def ask_there(environ: Environ) -> bool | BaseResponse:
        with app.request_context(environ):
            return ask(auth, respond, answers=VIEW_VALUES)

    return ask_there


def _pyproject_above(app: Flask) -> Path | None:
    """Return the nearest pyproject.toml above the application that configures coverage.py.

    None where coverage.py finds a configuration by itself, or there is no such file.
    """
    if os.environ.get("COVERAGE_RCFILE") or any(map(_configures_coverage, _looked_at())):
        return None
    folder = Path(app.root_path).resolve()
    candidates = (parent / "pyproject.toml" for parent in (folder, *folder.parents))
    return next(filter(_configures_coverage, candidates), None)


def _looked_at() -> Iterable[Path]:
    names = (".coveragerc", "setup.cfg", "tox.ini", "pyproject.toml")
    return (Path(workdir.here(name)) for name in names)


def _configures_coverage(path: Path) -> bool:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return False
    return path.name == ".coveragerc" or "[coverage:" in text or "[tool.coverage" in text
