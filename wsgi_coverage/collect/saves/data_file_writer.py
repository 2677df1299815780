"""Have this process's memory written to a data file: at each autosave, when asked, and at the end.

The first two are done in a child process, so that the application never forks while SQLite works in
this process; the last one in this process, unless it was forked.

Concurrency: `check_autosave` is called by one thread at a time. A signal that ends the process
while a thread writes a data file takes effect when the file is written.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from wsgi_coverage.collect import exits
from wsgi_coverage.collect.engines import own_coverage
from wsgi_coverage.collect.engines.base import Engine
from wsgi_coverage.collect.memories import HostMemories
from wsgi_coverage.collect.problems import Problems
from wsgi_coverage.collect.saves import autosave, saving
from wsgi_coverage.collect.saves.autosave import Meanwhile
from wsgi_coverage.errors import CoverageChangedError, storage_errors
from wsgi_coverage.liveness import tick
from wsgi_coverage.offload import child
from wsgi_coverage.store.files import FilesStore

log: logging.Logger = logging.getLogger("wsgi_coverage")


class DataFileWriter:
    """Has the memory of a process, with the lines of all its processes, written to a data file.

    Args:
        engine: the engine of this process.
        memories: the memories of the host.
        problems: gets the message of a failed autosave.
        private: returns the private folder.
        flush: flushes this process's lines into the memory.
        end: ends measuring in this process; called for a signal that was put off.
    """

    def __init__(
        self,
        engine: Engine,
        memories: HostMemories,
        problems: Problems,
        *,
        private: Callable[[], Path],
        flush: Callable[[], object],
        end: Callable[[], object],
    ) -> None:
        self._engine = engine
        self._memories = memories
        self._problems = problems
        self._private = private
        self._flush = flush
        self._end = end
        self._autosave: child.BegunCall | None = None  # the autosave process
        self._plan: Callable[[], Meanwhile | None] | None = None
        self.days: int = 0  # for how many before today it is recorded what ran; 0: for none
        self._writing_thread: int | None = None
        self._ended_by: int | None = None  # a signal that came while a data file was written
        # coverage.py's configuration for another process; None: it cannot be had, which is logged.
        self.config: str | None = None
        try:  # now, because the application may change its working directory
            self.config = own_coverage.for_children(engine.coverage)
        except CoverageChangedError as error:
            log.warning("data files of autosaves will not list files that never ran: %s", error)

    # Autosaves

    def plan_meanwhile(self, plan: Callable[[], Meanwhile | None]) -> None:
        """Set the work that the autosave process does during its wait: wsgi_coverage.ahead.

        Args:
            plan: called when such a process is started; returns the work. The first application of
                a process sets it for all.
        """
        self._plan = self._plan or plan

    def check_autosave(self, interval: float, *, stays: bool) -> None:
        """Start a process that waits for the next autosave, unless one waits that will be in time.

        Args:
            interval: seconds between autosaves; 0: never.
            stays: whether that process repeats the autosave until it is dismissed.
        """
        if (begun := self._autosave) is not None and begun.is_done():
            self._autosave = None
            if begun.error is not None:
                self._problems.note(f"autosave failed: {begun.error}")
        if not interval:
            return
        now, memory = time.monotonic(), self._engine.memory
        until = now + interval + autosave.WRITE_TIMEOUT
        if now < memory.autosave_until <= until:
            return
        self.forget_autosave()
        self._autosave = self._begin_autosave(interval, until, stays=stays)
        memory.set_autosave_until(until)

    def _begin_autosave(
        self, interval: float, until: float, *, stays: bool
    ) -> child.BegunCall | None:
        try:
            return child.begin(
                autosave.run,
                self._engine.memory.folder,
                self._engine.data_file,
                self._static,
                os.getpid(),
                interval,
                None if self._plan is None else self._plan(),
                stays,
                self.config,
                self.days,
                until,
                plugins=self._has_plugins,
            )
        except child.NoInterpreterError:
            self.save_here()
            return None

    def dismiss_autosave(self) -> None:
        """Have the autosave process, if there is one, end after the next autosave."""
        if self._autosave is not None:
            self._autosave.dismiss()

    def forget_autosave(self) -> None:
        """Forget the autosave process, which goes on; in a forked child, it is the parent's."""
        if self._autosave is not None:
            self._autosave.let_go()
            self._autosave = None

    # Saves

    def save(self) -> None:
        """Write what has been executed up to now to a data file, in a child process.

        Raises:
            StorageError: it cannot be written; nothing is lost.
        """
        self._flush()
        try:
            with storage_errors():
                self.save_elsewhere()
        except child.NoInterpreterError:
            self.save_here()

    def save_elsewhere(self) -> None:
        """Write the memory to a data file in a child process, without a flush.

        Raises:
            OSError: it cannot be written.
            NoInterpreterError: no Python can be started.
        """
        child.call(
            autosave.save_in,
            self._engine.memory.folder,
            self._engine.data_file,
            self._static,
            self.config,
            self.days,
            tick=tick,
            plugins=self._has_plugins,
        )

    def save_here(self) -> None:
        """Flush, and write a data file in this process: at its end, or if no Python can be started.

        Raises:
            OSError: it cannot be written.
        """
        self._flush()
        memory = self._engine.memory
        with (
            contextlib.suppress(saving.AlreadySavedError),
            self.writing(),
            saving.saving(memory),
        ):
            memories = self._memories.own()
            readings = [each.read() for each in memories]
            store = FilesStore(self._engine.data_file, fallback=self._private())
            readings = saving.save_days(memories, readings, store, self.days)
            saving.save_readings(readings, store, self._static, self._engine.could_run)
            memory.note_saved(readings[0].checksum())

    @property
    def _has_plugins(self) -> bool:
        return bool(self._engine.coverage.get_option("run:plugins"))

    @property
    def _static(self) -> str | None:
        static = self._engine.coverage.get_option("run:context")
        return None if static is None else str(static)

    # A signal that ends the process meanwhile

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Put off a signal that ends the process until a data file is written."""
        outermost = self._writing_thread is None
        if outermost:
            self._writing_thread = threading.get_ident()
        try:
            yield
        finally:
            if outermost:
                self._writing_thread = None
        if outermost and self._ended_by is not None:
            self._end()
            exits.die(self._ended_by)

    def puts_off(self, number: int | None) -> bool:
        """Put off the end of the process if this very thread writes a data file; tell whether.

        Args:
            number: number of the signal that ends the process; None: it ends by itself.
        """
        if self._writing_thread != threading.get_ident():
            return False
        self._ended_by = number
        return True

    def after_fork(self) -> None:
        """Forget the parent's autosave process, and its signal, in a forked child."""
        self._writing_thread = self._ended_by = None
        self.forget_autosave()
