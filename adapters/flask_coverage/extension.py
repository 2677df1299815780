"""Entry point for Flask: ``FlaskCoverage(app)``.

Translates Flask's idea of configuration and authorization into wsgi_coverage's, and decides nothing
itself. Concurrency: immutable after construction, but for the applications that `init_app` wraps.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flask import Flask, Response, session
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response as BaseResponse

from wsgi_coverage import bounds
from wsgi_coverage import settings as settings_module
from wsgi_coverage.collect import early, forks
from wsgi_coverage.errors import (
    NoDataError,
    NoReportError,
    NotMeasuringError,
    SettingsError,
    UnauthorizedError,
)
from wsgi_coverage.middleware import CoverageMiddleware, check_is_wsgi
from wsgi_coverage.system import workdir
from wsgi_coverage.web.verdict import VIEW_VALUES, ask

if TYPE_CHECKING:
    from coverage import Coverage

    from wsgi_coverage.control import Control
    from wsgi_coverage.model.answers import File, Refreshed, Snapshot, Summary, Taken
    from wsgi_coverage.settings import AuthCallback, Environ

ENV_NAMES = {
    name: f"FLASK_COVERAGE_{name.upper()}" for name in ("password", "username", "disabled")
}
FOLDERS = {
    name: (Path(f".flask-coverage-{folder}"), settings_module.BUILT_IN)
    for name, folder in (("cache_dir", "cache"), ("snapshot_dir", "snapshots"))
}


NOT_BEGUN = "nothing is measured: call init_app first"
DEFAULT_INTERVAL = 30.0  # seconds
# Paths below the prefix, with the names for url_for and the methods that flask-coverage gave them.
ENDPOINTS = (
    ("/", "index", "GET"),
    ("/report", "report", "GET"),
    ("/files", "files", "GET"),
    ("/export", "export", "GET"),
    ("/html/", "html_index", "GET"),
    ("/html/<path:filename>", "html_asset", "GET"),
    ("/refresh", "refresh", "POST"),
    ("/reset", "reset", "POST"),
    ("/snapshot", "snapshot", "POST"),
    ("/snapshots", "snapshots_list", "GET"),
    ("/snapshots/<snap_id>", "snapshot_download", "GET"),
)


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
        self.url_prefix: str = url_prefix or settings_module.URL_PREFIX
        self.auth = auth
        self.config_file = config_file
        self.autosave_interval: float = (
            DEFAULT_INTERVAL if autosave_interval is None else autosave_interval
        )
        self._middleware: CoverageMiddleware | None = None
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
        if self.auth is not None:
            keywords["auth"] = in_request_context(app, self.auth)
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
        if self.auth is not None:
            try:
                settings_module.check_callback(self.auth)
            except ValueError as error:
                raise SettingsError(f"keyword auth: auth {error}, got {self.auth!r}") from None
        settings.require_auth(ENV_NAMES["password"])
        self._middleware = CoverageMiddleware.with_settings(app.wsgi_app, settings)
        app.wsgi_app = self._middleware  # type: ignore[method-assign]
        self.url_prefix = settings.url_prefix
        self.autosave_interval = settings.autosave_interval
        for path, endpoint, method in ENDPOINTS:
            # For url_for alone: no request gets here.
            rule = app.url_rule_class(
                f"{settings.url_prefix}{path}",
                endpoint=f"flask_coverage.{endpoint}",
                methods=[method],
                build_only=True,
            )
            app.url_map.add(rule)
        app.extensions.setdefault("coverage", self)

    @property
    def coverage(self) -> Coverage:
        """The Coverage that measures this process.

        Raises:
            RuntimeError: nothing is measured: `init_app` was not called, or coverage is disabled.
        """
        running = early.running()
        if running is None:
            raise RuntimeError(NOT_BEGUN)
        return running

    # What the endpoints do, for code of this process. All of these raise RuntimeError where nothing
    # is measured, and the errors of the endpoints (docs/reference/errors.md).

    def refresh_cache(self) -> Refreshed:
        """Publish a new report, and return what POST /refresh answers."""
        return self._control().refresh(wait=bounds.WAIT).as_json()

    def ensure_cache(self) -> Refreshed:
        """Return what `refresh_cache` returned last; call it if no report is published."""
        found = self.cache_metadata()
        return self.refresh_cache() if found is None else found

    def cache_metadata(self) -> Refreshed | None:
        """Return what `refresh_cache` returned last; None if no report is published."""
        try:
            return self._control().report().as_json()
        except NoReportError:
            return None

    def cached_summary(self) -> Summary | None:
        """Return the figures of all files of the published report; None if there is none."""
        found = self.cache_metadata()
        return None if found is None else found["summary"]

    def cached_text_report(self) -> str:
        """Return the published text report; publish one first if there is none."""
        self.ensure_cache()
        return self._control().text()

    def cached_files(self) -> list[File]:
        """Return what GET /files answers; publish a report first if there is none."""
        self.ensure_cache()
        found: list[File] = json.loads(self._control().files())
        return found

    def cached_export_bytes(self) -> bytes | None:
        """Return the published combined data file, None if nothing was measured.

        A report is published first if there is none.
        """
        self.ensure_cache()
        try:
            return self._control().export("coverage")
        except NoDataError:
            return None

    def text_report(self) -> str:
        """Publish a new report, and return its text."""
        self.refresh_cache()
        return self.cached_text_report()

    def file_stats(self) -> list[File]:
        """Publish a new report, and return its list of files."""
        self.refresh_cache()
        return self.cached_files()

    def export_combined_bytes(self) -> bytes | None:
        """Publish a new report, and return its data file; None if nothing was measured."""
        self.refresh_cache()
        return self.cached_export_bytes()

    def take_snapshot(self, label: str | None = None) -> Taken:
        """Store a report of everything executed up to now; return what POST /snapshot answers.

        Raises:
            RuntimeError: nothing was measured yet.
        """
        try:
            taken, _ = self._control().snapshot(label=label, wait=bounds.WAIT)
        except NoDataError as error:
            raise RuntimeError(str(error)) from error
        return taken.as_taken(is_kept=True)

    def list_snapshots(self) -> list[Snapshot]:
        """Return all snapshots, newest first, as GET /snapshots does."""
        return [each.as_snapshot() for each in self._control().snapshots()]

    def snapshot_path(self, snap_id: str) -> Path | None:
        """Return the data file of a snapshot, by its id; None if it is not on this host."""
        return self._control().snapshot_path(snap_id)

    def reset(self) -> None:
        """Forget every line executed so far but at load, in all workers, as POST /reset does."""
        self._control().reset(wait=bounds.WAIT)

    def cache_dir_path(self) -> Path:
        """Return the folder of reports."""
        return self._control().cache_dir

    def data_file_path(self) -> Path:
        """Return the configured data file; data files are published beside it."""
        return Path(workdir.here(str(self.coverage.get_option("run:data_file"))))

    def _control(self) -> Control:
        if self._middleware is None:
            raise RuntimeError(NOT_BEGUN)
        try:
            return self._middleware.make_control()
        except NotMeasuringError as error:
            raise RuntimeError(str(error)) from error


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
