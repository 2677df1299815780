"""Start or adopt a Coverage; take what it saw without losing a line; reset it.

Concurrency: every method is called under the worker's lock, which also covers coverage.py's own
calls to the flush that is installed here. The Coverage is never stopped before the process ends:
stopping and starting leaves ctrace's pool threads unmeasured for ever.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Any

from coverage import Coverage, CoverageData
from coverage.exceptions import CoverageException

from wsgi_coverage.collect import core, internals
from wsgi_coverage.errors import NotOursError, SettingsError
from wsgi_coverage.model import Measuring
from wsgi_coverage.store import stamp

log = logging.getLogger("wsgi_coverage")

# Each would repeat on every flush.
QUIET = ["no-data-collected", "module-not-imported"]


class Ownership(StrEnum):
    """Whose the Coverage is; it decides what may be done to it."""

    OURS = "ours"
    PROCESS_START = "process-start"  # COVERAGE_PROCESS_START: nobody else is waiting for its data
    FOREIGN = "foreign"  # coverage run, pytest-cov: read it, take nothing away


class _LiveCoverage(Coverage):
    """A Coverage whose warnings reach our log, not the application's warning filters."""

    def _warn(self, msg: str, slug: str | None = None, once: bool = False) -> None:  # noqa: ARG002
        if slug not in QUIET:
            log.warning("coverage.py: %s", msg)


class Tracer:
    """One process's Coverage, and the private data file that its lines go to.

    Args:
        config_file: coverage.py's configuration; None: where coverage.py always looks.
        new_data_file: gives a path for a private data file, a new one at each call; it is told the
            configured data file.
        on_save: called when somebody else asks the Coverage to save (its own exit handler, for one)
            with a function that flushes; calls it under the worker's lock.

    Raises:
        SettingsError: the configuration cannot be read; coverage.py's own message.
    """

    def __init__(
        self,
        *,
        config_file: Path | None,
        new_data_file: Callable[[Path], Path],
        on_save: Callable[[Callable[[], bool]], bool],
    ) -> None:
        self._new_data_file = new_data_file
        self._on_save = on_save
        self._seen_of_foreign: internals.Live = {}
        self._fingerprints: dict[str, str] = {}  # which version of each source was loaded
        current = Coverage.current()
        if current is None:
            self.ownership = Ownership.OURS
            self._cov, self._reason = _make(config_file)
        else:
            self._cov = current
            self._reason = "chosen before measuring was taken over"
            self.ownership = (
                Ownership.PROCESS_START
                if internals.is_process_start(current)
                else Ownership.FOREIGN
            )
            if config_file is not None:
                log.warning("config_file %s is ignored: coverage.py already runs", config_file)
        # Now, because the application may change its working directory.
        self.data_file = internals.data_file(self._cov)
        self._data = self._new_data()
        if current is None:
            internals.use_data(self._cov, self._data)
            self._cov.start()
        self._collector: Any = internals.collector_of(self._cov)
        self._problem = internals.problem(self._cov)
        if self._problem is None:
            self._take_over(adopted=current is not None)
        else:
            log.error("coverage.py is not as expected, lines may be lost: %s", self._problem)

    def _take_over(self, *, adopted: bool) -> None:
        if adopted:
            self._take_what_was_saved()
            if self.ownership is not Ownership.FOREIGN:
                internals.use_data(self._cov, self._data)
            internals.restart_events(self._collector)
        self._install()

    def _install(self) -> None:
        theirs = self._flush_foreign if self.ownership is Ownership.FOREIGN else self.flush
        internals.replace_flush(self._collector, lambda: self._on_save(theirs))
        internals.watch_sources(self._cov, self._saw)

    def _saw(self, filename: str) -> None:
        """A source is being loaded: remember which version of it."""
        found = stamp.fingerprint(filename)
        if found is not None:
            self._fingerprints.setdefault(self._collector.cached_mapped_file(filename), found)

    def _take_what_was_saved(self) -> None:
        try:
            if saved := internals.already_saved(self._cov):
                self._data.update(saved, map_path=str)
        except CoverageException as error:
            log.warning("what coverage.py saved before cannot be read: %s", error)

    @property
    def coverage(self) -> Coverage:
        """The Coverage itself, for those who want to ask it something."""
        return self._cov

    @property
    def config(self) -> Any:
        """coverage.py's configuration, to report with."""
        return self._cov.config

    @property
    def measuring(self) -> Measuring:
        """How this process is measured."""
        return Measuring(
            core=internals.core_name(self._cov),
            core_reason=self._reason,
            coverage_version=internals.version(),
            branch=bool(self._cov.get_option("run:branch")),
            ownership=self.ownership.value,
            lossless=self._problem is None,
            problem=self._problem,
            data_file=str(self.data_file),
        )

    def flush(self) -> bool:
        """Move what has been seen since the last flush to the private data file.

        Returns True if there was something new. If writing fails nothing is lost: what could not be
        written is still with the tracer.
        """
        if self._problem is not None:
            return self._flush_by_the_book()
        if self.ownership is Ownership.FOREIGN:
            new = internals.peek(self._collector, but=self._seen_of_foreign)
            internals.write(self._collector, new, self._data)
            self._remember(new)
        else:
            new = internals.flush(self._collector, self._data)
        if new:
            self._save_fingerprints()
        return bool(new)

    def _save_fingerprints(self) -> None:
        """Note beside the lines which versions of the sources they belong to."""
        known = self._fingerprints.copy()  # measured threads add to it
        unsaved = {name: known[name] for name in known.keys() - self._saved_fingerprints}
        if unsaved:
            stamp.put_fingerprints(Path(self._data.data_filename()), unsaved)
            self._saved_fingerprints |= unsaved.keys()

    def _flush_foreign(self) -> bool:
        """The owner of a foreign Coverage saves: let it, without loss, and keep a copy."""
        self.flush()
        return bool(internals.flush(self._collector, self._collector.covdata))

    def _remember(self, new: internals.Live) -> None:
        for name, seen in new.items():
            self._seen_of_foreign.setdefault(name, set()).update(seen)

    def _flush_by_the_book(self) -> bool:
        before = self._data
        self._data = self._cov.get_data()
        if before is not self._data:
            before.close(force=True)
        return True

    def private_data(self) -> Path | None:
        """The private data file: everything flushed since start or reset. None: nothing yet."""
        path = Path(self._data.data_filename())
        return path if path.exists() else None

    @property
    def can_reset(self) -> bool:
        """False where the Coverage belongs to somebody else, who would lose what a reset drops."""
        return self.ownership is not Ownership.FOREIGN

    def check_can_reset(self) -> None:
        """Refuse a reset that would take something away from somebody else.

        Raises:
            NotOursError: the Coverage belongs to somebody else.
        """
        if not self.can_reset:
            raise NotOursError(
                "this Coverage was started by 'coverage run' or a test runner, which would lose "
                "its data: a reset is for measuring started by wsgi-coverage or "
                "COVERAGE_PROCESS_START"
            )

    def reset(self) -> None:
        """Forget every line that ran so far; in every thread every later one is noted.

        Raises:
            NotOursError: the Coverage belongs to somebody else.
        """
        self.check_can_reset()
        self.flush()
        if self._problem is not None:
            if files := self._data.measured_files():
                self._data.purge_files(files)
            internals.restart_all_events()
            return
        self._start_data_anew()
        internals.restart_events(self._collector)

    def let_go(self) -> None:
        """Remove the private data file, all of it being published; what comes goes to a new one."""
        if self._problem is None:
            self._start_data_anew()
        elif self.ownership is Ownership.OURS:
            self._data.close(force=True)
            Path(self._data.data_filename()).unlink(missing_ok=True)

    def _start_data_anew(self) -> None:
        old, self._data = self._data, self._new_data()
        if self.ownership is not Ownership.FOREIGN:
            internals.use_data(self._cov, self._data)
        old.close(force=True)
        Path(old.data_filename()).unlink(missing_ok=True)

    def after_fork(self) -> None:
        """In a child: a private data file of its own, and lines that the parent saw count again."""
        self._data = self._new_data()  # the parent's stays the parent's
        if self._problem is not None:
            return
        current = Coverage.current()  # coverage.py's patch=fork makes a new one
        changed = current is not None and current is not self._cov
        if current is not None and changed:
            self._cov = current
            self._collector = internals.collector_of(current)
        self._seen_of_foreign = {}
        internals.after_fork(self._collector)
        if self.ownership is not Ownership.FOREIGN:
            internals.use_data(self._cov, self._data)
        internals.restart_events(self._collector)
        if changed:
            self._install()

    def unexecuted_files(self) -> list[tuple[str, str | None]]:
        """Files that could have run and never did: (file, plugin's name) pairs."""
        if self._problem is not None:
            return []
        return list(internals.unexecuted_files(self._cov))

    def touch_unexecuted_files(self) -> None:
        """Put the files that never ran into the private data, so that reports show them at 0."""
        if self._problem is not None or self.private_data() is None:
            return
        for path, plugin in self.unexecuted_files():
            self._data.touch_file(path, plugin or "")

    def rescue(self) -> None:
        """After a failed write: read the private data file anew, or start another beside it.

        coverage.py remembers row numbers of rows that a failed write took back.
        """
        old = self._data
        fresh = CoverageData(basename=old.data_filename())
        try:
            fresh.read()
        except CoverageException:
            fresh = self._new_data()
        self._data = fresh
        if self._problem is None and self.ownership is not Ownership.FOREIGN:
            internals.use_data(self._cov, fresh)

    def _new_data(self) -> CoverageData:
        data = CoverageData(basename=self._new_data_file(self.data_file))
        data.set_context(self._cov.get_option("run:context"))  # type: ignore[arg-type]
        self._saved_fingerprints: set[str] = set()
        return data


def _make(config_file: Path | None) -> tuple[Coverage, str]:
    """A Coverage of our own, not yet started, and why it has the core that it has."""
    try:
        cov = _LiveCoverage(config_file=True if config_file is None else str(config_file))
        choice = core.choose(cov)
        if choice.core is not None:
            cov.set_option("run:core", choice.core)
        already = cov.get_option("run:disable_warnings") or []
        cov.set_option("run:disable_warnings", [*already, *QUIET])  # type: ignore[misc]
        cov.set_option("run:sigterm", False)  # it would replace the server's own handler
    except CoverageException as error:
        raise SettingsError(str(error)) from error
    return cov, choice.reason
