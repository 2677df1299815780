"""The private data file that one process records into, and the versions of the sources it is of.

Lines are written under the context of the phase in which they ran (wsgi_coverage.data.phases). The
data files of one process follow one another: a new one for each reset, and for each fork.

Concurrency: every method is called under the worker's lock, but for `saw`, which measured threads
call.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from coverage import CoverageData
from coverage.exceptions import CoverageException

from wsgi_coverage.collect import internals
from wsgi_coverage.data import stamp
from wsgi_coverage.data.phases import Phase, call_it_load, context_of, forget_runtime


class Recording:
    """What one process has recorded since it started, or since the last reset.

    Args:
        new_path: gives a path for a private data file, a new one at each call.
        static: coverage.py's static context.
    """

    def __init__(self, new_path: Callable[[], Path], static: str | None) -> None:
        self._new_path = new_path
        self._static = static
        self._versions: dict[str, str] = {}  # fingerprint by source
        self._start_new()

    def _start_new(self) -> None:
        self.data = self._open(self._new_path())
        self._noted: set[str] = set()  # sources whose version is in the data file

    def _open(self, path: Path) -> CoverageData:
        data = CoverageData(basename=str(path))
        data.set_context(self._static)
        return data

    @property
    def path(self) -> Path | None:
        """The data file; None: nothing was recorded yet."""
        path = Path(self.data.data_filename())
        return path if path.exists() else None

    def saw(self, source: str, name: str) -> None:
        """A source is being loaded, to be measured under this name: remember which version."""
        found = stamp.fingerprint(source)
        if found is not None:
            self._versions.setdefault(name, found)

    def write(self, collector: Any, seen: internals.Live, phase: Phase | None) -> None:
        """Add lines that ran in a phase; None: nobody tells which."""
        self._set_context(phase)
        internals.write(collector, seen, self.data)

    def move(self, collector: Any, phase: Phase | None, *, tells_phases: bool) -> internals.Live:
        """Move what the collector holds here, losing nothing; return it."""
        if tells_phases:  # else coverage.py, or a plugin of it, sets the context
            self._set_context(phase)
        return internals.flush(collector, self.data)

    def _set_context(self, phase: Phase | None) -> None:
        self.data.set_context(self._static if phase is None else context_of(phase, self._static))

    def note_versions(self) -> None:
        """Note beside the lines which versions of the sources they belong to."""
        known = self._versions.copy()  # measured threads add to it
        unnoted = {name: known[name] for name in known.keys() - self._noted}
        if unnoted:
            stamp.put_fingerprints(Path(self.data.data_filename()), unnoted)
            self._noted |= unnoted.keys()

    def call_it_load(self) -> None:
        """Move what was recorded while nobody told the phase to the load."""
        if (path := self.path) is not None:
            self.data.close(force=True)
            call_it_load(path, self._static)
            self.data = self._read(path)

    def begin_anew(self, *, keeping_load: bool = False, keeping_files: bool = False) -> None:
        """Forget everything recorded so far, or everything that did not run at load.

        Args:
            keeping_load: remember what ran at load.
            keeping_files: remember which files have run, so that reports go on showing them.

        Raises:
            OSError: there is no room; nothing is forgotten.
        """
        old, path = self.data, self.path
        old.close(force=True)
        kept = None
        if path is not None and (keeping_load or keeping_files):
            kept = self._copy(path, load=keeping_load, files=keeping_files)
        if kept is None:
            self._start_new()
        else:
            self.data = self._read(kept)
        Path(old.data_filename()).unlink(missing_ok=True)

    def _copy(self, path: Path, *, load: bool, files: bool) -> Path | None:
        """A new data file of what is kept of this one; None if that is nothing."""
        new = self._new_path()
        try:
            shutil.copyfile(path, new)
            if forget_runtime(new, load=load, files=files):
                return new
        except OSError:
            new.unlink(missing_ok=True)
            raise
        new.unlink()
        return None

    def begin_elsewhere(self) -> None:
        """In a forked child: the data file so far stays the parent's."""
        self._start_new()

    def rescue(self) -> None:
        """After a failed write: read the data file anew, or start another beside it.

        coverage.py remembers row numbers of rows that a failed write took back; and it makes its
        tables one by one, so a disk that is full at the first flush leaves some of them.
        """
        self.data.close(force=True)
        path = Path(self.data.data_filename())
        try:
            stamp.check(path)
            self.data = self._read(path)
        except (CoverageException, OSError):
            self._start_new()
            path.unlink(missing_ok=True)

    def _read(self, path: Path) -> CoverageData:
        data = self._open(path)
        data.read()
        return data
