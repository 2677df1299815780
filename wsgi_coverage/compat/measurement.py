"""A Coverage that measures: its rules, its collector, its data.

The documented API is not enough: coverage.py's own flush copies the trace data, writes them, and
then clears them, so lines that run during the write are lost; under sysmon, which reports a line
once, they are lost for ever. Here coverage.py's own ``flush_data`` runs on a shallow clone of the
collector that owns copies, and then exactly what was copied is removed from the trace data.

``problem()`` tries all of it on made-up lines first. If that fails, the engine uses the documented
API, and /health says so.

Concurrency: every function that changes the trace data is called under the engine's lock. The
measured threads add to them meanwhile; ``set.copy`` and ``set.difference_update`` are atomic under
the GIL.
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
CALLBACK_TIMEOUT = 0.5  # seconds to wait for callbacks that were running during a reset

TraceData = dict[str, set[Any]]  # coverage.py's: lines or arcs by file, to which the tracers add


class Converted(NamedTuple):
    """Trace data, converted to what coverage.py would write to a data file."""

    has_arcs: bool
    numbers: Mapping[str, set[Any]]  # by name in data files: lines, or pairs of lines
    tracers: Mapping[str, str]  # names of file tracer plugins, by names of files


class WarningCoverage(Coverage):
    """A Coverage that calls `warned` instead of issuing Python warnings."""

    def warned(self, message: str, slug: str | None) -> None:
        """Handle a warning of coverage.py.

        Args:
            message: the warning.
            slug: its name for `disable_warnings`.
        """
        raise NotImplementedError

    def _warn(self, msg: str, slug: str | None = None, once: bool = False) -> None:  # noqa: ARG002
        self.warned(msg, slug)


class _AlwaysActive:
    """Stands in for the clone's tracers, and always reports activity.

    sysmon sets its activity flag only when a function starts, so coverage.py would not save a new
    line of a function that started before the last flush.
    """

    def activity(self) -> bool:
        return True

    def reset_activity(self) -> None:
        pass


def collector_of(cov: Coverage) -> Any:
    """Return the collector of a started Coverage."""
    return cov._collector


def _classifier(cov: Coverage) -> Any:
    return cov._inorout


class _Omitted:
    """Stands in for coverage.py's matcher of `omit`, and matches more files.

    Args:
        theirs: coverage.py's own matcher; None: `omit` is not set.
        omits: tells whether a file, given by its full name, is omitted, too.
        shown: patterns that describe what `omits` matches.
    """

    def __init__(self, theirs: Any, omits: Callable[[str], bool], shown: Sequence[str]) -> None:
        self._theirs = theirs
        self._omits = omits
        self._shown = shown

    def match(self, path: str) -> bool:
        return self._omits(path) or (self._theirs is not None and bool(self._theirs.match(path)))

    def info(self) -> list[str]:
        """Return the patterns, for `coverage debug sys` and Coverage.sys_info()."""
        return [*self._shown, *(self._theirs.info() if self._theirs is not None else ())]


def prepare(cov: Coverage, folder: str, omits: Callable[[str], bool], shown: Sequence[str]) -> None:
    """Set up a Coverage's rules of what is measured, as its start would do, without starting it.

    Args:
        cov: a Coverage that is not started.
        folder: the folder of relative names, with a separator at its end.
        omits: tells whether a file, given by its full name, is omitted although `omit` does not
            match.
        shown: patterns that describe what `omits` matches.

    Raises:
        CoverageChangedError: this coverage.py has not the internals that it takes.
    """
    names.require(needs.RULES)
    cov._init()
    if cov.get_option("run:relative_files"):  # its folder is a global that any Coverage changes
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
    """Keep coverage.py from recording the call stack of a new collector, a debugging aid.

    For that, Python would read the source of every function on the stack, and keep it in memory.
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
    """Return path, and name in data files, of a measured source; None: it is not measured.

    Args:
        cov: the Coverage with the rules.
        filename: the file name in the code object.
        frame: a frame that runs the code.
    """
    disposition = _classifier(cov).should_trace(filename, frame)
    if not disposition.trace or disposition.file_tracer is not None:
        return None
    source = disposition.source_filename
    return source, cov._file_mapper(source)


def measured_as(cov: Coverage, module: dict[str, Any]) -> tuple[str, str] | None:
    """Return path, and name in data files, of a module's source; None: it is not measured.

    Args:
        cov: the Coverage with the rules.
        module: the module's globals.
    """
    filename = module.get("__file__")
    if filename is None or str(filename).endswith(tuple(EXTENSION_SUFFIXES)):
        return None
    # Stands in for a frame of the module: the rules use its globals only.
    return classify(cov, str(filename), cast("FrameType", SimpleNamespace(f_globals=module)))


def core_name(cov: Coverage) -> str:
    """Return the name of the core that runs: ctrace, sysmon, pytrace, or unknown."""
    if names.missing(needs.CORE_NAME) or (collector := getattr(cov, "_collector", None)) is None:
        return "unknown"
    known = {"CTracer": "ctrace", "SysMonitor": "sysmon", "PyTracer": "pytrace"}
    tracer = str(collector.tracer_name())
    return known.get(tracer, tracer)


def problem(cov: Coverage) -> str | None:
    """Try the loss-free flush on made-up lines; return what is not as expected; None: all is."""
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
    """Return the trace data of lines 1 and 2, as this collector's tracers record them."""
    if not collector.branch:
        return {1, 2}
    if collector.core.packed_arcs:
        return {1 | 2 << 28}
    return {(1, 2)}


def data_file(cov: Coverage) -> Path:
    """Return the absolute path of the data file, as at the Coverage's start if it has started."""
    data = getattr(cov, "_data", None)
    configured = str(cov.get_option("run:data_file"))
    return Path(data.base_filename() if data is not None else configured).absolute()


def use_data(cov: Coverage, data: CoverageData) -> None:
    """Have a Coverage record into a CoverageData from now on."""
    cov._data = data
    collector = collector_of(cov)
    if collector is not None:
        collector.use_data(data, cov.get_option("run:context"))


def give_data(cov: Coverage, data: CoverageData, *, instead_of: CoverageData | None) -> None:
    """Give a Coverage that does not trace a CoverageData for its reporters; close the old one."""
    if instead_of is not None:
        instead_of.close(force=True)
    if names.missing(needs.ANSWERING):
        return
    if instead_of is not None:
        cov._data_to_close.remove(instead_of)
    cov._data_to_close.append(data)
    cov._data = data


def already_saved(cov: Coverage) -> CoverageData | None:
    """Return the data that a Coverage has saved before it was adopted; None: none."""
    return cov._data if cov._data else None


def hand_over(collector: Any, taken: TraceData) -> None:
    """Move what `peek` returned from the trace data to the Coverage's own data.

    If writing fails, everything is still in the trace data.
    """
    if taken:
        _write(collector, taken, collector.covdata)
        take_away(collector, taken)


def add(to: TraceData, more: TraceData) -> None:
    """Add trace data to others, in place."""
    for name, seen in more.items():
        to.setdefault(name, set()).update(seen)


def without(seen: TraceData, but: TraceData) -> TraceData:
    """Return the trace data that are not in others."""
    left = {name: numbers - but.get(name, set()) for name, numbers in seen.items()}
    return {name: numbers for name, numbers in left.items() if numbers}


def take(collector: Any) -> TraceData:
    """Remove what has been seen up to now from the trace data, and return it."""
    taken = peek(collector)
    take_away(collector, taken)
    return taken


def take_away(collector: Any, taken: TraceData) -> None:
    """Remove what `peek` returned from the trace data."""
    for name, seen in taken.items():
        collector.data[name].difference_update(seen)


def peek(collector: Any) -> TraceData:
    """Return a copy of the trace data up to now."""
    copied = {name: seen.copy() for name, seen in collector.data.copy().items()}
    return {name: seen for name, seen in copied.items() if seen}


class _Caught:
    """Stands in for the clone's CoverageData, and records what coverage.py would write."""

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
    """Convert trace data by coverage.py's own code to what it would write to a data file."""
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
    # A functools.cache whose key is self: with the clone's own, every clone would stay in memory.
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
    """Return the current context; None: there is none."""
    context: str | None = collector.covdata._current_context
    return context


def watch_sources(cov: Coverage, saw: Callable[[str], None]) -> None:
    """Call `saw` with each measured source when its first code runs; at once if it has run."""
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
    """Under sysmon, enable the events of all lines again; other cores report every run of a line.

    A callback that runs while events restart disables its line at its end. So this waits until such
    callbacks have ended, and restarts events once more.
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
    """Enable all events of sys.monitoring again that tools have disabled."""
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
    """Tell whether this thread has the core's trace function; None: it needs none, or gets it."""
    if not collector.core.systrace:
        return None
    found = sys.gettrace()
    if found is getattr(collector, INSTALLS, found) and hasattr(collector, INSTALLS):
        return None  # at its next event
    return any(
        found is each or getattr(found, "__self__", None) is each for each in collector.tracers
    )


def traces_new_threads(collector: Any) -> bool:
    """Tell whether new threads get the core's trace function, and not one that was set instead."""
    threads = collector.threading
    return not threads or threads.gettrace() == collector._installation_trace


def pause(collector: Any) -> None:
    """Stop the tracers in every thread; under sysmon, do nothing, because it costs nothing.

    ctrace's tracers uninstall themselves at a thread's next event. sysmon reports each line at most
    once until `resume`, which drops it.
    """
    if collector.core.systrace:
        for tracer in collector.tracers:
            tracer.stop()
        if collector.threading:
            collector.threading.settrace(None)


def resume(collector: Any, trace_everywhere: Callable[[Callable[..., Any]], None]) -> None:
    """Measure again in every thread, and drop what was seen during the pause.

    Args:
        collector: the collector of the Coverage.
        trace_everywhere: has each thread call a trace function at its next event.
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
    """Remove old tracers of ctrace from running frames, where they would replace the new ones."""
    for frame in sys._current_frames().values():
        at: FrameType | None = frame
        while at is not None:
            if any(at.f_trace is tracer for tracer in tracers):
                at.f_trace = instead
            at = at.f_back


def _install(collector: Any, frame: FrameType, event: str, arg: Any) -> Any:
    """Start a tracer in a thread that has none, and report the running frames to it."""
    sys.settrace(None)
    trace = collector._start_tracer()
    if not collector.branch:  # it would record a wrong arc in a frame that runs already
        running = []
        at = frame.f_back if event == "call" else frame
        while at is not None:
            running.append(at)
            at = at.f_back
        for each in reversed(running):
            trace(each, "call", None)
    return trace(frame, event, arg)


def after_fork(collector: Any) -> None:
    """Replace, in a forked child, the locks that a thread of the parent may have held."""
    if collector.data_lock is not None:
        collector.data_lock = threading.Lock()
    for tracer in collector.tracers:
        if hasattr(tracer, "lock"):  # sysmon's have one
            tracer.lock = threading.Lock()


def finds_never_run(cov: Coverage) -> bool:
    """Tell whether files that never ran can be found.

    Raises:
        CoverageChangedError: they cannot with this coverage.py, and `source` is set.
    """
    if any(cov.get_option(f"run:{option}") for option in ("source", "source_pkgs", "source_dirs")):
        names.require(needs.NEVER_RUN)
        return True
    return not names.missing(needs.NEVER_RUN)


def source_packages(cov: Coverage) -> Iterable[str]:
    """Return the dotted names of the packages and modules of `source`."""
    found: Iterable[str] = _classifier(cov).source_pkgs
    return found


def could_run(cov: Coverage, place: str | None) -> Iterable[tuple[str, str | None]]:
    """Return the files of `source` that could have run, each with its plugin.

    Args:
        cov: the Coverage with the rules.
        place: a package's folder, or a module's file; None: the folders of `source`, and its
            packages that this process has imported.
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
    """Return the name of a source in data files."""
    return cov._file_mapper(path)


def end_for_good(cov: Coverage) -> list[tuple[str, str, set[int]]]:
    """Stop a Coverage that COVERAGE_PROCESS_START made, and keep it from saving at exit.

    Returns:
        What it has seen and not saved: each source, its name in data files, and its lines.
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
    """Return the name of a source in data files, as the collector maps it."""
    return str(collector.cached_mapped_file(filename))


def traces_by_function(collector: Any) -> bool:
    """Tell whether the core measures by trace functions, which threads may lose."""
    return bool(collector.core.systrace)


def code_of_tracers(cov: Coverage) -> list[CodeType]:
    """Return the code objects that sysmon's tracers hold; other tracers hold none."""
    if names.missing(needs.SYSMON_CODE):
        return []
    tracers = getattr(getattr(cov, "_collector", None), "tracers", ())
    return [code for tracer in tracers for code in list(getattr(tracer, "code_objects", ()))]
