"""Mark executed lines in shared memory: a tool of sys.monitoring, on Python 3.12 and later.

The first time that a line runs in a phase, a callback stores one byte and disables the line's
event. A request does nothing else for it: it takes no lock, fills no set and flushes nothing.

Two things must hold in the callbacks. They raise none of our errors into the application, in whose
functions they run. And in `line` the look-up comes after its only call, `id`: from there to the
return no other thread runs, so a line is marked and disabled in one epoch, whenever a switch to
another one comes (measured: 150 resets beside 8 threads, none of 9,000 lines lost).

Concurrency: `_lock` guards the known sources and the bytes in which lines are marked; it is never
held while a source is read. A forked child gets a new one. No monkey patch replaces its class:
gevent's lock would switch greenlets inside a callback.
"""

from __future__ import annotations

import contextlib
import gc
import os
import re
import sys
import time
import weakref
from _thread import RLock
from collections.abc import Callable, Iterable, Iterator
from types import CodeType, FrameType
from typing import Any, NamedTuple

import coverage

from wsgi_coverage.collect.engines.attention import ALWAYS, Attention
from wsgi_coverage.collect.engines.locking import synchronized
from wsgi_coverage.collect.sources import ourselves
from wsgi_coverage.collect.sources.imported_before import ran_above
from wsgi_coverage.data import regular_files, stamp
from wsgi_coverage.data.database import is_storable
from wsgi_coverage.data.phases import Phase
from wsgi_coverage.data.reading import Place, room_of
from wsgi_coverage.data.union import NO_UTF_8
from wsgi_coverage.errors import is_shortage
from wsgi_coverage.store import memory as memory_module
from wsgi_coverage.store.mapped import Mapped
from wsgi_coverage.store.memory import MOST_CHUNKS, Memory

# Unassigned ids first, a debugger's and coverage.py's last.
TOOL_IDS = (4, 3, 5, 2, 1, 0)
NAME = "wsgi-coverage"
SKIPPED = "__annotate__"  # annotations, evaluated lazily: no line of them runs (Python 3.14)
MAX_UNMEASURED = 200  # sources that cannot be measured and are named on /health

Classify = Callable[[str, FrameType], "Measured | None"]
Marks = dict[int, tuple[int, int]]  # by id of the code object: chunk, and offset of line 0 in it
Chunks = list[Any]  # by number: the mapped chunk, or None
LATE: Any = ()  # instead of marks and chunks, in a forked child that has run nothing new


class Measured(NamedTuple):
    """A measured source: its path, and its name in data files."""

    path: str  # of the file with the source
    name: str  # its name in data files


class _Source(NamedTuple):
    name: str
    version: str
    place: Place


class _Code(weakref.ref[CodeType]):
    """A weak reference to a code object whose lines are marked: its id may be used again."""

    __slots__ = ("filename", "key", "source")
    key: int
    filename: str
    source: tuple[str, str]  # name in data files, and version


def why_not() -> str | None:
    """Return why this Python cannot mark lines; None: it can."""
    if not hasattr(sys, "monitoring"):
        return f"Python {sys.version_info[0]}.{sys.version_info[1]} has no sys.monitoring"
    if free_tool() is None:
        return "every tool of sys.monitoring is taken"
    return None


def free_tool() -> int | None:
    """Return a tool id of sys.monitoring that is not used; None: all are."""
    monitoring: Any = sys.monitoring  # type: ignore[attr-defined,unused-ignore]
    return next((each for each in TOOL_IDS if monitoring.get_tool(each) is None), None)


class Monitoring:
    """Marks the lines that run in this process.

    Args:
        memory: the shared memory in which they are marked.
        classify: given a file name and a frame that runs in it, returns the measured source;
            None: it is not measured.
    """

    def __init__(self, memory: Memory, classify: Classify) -> None:
        self.memory: Memory = memory
        self._classify = classify
        self._lock = RLock()
        self._began = time.time()
        self._sources: dict[str, _Source | None] = {}  # by the file name in code objects
        self._codes: dict[int, _Code] = {}
        self._gone: list[weakref.ref[CodeType]] = []  # freed; their marks are still to be dropped
        # First the current marks and chunks; then, in a late child, those from before the fork.
        # The third are the day's chunks, or the same again where no days are marked.
        chunks: Chunks = [None] * MOST_CHUNKS
        self._cell: list[tuple[Marks, Chunks, Chunks]] = [({}, chunks, chunks), LATE]
        self.day: int = 0  # whose lines are marked, too, as `date.toordinal` counts; 0: none is
        self.phase: Phase | None = None
        self.epoch: int = memory.state().epoch
        self.paused: bool = False
        self.unmeasured: dict[str, str] = {}  # by source, or code in it: the reason
        self.is_lost: bool = False  # the memory is removed or full: lines may not be marked
        self.on_loss: Callable[[], object] = list  # called when some line could not be marked
        self._begin_late: Callable[[], object] = list  # registers a late child
        self.on_code: Callable[[CodeType], object] | None = None  # gets each new code object
        self.on_gone: Callable[[int], object] = id  # gets the id of one that was freed
        self._applied = 0  # in a late child: the turn that was applied before the fork
        self._tool: int | None = None

    # Measuring

    def start(self) -> None:
        """Mark every line that runs from now on.

        Raises:
            RuntimeError: every tool of sys.monitoring is taken.
        """
        monitoring: Any = sys.monitoring  # type: ignore[attr-defined,unused-ignore]
        tool = free_tool()
        if tool is None:
            raise RuntimeError("every tool of sys.monitoring is taken")
        monitoring.use_tool_id(tool, NAME)
        self._tool = tool
        events = monitoring.events
        start, line = self._callbacks(monitoring.DISABLE)
        monitoring.register_callback(tool, events.PY_START, start)
        monitoring.register_callback(tool, events.LINE, line)
        monitoring.set_events(tool, events.PY_START)
        monitoring.restart_events()
        self._go_on()
        # Each forked child runs this, in Python's own hook, and need not find out that it is not
        # measured: a tenth of what a child costs that does nothing.
        set(weakref.WeakSet())

    def _go_on(self) -> None:
        """Mark lines of functions and modules that run already, from their current lines on."""
        for frame in sys._current_frames().values():  # noqa: SLF001  the only way to them
            at: FrameType | None = frame
            while at is not None:
                try:
                    self._begin(at.f_code, at)
                    self._mark_running(at)
                except Exception as error:
                    if not self._failed(at.f_code, error):
                        raise
                at = at.f_back

    def _mark_running(self, frame: FrameType) -> None:
        """Mark the current line of a frame; in a module, also the statements that ran above it."""
        code, line = frame.f_code, frame.f_lineno or 0
        mark = self._cell[0][0].get(id(code))
        if mark is None:
            return
        chunk, at = mark
        lines = {line}
        if code.co_name == "<module>" and (measured := self._classify(code.co_filename, frame)):
            lines |= ran_above(regular_files.read(measured.path), line)
        for number in lines - {0}:
            for chunks in self._cell[0][1:]:
                chunks[chunk][at + number] = 1

    def _callbacks(self, disable: Any) -> tuple[Callable[..., Any], Callable[..., Any]]:
        cell, begin, failed = self._cell, self._begin, self._failed
        late = LATE
        frame_of = sys._getframe  # noqa: SLF001  the frame that starts is told by no argument

        def start(code: CodeType, offset: int) -> Any:  # noqa: ARG001
            try:
                # As `_begin` would find. Here and below: each function that is called, and each
                # object that is made, is a page that a forked child copies first, and in Python's
                # own hooks ten functions begin.
                if (
                    self._sources.get(code.co_filename, self) is None
                    and id(code) not in self._codes
                ):
                    return disable
                begin(code, frame_of(1))
            except Exception as error:
                if not failed(code, error):
                    raise  # a signal handler's of the application
            return disable

        def line(code: CodeType, number: int) -> Any:
            try:
                key = id(code)
                now = cell[0]
                if now is late:
                    marks, chunks, days = cell[1]
                    chunk, at = marks[key]
                    if (
                        self.memory.turn[0] == self._applied
                        and chunks[chunk][at + number]
                        and days[chunk][at + number]
                    ):
                        return disable  # another process has marked it
                    return again(code, number)
                marks, chunks, days = now
                chunk, at = marks[key]
                chunks[chunk][at + number] = 1
                days[chunk][at + number] = 1
            except Exception as error:
                if not failed(code, error):
                    raise
            return disable

        def again(code: CodeType, number: int) -> Any:
            try:
                self.register_late()
            except Exception as error:
                if not failed(code, error):
                    raise
            return disable if cell[0] is late else line(code, number)

        return start, line

    def _begin(self, code: CodeType, frame: FrameType) -> None:
        """Enable LINE events of a code object that starts to run, if it is measured."""
        if self._cell[0] is LATE:
            if self._sources.get(code.co_filename, self) is None:
                return
            self.register_late()
        key = id(code)
        known = self._codes.get(key)
        if known is None or known() is not code or key not in self._cell[0][0]:
            filename = code.co_filename
            source = self._sources.get(filename, self)
            if source is None or code.co_name == SKIPPED:
                return
            if source is self or code.co_name == "<module>":
                source = self._find(code, frame)
            if not isinstance(source, _Source) or not self._has_room(code, source):
                return
            self._keep(code, key, source)
        monitoring: Any = sys.monitoring  # type: ignore[attr-defined,unused-ignore]
        monitoring.set_local_events(self._tool, code, monitoring.events.LINE)

    def _find(self, code: CodeType, frame: FrameType) -> _Source | None:
        """Find the version of the source that a code object is of; None: it is not measured."""
        measured = self._classify(code.co_filename, frame)
        if measured is None:
            if not is_storable(code.co_filename):
                self._note(ascii(code.co_filename), NO_UTF_8)
            self._sources[code.co_filename] = None
            return None
        try:
            content = regular_files.read(measured.path)
            changed = os.stat(measured.path).st_mtime  # noqa: PTH116
        except (OSError, ValueError) as error:
            self._note(measured.name, f"its source cannot be read: {error}")
            if is_shortage(error):  # its next function may find a descriptor
                self.on_loss()
            else:
                self._sources[code.co_filename] = None
            return None
        version = stamp.fingerprint_of(content)
        if code.co_name != "<module>" and changed > self._began:
            version = stamp.CHANGED  # imported before measuring began, and edited since
        return self._place(code.co_filename, measured.name, version, room_of(content))

    @synchronized
    def _place(self, filename: str, name: str, version: str, room: int) -> _Source:
        source = _Source(name, version, self.memory.place(name, version, room))
        self._sources[filename] = source
        return source

    def _has_room(self, code: CodeType, source: _Source) -> bool:
        """Tell whether all lines of a code object lie within the bytes of its source."""
        highest = max((line or 0 for _, _, line in code.co_lines()), default=0)
        if highest < source.place.room:
            return True
        self._note(
            f"{code.co_qualname} in {source.name}",
            f"it has a line {highest}, which the source does not have: it was compiled from "
            "something else",
        )
        return False

    @synchronized
    def _keep(self, code: CodeType, key: int, source: _Source) -> None:
        # Another memory may be in use since the source was looked up.
        place = self.memory.place(source.name, source.version, source.place.room)
        number = place.chunk
        marks, chunks, days = self._cell[0]
        if chunks[number] is None:
            chunk = self._chunk(number)
            days[number] = self._day_chunk(number, chunk)
            chunks[number] = chunk
        self._drop()
        # A C function: an error that a signal handler raises in a Python one would be lost there.
        ref = _Code(code, self._gone.append)
        ref.key, ref.filename = key, code.co_filename
        ref.source = source.name, source.version
        self._codes[key] = ref
        if self.on_code is not None:
            self.on_code(code)
        # Last: other threads that run the code do not wait from then on.
        marks[key] = (number, place.at)

    def _drop(self) -> None:
        """Drop the marks of code objects that have been freed."""
        gone = self._gone
        while gone:
            ref: Any = gone.pop()
            key: int = ref.key
            if self._codes.get(key) is ref:
                self._cell[0][0].pop(key, None)
                del self._codes[key]
                self.on_gone(key)

    def _chunk(self, number: int) -> Mapped:
        if self.paused:
            return memoryview(bytearray(self.memory.size_of(number)))
        return self.memory.chunk(self.phase, self.epoch, number)

    def _day_chunk(self, number: int, chunk: Mapped) -> Mapped:
        """Return the chunk for the lines of the current day; `chunk` where no days are marked."""
        if not self.paused and self.day:
            with contextlib.suppress(OSError):  # there is no room: what ran is more than when
                return self.memory.day_chunk(self.day, number)
        return chunk

    def _failed(self, code: CodeType, error: Exception) -> bool:
        """Record an error of a callback; return False if a signal handler has raised it."""
        if type(error).__module__.partition(".")[0] not in _KINDS:
            return False
        trace = error.__traceback__
        of_memory = False
        while trace is not None:
            filename = trace.tb_frame.f_code.co_filename
            if not _is_ours(filename):
                return False
            of_memory |= filename == _MEMORY
            trace = trace.tb_next
        if of_memory and isinstance(error, OSError):
            self.is_lost = True
            self.on_loss()
        why = f"{type(error).__name__}: {error}"
        self._note(f"{code.co_qualname} in {code.co_filename}", why)
        return True

    def _note(self, what: str, why: str) -> None:
        if len(self.unmeasured) < MAX_UNMEASURED:
            self.unmeasured[what] = why

    def lock(self) -> Any:
        """Return the lock that is held while a code object is found; a forked child has another."""
        return self._lock

    def codes(self) -> Iterator[CodeType]:
        """Yield the code objects whose lines are marked."""
        for ref in self._codes.copy().values():
            code = ref()
            if code is not None:
                yield code

    def version_of(self, code: CodeType) -> tuple[str, str] | None:
        """Return the name in data files, and the version, of the source of a code object."""
        known = self._codes.get(id(code))
        return known.source if known is not None and known() is code else None

    @property
    def sources(self) -> int:
        """The number of measured sources whose code has run here."""
        return sum(1 for each in self._sources.copy().values() if each is not None)

    # Switching

    def switch(
        self, phase: Phase | None, epoch: int, *, paused: bool = False, day: int = 0
    ) -> None:
        """Mark lines in the chunks of another phase, epoch or day, and enable all events again.

        Args:
            phase: of what runs from now on; None: unknown.
            epoch: of what runs from now on.
            paused: mark lines in memory of this process alone, which is never read.
            day: of what runs from now on, as `date.toordinal` counts; 0: days are not marked.

        Raises:
            OSError: there is no room; lines are marked where they were.
        """
        self._switch(phase, epoch, paused, day)
        self.restart()

    @synchronized
    def _switch(self, phase: Phase | None, epoch: int, paused: bool, day: int) -> None:
        before: tuple[Phase | None, int, bool, int] = (
            self.phase,
            self.epoch,
            self.paused,
            self.day,
        )
        self.phase, self.epoch, self.paused, self.day = phase, epoch, paused, day
        marks, chunks, _ = self._cell[0]
        try:
            numbers = [n for n, chunk in enumerate(chunks) if chunk is not None or not n]
            new, days = self._chunks_of(numbers)  # chunk 0 is always made, for new sources
        except BaseException:
            self.phase, self.epoch, self.paused, self.day = before
            raise
        self._cell[0] = marks, new, days
        if before[1] != epoch:
            self.memory.forget_epoch(before[1])
        if before[3] != day:
            self.memory.forget_days(but=day)

    def _chunks_of(self, numbers: Iterable[int]) -> tuple[Chunks, Chunks]:
        """Return the chunks for what runs now, and those of the day."""
        new: Chunks = [None] * MOST_CHUNKS
        days: Chunks = new if self.paused or not self.day else [None] * MOST_CHUNKS
        for number in numbers:
            chunk = self._chunk(number)
            days[number] = self._day_chunk(number, chunk)
            new[number] = chunk
        return new, days

    def move(self, memory: Memory) -> None:
        """Mark lines in another memory from now on; what is marked in the old one stays there.

        Raises:
            OSError: there is no room; lines are marked where they were.
        """
        self._move(memory)
        self.restart()

    @synchronized
    def _move(self, memory: Memory) -> None:
        old, self.memory = self.memory, memory
        try:
            sources = {
                filename: None
                if each is None
                else each._replace(place=memory.place(each.name, each.version, each.place.room))
                for filename, each in self._sources.copy().items()
            }
            # Code of an older version of a source still runs where the application refers to it.
            by_place = {(each.place.chunk, each.place.at): each for each in old.known()}
            marks: Marks = {}
            for key, mark in self._cell[0][0].copy().items():
                claim = by_place[mark]
                place = memory.place(claim.name, claim.version, claim.place.room)
                marks[key] = (place.chunk, place.at)
            new, days = self._chunks_of({chunk for chunk, _ in marks.values()})
        except BaseException:
            self.memory = old
            raise
        self._sources = sources
        self._cell[0] = marks, new, days
        self.is_lost = False
        self._drop()  # code objects that were freed meanwhile

    def restart(self) -> None:
        """Enable the events of all lines again, also in suspended greenlets."""
        monitoring: Any = sys.monitoring  # type: ignore[attr-defined,unused-ignore]
        monitoring.restart_events()
        if "greenlet" not in sys.modules:
            return
        # The frame of a suspended greenlet is on no thread's stack, where restarting looks. One
        # more event for a moment has it instrumented anew; taking LINE away would lose lines.
        line = monitoring.events.LINE
        for code in _suspended_codes():
            if id(code) in self._cell[0][0]:
                monitoring.set_local_events(self._tool, code, line | monitoring.events.JUMP)
                monitoring.set_local_events(self._tool, code, line)

    def mark(self, name: str, path: str, lines: set[int]) -> None:
        """Mark lines of a source that another measurement has seen run.

        Raises:
            OSError: there is no room, or the source cannot be read.
        """
        content = regular_files.read(path)
        self._mark(name, stamp.fingerprint_of(content), room_of(content), lines)

    @synchronized
    def _mark(self, name: str, version: str, room: int, lines: set[int]) -> None:
        place = self.memory.place(name, version, room)
        chunk = self.memory.chunk(self.phase, self.epoch, place.chunk)
        day = self._day_chunk(place.chunk, chunk)
        for number in lines:
            if 0 < number < place.room:
                chunk[place.at + number] = day[place.at + number] = 1

    def being_late(
        self,
        attention: Attention,
        applied: Callable[[], int],
        begin: Callable[[], object],
        forget: Callable[[], object],
    ) -> Callable[[], None]:
        """Return, in the parent, a function that has a forked child register at its first new line.

        Each page of memory that a child writes to is copied first, which takes longer than anything
        that is done with it; this function writes to few.

        Args:
            attention: of this process; is set so that the first request checks for changes.
            applied: returns the turn number that the parent has applied.
            begin: registers the child; called before the child marks a new line.
            forget: closes the child's copies of the parent's sockets; called right after the fork.
        """
        self._begin_late = begin
        cell, late, always = self._cell, LATE, ALWAYS

        def be_late() -> None:
            if cell[0] is not late:
                self._applied, attention.applied = applied(), always
                cell[1] = cell[0]
                cell[0] = late
                forget()

        return be_late

    def register_late(self) -> None:
        """Register a forked child that has not registered yet."""
        if self._cell[0] is LATE:
            # First, because lines that run in here are marked, too. A new lock, because another
            # thread of the parent may have held it.
            self._lock = RLock()
            self._cell[0] = self._cell[1]
            self._begin_late()

    def after_fork(self) -> None:
        """Make a new lock in a forked child: another thread of the parent may have held it."""
        self._lock = RLock()


def _suspended_codes() -> Iterator[CodeType]:
    """Yield the code object of every frame of every suspended greenlet."""
    kind: Any = sys.modules["greenlet"].greenlet
    for each in gc.get_objects():
        # By its type: isinstance reads __class__, by which a lazy object of the application would
        # create the object that it stands for.
        if issubclass(type(each), kind):
            frame = each.gr_frame
            while frame is not None:
                yield frame.f_code
                frame = frame.f_back


def _folder(file: str | None) -> str:
    return os.path.dirname(file or "") + os.sep  # noqa: PTH120


_PACKAGES = (ourselves.PACKAGE, _folder(coverage.__file__))
_LIBRARY = _folder(os.__file__)
_MEMORY = memory_module.__file__
_INSTALLED = re.compile(r"[/\\](site|dist)-packages[/\\]")
# Packages that define the errors of our callbacks; those of an application's handler are elsewhere.
_KINDS = sys.stdlib_module_names | {"wsgi_coverage", "coverage"}


def is_installed(filename: str) -> bool:
    """Tell whether a source belongs to an installed package, or to Python's library."""
    return bool(_INSTALLED.search(filename)) or filename.startswith(_LIBRARY)


def _is_ours(filename: str) -> bool:
    """Tell whether an error with this file in its traceback may be ours, not the application's."""
    if filename.startswith((*_PACKAGES, "<frozen ")):
        return True
    return filename.startswith(_LIBRARY) and not _INSTALLED.search(filename)
