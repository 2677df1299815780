"""The first engine: statements, marked in the host's memory by a tool of sys.monitoring.

Nothing has to be flushed or published: a line is where every process of the host finds it in the
moment in which it has run. coverage.py says which sources are measured, and traces nothing.

Concurrency: `_lock` guards a switch to another epoch, phase or memory, for which requests that
begin meanwhile wait. It is renewed in a fork, and is no name that a monkey patch replaces.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import time
from _thread import RLock
from collections.abc import Callable, Iterable
from pathlib import Path
from types import FrameType
from typing import Any

from coverage import Coverage

from wsgi_coverage.collect import internals
from wsgi_coverage.collect.attention import Attention
from wsgi_coverage.collect.live import MarkedCoverage
from wsgi_coverage.collect.locking import locked
from wsgi_coverage.collect.monitoring import Measured, Monitoring
from wsgi_coverage.collect.ownership import Ownership
from wsgi_coverage.data.phases import Phase
from wsgi_coverage.data.reading import Reading
from wsgi_coverage.model import Measuring
from wsgi_coverage.store import processes
from wsgi_coverage.store.memory import Memory, MemoryGoneError
from wsgi_coverage.store.processes import Slot

log = logging.getLogger("wsgi_coverage")

CORE = "monitoring"
CLAIM_TRIES = 20
CLAIM_PAUSE = 0.002  # seconds


class Marking:
    """One process, measured by marking lines in memory.

    Args:
        cov: says what is measured; it is never started.
        reason: why lines are marked here, for people.
        open_memory: gives the memory of this process's user, made if there is none.

    Raises:
        OSError: there is no room for a memory.
        RuntimeError: every tool of sys.monitoring is taken.
    """

    ownership = Ownership.OURS
    can_reset = True

    def __init__(self, cov: MarkedCoverage, reason: str, open_memory: Callable[[], Memory]) -> None:
        self._cov = cov
        self._reason = reason
        self._open = open_memory
        self._lock = RLock()
        self.data_file = internals.data_file(cov)
        self.attention = Attention()
        self.held: list[Memory] = []  # left by this process, and still marked in by others
        self.flags = 0
        self._heard = 0  # turn
        self._parent: Slot | None = None  # the process that forked this one, while it loads
        self._claim(open_memory())
        self._monitoring = Monitoring(self.memory, self._classify)
        self._monitoring.on_loss = lambda: self._raise(processes.LOSES)
        try:
            self._monitoring.start()
        except BaseException:
            self._slot.free()
            raise
        self.hear()

    def _classify(self, filename: str, frame: FrameType) -> Measured | None:
        found = internals.classify(self._cov, filename, frame)
        return None if found is None else Measured(*found)

    def _claim(self, memory: Memory) -> None:
        """Be one of the processes of a memory."""
        for _ in range(CLAIM_TRIES):
            try:
                token = int.from_bytes(os.urandom(4), "little")
                state = memory.state()
                slot = memory.table.claim(
                    flags=self.flags, turn=state.turn, epoch=state.epoch, token=token
                )
                break
            except BlockingIOError:
                time.sleep(CLAIM_PAUSE)
            except FileNotFoundError:  # its last process took it away just now
                memory = self._open()
        else:
            raise MemoryGoneError(errno.ENOENT, "the memory goes all the time", str(memory.folder))
        self.memory, self._slot, self.token = memory, slot, token
        self.attention.begin(memory.turn, slot.requests)

    # What the Coverage is asked for

    @property
    def coverage(self) -> Coverage:
        """The Coverage, whose data is what is marked in the memory."""
        return self._cov

    @property
    def config(self) -> Any:
        """coverage.py's configuration, to report with."""
        return self._cov.config

    @property
    def phase(self) -> Phase | None:
        """Of what runs now; None: nobody tells."""
        return self._monitoring.phase

    @property
    def measuring(self) -> Measuring:
        """How this process is measured."""
        return Measuring(
            engine="memory",
            engine_reason=self._reason,
            core=CORE,
            core_reason="a tool of sys.monitoring of its own marks each line once",
            coverage_version=internals.version(),
            branch=False,
            ownership=self.ownership.value,
            lossless=True,
            problem=None,
            data_file=str(self.data_file),
            phase=self.phase and self.phase.value,
        )

    @property
    def loses(self) -> bool:
        """Tell whether there was no room, or no memory, for some of what has run."""
        return bool(self.flags & processes.LOSES)

    @property
    def unmeasured(self) -> dict[str, str]:
        """Sources, or code in them, that cannot be measured, and why."""
        return dict(self._monitoring.unmeasured)

    def lend(self, *, readings: Callable[[], list[Reading]], publish: Callable[[], object]) -> None:
        """Have the Coverage give what is executed when it is asked.

        Args:
            readings: reads what is marked now.
            publish: writes it to a data file.
        """
        self._cov.readings, self._cov.publish = readings, publish

    # Hearing of changes

    @locked
    def hear(self) -> None:
        """Do what others have asked of all processes since this one last looked.

        Raises:
            OSError: there is no room for the new epoch; lines go on to be marked in the old one.
        """
        if self.memory.is_left or self._is_elsewhere():
            self._move()
        state = self.memory.state()
        monitoring = self._monitoring
        paused = state.paused and monitoring.phase is not Phase.LOAD
        if (state.epoch, paused) != (monitoring.epoch, monitoring.paused):
            monitoring.switch(monitoring.phase, state.epoch, paused=paused)
            self._slot.set(processes.PAUSED, paused)
        self._slot.hear(state.turn, state.epoch)
        self._heard = self.attention.heard = state.turn

    def _is_elsewhere(self) -> bool:
        """Tell whether another memory is needed: the user has changed, or the memory is gone."""
        return self.memory.user != os.geteuid() or not self.memory.is_there

    def _move(self) -> None:
        """Go on in the memory that is there for this user now, and keep what is in the old one."""
        old, old_slot = self.memory, self._slot
        is_gone = old.user == os.geteuid()
        new = self._open()
        if not new.is_in_place_of(old):
            self._monitoring.is_lost = False  # it is full: what has room is marked on
            return
        state = old.state()
        if new.state().epoch < state.epoch:
            new.announce(epoch=state.epoch, oldest=state.oldest, paused=state.paused)
        self._claim(new)
        self._monitoring.move(new)
        copy_lines(old, new)
        old_slot.free()
        if is_gone:
            old.leave()  # the others that have it mapped
        self.held.append(old)

    def look_after(self) -> None:
        """Notice whether the memory is still there, which only a look tells; raises nothing."""
        try:
            if self._is_elsewhere() or self._monitoring.is_lost:
                self._go_elsewhere()
            for old in list(self.held):
                if old.user == os.geteuid() and not old.table.living():
                    copy_lines(old, self.memory)
                    self.held.remove(old)
        except OSError as error:
            log.warning("the memory of executed lines cannot be made anew: %s", error)

    @locked
    def _go_elsewhere(self) -> None:
        self._move()
        self.hear()

    # Load and runtime

    @locked
    def begin_load(self) -> None:
        """An application is being wrapped: what ran so far, and what runs now, is its load."""
        if self.phase is None:
            self._monitoring.switch(Phase.LOAD, self._monitoring.epoch)
            self.memory.call_it_load(self._monitoring.epoch)
            self._raise(processes.LOADING)

    @locked
    def end_load(self) -> None:
        """A first request has come: what runs from now on is runtime, lines of the load too."""
        self.hear()
        if self.phase is not Phase.RUNTIME:
            self.begin_load()
            state = self.memory.state()
            self._monitoring.switch(Phase.RUNTIME, state.epoch, paused=state.paused)
            self._slot.set(processes.PAUSED, state.paused)
        self._lower(processes.LOADING)

    def serves(self) -> bool:
        """A request has come to this process; tell whether it is the first."""
        is_first = not self.flags & processes.SERVES
        self._raise(processes.SERVES)
        return is_first

    def loading_parent(self) -> int | None:
        """The process that forked this one while it loaded the application, if it still does."""
        parent, self._parent = self._parent, None
        if parent is None or not parent.has(processes.LOADING):
            return None
        return parent.pid

    def listens(self, *, does: bool) -> None:
        """Whether a thread of this process answers the channel."""
        (self._raise if does else self._lower)(processes.LISTENS)

    def name_server(self, name: str) -> None:
        """What the server calls itself."""
        self._slot.name_server(name)

    def _raise(self, flag: int) -> None:
        self.flags |= flag
        self._slot.set(flag)

    def _lower(self, flag: int) -> None:
        self.flags &= ~flag
        self._slot.set(flag, False)

    # Pause and reset: what they are to be stands in the memory by now

    def check_is_ours(self, what: str) -> None:
        """Nothing here belongs to anybody else."""

    def pause(self) -> None:
        """Mark nothing from now on that counts, until `resume`."""
        self.hear()

    def resume(self) -> None:
        """Mark again what runs."""
        self.hear()

    def reset(self) -> None:
        """Begin the epoch that has been announced."""
        self.hear()

    def forget(self, *, keeping_files: bool = False) -> None:  # noqa: ARG002
        """Begin the epoch that has been announced; the memory remembers which files have run."""
        self.hear()

    # Data

    def mark(self, seen: Iterable[tuple[str, str, set[int]]]) -> None:
        """Go on from a Coverage that ran before, by what it has seen.

        Args:
            seen: sources, their names in data files, and lines.
        """
        self._monitoring.go_on()
        for source, name, lines in seen:
            with contextlib.suppress(OSError):  # the source is gone
                self._monitoring.mark(name, source, lines)

    def readings(self, *, before: int | None = None) -> list[Reading]:
        """What is marked in the memory, and in those that this process has left.

        Args:
            before: only what belongs to older epochs than this, and the load.
        """
        return [each.read(before=before) for each in (self.memory, *self.held)]

    def flush(self) -> bool:
        """There is nothing to flush."""
        return False

    def private_data(self) -> Path | None:
        """There is no private data file."""
        return None

    def let_go(self) -> None:
        """There is no private data file."""

    def rescue(self) -> None:
        """There is no private data file."""

    def touch_unexecuted_files(self) -> None:
        """A report adds them."""

    def unexecuted_files(self) -> list[tuple[str, str | None]]:
        """Files that could have run and never did: (file, plugin's name) pairs."""
        return list(internals.unexecuted_files(self._cov))

    # Ends

    def after_fork(self) -> None:
        """In a child: another process, in the same bytes."""
        self._lock = RLock()
        self._monitoring.after_fork()
        self._parent = self._slot if self.flags & processes.LOADING else None
        self.flags &= ~(processes.LISTENS | processes.SERVES)
        epoch = self._monitoring.epoch
        try:
            self._claim(self.memory)
        except OSError:  # full, gone, or another user's
            log.warning("this process is not noted among those that mark lines", exc_info=True)
            self.attention.begin(self.memory.turn, None)
            return
        self._slot.hear(self._heard, epoch)

    def is_alone(self) -> bool:
        """Tell whether no other live process marks lines in the memory."""
        return all(entry.pid == os.getpid() for entry in self.memory.table.living())

    def close(self) -> bool:
        """This process ends; tell whether it is the last in its memory."""
        with contextlib.suppress(OSError):
            self._slot.free()
            return not self.memory.table.living()
        return False


def copy_lines(old: Memory, new: Memory) -> None:
    """Mark in one memory what this process has mapped of another."""
    held = old.held()
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
                for number, executed in enumerate(lines):
                    if executed == 1:
                        target[place.at + number] = 1
