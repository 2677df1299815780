"""The errors of a client of a dashboard, each with the exit code of a command.

    ClientError                 1
    ├── BadAddressError         2   no address of an HTTP server
    ├── UnreachableError        3   no answer, or an incomplete one
    ├── RefusedError            3   401, 403, or too many wrong passwords
    ├── NotADashboardError      3   another server answers
    ├── FailedError             1   the dashboard's own error: its slug, its status
    └── VersionMismatchError    1   the dashboard, or its data, is of another version

No state: values only, which any thread may raise.
"""

from __future__ import annotations

from typing import ClassVar

from wsgi_coverage.errors import WsgiCoverageError

FAILED, USAGE, NO_ANSWER = 1, 2, 3


class ClientError(WsgiCoverageError):
    """A request to a dashboard failed, wholly or in part; the message says why.

    The message is one line and names the address, without credentials.
    """

    slug = "client"
    exit_code: ClassVar[int] = FAILED


class BadAddressError(ClientError, ValueError):
    """A URL, a pod or a port that cannot exist."""

    exit_code = USAGE


class UnreachableError(ClientError):
    """There is no answer, or an incomplete one.

    Attributes:
        arrived: whether the request may have arrived; False: it certainly did not.
    """

    exit_code = NO_ANSWER

    def __init__(self, message: str, *, arrived: bool = True) -> None:
        super().__init__(message)
        self.arrived = arrived


class RefusedError(ClientError):
    """The credentials are wrong or missing, or were wrong too often; or the host is not served."""

    exit_code = NO_ANSWER


class NotADashboardError(ClientError):
    """The server at the address is not a dashboard of wsgi-coverage."""

    exit_code = NO_ANSWER


class FailedError(ClientError):
    """The dashboard answered with an error.

    Attributes:
        status: the HTTP status.
        error: the error's slug (docs/reference/errors.md); empty where the answer has none.
    """

    def __init__(self, message: str, *, status: int, error: str) -> None:
        super().__init__(message)
        self.status = status  # type: ignore[misc]  # of this answer, not of the class
        self.error = error


class VersionMismatchError(ClientError):
    """The dashboard lacks the endpoint, or its data is of another version of coverage.py."""
