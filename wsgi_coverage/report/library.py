"""`Library`: everything that can be read of finished reports, the published one and snapshots.

What is read was written when the report was made, or is rendered from the report's own folder when
it is first asked for; no worker is asked, and no tracer is touched.

Concurrency: no state of its own. A folder that vanishes while it is read was replaced or deleted,
and the error tells that from one that never existed.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

from wsgi_coverage.analysis.functions import Unused, functions
from wsgi_coverage.errors import (
    BadParameterError,
    NoDataError,
    NotFoundError,
    WsgiCoverageError,
    storage_error,
)
from wsgi_coverage.model import JsonObject, Report
from wsgi_coverage.report import formats
from wsgi_coverage.report.diff import diff
from wsgi_coverage.report.publish import DATA, Publisher, read_meta
from wsgi_coverage.report.render import FILES, TEXT
from wsgi_coverage.report.snapshots import Snapshots

# Where a file system takes shorter names only, or no such bytes.
NO_SUCH_NAME = (errno.EISDIR, errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL)
MAX_NAME = 255  # bytes; no file system takes a longer file name
NOTHING_RAN = "no data yet: nothing that is measured had run"
EXPORTS = {
    "coverage": DATA,
    "html": formats.SITE,
    "json": formats.JSON,
    "lcov": formats.LCOV,
    "xml": formats.XML,
}

T = TypeVar("T")


class Library:
    """The finished reports of one application.

    Everywhere `identity` is a snapshot's id, or None for the published report.
    """

    def __init__(self, publisher: Publisher, snapshots: Snapshots) -> None:
        self._publisher = publisher
        self._snapshots = snapshots

    def read(self, identity: str | None, reader: Callable[[Path], T]) -> T:
        """Call a reader with the folder of a report.

        Raises:
            NoReportError, UnknownSnapshotError: there is none.
        """
        if identity is None:
            return self._publisher.read(reader)
        folder = self._snapshots.find(identity)
        try:
            return reader(folder)
        except FileNotFoundError:
            self._snapshots.find(identity)  # it may have been deleted meanwhile
            raise

    def report(self, identity: str | None = None) -> Report:
        """A report's metadata."""
        return self.read(identity, read_meta)

    def text(self, identity: str | None = None) -> str:
        """The text report."""
        return self.read(identity, lambda folder: (folder / TEXT).read_text(encoding="utf-8"))

    def files(self, identity: str | None = None) -> bytes:
        """The list of files, as JSON."""
        return self.read(identity, lambda folder: (folder / FILES).read_bytes())

    def functions(self, identity: str | None = None, *, unused: Unused = False) -> list[JsonObject]:
        """Functions and methods, the largest first.

        Args:
            identity: a snapshot's id; None: the published report.
            unused: True: those that never ran; "runtime": those, and those that ran at load only.
        """
        return self.read(identity, partial(functions, unused=unused))

    def diff(self, a: str | None, b: str | None) -> JsonObject:
        """What only one of two reports has executed; each a snapshot, or (None) the published one.

        Raises:
            NoReportError, UnknownSnapshotError: one of them is not there.
            BuildFailedError: the child process that compared them failed.
        """

        def compare(first: Path, second: Path) -> JsonObject:
            return {
                "a": _about(a, read_meta(first)),
                "b": _about(b, read_meta(second)),
                **diff(first, second),
            }

        return self.read(a, lambda first: self.read(b, lambda second: compare(first, second)))

    def export(self, wanted: str, identity: str | None = None) -> bytes:
        """The report in another format, rendered when it is first asked for.

        Args:
            wanted: `coverage` (the combined data file), `json`, `xml`, `lcov` or `html` (a zip of
                the whole site).
            identity: of a snapshot; None: the published report.

        Raises:
            BadParameterError: there is no such format.
            NoDataError: nothing was measured.
            StorageError: it cannot be rendered, for want of room for instance.
        """
        if wanted not in EXPORTS:
            raise BadParameterError(
                f"format must be one of {', '.join(sorted(EXPORTS))}, got {wanted!r}"
            )
        self._check_has_data(identity)
        try:
            return self._render(identity, partial(formats.read, name=EXPORTS[wanted]))
        except FileNotFoundError:
            raise NoDataError(NOTHING_RAN) from None

    def html(self, path: str, identity: str | None = None) -> bytes:
        """A file of coverage.py's HTML report, rendered when it is first asked for.

        Raises:
            NoDataError: nothing was measured.
            NotFoundError: there is no such page.
            StorageError: it cannot be rendered, for want of room for instance.
        """
        self._check_has_data(identity)
        if not path or "/" in path or "\\" in path or "\x00" in path or path.startswith("."):
            raise NotFoundError("there is no such page in the HTML report")
        if len(path.encode("utf-8", "surrogateescape")) > MAX_NAME:
            raise NotFoundError("there is no such page in the HTML report")
        try:
            return self._render(identity, partial(formats.read_page, name=path))
        except OSError as error:
            if not isinstance(error, FileNotFoundError) and error.errno not in NO_SUCH_NAME:
                raise
            raise NotFoundError("there is no such page in the HTML report") from None

    def _render(self, identity: str | None, reader: Callable[[Path], bytes]) -> bytes:
        try:
            return self.read(identity, reader)
        except WsgiCoverageError:
            raise
        except Exception as error:
            what = "this cannot be rendered; what was there is untouched"
            if (refused := storage_error(error, what)) is not None:
                raise refused from error
            raise

    def _check_has_data(self, identity: str | None) -> None:
        try:
            self.read(identity, lambda folder: (folder / DATA).stat())
        except FileNotFoundError:
            raise NoDataError(NOTHING_RAN) from None


def _about(identity: str | None, report: Report) -> JsonObject:
    return {
        "id": identity or "current",
        "label": report.label,
        "taken_at": report.refreshed_at,
        "complete": report.complete,
    }
