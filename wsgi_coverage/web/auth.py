"""Authorization: the policy (fail closed), HTTP Basic, trusted hosts, no cross-site changes.

Checked before routing, so that a client without access cannot find out which paths exist. No state
but that of the throttle, which counts wrong passwords.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import io
import ipaddress
import logging
import re
from collections.abc import Iterable
from typing import NamedTuple
from urllib.parse import urlsplit

from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Request, Response

from wsgi_coverage.errors import (
    CrossSiteError,
    UnauthorizedError,
    UntrustedHostError,
)
from wsgi_coverage.settings import LOCAL_HOSTS, ORIGINAL, AuthCallback, Environ, Settings
from wsgi_coverage.web import parameters
from wsgi_coverage.web.noted import PROBLEM, USER
from wsgi_coverage.web.throttle import Throttle
from wsgi_coverage.web.verdict import ask

log: logging.Logger = logging.getLogger("wsgi_coverage")

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
BROWSER = "Mozilla/"  # so begins the User-Agent of each browser; pages cannot change it unasked
SAME_SITE = frozenset({"same-origin", "none"})
BASIC = 'Basic realm="wsgi-coverage", charset="UTF-8"'
HOST = re.compile(r"(\[(?P<ipv6>[0-9a-f:.]+)\]|(?P<name>[^][:@/\s]+))(:[0-9]*)?")
CALLBACK = 'Callback realm="wsgi-coverage"'  # a scheme for which no browser asks for a password


class Credentials(NamedTuple):
    """A user name and a password, as sent."""

    username: str
    password: str


def admit(
    request: Request, settings: Settings, throttle: Throttle, *, changes: bool = False
) -> Response | None:
    """Return None for a request that is admitted, or the response to one that is not.

    The first of these that is configured decides: the auth callback, the password, debug. For the
    audit log it is noted who sent the request: the user name of HTTP Basic, right or wrong; else
    REMOTE_USER, which the callback may set in the environ that it gets.

    Args:
        request: to be admitted.
        settings: the access policy.
        throttle: counts wrong passwords.
        changes: whether its endpoint changes something even by a safe method such as GET.

    Raises:
        UnauthorizedError: credentials are missing or wrong, or the callback denied the request.
        TooManyAttemptsError: too many wrong passwords came from the request's address.
        UntrustedHostError: the Host header names a host that is not served.
        CrossSiteError: a page of another site sent a request that changes something.
    """
    request.environ[USER] = request.environ.get("REMOTE_USER")
    _check_host(request, settings)
    if settings.auth is not None:
        response = _ask_callback(request, settings.auth, settings.origin("auth"))
        if response is not None:
            return response
    elif settings.password is not None:
        _check_password(request, Credentials(settings.username, settings.password), throttle)
    elif not settings.debug:  # construction refuses this; denied here, too
        raise UnauthorizedError("access to the dashboard is not configured")
    if changes or request.method not in SAFE_METHODS:
        _check_site(request, settings)
    return None


def challenge(settings: Settings) -> str:
    """Return the `WWW-Authenticate` header of a 401."""
    return BASIC if settings.auth is None else CALLBACK


def _ask_callback(request: Request, callback: AuthCallback, origin: str) -> Response | None:
    environ = _environ_for_callback(request)

    def respond(answer: Response | HTTPException) -> Response:
        return answer if isinstance(answer, Response) else answer.get_response(request.environ)

    try:
        verdict = ask(lambda: callback(environ), respond)
    except (SystemExit, KeyboardInterrupt):
        raise
    except (
        BaseException
    ) as error:  # asyncio's CancelledError and gevent's Timeout are failures, too
        log.exception("the auth callback (%s) failed, so the request is denied", origin)
        raise UnauthorizedError("the auth callback failed") from error
    finally:
        request.environ[USER] = environ.get("REMOTE_USER")
    if isinstance(verdict, Response):
        request.environ[PROBLEM] = UnauthorizedError.slug
        if verdict.status_code == UnauthorizedError.status:
            verdict.headers.setdefault("WWW-Authenticate", CALLBACK)
        return verdict
    if not verdict:
        raise UnauthorizedError("the auth callback denied the request")
    return None


def _environ_for_callback(request: Request) -> Environ:
    """Return the application's environ, with a copy of the body that the callback may read."""
    body = b"" if request.method in SAFE_METHODS else parameters.body(request)
    environ: Environ = request.environ.get(ORIGINAL, request.environ)
    return {**environ, "wsgi.input": io.BytesIO(body)}


def _check_password(request: Request, right: Credentials, throttle: Throttle) -> None:
    """Check HTTP Basic credentials (RFC 7617) in constant time; malformed ones are wrong ones.

    Raises:
        UnauthorizedError: they are missing, which counts as no failure, or wrong.
        TooManyAttemptsError: too many wrong ones came from the request's address.
    """
    address = str(request.environ.get("REMOTE_ADDR") or "")
    throttle.check(address)
    scheme, _, encoded = request.headers.get("Authorization", "").strip().partition(" ")
    if scheme.lower() != "basic":
        raise UnauthorizedError("the dashboard needs a user name and a password")
    given = _decoded(encoded)
    if given is not None:
        request.environ[USER] = given.username
        same_name = hmac.compare_digest(given.username.encode(), right.username.encode())
        same_password = hmac.compare_digest(given.password.encode(), right.password.encode())
        if same_name & same_password:
            return
    throttle.note_failure(address, "" if given is None else given.username)
    raise UnauthorizedError("the dashboard needs a user name and a password")


def _decoded(encoded: str) -> Credentials | None:
    """Return the credentials of HTTP Basic; None where they are malformed."""
    try:
        text = base64.b64decode(encoded.strip(), validate=True).decode("utf-8")
    except (binascii.Error, ValueError):
        return None
    username, colon, password = text.partition(":")
    return Credentials(username, password) if colon else None


def _check_host(request: Request, settings: Settings) -> None:
    trusted: Iterable[str] | None = settings.trusted_hosts
    if trusted is None and settings.auth is None and settings.password is None:
        trusted = LOCAL_HOSTS
    host = request.environ.get("HTTP_HOST") or request.environ.get("SERVER_NAME", "")
    if trusted is not None and not is_trusted(host, trusted):
        remedy = "add it to trusted_hosts, or set a password"
        if settings.trusted_hosts is not None:
            remedy = f"add it to trusted_hosts ({settings.origin('trusted_hosts')})"
        raise UntrustedHostError(
            f"the host {_name_of(host) or host!r} is not served here; {remedy}"
        )


def is_trusted(host: str, trusted: Iterable[str]) -> bool:
    """Tell whether a Host header is one of the names, address ranges, or below ``.a.name``."""
    name = _name_of(host)
    return name is not None and any(_matches(name, each) for each in trusted)


def _name_of(host: str) -> str | None:
    """Return the name or address in a Host header, without its port; None where there is none."""
    parts = HOST.fullmatch(host.strip().lower())
    return None if parts is None else (parts["ipv6"] or parts["name"]).removesuffix(".")


def _matches(name: str, trusted: str) -> bool:
    trusted = trusted.strip("[]") if trusted.startswith("[") else trusted
    if trusted.startswith("."):
        return name.endswith(trusted) or name == trusted[1:]
    if name == trusted:
        return True
    try:
        return ipaddress.ip_address(name) in ipaddress.ip_network(trusted)
    except ValueError:
        return False


def _check_site(request: Request, settings: Settings) -> None:
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        same = site.strip().lower() in SAME_SITE
    elif (origin := request.headers.get("Origin")) is not None:
        same = _is_own_origin(origin, request, settings)
    elif request.method in SAFE_METHODS and request.user_agent.string.startswith(BROWSER):
        raise CrossSiteError(
            "a browser does not say here which site a GET comes from: send a request for a change "
            "by POST, or by another client"
        )
    else:
        return  # not a browser
    if not same:
        raise CrossSiteError("a request for a change is refused if a page of another site sent it")


def _is_own_origin(origin: str, request: Request, settings: Settings) -> bool:
    try:
        scheme, netloc, *_ = urlsplit(origin.strip().lower())
    except ValueError:
        return False
    if scheme not in ("http", "https") or not netloc:  # "null", among others
        return False
    own = request.environ.get("HTTP_HOST", "").strip().lower()
    return netloc == own or is_trusted(netloc, settings.trusted_hosts or ())
