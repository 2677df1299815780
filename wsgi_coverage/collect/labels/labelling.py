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

Concurrency: callbacks run in all threads. `_lock` guards the hand-over of functions, and the list
of open requests where it changes; a forked child gets a new one.
"""

from __future__ import annotations

import inspect
import sys
import weakref
from _thread import RLock, get_ident
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

Key = tuple[int, int]  # id of a code object, and a line
Ran = dict[CodeType, set[int]]  # lines by code object


class Labelled:
    """One request, or anything else that has a label, and what has run for it.

    Args:
        label: its label.
    """

    __slots__ = ("codes", "counts", "former", "is_open", "label")

    def __init__(self, label: str) -> None:
        self.label: str = label
        self.is_open: bool = True
        self.counts: dict[Key, int] = {}  # how often each line has run
        self.codes: dict[int, CodeType] = {}  # by id, which so is not used again meanwhile
        # Lines from before each cut, and those of them that were taken then.
        self.former: list[tuple[dict[Key, int], frozenset[Key]]] = []

    def cut(self) -> Ran:
        """Return what has run since the last cut; what runs from now on is told apart from it."""
        counts, self.counts = self.counts, {}
        found = {*counts} | self._left()
        self.former = [(counts, frozenset(counts))]
        return self._by_code(found)

    def _left(self) -> set[Key]:
        """Return the lines that a callback has added to what was being cut."""
        return {key for counts, taken in self.former for key in counts.copy() if key not in taken}

    def _by_code(self, found: set[Key]) -> Ran:
        ran: Ran = {}
        for key, line in found:
            ran.setdefault(self.codes[key], set()).add(line)
        return ran


_CURRENT: ContextVar[Labelled | None] = ContextVar("wsgi_coverage_labelled", default=None)


def free_tools() -> list[int]:
    """Return two tool ids of sys.monitoring that are not used; fewer where there are not two."""
    monitoring: Any = sys.monitoring  # type: ignore[attr-defined,unused-ignore]
    return [each for each in TOOL_IDS if monitoring.get_tool(each) is None][:TOOLS]


class Labelling:
    """Records lines for labelled requests in this process.

    Args:
        own_codes: yields the code objects of the application's own sources that have run.

    Raises:
        RuntimeError: too many tools of sys.monitoring are taken.
    """

    def __init__(self, own_codes: Callable[[], Iterator[CodeType]]) -> None:
        self._own_codes = own_codes
        self._lock = RLock()
        self._open: dict[int, Labelled] = {}  # by id
        self._opened = 0  # number of requests that have been opened
        self._tool_of: dict[int, int] = {}  # by id of a code object, the tool that has its events
        self._disabled: dict[int, CodeType] = {}  # with disabled events; armed when one opens
        # With disabled events of lines that some have not run; armed when one of these calls it.
        self._quiet: dict[int, CodeType] = {}
        self._idle: dict[Key, int] = {}  # how often lines ran for no open request
        self._new: list[weakref.ref[CodeType]] = []  # have no events yet
        self._tools: list[int] = []

    @property
    def has_begun(self) -> bool:
        """Tell whether it has its two tools."""
        return bool(self._tools)

    # Requests

    @synchronized
    def open(self, label: str) -> Labelled:
        """Open a labelled request; it runs where `enter` is called."""
        if not self._tools:
            self._start()
        labelled = Labelled(label)
        self._open[id(labelled)] = labelled
        self._opened += 1
        self._arm()
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
        return labelled.cut()

    @synchronized
    def cut(self) -> list[tuple[str, Ran]]:
        """Return what has run for each open request; its later lines are told apart from these.

        To be followed by `sys.monitoring.restart_events`: what has run before may run again.
        """
        return [(each.label, each.cut()) for each in self._open.values()]

    def after_fork(self) -> None:
        """Close all requests in a forked child: they go on in its parent."""
        self._lock = RLock()
        for each in self._open.values():
            each.is_open = False
        self._open.clear()

    # Events

    def add(self, code: CodeType) -> None:
        """Record a code object of the application's own sources that starts to run."""
        if self._open:
            self._add(code)
        elif self._tools:
            self._new.append(weakref.ref(code))

    def forget(self, key: int) -> None:
        """Drop what is known of a code object that was freed, by its id."""
        for known in (self._tool_of, self._disabled, self._quiet):
            known.pop(key, None)

    @synchronized
    def _add(self, code: CodeType) -> None:
        if id(code) not in self._tool_of:
            self._hand_over(code, None, self._tools[0])

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
        self._new = [weakref.ref(code) for code in self._own_codes()]

    def _arm(self) -> None:
        """Enable the events of all functions that had no need of them."""
        while self._new:
            code = self._new.pop()()
            if code is not None:
                self._add(code)
        while self._disabled:
            _, code = self._disabled.popitem()
            self._arm_one(code)

    @synchronized
    def _arm_one(self, code: CodeType) -> None:
        """Hand a function over to the other tool, which enables all its events."""
        self._quiet.pop(id(code), None)
        first, second = self._tools
        before = self._tool_of.get(id(code))
        self._hand_over(code, before, second if before == first else first)

    def _hand_over(self, code: CodeType, before: int | None, tool: int) -> None:
        monitoring: Any = sys.monitoring  # type: ignore[attr-defined,unused-ignore]
        monitoring.set_local_events(tool, code, monitoring.events.LINE)
        self._tool_of[id(code)] = tool
        if before is not None:
            monitoring.set_local_events(before, code, 0)

    def _callbacks(self, disable: Any) -> tuple[Callable[..., Any], Callable[..., Any]]:
        current, opened, disabled = _CURRENT.get, self._open, self._disabled
        idle, quiet, is_of_use, arm = self._idle, self._quiet, self._is_of_use, self._arm_one

        def line(code: CodeType, number: int) -> Any:
            key = id(code)
            labelled = current()
            if labelled is None or not labelled.is_open:
                if not opened:
                    disabled[key] = code
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
            if is_of_use(code, number, labelled) or self._opened != before:
                return None
            disabled[key] = code
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
        others = [each for each in self._open.values() if each is not labelled]
        if all((key, number) in each.counts for each in others):
            return False
        # What is suspended may go on without an event that a tool can have for one function.
        if code.co_flags & SUSPENDS or _uses_greenlets():
            return True
        if key not in self._quiet:
            monitoring: Any = sys.monitoring  # type: ignore[attr-defined,unused-ignore]
            self._quiet[key] = code
            events = monitoring.events.LINE | monitoring.events.PY_START
            monitoring.set_local_events(self._tool_of[key], code, events)
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
