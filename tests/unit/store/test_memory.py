"""The memory of executed lines that the processes of a host share."""

from __future__ import annotations

import errno
import itertools
import os
import random
import shutil
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest
from scripts import INTERRUPTED

from wsgi_coverage.data.imported import EarlyModule, Unseen
from wsgi_coverage.data.phases import Phase
from wsgi_coverage.data.reading import Reading, Record
from wsgi_coverage.store.memory import (
    CHUNK,
    HEADER,
    MOST_CHUNKS,
    MOST_LINES,
    Memory,
    MemoryFullError,
    MemoryGoneError,
)

Child = Callable[..., dict[str, Any]]
RUNTIME, LOAD = Phase.RUNTIME, Phase.LOAD
ROOM = 100


def mark(
    memory: Memory, *lines: int, epoch: int, name: str = "app.py", phase: Phase | None = RUNTIME
) -> None:
    place = memory.place(name, "v1", ROOM)
    chunk = memory.chunk(phase, epoch, place.chunk)
    for line in lines:
        chunk[place.at + line] = 1


def lines(
    reading: Reading, name: str = "app.py", phase: Phase | None = RUNTIME, version: str = "v1"
) -> list[int]:
    """Lines of a source that count."""
    for claim in reading.sources:
        if (claim.name, claim.version) == (name, version):
            chunk, at, room = claim.place
            plane = reading.by_phase.get(phase, {}).get(chunk, b"")
            return [number for number, byte in enumerate(plane[at : at + room]) if byte]
    return []


def begin_epoch(memory: Memory, epoch: int, counted: Reading | None = None) -> None:
    """Reset: what ran before counts no more."""
    memory.announce(epoch=epoch, oldest=epoch, paused=False)
    memory.end_epochs(epoch, counted)


def files(memory: Memory) -> set[str]:
    return set(os.listdir(memory.folder))


# Places


def test_a_source_has_the_same_place_whoever_asks_and_however_often(memory: Memory) -> None:
    place = memory.place("app.py", "v1", ROOM)

    assert memory.place("app.py", "v1", ROOM) == place
    assert memory.place("app.py", "v1", 5) == place  # the first claim counts
    assert Memory(memory.folder).place("app.py", "v1", ROOM) == place


def test_versions_and_sources_have_places_that_do_not_overlap(memory: Memory) -> None:
    rooms = random.Random(1).choices(range(1, 40_000), k=200)

    places = [memory.place(f"m{n % 50}.py", f"v{n // 50}", room) for n, room in enumerate(rooms)]

    taken: dict[int, list[tuple[int, int]]] = {}
    for place, room in zip(places, rooms, strict=True):
        assert place.room == room
        assert place.at + room <= CHUNK
        taken.setdefault(place.chunk, []).append((place.at, place.at + room))
    assert sorted(taken) == list(range(len(taken)))
    for spans in taken.values():
        spans.sort()
        assert all(end <= start for (_, end), (start, _) in itertools.pairwise(spans))


def test_a_name_may_hold_what_a_file_name_may(memory: Memory) -> None:
    names = ['a "b".py', "a\nb\r\u2028.py", os.fsdecode(b"\xff\xfe.py"), "ä/\\.py", "[1]"]

    places = [memory.place(name, "v1", ROOM) for name in names]

    other = Memory(memory.folder)
    assert [claim.name for claim in other.claims()] == names
    assert [claim.place for claim in other.claims()] == places


def test_claims_are_those_of_all_processes(memory: Memory) -> None:
    other = Memory(memory.folder)
    other.place("b.py", "v1", ROOM)
    memory.place("a.py", "v1", ROOM)
    other.place("c.py", "v1", ROOM)

    assert [claim.name for claim in memory.claims()] == ["b.py", "a.py", "c.py"]
    assert memory.claims() == other.claims() == memory.known()


@pytest.mark.parametrize("number", [2, 8])
def test_processes_that_claim_300_sources_at_once_agree_on_every_place(
    child: Child, number: int
) -> None:
    told = child(
        f"""
        import random
        number = {number}
        folder = Path("memory")
        folder.mkdir()
        gate = Gate()

        def work(each):
            gate.wait()
            memory = Memory(folder)
            sources = [(f"m{{n}}.py", f"v{{n % 3}}", 3000 + n) for n in range(300)]
            random.Random(each).shuffle(sources)
            places = {{name: memory.place(name, version, room) for name, version, room in sources}}
            Path(f"places-{{each}}").write_text(json.dumps(places))

        pids = [fork(work, each) for each in range(number)]
        gate.wait_for(number)
        gate.open()
        codes = all_ended(pids)
        """
        + """
        claims = Memory(folder).claims()
        places = {claim.name: list(claim.place) for claim in claims}
        told = [json.loads(Path(f"places-{each}").read_text()) for each in range(number)]
        tell(
            codes=codes,
            sources=len(claims),
            disagree=[each for each, theirs in enumerate(told) if theirs != places],
            taken=len({(c, at + n) for c, at, room in places.values() for n in range(room)}),
            rooms=sum(room for *_, room in places.values()),
        )
        """
    )

    assert told["codes"] == [0] * number
    assert told["sources"] == 300
    assert told["disagree"] == []
    assert told["taken"] == told["rooms"] == sum(range(3000, 3300))


FOREIGN = [
    b"\n",
    b"not a claim\n",
    b"\xff\xfe\0\n",
    b"[]\n",
    b"[10]\n",
    b'[10,"app.py"]\n',
    b'[10,"app.py","v1","more"]\n',
    b'["10","app.py","v1"]\n',
    b'[10.5,"app.py","v1"]\n',
    b'[0,"app.py","v1"]\n',
    b'[-5,"app.py","v1"]\n',
    b'[99999999999,"app.py","v1"]\n',
    b'[10,null,"v1"]\n',
    b'{"room":10}\n',
    b'  [10,"app.py","v1"]\n',
    b'[10,"app.py","v1"\n',
    b"a carriage return\rin a line\r\nand more\n",
    b"[" + b"9" * 6000 + b',"app.py","v1"]\n',
]


@pytest.mark.parametrize("foreign", FOREIGN)
def test_a_line_that_is_no_claim_is_passed_over_by_all_alike(
    memory: Memory, foreign: bytes
) -> None:
    first = memory.place("first.py", "v1", ROOM)
    with (memory.folder / "index").open("ab") as index:
        index.write(foreign)
    other = Memory(memory.folder)
    fresh = other.place("app.py", "v1", ROOM)

    known = memory.place("app.py", "v1", ROOM)
    more = memory.place("more.py", "v1", ROOM)

    assert known == fresh
    assert known.room == ROOM
    assert known.at == first.at + ROOM
    assert other.place("more.py", "v1", ROOM) == more
    assert Memory(memory.folder).claims() == memory.claims() == other.claims()


@pytest.mark.parametrize("torn", [b"\n", b"\n[10", b'\n[10,"torn.py","v', b'\n[10,"torn.py","v1"]'])
def test_a_torn_last_line_is_passed_over_and_the_next_claim_is_whole(
    memory: Memory, torn: bytes
) -> None:
    """A disk was full, or a process was killed, in the middle of a claim."""
    memory.place("first.py", "v1", ROOM)
    with (memory.folder / "index").open("ab") as index:
        index.write(torn)
    before = [claim.name for claim in memory.claims()]

    place = memory.place("app.py", "v1", ROOM)

    assert before == ["first.py"]
    assert Memory(memory.folder).place("app.py", "v1", ROOM) == place
    assert Memory(memory.folder).place("torn.py", "v1", 10) == memory.place("torn.py", "v1", 10)
    assert Memory(memory.folder).claims() == memory.claims()


def test_an_exception_anywhere_in_placing_leaves_the_layout_as_it_is(child: Child) -> None:
    """A signal handler of the application may raise at any line."""
    told = child(
        INTERRUPTED
        + textwrap.dedent(
            """
        from wsgi_coverage.store import memory as module

        def is_wrong(line, name):
            "Whether a view that was interrupted there disagrees; None: there is no such line."
            folder = Path(f"{line}-{name}")
            folder.mkdir()
            other, memory = Memory(folder), Memory(folder)
            for number in range(3):
                other.place(str(number), "v1", 10)
            if not interrupted_at(module.__file__, line, lambda: memory.place(name, "v1", 10)):
                return None
            places = [memory.place(name, "v1", 10), memory.place("more", "v1", 10)]
            return (
                places != [other.place(name, "v1", 10), other.place("more", "v1", 10)]
                or memory.claims() != other.claims()
            )

        for name in ("1", "new"):
            found = []
            while None not in found:
                found.append(is_wrong(len(found) + 1, name))
            tell(**{name: [line for line, wrong in enumerate(found, 1) if wrong]})
            tell(lines=len(found))
        """
        )
    )

    assert told["lines"] > 30
    assert told["1"] == []
    assert told["new"] == []


def test_an_index_that_somebody_has_cut_is_an_error_like_any_other(memory: Memory) -> None:
    place = memory.place("app.py", "v1", ROOM)
    os.truncate(memory.folder / "index", 0)

    with pytest.raises(OSError, match="index"):
        memory.place("more.py", "v1", ROOM)

    assert memory.place("app.py", "v1", ROOM) == place


def test_a_source_that_is_larger_than_a_chunk_has_one_of_its_own(memory: Memory) -> None:
    before = memory.place("before.py", "v1", ROOM)

    large = memory.place("large.py", "v1", CHUNK + ROOM)
    after = memory.place("after.py", "v1", ROOM)
    full = memory.place("full.py", "v1", CHUNK - 2 * ROOM)
    second = memory.place("second.py", "v1", ROOM)
    memory.chunk(RUNTIME, 0, large.chunk)[large.at + CHUNK + ROOM - 1] = 1

    assert large.at == 0
    assert (after.chunk, after.at) == (before.chunk, before.at + ROOM)
    assert full.chunk == before.chunk
    assert len({before.chunk, large.chunk, second.chunk}) == 3
    assert lines(memory.read(), "large.py") == [CHUNK + ROOM - 1]
    assert Memory(memory.folder).claims() == memory.claims()


def test_a_source_may_be_just_as_large_as_a_chunk(memory: Memory) -> None:
    place = memory.place("app.py", "v1", CHUNK)
    memory.chunk(RUNTIME, 0, place.chunk)[CHUNK - 1] = 1

    assert (place.chunk, place.at) == (0, 0)
    assert memory.place("more.py", "v1", 1).chunk == 1
    assert lines(memory.read()) == [CHUNK - 1]


def test_the_total_is_bounded(memory: Memory) -> None:
    places = [memory.place(f"m{n}.py", "v1", CHUNK) for n in range(MOST_CHUNKS)]

    assert places[-1].chunk == MOST_CHUNKS - 1
    for _ in range(2):
        with pytest.raises(MemoryFullError):
            memory.place("more.py", "v1", ROOM)
    with pytest.raises(MemoryFullError):
        Memory(memory.folder).place("more.py", "v1", ROOM)
    assert memory.place("m7.py", "v1", CHUNK) == places[7]


def test_a_source_may_have_so_many_lines_and_no_more(memory: Memory) -> None:
    assert memory.place("app.py", "v1", MOST_LINES).room == MOST_LINES

    with pytest.raises(MemoryFullError):
        memory.place("more.py", "v1", MOST_LINES + 1)


# Chunks


def test_lines_are_read_by_phase(memory: Memory) -> None:
    mark(memory, 1, 2, epoch=0, phase=LOAD)
    mark(memory, 3, epoch=0, phase=RUNTIME)
    mark(memory, 4, epoch=0, phase=None)

    reading = Memory(memory.folder).read()

    assert lines(reading, phase=LOAD) == [1, 2]
    assert lines(reading, phase=RUNTIME) == [3]
    assert lines(reading, phase=None) == [4]
    assert reading.problems == ()
    assert reading.id == memory.id


def test_an_epoch_that_begins_while_lines_are_read_is_not_of_the_one_before(
    memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who saves it as the old epoch's would have its lines in two collections."""
    mark(memory, 1, epoch=0)
    before = memory.state()
    memory.announce(epoch=1, oldest=0, paused=False)  # somebody begins to collect
    mark(memory, 2, epoch=1)
    memory.append("flushed-1", {Record("a.py", "v1", "", None, True): {3}})
    monkeypatch.setattr(memory, "state", lambda: before)

    reading = memory.read()

    assert (reading.epoch, lines(reading)) == (0, [1])
    assert not reading.records


EARLY = frozenset(
    {
        EarlyModule("a", "/srv/a.py", Unseen(True, None)),
        EarlyModule("a", "/srv/a.py", Unseen(False, 3, frozenset({1, 2})), defines=False),
    }
)
LATER = frozenset({EarlyModule("b", "/srv/\udcff.py", Unseen(False, None, frozenset()))})


def test_modules_that_processes_note_are_read_by_all(memory: Memory) -> None:
    other = Memory(memory.folder)
    memory.note_early(EARLY)
    assert other.read().early == EARLY
    other.note_early(LATER)
    other.note_early(EARLY)

    assert memory.read().early == EARLY | LATER
    assert len([*memory.folder.glob("early-*")]) == 2
    assert memory.remove()
    assert not [*memory.folder.glob("early-*")]


@pytest.mark.parametrize(
    "content", ["", "[1]", '[["a", 1, true, null, null, true]]', "{", "[" * 99999]
)
def test_a_list_of_modules_that_is_damaged_is_named(memory: Memory, content: str) -> None:
    memory.note_early(EARLY)
    (memory.folder / "early-0.json").write_text(content)

    reading = memory.read()

    assert reading.early == EARLY
    assert [problem.partition(" ")[0] for problem in reading.problems] == [
        str(memory.folder / "early-0.json")
    ]


def test_without_a_descriptor_early_modules_are_not_taken_for_none(
    memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory.note_early(EARLY)
    other = Memory(memory.folder)

    def refuse(path: object) -> NoReturn:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE), path)

    monkeypatch.setattr(os, "listdir", refuse)

    with pytest.raises(OSError, match=os.strerror(errno.EMFILE)):
        other.read()


def test_lists_of_modules_are_bounded(memory: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wsgi_coverage.store.memory.MOST_EARLY", 1)

    memory.note_early(EARLY)
    memory.note_early(LATER)

    assert memory.read().early == EARLY


def test_no_descriptor_is_kept(memory_folder: Path) -> None:
    before = os.listdir("/proc/self/fd")

    memory = Memory(memory_folder)
    mark(memory, 1, epoch=0)
    mark(memory, 2, epoch=0, name="b.py", phase=LOAD)
    memory.read()
    begin_epoch(memory, 1)
    memory.sweep()

    assert os.listdir("/proc/self/fd") == before


def test_a_chunk_that_holds_something_else_is_set_aside_and_others_are_read(
    memory: Memory,
) -> None:
    mark(memory, 1, epoch=0)
    (memory.folder / "load-0.lines").write_bytes(b"something else".ljust(HEADER + CHUNK, b"x"))

    reading = Memory(memory.folder).read()

    assert lines(reading) == [1]
    assert lines(reading, phase=LOAD) == []
    (problem,) = reading.problems
    assert "load-0.lines" in problem


def test_nothing_is_marked_in_what_is_no_chunk(memory: Memory) -> None:
    content = b"something else".ljust(HEADER + CHUNK, b"x")
    (memory.folder / "load-0.lines").write_bytes(content)

    for _ in range(2):
        with pytest.raises(OSError, match="no lines"):
            memory.chunk(LOAD, 0, 0)

    assert (memory.folder / "load-0.lines").read_bytes() == content


@pytest.mark.parametrize("size", [HEADER - 1, HEADER + 5, HEADER + CHUNK - 1])
def test_a_chunk_of_the_wrong_size_is_set_aside_and_others_are_read(
    memory: Memory, size: int
) -> None:
    mark(memory, 1, epoch=0)
    mark(memory, 2, epoch=0, phase=LOAD)
    copy = (memory.folder / "load-0.lines").read_bytes()
    (memory.folder / "run-0-0.lines").unlink()
    (memory.folder / "run-0-0.lines").write_bytes(copy[:size])

    reading = Memory(memory.folder).read()

    assert lines(reading) == []
    assert lines(reading, phase=LOAD) == [2]
    (problem,) = reading.problems
    assert "run-0-0.lines" in problem


def test_bytes_that_nobody_has_marked_are_named(memory: Memory) -> None:
    mark(memory, 1, epoch=0)
    memory.chunk(RUNTIME, 0, 0)[5] = 77

    (problem,) = memory.read().problems

    assert "run-0-0.lines" in problem


@pytest.mark.parametrize("size", [0, 10, HEADER + CHUNK])
def test_a_chunk_that_is_being_made_is_no_problem(memory: Memory, size: int) -> None:
    (memory.folder / "run-0-0.lines").write_bytes(bytes(size))
    (memory.folder / "another file").write_bytes(b"x")

    assert memory.read().problems == ()


def test_a_daemon_that_closes_every_descriptor_marks_lines_and_keeps_its_own_files(
    child: Child,
) -> None:
    told = child(
        """
        Path("memory").mkdir()
        memory = Memory(Path("memory"))
        place = memory.place("a.py", "v1", 100)
        chunk = memory.chunk(Phase.RUNTIME, 0, place.chunk)
        slot = memory.table.claim(flags=0, turn=0, epoch=0, token=1)
        os.closerange(3, 1024)
        own = [os.open(f"own-{number}", os.O_RDWR | os.O_CREAT) for number in range(12)]
        chunk[place.at + 5] = 1
        more = memory.place("b.py", "v1", 100)
        memory.chunk(Phase.LOAD, 0, more.chunk)[more.at + 6] = 1
        memory.announce(epoch=1, oldest=0, paused=False)
        slot.note_applied(1, 1)
        memory.table.living()
        reading = memory.read()
        tell(
            own=[os.fstat(fd).st_size for fd in own],
            run=reading.by_phase[Phase.RUNTIME][0][place.at + 5],
            load=reading.by_phase[Phase.LOAD][0][more.at + 6],
            problems=reading.problems,
        )
        """
    )

    assert told == {"own": [0] * 12, "run": 1, "load": 1, "problems": []}


def test_a_full_disk_is_an_error_and_takes_nothing_away(on_small_disk: Child) -> None:
    told = on_small_disk(
        """
        folder = Path("disk")
        memory = Memory(folder)
        memory.chunk(Phase.RUNTIME, 0, 0)[memory.place("a.py", "v1", 100).at + 5] = 1
        errors = []

        def refused(work, *args):
            try:
                work(*args)
            except OSError as error:
                errors.append(error.errno)

        refused(memory.chunk, Phase.LOAD, 0, 0)
        with open(folder / "filler", "wb", buffering=0) as filler:  # to the last page
            try:
                while filler.write(bytes(4096)):
                    pass
            except OSError:
                pass
        # Whatever is left of the index's last page is filled by claims.
        placed = 0
        try:
            while True:
                memory.place(f"m{placed}.py", "v1", 100)
                placed += 1
        except OSError as error:
            errors.append(error.errno)
        refused(memory.place, "more.py", "v1", 100)
        refused(memory.chunk, Phase.LOAD, 0, 0)
        reading = Memory(folder).read()
        tell(
            errors=errors,
            placed=placed > 10,
            all=[claim.name for claim in reading.sources] == ["a.py"]
                + [f"m{number}.py" for number in range(placed)],
            ones=sum(reading.by_phase[Phase.RUNTIME][0]),
            problems=reading.problems,
        )
        (folder / "filler").unlink()
        place = memory.place("more.py", "v1", 100)
        tell(
            agree=Memory(folder).claims() == memory.claims(),
            more=place in [claim.place for claim in Memory(folder).claims()],
        )
        """,
        kilobytes=140 + (CHUNK * 3 // 2 >> 10),  # room for one chunk, not for two
    )

    assert told["errors"] == [errno.ENOSPC] * 4
    assert told["placed"]
    assert told["all"]
    assert told["ones"] == 1
    assert told["problems"] == []
    assert told["agree"]
    assert told["more"]


# Turns and epochs


def test_an_announcement_is_a_new_turn_for_every_view(memory: Memory) -> None:
    other = Memory(memory.folder)
    before = other.turn[0]

    memory.announce(epoch=3, oldest=2, paused=True)

    assert other.turn[0] > before
    assert other.state() == (other.turn[0], 3, 2, True, 0)


def test_an_announcement_that_changes_nothing_is_no_turn(memory: Memory) -> None:
    memory.announce(epoch=3, oldest=2, paused=True)
    state = memory.state()

    memory.announce(epoch=3, oldest=2, paused=True)

    assert memory.state() == state


def test_two_turns_at_once_are_different(memory: Memory) -> None:
    turns = []
    for _ in range(100):
        memory.begin_turn()
        turns.append(memory.turn[0])

    assert sorted(set(turns)) == turns


def test_the_layout_outlives_epochs(memory: Memory) -> None:
    mark(memory, 1, epoch=0)
    place = memory.place("app.py", "v1", ROOM)

    begin_epoch(memory, 1)
    mark(memory, 2, epoch=1)

    assert memory.place("app.py", "v1", ROOM) == place
    assert Memory(memory.folder).place("app.py", "v1", ROOM) == place
    assert lines(memory.read()) == [2]


def test_what_ran_at_load_counts_in_every_epoch(memory: Memory) -> None:
    mark(memory, 1, epoch=0, phase=LOAD)

    begin_epoch(memory, 1)
    begin_epoch(memory, 2)

    assert lines(memory.read(), phase=LOAD) == [1]


@pytest.mark.parametrize("phase", [RUNTIME, None])
def test_of_an_ended_epoch_only_what_is_marked_later_counts(
    memory: Memory, phase: Phase | None
) -> None:
    mark(memory, 1, 2, epoch=0, phase=phase)
    begin_epoch(memory, 1)
    at_once = lines(memory.read(), phase=phase)

    mark(memory, 2, 3, epoch=0, phase=phase)  # by a process that has not heard of it yet
    mark(memory, 4, epoch=1, phase=phase)

    assert at_once == []
    assert lines(memory.read(), phase=phase) == [3, 4]


def test_an_epoch_that_began_without_a_reset_counts_with_those_before(memory: Memory) -> None:
    mark(memory, 1, epoch=0)
    memory.announce(epoch=1, oldest=0, paused=False)
    mark(memory, 2, epoch=1)

    assert lines(memory.read()) == [1, 2]
    assert lines(memory.read(before=1)) == [1]


def test_what_is_marked_after_it_was_read_counts_later(memory: Memory) -> None:
    """A collection reads an epoch, and then ends it."""
    mark(memory, 1, 2, epoch=0)
    memory.announce(epoch=1, oldest=0, paused=False)
    counted = memory.read(before=1)
    mark(memory, 3, epoch=0)

    begin_epoch(memory, 1, counted)
    mark(memory, 4, epoch=0)

    assert lines(memory.read()) == [3, 4]


def test_so_is_what_is_marked_in_a_chunk_that_was_not_there_yet(memory: Memory) -> None:
    counted = memory.read()
    mark(memory, 3, epoch=0)

    begin_epoch(memory, 1, counted)
    mark(memory, 4, epoch=0)

    reading = memory.read()
    assert reading.problems == ()
    assert lines(reading) == [3, 4]


def test_a_line_that_was_counted_of_one_epoch_counts_when_it_runs_late_in_another(
    memory: Memory,
) -> None:
    mark(memory, 1, epoch=0)
    memory.announce(epoch=1, oldest=0, paused=False)
    mark(memory, 2, epoch=1)

    begin_epoch(memory, 2, memory.read(before=2))
    mark(memory, 2, epoch=0)  # by a process that has heard of neither

    assert lines(memory.read()) == [2]


def test_a_second_reset_forgets_what_was_marked_late(memory: Memory) -> None:
    mark(memory, 1, epoch=0)
    begin_epoch(memory, 1)
    mark(memory, 2, epoch=0)

    begin_epoch(memory, 2, memory.read())
    mark(memory, 3, epoch=0)

    assert lines(memory.read()) == [3]


def test_what_nobody_told_the_phase_of_can_be_called_load(memory: Memory) -> None:
    mark(memory, 1, 2, epoch=0, phase=None)

    memory.count_as_load(0)

    assert lines(memory.read(), phase=LOAD) == [1, 2]
    assert lines(memory.read(), phase=None) == []


# Sweeping


def test_an_old_epoch_goes_when_nobody_is_in_it_and_what_was_late_stays(memory: Memory) -> None:
    mark(memory, 1, epoch=0)
    begin_epoch(memory, 1)
    mark(memory, 2, epoch=0)
    mark(memory, 3, epoch=1)

    memory.sweep()

    assert lines(memory.read()) == [2, 3]
    assert {name for name in files(memory) if name.startswith("run-")} == {"run-1-0.lines"}
    memory.sweep()
    assert lines(memory.read()) == [2, 3]


def test_an_epoch_that_still_counts_is_not_swept(memory: Memory) -> None:
    mark(memory, 1, epoch=0)
    memory.announce(epoch=1, oldest=0, paused=False)

    memory.sweep()

    assert lines(memory.read()) == [1]
    assert "run-0-0.lines" in files(memory)


def test_an_old_epoch_stays_while_a_living_process_is_in_it(child: Child) -> None:
    told = child(
        """
        Path("memory").mkdir()
        memory = Memory(Path("memory"))
        place = memory.place("a.py", "v1", 100)
        chunk = memory.chunk(Phase.RUNTIME, 0, 0)
        gate, other = Gate(), Gate()

        def work():
            slot = memory.table.claim(flags=0, turn=0, epoch=0, token=1)
            chunk[place.at + 1] = 1
            gate.wait()
            chunk[place.at + 2] = 1  # it has not heard of the reset
            slot.note_applied(memory.turn[0], 1)
            other.wait()

        pid = fork(work)
        gate.wait_for(1)
        memory.announce(epoch=1, oldest=1, paused=False)
        memory.end_epochs(1)

        def swept():
            memory.sweep()
            lines = memory.read().by_phase.get(Phase.RUNTIME, {}).get(0, b"")
            return [sorted(path.name for path in Path("memory").glob("run-0-*")),
                    [number - place.at for number, byte in enumerate(lines) if byte]]

        early = swept()
        gate.open()
        other.wait_for(1)
        late = swept()
        other.open()
        os.waitpid(pid, 0)
        tell(early=early, late=late)
        """
    )

    assert told["early"] == [["run-0-0.counted", "run-0-0.lines"], []]
    assert told["late"] == [[], [2]]


@pytest.mark.parametrize(
    ("flags", "left"),
    [("LOADING", []), ("LOADING | SERVES", [0]), ("LOADING | LISTENS", [0]), ("SERVES", [0])],
)
def test_a_process_that_is_in_its_load_for_ever_keeps_no_epoch(
    child: Child, flags: str, left: list[int]
) -> None:
    told = child(
        f"""
        from wsgi_coverage.store.processes import LISTENS, LOADING, SERVES
        Path("memory").mkdir()
        memory = Memory(Path("memory"))
        gate = Gate()

        def work():
            memory.table.claim(flags={flags}, turn=0, epoch=0, token=1)
            gate.wait()

        pid = fork(work)
        gate.wait_for(1)
        for epoch in (0, 1):
            memory.chunk(Phase.RUNTIME, epoch, 0)
            memory.announce(epoch=epoch + 1, oldest=epoch + 1, paused=False)
            memory.end_epochs(epoch + 1)
        memory.sweep()
        left = sorted(path.name.split("-")[1] for path in Path("memory").glob("run-*.lines"))
        gate.open()
        os.waitpid(pid, 0)
        tell(left=[int(each) for each in left])
        """
    )

    assert told["left"] == [*left, *(each + 1 for each in left)]


def test_an_old_epoch_goes_when_the_last_process_in_it_was_killed(child: Child) -> None:
    told = child(
        """
        Path("memory").mkdir()
        memory = Memory(Path("memory"))
        memory.chunk(Phase.RUNTIME, 0, 0)
        gate = Gate()

        def work():
            memory.table.claim(flags=0, turn=0, epoch=0, token=1)
            gate.wait()

        pid = fork(work)
        gate.wait_for(1)
        memory.announce(epoch=1, oldest=1, paused=False)
        memory.end_epochs(1)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        memory.sweep()
        tell(left=[path.name for path in Path("memory").glob("run-0-*")])
        """
    )

    assert told["left"] == []


def test_late_lines_of_a_large_source_are_kept_by_whoever_sweeps(memory: Memory) -> None:
    place = memory.place("large.py", "v1", CHUNK + ROOM)
    chunk = memory.chunk(RUNTIME, 0, place.chunk)
    begin_epoch(memory, 1)
    chunk[CHUNK + 5] = 1

    sweeper = Memory(memory.folder)
    sweeper.sweep()

    assert lines(memory.read(), "large.py") == [CHUNK + 5]
    assert len(sweeper.chunk(RUNTIME, 1, place.chunk)) == CHUNK + ROOM


# Removal


def test_a_memory_is_removed_when_no_process_marks_lines_in_it(memory: Memory) -> None:
    mark(memory, 1, epoch=0)
    slot = memory.table.claim(flags=0, turn=0, epoch=0, token=1)
    with_a_process = memory.remove()
    slot.free()

    assert not with_a_process
    assert memory.is_there
    assert memory.remove()
    assert not memory.is_there
    assert files(memory) == set()
    assert not memory.remove()


def test_a_memory_is_not_removed_under_another_process(child: Child) -> None:
    told = child(
        """
        Path("memory").mkdir()
        memory = Memory(Path("memory"))
        gate = Gate()

        def work():
            memory.table.claim(flags=0, turn=0, epoch=0, token=1)
            gate.wait()

        pid = fork(work)
        gate.wait_for(1)
        early = memory.remove()
        gate.open()
        os.waitpid(pid, 0)
        tell(early=early, late=memory.remove())
        """
    )

    assert told == {"early": False, "late": True}


def test_lines_that_are_marked_in_a_memory_that_is_gone_are_read_by_who_has_it(
    memory: Memory,
) -> None:
    mark(memory, 1, epoch=0)
    memory.remove()

    mark(memory, 2, epoch=0)

    assert lines(memory.read()) == [1, 2]
    assert memory.read().problems == ()


def test_who_reads_a_memory_that_is_removed_just_then_leaves_nothing_behind(
    memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark(memory, 1, epoch=0)
    reader = Memory(memory.folder, make=False)
    memory.remove()
    monkeypatch.setattr(Memory, "is_there", True)  # as the reader looked before

    reading = reader.read()

    assert not lines(reading)
    assert reading.problems == ()
    assert files(memory) == set()


def test_there_are_no_new_places_or_chunks_in_a_memory_that_is_gone(memory: Memory) -> None:
    place = memory.place("app.py", "v1", ROOM)
    memory.remove()

    with pytest.raises(MemoryGoneError):
        memory.place("more.py", "v1", ROOM)
    with pytest.raises(MemoryGoneError):
        memory.chunk(RUNTIME, 0, 0)

    assert memory.place("app.py", "v1", ROOM) == place
    assert files(memory) == set()


def test_a_memory_that_is_made_in_its_place_is_another(memory: Memory) -> None:
    mark(memory, 1, epoch=0)
    memory.remove()
    new = Memory(memory.folder)

    assert not memory.is_there
    assert new.is_there
    assert new.id != memory.id
    with pytest.raises(MemoryGoneError):
        memory.place("more.py", "v1", ROOM)
    assert lines(new.read()) == []
    assert lines(memory.read()) == [1]


def test_processes_are_told_to_go_to_another_memory(memory: Memory) -> None:
    other = Memory(memory.folder)
    turn = other.turn[0]

    memory.leave()

    assert other.is_left
    assert other.turn[0] > turn


def test_a_memory_of_another_layout_is_left_alone(memory: Memory) -> None:
    control = memory.folder / "control"
    content = bytearray(control.read_bytes())
    content[0] ^= 0xFF
    control.write_bytes(content)

    with pytest.raises(MemoryGoneError):
        Memory(memory.folder)

    assert control.read_bytes() == bytes(content)


def test_what_was_last_written_to_a_data_file_is_noted_for_all(memory: Memory) -> None:
    other = Memory(memory.folder)
    never = other.saved_sum

    memory.note_saved(12345)

    assert never == 0
    assert other.saved_sum == 12345


def test_until_when_a_process_waits_to_write_it_to_one_is_noted_for_all(memory: Memory) -> None:
    other = Memory(memory.folder)
    never = other.autosave_until

    memory.set_autosave_until(12.5)

    assert never == 0
    assert other.autosave_until == 12.5


def test_that_nobody_heard_of_an_epoch_in_time_is_noted_until_the_next(memory: Memory) -> None:
    other = Memory(memory.folder)
    begin_epoch(memory, 1)
    before = other.has_missed

    memory.miss(1)
    missed = other.has_missed
    begin_epoch(memory, 2)

    assert not before
    assert missed
    assert not other.has_missed


def test_where_there_is_no_room_what_was_set_aside_is_given_back(on_small_disk: Child) -> None:
    told = on_small_disk(
        """
        memory = Memory(Path("disk"))
        memory.make_room(0)
        before = sorted(os.listdir("disk"))
        with open("disk/filler", "wb", buffering=0) as filler:
            try:
                while filler.write(bytes(4096)):
                    pass
            except OSError:
                pass
        chunk = memory.chunk(Phase.LOAD, 0, 0)
        chunk[:] = b"\\1" * len(chunk)
        memory.place("a.py", "v1", 100)
        try:
            memory.chunk(Phase.RUNTIME, 1, 0)
        except OSError as error:
            tell(error=error.errno)
        tell(before=before, after=sorted(os.listdir("disk")), claims=len(memory.claims()))
        """,
        kilobytes=200 + (CHUNK * 7 // 2 >> 10),
    )

    assert "reserve" in told["before"]
    assert "reserve" not in told["after"]
    assert told["claims"] == 1
    assert told["error"] == errno.ENOSPC


def test_days_are_read_until_they_are_dropped(memory: Memory) -> None:
    place = memory.place("app.py", "v1", 100)
    for day in (5, 6):
        memory.day_chunk(day, place.chunk)[place.at + day] = 1
    memory.release = "r/1 ü"
    memory.day_chunk(6, place.chunk)[place.at + 9] = 1

    [(claim, days)] = Memory(memory.folder).read().seen()
    assert claim.name == "app.py"
    assert days == {(5, ""): 1 << 5, (6, ""): 1 << 6, (6, "r/1 ü"): 1 << 9}
    assert not memory.read().by_phase

    memory.drop_days(6)

    [(_, days)] = memory.read().seen()
    assert days == {(6, ""): 1 << 6, (6, "r/1 ü"): 1 << 9}


def test_a_new_day_is_a_new_turn_for_every_view(memory: Memory) -> None:
    other = Memory(memory.folder)
    before = other.turn[0]

    memory.announce_day(lambda: 7)
    turn = other.turn[0]
    memory.announce_day(lambda: 7)

    assert other.state().day == 7
    assert turn > before
    assert other.turn[0] == turn


def test_days_of_a_removed_memory_are_read_with_their_release(memory: Memory) -> None:
    place = memory.place("app.py", "v1", 100)
    memory.release = "r1"
    memory.day_chunk(740_000, place.chunk)[place.at + 3] = 1
    shutil.rmtree(memory.folder)

    reading = memory.read()

    assert [days for _, days in reading.seen()] == [{(740_000, "r1"): 1 << 3}]
    assert not reading.by_phase


@pytest.mark.parametrize("content", ["", "r2"])
def test_a_damaged_name_of_a_release_is_read_again(memory: Memory, content: str) -> None:
    place = memory.place("app.py", "v1", 100)
    memory.day_chunk(7, place.chunk)[place.at + 1] = 1
    memory.release = "r1"
    memory.day_chunk(7, place.chunk)[place.at + 2] = 1
    [path] = memory.folder.glob("release-*")
    whole = path.read_text()
    other = Memory(memory.folder)

    path.write_text(content)
    damaged = other.read()
    path.write_text(whole)

    assert [days for _, days in damaged.seen()] == [{(7, ""): 0b110}]
    assert any(str(path) in each for each in damaged.problems)
    [(_, days)] = other.read().seen()
    assert days == {(7, ""): 0b10, (7, "r1"): 0b100}


def test_a_day_without_room_is_known_to_lack_lines(
    memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert memory.read().lost_day == 0

    def refuse(plane: str, number: int) -> NoReturn:
        raise OSError(errno.ENOSPC, plane)

    with monkeypatch.context() as patched:
        patched.setattr(memory, "chunk_of_plane", refuse)
        with pytest.raises(OSError, match="day-9"):
            memory.day_chunk(9, 0)

    assert memory.read().lost_day == 9


def test_the_day_before_is_not_announced_again_at_midnight(memory: Memory) -> None:
    memory.announce_day(lambda: 6)

    def just_before_midnight() -> int:
        Memory(memory.folder).announce_day(lambda: 7)  # another process, meanwhile
        return 6

    memory.announce_day(just_before_midnight)
    assert memory.state().day == 7

    memory.announce_day(lambda: 6)  # the clock was wrong
    assert memory.state().day == 6


def test_days_stay_while_a_process_may_mark_lines_there(memory: Memory) -> None:
    place = memory.place("app.py", "v1", 100)
    memory.announce_day(lambda: 100)
    slot = memory.table.claim(flags=0, turn=memory.turn[0], epoch=0, token=1)
    memory.day_chunk(100, place.chunk)[place.at + 1] = 1

    memory.announce_day(lambda: 102)
    memory.drop_days(101)
    assert [day for _, days in memory.read().seen() for day in days] == [(100, "")]
    assert memory.lost_day == 0

    slot.note_applied(memory.turn[0], 0)
    memory.drop_days(101)
    assert [days for _, days in memory.read().seen()] == [{}]
    assert memory.lost_day == 0


def test_days_that_are_long_over_are_dropped_and_lost(memory: Memory) -> None:
    place = memory.place("app.py", "v1", 100)
    memory.announce_day(lambda: 100)
    memory.table.claim(flags=0, turn=memory.turn[0], epoch=0, token=1)
    memory.day_chunk(100, place.chunk)[place.at + 1] = 1

    memory.announce_day(lambda: 200)
    memory.drop_days(199)

    assert [days for _, days in memory.read().seen()] == [{}]
    assert memory.lost_day == 200


def test_reading_frees_no_entry_of_the_table(memory: Memory) -> None:
    slot = memory.table.claim(flags=0, turn=memory.turn[0], epoch=0, token=1)
    [before] = memory.table.entries()

    memory.read()

    assert list(memory.table.entries()) == [before]
    slot.free()


@pytest.mark.parametrize("removed", range(4))
def test_a_removal_that_is_killed_leaves_no_marks_of_others_and_no_id_that_was_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, removed: int
) -> None:
    memory = Memory(tmp_path)
    place = memory.place("a.py", "v1", 100)
    memory.chunk(Phase.RUNTIME, 0, place.chunk)[place.at + 3] = 1
    memory.note_saved(memory.read().checksum())
    saved_as, left = memory.id, removed
    unlink = Path.unlink

    def unlink_some(path: Path, missing_ok: bool = False) -> None:
        nonlocal left
        if not left:
            raise KeyboardInterrupt
        left -= path.exists()
        unlink(path, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", unlink_some)
    with pytest.raises(KeyboardInterrupt):
        memory.remove(only_saved=True)

    again = Memory(tmp_path)
    again.place("b.py", "v1", 100)
    ran = {claim.name for claim, lines in again.read().executed() if any(lines.values())}
    assert again.id != saved_as
    assert ran <= {"a.py"}
