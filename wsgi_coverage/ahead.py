"""Parse the sources of a large application before the first report on it is asked for.

The first report of a large application takes seconds, most of them for parsing. So the process that
waits for the autosave (wsgi_coverage.collect.saves.autosave) parses the sources meanwhile, once the
load is over and the host is idle: in a child process of the lowest priority, one a host. The
analyses go to the cache that reports read, and the figures of what has been executed by then, too.

Concurrency: `Ahead` is a value, made in a worker; it is called in the process that waits, alone
there, under a lock of the host that is never waited for.
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

WORTH = 1_000_000  # bytes of source; less is parsed in 3 s, when a report is made
FOLDERS = 5_000  # more of them are looked through by the process that parses
ROOM = 64_000_000  # bytes of memory that it may take at least, else it is not done
LOCK = "ahead.lock"  # in cache_dir
DONE = "ahead"  # in the cache of analyses: of which sources all has been parsed
NICENESS = 19


@dataclass(frozen=True, slots=True, kw_only=True)
class Ahead:
    """Which sources are parsed ahead, and when."""

    folder: Path  # the analysis cache
    load: float  # of a core; parsing begins below it
    config: bytes  # coverage.py's configuration, pickled
    branch: bool
    source: tuple[str, ...]  # folders and packages

    def is_time(self) -> bool:
        """Tell whether the host is idle, and has the memory."""
        return capacity.load() < self.load and capacity.room() > ROOM

    def __call__(self, reading: Reading, tick: Callable[[], object]) -> None:
        """Parse what the cache lacks, if it is much and no other process does so.

        Args:
            reading: of the host's memory, which names what has been executed.
            tick: called a few times a second; what it raises ends the work.
        """
        names = sorted({*reading.names()})
        known = sorted((claim.name, claim.version) for claim in reading.sources)
        state = digest(repr((names, known, self.source, self.branch)).encode(), self.config)
        if AnalysisCache(self.folder).get(DONE) == state or not is_worth(self.places(names), names):
            return
        from wsgi_coverage.offload import child

        own_files.make_folder(self.folder)
        with contextlib.suppress(TimeoutError), locked(self.folder.parent / LOCK, 0.0):
            child.call(parse, self, reading, state, tick=tick)

    def places(self, names: Sequence[str]) -> list[str]:
        """The folders, and single modules, of `source`, as full paths; nothing is imported for it.

        Args:
            names: of files that have been executed.
        """
        folders = [each for each in self.source if Path(each).is_dir()]
        others = [each for each in self.source if each not in folders]
        return [*map(os.path.abspath, folders), *packages.not_imported(others, names)]


def plan(worker: Worker, settings: Settings) -> Ahead | None:
    """What is to be parsed ahead for an application; None: nothing is."""
    if not settings.parse_ahead_load:
        return None

    def places(option: str) -> list[str]:
        found: Any = worker.engine.coverage.get_option(f"run:{option}")
        return list(found or ())

    try:
        pickled = pickle.dumps(worker.engine.config)
    except Exception:  # noqa: BLE001  reports meet it, too, and tell
        return None
    return Ahead(
        folder=worker.home / settings.cache_dir / ANALYSIS,
        load=settings.parse_ahead_load,
        config=pickled,
        branch=worker.engine.measuring.branch,
        source=(*places("source"), *places("source_dirs"), *places("source_pkgs")),
    )


def is_worth(places: Sequence[str], names: Sequence[str]) -> bool:
    """Tell whether there is so much source that it is to be parsed ahead.

    Args:
        places: folders and modules of `source`; they are looked through as far as is needed.
        names: of files that have been executed.
    """
    size, seen = 0, set()
    for path in chain(map(os.path.abspath, names), _below(places)):
        if path is None:
            return True  # the process that parses looks through the rest
        if path not in seen:
            seen.add(path)
            with contextlib.suppress(OSError, ValueError):
                size += os.stat(path).st_size  # noqa: PTH116  of thousands
            if size >= WORTH:
                return True
    return False


def _below(places: Sequence[str]) -> Iterator[str | None]:
    """The sources in some places; None at last, where there are too many folders."""
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
    """Parse, and count what has been executed so far, in a child process.

    Args:
        ahead: which sources are parsed.
        reading: of the host's memory.
        state: replaced when all is done.
    """
    from wsgi_coverage.analysis import parsing  # imports coverage.py: 0.1 s, 15 MB
    from wsgi_coverage.analysis.source import rules_of

    os.nice(NICENESS)
    config = pickle.loads(ahead.config)  # noqa: S301  the worker's own
    names = [*reading.names()]
    wanted = parsing.sources_of(config, ahead.places(names), names)
    small = parsing.small_enough(wanted)
    used = parsing.fill(small, rules_of(config, branch=ahead.branch), ahead.folder)
    if small and len(small) == len(wanted):
        _count(ahead, reading, config, wanted)
    cache = AnalysisCache(ahead.folder)
    cache.prune({*used, FIGURES, VERSIONS, DONE})
    cache.put(DONE, state)


def _count(ahead: Ahead, reading: Reading, config: Any, wanted: Sequence[str]) -> None:
    """Have the cache hold the figures of all files, by building a report that nobody reads.

    The first report counts those again that something more has been executed of.
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
    with contextlib.suppress(Exception):  # who asks for a report is told
        Publisher(ahead.folder.parent).build_unread(partial(build, inputs))
