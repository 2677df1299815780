"""The table of the processes that mark lines in one memory."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from wsgi_coverage.store import processes
from wsgi_coverage.store.processes import HEAD, SIZE, SLOTS, Slot, Table, is_noted_process

Child = Callable[..., dict[str, Any]]
needs_proc = pytest.mark.skipif(
    not os.path.exists("/proc/self/stat"), reason="/proc tells when a process began"
)


@pytest.fixture
def table(tmp_path: Path) -> Table:
    return Table(tmp_path / "processes")


def claimed(table: Table, *, token: int = 7, flags: int = 0) -> Slot:
    return table.claim(flags=flags, turn=3, epoch=2, token=token)


def now() -> int:
    """Nanoseconds since boot."""
    return time.clock_gettime_ns(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def note(table: Table, number: int, pid: int, noted_at: int, *, token: int = 7) -> None:
    """Fill a slot as a process has left it."""
    HEAD.pack_into(table._map, number * SIZE, pid, 0, noted_at, 3, 0, token, 2)


def test_a_process_that_claims_a_slot_is_noted(table: Table) -> None:
    assert table.entries() == []

    claimed(table, flags=processes.LOADING)

    (entry,) = table.entries()
    assert (entry.pid, entry.turn, entry.epoch, entry.token) == (os.getpid(), 3, 2, 7)
    assert entry.has(processes.LOADING)
    assert not entry.has(processes.SERVES)
    assert (entry.requests, entry.server) == (0, None)
    assert abs(entry.noted_at - now() / 1e9) < 60
    assert table.living() == [entry]


def test_every_view_of_the_table_sees_what_a_process_changes(table: Table) -> None:
    slot = claimed(table)

    slot.note_applied(9, 4)
    slot.set(processes.SERVES)
    slot.set(processes.PAUSED)
    slot.set(processes.SERVES, False)
    slot.requests[0] += 1
    slot.requests[0] += 1
    slot.name_server("gunicorn/23")

    (entry,) = Table(table.path).entries()
    assert (entry.turn, entry.epoch, entry.requests) == (9, 4, 2)
    assert entry.flags == processes.PAUSED
    assert entry.server == "gunicorn/23"
    assert entry.token == slot.token


@pytest.mark.parametrize("name", ["x" * 300, "é" * 300, "a" + "é" * 300])
def test_a_long_server_name_is_cut(table: Table, name: str) -> None:
    claimed(table).name_server(name)

    (entry,) = table.entries()
    assert entry.server is not None
    assert name.startswith(entry.server.rstrip("\N{REPLACEMENT CHARACTER}"))
    assert len(entry.server.encode()) >= 60


def test_a_new_entry_keeps_nothing_of_the_one_before(table: Table) -> None:
    slot = claimed(table, flags=processes.SERVES)
    slot.name_server("gunicorn")
    slot.requests[0] = 5
    slot.free()

    claimed(table, token=8)

    (entry,) = table.entries()
    assert (entry.flags, entry.requests, entry.server, entry.token) == (0, 0, None, 8)


def test_a_process_that_claims_twice_has_one_entry(table: Table) -> None:
    claimed(table, token=1)
    claimed(table, token=2)

    assert [entry.token for entry in table.entries()] == [2]


def test_a_slot_that_is_given_back_is_no_entry(table: Table) -> None:
    claimed(table).free()

    assert table.entries() == []


def test_no_descriptor_is_kept(tmp_path: Path) -> None:
    before = os.listdir("/proc/self/fd")

    table = Table(tmp_path / "processes")
    slot = claimed(table)
    note(table, 0, 1, 0)
    table.living()
    with table.closed():
        pass
    slot.free()

    assert os.listdir("/proc/self/fd") == before


def test_nobody_is_noted_in_a_table_that_is_gone_or_replaced(table: Table) -> None:
    table.path.unlink()
    with pytest.raises(FileNotFoundError):
        claimed(table)

    Table(table.path)
    with pytest.raises(FileNotFoundError):
        claimed(table)


@needs_proc
def test_a_full_table_is_an_error_and_the_place_of_a_dead_process_is_taken(table: Table) -> None:
    for number in range(SLOTS):
        note(table, number, os.getppid(), now())
    with pytest.raises(OSError, match=f"Errno {errno.ENOSPC}"):
        claimed(table)

    note(table, (os.getpid() + 500) % SLOTS, os.getppid(), 0)
    claimed(table)

    assert [entry.pid for entry in table.entries()].count(os.getpid()) == 1
    assert len(table.entries()) == SLOTS


@needs_proc
def test_a_process_that_began_after_it_was_noted_is_another(table: Table) -> None:
    """Process ids are given again."""
    assert is_noted_process(os.getpid(), now() / 1e9)
    assert not is_noted_process(os.getpid(), 0.0)

    note(table, 5, os.getpid(), 0)

    assert len(table.entries()) == 1
    assert table.living() == []
    assert table.entries() == []


def test_what_another_process_has_claimed_meanwhile_is_not_given_back(table: Table) -> None:
    note(table, 5, os.getpid(), 0, token=1)
    (stale,) = table.entries()
    note(table, 5, os.getpid(), now(), token=2)

    table._give_back(stale)

    assert [entry.token for entry in table.living()] == [2]


def test_each_of_200_children_has_a_slot_of_its_own(child: Child) -> None:
    told = child(
        """
        table = Table(Path("processes"))
        table.claim(flags=0, turn=0, epoch=0, token=1000)
        gate = Gate()

        def work(number):
            slot = table.claim(flags=1, turn=number, epoch=number, token=number)
            for _ in range(number):
                slot.requests[0] += 1
            slot.name_server(f"server {number}")
            gate.wait()

        pids = {fork(work, number): number for number in range(200)}
        gate.wait_for(200)
        living = table.living()
        tell(
            pids=len({entry.pid for entry in living}),
            right=[
                pids[entry.pid] for entry in living
                if entry.pid in pids
                and {entry.turn, entry.epoch, entry.token, entry.requests} == {pids[entry.pid]}
                and entry.server == f"server {pids[entry.pid]}"
            ],
        )
        gate.open()
        codes = all_ended(pids)
        tell(codes=sum(codes), left=[entry.token for entry in table.living()])
        """
    )

    assert told["pids"] == 201
    assert sorted(told["right"]) == list(range(200))
    assert told["codes"] == 0
    assert told["left"] == [1000]


@needs_proc
def test_a_killed_process_is_not_living_and_its_entry_is_given_back(child: Child) -> None:
    told = child(
        """
        table = Table(Path("processes"))
        gate = Gate()

        def work():
            table.claim(flags=0, turn=0, epoch=0, token=1)
            gate.wait()

        pid = fork(work)
        gate.wait_for(1)
        before = [entry.pid == pid for entry in table.living()]
        os.kill(pid, signal.SIGKILL)
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)  # nobody has waited for it yet
        noted = len(table.entries())
        tell(before=before, noted=noted, living=table.living(), left=table.entries())
        os.waitpid(pid, 0)
        """
    )

    assert told == {"before": [True], "noted": 1, "living": [], "left": []}


@needs_proc
def test_a_process_that_runs_another_program_since_is_not_living(child: Child) -> None:
    told = child(
        """
        table = Table(Path("processes"))
        gate = Gate()
        read, write = os.pipe()  # its end in the child is closed when another program runs there
        keep, end = os.pipe()

        def work():
            os.close(read)
            os.close(end)
            table.claim(flags=0, turn=0, epoch=0, token=1)
            gate.wait()
            os.dup2(keep, 0)
            os.execvp("cat", ["cat"])

        pid = fork(work)
        os.close(write)
        gate.wait_for(1)
        before = len(table.living())
        gate.open()
        os.read(read, 1)
        os.kill(pid, 0)  # it runs
        tell(before=before, living=table.living())
        os.close(end)
        os.waitpid(pid, 0)
        """
    )

    assert told == {"before": 1, "living": []}


def test_a_process_is_living_when_the_folder_is_reached_by_a_link(child: Child) -> None:
    told = child(
        """
        os.mkdir("folder")
        os.symlink("folder", "link")
        gate = Gate()

        def work():
            table = Table(Path("link/processes"))
            table.claim(flags=0, turn=0, epoch=0, token=1)
            gate.wait()

        pid = fork(work)
        gate.wait_for(1)
        seen = [len(Table(Path(way, "processes")).living()) for way in ("link", "folder")]
        tell(seen=seen)
        gate.open()
        os.waitpid(pid, 0)
        """
    )

    assert told["seen"] == [1, 1]


def test_a_forked_child_that_has_no_slot_yet_does_not_give_its_parents_back(child: Child) -> None:
    told = child(
        """
        table = Table(Path("processes"))
        slot = table.claim(flags=0, turn=0, epoch=0, token=1)
        codes = all_ended([fork(slot.free)])
        tell(codes=codes, living=[entry.token for entry in table.living()])
        """
    )

    assert told == {"codes": [0], "living": [1]}


CLOSED = """
table = Table(Path("processes"))
def work():
    try:
        table.claim(flags=0, turn=0, epoch=0, token=1)
    except OSError:
        os._exit(7)

def dead():
    table.claim(flags=0, turn=0, epoch=0, token=2)
"""


def test_nobody_claims_a_slot_while_the_table_is_closed(child: Child) -> None:
    told = child(
        CLOSED
        + """
with table.closed() as closed:
    inside = all_ended([fork(work)])
tell(closed=closed, inside=inside, entries=len(table.entries()), after=all_ended([fork(work)]))
"""
    )

    assert told == {"closed": True, "inside": [7], "entries": 0, "after": [0]}


def test_nor_once_somebody_has_looked_for_living_processes_in_a_closed_table(child: Child) -> None:
    """Closing any descriptor of a file lets go of all its record locks."""
    told = child(
        CLOSED
        + """
all_ended([fork(dead)])
with table.closed():
    found = getattr(table, "has_living", table.living)()
    tell(found=bool(found), inside=all_ended([fork(work)]))
"""
    )

    assert told == {"found": False, "inside": [7]}


def test_a_table_cannot_be_closed_while_somebody_claims_a_slot_of_it(child: Child) -> None:
    told = child(
        """
        import fcntl
        table = Table(Path("processes"))
        gate = Gate()

        def work():
            fd = os.open(table.path, os.O_RDWR)
            fcntl.lockf(fd, fcntl.LOCK_EX, 128, 256)
            gate.wait()

        pid = fork(work)
        gate.wait_for(1)
        with table.closed() as closed:
            pass
        tell(closed=closed)
        gate.open()
        os.waitpid(pid, 0)
        """
    )

    assert not told["closed"]


def test_a_table_that_is_gone_cannot_be_closed(table: Table) -> None:
    table.path.unlink()

    with table.closed() as closed:
        assert not closed
