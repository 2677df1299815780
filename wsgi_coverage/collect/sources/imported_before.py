"""Find modules of the application that ran before measuring began, and so were not measured.

Concurrency: only reads; works on copies of what other threads may change.
"""

from __future__ import annotations

import ast
import dis
import functools
import importlib.util
import inspect
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from types import CodeType, FrameType, ModuleType
from typing import Any, NamedTuple

from coverage import Coverage

from wsgi_coverage.compat import measurement
from wsgi_coverage.data.imported import EarlyModule, Unseen
from wsgi_coverage.system import workdir

OURS = ("wsgi_coverage", "flask_coverage")  # always imported before measuring begins
PYTHON: tuple[int, ...] = sys.version_info[:2]
CACHE = 0  # opcode of an inline cache, which changes when the instruction before it runs
GLOBALS: Any = vars(ModuleType)["__dict__"]
LAZY: Any = getattr(importlib.util, "_LazyModule", None)  # the class of LazyLoader's modules
COMPOUND = (ast.If, ast.For, ast.While, ast.With, ast.Try, ast.TryStar, ast.Match)


class BegunImport(NamedTuple):
    """A module whose import had begun and not ended when measuring began."""

    line: int  # the line that was running
    defines: bool  # whether it defines functions or classes
    functions: frozenset[int] = frozenset()  # first lines of functions that may have run by then


@dataclass(frozen=True, slots=True)
class Before:
    """The modules that were imported, or being imported, when measuring began, by name."""

    modules: frozenset[str] = frozenset()
    begun: frozenset[tuple[str, BegunImport]] = frozenset()

    def without_lazy(self) -> Before:
        """Return a copy without modules of importlib's LazyLoader that have not been loaded yet."""
        loaded = (each for each in self.modules if type(sys.modules.get(each)) is not LAZY)
        return replace(self, modules=frozenset(loaded))


def modules_now() -> Before:
    """Return the modules that are imported now; to be called right before measuring begins.

    Without any module if a Coverage runs already: what was imported before it is unknown.
    """
    if Coverage.current() is not None:
        return Before()
    running = dict(_running())
    program = sys.modules.get("__main__")
    unbegun = None if hasattr(program, "__file__") else program  # while Python starts
    # More than one name may lead to a module: __main__ is __mp_main__ too.
    modules = [
        (name, id(globals_of(module)))
        for name, module in list(sys.modules.items())
        if module is not unbegun
    ]
    return Before(
        frozenset(name for name, names in modules if names not in running),
        frozenset((name, running[names]) for name, names in modules if names in running),
    )


def globals_of(module: object) -> dict[str, Any]:
    """Return a module's namespace without any attribute access that would load a lazy module.

    Empty for an object without one, which an application may put in the place of a module.
    """
    if issubclass(type(module), ModuleType):
        names: dict[str, Any] = GLOBALS.__get__(module)
        return names
    try:
        found = object.__getattribute__(module, "__dict__")
    except Exception:  # noqa: BLE001  it is the application's
        return {}
    return found if type(found) is dict else {}


def _running() -> Iterator[tuple[int, BegunImport]]:
    """Yield each module whose code runs now, in any thread, with the id of its globals."""
    for frame in sys._current_frames().values():  # noqa: SLF001  the only way to them
        at: FrameType | None = frame
        while at is not None:
            code = at.f_code
            if code.co_name == "<module>":
                defines = any(_is_definition(each) for each in code.co_consts)
                line = at.f_lineno or 0
                functions = frozenset(each for each in _may_have_run(code) if each < line)
                yield id(at.f_globals), BegunImport(line, defines, functions)
            at = at.f_back


def _is_definition(constant: object) -> bool:
    """Tell a function or a class from a comprehension or a lambda."""
    return isinstance(constant, CodeType) and not constant.co_name.startswith("<")


def _may_have_run(code: CodeType) -> Iterator[int]:
    """Yield the first lines of functions in a code object that have run, or may have."""
    for each in code.co_consts:
        if isinstance(each, CodeType):
            is_function = each.co_flags & inspect.CO_OPTIMIZED and _is_definition(each)
            if is_function and not _has_never_run(each):
                yield each.co_firstlineno
            yield from _may_have_run(each)


def _has_never_run(code: CodeType) -> bool:
    """Tell whether it is certain that a function has never run.

    CPython specializes instructions when they have run a few times, and counts in the inline caches
    behind them: since 3.13 at the start of each function, in 3.12 at instructions with a cache.
    """
    now = getattr(code, "_co_code_adaptive", None)
    if now is None or PYTHON < (3, 12) or "t" in getattr(sys, "abiflags", ""):
        return False  # not for 8 runs, or in a copy that each thread has
    if now != getattr(code.replace(), "_co_code_adaptive", None):
        return False
    if PYTHON >= (3, 13):
        return True
    for instruction, following in pairwise(code.co_code[::2]):
        if following == CACHE:
            return True
        if instruction in dis.hasjrel:
            break  # it may have gone another way
    return False


def noted(before: Before, *, sees_running: bool) -> frozenset[EarlyModule]:
    """Return the modules with a file, except this project's, measured or not.

    Each process that reads them filters by its own `source`.

    Args:
        before: the modules that were imported when measuring began.
        sees_running: whether the engine measures the rest of a module that runs already.
    """
    begun = dict(before.begun)
    found: dict[int, EarlyModule] = {}
    for each in sorted({*before.modules, *begun}):
        module = sys.modules.get(each)
        names = globals_of(module)
        file, name = names.get("__file__"), each
        if each == "__main__":  # coverage.py takes `python -m` by that name
            name = getattr(names.get("__spec__"), "name", None) or each
        if not isinstance(file, str) or name.partition(".")[0] in OURS or id(module) in found:
            continue
        at = begun.get(each)
        unseen = Unseen(True, None) if at is None else Unseen(False, at.line, at.functions)
        if not sees_running:
            unseen = unseen._replace(line=None)
        file = workdir.here(file)
        found[id(module)] = EarlyModule(str(name), file, unseen, at is None or at.defines)
    return frozenset(found.values())


@functools.lru_cache(maxsize=4)  # they do not change; 1,000 modules take 90 ms
def measured(
    cov: Coverage, modules: frozenset[EarlyModule]
) -> Mapping[EarlyModule, tuple[str, str]]:
    """Return the modules that a Coverage measures, each with its path and name in data files."""
    found = {}
    for each in sorted(modules, key=lambda each: each[:2]):
        names = {"__name__": each.name, "__file__": each.file}
        source = measurement.measured_as(cov, names)
        if source is not None and os.path.isfile(source[0]):  # noqa: PTH113  thousands of them
            found[each] = source
    return found


def ran_above(content: bytes, line: int) -> set[int]:
    """Return the first lines of top-level statements that have run when a module is at a line.

    Of statements inside of compound ones only those of classes are known to have run.

    Args:
        content: the module's source.
        line: the line that it has reached.
    """
    try:
        return {each for each in _straight(ast.parse(content).body, line) if each < line}
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return set()


def _straight(body: list[Any], line: int) -> Iterator[int]:
    for each in body:
        is_over = each.end_lineno < line
        if is_over or (isinstance(each, COMPOUND) and each.lineno < line):
            yield each.lineno
        if not is_over:
            return
        yield from (decorator.lineno for decorator in getattr(each, "decorator_list", ()))
        if isinstance(each, ast.ClassDef):
            yield from _straight(each.body, line)
