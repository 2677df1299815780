"""`Client`: access to a dashboard in another process or machine, one method for each request.

The types that methods return (wsgi_coverage.model.answers) are named after the JSON's own words: a
`WorkerAnswer` is an entry of `workers`. The worker itself is wsgi_coverage.collect.worker.

Concurrency: any thread may call any method; each request has a connection of its own. The address
of the dashboard is found by the first request, and remembered.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Literal, cast
from urllib.parse import quote

from wsgi_coverage import bounds
from wsgi_coverage.client import download
from wsgi_coverage.client.dashboard import Dashboard, Query
from wsgi_coverage.client.progress import Progress, watching
from wsgi_coverage.client.transport import TIMEOUT
from wsgi_coverage.model import ExportFormat as Format
from wsgi_coverage.model.answers import (
    Context,
    Diff,
    File,
    Forgotten,
    Function,
    Health,
    LinesOfContext,
    Refreshed,
    Snapshot,
    Source,
    Status,
    Taken,
)

RETRIES = 3
BUILD_TIMEOUT = 600.0  # seconds to wait for a report, in addition to other timeouts

# Keys that an answer must have; without them it is of another version.
GATHERED = ("complete", "workers")
REFRESHED = (*GATHERED, "summary", "warnings")
SNAPSHOT = (*GATHERED, "id", "label")
FILE = ("file", "statements", "percent")
FUNCTION = ("file", "name", "line", "statements", "covered")
CONTEXT = ("label", "lines", "own_lines")
LINES = ("label", "files")
SOURCE = ("file", "text", "lines")
DIFF = ("a", "b", "files")
OPENAPI = ("openapi", "paths")


class Client:
    """A dashboard of wsgi-coverage.

    Nothing is sent before the first call. That one asks `/health` first, to see whether there is a
    dashboard at all: a POST to anything else might do anything.

    Args:
        url: the dashboard's address, or the site's root where the dashboard is at
            ``/debug/coverage``. A user name and a password may stand in it.
        username: for HTTP Basic; without it the address's, that in WSGI_COVERAGE_USERNAME, or
            ``admin``.
        password: without it the address's, that in WSGI_COVERAGE_PASSWORD, or that in the file that
            NETRC names, or ~/.netrc.
        timeout: seconds to wait for a connection and for each part of an answer; what a dashboard
            takes to gather its workers and to make a report comes on top.
        retries: how often to try again, after increasing pauses, if there is no connection or it
            breaks. A POST or DELETE that may have arrived is not sent again.

    Raises:
        BadAddressError: `url` is no address of an HTTP server.

    Every method raises a `ClientError`: `UnreachableError`, `RefusedError`, `NotADashboardError`,
    `FailedError` (the dashboard's own error, with its slug) or `VersionMismatchError`.
    """

    def __init__(
        self,
        url: str,
        *,
        username: str | None = None,
        password: str | None = None,
        timeout: float = TIMEOUT,
        retries: int = RETRIES,
    ) -> None:
        self._dashboard = Dashboard(url, username, password, timeout, retries)

    @property
    def data_folder(self) -> str | None:
        """The application's folder of data files, on its machine; None before the first request."""
        return self._dashboard.data_folder

    @property
    def url(self) -> str:
        """The dashboard's address, without credentials; the given one until the first request."""
        return self._dashboard.url

    # Asking all workers

    def refresh(self, *, wait: float | None = None, progress: Progress | None = None) -> Refreshed:
        """Have every worker flush what it has executed, and publish a new report.

        Args:
            wait: seconds to wait for the workers, at most; None: the dashboard's default, 5.
            progress: called from another thread while the report is made, with the number of files
                that are done and of all (None while it is not known).

        Returns:
            The dashboard's answer; `complete` is false if a worker did not answer.
        """
        with watching(progress, self._dashboard.building):
            return cast(Refreshed, self._change("POST", "/refresh", REFRESHED, wait=wait))

    def reset(self, *, wait: float | None = None) -> Status:
        """Forget every line executed so far, but the load; snapshots stay.

        Args:
            wait: as for `refresh`.
        """
        return cast(Status, self._change("POST", "/reset", GATHERED, wait=wait))

    def pause(self, *, wait: float | None = None) -> Status:
        """Have every worker measure nothing until `resume`.

        Args:
            wait: as for `refresh`.
        """
        return cast(Status, self._change("POST", "/pause", GATHERED, wait=wait))

    def resume(self, *, wait: float | None = None) -> Status:
        """Have every worker measure again.

        Args:
            wait: as for `refresh`.
        """
        return cast(Status, self._change("POST", "/resume", GATHERED, wait=wait))

    def health(self, *, wait: float | None = None) -> Health:
        """Return how the application is measured, every worker, and the diagnoses.

        Args:
            wait: as for `refresh`.
        """
        return self._dashboard.health(wait)

    def openapi(self) -> dict[str, Any]:
        """Return the OpenAPI 3.1 document of the dashboard: all that can be asked of it."""
        return cast(dict[str, Any], self._dashboard.json("GET", "/openapi.json", {}, dict, OPENAPI))

    # Reading a report: the published one, or a snapshot's

    def report(self, *, snapshot: str | None = None) -> str:
        """Return the text report.

        Args:
            snapshot: of which snapshot; None: of the published report.
        """
        path = _below(snapshot, "/report")
        raw: bytes = self._dashboard.ask("GET", path, {}, download.body)
        return raw.decode("utf-8", "replace")

    def files(self, *, context: str | None = None, snapshot: str | None = None) -> list[File]:
        """Return the figures of every file.

        Args:
            context: as if only requests with this label had run; None: of all that ran.
            snapshot: of which snapshot; None: of the published report.
        """
        path = _below(snapshot, "/files")
        query: Query = {} if context is None else {"context": context}
        return cast(list[File], self._dashboard.json("GET", path, query, list, FILE))

    def functions(
        self,
        *,
        unused: bool | Literal["runtime"] = False,
        unused_for: int | None = None,
        context: str | None = None,
        snapshot: str | None = None,
    ) -> list[Function]:
        """Return the figures of every function.

        Args:
            unused: True: only those that never ran; ``"runtime"``: those, and those that ran at
                load only.
            unused_for: only those that certainly ran on none of so many days.
            context: as if only requests with this label had run; None: of all that ran.
            snapshot: of which snapshot; None: of the published report.
        """
        query: dict[str, str] = {"unused": "1" if unused is True else unused} if unused else {}
        if unused_for is not None:
            query["unused_for"] = f"{unused_for}d"
        if context is not None:
            query["context"] = context
        path = _below(snapshot, "/functions")
        return cast(list[Function], self._dashboard.json("GET", path, query, list, FUNCTION))

    def contexts(self, *, snapshot: str | None = None) -> list[Context]:
        """Return the labels of requests, and the figures of what ran for each.

        Args:
            snapshot: of which snapshot; None: of the published report.
        """
        path = _below(snapshot, "/contexts")
        return cast(list[Context], self._dashboard.json("GET", path, {}, list, CONTEXT))

    def context(self, label: str, *, snapshot: str | None = None) -> LinesOfContext:
        """Return the lines that ran for one label.

        Args:
            label: the label.
            snapshot: of which snapshot; None: of the published report.

        Raises:
            RefusedError: there is no such label (`unknown-context`).
        """
        path = _below(snapshot, f"/contexts/{quote(label, safe='')}")
        return cast(LinesOfContext, self._dashboard.json("GET", path, {}, dict, LINES))

    def delete_context(self, label: str, *, wait: float | None = None) -> Forgotten:
        """Forget what ran for one label; finished reports and snapshots keep it.

        Args:
            label: the label.
            wait: as for `refresh`.

        Raises:
            FailedError: nothing ran for it (`unknown-context`), or the host is one of a fleet.
        """
        path = f"/contexts/{quote(label, safe='')}"
        return cast(Forgotten, self._change("DELETE", path, GATHERED, wait=wait))

    def source(
        self, file: str, *, context: str | None = None, snapshot: str | None = None
    ) -> Source:
        """Return the source of a file: of each line when it ran, and for which labels.

        Args:
            file: its name, as `files` returns it.
            context: as if only requests with this label had run; None: of all that ran.
            snapshot: of which snapshot; None: of the published report.

        Raises:
            RefusedError: the report has no such file (`not-found`), or its source is on another
                host (`no-source`).
        """
        path = _below(snapshot, f"/source/{quote(file)}")
        query: Query = {} if context is None else {"context": context}
        return cast(Source, self._dashboard.json("GET", path, query, dict, SOURCE))

    def export(
        self,
        target: str | Path | BinaryIO,
        *,
        format: Format = "coverage",  # noqa: A002  the dashboard's own word
        snapshot: str | None = None,
    ) -> int:
        """Download a report.

        Args:
            target: a file, which is replaced only by a complete download; or an open file.
            format: ``coverage`` (the combined data file), ``json``, ``xml``, ``lcov`` or ``html``
                (a zip archive).
            snapshot: of which snapshot; None: of the published report.

        Returns:
            The size in bytes.

        Raises:
            DiskFullError: the disk is full.
            OSError: the open file cannot be written to.
        """
        query: Query = {} if format == "coverage" else {"format": format}
        path = _below(snapshot, "/export")
        ask = self._dashboard.ask
        if isinstance(target, str | Path):
            file = Path(target)
            return cast(
                int,
                ask("GET", path, query, lambda a: download.to_file(a, file), extra=BUILD_TIMEOUT),
            )
        opened = target
        # Not tried again: part of the answer may be written already when a connection breaks.
        try:
            size = ask(
                "GET",
                path,
                query,
                lambda answer: download.to_open_file(answer, opened),
                extra=BUILD_TIMEOUT,
                once=True,
            )
        except download.NotWrittenError as error:
            raise error.error from None
        return cast(int, size)

    def diff(self, a: str, b: str = "current") -> Diff:
        """Return the lines and branches that only one of two reports has executed, per file.

        Args:
            a: a snapshot's id, ``current`` for the published report, or ``context:`` and a label
                for what ran for that label.
            b: likewise.
        """
        return cast(Diff, self._dashboard.json("GET", "/diff", {"a": a, "b": b}, dict, DIFF))

    # Snapshots

    def snapshot(
        self,
        *,
        label: str | None = None,
        reset: bool = False,
        keep: bool = True,
        detail: str | None = None,
        wait: float | None = None,
    ) -> Taken:
        """Store a report of everything executed up to now.

        Args:
            label: stored with the snapshot, unchanged.
            reset: also forget all of it, in the same step, so that no line in between is lost.
            keep: False: store nothing; useful with `detail`.
            detail: ``lines``: have coverage.py's JSON report in the answer.
            wait: seconds to wait for the workers, at most; None: the dashboard's default, 5.
        """
        query = _of_snapshot(label, reset=reset, keep=keep, detail=detail)
        return cast(Taken, self._change("POST", "/snapshot", SNAPSHOT, query, wait=wait))

    def combine(
        self,
        operation: Literal["merge", "subtract", "intersect"],
        snapshots: Sequence[str],
        *,
        label: str | None = None,
        keep: bool = True,
        detail: str | None = None,
        wait: float | None = None,
    ) -> Taken:
        """Store a snapshot made of others, and of nothing else.

        Args:
            operation: ``merge``: what ran in any of them; ``subtract``: what ran in the first and
                not in the others; ``intersect``: what ran in all of them. Load, runtime and labels
                are told apart (docs/reference/http.md).
            snapshots: two or more ids, or ``current`` for the published report.
            label, keep, detail: as for `snapshot`.
            wait: seconds to wait for reports that others make; None: two minutes.

        Raises:
            FailedError: they cannot be combined (`mixed-data`, `source-versions`).
        """
        query: dict[str, str | Sequence[str]] = {operation: [*snapshots]}
        query |= _of_snapshot(label, keep=keep, detail=detail)
        return cast(Taken, self._change("POST", "/snapshots", SNAPSHOT, query, wait=wait))

    def snapshots(self) -> list[Snapshot]:
        """Return the metadata of every snapshot, newest first."""
        return cast(list[Snapshot], self._dashboard.json("GET", "/snapshots", {}, list, SNAPSHOT))

    def delete_snapshot(self, identity: str) -> None:
        """Delete a snapshot."""
        self._change("DELETE", _below(identity, ""), ())

    def _change(
        self,
        method: str,
        path: str,
        keys: Collection[str],
        query: Query | None = None,
        *,
        wait: float | None = None,
    ) -> dict[str, Any]:
        asked = dict(query or {})
        if wait is not None:
            asked["wait"] = f"{wait:g}"
        extra = BUILD_TIMEOUT + (bounds.WAIT if wait is None else wait)
        json = self._dashboard.json
        return cast(dict[str, Any], json(method, path, asked, dict, keys, extra=extra))


def _of_snapshot(
    label: str | None, *, keep: bool, detail: str | None, reset: bool = False
) -> dict[str, str]:
    """Return the parameters of a request for a new snapshot."""
    query = {}
    if label is not None:
        query["label"] = label
    if reset:
        query["reset"] = "1"
    if not keep:
        query["keep"] = "0"
    if detail is not None:
        query["detail"] = detail
    return query


def _below(snapshot: str | None, path: str) -> str:
    return path if snapshot is None else f"/snapshots/{quote(snapshot, safe='')}{path}"
