"""Tell which lines run for which labelled request: two tools of sys.monitoring beside the engine's.

A context variable says for which request a thread, a task or a greenlet runs. While a labelled
request is open, each line of the application's own sources has an event, and its callback asks that
variable. A line whose event is of no use any more is disabled: where no request is open; and, when
it has run often, where all that are open have run it, too, or none of the others is inside its
function. Where a request opens, or calls such a function, the functions with disabled lines are
armed again, each by handing it over to the other of the two tools: so it always has the event, and
`sys.monitoring.restart_events`, which would arm all of Python, is not called.

As in wsgi_coverage.collect.engines.monitoring, callbacks raise nothing of ours into the
application, and from the last look at what is open to the return that disables a line there is no
call and no backward jump: no other thread runs in between, so no line is missed.

Concurrency: callbacks run in all threads. The engine's lock of code objects guards the hand-over of
functions, and the open requests where they change: one lock, because a signal handler of the
application may run new code while a thread holds it.
"""

from __future__ import annotations

import inspect
import sys
import weakref
from _thread import get_ident
from collections import deque
from collections.abc import Callable, Iterator
from contextvars import ContextVar, Token
from types import CodeType, FrameType
from typing import Any

from wsgi_coverage.collect.engines.locking import synchronized

TOOL_IDS = (3, 4, 5, 2, 1, 0)
NAME = "wsgi-coverage: labels"
TOOLS = 2
OFTEN = 16  # runs of a line after which it is looked at whether its event is still of use
SUSPENDS = inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR

SOME = 1_000  # code objects
MOST_IDLE = 200_000  # lines that are counted for no request

Key = tuple[int, int]  # id of a code object, and a line
Codes = dict[int, weakref.ref[CodeType]]  # by id
Ran = dict[CodeType, set[int]]  # lines by code object


class Labelled:
    """One request, or anything else that has a label, and what has run for it.

    Args:
        label: its label; of a route it is known at the end.
    """

    __slots__ = ("codes", "counts", "former", "is_counted", "is_open", "kept", "label", "taken")

    def __init__(self, label: str) -> None:
        self.label: str = label
        self.is_open: bool = True
        self.is_counted: bool = False  # it is stored that there was this request
        self.counts: dict[Key, int] = {}  # how often each line has run
        self.codes: dict[int, CodeType] = {}  # by id, which so is not used again meanwhile
        # Lines from before the last cut, and those of them that were taken then.
        self.former: dict[Key, int] = {}
        self.taken: frozenset[Key] = frozenset()
        self.kept: list[tuple[int, Ran]] = []  # cut before the label was known, by epoch

    def cut(self) -> Ran:
        """Return what has run since the last cut; what runs from now on is told apart from it."""
        before, self.counts = self.counts, {}
        taken = frozenset(before)
        # A callback may have added to what was being cut the last time.
        found = taken | (frozenset(self.former) - self.taken)
        self.former, self.taken = before, taken
        ran: Ran = {}
        for key, line in found:
            ran.setdefault(self.codes[key], set()).add(line)
        return ran

    def forget(self) -> None:
        """Drop all: a context that somebody keeps may refer to this for long."""
        self.codes, self.counts, self.former, self.taken = {}, {}, {}, frozenset()


_CURRENT: ContextVar[Labelled | None] = ContextVar("wsgi_coverage_labelled", default=None)


def free_tools() -> list[int]:
    """Return two tool ids of sys.monitoring that are not used; fewer where there are not two."""
    monitoring: Any = sys.monitoring  # type: ignore[attr-defined,unused-ignore]
    return [each for each in TOOL_IDS if monitoring.get_tool(each) is None][:TOOLS]


def is_labelled() -> bool:
    """Tell whether what runs now has a label."""
    labelled = _CURRENT.get()
    return labelled is not None and labelled.is_open


def current_label() -> str | None:
    """Return the label of what runs now, to be handed on with a task; None: it has none.

    That of a request which is labelled by its route is not known before its end.
    """
    labelled = _CURRENT.get()
    return labelled.label or None if labelled is not None and labelled.is_open else None


class Labelling:
    """Records lines for labelled requests in this process.

    Args:
        own_codes: yields the code objects of the application's own sources that have run.
        lock: returns the lock of what finds code objects, which is this one's, too.
    """

    def __init__(
        self, own_codes: Callable[[], Iterator[CodeType]], lock: Callable[[], Any]
    ) -> None:
        self._own_codes = own_codes
        self._lock_of = lock
        self._open: dict[int, Labelled] = {}  # by id
        self._opened = 0  # number of requests that have been opened, and of cuts
        self._tool_of: dict[int, int] = {}  # by id of a code object, the tool that has its events
        self._disabled: Codes = {}  # with disabled events; armed when a request opens
        # With disabled events of lines that some have not run; armed when one of these calls it.
        self._quiet: Codes = {}
        self._idle: dict[Key, int] = {}  # how often lines ran for no open request
        self._new: list[weakref.ref[CodeType]] = []  # have no events yet
        self._most_new = SOME  # above which freed ones are dropped from there
        self._tools: list[int] = []
        self._is_child = False  # a fork may have come in the middle of a hand-over
        # Closed by who may take no lock; a deque, which is safe in any thread.
        self.abandoned: deque[Labelled] = deque()

    @property
    def _lock(self) -> Any:
        return self._lock_of()

    @property
    def has_begun(self) -> bool:
        """Tell whether it has its two tools."""
        return bool(self._tools)

    # Requests

    @synchronized
    def open(self, label: str) -> Labelled:
        """Open a labelled request; it runs where `enter` is called.

        Raises:
            RuntimeError: too many tools of sys.monitoring are taken.
        """
        if not self._tools:
            self._start()
        labelled = Labelled(label)
        try:
            self._open[id(labelled)] = labelled
            self._opened += 1
            self._arm()
        except BaseException:  # of the application's signal handler
            self._open.pop(id(labelled), None)
            raise
        return labelled

    @staticmethod
    def enter(labelled: Labelled) -> Token[Labelled | None]:
        """Have what runs in this context from now on be recorded for a request."""
        return _CURRENT.set(labelled)

    @staticmethod
    def leave(token: Token[Labelled | None]) -> None:
        """Have what runs in this context be recorded as before `enter`."""
        _CURRENT.reset(token)

    @synchronized
    def close(self, labelled: Labelled) -> Ran:
        """Close a request; return what has run for it since it was cut.

        What tasks that it has started run afterwards has no label.
        """
        labelled.is_open = False
        self._open.pop(id(labelled), None)
        if not self._open:
            self._idle.clear()
        ran = labelled.cut()
        labelled.forget()
        return ran

    @synchronized
    def cut_one(self, labelled: Labelled) -> Ran:
        """Return what has run for a request since it was cut; it stays open."""
        self._opened += 1
        return labelled.cut()

    @synchronized
    def cut(self) -> list[tuple[Labelled, Ran]]:
        """Return what has run for each open request; its later lines are told apart from these.

        To be followed by `sys.monitoring.restart_events`: what has run before may run again.
        """
        self._opened += 1  # no line is disabled for what ran before
        return [(each, each.cut()) for each in self._open.values()]

    def after_fork(self) -> None:
        """Close all requests in a forked child: they go on in its parent. Takes no lock."""
        for each in self._open.values():
            each.is_open = False
        self._open.clear()
        self.abandoned.clear()
        self._is_child = True

    # Events

    def add(self, code: CodeType) -> None:
        """Record a code object of the application's own sources that starts to run."""
        if not self._tools:
            return
        self._new.append(weakref.ref(code))
        if self._open:
            self._arm_new()
        elif len(self._new) > self._most_new:
            self._drop_freed()

    @synchronized
    def _drop_freed(self) -> None:
        self._new = [ref for ref in self._new if ref() is not None]
        self._most_new = max(SOME, 2 * len(self._new))

    def forget(self, key: int) -> None:
        """Drop what is known of a code object that was freed, by its id."""
        for known in (self._tool_of, self._disabled, self._quiet):
            known.pop(key, None)

    def _start(self) -> None:
        monitoring: Any = sys.monitoring  # type: ignore[attr-defined,unused-ignore]
        tools = free_tools()
        if len(tools) < TOOLS:
            raise RuntimeError("too many tools of sys.monitoring are taken")
        line, start = self._callbacks(monitoring.DISABLE)
        for tool in tools:
            monitoring.use_tool_id(tool, NAME)
            monitoring.register_callback(tool, monitoring.events.LINE, line)
            monitoring.register_callback(tool, monitoring.events.PY_START, start)
        self._tools = tools
        self._new.extend(map(weakref.ref, self._own_codes()))

    def _arm(self) -> None:
        """Enable the events of all functions that had no need of them."""
        if self._is_child:
            self._is_child = False
            self._disabled.update((id(each), weakref.ref(each)) for each in self._own_codes())
        self._arm_new()
        while self._disabled:
            key, ref = self._disabled.popitem()
            code = ref()
            if code is not None:
                try:
                    self._arm_one(code)
                except BaseException:
                    self._disabled[key] = ref
                    raise

    @synchronized
    def _arm_new(self) -> None:
        while self._new:
            code = self._new.pop()()
            if code is not None and id(code) not in self._tool_of:
                self._hand_over(code, None, self._tools[0])

    @synchronized
    def _arm_one(self, code: CodeType) -> None:
        """Hand a function over to the other tool, which enables all its events."""
        first, second = self._tools
        before = self._tool_of.get(id(code))
        self._hand_over(code, before, second if before == first else first)
        self._quiet.pop(id(code), None)

    def _hand_over(self, code: CodeType, before: int | None, tool: int) -> None:
        monitoring: Any = sys.monitoring  # type: ignore[attr-defined,unused-ignore]
        self._tool_of[id(code)] = tool
        monitoring.set_local_events(tool, code, 0)  # left from a hand-over that was interrupted
        monitoring.set_local_events(tool, code, monitoring.events.LINE)
        if before is not None:
            monitoring.set_local_events(before, code, 0)

    def _callbacks(self, disable: Any) -> tuple[Callable[..., Any], Callable[..., Any]]:
        current, opened, disabled = _CURRENT.get, self._open, self._disabled
        idle, quiet, is_of_use, arm = self._idle, self._quiet, self._is_of_use, self._arm_one
        ref_of = weakref.ref

        def line(code: CodeType, number: int) -> Any:
            key = id(code)
            labelled = current()
            if labelled is None or not labelled.is_open:
                if not opened:
                    ref = ref_of(code)
                    if not opened:
                        disabled[key] = ref
                        return disable
                labelled, counts = None, idle
            else:
                counts = labelled.counts
            count = counts.get((key, number), 0) + 1
            if count == 1 and labelled is not None:
                labelled.codes[key] = code  # before the line is there
            counts[key, number] = count
            if count % OFTEN:
                return None
            before = self._opened
            if is_of_use(code, number, labelled):
                return None
            ref = ref_of(code)
            if self._opened != before or (labelled is not None and labelled.counts is not counts):
                return None
            disabled[key] = ref
            return disable

        def start(code: CodeType, offset: int) -> Any:  # noqa: ARG001
            if id(code) in quiet:
                labelled = current()
                if labelled is not None and labelled.is_open:
                    arm(code)
            return None

        return line, start

    @synchronized
    def _is_of_use(self, code: CodeType, number: int, labelled: Labelled | None) -> bool:
        """Tell whether an open request may still have to be recorded for a line.

        Args:
            code: the code object.
            number: the line, which has just run again.
            labelled: the request that it has run for; None: for none.
        """
        key = id(code)
        if len(self._idle) > MOST_IDLE:
            self._idle.clear()
        others = [each for each in self._open.values() if each is not labelled]
        if all((key, number) in each.counts for each in others):
            return False
        # What is suspended may go on without an event that a tool can have for one function.
        tool = self._tool_of.get(key)
        if code.co_flags & SUSPENDS or _uses_greenlets() or tool is None:
            return True
        if key not in self._quiet:
            monitoring: Any = sys.monitoring  # type: ignore[attr-defined,unused-ignore]
            self._quiet[key] = weakref.ref(code)
            events = monitoring.events.LINE | monitoring.events.PY_START
            monitoring.set_local_events(tool, code, events)
        return _is_inside(code)


def _uses_greenlets() -> bool:
    """Tell whether any thread has used greenlets, which may be suspended in any function."""
    module = sys.modules.get("greenlet._greenlet")
    if module is None:
        return False
    threads: Callable[[], int] | None = getattr(module, "get_total_main_greenlets", None)
    return threads is None or threads() > 0


def _is_inside(code: CodeType) -> bool:
    """Tell whether a thread, beside the current call of this one, is inside a function."""
    this, times = get_ident(), 0
    for thread, frame in sys._current_frames().items():  # noqa: SLF001  the only way to them
        at: FrameType | None = frame
        while at is not None:
            if at.f_code is code:
                times += 1
                if thread != this or times > 1:
                    return True
            at = at.f_back
    return False
