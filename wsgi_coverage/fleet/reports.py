"""Keep a host's published report and snapshots the same as on all other hosts of the fleet.

The host fetches a published report as soon as another host has published it. It lists the snapshots
of all hosts, and fetches the content of one when a user asks for it. Reports that were made while
the store could not be reached are sent later.

Concurrency: belongs to the agent, which holds a lock during each call; workers and other processes
use the same folders by their own rules.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from wsgi_coverage.analysis.cache import ANALYSIS, AnalysisCache
from wsgi_coverage.errors import (
    DamagedReportError,
    NoReportError,
    RefreshBusyError,
    StorageError,
    UnknownSnapshotError,
    WsgiCoverageError,
)
from wsgi_coverage.fleet import bundle
from wsgi_coverage.fleet.messages import FleetHost
from wsgi_coverage.report.history import History
from wsgi_coverage.report.publish import ID, META, Publisher, read_meta
from wsgi_coverage.report.snapshots import MAX_SNAPSHOTS, Snapshots
from wsgi_coverage.store.redis import EpochGoneError, FleetState, FleetStore

RETRY_INTERVAL = 30.0  # seconds until a failed exchange is tried again
LOST_TRIES = 20  # exchanges, about one a second
NOT_ALIKE = "other hosts of the fleet may serve another report, or other snapshots: {}"
# Raised for a value that is no report, or of another version, or damaged.
UNUSABLE = (ValueError, TypeError, KeyError, DamagedReportError)
VANISHED = "the data of this snapshot has vanished from the store of the fleet"


class FleetReports:
    """The reports of one host of a fleet.

    Args:
        about: the host.
        store: the store of the fleet.
    """

    def __init__(self, about: FleetHost, store: FleetStore) -> None:
        self._store = store
        root = about.root_in_data
        self._pack = partial(bundle.packed, root=root, with_sources=about.with_sources)
        analyses = AnalysisCache(about.cache_dir / ANALYSIS)
        self._unpack = partial(bundle.unpack, root=root, analyses=analyses)
        self._publisher = Publisher(about.cache_dir)
        self._history = History(about.cache_dir)
        self._snapshots = Snapshots(about.snapshot_dir)
        self.problem: str | None = None  # why other hosts may serve other reports
        self._not_before = 0.0  # seconds of CLOCK_MONOTONIC: no exchange is tried before
        self._seen: object = None  # the state in which host and store had the same reports
        # The id of the published report in the store, when it was last read. If this host serves
        # another one, it was made here since, and is about to be sent.
        self._heard: str | None = None
        self._lost = "", 0  # a published report that the store has lost, and tries to have it
        self._refused: set[str] = set()  # ids of reports that can neither be sent nor used

    def exchange(self, state: FleetState) -> None:
        """Fetch reports that this host lacks, and send those that the store lacks.

        At most one snapshot is sent at a time. After an error, `problem` says why, and the exchange
        is tried again 30 seconds later.

        Args:
            state: the fleet's current state; this host is in its epoch.

        Raises:
            redis.EpochGoneError: the epoch is over.
        """
        if time.monotonic() < self._not_before or self._looks(state) == self._seen:
            return
        try:
            is_done = self._exchange_published(state)
            is_done &= self._exchange_snapshots(state)
            self._seen = self._looks(state) if is_done else None
            self.problem = None
        except (WsgiCoverageError, OSError) as error:
            self.problem = NOT_ALIKE.format(error)
            self._not_before = time.monotonic() + RETRY_INTERVAL

    def hurry(self) -> None:
        """Skip the wait after an error at the next `exchange`: another host has shared a report."""
        self._not_before = 0.0

    def forget(self) -> None:
        """Drop what is known of the reports in the store, which cannot be reached."""
        self._seen = self._heard = None
        self._not_before = 0.0

    def _looks(self, state: FleetState) -> object:
        return state.id, state.changes, self._publisher.identity(), self._snapshots.state()

    # The published report

    def _exchange_published(self, state: FleetState) -> bool:
        here = self._publisher.identity()
        if here is not None and here == state.published and here not in self._refused:
            self._publish_again(state, here)
        if state.published and state.published != self._heard:
            if state.published != here and not self._fetch_published(state.published):
                return False
            self._heard = state.published
        if not state.published and here is not None and here not in self._refused:
            # The store was emptied, or was away when it was made.
            self.publish(state, here)
        return True

    def _publish_again(self, state: FleetState, identity: str) -> None:
        """Send the published report, which this host has, if its key has vanished."""
        with contextlib.suppress(StorageError, EpochGoneError):
            if not self._store.has_report(identity):
                self.publish(state, identity, again=True)

    def publish(self, state: FleetState, identity: str, *, again: bool = False) -> None:
        """Send the report that this host has published, for all hosts to serve it.

        Args:
            state: the fleet's current state.
            identity: the id of the report.
            again: send it only if it is the published one still.

        Raises:
            StoreUnavailableError, redis.EpochGoneError: it was not sent.
            StorageError: it is too large, or damaged.
        """
        try:
            with self._refusing(identity):
                content = self._pack(self._publisher.folder(identity))
        except (NoReportError, FileNotFoundError):
            return  # it was withdrawn, or replaced
        self._store.publish(state, identity, content, again=again)

    @contextlib.contextmanager
    def _refusing(self, identity: str) -> Iterator[None]:
        """Remember a report of this host that cannot be sent, so that it is not tried again.

        Raises:
            StorageError: it cannot be sent.
        """
        try:
            yield
        except UNUSABLE as error:
            self._refused.add(identity)
            raise StorageError(f"the report {identity} cannot be sent: {error}") from error

    def _fetch_published(self, identity: str) -> bool:
        """Fetch a report that another host has published; return False to try it again."""
        if identity in self._refused or not ID.fullmatch(identity):
            return True
        content = self._store.report(identity)
        if content is None:
            return not self._has_others_look_for(identity)
        try:
            with self._publisher.lock(timeout=0.0):
                report = self._publisher.install(identity, partial(self._unpack, content))
                if report is not None:
                    self._history.add(report, since=report.summary["since"])
        except RefreshBusyError:
            return False
        except UNUSABLE:  # of another version
            self._refused.add(identity)
        return True

    def _has_others_look_for(self, identity: str) -> bool:
        """Have a host that has a report send it again; return False once none has for a while."""
        lost, tries = self._lost
        tries = tries + 1 if lost == identity else 1
        self._lost = identity, tries
        if tries == 1:
            self._store.note_lost_report()
        return tries <= LOST_TRIES

    # Snapshots

    def _exchange_snapshots(self, state: FleetState) -> bool:
        listed, here = {*self._store.snapshots()}, {*self._snapshots.ids()}
        unlisted = sorted(here - listed)
        deleted = self._store.deleted(unlisted)
        is_done = True
        for identity in unlisted:
            if identity in deleted or not self._snapshots.is_whole(identity):
                with contextlib.suppress(UnknownSnapshotError, OSError):
                    self._snapshots.delete(identity)
            elif identity not in self._refused:
                if not is_done:
                    break  # sent at the next exchange
                with contextlib.suppress(StorageError):
                    self.add_snapshot(state, identity)
                is_done = False
        missing = sorted(each for each in listed - here - self._refused if ID.fullmatch(each))
        for identity, metadata in self._store.metadata(missing[-MAX_SNAPSHOTS:]).items():
            try:
                self._snapshots.list_only(identity, metadata)
            except UNUSABLE:  # of another version
                self._refused.add(identity)
        return is_done

    def add_snapshot(self, state: FleetState, identity: str) -> None:
        """Send a snapshot that is stored here, for all hosts to list it.

        Args:
            state: the fleet's current state.
            identity: the id of the snapshot.

        Raises:
            StoreUnavailableError: it was not sent.
            StorageError: it is too large, or damaged.
        """
        try:
            with self._refusing(identity):
                metadata = self._snapshots.read(identity, _metadata)
                content = self._snapshots.read(identity, self._pack)
        except (UnknownSnapshotError, FileNotFoundError):
            return  # it was deleted just now
        self._store.add_snapshot(state, identity, metadata, content)

    def fetch_snapshot(self, identity: str) -> None:
        """Fetch the content of a snapshot, unless it is here.

        Args:
            identity: the id of a snapshot that is listed here.

        Raises:
            UnknownSnapshotError: the store does not have it any more, or it cannot be used.
            StoreUnavailableError: the store cannot be used.
            StorageError: it cannot be stored here.
        """
        if self._snapshots.is_whole(identity):
            return
        content = self._store.report(identity)
        if content is None:
            self._store.note_vanished(identity)
            raise UnknownSnapshotError(VANISHED)
        try:
            self._snapshots.complete(identity, partial(self._unpack, content))
        except UNUSABLE as error:
            raise UnknownSnapshotError(
                f"the data of this snapshot cannot be used: {error}"
            ) from error

    def delete_snapshot(self, identity: str) -> None:
        """Remove a snapshot from all hosts.

        Raises:
            StoreUnavailableError: the store cannot be used; nothing is removed.
        """
        self._store.delete_snapshot(identity)
        with contextlib.suppress(UnknownSnapshotError):
            self._snapshots.delete(identity)


def _metadata(folder: Path) -> str:
    read_meta(folder)
    return (folder / META).read_text(encoding="utf-8")
