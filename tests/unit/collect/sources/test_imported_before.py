"""What of the application had run before measuring began."""

import importlib.util
import json
import sys
import threading
import types
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import coverage
import pytest

from wsgi_coverage.collect.engines import own_coverage
from wsgi_coverage.collect.sources.imported_before import (
    Before,
    BegunImport,
    measured,
    modules_now,
    noted,
    ran_above,
)
from wsgi_coverage.compat import measurement
from wsgi_coverage.data import imported
from wsgi_coverage.data.imported import EarlyModule, Unseen

SOURCE = '''\
"""What a module does."""
import os
from json import (
    dumps,
)

@staticmethod
def function(
    argument=1,
):
    return argument

class Shelf:
    size = 1

    @property
    def books(self):
        return 2

    if size:
        width = 3

if os:
    inner = 1
else:
    inner = 2
try:
    import nothing
except ImportError:
    nothing = None
with open(os.devnull) as file:
    content = 1
here = (
    1
)
below = 1
'''
CERTAIN = {1, 2, 3, 7, 8, 13, 14, 16, 17, 20, 23, 27, 31}


def test_what_stands_above_a_line_of_a_module_and_in_no_block_has_run() -> None:
    assert ran_above(SOURCE.encode(), 33) == CERTAIN
    assert ran_above(SOURCE.encode(), 36) == {*CERTAIN, 33}
    assert ran_above(SOURCE.encode(), 1) == set()


def test_of_the_block_that_a_module_is_in_its_head_has_run() -> None:
    assert ran_above(SOURCE.encode(), 26) == {each for each in CERTAIN if each < 26}
    assert ran_above(SOURCE.encode(), 24) == {each for each in CERTAIN if each < 24}


@pytest.mark.parametrize("source", ["def broken(:\n", "a\0b\n", "(" * 5000 + "\n"])
def test_of_a_source_that_cannot_be_parsed_nothing_is_taken_to_have_run(source: str) -> None:
    assert ran_above(source.encode(), 2) == set()


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> coverage.Coverage:
    """Measures two modules that are there, one of which has no file any more, and no other."""
    for name in ("shop_goods", "shop_gone"):
        module = types.ModuleType(name)
        module.__file__ = str(tmp_path / f"{name}.py")
        monkeypatch.setitem(sys.modules, name, module)
    (tmp_path / "shop_goods.py").write_text("price = 1\n")
    cov = coverage.Coverage(config_file=False, include=[f"{tmp_path}/*"])
    own_coverage.prepare(cov)
    return cov


def early(cov: coverage.Coverage, before: Before) -> Mapping[EarlyModule, tuple[str, str]]:
    return measured(cov, noted(before, sees_running=True))


@pytest.mark.parametrize("sees_running", [True, False])
def test_what_is_noted_of_a_module_that_has_begun_is_what_the_engine_sees(
    shop, tmp_path, sees_running
) -> None:
    begun = BegunImport(7, defines=True, functions=frozenset({2, 4}))

    found = noted(Before(begun=frozenset({("shop_goods", begun)})), sees_running=sees_running)

    unseen = Unseen(False, 7 if sees_running else None, frozenset({2, 4}))
    assert found == {EarlyModule("shop_goods", str(tmp_path / "shop_goods.py"), unseen)}
    assert imported.from_plain(json.loads(json.dumps(imported.as_plain(found)))) == found


def test_files_of_modules_that_were_imported_and_are_measured_are_early(shop, tmp_path) -> None:
    before = Before(frozenset({"shop_goods", "shop_gone", "os", "never_there"}))

    found = early(shop, before)

    assert {module.name: (path, module.unseen) for module, (path, _) in found.items()} == {
        "shop_goods": (str(tmp_path / "shop_goods.py"), Unseen(True, None))
    }


def test_a_library_of_c_beside_them_is_none(shop, tmp_path, monkeypatch) -> None:
    suffix = measurement.EXTENSION_SUFFIXES[0]
    (tmp_path / f"quick{suffix}").write_bytes(b"")
    module = types.ModuleType("quick")
    module.__file__ = str(tmp_path / f"quick{suffix}")
    monkeypatch.setitem(sys.modules, "quick", module)

    assert early(shop, Before(frozenset({"quick"}))) == {}


def test_a_module_that_runs_in_any_thread_has_begun(monkeypatch) -> None:
    module = types.ModuleType("loading")
    monkeypatch.setitem(sys.modules, "loading", module)
    monkeypatch.setattr(coverage.Coverage, "current", lambda: None)
    there, go_on = threading.Event(), threading.Event()
    vars(module).update(there=there, go_on=go_on)
    source = "def function(): pass\nthere.set()\ngo_on.wait()\n"
    code = compile(source, "loading.py", "exec")
    thread = threading.Thread(target=exec, args=(code, vars(module)))
    thread.start()
    try:
        assert there.wait(30)
        found = modules_now()
    finally:
        go_on.set()
        thread.join()

    begun = dict(found.begun)["loading"]
    assert begun[:2] in [(2, True), (3, True)]
    assert "loading" not in found.modules
    assert "loading" in modules_now().modules


def test_a_module_that_loads_itself_when_it_is_touched_is_not_touched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "heavy.py").write_text("raise ImportError('it was loaded')")
    (tmp_path / "light.py").write_text("")
    monkeypatch.setattr(coverage.Coverage, "current", lambda: None)
    for name in ("heavy", "light"):
        spec = importlib.util.spec_from_file_location(name, tmp_path / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        spec.loader = importlib.util.LazyLoader(spec.loader)
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, name, module)
        spec.loader.exec_module(module)

    there = modules_now()
    assert sys.modules["light"].__name__ == "light"  # touches it

    assert {"heavy", "light"} & there.without_lazy().modules == {"light"}
    cov = coverage.Coverage(config_file=False, include=[f"{tmp_path}/*"])
    own_coverage.prepare(cov)
    named = {name for _, name in early(cov, there).values()}
    assert named == {str(tmp_path / f"{name}.py") for name in ("heavy", "light")}  # from outside


def test_what_stands_in_a_modules_place_is_asked_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Asked:
        def __getattr__(self, name: str) -> object:
            raise AssertionError(name)

    monkeypatch.setitem(sys.modules, "asked", Asked())  # type: ignore[arg-type]
    monkeypatch.setattr(coverage.Coverage, "current", lambda: None)

    assert "asked" in modules_now().modules
    cov = coverage.Coverage(config_file=False)
    own_coverage.prepare(cov)
    assert early(cov, Before(frozenset({"asked"}))) == {}


RUNS_SOME = """\
def const(): return 1
def never(x): return x + 1
def ran(x): return x + 1
def decorator(function):
    function.ran = True
    return function
@decorator
def decorated(x):
    return x + 1
class Kind:
    y = [each for each in "ab"]
    def ran(self): return self.y
    def never(self):
        def inside(x): return x + 1
        return inside(self.y)
def outer(x):
    def inside(x): return x + 1
    def not_called(x): return x + 1
    return inside(x)
def branches(x):
    if x: return 1
    return x + 1
ran(1), Kind().ran(), outer(1)
found.append(modules_now())
def below(x): return x + 1
"""
MAY_HAVE_RUN = {3, 4, 12, 16, 17}


def test_of_a_module_that_has_begun_is_known_which_functions_have_run(monkeypatch) -> None:
    module = types.ModuleType("some")
    monkeypatch.setitem(sys.modules, "some", module)
    monkeypatch.setattr(coverage.Coverage, "current", lambda: None)
    found: list[Before] = []
    vars(module).update(modules_now=modules_now, found=found)

    exec(compile(RUNS_SOME, "some.py", "exec"), vars(module))

    begun = dict(found[0].begun)["some"]
    assert begun.line == 24
    if sys.version_info >= (3, 13):
        assert begun.functions == MAY_HAVE_RUN
    elif sys.version_info >= (3, 12):  # does not tell of a constant, nor of what a branch hides
        assert begun.functions == {*MAY_HAVE_RUN, 1, 20}
    else:
        assert begun.functions == {*MAY_HAVE_RUN, 1, 2, 7, 13, 14, 18, 20}


def test_where_a_coverage_runs_nothing_is_known_of_the_time_before_it(monkeypatch) -> None:
    monkeypatch.setattr(coverage.Coverage, "current", lambda: object())

    assert modules_now() == Before()


@pytest.mark.parametrize("has_begun", [False, True])
def test_a_program_counts_only_once_it_has_begun(
    monkeypatch: pytest.MonkeyPatch, *, has_begun: bool
) -> None:
    program = types.ModuleType("__main__")  # as it is while Python starts
    if has_begun:
        program.__file__ = "program.py"
    monkeypatch.setitem(sys.modules, "__main__", program)
    monkeypatch.setitem(sys.modules, "__mp_main__", program)  # where multiprocessing is imported
    monkeypatch.setattr(coverage.Coverage, "current", lambda: None)

    names = {"__main__", "__mp_main__"}
    assert names & modules_now().modules == (names if has_begun else set())


def test_what_was_imported_early_is_known_in_a_memory_that_is_made_anew(
    measure: Callable[..., dict[str, Any]],
) -> None:
    told = measure(
        """
        import shutil
        import app
        start_early()
        worker = forks.current()
        found = []
        for _ in range(2):
            found.append(sorted(Path(each.file).name for each in worker.memory.read().early))
            shutil.rmtree(worker.memory.folder)
            worker.engine.check_memory()
        tell(found=found, there=worker.memory.is_there)
        """,
        core=None,
    )

    assert told["there"]
    assert "app.py" in told["found"][0]
    assert told["found"][1] == told["found"][0]
