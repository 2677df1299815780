"""Parse the sources of a large application ahead of the first report on it.

The first report of a large application takes seconds, most of them for parsing. So the process that
waits for the next autosave (wsgi_coverage.collect.saves.autosave) has the sources parsed meanwhile,
once the load is over and the host is idle: in one child process per host, of the lowest priority.
Analyses, and figures of what has been executed by then, go to the cache that reports read.

Concurrency: `Ahead` is a value, made in a worker and called in the process that waits. Calls hold a
lock of the host; where that is taken, nothing is done.
"""

from __future__ import annotations

import contextlib
import os
import pickle
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wsgi_coverage import clock
from wsgi_coverage.analysis.cache import ANALYSIS, FIGURES, VERSIONS, AnalysisCache, digest
from wsgi_coverage.collect.sources import packages
from wsgi_coverage.data.reading import Reading
from wsgi_coverage.model import Gathering
from wsgi_coverage.offload import capacity
from wsgi_coverage.store.file_lock import locked
from wsgi_coverage.system import own_files

if TYPE_CHECKING:
    from wsgi_coverage.collect.worker import Worker
    from wsgi_coverage.settings import Settings

WORTH = 1_000_000  # bytes of source; less takes 3 s at most, in the first report
FOLDERS = 5_000  # searched to learn whether there is WORTH; with more, that is assumed
ROOM = 64_000_000  # bytes of memory that must be free, else nothing is parsed ahead
LOCK = "ahead.lock"  # in cache_dir
DONE = "ahead"  # name in the analysis cache: a hash of the sources that have all been parsed
NICENESS = 19


@dataclass(frozen=True, slots=True, kw_only=True)
class Ahead:
    """The sources that are parsed ahead, and when that is done."""

    folder: Path  # the analysis cache
    load: float  # load average per core, below which parsing begins
    config: bytes  # coverage.py's configuration, pickled
    branch: bool
    source: tuple[str, ...]  # folders and packages

    def is_time(self) -> bool:
        """Tell whether the host is idle, and has enough free memory."""
        return capacity.load() < self.load and capacity.room() > ROOM

    def __call__(self, reading: Reading, tick: Callable[[], object]) -> None:
        """Parse what the cache lacks, if it is much and no other process does so.

        Args:
            reading: a reading of the host's memory, which names the executed files.
            tick: called a few times a second; an exception of it ends the work.
        """
        names = sorted({*reading.names()})
        known = sorted((claim.name, claim.version) for claim in reading.sources)
        state = digest(repr((names, known, self.source, self.branch)).encode(), self.config)
        if AnalysisCache(self.folder).get(DONE) == state or not is_worth(
            self.source_folders(names), names
        ):
            return
        from wsgi_coverage.offload import child

        own_files.make_folder(self.folder)
        with contextlib.suppress(TimeoutError), locked(self.folder.parent / LOCK, 0.0):
            child.call(parse, self, reading, state, tick=tick)

    def source_folders(self, names: Sequence[str]) -> list[str]:
        """Return the folders and single modules of `source` as full paths, without importing them.

        Args:
            names: names of files that have been executed.
        """
        folders = [each for each in self.source if Path(each).is_dir()]
        others = [each for each in self.source if each not in folders]
        return [*map(os.path.abspath, folders), *packages.not_imported(others, names)]


def plan(worker: Worker, settings: Settings) -> Ahead | None:
    """Return what is to be parsed ahead for an application; None for nothing."""
    if not settings.parse_ahead_load:
        return None

    def configured(option: str) -> list[str]:
        found: Any = worker.engine.coverage.get_option(f"run:{option}")
        return list(found or ())

    try:
        pickled = pickle.dumps(worker.engine.config)
    except Exception:  # noqa: BLE001  a report fails by the same error, and reports it
        return None
    return Ahead(
        folder=worker.home / settings.cache_dir / ANALYSIS,
        load=settings.parse_ahead_load,
        config=pickled,
        branch=worker.engine.measuring.branch,
        source=(*configured("source"), *configured("source_dirs"), *configured("source_pkgs")),
    )


def is_worth(places: Sequence[str], names: Sequence[str]) -> bool:
    """Tell whether there are WORTH bytes of source, so that it pays to parse ahead.

    Args:
        places: folders and modules of `source`; searched until there is enough.
        names: names of files that have been executed.
    """
    size, seen = 0, set()
    for path in chain(map(os.path.abspath, names), _below(places)):
        if path is None:
            return True  # too many folders to search here
        if path not in seen:
            seen.add(path)
            with contextlib.suppress(OSError, ValueError):
                size += os.stat(path).st_size  # noqa: PTH116  of thousands
            if size >= WORTH:
                return True
    return False


def _below(places: Sequence[str]) -> Iterator[str | None]:
    """Yield the sources in folders and modules; then None, if FOLDERS are not enough for all."""
    left = FOLDERS
    for place in places:
        if place.endswith(".py"):
            yield place
        for folder, folders, files in os.walk(place):
            if not (left := left - 1):
                yield None
                return
            folders[:] = [each for each in folders if each[:1] != "." and each != "__pycache__"]
            for each in files:
                if each.endswith(".py"):
                    yield os.path.join(folder, each)  # noqa: PTH118  of thousands


def parse(ahead: Ahead, reading: Reading, state: str) -> None:
    """Parse sources, and compute figures of what has been executed; runs in a child process.

    Args:
        ahead: the sources to parse.
        reading: a reading of the host's memory.
        state: the hash to store under DONE at the end.
    """
    from wsgi_coverage.analysis import parsing  # imports coverage.py: 0.1 s, 15 MB
    from wsgi_coverage.analysis.source import rules_of

    os.nice(NICENESS)
    config = pickle.loads(ahead.config)  # noqa: S301  the worker's own
    names = [*reading.names()]
    wanted = parsing.sources_of(config, ahead.source_folders(names), names)
    small = parsing.small_enough(wanted)
    used = parsing.fill(small, rules_of(config, branch=ahead.branch), ahead.folder)
    if small and len(small) == len(wanted):
        _count(ahead, reading, config, wanted)
    cache = AnalysisCache(ahead.folder)
    cache.prune({*used, FIGURES, VERSIONS, DONE})
    cache.put(DONE, state)


def _count(ahead: Ahead, reading: Reading, config: Any, wanted: Sequence[str]) -> None:
    """Put the figures of all files into the cache, by building a report that is not published.

    The first published report computes anew only the figures of files that have run more lines.
    """
    from wsgi_coverage.report.build import BuildInputs, build
    from wsgi_coverage.report.publish import Publisher

    inputs = BuildInputs(
        config=config,
        branch=ahead.branch,
        data_files=[],
        could_run=[(name, None) for name in wanted],
        gathering=Gathering(workers=(), ended_at=clock.now()),
        collected=clock.now(),
        autosave_interval=0.0,
        analysis_dir=ahead.folder,
        memory=[reading],
    )
    with contextlib.suppress(Exception):  # a report that is asked for raises it again
        Publisher(ahead.folder.parent).build_unread(partial(build, inputs))
