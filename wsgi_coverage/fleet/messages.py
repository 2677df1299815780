"""The messages between a worker and the agent of its host; importable without redis.

Concurrency: values.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from wsgi_coverage.data.reading import Reading
from wsgi_coverage.errors import WsgiCoverageError
from wsgi_coverage.model import Moment, WorkerState
from wsgi_coverage.settings import StoreUrl

AGENT = ".agent"  # the suffix of its socket, in the private folder
ANSWER = ".answer"  # the suffix of files with its answers, which the reader removes
STATE = "agent.state"  # in the private folder: the state of the fleet's store, for /health


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetHost:
    """What a worker passes to an agent that it starts: the host, its folders, and the store."""

    url: StoreUrl
    namespace: str
    release: str | None
    days: int  # for how many days before today it is kept on which of them lines ran; 0: not at all
    data_file: Path
    private: Path  # the private folder
    cache_dir: Path
    snapshot_dir: Path
    with_sources: bool  # whether source text may be sent
    static: str | None  # coverage.py's static context
    engine: str  # of the host's workers
    root: str | None  # the application's folder, to which names are relative in the store

    @property
    def root_in_data(self) -> str | None:
        """`root` without symbolic links, as at the beginning of names in data files."""
        return None if self.root is None else os.path.realpath(self.root)


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetAnswer:
    """The answer of an agent to a call of a worker, pickled to a file."""

    states: tuple[WorkerState, ...] = ()  # of all workers that agents have asked
    problems: tuple[str, ...] = ()  # why the answer may be incomplete
    ended_at: Moment | None = None  # the reading has what had run by then
    reading: Reading | None = None  # what has run on all hosts
    days_since: int | None = None  # with a reading: the first day that is known of all hosts
    no_days: str = "the store of the fleet could not be asked"  # why none is
    refused: str | None = None  # why the store cannot be used; None: it can
    error: WsgiCoverageError | None = None  # why this host has failed; None: it has not
