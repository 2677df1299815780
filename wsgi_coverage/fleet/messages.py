"""What a worker and the agent of its host tell each other, without the extra that the agent needs.

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
ANSWER = ".answer"  # of the files with its answers, which who reads them removes
STATE = "agent.state"  # in the private folder: how it stands with the store, for /health


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetHost:
    """What an agent is told when it is started."""

    url: StoreUrl
    namespace: str
    release: str | None
    data_file: Path
    private: Path  # the private folder
    cache_dir: Path
    snapshot_dir: Path
    with_sources: bool  # whether source text may be sent
    static: str | None  # coverage.py's static context
    engine: str  # of its workers
    root: str | None  # the application's folder; names below it are sent from there on

    @property
    def root_in_data(self) -> str | None:
        """`root` as names in data files begin, which are without links."""
        return None if self.root is None else os.path.realpath(self.root)


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetAnswer:
    """The answer of an agent to a call of a worker; it comes as a file."""

    states: tuple[WorkerState, ...] = ()  # of all workers that were asked by way of agents
    problems: tuple[str, ...] = ()  # why there may be more
    ended_at: Moment | None = None  # what had run by then is in the reading
    reading: Reading | None = None  # what has run on all hosts
    refused: str | None = None  # why the store cannot be used
    error: WsgiCoverageError | None = None  # why this host could not do it
