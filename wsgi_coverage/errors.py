"""Every error of the project: what went wrong, its slug, its HTTP status.

    WsgiCoverageError                  500 internal
    ├── SettingsError                  500 settings          (raised at construction)
    │   └── AuthNotConfiguredError     500 auth-not-configured
    ├── MissingExtraError              500 missing-extra
    ├── RequestError                   400 bad-request
    │   ├── BadParameterError          400 bad-parameter
    │   ├── UnauthorizedError          401 unauthorized
    │   ├── UntrustedHostError         403 untrusted-host
    │   ├── CrossSiteError             403 cross-site
    │   ├── NotFoundError              404 not-found
    │   │   ├── NoReportError          404 no-report
    │   │   │   └── RefusedReportError 404 report-refused
    │   │   └── UnknownSnapshotError   404 unknown-snapshot
    │   ├── MethodNotAllowedError      405 method-not-allowed
    │   └── BodyTooLargeError          413 body-too-large
    ├── NoDataError                    409 no-data
    ├── NotOursError                   409 not-ours
    ├── CannotPauseError               409 cannot-pause
    ├── SnapshotLimitError             409 snapshot-limit
    ├── BuildFailedError               500 build-failed
    ├── RefreshBusyError               503 refresh-busy
    ├── NotMeasuringError              503 not-measuring
    └── DiskFullError                  507 disk-full

The slug is the error's name in JSON and its anchor in docs/reference/errors.md. Values only: safe
to raise from any thread.
"""

from __future__ import annotations

import errno
from typing import ClassVar


class WsgiCoverageError(Exception):
    """Anything that this package raises on purpose."""

    slug: ClassVar[str] = "internal"
    status: ClassVar[int] = 500


class SettingsError(WsgiCoverageError, ValueError):
    """A setting is wrong; the message names its source, the rule and the value."""

    slug = "settings"


class AuthNotConfiguredError(SettingsError, RuntimeError):
    """Nothing says who may see the dashboard, so nobody may: refused at construction."""

    slug = "auth-not-configured"


class MissingExtraError(WsgiCoverageError, RuntimeError):
    """What was asked for needs a package that an extra installs."""

    slug = "missing-extra"

    def __init__(self, extra: str, *, needed_for: str) -> None:
        super().__init__(
            f"{needed_for} needs the extra {extra!r}: pip install 'wsgi-coverage[{extra}]'"
        )


class RequestError(WsgiCoverageError):
    """The request is at fault, not the server."""

    slug = "bad-request"
    status = 400


class BadParameterError(RequestError):
    """A parameter of the request breaks a rule that the message names."""

    slug = "bad-parameter"


class UnauthorizedError(RequestError):
    """No credentials, or wrong ones."""

    slug = "unauthorized"
    status = 401


class UntrustedHostError(RequestError):
    """The Host header names a host that is not served (DNS rebinding)."""

    slug = "untrusted-host"
    status = 403


class CrossSiteError(RequestError):
    """A page of another site asked a browser to change something here."""

    slug = "cross-site"
    status = 403


class NotFoundError(RequestError):
    """There is nothing at this path."""

    slug = "not-found"
    status = 404


class NoReportError(NotFoundError):
    """No report has been published yet, or the last one was reset away."""

    slug = "no-report"


class RefusedReportError(NoReportError):
    """What names the published report in the cache leads out of it: somebody has planted it."""

    slug = "report-refused"


class UnknownSnapshotError(NotFoundError):
    """No snapshot has this id."""

    slug = "unknown-snapshot"


class MethodNotAllowedError(RequestError):
    """The path exists; the method does not apply to it."""

    slug = "method-not-allowed"
    status = 405

    def __init__(self, message: str, *, allowed: tuple[str, ...]) -> None:
        super().__init__(message)
        self.allowed = allowed


class BodyTooLargeError(RequestError):
    """The request's body is over the limit."""

    slug = "body-too-large"
    status = 413


class NoDataError(WsgiCoverageError):
    """Nothing has been measured yet."""

    slug = "no-data"
    status = 409


class NotOursError(WsgiCoverageError):
    """The running Coverage belongs to somebody else, who would lose what a reset drops."""

    slug = "not-ours"
    status = 409


class CannotPauseError(WsgiCoverageError):
    """Measuring could not go on afterwards as it was before."""

    slug = "cannot-pause"
    status = 409


class SnapshotLimitError(WsgiCoverageError):
    """There are as many snapshots as may be kept; delete some."""

    slug = "snapshot-limit"
    status = 409


class BuildFailedError(WsgiCoverageError):
    """The process that made a report did not get done; what was published before stands."""

    slug = "build-failed"


class RefreshBusyError(WsgiCoverageError):
    """Another process holds the lock for longer than a request should wait; retry later."""

    slug = "refresh-busy"
    status = 503


class NotMeasuringError(WsgiCoverageError):
    """Measuring could not be started in this process; the message says why."""

    slug = "not-measuring"
    status = 503


class DiskFullError(WsgiCoverageError):
    """No room to write; what was stored before is untouched."""

    slug = "disk-full"
    status = 507


def is_disk_full(error: BaseException | None) -> bool:
    """Tell whether an error, or one that it was raised from, means that the disk is full.

    coverage.py wraps SQLite's error in its own, so the whole chain is searched.
    """
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        if getattr(error, "sqlite_errorname", None) == "SQLITE_FULL":
            return True
        error = error.__cause__ or error.__context__
    return False
