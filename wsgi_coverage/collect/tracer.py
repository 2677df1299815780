"""Start or adopt a Coverage; take what it saw without losing a line; tell load from runtime; reset.

Concurrency: every method is called under the worker's lock, which also covers coverage.py's own
calls to the flush that is installed here. The Coverage is never stopped before the process ends:
stopping and starting leaves ctrace's pool threads unmeasured for ever.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from coverage import Coverage
from coverage.exceptions import CoverageException

from wsgi_coverage.collect import internals, live
from wsgi_coverage.collect.attention import Attention
from wsgi_coverage.collect.everywhere import can_trace_everywhere
from wsgi_coverage.collect.ownership import Ownership
from wsgi_coverage.collect.recording import Recording
from wsgi_coverage.data.phases import Phase
from wsgi_coverage.errors import CannotPauseError, NotOursError
from wsgi_coverage.model import Measuring
from wsgi_coverage.store.memory import Memory

log = logging.getLogger("wsgi_coverage")


class Tracer:
    """One process's Coverage, and the private data file that its lines go to.

    Args:
        cov: one that runs already, which is adopted; or one that was made for this process.
        why_not: why lines are not marked in memory here; None: the Coverage ran already.
        new_data_file: gives a path for a private data file, a new one at each call; it is told the
            configured data file.
        on_save: called when somebody else asks the Coverage to save (its own exit handler, for one)
            with a function that flushes; calls it under the worker's lock.

    Raises:
        SettingsError: the configuration cannot be used; coverage.py's own message.
    """

    def __init__(
        self,
        cov: Coverage,
        *,
        why_not: str | None,
        new_data_file: Callable[[Path], Path],
        on_save: Callable[[Callable[[], bool]], bool],
    ) -> None:
        self._on_save = on_save
        self._seen_of_foreign: internals.Live = {}
        self._loaded: internals.Live = {}  # ran at load, not written yet
        self.phase: Phase | None = None  # of what runs now; None: nobody tells
        self._paused = False
        self.attention = Attention()
        self.threads_lost = 0  # in which somebody has taken the trace function away
        self._thread = threading.local()
        self.held: list[Memory] = []
        self.memory: Memory | None = None  # its lines are in data files
        self.unmeasured: dict[str, str] = {}
        adopted = Coverage.current() is cov
        self._cov = cov
        self._why_not_memory = why_not or "a Coverage was running already"
        if isinstance(cov, live.LiveCoverage) and not adopted:
            self.ownership = Ownership.OURS
            self._reason = live.choose_core(cov)
        else:
            self._reason = "chosen before measuring was taken over"
            self.ownership = (
                Ownership.PROCESS_START if internals.is_process_start(cov) else Ownership.FOREIGN
            )
        # Now, because the application may change its working directory.
        self.data_file = internals.data_file(self._cov)
        self._recording = Recording(
            lambda: new_data_file(self.data_file),
            self._cov.get_option("run:context"),  # type: ignore[arg-type]
        )
        if not adopted:
            internals.use_data(self._cov, self._recording.data)
            self._cov.start()
        self._collector: Any = internals.collector_of(self._cov)
        self._problem = internals.problem(self._cov)
        self._why_no_phases = self._find_why_no_phases()
        if self._problem is None:
            self._take_over(adopted=adopted)
        else:
            log.error("coverage.py is not as expected, lines may be lost: %s", self._problem)

    def _find_why_no_phases(self) -> str | None:
        if self.ownership is Ownership.FOREIGN:
            return "the Coverage belongs to somebody else"
        if self._problem is not None:
            return "coverage.py is not as expected"
        if self._cov.get_option("run:dynamic_context") not in (None, "none"):
            return "dynamic_context is set"
        return None

    def _take_over(self, *, adopted: bool) -> None:
        if adopted:
            self._take_what_was_saved()
            self._use_recording()
            internals.restart_events(self._collector)
        self._install()

    def _use_recording(self) -> None:
        if self.ownership is not Ownership.FOREIGN:
            internals.use_data(self._cov, self._recording.data)

    def _install(self) -> None:
        theirs = self._flush_foreign if self.ownership is Ownership.FOREIGN else self.flush
        internals.replace_flush(self._collector, lambda: self._on_save(theirs))
        internals.watch_sources(self._cov, self._saw)
        internals.watch_context_switches(self._collector, self._on_context_switch)

    def _saw(self, filename: str) -> None:
        self._recording.saw(filename, self._collector.cached_mapped_file(filename))

    def _on_context_switch(self) -> None:
        """Somebody names contexts of their own: they are kept, and phases are told no more."""
        self._why_no_phases = "Coverage.switch_context() was called"
        self.phase = None

    def _take_what_was_saved(self) -> None:
        try:
            if saved := internals.already_saved(self._cov):
                self._recording.data.update(saved, map_path=str)
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
            engine="coverage",
            engine_reason=f"lines are not marked in memory: {self._why_not_memory}",
            core=internals.core_name(self._cov),
            core_reason=self._reason,
            coverage_version=internals.version(),
            branch=bool(self._cov.get_option("run:branch")),
            ownership=self.ownership.value,
            lossless=self._problem is None,
            problem=self._problem,
            data_file=str(self.data_file),
            phase=self.phase and self.phase.value,
            phase_reason=self._why_no_phases,
        )

    def flush(self) -> bool:
        """Move what has been seen since the last flush to the private data file.

        Returns True if there was something new. If writing fails nothing is lost: what could not be
        written is still with the tracer.
        """
        if self._problem is not None:
            return self._flush_by_the_book()
        if new := bool(self._loaded):
            self._recording.write(self._collector, self._loaded, Phase.LOAD)
            self._loaded = {}
        seen: internals.Live = {}
        if self._paused:
            pass  # what is seen now does not count
        elif self.ownership is Ownership.FOREIGN:
            seen = internals.peek(self._collector, but=self._seen_of_foreign)
            self._recording.write(self._collector, seen, None)
            self._remember(seen)
        else:
            seen = self._recording.move(
                self._collector, self.phase, tells_phases=self._why_no_phases is None
            )
        if new or seen:
            self._recording.note_versions()
        return new or bool(seen)

    def _flush_foreign(self) -> bool:
        """The owner of a foreign Coverage saves: let it, without loss, and keep a copy."""
        self.flush()
        return bool(internals.flush(self._collector, self._collector.covdata))

    def _remember(self, new: internals.Live) -> None:
        for name, seen in new.items():
            self._seen_of_foreign.setdefault(name, set()).update(seen)

    def _flush_by_the_book(self) -> bool:
        before = self._recording.data
        self._recording.data = self._cov.get_data()
        if before is not self._recording.data:
            before.close(force=True)
        return True

    def private_data(self) -> Path | None:
        """The private data file: everything flushed since start or reset. None: nothing yet."""
        return self._recording.path

    def look_at_thread(self) -> None:
        """Notice where somebody has taken the trace function of this thread away."""
        if self._paused or self._problem is not None:
            return
        traced = internals.traces_this_thread(self._collector)
        if traced:
            self._thread.traced = True
        elif traced is False and getattr(self._thread, "traced", False):
            self._thread.traced = False
            self.threads_lost += 1

    @property
    def needs_looks(self) -> bool:
        """Tell whether each request is to look whether its thread is still traced."""
        return self._problem is None and bool(self._collector.core.systrace)

    # Load and runtime

    def begin_load(self) -> None:
        """An application is being wrapped: what ran so far, and what runs now, is its load."""
        if self.phase is None and self._why_no_phases is None:
            self._recording.call_it_load()
            self._use_recording()
            self.phase = Phase.LOAD

    def end_load(self) -> None:
        """A first request has come: what runs from now on is runtime, lines of the load too.

        Nothing is written here, because that request waits.
        """
        if self.phase is Phase.RUNTIME or self._why_no_phases is not None:
            return
        self.begin_load()  # in a forked child, where nobody told
        self._set_aside_load()
        self.phase = Phase.RUNTIME
        internals.restart_events(self._collector)

    def _set_aside_load(self) -> None:
        for name, seen in internals.take(self._collector).items():
            self._loaded.setdefault(name, set()).update(seen)

    # Pause

    def pause(self) -> None:
        """Note nothing from now on, at no cost, until `resume`.

        Raises:
            NotOursError: the Coverage belongs to somebody else.
            CannotPauseError: threads could not be measured again afterwards.
        """
        self.check_is_ours("a pause")
        if self._problem is not None:
            raise CannotPauseError(f"coverage.py is not as expected: {self._problem}")
        if not can_trace_everywhere():
            raise CannotPauseError("this Python cannot measure threads again that run already")
        if not self._paused:
            self.flush()
            internals.pause(self._collector)
            self._paused = True

    def resume(self) -> None:
        """Note again what runs, in every thread."""
        if self._paused:
            self._paused = False
            internals.resume(self._collector)

    # Reset

    @property
    def can_reset(self) -> bool:
        """False where the Coverage belongs to somebody else, who would lose what a reset drops."""
        return self.ownership is not Ownership.FOREIGN

    def check_is_ours(self, what: str) -> None:
        """Refuse what would take something away from somebody else.

        Args:
            what: a reset, or a pause.

        Raises:
            NotOursError: the Coverage belongs to somebody else.
        """
        if not self.can_reset:
            raise NotOursError(
                "this Coverage was started by 'coverage run' or a test runner, which would lose "
                f"its data: {what} is for measuring started by wsgi-coverage or "
                "COVERAGE_PROCESS_START"
            )

    def reset(self) -> None:
        """Forget every line that ran so far, but at load; in every thread every later one is noted.

        Raises:
            NotOursError: the Coverage belongs to somebody else.
        """
        self.check_is_ours("a reset")
        self.flush()
        self.forget()

    def forget(self, *, keeping_files: bool = False) -> None:
        """Forget what was flushed, but at load; what was not flushed yet still counts.

        Args:
            keeping_files: remember which files have run, so that reports go on showing them.
        """
        if self._problem is not None:
            if files := self._recording.data.measured_files():
                self._recording.data.purge_files(files)
            internals.restart_all_events()
            return
        self._recording.begin_anew(
            keeping_load=self._why_no_phases is None, keeping_files=keeping_files
        )
        self._use_recording()
        internals.restart_events(self._collector)

    def let_go(self) -> None:
        """Remove the private data file, all of it being published; what comes goes to a new one."""
        if self._problem is None:
            self._recording.begin_anew()
            self._use_recording()
        elif self.ownership is Ownership.OURS:
            data = self._recording.data
            data.close(force=True)
            Path(data.data_filename()).unlink(missing_ok=True)

    def after_fork(self) -> None:
        """In a child: a private data file of its own, and lines that the parent saw count again."""
        self._recording.begin_elsewhere()
        if self._problem is not None:
            return
        current = Coverage.current()  # coverage.py's patch=fork makes a new one
        changed = current is not None and current is not self._cov
        if current is not None and changed:
            self._cov = current
            self._collector = internals.collector_of(current)
        self._seen_of_foreign = {}
        internals.after_fork(self._collector)
        if self.phase is Phase.LOAD:
            # What the parent has not written yet is its load. Whether the child goes on loading, or
            # is no server's worker at all, shows when a request comes.
            self._set_aside_load()
            self.phase = None
        self._use_recording()
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
            self._recording.data.touch_file(path, plugin or "")

    def rescue(self) -> None:
        """After a failed write: read the private data file anew, or start another beside it."""
        self._recording.rescue()
        if self._problem is None:
            self._use_recording()
