"""Parse many sources in several processes; the analyses go to the cache that reports read.

The process that needs the analyses begins with the first source; child processes begin with the
last, and all skip what the cache has. When they meet, all is parsed: no process waits for another,
and what a failed child leaves, the first process parses.

Memory: each process holds one source at a time, and no results. Only the first process parses
sources of more than LARGEST bytes.

Concurrency: `ParsingProcesses` belongs to one thread, and has one for each process. Any number of
processes may parse the same sources at once; their analyses are equal.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from wsgi_coverage.analysis.cache import AnalysisCache
from wsgi_coverage.analysis.source import (
    Rules,
    analyse,
    analysis_name,
    current_analysis_name,
    read_content,
    text_of,
)
from wsgi_coverage.compat import names, needs
from wsgi_coverage.compat.files import below, filter_of
from wsgi_coverage.compat.parsing import can_be_cached
from wsgi_coverage.data.stamp import fingerprint_of
from wsgi_coverage.offload import capacity, child, progress
from wsgi_coverage.system import workdir

ALONE = 50_000  # bytes of source that one process parses before others do so, too: 0.1 s
SHARE = 500_000  # bytes of source that are worth a process, which takes 0.2 s to start
LARGEST = 1_000_000  # bytes of a source that child processes parse
PER_BYTE = 150  # bytes of memory to parse one byte of source; measured: 30 to 135
ROOM = 30_000_000 + LARGEST * PER_BYTE  # bytes of memory that a process takes at most


class _StopError(Exception):
    """Raised in the wait for a child process when its analyses are not needed any more."""


class ParsingProcesses:
    """Child processes that parse the same sources, started once there is much to parse.

    Args:
        names: the sources, in the order in which this process needs them.
        rules: the rules of their analyses.
        folder: the analysis cache.
    """

    def __init__(self, names: Iterable[str], rules: Rules, folder: Path) -> None:
        self._names = names
        self._job = (rules, folder)
        self._alone = 0  # bytes that this process has parsed
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] | None = None

    def __enter__(self) -> ParsingProcesses:
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        for thread in self._threads or ():
            thread.join()

    def note(self, size: int) -> None:
        """Add a source of `size` bytes that this process has parsed; start children after ALONE."""
        self._alone += size
        if self._threads is None and self._alone > ALONE:
            self._threads = []
            for share in shares([*self._names][::-1], capacity.processes(ROOM) - 1):
                thread = threading.Thread(target=self._parse_share, args=(share,), daemon=True)
                with contextlib.suppress(RuntimeError):  # no other can be started
                    thread.start()
                    self._threads.append(thread)

    def _parse_share(self, names: Sequence[str]) -> None:
        # This process meets the same error, and raises it.
        with contextlib.suppress(Exception):
            child.call(parse, names, *self._job, tick=self._tick)

    def _tick(self) -> None:
        if self._stopping.is_set():
            raise _StopError


def shares(names: Sequence[str], most: int) -> list[Sequence[str]]:
    """Divide sources among `most` processes, or fewer so that each has SHARE bytes to parse."""
    sizes = {name: size for name in names if (size := size_of(name)) <= LARGEST}
    number = min(sum(sizes.values()) // SHARE, most)
    return [[*sizes][index::number] for index in range(number)]


def size_of(name: str) -> int:
    """Return the size of a source in bytes; 0 where there is none."""
    try:
        return os.stat(workdir.here(name)).st_size  # noqa: PTH116  of thousands
    except (OSError, ValueError):
        return 0


def fill(names: Sequence[str], rules: Rules, folder: Path) -> set[str]:
    """Put the analyses of sources into the cache; in several processes, if there is much to parse.

    Args:
        names: the sources.
        rules: the rules of their analyses.
        folder: the analysis cache.

    Returns:
        The names of the analyses in the cache.
    """
    with ParsingProcesses(names, rules, folder) as processes:
        return _parse(names, rules, AnalysisCache(folder), processes)


def parse(names: Sequence[str], rules: Rules, folder: Path) -> None:
    """Do as `fill`, in this process alone; called in the child processes."""
    _parse(names, rules, AnalysisCache(folder), None)


def _parse(
    names: Sequence[str], rules: Rules, cache: AnalysisCache, processes: ParsingProcesses | None
) -> set[str]:
    used = set()
    for done, name in enumerate(names, 1):
        try:
            path = workdir.here(name)
            found, content = None, b""
            source = current_analysis_name(path, rules)
            if source is None or not cache.has(source):
                content = read_content(path)
                source = analysis_name(fingerprint_of(content), rules)
                found = analysed(path, content, rules)
        except Exception:  # noqa: BLE001, S112  the report says why
            continue
        used.add(source)
        if found is not None:
            cache.put(source, found)
            if processes is not None:
                processes.note(len(content))
        progress.note(done, len(names))
    return used


def analysed(filename: str, content: bytes, rules: Rules) -> dict[str, Any]:
    """Return the analysis of a source.

    Raises:
        CoverageException, SyntaxError: the source cannot be parsed.
    """
    return analyse(text_of(filename, content), filename, rules)


def sources_of(config: Any, places: Iterable[str], executed: Iterable[str]) -> list[str]:
    """Return the sources that the next report will be about; none if analyses cannot be cached.

    Args:
        config: coverage.py's configuration.
        places: folders and modules of `source`.
        executed: names of files that have been executed.
    """
    if not can_be_cached() or names.missing(needs.PATTERNS):
        return []
    is_reported = filter_of(config)
    found = {workdir.here(name): None for name in (*executed, *below(config, places))}
    return [name for name in sorted(found) if is_reported(name)]


def small_enough(names: Iterable[str]) -> list[str]:
    """Return the sources that can be parsed, one at a time, in memory that is free now."""
    most = capacity.room() // PER_BYTE
    return [name for name in names if size_of(name) <= most]
