"""Every error of the project: what went wrong, its slug, its HTTP status.

    WsgiCoverageError                  500 internal
    ├── SettingsError                  500 settings          (raised at construction)
    │   └── AuthNotConfiguredError     500 auth-not-configured
    ├── MissingExtraError              501 missing-extra
    ├── UnsupportedPythonError         500 unsupported-python  (raised at construction)
    ├── RequestError                   400 bad-request
    │   ├── BadParameterError          400 bad-parameter
    │   ├── UnauthorizedError          401 unauthorized
    │   ├── UntrustedHostError         403 untrusted-host
    │   ├── CrossSiteError             403 cross-site
    │   ├── NotFoundError              404 not-found
    │   │   ├── NoReportError          404 no-report
    │   │   │   ├── DamagedReportError 404 report-damaged
    │   │   │   └── RefusedReportError 404 report-refused
    │   │   └── UnknownSnapshotError   404 unknown-snapshot
    │   ├── MethodNotAllowedError      405 method-not-allowed
    │   ├── BodyTooLargeError          413 body-too-large
    │   └── TooManyAttemptsError       429 too-many-attempts
    ├── NoDataError                    409 no-data
    ├── NoSourceError                  409 no-source
    ├── NotOursError                   409 not-ours
    ├── CannotPauseError               409 cannot-pause
    ├── LabelOfFleetError              409 label-of-fleet
    ├── MixedDataError                 409 mixed-data
    ├── SourceVersionsError            409 source-versions
    ├── ConfigurationError             409 configuration
    ├── SnapshotLimitError             409 snapshot-limit
    ├── BuildFailedError               500 build-failed
    ├── CoverageChangedError           503 coverage-changed
    ├── RefreshBusyError               503 refresh-busy
    ├── StoreUnavailableError          503 store-unavailable
    ├── NotMeasuringError              503 not-measuring
    └── StorageError                   507 storage
        ├── DiskFullError              507 disk-full
        ├── ReadOnlyError              507 read-only
        ├── AccessDeniedError          507 access-denied
        ├── BlockedError               507 path-blocked
        ├── NoDescriptorsError         507 no-descriptors
        └── RemovedError               507 removed-meanwhile

The slug is the error's name in JSON and its anchor in docs/reference/errors.md.

No state: values only, which any thread may raise.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from typing import ClassVar


class WsgiCoverageError(Exception):
    """The base class of all exceptions that this package raises on purpose."""

    slug: ClassVar[str] = "internal"
    status: ClassVar[int] = 500


class SettingsError(WsgiCoverageError, ValueError):
    """A setting is wrong; the message names its source, the rule and the value."""

    slug = "settings"


class AuthNotConfiguredError(SettingsError, RuntimeError):
    """No password, no auth callback, and debug is off: refused at construction."""

    slug = "auth-not-configured"


class MissingExtraError(WsgiCoverageError, RuntimeError):
    """A package is needed that an extra installs."""

    slug = "missing-extra"
    status = 501

    def __init__(self, extra: str, *, needed_for: str) -> None:
        super().__init__(
            f"{needed_for} needs the extra {extra!r}: pip install 'wsgi-coverage[{extra}]'"
        )


class UnsupportedPythonError(WsgiCoverageError, RuntimeError):
    """This Python cannot measure correctly: it is not CPython, or runs without the GIL."""

    slug = "unsupported-python"


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
    """A browser sent a changing request that a page of another site had made."""

    slug = "cross-site"
    status = 403


class NotFoundError(RequestError):
    """There is nothing at this path."""

    slug = "not-found"
    status = 404


class NoReportError(NotFoundError):
    """No report has been published yet, or a reset has withdrawn it."""

    slug = "no-report"


class RefusedReportError(NoReportError):
    """A path of the published report leads, or may lead, out of the cache folder."""

    slug = "report-refused"


class DamagedReportError(NoReportError):
    """A file of a stored report, or of a snapshot, is missing or is not as it was written."""

    slug = "report-damaged"


class UnknownSnapshotError(NotFoundError):
    """No snapshot has this id."""

    slug = "unknown-snapshot"


class UnknownContextError(NotFoundError):
    """The report has no context of this label."""

    slug = "unknown-context"


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


class TooManyAttemptsError(RequestError):
    """The address has sent too many wrong passwords, and is refused for a while.

    Attributes:
        retry_after: seconds until it is served again, 1 or more.
    """

    slug = "too-many-attempts"
    status = 429

    def __init__(self, *, retry_after: int) -> None:
        super().__init__(
            f"too many wrong passwords came from this address: try again in {retry_after} s"
        )
        self.retry_after = retry_after


class NoDataError(WsgiCoverageError):
    """Nothing has been measured yet."""

    slug = "no-data"
    status = 409


class NoSourceError(WsgiCoverageError):
    """The answer needs the text of a source that this host of a fleet does not have."""

    slug = "no-source"
    status = 409


class NotOursError(WsgiCoverageError):
    """'coverage run' or a test runner started the Coverage, and would lose its data by a reset."""

    slug = "not-ours"
    status = 409


class CannotPauseError(WsgiCoverageError):
    """Measuring could not be resumed as it was before the pause."""

    slug = "cannot-pause"
    status = 409


class LabelOfFleetError(WsgiCoverageError):
    """What ran for one label cannot be forgotten in a fleet, on hosts that may have sent it on."""

    slug = "label-of-fleet"
    status = 409


class MixedDataError(WsgiCoverageError):
    """Reports with branches and reports with statements only cannot be combined."""

    slug = "mixed-data"
    status = 409


class SourceVersionsError(WsgiCoverageError):
    """Reports to be combined are about different versions of a source, or about an old one."""

    slug = "source-versions"
    status = 409


class ConfigurationError(WsgiCoverageError):
    """coverage.py refuses a part of its configuration that it checks only when it reports."""

    slug = "configuration"
    status = 409


class SnapshotLimitError(WsgiCoverageError):
    """There are as many snapshots as may be kept; delete some."""

    slug = "snapshot-limit"
    status = 409


class BuildFailedError(WsgiCoverageError):
    """The process that made a report failed or died; the report published before stands."""

    slug = "build-failed"


class CoverageChangedError(WsgiCoverageError):
    """The installed coverage.py lacks a name that is needed; the message says which one."""

    slug = "coverage-changed"
    status = 503


class RefreshBusyError(WsgiCoverageError):
    """Another process holds the lock for longer than a request should wait; retry later."""

    slug = "refresh-busy"
    status = 503


class HistoryTooShortError(WsgiCoverageError):
    """It is not known on which of the days code ran that were asked for."""

    slug = "history-too-short"
    status = 409


class StoreUnavailableError(WsgiCoverageError):
    """The store of a fleet cannot be used now; nothing was changed, and no line is lost."""

    slug = "store-unavailable"
    status = 503


class NotMeasuringError(WsgiCoverageError):
    """Measuring could not be started in this process; the message says why."""

    slug = "not-measuring"
    status = 503


class StorageError(WsgiCoverageError):
    """The system refuses to open or to write a file; what was stored before is untouched."""

    slug = "storage"
    status = 507
    why: ClassVar[str] = "the system refuses it"


class DiskFullError(StorageError):
    """The disk is full, or the user's quota is used up."""

    slug = "disk-full"
    why = "no room on the disk"


class ReadOnlyError(StorageError):
    """The file system is read-only."""

    slug = "read-only"
    why = "the file system is read-only"


class AccessDeniedError(StorageError):
    """This process's user may not read or write the file."""

    slug = "access-denied"
    why = "permission denied"


class BlockedError(StorageError):
    """A folder, a link or a pipe is where a file is needed, or a file where a folder is."""

    slug = "path-blocked"
    why = "something else has that name"


class NoDescriptorsError(StorageError):
    """The process, or the system, has as many files open as it may."""

    slug = "no-descriptors"
    why = "too many open files"


class RemovedError(StorageError):
    """The folder in which something was being made was removed; another try makes it anew."""

    slug = "removed-meanwhile"
    why = "it was removed meanwhile"


REFUSALS: dict[int, type[StorageError]] = {
    errno.ENOSPC: DiskFullError,
    errno.EDQUOT: DiskFullError,
    errno.EROFS: ReadOnlyError,
    errno.EACCES: AccessDeniedError,
    errno.EPERM: AccessDeniedError,
    errno.EISDIR: BlockedError,
    errno.ENOTDIR: BlockedError,
    errno.ELOOP: BlockedError,
    errno.ENXIO: BlockedError,
    errno.EMFILE: NoDescriptorsError,
    errno.ENFILE: NoDescriptorsError,
    **dict.fromkeys((errno.EIO, errno.EFBIG, errno.ESTALE), StorageError),
}
OF_SQLITE: dict[str, int | None] = {
    "SQLITE_FULL": errno.ENOSPC,
    "SQLITE_READONLY": errno.EROFS,
    "SQLITE_CANTOPEN": None,
    "SQLITE_IOERR": errno.EIO,
}
SHORTAGES = (DiskFullError, NoDescriptorsError)  # not caused by the file that an error names


def refusal(error: BaseException | None) -> int | None:
    """Return the errno if the system refused to open or to write a file; else None.

    coverage.py raises its own error from SQLite's, so the whole chain of errors is searched.
    """
    while error is not None and not isinstance(error, FileNotFoundError):
        if isinstance(error, OSError) and error.errno in REFUSALS:
            return error.errno
        name = getattr(error, "sqlite_errorname", None) or ""
        for beginning, number in OF_SQLITE.items():
            if name.startswith(beginning):
                return number or why_nothing_opens() or errno.EIO
        error = error.__cause__ or error.__context__
    return None


@contextlib.contextmanager
def storage_errors(what: str | None = None) -> Iterator[None]:
    """Turn an error of the block, that the system refused a file, into a StorageError.

    Other errors are unchanged; so are errors of this package, whose message already says what
    failed.

    Args:
        what: a sentence that says what cannot be done; None: the text of the system's error.

    Raises:
        StorageError: the subclass for the reason.
    """
    try:
        yield
    except WsgiCoverageError:
        raise
    except Exception as error:
        number = refusal(error)
        if number is None:
            raise
        kind = REFUSALS[number]
        message = f"{kind.why}: {error if what is None else what}"
        if what is not None and kind is BlockedError:
            message += f" ({error})"  # names the path that is in the way
        raise kind(message) from error


def is_disk_full(error: BaseException) -> bool:
    """Tell whether an error means that the disk is full."""
    return REFUSALS.get(refusal(error) or 0) is DiskFullError


def is_shortage(error: BaseException) -> bool:
    """Tell whether an error means that disk space or descriptors are used up."""
    return REFUSALS.get(refusal(error) or 0) in SHORTAGES


def why_nothing_opens() -> int | None:
    """Return the errno if this process can open no file at all; SQLite does not report that."""
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError as error:
        return error.errno if error.errno in REFUSALS else None
    return None
