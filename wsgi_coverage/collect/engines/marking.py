"""The first engine: statements, marked in the host's memory by a tool of sys.monitoring.

Nothing has to be flushed: every process of the host sees a line as soon as it has run.
coverage.py says which sources are measured, and traces nothing.

Concurrency: see wsgi_coverage.collect.engines.base.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from types import FrameType

from coverage import Coverage

from wsgi_coverage.collect.engines.base import Engine
from wsgi_coverage.collect.engines.locking import synchronized
from wsgi_coverage.collect.engines.monitoring import Measured, Monitoring
from wsgi_coverage.collect.engines.own_coverage import MarkedCoverage
from wsgi_coverage.collect.engines.ownership import Ownership
from wsgi_coverage.collect.labels.labelling import TOOLS, Labelled, free_tools
from wsgi_coverage.collect.labels.recording import TAKEN, Recording
from wsgi_coverage.collect.sources.ourselves import is_ours
from wsgi_coverage.compat import measurement, names, needs
from wsgi_coverage.data.phases import Phase
from wsgi_coverage.model import MONITORING, Measuring
from wsgi_coverage.store import processes
from wsgi_coverage.store.memory import Memory, State


class Marking(Engine):
    """One process, measured by marking lines in shared memory.

    Args:
        cov: its configuration says what is measured; it is never started.
        reason: why this engine measures, for /health.
        open_memory: returns the memory of this process's user, made if there is none.

    Raises:
        OSError: there is no room for a memory.
        RuntimeError: every tool of sys.monitoring is taken.
    """

    sees_running = True
    phase: Phase | None
    epoch: int
    paused: bool
    day: int
    ownership = Ownership.OURS

    def __init__(self, cov: MarkedCoverage, reason: str, open_memory: Callable[[], Memory]) -> None:
        super().__init__(cov, open_memory)
        self._reason = reason
        self._recording: Recording | None = None  # made with the first labelled request
        self._monitoring = Monitoring(self.memory, self._classify)
        self._monitoring.on_loss = lambda: self._raise(processes.LOSES)
        self.epoch = self._monitoring.epoch
        try:
            self._monitoring.start()
        except BaseException:
            self._slot.free()
            raise
        self.apply_announced()

    def _classify(self, filename: str, frame: FrameType) -> Measured | None:
        found = measurement.classify(self._cov, filename, frame)
        return None if found is None else Measured(*found)

    @property
    def measuring(self) -> Measuring:
        """How this process is measured: by marking statements in shared memory."""
        return Measuring(
            engine="memory",
            engine_reason=self._reason,
            core=MONITORING,
            core_reason="a tool of sys.monitoring of its own marks each line once",
            coverage_version=names.version(),
            branch=False,
            ownership=self.ownership.value,
            lossless=True,
            problem=None,
            data_file=str(self.data_file),
            phase=self.phase and self.phase.value,
        )

    @property
    def unmeasured(self) -> dict[str, str]:
        """Sources, or code in them, that cannot be measured, each with the reason."""
        return dict(self._monitoring.unmeasured)

    def mark(self, seen: Iterable[tuple[str, str, set[int]]]) -> None:
        """Mark lines that another Coverage has measured in this process before.

        Args:
            seen: path, name in data files, and executed lines of each source.
        """
        for source, name, lines in seen:
            if is_ours(source):
                continue
            with contextlib.suppress(OSError):  # the source is gone
                self._monitoring.mark(name, source, lines)

    # Labelled requests

    @synchronized
    def open_labelled(self, label: str) -> Labelled | None:
        """Open a labelled request; None: there is no room for its label.

        Raises:
            RuntimeError: too many tools of sys.monitoring are taken.
        """
        if self._recording is None:
            static = self._cov.get_option("run:context")
            self._recording = Recording(
                self._monitoring,
                str(static) if static else None,
                (*self.labelled_too, *_packages_named(self._cov)),
            )
        return self._recording.open(self.memory, self.epoch, label, paused=self.paused)

    @synchronized
    def close_labelled(self, labelled: Labelled) -> None:
        """Close a labelled request, and store what has run for it."""
        if self._recording is not None:
            self._recording.close(self.memory, self.epoch, labelled, paused=self.paused)

    @synchronized
    def store_labelled(self, labelled: Labelled) -> None:
        """Store what has run for a labelled request up to now."""
        if self._recording is not None:
            self._recording.store(self.memory, self.epoch, labelled, paused=self.paused)

    def abandon_labelled(self, labelled: Labelled) -> None:
        """Close a labelled request without a lock; it is stored with the next one."""
        if self._recording is not None:
            self._recording.abandon(labelled)

    @property
    def labels_refused(self) -> int:
        """How many requests of this process had a label that was one too many, in this epoch."""
        return 0 if self._recording is None else self._recording.refused

    @property
    def why_no_labels(self) -> str | None:
        """Why requests cannot be told apart in this process, or not be stored; None: they can."""
        if self._recording is not None:
            return self._recording.problem
        return None if len(free_tools()) == TOOLS else TAKEN

    @synchronized
    def flush(self) -> bool:
        """Store labelled requests that were abandoned; lines are in the memory at once."""
        if self._recording is not None:
            self._recording.close_abandoned(self.memory, self.epoch, paused=self.paused)
        return False

    def close(self) -> bool:
        """Store what open labelled requests have run; then free this process's entry.

        Returns:
            Whether it was the last of its memory.
        """
        try:
            if self._recording is not None:
                self._recording.cut(self.memory, self.epoch, paused=self.paused)
        finally:
            is_last = super().close()
        return is_last

    def _switch(self, phase: Phase | None, state: State, *, paused: bool) -> None:
        if self._recording is not None and (state.epoch, paused) != (self.epoch, self.paused):
            self._recording.cut(self.memory, self.epoch, paused=self.paused)
        self._monitoring.switch(phase, state.epoch, paused=paused, day=state.day)
        self.phase, self.epoch, self.paused = phase, state.epoch, paused
        self.day = state.day

    def _go_on_in(self, new: Memory) -> None:
        self._monitoring.move(new)
        if self._recording is not None:
            self._recording.store_again(new, self.epoch)

    @property  # an attribute in `Engine`; here the value of `_monitoring`
    def is_lost(self) -> bool:
        """Tell whether the memory was found to be removed, or full."""
        return self._monitoring.is_lost

    @is_lost.setter
    def is_lost(self, value: bool) -> None:  # pyright: ignore[reportIncompatibleVariableOverride]
        self._monitoring.is_lost = value

    def register_late(self) -> None:
        """Register a forked child that has run nothing new yet; see `Engine.register_late`."""
        self._monitoring.register_late()

    def being_late(
        self, begin: Callable[[], object], forget: Callable[[], object]
    ) -> Callable[[], None]:
        """Return a function by which a forked child registers only when it runs something new.

        Args:
            begin: registers the child; called before the child marks a new line.
            forget: closes the child's copies of the parent's sockets; called right after the fork.
        """
        self.memory.note_late_children()

        def forget_all() -> None:
            forget()
            if self._recording is not None:
                self._recording.after_fork()

        return self._monitoring.being_late(self.attention, lambda: self._applied, begin, forget_all)

    def after_fork(self) -> None:
        """Make new locks in a forked child, and register it in the table of processes."""
        self._monitoring.after_fork()
        if self._recording is not None:
            self._recording.after_fork()
        super().after_fork()


def _packages_named(cov: Coverage) -> Iterator[str]:
    """Yield patterns of the sources of packages that are to be measured by name.

    They are the application's own, though it may be installed.
    """
    for name in () if names.missing(needs.NEVER_RUN) else measurement.source_packages(cov):
        path = name.replace(".", "/")
        yield from (f"*/{path}/*", f"*/{path}.py")
