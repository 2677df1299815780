"""What both engines have in common: a measured process, registered in its host's memory.

A process reads resets and pauses in that memory. It changes to another memory where its own was
removed or its user has changed. How lines are measured and get into the memory is up to the
subclasses (wsgi_coverage.collect.engines.marking, wsgi_coverage.collect.engines.tracing).

Concurrency: `_lock` guards a switch to another epoch, phase or memory; requests that begin
meanwhile wait for it. A forked child gets a new one. No monkey patch replaces its class.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import time
from _thread import RLock
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from coverage import Coverage

from wsgi_coverage.collect.engines import own_coverage
from wsgi_coverage.collect.engines.attention import ALWAYS, Attention
from wsgi_coverage.collect.engines.locking import synchronized
from wsgi_coverage.collect.labels.labelling import Labelled
from wsgi_coverage.collect.sources import could_run, imported_before
from wsgi_coverage.collect.sources.imported_before import Before
from wsgi_coverage.compat import configuration, measurement
from wsgi_coverage.data.imported import EarlyModule, Unseen, either
from wsgi_coverage.data.phases import Phase
from wsgi_coverage.data.reading import Reading
from wsgi_coverage.errors import NotOursError
from wsgi_coverage.model import Measuring
from wsgi_coverage.store import processes
from wsgi_coverage.store.memory import Memory, MemoryGoneError, State, marked
from wsgi_coverage.store.processes import Slot
from wsgi_coverage.system import workdir

log: logging.Logger = logging.getLogger("wsgi_coverage")

NO_LABELS = "coverage.py's tracers do not tell requests apart"
CLAIM_TRIES = 500
CLAIM_INTERVAL = 0.002  # seconds


class Engine(ABC):
    """One measured process.

    Args:
        cov: its configuration says what is measured.
        open_memory: returns the memory of this process's user, made if there is none.

    Raises:
        OSError: there is no room for a memory.
    """

    memory: Memory
    token: int  # random: tells this process from others with the same process id
    flags: int = 0  # as in the table of processes
    can_reset: bool = True  # False where 'coverage run' or a test runner started the Coverage
    is_lost: bool = False  # the memory was found to be removed, or full
    sees_running = False  # whether modules that were being imported then are measured from there on
    early_modules: frozenset[EarlyModule] = frozenset()  # modules that had run at the start
    always_checks = False  # whether each request checks, whatever the turn number is
    labelled_too: tuple[str, ...] = ()  # patterns of installed sources that labels are for, too
    threads_lost = 0  # number of threads whose trace function was replaced

    def __init__(self, cov: Coverage, open_memory: Callable[[], Memory]) -> None:
        self._cov = cov
        self._open = open_memory
        self._lock = RLock()
        # Now, because the application may change its working directory.
        self.data_file: Path = measurement.data_file(cov)
        self.attention: Attention = Attention()
        self.former_memories: list[
            Memory
        ] = []  # former memories, in which others may still mark lines
        self.phase: Phase | None = None  # the current one; None: unknown
        self.paused: bool = False
        self.day: int = 0  # whose lines are marked, too; 0: none is
        self.release: str = ""  # in which they are
        self._applied = 0  # the turn number whose changes this process has applied
        self._is_closed = False
        self._parent: Slot | None = None  # entry of the process that forked this one in its load
        self._claim(open_memory())
        self.epoch: int = self.memory.state().epoch
        self.is_behind = False  # a reset was not followed: what runs again is not seen
        # Paused before this process started: what runs counts, as it may turn out to be the load.
        self._began_in_pause = self.memory.state().paused

    def _claim(self, memory: Memory) -> None:
        """Register this process in the table of processes of a memory."""
        token = int.from_bytes(os.urandom(4), "little")
        for _ in range(CLAIM_TRIES):
            try:
                state = memory.state()
                slot = memory.table.claim(
                    flags=self.flags, turn=state.turn, epoch=state.epoch, token=token
                )
                break
            except BlockingIOError:
                time.sleep(CLAIM_INTERVAL)
            except FileNotFoundError:  # its last process took it away just now
                memory = self._open()
        else:
            raise MemoryGoneError(
                errno.ENOENT, "the shared memory is removed again and again", str(memory.folder)
            )
        self.memory, self._slot, self.token = memory, slot, token
        self.attention.begin(memory.turn, slot.requests)

    # Properties

    @property
    def coverage(self) -> Coverage:
        """The Coverage of this process, started or only configured."""
        return self._cov

    @property
    def config(self) -> Any:
        """coverage.py's configuration object, for reports."""
        return configuration.of(self._cov)

    @property
    @abstractmethod
    def measuring(self) -> Measuring:
        """How this process is measured."""

    @property
    def unmeasured(self) -> dict[str, str]:
        """Sources, or code in them, that cannot be measured, each with the reason."""
        return {}

    @property
    def is_paused(self) -> bool:
        """Tell whether measuring is paused; during the load, whether it will be after the load."""
        return self.paused or (self.phase is Phase.LOAD and self.memory.state().paused)

    @property
    def loses_lines(self) -> bool:
        """Tell whether some executed lines found no room, or no memory."""
        return bool(self.flags & processes.LOSES)

    @property
    def holds_lines_back(self) -> bool:
        """Tell whether executed lines reach the memory only by a flush."""
        return bool(self.flags & processes.HOLDS)

    def note_early(self, before: Before) -> None:
        """Record the modules that had run when measuring began, for reports of any process."""
        self.early_modules = imported_before.noted(before, sees_running=self.sees_running)
        self._share_early_modules()

    def _share_early_modules(self) -> None:
        with contextlib.suppress(OSError):  # no room: only this process's reports have them
            self.memory.note_early(self.early_modules)

    def files_that_could_run(self, readings: Sequence[Reading]) -> list[tuple[str, str | None]]:
        """Return the files that could have run: those of `source`, and those imported early.

        Args:
            readings: what any process has executed, and had imported early.

        Returns:
            Pairs of the name in data files and the plugin's name.
        """
        return [(name, plugin) for _, name, plugin in self.could_run(*readings)]

    def could_run(self, *readings: Reading) -> Iterable[tuple[str, str, str | None]]:
        """Return path, name in data files, and plugin of each file that could have run."""
        executed = (workdir.here(name) for each in readings for name in each.names())
        return could_run.files(self._cov, executed, self._early(readings))

    def imported_early(self, readings: Iterable[Reading]) -> dict[str, Unseen]:
        """Return what was not seen of files imported before measuring began, by name in data files.

        Args:
            readings: of memories, with what other processes had imported early.
        """
        found: dict[str, Unseen] = {}
        modules = imported_before.measured(self._cov, self._early(readings))
        for module, (_, name) in modules.items():
            unseen = module.unseen
            found[name] = either(found[name], unseen) if name in found else unseen
        return found

    def measured_early(self) -> Iterable[EarlyModule]:
        """Return the measured modules of which some code had run before measuring began."""
        return imported_before.measured(self._cov, self._early(())).keys()

    def _early(self, readings: Iterable[Reading]) -> frozenset[EarlyModule]:
        """Return the modules that this process, or those of the readings, had imported early."""
        return self.early_modules.union(*(each.early for each in readings))

    def check_is_ours(self, what: str) -> None:
        """Refuse an action that would delete data of a foreign Coverage.

        Args:
            what: "a reset" or "a pause", for the message.

        Raises:
            NotOursError: 'coverage run' or a test runner started the Coverage.
        """
        if not self.can_reset:
            raise NotOursError(
                "this Coverage was started by 'coverage run' or a test runner, which would lose "
                f"its data: {what} is for measuring started by wsgi-coverage or "
                "COVERAGE_PROCESS_START"
            )

    def check_can_pause(self) -> None:
        """Refuse a pause before it is announced to any worker.

        Raises:
            NotOursError: 'coverage run' or a test runner started the Coverage.
            CannotPauseError: measuring could not be resumed as it was before.
        """
        self.check_is_ours("a pause")

    def answer_from_memory(
        self, *, readings: Callable[[], list[Reading]], save: Callable[[], object]
    ) -> None:
        """Replace `Coverage.get_data` and `Coverage.save` by functions that read the memory.

        Args:
            readings: reads what is in the memory now.
            save: writes it to a data file.
        """
        if self.can_reset:
            own_coverage.answer_from_memory(self._cov, readings, save)

    # Resets, pauses, and a change of the memory

    def before_request(self) -> bool:
        """Apply resets and pauses before a request, after a look at `attention`.

        Returns:
            True where the request has to check the memory, too, because no thread does.
        """
        self.apply_announced()
        return True

    @synchronized
    def apply_announced(self) -> None:
        """Apply the resets, pauses and resumes announced in the memory since the last call.

        Raises:
            OSError: there is no room for the new epoch; lines are still marked in the old one.
        """
        if self._is_closed:
            return  # another process may have removed the memory by now
        if self.memory.is_left or self._is_elsewhere():
            self._move()
        state = self.memory.state()
        self._follow(state)
        self._slot.note_applied(state.turn, self.epoch)
        self._applied = state.turn
        self._rest()

    def _rest(self) -> None:
        """Have requests skip the check until the turn number changes."""
        self.attention.applied = ALWAYS if self.always_checks else self._applied

    def _follow(self, state: State) -> None:
        self._began_in_pause &= state.paused
        may_be_load = self.phase is Phase.LOAD or (self.phase is None and self._began_in_pause)
        paused = state.paused and not may_be_load
        now = state.epoch, paused, state.day, self.memory.release
        if now != (self.epoch, self.paused, self.day, self.release):
            self._begin(self.phase, state, paused=paused)
            self.release = self.memory.release

    def _begin(self, phase: Phase | None, state: State, *, paused: bool) -> None:
        self._switch(phase, state, paused=paused)
        self._slot.set(processes.PAUSED, paused)

    @abstractmethod
    def _switch(self, phase: Phase | None, state: State, *, paused: bool) -> None:
        """Count what runs from now on in another phase or epoch, or not at all.

        Raises:
            OSError: there is no room; nothing has changed.
        """

    @abstractmethod
    def _go_on_in(self, new: Memory) -> None:
        """Store what runs from now on in another memory.

        Raises:
            OSError: there is no room.
        """

    def _is_elsewhere(self) -> bool:
        """Tell whether another memory is needed: the user has changed, or the memory is gone."""
        return self.memory.user != os.geteuid() or not self.memory.is_there

    def _move(self) -> None:
        """Change to the memory that this user has now; copy the lines of the old one into it."""
        old, old_slot = self.memory, self._slot
        is_gone = old.user == os.geteuid()
        new = self._open()
        if not new.is_in_place_of(old):
            self.is_lost = False  # the same memory, and full: lines that have room are marked
            return
        state = old.state()
        if new.state().epoch < state.epoch:
            new.announce(epoch=state.epoch, oldest=state.oldest, paused=state.paused)
        new.release = old.release
        with contextlib.suppress(OSError):  # there is no room: what ran is more than when
            new.note_release()
        if new.state().day < state.day:
            new.announce_day(lambda: state.day)
        if old.has_late_children:
            new.note_late_children()
        self._claim(new)
        self._share_early_modules()
        self.former_memories.append(
            old
        )  # reports read it, too, where the new one has no room for all of it
        self._go_on_in(new)
        old_slot.free()
        if is_gone:
            old.leave()  # so that other processes which have it mapped change, too
        copy_lines(old, new)

    def check_memory(self) -> None:
        """Change to another memory if this one was removed. Log an OSError, do not raise it."""
        if self._is_closed:
            return
        try:
            if self._is_elsewhere() or self.is_lost:
                self._go_elsewhere()
            for old in list(self.former_memories):
                if old.user == os.geteuid() and not old.table.living():
                    copy_lines(old, self.memory)
                    self.former_memories.remove(old)
        except OSError as error:
            log.warning("the shared memory of executed lines cannot be created again: %s", error)

    @synchronized
    def _go_elsewhere(self) -> None:
        self._move()
        self.apply_announced()

    # Load and runtime

    @property
    def tells_phases(self) -> bool:
        """Tell whether load can be told from runtime in this process."""
        return True

    @synchronized
    def begin_load(self) -> None:
        """Count what has run and what runs from now on as load: an application is being wrapped."""
        self._to_load()
        if self.phase is Phase.LOAD:
            self._raise(processes.LOADING)

    def _to_load(self) -> None:
        if self.phase is None and self.tells_phases:
            state = self.memory.state()._replace(epoch=self.epoch)
            self._begin(Phase.LOAD, state, paused=False)
            with contextlib.suppress(OSError):  # lines that find no room keep the unknown phase
                self.flush()
            self.memory.count_as_load(self.epoch, flushed=self.holds_lines_back)

    @synchronized
    def end_load(self) -> None:
        """Count what runs from now on as runtime, also lines that ran in the load."""
        self._lower(processes.LOADING)  # first: `Memory.sweep` spares epochs that it may enter now
        self.apply_announced()
        if self.phase is not Phase.RUNTIME and self.tells_phases:
            self._to_load()
            state = self.memory.state()
            self._begin(Phase.RUNTIME, state, paused=state.paused)

    def note_request(self) -> bool:
        """Mark this process as one that serves requests; tell whether this is its first request."""
        is_first = not self.flags & processes.SERVES
        self._raise(processes.SERVES)
        return is_first

    def loading_parent(self) -> int | None:
        """Return, once, the process id of a parent that forked this process and still loads."""
        parent, self._parent = self._parent, None
        if parent is None or not parent.has(processes.LOADING):
            return None
        return parent.pid

    def note_listening(self, *, listens: bool) -> None:
        """Record in the table of processes whether a thread of this process answers the channel."""
        (self._raise if listens else self._lower)(processes.LISTENS)

    def name_server(self, name: str) -> None:
        """Record the server's name, as in `SERVER_SOFTWARE`, in the table of processes."""
        self._slot.name_server(name)

    def _raise(self, flag: int) -> None:
        self.flags |= flag
        self._slot.set(flag)

    def _lower(self, flag: int) -> None:
        self.flags &= ~flag
        self._slot.set(flag, False)

    # Labelled requests

    def open_labelled(self, label: str) -> Labelled | None:  # noqa: ARG002
        """Open a labelled request; None: there is no room for its label.

        Raises:
            RuntimeError: `why_no_labels` says why there are no labels here.
        """
        raise RuntimeError(self.why_no_labels)

    def close_labelled(self, labelled: Labelled) -> None:
        """Close a labelled request, and store what has run for it."""
        raise NotImplementedError  # there is none

    def store_labelled(self, labelled: Labelled) -> None:
        """Store what has run for a labelled request up to now; it stays open."""
        raise NotImplementedError  # there is none

    def abandon_labelled(self, labelled: Labelled) -> None:
        """Close a labelled request without a lock; it is stored with the next one."""
        raise NotImplementedError  # there is none

    @property
    def labels_refused(self) -> int:
        """How many requests of this process had a label that was one too many."""
        return 0

    @property
    def why_no_labels(self) -> str | None:
        """Why requests cannot be told apart in this process; None: they can."""
        return NO_LABELS

    # Data

    def flush(self) -> bool:
        """Move lines that the engine holds back into the memory; tell whether any is new there.

        Raises:
            OSError: there is no room; nothing is lost, the next flush tries again.
        """
        return False

    def reopen(self) -> bool:
        """Register again after `close`, where exit handlers have run measured lines.

        Returns:
            False where nothing has run since that is not in the memory.
        """
        return False

    def is_free_within(self, seconds: float) -> bool:
        """Tell whether the lock can be acquired within some seconds."""
        if not self._lock.acquire(timeout=seconds):
            return False
        self._lock.release()
        return True

    # Forks

    def register_late(self) -> None:  # noqa: B027  there is nothing to do where no child is ever late
        """Register a forked child that has run nothing new yet in the table of processes."""

    def being_late(
        self,
        begin: Callable[[], object],  # noqa: ARG002
        forget: Callable[[], object],  # noqa: ARG002
    ) -> Callable[[], None] | None:
        """Return, in the parent, the function that a forked child calls instead of `after_fork`.

        Such a child registers only when it marks its first new line.

        Args:
            begin: registers the child; called before the child marks a new line.
            forget: closes the child's copies of the parent's sockets; called right after the fork.

        Returns:
            The function; None: children of this engine register at once.
        """
        return None

    def after_fork(self) -> None:
        """Make a new lock in a forked child, and register it in the table of processes."""
        self._lock = RLock()
        self._is_closed = False
        self._parent = self._slot if self.flags & processes.LOADING else None
        self.flags &= ~(processes.LISTENS | processes.SERVES)
        try:
            if self.memory.is_there:
                self._claim(self.memory)
            else:  # all other processes of the memory have ended since
                self._move()
        except OSError:  # full, gone, or another user's
            log.warning("this process cannot be registered as one that is measured", exc_info=True)
            self.attention.begin(self.memory.turn, None)
            return
        self._slot.note_applied(self._applied, self.epoch)

    # Ends

    def is_alone(self) -> bool:
        """Tell whether no other live process is measured in the memory."""
        return all(entry.pid == os.getpid() for entry in self.memory.table.living())

    def close(self) -> bool:
        """Free this process's entry at its end; tell whether it was the last of its memory."""
        self._is_closed = True
        with contextlib.suppress(OSError):
            self._slot.free()
            self.attention.begin(self.memory.turn, None)
            return not self.memory.table.living()
        return False


def copy_lines(old: Memory, new: Memory) -> None:
    """Copy the lines and records that this process has mapped or read of `old` into `new`."""
    held = old.mapped_chunks()
    for claim in old.known():
        place = new.place(claim.name, claim.version, claim.place.room)
        for plane, chunks in held.items():
            view = chunks.get(claim.place.chunk)
            if view is None:
                continue
            at = claim.place.at
            lines = bytes(view[at : at + claim.place.room])
            if 1 in lines:
                target = new.chunk_of_plane(plane, place.chunk)
                for number in marked(lines):
                    target[place.at + number] = 1
    for plane, known in old.known_records().items():
        new.append(plane, known)
