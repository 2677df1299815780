"""The second engine: coverage.py's own cores, whose lines are moved into the host's memory.

For what the first one cannot do: Python 3.11, branches, plugins, dynamic contexts, a core that the
user has configured, a Coverage that runs already. What coverage.py has seen stays in its trace data
until a flush: then lines become bytes, arcs and all that is no plain line become records. It uses
no SQLite.

Concurrency: flushes and switches take `_lock`, also a flush that coverage.py itself calls. Each
step of a flush may be repeated, so a fork, or a signal that ends the process, may come in between.
The Coverage is never stopped before the process ends: after a stop and a start, ctrace would not
measure threads of a pool any more.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from coverage import Coverage, CoverageData
from coverage.exceptions import CoverageException

from wsgi_coverage.collect.engines import own_coverage
from wsgi_coverage.collect.engines.all_threads import can_trace_everywhere, trace_everywhere
from wsgi_coverage.collect.engines.attention import ALWAYS
from wsgi_coverage.collect.engines.base import Engine
from wsgi_coverage.collect.engines.flushed import Flushed, converted, saved
from wsgi_coverage.collect.engines.locking import synchronized
from wsgi_coverage.collect.engines.ownership import Ownership
from wsgi_coverage.collect.servers import modwsgi
from wsgi_coverage.collect.sources.ourselves import is_ours
from wsgi_coverage.compat import measurement, names, needs
from wsgi_coverage.data import forksafe, regular_files, stamp
from wsgi_coverage.data.imported import EarlyModule
from wsgi_coverage.data.phases import Phase
from wsgi_coverage.data.reading import Reading, Record, ends_of, room_of
from wsgi_coverage.errors import CannotPauseError
from wsgi_coverage.model import Measuring
from wsgi_coverage.store import processes
from wsgi_coverage.store.log import Known
from wsgi_coverage.store.memory import Memory, MemoryGoneError, State, epoch_of, plane_of
from wsgi_coverage.system import workdir

log: logging.Logger = logging.getLogger("wsgi_coverage")


class _Seen(NamedTuple):
    """Lines or arcs of one phase, epoch and context that are not in the memory yet."""

    plane: str
    context: str | None
    day: int  # 0: none is recorded
    traced: measurement.TraceData


class Tracing(Engine):
    """One process, measured by coverage.py's own core.

    Args:
        cov: a running Coverage, which is adopted; or a new one, which is started.
        why_not: why the first engine does not measure; None: because the Coverage ran already.
        open_memory: returns the memory of this process's user, made if there is none.

    Raises:
        SettingsError: the configuration cannot be used; coverage.py's own message.
        OSError: there is no room for a memory.
    """

    flags = processes.HOLDS
    phase: Phase | None
    epoch: int
    paused: bool
    day: int

    def __init__(
        self, cov: Coverage, *, why_not: str | None, open_memory: Callable[[], Memory]
    ) -> None:
        super().__init__(cov, open_memory)
        self._why_not_memory = why_not or "a Coverage was running already"
        self._seen_of_foreign: measurement.TraceData = {}
        self._pending: list[_Seen] = []
        self._versions: dict[str, tuple[str, int]] = {}  # by name: fingerprint, number of bytes
        self._thread = threading.local()
        adopted = Coverage.current() is cov
        if isinstance(cov, own_coverage.LoggedCoverage) and not adopted:
            self.ownership: Ownership = Ownership.OURS
            self._reason = own_coverage.choose_core(cov)
        else:
            self._reason = "chosen before measuring was taken over"
            self.ownership = (
                Ownership.PROCESS_START if measurement.is_process_start(cov) else Ownership.FOREIGN
            )
        self.can_reset: bool = self.ownership is not Ownership.FOREIGN
        try:
            self._start(adopted=adopted)
        except BaseException:
            self._slot.free()
            raise

    def _start(self, *, adopted: bool) -> None:
        if not adopted:
            if names.has(needs.RULES, needs.COLLECTOR):
                own_coverage.prepare(self._cov)
                measurement.use_data(self._cov, CoverageData(no_disk=True))
            self._cov.start()
        self._problem = measurement.problem(self._cov)
        self._collector: Any = None
        if self._problem is None:
            self._collector = measurement.collector_of(self._cov)
        self._branch = bool(self._cov.get_option("run:branch"))
        self._why_no_phases = self._find_why_no_phases()
        if self._problem is None:
            self._take_over(adopted=adopted)
        else:
            log.error("coverage.py is not as expected, lines may be lost: %s", self._problem)
        self.apply_announced()

    def _find_why_no_phases(self) -> str | None:
        if self.ownership is Ownership.FOREIGN:
            return "the Coverage was started by 'coverage run' or a test runner"
        if self._problem is not None:
            return "coverage.py is not as expected"
        if self._cov.get_option("run:dynamic_context") not in (None, "none"):
            return "dynamic_context is set"
        return None

    def _take_over(self, *, adopted: bool) -> None:
        if adopted:
            self._take_what_was_saved()
            if self.can_reset:
                measurement.use_data(self._cov, CoverageData(no_disk=True))
            measurement.restart_events(self._collector)
        self._install()

    def _install(self) -> None:
        measurement.replace_flush(self._collector, self._asked_to_flush)
        measurement.watch_sources(self._cov, self._saw)
        measurement.watch_context_switches(self._collector, self._on_context_switch)

    @synchronized
    def _asked_to_flush(self) -> bool:
        """Flush when coverage.py does: it may switch to another context afterwards.

        Returns:
            True for a foreign Coverage, which gets the lines, too, for its own data file.
        """
        taken = measurement.peek(self._collector)
        self._set_aside(taken)
        try:
            self.flush()
        except OSError as error:
            log.warning("executed lines could not be flushed yet: %s", error)
        if self.can_reset or not taken:
            return False
        with forksafe.no_fork():
            measurement.hand_over(self._collector, taken)
        self._seen_of_foreign = {}  # what it sees again is there again
        return True

    def _saw(self, filename: str) -> None:
        """Record the version of a measured source when it starts to run."""
        self._version_of(measurement.name_in_data(self._collector, filename), filename)

    def _on_context_switch(self) -> None:
        """Stop to tell phases: the application has called `Coverage.switch_context`."""
        self._why_no_phases = "Coverage.switch_context() was called"
        self.phase = None

    def _take_what_was_saved(self) -> None:
        try:
            if data := measurement.already_saved(self._cov):
                for context, found in saved(data):
                    self._write(self._plane, context, found)
        except CoverageException as error:
            log.warning("what coverage.py saved before cannot be read: %s", error)

    @property
    def measuring(self) -> Measuring:
        """How this process is measured: by one of coverage.py's own cores."""
        return Measuring(
            engine="coverage",
            engine_reason=f"lines are not marked in memory: {self._why_not_memory}",
            core=measurement.core_name(self._cov),
            core_reason=self._reason,
            coverage_version=names.version(),
            branch=self._branch,
            ownership=self.ownership.value,
            lossless=self._problem is None,
            problem=self._problem,
            data_file=str(self.data_file),
            phase=self.phase and self.phase.value,
            phase_reason=self._why_no_phases,
        )

    def _early(self, readings: Iterable[Reading]) -> frozenset[EarlyModule]:
        return super()._early(readings) if names.has(needs.RULES) else frozenset()

    # Flushing

    @property
    def _plane(self) -> str:
        """The plane of the memory for lines that run now."""
        return plane_of(self.phase, self.epoch, flushed=True)

    @synchronized
    def flush(self) -> bool:
        """Move what coverage.py has seen into the memory; tell whether any of it is new there.

        Raises:
            OSError: there is no room; nothing is lost, the next flush tries again.
        """
        if self._is_closed:
            return False
        try:
            if self.memory.state().turn != self._applied or self._is_elsewhere():
                self.apply_announced()  # before anything is written: it drops what no longer counts
            try:
                new = self._flush()
            except MemoryGoneError:  # just now
                self._move()
                new = self._flush()
        except OSError:
            self._raise(processes.LOSES)
            raise
        if self.loses_lines:
            self._lower(processes.LOSES)
        return new

    def _flush(self) -> bool:
        new, failure = False, None
        if self._problem is not None:
            new |= self._flush_by_the_book()
        elif not self.paused:  # else what is seen now does not count
            self._set_aside(measurement.peek(self._collector))
        for seen in list(self._pending):
            try:
                found = self._convert(seen.traced)
                new |= self._write(seen.plane, seen.context, found, day=seen.day)
            except OSError as error:  # other sources may have their place in the memory already
                failure = failure or error
                continue
            self._pending[:] = [each for each in self._pending if each is not seen]
            if epoch_of(seen.plane) not in (None, self.epoch):
                self.memory.forget_plane(seen.plane)
        if failure is not None:
            raise failure
        self.memory.forget_days(but=self.day)
        if self._branch:
            self.memory.read_appended(self._plane)
        return new

    def _set_aside(self, seen: measurement.TraceData) -> None:
        """Move trace data to what is to be flushed, before another phase or epoch begins.

        They are in both places for a moment, never in none: a signal may end the process.
        """
        new = seen if self.can_reset else measurement.without(seen, self._seen_of_foreign)
        if new and not self.paused and self._problem is None:
            context = measurement.context_of(self._collector)
            last = self._pending[-1] if self._pending else None
            if last is not None and last[:3] == (self._plane, context, self.day):
                measurement.add(last.traced, new)
            else:
                self._pending.append(_Seen(self._plane, context, self.day, new))
        if self.can_reset:
            measurement.take_away(self._collector, seen)
        else:
            measurement.add(self._seen_of_foreign, new)

    def _convert(self, seen: measurement.TraceData) -> Flushed:
        return converted(self._collector, seen)

    def _flush_by_the_book(self) -> bool:
        """Flush by coverage.py's public functions, where its internals are not as expected."""
        data = Coverage.get_data(self._cov)
        new = False
        for context, found in saved(data):
            new |= self._write(self._plane, context, found)
        if self.can_reset and (files := data.measured_files()):
            data.purge_files(files)
        return new

    def _write(
        self, plane: str, context: str | None, found: Flushed, *, day: int | None = None
    ) -> bool:
        """Put lines or arcs into the memory; tell whether any of them is new there.

        What ran in the static context is stored without a context.

        Args:
            plane: the plane of the memory.
            context: of the lines or arcs, as in data files.
            found: the lines or arcs.
            day: the day on which they ran; None: the current one.
        """
        new = self._mark_days(found, self.day if day is None else day)
        if context == self._cov.get_option("run:context"):
            context = None
        failure = None
        records: Known = {}
        for name, numbers in found.numbers.items():
            if is_ours(workdir.here(name)):  # under a foreign Coverage, too
                continue
            version, room = self._version_of(name)
            tracer = found.tracers.get(name, "")
            rest: Iterable[int] = numbers
            if version and not (found.has_arcs or tracer or context):
                try:
                    rest, marked = self._mark(plane, name, version, room, numbers)
                except OSError as error:
                    failure = failure or error
                    continue
                new |= marked
            if rest:
                records[Record(name, version, tracer, context, found.has_arcs)] = set(rest)
        if records:
            new |= self.memory.append(plane, records)
        if failure is not None:
            raise failure
        return new

    def _version_of(self, name: str, path: str | None = None) -> tuple[str | None, int]:
        """Return fingerprint and number of bytes of a source, as at the first call for it.

        Args:
            name: its name in data files.
            path: the file to read; None: the file of this name.
        """
        known = self._versions.get(name)
        if known is None:
            try:
                content = regular_files.read(path or workdir.here(name))
            except (OSError, ValueError):
                return None, 0
            found = stamp.fingerprint_of(content), room_of(content)
            known = self._versions.setdefault(name, found)
        return known

    def _mark(
        self, plane: str, name: str, version: str, room: int, lines: set[int]
    ) -> tuple[list[int], bool]:
        """Mark lines; return those that the source does not have, and whether any was new."""
        place = self.memory.place(name, version, room)
        chunk = self.memory.chunk_of_plane(plane, place.chunk)
        rest, new = [], False
        for line in lines:
            if not 0 < line < room:
                rest.append(line)
            elif not chunk[place.at + line]:
                chunk[place.at + line] = 1
                new = True
        return rest, new

    def _mark_days(self, found: Flushed, day: int) -> bool:
        """Mark lines, or those that arcs lead to, as run on a day; tell whether any was new."""
        new = False
        for name, numbers in found.numbers.items() if day else ():
            version, room = self._version_of(name)
            is_traced = bool(found.tracers.get(name))  # by a plugin, which alone knows its lines
            if version is None or is_traced or is_ours(workdir.here(name)):
                continue
            lines = {ends_of(arc)[1] for arc in numbers} if found.has_arcs else numbers
            with contextlib.suppress(OSError):  # there is no room: what ran is more than when
                place = self.memory.place(name, version, room)
                chunk = self.memory.day_chunk(day, place.chunk)
                for line in lines:
                    if 0 < line < room and not chunk[place.at + line]:
                        chunk[place.at + line] = 1
                        new = True
        return new

    # Changes

    def _follow(self, state: State) -> None:
        if self.can_reset:
            super()._follow(state)
        elif self.epoch < state.oldest:
            # A foreign Coverage cannot be reset: what it has seen until now does not count again.
            measurement.add(self._seen_of_foreign, measurement.peek(self._collector))
            self.epoch = state.epoch
            self.is_behind = True

    @property
    def tells_phases(self) -> bool:
        """False with dynamic contexts, a foreign Coverage, or an unexpected coverage.py."""
        return self._why_no_phases is None

    def _switch(self, phase: Phase | None, state: State, *, paused: bool) -> None:
        was_paused = self.paused
        counts = self.phase is Phase.LOAD or self.epoch >= state.oldest
        if self._problem is not None:
            with contextlib.suppress(OSError):
                self._flush_by_the_book()  # of the old epoch
        elif counts:
            self._set_aside(measurement.peek(self._collector))
        else:  # the lines do not count any more, the day on which they ran does
            self._mark_days(self._convert(measurement.take(self._collector)), self.day)
        if not counts:
            for each in self._pending:
                if each.plane != "load":
                    self._mark_days(self._convert(each.traced), each.day)
            self._pending[:] = [each for each in self._pending if each.plane == "load"]
        left, self.epoch = self.epoch, state.epoch
        self.day = state.day
        self.phase, self.paused = phase, paused
        if paused:
            self._thread = threading.local()
        if left != state.epoch and not self._pending:
            self.memory.forget_epoch(left)
        if self._problem is not None:
            measurement.restart_all_events()
        elif paused and not was_paused:
            measurement.pause(self._collector)
        elif was_paused and not paused:
            measurement.resume(self._collector, trace_everywhere)
            self._thread = threading.local()  # threads are traced anew
        else:
            measurement.restart_events(self._collector)

    def _go_on_in(self, new: Memory) -> None:
        """Do nothing: the next flush goes to the new memory."""

    def check_can_pause(self) -> None:
        """Refuse a pause after which measuring could not be resumed.

        Raises:
            NotOursError: 'coverage run' or a test runner started the Coverage.
            CannotPauseError: coverage.py is not as expected, or this Python cannot set the trace
                function of a running thread.
        """
        super().check_can_pause()
        if self._problem is not None:
            raise CannotPauseError(f"coverage.py is not as expected: {self._problem}")
        if not can_trace_everywhere():
            raise CannotPauseError(
                "this Python cannot set the trace function of a running thread, as a resume must"
            )

    # Threads whose trace function is gone

    def before_request(self) -> bool:
        """Check this thread's trace function before a request, and apply a reset or a pause.

        Returns:
            False: the listener thread checks the memory.
        """
        self._check_thread()
        if self.attention.turn[0] != self._applied:
            self.apply_announced()
        return False

    def _rest(self) -> None:
        watches = self._problem is None and measurement.traces_by_function(self._collector)
        self.attention.applied = ALWAYS if watches else self._applied

    def _check_thread(self) -> None:
        """Count this thread in `threads_lost` if its trace function was replaced."""
        thread = self._thread
        if self.paused or self._problem is not None or modwsgi.traced_threads_hang():
            return
        traced = measurement.traces_this_thread(self._collector)
        if traced:
            thread.traced = True
        elif traced is False and (
            getattr(thread, "traced", False)
            or not (hasattr(thread, "traced") or measurement.traces_new_threads(self._collector))
        ):
            thread.traced = False
            if thread is self._thread and not self.paused:  # else a pause has come just now
                self.threads_lost += 1

    # Ends

    def after_fork(self) -> None:
        """Register a forked child, and take over the Coverage that patch=fork made in it."""
        super().after_fork()
        if self._problem is not None:
            return
        current = Coverage.current()  # coverage.py's patch=fork makes a new one
        changed = current is not None and current is not self._cov
        if current is not None and changed:
            self._cov = current
            self._collector = measurement.collector_of(current)
            self._seen_of_foreign = {}
        measurement.after_fork(self._collector)
        if changed:
            self._install()

    @synchronized
    def reopen(self) -> bool:
        """Register again after `close`, where exit handlers have run measured lines.

        Returns:
            False where nothing has run since.
        """
        if self._problem is not None or not measurement.peek(self._collector):
            return False
        self._claim(self._open())
        self._is_closed = False
        return True
