"""Writing a memory to its data file: what is in it belongs to the epoch that it is stamped with."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import scripts
from coverage import CoverageData

from wsgi_coverage.collect.saves import saving
from wsgi_coverage.data.phases import Phase
from wsgi_coverage.store.files import FilesStore
from wsgi_coverage.store.memory import Memory


@pytest.fixture
def memory(tmp_path: Path) -> Memory:
    folder = tmp_path / "memory"
    folder.mkdir()
    return Memory(folder)


@pytest.fixture
def store(tmp_path: Path) -> FilesStore:
    return FilesStore(tmp_path / ".coverage", fallback=tmp_path / "memory")


def mark(memory: Memory, line: int, *, epoch: int) -> None:
    place = memory.place("app.py", "v1", 100)
    memory.chunk(Phase.RUNTIME, epoch, place.chunk)[place.at + line] = 1


def saved(store: FilesStore) -> list[int]:
    found = set()
    for path in store.published():
        data = CoverageData(str(path))
        data.read()
        found.update(data.lines("app.py") or ())
    return sorted(found)


def save(memory: Memory, tmp_path: Path) -> None:
    saving.save(memory, tmp_path / ".coverage", None)


def test_what_is_marked_is_saved(memory: Memory, store: FilesStore, tmp_path: Path) -> None:
    mark(memory, 3, epoch=0)

    save(memory, tmp_path)

    assert saved(store) == [3]
    assert memory.read().checksum() == memory.saved_sum


def test_lines_of_two_epochs_are_not_saved_as_of_one(
    memory: Memory, store: FilesStore, tmp_path: Path
) -> None:
    mark(memory, 3, epoch=0)
    epoch = store.begin_epoch(collecting=True)
    store.announce(memory)
    mark(memory, 4, epoch=epoch)
    save(memory, tmp_path)
    while_collecting = saved(store)
    store.end_collecting()  # the memory has not heard of that
    save(memory, tmp_path)
    before_it_is_heard = saved(store)

    store.announce(memory)
    save(memory, tmp_path)

    assert while_collecting == before_it_is_heard == []
    assert saved(store) == [4]


def test_what_a_killed_collection_has_not_forgotten_is_saved(
    memory: Memory, store: FilesStore, tmp_path: Path
) -> None:
    mark(memory, 3, epoch=0)
    pid = os.fork()
    if not pid:
        store.begin_epoch(collecting=True)
        os._exit(0)
    os.waitpid(pid, 0)
    store.announce(memory)
    mark(memory, 4, epoch=store.epoch())

    save(memory, tmp_path)

    assert saved(store) == [3, 4]


def test_who_discards_a_memory_waits_for_who_writes_it_and_nobody_does_so_afterwards(
    memory: Memory, store: FilesStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark(memory, 3, epoch=0)
    begun, goes_on, discarded = threading.Event(), threading.Event(), threading.Event()
    write = saving._save

    def write_slowly(*args: Any) -> None:
        begun.set()
        goes_on.wait(60)
        assert not discarded.is_set()
        write(*args)

    def discard() -> None:
        saving.discard(memory.folder)
        discarded.set()

    monkeypatch.setattr(saving, "_save", write_slowly)
    threads = [threading.Thread(target=save, args=(memory, tmp_path))]
    threads[0].start()
    begun.wait(60)
    threads.append(threading.Thread(target=discard))
    threads[1].start()
    goes_on.set()
    for thread in threads:
        thread.join(60)
    mark(memory, 4, epoch=0)
    save(memory, tmp_path)

    assert discarded.is_set()
    assert saved(store) == [3]
    assert not memory.folder.exists()


def test_the_last_to_end_leaves_what_another_has_written_before_it_took_the_memory_away(
    measure: Callable[..., dict[str, Any]],
) -> None:
    told = measure(
        """
        from wsgi_coverage import liveness
        from wsgi_coverage.collect.saves import saving
        from wsgi_coverage.data.phases import Phase
        from wsgi_coverage.store.memory import Memory, plane_of
        start_early()
        worker = forks.current()
        memory, data_file = worker.memory, worker.engine.data_file
        of_another = Memory(memory.folder)  # which this process has nothing of in its own memory
        place = of_another.place("app.py", "v1", 100)
        plane = plane_of(Phase.RUNTIME, 0, flushed=True)
        of_another.chunk_of_plane(plane, place.chunk)[place.at + 3] = 1
        begun, waits = threading.Event(), threading.Event()

        def keep():  # as the process that outlives a worker does
            with saving.saving(of_another):
                begun.set()
                waits.wait(60)
                saving._save(of_another, data_file, None, None)
                of_another.remove(only_saved=True)

        keeper = threading.Thread(target=keep)
        keeper.start()
        begun.wait(60)
        with liveness.during(waits.set):
            worker.close()
        keeper.join()
        saved = {}
        for path in Path.cwd().glob(".coverage.*"):
            data = coverage.CoverageData(str(path))
            data.read()
            saved.update({name: data.lines(name) for name in data.measured_files()})
        tell(there=memory.is_there, saved=saved, problems=worker.problems)
        """,
        config="include = app.py\n",
    )

    assert not told["there"]
    assert told["saved"]["app.py"] == [3]
    assert told["problems"] == []


def test_a_memory_that_is_taken_away_as_its_last_process_leaves_has_the_files_that_never_ran(
    measure: Callable[..., dict[str, Any]], core: str, branch: bool
) -> None:
    told = measure(
        """
        import app
        from wsgi_coverage.collect.saves import autosave, saving
        from wsgi_coverage.store.memory import open_if_there
        Path("idle.py").write_text("x = 1\\n")
        start_early()
        worker = forks.current()
        app.first()
        worker.flush()
        close = worker.engine.close

        def close_and_lose():  # as the process that outlives a worker does once nobody is left
            is_last = close()
            memory = open_if_there(worker.memory.folder)
            autosave._save(memory, worker.engine.data_file, None, worker.data_file_writer.config)
            assert saving.take_away(memory)
            return is_last

        worker.engine.close = close_and_lose
        worker.close()
        left = {file: True for file, *_ in measured()}
        tell(left=left, problems=worker.problems)
        """,
        core=core,
        branch=branch,
    )

    assert {"app.py", "idle.py"} <= told["left"].keys()
    assert told["problems"] == []


KEPT = """
import socket
from wsgi_coverage.collect.saves import autosave, saving
from wsgi_coverage.data.phases import Phase
from wsgi_coverage.store.memory import Memory, plane_of
start_early()
worker = forks.current()
worker.configure(0)  # no autosave of its own
memory, data_file = worker.memory, worker.engine.data_file
memory.set_autosave_until(0.0)
place = memory.place("app.py", "v1", 100)
plane = plane_of(Phase.RUNTIME, 0, flushed=True)

def run(line):
    Memory(memory.folder).chunk_of_plane(plane, place.chunk)[place.at + line] = 1

def saved():
    found = set()
    for path in Path.cwd().glob(".coverage.*"):
        data = coverage.CoverageData(str(path))
        data.read()
        found.update(data.lines("app.py") or ())
    return sorted(found)

ours, theirs = socket.socketpair()
os.dup2(theirs.fileno(), 0)

waited = []
save = saving.save
def save_while_it_runs(*args):
    save(*args)
    waited.append(memory.autosave_until)
    if len(waited) < 3:
        run(len(waited) + 3)
saving.save = save_while_it_runs

def keep(**options):
    until = time.monotonic() + 60
    memory.set_autosave_until(until)
    autosave.run(memory.folder, data_file, None, os.getpid(), 0.01, until=until, **options)
"""


def test_what_runs_while_the_memory_is_written_is_written_next_without_a_request(
    measure: Callable[..., dict[str, Any]],
) -> None:
    told = measure(
        KEPT
        + """
run(3)
keep()
tell(times=len(waited), kept=[*map(bool, waited)], saved=saved(), left=memory.autosave_until)
""",
    )

    assert told["times"] >= 3  # lines of the script itself may be new, too
    assert set(told["kept"]) == {True}
    assert told["saved"] == [3, 4, 5]
    assert told["left"] == 0


def test_of_two_that_were_started_at_once_one_goes_on(
    measure: Callable[..., dict[str, Any]],
) -> None:
    told = measure(
        KEPT
        + """
run(3)
memory.set_autosave_until(time.monotonic() + 60)
autosave.run(memory.folder, data_file, None, os.getpid(), 0.01, until=time.monotonic() + 50)
tell(times=len(waited), left=memory.autosave_until)
""",
    )

    assert told["times"] == 0
    assert told["left"] > 0


def test_one_that_waits_again_gives_way_to_one_that_a_request_has_started(
    measure: Callable[..., dict[str, Any]],
) -> None:
    told = measure(
        KEPT
        + """
has_news, others = autosave._has_news, []
def started_meanwhile(memory):
    found = has_news(memory)
    if waited:  # the memory is read again, and a request sees that nobody waits
        others.append(time.monotonic() + 60)
        memory.set_autosave_until(others[-1])
    return found
autosave._has_news = started_meanwhile
run(3)
keep()
tell(times=len(waited), other=memory.autosave_until in others)
""",
    )

    assert told["times"] == 1
    assert told["other"]


def test_one_that_stays_waits_until_it_is_dismissed(measure: Callable[..., dict[str, Any]]) -> None:
    told = measure(
        KEPT
        + """
until_over, waits = autosave._Wait.until_over, []
def dismiss_then(self, meanwhile):
    waits.append(memory.autosave_until > time.monotonic())
    if len(waits) == 5:
        ours.shutdown(socket.SHUT_WR)
    return until_over(self, meanwhile)
autosave._Wait.until_over = dismiss_then
saving.save = save
keep(stays=True)
tell(waits=waits, left=memory.autosave_until, there=memory.is_there)
""",
        config="omit = script.py\n",  # its own lines, flushed at some moment, would be news
    )

    assert told["waits"] == [True] * 5
    assert told["left"] == 0
    assert told["there"]


@pytest.mark.skipif(sys.version_info < (3, 12), reason="each process has a thread")
def test_a_program_has_one_process_wait_for_all_autosaves_until_it_serves(
    measure: Callable[..., dict[str, Any]],
) -> None:
    told = measure(
        """
from wsgi_coverage.offload import child
begun, begin = [], child.begin
def begin_and_note(*args, **keywords):
    begun.append(begin(*args, **keywords))
    return begun[-1]
child.begin = begin_and_note
start_early()
worker = forks.current()
worker.configure(0.2)
before, waits = len(begun), set()
deadline = time.monotonic() + 30
while len(waits) < 5 and time.monotonic() < deadline:
    waits.add(worker.memory.autosave_until)
    time.sleep(0.02)
after = len(begun)
worker.begin_load()
while not begun[-1].is_done() and time.monotonic() < deadline:
    time.sleep(0.02)
left = worker.memory.autosave_until
tell(more=after - before, waits=len(waits), error=begun[-1].error, left=left)
""",
        core=None,
    )

    assert {name: told[name] for name in ("more", "waits", "error", "left")} == {
        "more": 0,
        "waits": 5,
        "error": None,
        "left": 0,
    }


def test_what_other_workers_run_while_the_memory_of_one_that_has_ended_is_written_is_written_next(
    measure: Callable[..., dict[str, Any]],
) -> None:
    told = measure(
        scripts.FORK
        + KEPT
        + """
gone = fork(lambda: None)
ended(gone)
ours.close()
run(3)
autosave.run(memory.folder, data_file, None, gone, 0.01)
tell(saved=saved(), there=memory.is_there)
""",
    )

    assert told["saved"] == [3, 4, 5]
    assert told["there"]


def test_no_process_goes_on_to_wait_where_a_request_has_begun_another(
    measure: Callable[..., dict[str, Any]],
) -> None:
    told = measure(
        KEPT
        + """
begin_turn = Memory.begin_turn
def begin_turn_and_ask(self):
    begin_turn(self)
    self.set_autosave_until(time.monotonic() + 60)
Memory.begin_turn = begin_turn_and_ask
run(3)
autosave.run(memory.folder, data_file, None, os.getpid(), 0.01)
tell(times=len(waited))
""",
    )

    assert told["times"] == 1


SEEN_OFF = """
import socket
from wsgi_coverage.collect.saves import autosave
from wsgi_coverage.store.memory import Memory
line = Line()
Path("memory").mkdir()
memory = Memory(Path("memory"))
claim = lambda: memory.table.claim(flags=0, turn=0, epoch=0, token=1)
gone = fork(claim)
ended(gone)
ours, theirs = socket.socketpair()
os.dup2(theirs.fileno(), 0)
ours.close(), theirs.close()
"""


def test_the_process_that_waits_sees_off_a_server_that_outlives_its_request_s_process(
    measure: Callable[..., dict[str, Any]],
) -> None:
    told = measure(
        scripts.FORK
        + scripts.LINE
        + SEEN_OFF
        + """
stays = fork(lambda: (claim(), line.come()))
line.wait()
finds_another, found = autosave._Wait._finds_another, []
def find_and_kill(self):
    found.append(finds_another(self))
    if found == [True]:
        os.kill(stays, signal.SIGKILL)
        os.waitpid(stays, 0)
    return found[-1]
autosave._Wait._finds_another = find_and_kill

autosave.run(memory.folder, Path(".coverage").absolute(), None, gone, 600)

tell(found=found, there=memory.is_there, left=os.listdir("."))
""",
    )

    assert told["found"] == [True, False]
    assert not told["there"]
    assert "memory" not in told["left"]


def test_a_memory_whose_table_was_in_use_when_all_had_ended_is_removed_a_moment_later(
    measure: Callable[..., dict[str, Any]],
) -> None:
    told = measure(
        scripts.FORK
        + scripts.LINE
        + SEEN_OFF
        + """
remove, removed = Memory.remove, []
def remove_later(self, **how):
    removed.append(len(removed) == 2 and remove(self, **how))
    return removed[-1]
Memory.remove = remove_later

autosave.run(memory.folder, Path(".coverage").absolute(), None, gone, 600)

tell(removed=removed, there=memory.is_there)
""",
    )

    assert told["removed"] == [False, False, True]
    assert not told["there"]
