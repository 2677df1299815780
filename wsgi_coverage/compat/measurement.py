"""A Coverage that measures: its rules, its collector, its data.

Why more than is documented: coverage.py's own flush copies the trace data, writes it out, and then
clears it, so a line that runs during the write is gone; under sysmon, which reports a line once,
it is gone for ever. Here coverage.py's own ``flush_data`` runs on a shallow clone of the collector
that owns copies, and then exactly what was copied is taken away from the trace data.

``problem()`` tries the whole way on made-up lines before it is trusted; where it fails the engine
falls back on what is documented, and /health says so.

Concurrency: every function here is called under the worker's lock. The measured threads add to the
trace data meanwhile; ``set.copy`` and ``set.difference_update`` are atomic under the GIL.
"""

from __future__ import annotations

import contextlib
import copy
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from types import CodeType, FrameType, SimpleNamespace
from typing import Any, NamedTuple, cast

from coverage import Coverage, CoverageData

from wsgi_coverage.compat import names, needs

INSTALLS = "_wsgi_coverage_install"  # the trace function that installs a tracer after a pause
CALLBACK_TIMEOUT = 0.5  # seconds to wait for callbacks that were on their way during a reset

TraceData = dict[str, set[Any]]  # lines or arcs by file, as the tracers add to them


class Converted(NamedTuple):
    """What the trace data held, as coverage.py would write it."""

    has_arcs: bool
    numbers: Mapping[str, set[Any]]  # by name in data files: lines, or pairs of them
    tracers: Mapping[str, str]  # names of plugins, by names of files that they trace


class WarningCoverage(Coverage):
    """A Coverage that tells us of its warnings, not the application's warning filters."""

    def warned(self, message: str, slug: str | None) -> None:
        """It has something to say.

        Args:
            message: what it says.
            slug: the name by which `disable_warnings` knows it.
        """
        raise NotImplementedError

    def _warn(self, msg: str, slug: str | None = None, once: bool = False) -> None:  # noqa: ARG002
        self.warned(msg, slug)


class _AlwaysActive:
    """Stands in for the clone's tracers.

    sysmon raises its activity flag when a function starts only, so stock code would not save a new
    line in a function that started before the last flush.
    """

    def activity(self) -> bool:
        return True

    def reset_activity(self) -> None:
        pass


def collector_of(cov: Coverage) -> Any:
    """The collector of a started Coverage."""
    return cov._collector


def _classifier(cov: Coverage) -> Any:
    return cov._inorout


class _Omitted:
    """Stands in for coverage.py's matcher of `omit`, and omits more.

    Args:
        theirs: coverage.py's own; None: nothing else is omitted.
        omits: tells of a file, named in full, whether it is omitted.
        shown: what that omits, as patterns.
    """

    def __init__(self, theirs: Any, omits: Callable[[str], bool], shown: Sequence[str]) -> None:
        self._theirs = theirs
        self._omits = omits
        self._shown = shown

    def match(self, path: str) -> bool:
        return self._omits(path) or (self._theirs is not None and bool(self._theirs.match(path)))

    def info(self) -> list[str]:
        """The patterns, for `coverage debug sys` and Coverage.sys_info()."""
        return [*self._shown, *(self._theirs.info() if self._theirs is not None else ())]


def prepare(cov: Coverage, folder: str, omits: Callable[[str], bool], shown: Sequence[str]) -> None:
    """Have a Coverage know what is measured, as starting it would, without starting it.

    Args:
        cov: is not started.
        folder: that relative names are relative to, with a separator at its end.
        omits: tells of a file, named in full, whether it is omitted besides what `omit` names.
        shown: what that omits, as patterns.

    Raises:
        CoverageChangedError: that cannot be done with this coverage.py.
    """
    names.require(needs.RULES)
    cov._init()
    if cov.get_option("run:relative_files"):  # any other Coverage begun elsewhere would change that
        cov._file_mapper = lambda filename: filename.removeprefix(folder)
    if not cov._inited_for_start:
        cov._inited_for_start = True
        with _no_call_stack():
            cov._init_for_start()
        classifier = _classifier(cov)
        classifier.omit_match = _Omitted(classifier.omit_match, omits, shown)
    cov._post_init()


@contextlib.contextmanager
def _no_call_stack() -> Iterator[None]:
    """Have no collector note where it is made, which only debugging coverage.py shows.

    Python reads the source of every function on the stack for that, and keeps it in memory.
    """
    if names.missing(needs.CALL_STACK):
        yield
        return
    module: Any = sys.modules["coverage.collector"]
    original = module.short_stack
    module.short_stack = lambda: ""
    try:
        yield
    finally:
        module.short_stack = original


def classify(cov: Coverage, filename: str, frame: FrameType) -> tuple[str, str] | None:
    """Where a measured source is read, and its name in data files; None: it is not measured.

    Args:
        cov: by whose rules.
        filename: as the code object has it.
        frame: that runs the code.
    """
    disposition = _classifier(cov).should_trace(filename, frame)
    if not disposition.trace or disposition.file_tracer is not None:
        return None
    source = disposition.source_filename
    return source, cov._file_mapper(source)


def measured_as(cov: Coverage, module: dict[str, Any]) -> tuple[str, str] | None:
    """Where the source of a module is read, and its name in data files; None: it is not measured.

    By coverage.py's own rules.

    Args:
        cov: by whose rules.
        module: its globals.
    """
    filename = module.get("__file__")
    if filename is None or str(filename).endswith(tuple(EXTENSION_SUFFIXES)):
        return None
    # Stands in for a frame of the module, whose globals are all that the rules look at.
    return classify(cov, str(filename), cast("FrameType", SimpleNamespace(f_globals=module)))


def core_name(cov: Coverage) -> str:
    """The name of the core that runs: ctrace, sysmon or pytrace."""
    if names.missing(needs.CORE_NAME) or (collector := getattr(cov, "_collector", None)) is None:
        return "unknown"
    known = {"CTracer": "ctrace", "SysMonitor": "sysmon", "PyTracer": "pytrace"}
    tracer = str(collector.tracer_name())
    return known.get(tracer, tracer)


def problem(cov: Coverage) -> str | None:
    """Try the loss-free flush on made-up lines; say what is not as expected, if anything is."""
    if why_not := names.why_without(needs.COLLECTOR):
        return why_not
    try:
        collector = collector_of(cov)
        sample: TraceData = {__file__: _sample(collector)}
        converted = convert(collector, sample)
        wanted: set[Any] = {(1, 2)} if collector.branch else {1, 2}
        if converted.numbers != {collector.cached_mapped_file(__file__): wanted}:
            return "coverage.py's flush did not write what it was given"
        if not all(isinstance(seen, set) for seen in collector.data.copy().values()):
            return "coverage.py's trace data is not made of sets"
        _ = collector.use_data, cov._data, collector.covdata._current_context
    except Exception as error:  # noqa: BLE001  whatever it is, it is the answer
        return f"{type(error).__name__}: {error}"
    return None


def _sample(collector: Any) -> set[Any]:
    """Trace data for lines 1 and 2, as this collector's tracers record it."""
    if not collector.branch:
        return {1, 2}
    if collector.core.packed_arcs:
        return {1 | 2 << 28}
    return {(1, 2)}


def data_file(cov: Coverage) -> Path:
    """The data file as configured, settled when the Coverage started if it has."""
    data = getattr(cov, "_data", None)
    configured = str(cov.get_option("run:data_file"))
    return Path(data.base_filename() if data is not None else configured).absolute()


def use_data(cov: Coverage, data: CoverageData) -> None:
    """Make a Coverage record into this data from now on."""
    cov._data = data
    collector = collector_of(cov)
    if collector is not None:
        collector.use_data(data, cov.get_option("run:context"))


def give_data(cov: Coverage, data: CoverageData, *, instead_of: CoverageData | None) -> None:
    """Have coverage.py's reporters find this data in a Coverage that records nothing by itself."""
    if instead_of is not None:
        instead_of.close(force=True)
    if names.missing(needs.LENDING):
        return
    if instead_of is not None:
        cov._data_to_close.remove(instead_of)
    cov._data_to_close.append(data)
    cov._data = data


def already_saved(cov: Coverage) -> CoverageData | None:
    """What a Coverage has saved before we came, if anything."""
    return cov._data if cov._data else None


def hand_over(collector: Any, taken: TraceData) -> None:
    """Move what `peek` gave from the trace data to the Coverage's own data, losing nothing.

    If writing fails, everything is still in the trace data.
    """
    if taken:
        _write(collector, taken, collector.covdata)
        take_away(collector, taken)


def add(to: TraceData, more: TraceData) -> None:
    """Have in one what is in another."""
    for name, seen in more.items():
        to.setdefault(name, set()).update(seen)


def without(seen: TraceData, but: TraceData) -> TraceData:
    """What is in one and not in another."""
    left = {name: numbers - but.get(name, set()) for name, numbers in seen.items()}
    return {name: numbers for name, numbers in left.items() if numbers}


def take(collector: Any) -> TraceData:
    """Take what has been seen so far out of the trace data, losing nothing."""
    taken = peek(collector)
    take_away(collector, taken)
    return taken


def take_away(collector: Any, taken: TraceData) -> None:
    """Take what `peek` gave out of the trace data."""
    for name, seen in taken.items():
        collector.data[name].difference_update(seen)


def peek(collector: Any) -> TraceData:
    """Copy what has been seen so far."""
    copied = {name: seen.copy() for name, seen in collector.data.copy().items()}
    return {name: seen for name, seen in copied.items() if seen}


class _Caught:
    """Stands in for the clone's data, and takes what coverage.py would write."""

    def __init__(self) -> None:
        self.found = Converted(False, {}, {})

    def add_lines(self, lines: Mapping[str, Iterable[int]]) -> None:
        self.found = self.found._replace(numbers={name: {*seen} for name, seen in lines.items()})

    def add_arcs(self, arcs: Mapping[str, Iterable[tuple[int, int]]]) -> None:
        numbers = {name: {*seen} for name, seen in arcs.items()}  # coverage.py empties its own
        self.found = self.found._replace(has_arcs=True, numbers=numbers)

    def add_file_tracers(self, tracers: Mapping[str, str]) -> None:
        self.found = self.found._replace(tracers=dict(tracers))


def convert(collector: Any, seen: TraceData) -> Converted:
    """What the trace data held, as coverage.py would write it; by its own code."""
    caught = _Caught()
    _flush_clone(collector, seen, caught)
    return caught.found


def _flush_clone(collector: Any, seen: TraceData, data: Any) -> None:
    clone = copy.copy(collector)
    clone.__dict__.pop("flush_data", None)
    clone.data = {name: lines.copy() for name, lines in seen.items()}  # flush_data empties them
    clone.tracers = [_AlwaysActive()]
    clone.covdata = data
    clone.data_lock = None
    # A functools.cache keyed by self: the clone's own would keep every clone alive.
    clone.cached_mapped_file = collector.cached_mapped_file
    type(collector).flush_data(clone)


def _write(collector: Any, seen: TraceData, data: CoverageData) -> None:
    # coverage.py writes without a journal: 24 of 24 disks that ran full left a malformed file.
    data._start_using()
    with data._connect() as connection:
        if not names.missing(needs.JOURNAL):
            connection.execute_void("pragma journal_mode=memory")
        _flush_clone(collector, seen, data)


def context_of(collector: Any) -> str | None:
    """The context of what is seen now; None: there is none."""
    context: str | None = collector.covdata._current_context
    return context


def watch_sources(cov: Coverage, saw: Callable[[str], None]) -> None:
    """Call `saw` with each measured source once, when its first code runs; now, if it has."""
    collector = collector_of(cov)
    for disposition in list(collector.should_trace_cache.values()):
        if disposition is not None and disposition.trace:
            saw(disposition.source_filename)
    should_trace = collector.should_trace

    def watching(filename: str, frame: Any) -> Any:
        disposition = should_trace(filename, frame)
        if disposition.trace and disposition.source_filename:
            saw(disposition.source_filename)
        return disposition

    collector.should_trace = watching
    for tracer in collector.tracers:
        tracer.should_trace = watching


def watch_context_switches(collector: Any, switched: Callable[[], None]) -> None:
    """Call `switched` when the application has switched to a dynamic context."""
    switch_context = collector.switch_context

    def watching(new_context: str | None) -> Any:
        old = switch_context(new_context)  # flushes what ran before
        switched()
        return old

    collector.switch_context = watching


def replace_flush(collector: Any, flush_data: Callable[[], bool]) -> None:
    """Have coverage.py's own save(), get_data() and switch_context() flush through us."""
    collector.flush_data = flush_data


def restart_events(collector: Any) -> None:
    """Under sysmon, let every line be reported again; elsewhere that is always so.

    A callback that is on its way while events restart still ends by switching its line off. So wait
    until those have ended, and restart once more: none of them runs after that.
    """
    if collector.core.systrace:
        return
    for tracer in () if names.missing(needs.SYSMON_RESETS) else collector.tracers:
        # Else the first line of the next frame makes an arc from a line of an old one.
        for info in list(tracer.code_infos.values()):
            info.last_line = None
    restart_all_events()
    deadline = time.monotonic() + CALLBACK_TIMEOUT
    waited = False
    while _callbacks_on_their_way(collector) and time.monotonic() < deadline:
        waited = True
        time.sleep(0.0005)
    if waited:
        restart_all_events()


def restart_all_events() -> None:
    """Have sys.monitoring report again what a tool switched off."""
    monitoring: Any = getattr(sys, "monitoring", None)  # Python 3.12 and later
    if monitoring is not None:
        monitoring.restart_events()


def _callbacks_on_their_way(collector: Any) -> bool:
    filename = sys.modules[type(collector.tracers[0]).__module__].__file__
    me = threading.get_ident()
    for ident, frame in sys._current_frames().items():
        at: Any = frame
        while ident != me and at is not None:
            if at.f_code.co_filename == filename:
                return True
            at = at.f_back
    return False


def traces_this_thread(collector: Any) -> bool | None:
    """Tell whether the core's own trace function is this thread's; None: it needs none."""
    if not collector.core.systrace:
        return None
    found = sys.gettrace()
    if found is getattr(collector, INSTALLS, found) and hasattr(collector, INSTALLS):
        return None  # at its next event
    return any(
        found is each or getattr(found, "__self__", None) is each for each in collector.tracers
    )


def traces_new_threads(collector: Any) -> bool:
    """False where another trace function was set for new threads."""
    threads = collector.threading
    return not threads or threads.gettrace() == collector._installation_trace


def pause(collector: Any) -> None:
    """Take the tracers out of every thread; sysmon's stay, because they cost nothing.

    ctrace's take themselves out of a thread at its next event. Under sysmon every line is reported
    once at most until `resume`, which forgets it.
    """
    if collector.core.systrace:
        for tracer in collector.tracers:
            tracer.stop()
        if collector.threading:
            collector.threading.settrace(None)


def resume(collector: Any, trace_everywhere: Callable[[Callable[..., Any]], None]) -> None:
    """Measure again in every thread, and forget what was seen during the pause.

    Args:
        collector: of the Coverage.
        trace_everywhere: has each thread call a trace function with its next event.
    """
    take(collector)
    if not collector.core.systrace:
        restart_events(collector)
        return
    old, collector.tracers = collector.tracers, []  # each thread gets a new one
    if collector.threading:
        collector.threading.settrace(collector._installation_trace)

    def install(frame: FrameType, event: str, arg: Any) -> Any:
        return _install(collector, frame, event, arg)

    setattr(collector, INSTALLS, install)
    _let_go_of_frames(old, None if collector.branch else install)
    trace_everywhere(install)


def _let_go_of_frames(tracers: list[Any], instead: Callable[..., Any] | None) -> None:
    """Take ctrace's tracers off all running frames: from there an old one would replace the new."""
    for frame in sys._current_frames().values():
        at: FrameType | None = frame
        while at is not None:
            if any(at.f_trace is tracer for tracer in tracers):
                at.f_trace = instead
            at = at.f_back


def _install(collector: Any, frame: FrameType, event: str, arg: Any) -> Any:
    """In a thread that has no tracer: give it one, which knows the frames that run already."""
    sys.settrace(None)
    trace = collector._start_tracer()
    if not collector.branch:  # of a frame it has not seen begin, it would note a wrong arc
        running = []
        at = frame.f_back if event == "call" else frame
        while at is not None:
            running.append(at)
            at = at.f_back
        for each in reversed(running):
            trace(each, "call", None)
    return trace(frame, event, arg)


def after_fork(collector: Any) -> None:
    """In a child: replace the locks that a thread of the parent may have held."""
    if collector.data_lock is not None:
        collector.data_lock = threading.Lock()
    for tracer in collector.tracers:
        if hasattr(tracer, "lock"):  # sysmon's have one
            tracer.lock = threading.Lock()


def finds_never_run(cov: Coverage) -> bool:
    """Tell whether there is anything of which files that never ran are to be found.

    Raises:
        CoverageChangedError: there is, and that cannot be done with this coverage.py.
    """
    if any(cov.get_option(f"run:{option}") for option in ("source", "source_pkgs", "source_dirs")):
        names.require(needs.NEVER_RUN)
        return True
    return not names.missing(needs.NEVER_RUN)


def source_packages(cov: Coverage) -> Iterable[str]:
    """The packages and modules of `source`, with dots."""
    found: Iterable[str] = _classifier(cov).source_pkgs
    return found


def could_run(cov: Coverage, place: str | None) -> Iterable[tuple[str, str | None]]:
    """Files of `source` that could have run, each with its plugin.

    Args:
        cov: by whose `source` and `omit`.
        place: a package's folder, or a module's file; None: those that coverage.py knows of, the
            folders and the packages that this process has imported.
    """
    classifier = _classifier(cov)
    found: Iterable[tuple[str, str | None]]
    if place is None:
        found = classifier.find_possibly_unexecuted_files()
    elif place.endswith(".py"):
        is_omitted = classifier.omit_match and classifier.omit_match.match(place)
        found = [] if is_omitted else [(place, None)]
    else:
        found = classifier._find_executable_files(place)
    return found


def name_of(cov: Coverage, path: str) -> str:
    """The name of a source in data files."""
    return cov._file_mapper(path)


def end_for_good(cov: Coverage) -> list[tuple[str, str, set[int]]]:
    """Stop a Coverage that COVERAGE_PROCESS_START made; it saves nothing at its end then.

    Returns:
        What it has seen and saved nowhere: each source, its name in data files, and its lines.
    """
    disabled: Any = cov.get_option("run:disable_warnings") or []
    cov.set_option("run:disable_warnings", [*disabled, "trace-changed"])
    collector = collector_of(cov)
    cov.stop()
    cov._auto_save = False
    seen = take(collector)
    found = convert(collector, seen)
    lines = {
        name: {end for arc in numbers for end in arc if end > 0} if found.has_arcs else numbers
        for name, numbers in found.numbers.items()
    }
    named = {source: collector.cached_mapped_file(source) for source in seen}
    return [(source, name, lines[name]) for source, name in named.items()]


def is_process_start(cov: Coverage) -> bool:
    """Tell whether COVERAGE_PROCESS_START made this Coverage."""
    if names.missing(needs.EARLIER):
        return False
    from coverage import process_startup

    return getattr(process_startup, "coverage", None) is cov


def name_in_data(collector: Any, filename: str) -> str:
    """The name of a source in data files, by the collector that measures it."""
    return str(collector.cached_mapped_file(filename))


def traces_by_function(collector: Any) -> bool:
    """Tell whether the core measures by trace functions, which threads may lose."""
    return bool(collector.core.systrace)


def code_of_tracers(cov: Coverage) -> list[CodeType]:
    """The code objects that the tracers keep; only sysmon's do."""
    if names.missing(needs.SYSMON_CODE):
        return []
    tracers = getattr(getattr(cov, "_collector", None), "tracers", ())
    return [code for tracer in tracers for code in list(getattr(tracer, "code_objects", ()))]
