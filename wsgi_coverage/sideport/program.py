"""Serve the side port of a program from its start, and serve it again after an exec.

An exec closes the port and keeps the process, so the next program of the process serves the same
port. The port and its settings are passed on in the environment.

Concurrency: runs in the main thread, before the program's first line; see the package for the rest.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import ipaddress
import logging
import os
import socket

from wsgi_coverage import settings as settings_module
from wsgi_coverage import upkeep
from wsgi_coverage.collect import children
from wsgi_coverage.collect.worker import Worker
from wsgi_coverage.control import Control
from wsgi_coverage.errors import SettingsError, WsgiCoverageError
from wsgi_coverage.model import JsonObject
from wsgi_coverage.settings import Environ, Settings
from wsgi_coverage.sideport import server as sideport
from wsgi_coverage.sideport.app import NO_PHASES, SideApp

log: logging.Logger = logging.getLogger("wsgi_coverage")

FOLDERS = ("config_file", "cache_dir", "snapshot_dir")  # passed on as absolute paths
AUTH = settings_module.variable("auth")

_served: tuple[sideport.SidePort, JsonObject] | None = None  # the port, and what an exec passes on
_lost_its_guard = False  # True: an exec left no password or auth, so that no port may be served


def serve(
    worker: Worker, settings: Settings, listening: socket.socket, *, host: str, insecure: bool
) -> None:
    """Serve the side port of this process until its end; an exec has it served again.

    Args:
        worker: this process's worker.
        settings: the dashboard's.
        listening: the socket; owned by the side port from now on.
        host: the host as given on the command line.
        insecure: admit everybody if neither a password nor `auth` is configured.
    """
    port = {
        "host": host,
        "number": listening.getsockname()[1],
        "insecure": insecure,
        "guarded": _is_guarded(settings),
        "folders": {
            settings_module.variable(name): str(getattr(settings, name))
            for name in FOLDERS
            if name in settings.origins
        },
    }
    _serve(worker, admitting(settings, host, insecure=insecure), listening, port)
    children.announce_port(os.environ, port)


def _serve(worker: Worker, settings: Settings, listening: socket.socket, port: JsonObject) -> None:
    global _served
    settings = settings.having("side port", url_prefix=settings_module.URL_PREFIX)
    upkeep.set_up(worker, settings)
    control = Control(worker, settings, NO_PHASES)

    def tidy() -> None:
        with contextlib.suppress(WsgiCoverageError, OSError):
            control.tidy()

    side = sideport.SidePort(SideApp(settings, control), listening, tidy=tidy)
    atexit.register(side.close)
    side.start()
    _served = side, port


def serve_again(worker: Worker) -> None:
    """Serve the port that this process served before an exec, if it did.

    If that fails, a warning is logged, and the program goes on, measured.
    """
    global _lost_its_guard
    port = children.announced_port(os.environ)
    if port is None:
        return
    host, number = port["host"], port["number"]
    try:
        settings = _settings_again(port)
        listening = sideport.bind(host, number)
    except (OSError, SettingsError) as error:
        _lost_its_guard = isinstance(error, SettingsError)
        log.warning("port %s on %s is not served any more: %s", number, host, error)
        return
    _serve(worker, settings, listening, port)


def _settings_again(port: JsonObject) -> Settings:
    env = {name: value for name, value in os.environ.items() if name != AUTH}
    settings = settings_module.load(
        {}, env={**env, **port["folders"]}, defaults=settings_module.OF_PROGRAMS
    )
    if os.environ.get(AUTH, "").strip():
        # Import the callback when it is needed: sys.path is not yet the program's.
        origin = f"environment variable {AUTH}"
        settings = settings.having(origin, auth=_auth_of_the_environment)
    if port["guarded"] and not _is_guarded(settings):
        raise SettingsError(
            "it was protected by a password or auth=, and the environment has neither"
        )
    return admitting(settings, port["host"], insecure=port["insecure"])


def _auth_of_the_environment(environ: Environ) -> object:
    return _callback()(environ)


@functools.cache
def _callback() -> settings_module.AuthCallback:
    return settings_module.load({"auth": os.environ[AUTH]}, env={}).auth or _nobody


def _nobody(environ: Environ) -> object:  # noqa: ARG001
    return False


def leave(host: str, number: int, *, insecure: bool) -> bool:
    """Close the side port of this process, unless it is the one that is to be opened next.

    Args:
        host: the host of the next port.
        number: the number of the next port; 0 for any.
        insecure: whether the next port is to admit everybody.

    Returns:
        Whether to open the next port: False if it is served already, or if an exec has left this
        process without the password or `auth` that its port needs.
    """
    global _served
    if _served is None:
        return not _lost_its_guard
    side, port = _served
    is_same = (port["host"], port["insecure"]) == (host, insecure)
    if is_same and number in (0, port["number"]):
        return False
    atexit.unregister(side.close)
    side.close()
    _served = None
    return True


def admitting(settings: Settings, host: str, *, insecure: bool) -> Settings:
    """Return settings with an access policy: local callers only, if no password or `auth` is set.

    Args:
        settings: the dashboard's.
        host: the host that the port is served on.
        insecure: admit everybody if neither a password nor `auth` is set.

    Raises:
        SettingsError: other machines reach the host, and no access policy is configured.
    """
    if _is_guarded(settings):
        return settings
    if insecure:
        return settings.having("--insecure", auth=lambda _: True)
    if not _is_loopback(host):
        raise SettingsError(
            f"--host {host} can be reached from other machines: set "
            f"{settings_module.variable('password')}, or pass --insecure"
        )
    return settings.having(f"--host {host}", debug=True)


def _is_guarded(settings: Settings) -> bool:
    return settings.auth is not None or settings.password is not None


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
