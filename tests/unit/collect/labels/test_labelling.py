"""Which lines run for which labelled request, in one process."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import importlib.util
import random
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

import pytest

from wsgi_coverage.collect.labels import labelling
from wsgi_coverage.collect.labels.labelling import Labelled, Labelling, Ran

pytestmark = pytest.mark.skipif(sys.version_info < (3, 12), reason="needs sys.monitoring")

FUNCTIONS = 40
SUMS = "".join(
    f"def f{n}(times):\n    t = 0\n    for j in range(times):\n        t += j\n    return t\n\n"
    for n in range(FUNCTIONS)
)
MORE = """
import asyncio

def steps():
    try:
        yield 1
        yield 2
    finally:
        last = True

async def task(after):
    await after
    return 1

def waiting(entered, go_on):
    entered.set()
    go_on.wait(10)
    return 1

def recursive(depth, inner):
    if depth:
        return recursive(depth - 1, inner)
    inner()
    return 2
"""


@pytest.fixture
def app(tmp_path: Path) -> ModuleType:
    path = tmp_path / "labelled_app.py"
    path.write_text(SUMS + MORE)
    spec = importlib.util.spec_from_file_location("labelled_app", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def labels(app: ModuleType) -> Iterator[Labelling]:
    def codes() -> Iterator[CodeType]:
        return (each.__code__ for each in vars(app).values() if hasattr(each, "__code__"))

    lock = threading.RLock()
    made = Labelling(codes, lambda: lock)
    yield made
    monitoring: Any = sys.monitoring  # type: ignore[attr-defined,unused-ignore]
    for tool in made._tools:
        monitoring.free_tool_id(tool)


def run(labels: Labelling, labelled: Labelled, call: Callable[[], object]) -> None:
    token = labels.enter(labelled)
    try:
        call()
    finally:
        labels.leave(token)


def lines(ran: Ran) -> dict[str, set[int]]:
    """Lines by function, counted from its `def`."""
    return {code.co_name: {n - code.co_firstlineno for n in found} for code, found in ran.items()}


def test_a_label_has_what_runs_in_its_context_and_nothing_else(
    app: ModuleType, labels: Labelling
) -> None:
    one, two = labels.open("one"), labels.open("two")
    run(labels, one, lambda: app.f0(2))
    app.f1(2)
    run(labels, two, lambda: app.f2(0))

    assert lines(labels.close(one)) == {"f0": {1, 2, 3, 4}}
    assert lines(labels.close(two)) == {"f2": {1, 2, 4}}
    run(labels, two, lambda: app.f3(1))
    assert labels.close(two) == {}


@pytest.mark.parametrize("often", [1, 2, labelling.OFTEN])
def test_many_at_once_lose_nothing_and_have_nothing_of_others(
    app: ModuleType, labels: Labelling, monkeypatch: pytest.MonkeyPatch, often: int
) -> None:
    monkeypatch.setattr(labelling, "OFTEN", often)
    wrong: list[object] = []

    def work(seed: int) -> None:
        draw = random.Random(seed)
        for _ in range(60):
            chosen = draw.sample(range(FUNCTIONS), draw.randint(1, 6))
            labelled = labels.open(f"{seed}")
            for number in chosen:
                times = draw.choice((1, 3, 150))
                run(labels, labelled, lambda n=number, t=times: getattr(app, f"f{n}")(t))
            found = lines(labels.close(labelled))
            if found != {f"f{number}": {1, 2, 3, 4} for number in chosen}:
                wrong.append((chosen, found))
            app.f0(draw.choice((1, 200)))

    stream = labels.open("an open stream")
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(work, range(8)))
    finally:
        sys.setswitchinterval(before)

    assert not wrong
    run(labels, stream, lambda: app.f0(1))
    assert lines(labels.close(stream)) == {"f0": {1, 2, 3, 4}}


def test_a_line_that_runs_often_for_nobody_costs_nothing_until_somebody_calls_its_function(
    app: ModuleType, labels: Labelling
) -> None:
    stream = labels.open("an open stream")
    app.f0(50_000)
    counted = sum(labels._idle.values())
    app.f0(50_000)

    assert counted < 3 * labelling.OFTEN + 10
    assert sum(labels._idle.values()) <= counted + 3
    run(labels, stream, lambda: app.f0(2))
    assert lines(labels.close(stream)) == {"f0": {1, 2, 3, 4}}


def test_a_request_that_is_inside_a_function_has_its_later_lines(
    app: ModuleType, labels: Labelling, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(labelling, "OFTEN", 1)
    labelled, entered, go_on = labels.open("waits"), threading.Event(), threading.Event()
    thread = threading.Thread(
        target=run, args=(labels, labelled, lambda: app.waiting(entered, go_on))
    )
    thread.start()
    entered.wait(10)
    done = threading.Event()
    done.set()
    for _ in range(5):
        app.waiting(threading.Event(), done)
    go_on.set()
    thread.join()

    assert lines(labels.close(labelled)) == {"waiting": {1, 2, 3}}


def test_an_unlabelled_call_inside_a_labelled_one_of_the_same_function(
    app: ModuleType, labels: Labelling, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(labelling, "OFTEN", 1)
    labelled = labels.open("recursive")

    def inner() -> None:
        for _ in range(3):
            contextvars.Context().run(app.recursive, 2, int)

    run(labels, labelled, lambda: app.recursive(1, inner))

    assert lines(labels.close(labelled)) == {"recursive": {1, 2, 3, 4}}


def test_generators_and_tasks_run_for_who_started_them(
    app: ModuleType, labels: Labelling, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(labelling, "OFTEN", 1)
    labelled = labels.open("steps")
    generator = app.steps()
    run(labels, labelled, lambda: next(generator))
    for _ in range(5):
        list(app.steps())
    run(labels, labelled, generator.close)
    assert lines(labels.close(labelled)) == {"steps": {1, 2, 5}}

    async def serve() -> dict[str, Ran]:
        found: dict[str, Ran] = {}

        async def request(name: str, delay: float) -> None:
            mine = labels.open(name)
            token = labels.enter(mine)
            await asyncio.gather(app.task(asyncio.sleep(delay)), app.task(asyncio.sleep(0)))
            labels.leave(token)
            found[name] = labels.close(mine)

        await asyncio.gather(request("a", 0.01), request("b", 0.0), app.task(asyncio.sleep(0)))
        return found

    assert {name: lines(ran) for name, ran in asyncio.run(serve()).items()} == {
        "a": {"task": {1, 2}},
        "b": {"task": {1, 2}},
    }


def test_what_runs_after_a_cut_is_told_from_what_ran_before(
    app: ModuleType, labels: Labelling
) -> None:
    monitoring: Any = sys.monitoring  # type: ignore[attr-defined,unused-ignore]
    labelled = labels.open("one")
    run(labels, labelled, lambda: app.f0(200))
    run(labels, labelled, lambda: app.f1(1))

    [(cut, before)] = labels.cut()
    monitoring.restart_events()
    run(labels, labelled, lambda: app.f1(1))

    assert cut is labelled
    assert lines(before) == {"f0": {1, 2, 3, 4}, "f1": {1, 2, 3, 4}}
    assert lines(labels.close(labelled)) == {"f1": {1, 2, 3, 4}}


def test_without_two_tools_there_are_no_labels(labels: Labelling) -> None:
    monitoring: Any = sys.monitoring  # type: ignore[attr-defined,unused-ignore]
    taken = [each for each in range(6) if monitoring.get_tool(each) is None][:-1]
    for tool in taken:
        monitoring.use_tool_id(tool, "another")
    try:
        with pytest.raises(RuntimeError, match="taken"):
            labels.open("one")
    finally:
        for tool in taken:
            monitoring.free_tool_id(tool)


def test_code_that_is_freed_is_not_kept_by_labels(app: ModuleType, labels: Labelling) -> None:
    def define(number: int) -> Callable[[], object]:
        space: dict[str, Any] = {}
        exec(compile(f"def g():\n    return {number}\n", f"g{number}.py", "exec"), space)
        made: Callable[[], object] = space["g"]
        labels.add(made.__code__)
        return made

    stream = labels.open("an open stream")
    refs = []
    for number in range(50):
        made = define(number)
        made()
        if number % 2:
            run(labels, stream, made)
        refs.append(weakref.ref(made.__code__))
        del made
    labels.close(stream)
    gc.collect()

    assert [ref() for ref in refs] == [None] * 50


def test_a_forked_child_has_no_open_request(app: ModuleType, labels: Labelling) -> None:
    labelled = labels.open("parent")
    run(labels, labelled, lambda: app.f0(1))

    labels.after_fork()

    assert not labelled.is_open
    run(labels, labelled, lambda: app.f1(1))
    child = labels.open("child")
    run(labels, child, lambda: app.f0(1))
    assert lines(labels.close(child)) == {"f0": {1, 2, 3, 4}}


def test_a_request_that_cannot_be_opened_is_not_open(
    app: ModuleType, labels: Labelling, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(labels, "_arm", interrupted)
        with pytest.raises(KeyboardInterrupt):
            labels.open("one")

    assert not labels._open
