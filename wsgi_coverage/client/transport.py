"""Send HTTP requests to one host: proxies, TLS, time limits, and retries.

A request that has certainly not arrived is sent again; one that may have arrived is sent again only
if its method changes nothing. No redirect is followed: the credentials are for the given address.

Concurrency: immutable; each request has a connection of its own, so any thread may send.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import ipaddress
import socket
import urllib.request
from collections.abc import Callable, Iterator
from time import sleep
from typing import TypeVar
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit

from wsgi_coverage import __version__
from wsgi_coverage.client.credentials import Credentials
from wsgi_coverage.client.errors import BadAddressError, UnreachableError

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
TIMEOUT = 30.0  # seconds to wait for a connection, and for each part of an answer, by default
RETRY_INTERVAL = 0.2  # seconds before the second try; doubled before each further one
MOST_PAUSE = 5.0

T = TypeVar("T")


def split(url: str) -> SplitResult:
    """Split a dashboard's address into its parts.

    Raises:
        BadAddressError: `url` is no address of an HTTP server.
    """
    parts: SplitResult | None
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises where it is no port
    except ValueError:
        parts = None
    if (
        parts is None
        or parts.scheme not in ("http", "https")
        or not parts.hostname
        or not url.isascii()
        or any(character <= " " for character in url)
    ):
        raise BadAddressError(
            f"must be an address such as http://127.0.0.1:8000/debug/coverage, got {url!r}"
        )
    return parts


class Transport:
    """Sends requests to the host of an address.

    Args:
        parts: the address.
        credentials: sent with each request.
        timeout: seconds to wait for a connection, and for each part of an answer.
        retries: how often to try again, at most.
    """

    def __init__(
        self, parts: SplitResult, credentials: Credentials, *, timeout: float, retries: int
    ) -> None:
        self._parts = parts
        self._credentials = credentials
        self._timeout = timeout
        self._retries = retries
        self.host: str = parts.netloc.rpartition("@")[2]

    def url(self, target: str) -> str:
        """Return a URL on the host, without credentials, for messages."""
        return urlunsplit((self._parts.scheme, self.host, target.partition("?")[0], "", ""))

    def exchange(
        self,
        method: str,
        target: str,
        read: Callable[[http.client.HTTPResponse], T],
        *,
        extra: float = 0.0,
        once: bool = False,
    ) -> T:
        """Send a request and read its answer.

        Args:
            method: in upper case.
            target: path and query.
            read: reads the answer, of whatever status, and returns a result; called again for
                another try if the connection broke meanwhile and the request changes nothing.
            extra: seconds that the answer may take beyond the timeout.
            once: do not try again.

        Raises:
            UnreachableError: there is no answer, or an incomplete one.
        """
        pause = RETRY_INTERVAL
        for left in range(0 if once else self._retries, -1, -1):
            try:
                return self._once(method, target, read, extra)
            except _AgainError as failure:
                if not left or (failure.error.arrived and method not in SAFE_METHODS):
                    raise failure.error from None
            sleep(pause)
            pause = min(2 * pause, MOST_PAUSE)
        raise AssertionError  # the last round returns or raises

    def _once(
        self,
        method: str,
        target: str,
        read: Callable[[http.client.HTTPResponse], T],
        extra: float,
    ) -> T:
        with self._connected(target) as (connection, address, headers):
            try:
                connection.sock.settimeout(self._timeout + extra)
                connection.request(method, address, headers=headers)
                with connection.getresponse() as answer:
                    return read(answer)
            except BrokenAnswerError as error:
                raise _AgainError(self._unreachable(target, error)) from None
            except TimeoutError:
                late = TimeoutError(f"no answer within {self._timeout + extra:g} s")
                raise self._unreachable(target, late) from None
            except (ConnectionError, http.client.RemoteDisconnected) as error:
                raise _AgainError(self._unreachable(target, error)) from None
            except http.client.IncompleteRead:
                broken = BrokenAnswerError("the answer broke off")
                raise _AgainError(self._unreachable(target, broken)) from None
            except (OSError, http.client.HTTPException) as error:
                raise self._unreachable(target, error) from None

    @contextlib.contextmanager
    def _connected(
        self, target: str
    ) -> Iterator[tuple[http.client.HTTPConnection, str, dict[str, str]]]:
        """Open a connection; yield it with the request target for it and the headers."""
        connection, address, headers = self._prepared(target)
        with contextlib.closing(connection):
            try:
                connection.connect()
            except (ConnectionError, socket.gaierror) as error:
                failure = self._unreachable(target, error, arrived=False)
                if isinstance(error, socket.gaierror) and error.errno != socket.EAI_AGAIN:
                    raise failure from None
                raise _AgainError(failure) from None
            except TimeoutError:
                late = TimeoutError(f"no connection within {self._timeout:g} s")
                raise self._unreachable(target, late, arrived=False) from None
            except (OSError, http.client.HTTPException) as error:
                raise self._unreachable(target, error, arrived=False) from None
            yield connection, address, headers

    def _prepared(self, target: str) -> tuple[http.client.HTTPConnection, str, dict[str, str]]:
        parts = self._parts
        host = parts.hostname or ""
        headers = {
            "Accept": "application/json",
            "Connection": "close",
            "User-Agent": f"wsgi-coverage/{__version__}",
        }
        if (authorization := self._credentials.header) is not None:
            headers["Authorization"] = authorization
        kind = (
            http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        )
        proxy = _proxy(parts.scheme, host)
        port = parts.port or kind.default_port  # else http.client parses one out of an IPv6 address
        if proxy is None:
            return kind(host, port, timeout=self._timeout), target, headers
        connection = kind(proxy.hostname or "", proxy.port or 80, timeout=self._timeout)
        if parts.scheme == "https":
            connection.set_tunnel(host, port, headers=_for_proxy(proxy))
            return connection, target, headers
        return connection, f"http://{self.host}{target}", {
            **headers, "Host": self.host, **_for_proxy(proxy)
        }  # fmt: skip

    def _unreachable(
        self, target: str, error: Exception, *, arrived: bool = True
    ) -> UnreachableError:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        is_gone = isinstance(error, ConnectionError)  # RemoteDisconnected is a BadStatusLine, too
        if isinstance(error, http.client.BadStatusLine | http.client.LineTooLong) and not is_gone:
            reason = "the answer is not HTTP"
        message = f"{self.url(target)} cannot be reached: {reason}"
        return UnreachableError(" ".join(message.split()), arrived=arrived)


class BrokenAnswerError(Exception):
    """The connection broke within an answer; raised by functions that read one."""


class _AgainError(Exception):
    """A request failed for a reason that may be temporary, so it is tried again."""

    def __init__(self, error: UnreachableError) -> None:
        super().__init__(error)
        self.error = error


def is_loopback(host: str) -> bool:
    """Tell whether a host is the loopback interface."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _proxy(scheme: str, host: str) -> SplitResult | None:
    """Return the proxy that the environment names for a host; None for this machine."""
    if is_loopback(host) or urllib.request.proxy_bypass(host):
        return None
    named = urllib.request.getproxies()
    address = named.get(scheme) or named.get("all")
    if not address:
        return None
    return urlsplit(address if "://" in address else f"http://{address}")


def _for_proxy(proxy: SplitResult) -> dict[str, str]:
    if proxy.username is None:
        return {}
    raw = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}".encode()
    return {"Proxy-Authorization": f"Basic {base64.b64encode(raw).decode()}"}
