"""Find a dashboard, send requests to it, and turn its errors into a `ClientError`.

Concurrency: any thread may ask; the address of the dashboard is found once, and remembered.
"""

from __future__ import annotations

import contextlib
import http.client
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, cast
from urllib.parse import urlencode

from wsgi_coverage import bounds
from wsgi_coverage.client import credentials, download, transport
from wsgi_coverage.client.errors import (
    ClientError,
    FailedError,
    NotADashboardError,
    RefusedError,
    VersionMismatchError,
)
from wsgi_coverage.errors import TooManyAttemptsError
from wsgi_coverage.model.answers import Health
from wsgi_coverage.settings import URL_PREFIX

GLANCE_TIMEOUT = 5.0  # seconds that a progress display waits for the dashboard, at most
MAX_ERROR = 1_000_000  # bytes of an error's text

Query = Mapping[str, str | Sequence[str]]  # several values: the parameter is given as often
Reader = Callable[[http.client.HTTPResponse], Any]


class Dashboard:
    """The dashboard at an address, or at `/debug/coverage` below it.

    Args:
        url: the address.
        username, password: see `credentials.find`.
        timeout: seconds to wait for a connection and for each part of an answer.
        retries: how often to try again.

    Raises:
        BadAddressError: `url` is no address of an HTTP server.
    """

    def __init__(
        self, url: str, username: str | None, password: str | None, timeout: float, retries: int
    ) -> None:
        parts = transport.split(url)
        self._credentials = credentials.find(parts, username, password)
        send = transport.Transport
        self._transport = send(parts, self._credentials, timeout=timeout, retries=retries)
        self._glance = send(
            parts, self._credentials, timeout=min(timeout, GLANCE_TIMEOUT), retries=0
        )
        self._given = parts.path.rstrip("/")
        self._root: str | None = None
        self.data_folder: str | None = None  # of data files, on the dashboard's machine

    @property
    def url(self) -> str:
        """The dashboard's address, without credentials; the given one until it was found."""
        return self._transport.url(self._given if self._root is None else self._root)

    def ask(
        self,
        method: str,
        path: str,
        query: Query,
        read: Reader,
        *,
        extra: float = 0.0,
        once: bool = False,
    ) -> Any:
        """Send a request to the dashboard, and read its answer, unless that is an error.

        Args:
            method: in upper case.
            path: below the dashboard's address.
            query: its parameters.
            read: reads the answer; its result is returned.
            extra: seconds that the answer may take beyond the timeout.
            once: do not try again.

        Raises:
            ClientError: there is no answer, or it is an error.
        """
        if self._root is None:
            self._find(wait=0)
        path = f"{self._root}{path}"
        return self._transport.exchange(
            method, _target(path, query), self._checked(path, read), extra=extra, once=once
        )

    def json(
        self,
        method: str,
        path: str,
        query: Query,
        kind: type,
        keys: Collection[str] = (),
        *,
        extra: float = 0.0,
    ) -> Any:
        """Ask for JSON.

        Args:
            method, path, query, extra: as for `ask`.
            kind: the type that the answer must have: dict for an object, list for one of objects.
            keys: the keys that each object must have.

        Raises:
            VersionMismatchError: the answer has another type, or lacks keys.
        """
        answer = parsed(self.ask(method, path, query, download.body, extra=extra))
        objects = answer if isinstance(answer, list) else [answer]
        if not isinstance(answer, kind) or not all(
            isinstance(each, dict) and each.keys() >= {*keys} for each in objects
        ):
            raise VersionMismatchError(
                f"the answer of {self.url}{path} is not understood: "
                "it runs another version of wsgi-coverage"
            )
        return answer

    def health(self, wait: float | None) -> Health:
        """Return the answer of GET /health."""
        if self._root is None:
            return self._find(wait)
        return self._health(self._root, wait)

    def building(self) -> dict[str, Any] | None:
        """Return the answer of GET /building; None if no report is being built, or not known."""
        path = f"{self._root or ''}/health"
        read = self._checked(path, download.body)
        try:
            answer = parsed(self._glance.exchange("GET", _target(path, {"wait": "0"}), read))
        except ClientError:
            return None
        building = answer.get("building") if isinstance(answer, dict) else None
        return building if isinstance(building, dict) else None

    def _find(self, wait: float | None) -> Health:
        """Find the address of the dashboard, and return the answer of its /health.

        The given address itself is tried last if it is a site's root, where the application, which
        is measured, would answer.
        """
        roots = [self._given, self._given + URL_PREFIX]
        first: NotADashboardError | None = None
        for root in roots if self._given else reversed(roots):
            try:
                health = self._health(root, wait)
            except NotADashboardError as error:
                first = first or error
            else:
                self._root = root
                self.data_folder = str(health.get("data_folder"))
                return health
        raise first or AssertionError

    def _health(self, root: str, wait: float | None) -> Health:
        path = f"{root}/health"
        query = {} if wait is None else {"wait": f"{wait:g}"}
        read = self._checked(path, download.body, is_found=self._root is not None)
        extra = bounds.WAIT if wait is None else wait
        raw = self._transport.exchange("GET", _target(path, query), read, extra=extra)
        answer = parsed(raw)
        if not _is_health(answer):
            url = self._transport.url(path)
            raise NotADashboardError(f"{url} is not a dashboard of wsgi-coverage")
        return cast(Health, answer)

    def _checked(self, path: str, read: Reader, *, is_found: bool = True) -> Reader:
        """Wrap a reader so that it raises a ClientError for an answer that is an error."""

        def reading(answer: http.client.HTTPResponse) -> Any:
            if 200 <= answer.status < 300:
                return read(answer)
            body = b""
            with contextlib.suppress(OSError, http.client.HTTPException):
                body = answer.read(MAX_ERROR)
            location = answer.headers.get("Location")
            raise self._refusal(path, answer.status, location, body, is_found)

        return reading

    def _refusal(
        self, path: str, status: int, location: str | None, body: bytes, is_found: bool
    ) -> Exception:
        url = self._transport.url(path)
        answer = parsed(body)
        error = answer.get("error") if isinstance(answer, dict) else None
        message = answer.get("message") if isinstance(answer, dict) else None
        said = f": {message}" if message else ""
        if status in (401, 403) or error == TooManyAttemptsError.slug:
            hint = said or ": give a user name and a password"
            remark = f" ({self._credentials.remark})" if self._credentials.remark else ""
            return RefusedError(f"{url} refuses ({status}){hint}{remark}")
        if 300 <= status < 400:
            return NotADashboardError(f"{url} redirects to {location}: use that address")
        is_ours = isinstance(error, str) and isinstance(message, str)
        if status in (404, 405) and (not is_ours or error in ("not-found", "method-not-allowed")):
            if is_found:
                return VersionMismatchError(
                    f"the dashboard does not know {url}: it runs another version of wsgi-coverage"
                )
            return NotADashboardError(f"there is no dashboard at {url} ({status})")
        if isinstance(error, str) and is_ours:
            return FailedError(
                f"{url} answers {status} ({error}){said}", status=status, error=error
            )
        return NotADashboardError(f"{url} answers {status}{said}")


def parsed(raw: bytes) -> Any:
    """Parse a body as JSON; return None if it is not JSON."""
    try:
        return json.loads(raw)
    except (ValueError, RecursionError):
        return None


def _is_health(answer: object) -> bool:
    """Tell whether an answer is that of a dashboard's /health, not of another application's."""
    if not isinstance(answer, dict):
        return False
    if not isinstance(answer.get("core"), str) or not isinstance(answer.get("status"), str):
        return False
    lists = [answer.get(key) for key in ("workers", "problems", "diagnoses")]
    if not all(isinstance(each, list) for each in lists):
        return False
    workers, _, diagnoses = lists
    keys = {"name", "text", "remedy"}
    return all(isinstance(each, dict) for each in workers or ()) and all(
        isinstance(each, dict) and each.keys() >= keys for each in diagnoses or ()
    )


def _target(path: str, query: Query) -> str:
    return f"{path}?{urlencode(query, doseq=True)}" if query else path
