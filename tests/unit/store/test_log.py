"""Records beside the memory of executed lines: what does not fit a byte a line."""

from __future__ import annotations

import errno
import json
import os
import random
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from scripts import INTERRUPTED

from wsgi_coverage.data.phases import Phase
from wsgi_coverage.data.reading import Reading, Record, arc_of
from wsgi_coverage.store import log as log_module
from wsgi_coverage.store.log import Known, Log, LogFullError, read_records, with_numbers
from wsgi_coverage.store.memory import CHUNK, RESERVE, Memory, MemoryFullError, MemoryGoneError

Child = Callable[..., dict[str, Any]]
RUNTIME, LOAD = Phase.RUNTIME, Phase.LOAD
APP = Record("app.py", "v1", "", None, True)
PLANE = "flushed-0"

# What the scripts of several processes append with.
IMPORTS = """
from wsgi_coverage.data.reading import Record
from wsgi_coverage.store import log as log_module
from wsgi_coverage.store.log import Log, read_records

def record(name):
    return Record(name, "v1", "", None, True)

def numbers(path):
    return {each.name: list(each.numbers) for each in read_records(path)}
"""


@pytest.fixture
def log(memory_folder: Path) -> Log:
    return Log(memory_folder)


def path_of(log: Log, plane: str = PLANE) -> Path:
    return log._folder / f"{plane}.log"


def found(*numbers: int, record: Record = APP) -> Known:
    return {record: set(numbers)}


def numbers_in(path: Path, record: Record = APP) -> list[int]:
    (known,) = (each for each in read_records(path) if each._replace(numbers=()) == record)
    return list(known.numbers)


def counting(reading: Reading, phase: Phase | None = RUNTIME) -> list[int]:
    """Numbers of all records of a phase."""
    return sorted({n for record in reading.records.get(phase, ()) for n in record.numbers})


def begin_epoch(memory: Memory, epoch: int) -> None:
    """Reset: what ran before counts no more."""
    memory.announce(epoch=epoch, oldest=epoch, paused=False)
    memory.end_epochs(epoch)


# What is appended


def test_what_is_appended_is_read_as_it_was(log: Log) -> None:
    records = {
        Record("a.py", "v1", "", None, False): {3, 1, 70_000},
        Record("a.py", "v2", "", None, False): {2},
        Record("a.py", None, "", None, False): {5},
        Record("a.py", "v1", "", "test_a|run", False): {4},
        Record("a.html", "v1", "jinja", None, False): {6},
        Record("a.py", "v1", "", None, True): {arc_of(-1, 1), arc_of(1, 2), arc_of(2, -1)},
        Record("never.py", "v1", "", None, True): set(),
    }

    log.append(PLANE, records)

    assert sorted(map(repr, read_records(path_of(log)))) == sorted(map(repr, with_numbers(records)))


@pytest.mark.parametrize(
    "name",
    ['a "b".py', "a\nb\r\u2028\x85.py", os.fsdecode(b"\xff\xfe.py"), "ä/\\.py", "[1]", "", "😀.py"],
)
def test_a_name_or_a_context_may_hold_what_any_text_may(log: Log, name: str) -> None:
    record = Record(name, "v1", "", name, False)

    log.append(PLANE, found(1, record=record))

    assert numbers_in(path_of(log), record) == [1]
    assert not Log(log._folder).append(PLANE, found(1, record=record))


def test_only_what_is_not_there_yet_is_appended(log: Log) -> None:
    log.append(PLANE, found(1, 2, 3))
    before = path_of(log).stat().st_size

    appended = log.append(PLANE, {**found(2, 3, 4), **found(2)})
    added = path_of(log).read_bytes()[before:]

    assert not appended
    assert added == b""
    assert log.append(PLANE, found(2, 3, 4))
    assert json.loads(path_of(log).read_bytes()[before:])[-1] == "4"
    assert numbers_in(path_of(log)) == [1, 2, 3, 4]


def test_what_another_process_has_appended_is_not_appended_again(log: Log) -> None:
    other = Log(log._folder)
    log.append(PLANE, found(1, 2))
    other.append(PLANE, found(2, 3))
    before = path_of(log).read_bytes()

    assert not log.append(PLANE, found(1, 2, 3))
    assert not other.append(PLANE, found(1, 2, 3))
    assert not Log(log._folder).append(PLANE, found(3, 1))

    assert path_of(log).read_bytes() == before


def test_a_record_without_numbers_is_appended_once(log: Log) -> None:
    assert log.append(PLANE, found())
    assert not log.append(PLANE, found())
    assert not Log(log._folder).append(PLANE, found())

    assert read_records(path_of(log)) == [APP]


def test_nothing_at_all_is_nothing_new(log: Log) -> None:
    assert not log.append(PLANE, {})


def test_what_is_given_is_not_changed_by_what_comes_later(log: Log) -> None:
    given = found(1, 2)
    log.append(PLANE, given)

    log.append(PLANE, found(3))
    given[APP].add(9)

    assert log.known_records()[PLANE] == found(1, 2, 3)
    assert given == found(1, 2, 9)


def test_planes_have_files_of_their_own(log: Log) -> None:
    log.append("load", found(1))
    log.append("untold-12", found(2))

    assert dict(log.planes()) == {
        "load": path_of(log, "load"),
        "untold-12": path_of(log, "untold-12"),
    }
    assert log.known_records() == {"load": found(1), "untold-12": found(2)}


@pytest.mark.parametrize("number", [2, 8])
def test_what_processes_append_at_once_is_all_there_in_whole_lines(
    child: Child, number: int
) -> None:
    told = child(
        IMPORTS
        + f"""
import random
number = {number}
folder = Path("memory")
folder.mkdir()
gate = Gate()

def work(each):
    gate.wait()
    log = Log(folder)
    batches = [{{record(f"m{{n}}.py"): {{*range(n, n + 300)}}}} for n in range(60)]
    batches.append({{record("own.py"): {{*range(each * 1000, each * 1000 + 1000)}}}})
    random.Random(each).shuffle(batches)
    for batch in batches:
        log.append("flushed-0", batch)
    assert not any(log.append("flushed-0", batch) for batch in batches)

pids = [fork(work, each) for each in range(number)]
gate.wait_for(number)
gate.open()
codes = all_ended(pids)
path = folder / "flushed-0.log"
raw = path.read_bytes()
every = numbers(path)
late = [Log(folder).append("flushed-0", {{record(name): {{*all_of}}}})
        for name, all_of in every.items()]
tell(
    codes=codes,
    whole=all(len(json.loads(line)) == 6 for line in raw.split(b"\\n") if line[:1] == b"["),
    wrong=[n for n in range(60) if every[f"m{{n}}.py"] != [*range(n, n + 300)]],
    own=every["own.py"] == [*range(number * 1000)],
    late=any(late),
    same=path.read_bytes() == raw,
)
"""
    )

    assert told == {
        "codes": [0] * number,
        "whole": True,
        "wrong": [],
        "own": True,
        "late": False,
        "same": True,
    }


def test_processes_that_come_one_after_another_append_the_same_once(child: Child) -> None:
    told = child(
        IMPORTS
        + """
Path("memory").mkdir()
path = Path("memory/flushed-0.log")
sizes = []
for _ in range(5):
    ended(fork(lambda: Log(path.parent).append("flushed-0", {record("a.py"): {*range(5000)}})))
    sizes.append(path.stat().st_size)
tell(sizes=len(set(sizes)), numbers=numbers(path)["a.py"] == [*range(5000)])
"""
    )

    assert told == {"sizes": 1, "numbers": True}


def test_a_fork_goes_on_with_what_its_parent_knew(child: Child) -> None:
    told = child(
        IMPORTS
        + """
Path("memory").mkdir()
log = Log(Path("memory"))
log.append("flushed-0", {record("a.py"): {1, 2}})
work = lambda: log.append("flushed-0", {record("a.py"): {2, 3}})
codes = all_ended([fork(work)])
new = log.append("flushed-0", {record("a.py"): {1, 2, 3}})
newer = log.append("flushed-0", {record("a.py"): {4}})
tell(codes=codes, new=new, newer=newer, numbers=numbers(Path("memory/flushed-0.log")))
"""
    )

    assert told == {"codes": [0], "new": False, "newer": True, "numbers": {"a.py": [1, 2, 3, 4]}}


# What is there and should not be

FOREIGN = [
    b"\n",
    b"not a record\n",
    b"\xff\xfe\0\n",
    b"\0" * 5000 + b"\n",
    b"[]\n",
    b"[" * 200_000 + b"\n",
    b"[" * 200_000 + b"]" * 200_000 + b"\n",
    b'["app.py","v1","",null,true]\n',
    b'["app.py","v1","",null,true,"9","more"]\n',
    b'["app.py","v1","",null,1,"9"]\n',
    b'["app.py","v1",null,null,true,"9"]\n',
    b'["app.py",1,"",null,true,"9"]\n',
    b'[null,"v1","",null,true,"9"]\n',
    b'["app.py","v1","",null,true,[9]]\n',
    b'["app.py","v1","",null,true,"9,"]\n',
    b'["app.py","v1","",null,true,"9,x"]\n',
    b'["app.py","v1","",null,true,"9.5"]\n',
    b'["app.py","v1","",null,true,"' + b"9" * 6000 + b'"]\n',
    b'["app.py","v1","",null,true,"9"\n',
    b'{"app.py":9}\n',
    b'  ["app.py","v1","",null,true,"9"]\n',
    b"a carriage return\rin a line\r\nand more\n",
]


@pytest.mark.parametrize("foreign", FOREIGN, ids=lambda raw: ascii(raw[:40]))
def test_a_line_that_is_no_record_is_passed_over(log: Log, foreign: bytes) -> None:
    log.append(PLANE, found(1))
    with path_of(log).open("ab") as file:
        file.write(foreign)

    log.append(PLANE, found(1, 2))

    assert numbers_in(path_of(log)) == [1, 2]
    other = Log(log._folder)
    assert not other.append(PLANE, found(1, 2))
    assert other.known_records() == log.known_records() == {PLANE: found(1, 2)}


@pytest.mark.parametrize("foreign", FOREIGN, ids=lambda raw: ascii(raw[:40]))
def test_a_memory_with_a_line_that_is_no_record_is_read(memory: Memory, foreign: bytes) -> None:
    memory.append(PLANE, found(1))
    with (memory.folder / f"{PLANE}.log").open("ab") as file:
        file.write(foreign)

    assert counting(memory.read()) == [1]


WHOLE = b'["app.py","v1","",null,true,"5,6,777"]'


@pytest.mark.parametrize("length", range(len(WHOLE)))
def test_a_torn_last_line_is_passed_over_and_what_follows_is_whole(log: Log, length: int) -> None:
    """A disk was full, or a process was killed, in the middle of a record."""
    log.append(PLANE, found(1))
    with path_of(log).open("ab") as file:
        file.write(b"\n" + WHOLE[:length])
    before = numbers_in(path_of(log))

    log.append(PLANE, found(1, 5))

    assert before == [1]
    assert numbers_in(path_of(log)) == [1, 5]
    assert log.known_records()[PLANE] == found(1, 5)
    assert Log(log._folder).append(PLANE, found(6))
    assert numbers_in(path_of(log)) == [1, 5, 6]


def test_a_line_that_lacks_but_its_end_is_a_record(log: Log) -> None:
    log.append(PLANE, found(1))
    with path_of(log).open("ab") as file:
        file.write(b"\n" + WHOLE)

    assert numbers_in(path_of(log)) == [1, 5, 6, 777]
    log.append(PLANE, found(2))
    assert numbers_in(path_of(log)) == [1, 2, 5, 6, 777]
    assert log.known_records()[PLANE] == found(1, 2, 5, 6, 777)
    assert not log.append(PLANE, found(777))


def test_a_torn_line_in_the_middle_takes_nothing_of_the_next_with_it(log: Log) -> None:
    path_of(log).write_bytes(b'\n["app.py","v1","",null,true,"1,2\n' + WHOLE + b"\n")

    assert numbers_in(path_of(log)) == [5, 6, 777]
    assert log.append(PLANE, found(1, 5))
    assert numbers_in(path_of(log)) == [1, 5, 6, 777]


def test_a_line_that_is_read_before_it_was_written_to_its_end_is_read_again(log: Log) -> None:
    """A reader may see a file grow in the middle of what another process appends."""
    log.append(PLANE, found(1))
    with path_of(log).open("ab", buffering=0) as file:
        file.write(b"\n" + WHOLE[:20])
        assert not log.append(PLANE, found(1))
        file.write(WHOLE[20:] + b"\n")

    assert not log.append(PLANE, found(1, 5, 6, 777))


@pytest.mark.parametrize("size", [0, 1, 20])
def test_a_file_that_has_become_shorter_is_read_anew(log: Log, size: int) -> None:
    log.append(PLANE, found(1, 2))
    os.truncate(path_of(log), size)

    assert log.append(PLANE, found(2, 3))

    assert numbers_in(path_of(log)) == [2, 3]
    assert log.known_records()[PLANE] == found(2, 3)


def test_a_file_that_is_gone_is_made_anew(log: Log) -> None:
    log.append(PLANE, found(1, 2))
    path_of(log).unlink()

    assert log.append(PLANE, found(2, 3))

    assert numbers_in(path_of(log)) == [2, 3]


@pytest.mark.parametrize("others", [1, 2, 500])
def test_another_file_in_its_place_is_read_anew_however_long_it_is(log: Log, others: int) -> None:
    """The old one was called load by another process, and the plane begun again."""
    log.append("untold-0", found(1, 2))
    other = Log(log._folder)
    other.move_plane("load", of="untold-0")
    other.append("untold-0", found(*range(100, 100 + others)))

    appended = log.append("untold-0", found(1, 2))

    wanted = {1, 2, *range(100, 100 + others)}
    assert appended
    assert {*numbers_in(path_of(log, "untold-0"))} == wanted
    assert log.known_records()["untold-0"] == found(*wanted)


def test_a_folder_that_is_gone_is_an_error_and_what_was_known_stays(log: Log) -> None:
    log.append(PLANE, found(1))
    path_of(log).unlink()
    log._folder.rmdir()

    with pytest.raises(FileNotFoundError):
        log.append(PLANE, found(2))

    assert log.known_records() == {PLANE: found(1)}
    assert list(log.planes()) == []


def test_a_link_in_the_place_of_a_file_is_not_followed(log: Log, tmp_path: Path) -> None:
    target = tmp_path / "somebody's"
    target.write_bytes(b"")
    path_of(log).symlink_to(target)

    with pytest.raises(OSError, match=path_of(log).name):
        log.append(PLANE, found(1))

    assert target.read_bytes() == b""


# Room


def test_more_than_the_bound_is_refused_and_what_is_there_stays(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    log.append(PLANE, found(1))
    before = path_of(log).read_bytes()
    monkeypatch.setattr(log_module, "MOST_BYTES", len(before) + 50)

    for _ in range(2):
        with pytest.raises(LogFullError) as refused:
            log.append(PLANE, found(*range(100)))

    assert refused.value.errno == errno.EFBIG
    assert path_of(log).read_bytes() == before
    assert log.known_records()[PLANE] == found(1)
    assert not log.append(PLANE, found(1))  # of that nothing is new
    assert log.append(PLANE, found(2))
    assert numbers_in(path_of(log)) == [1, 2]


def test_a_log_may_be_just_as_large_as_the_bound(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    other = log._folder / "other"
    other.mkdir()
    Log(other).append(PLANE, found(1))
    size = (other / f"{PLANE}.log").stat().st_size
    monkeypatch.setattr(log_module, "MOST_BYTES", size)

    log.append(PLANE, found(1))

    assert path_of(log).stat().st_size == size
    with pytest.raises(LogFullError):
        log.append(PLANE, found(2))


def test_a_memory_is_full_by_the_bound_and_keeps_the_room_it_has_set_aside(
    memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is room on the disk: to give back the reserve would be of no use."""
    memory.make_room(0)
    monkeypatch.setattr(log_module, "MOST_BYTES", 10)

    with pytest.raises(MemoryFullError):
        memory.append(PLANE, found(1))

    assert (memory.folder / "reserve").exists()


def test_what_was_cut_by_a_full_disk_is_an_error_and_completed_later(child: Child) -> None:
    told = child(
        IMPORTS
        + """
import resource
Path("memory").mkdir()
log, other = Log(Path("memory")), Log(Path("memory"))
path = Path("memory/flushed-0.log")
log.append("flushed-0", {record("a.py"): {1}})
soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
whole = {record(f"m{n}.py"): {*range(n + 40)} for n in range(30)}
wrong, errors, sizes = [], set(), []
room = path.stat().st_size
for step in (0, 1, 2, 30, 101, 170, 500, 7, 0):
    room += step
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
    for each in (log, other):
        try:
            each.append("flushed-0", whole)
            wrong.append(step)
        except OSError as error:
            errors.add(error.errno)
    sizes.append(path.stat().st_size <= room)
    held = log.known_records()["flushed-0"]
    there = numbers(path)
    wrong += [r.name for r, known in held.items() if not known <= {*there[r.name]}]
    wrong += [n for n, known in there.items() if n != "a.py" and not {*known} <= whole[record(n)]]
resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
log.append("flushed-0", whole)
late = other.append("flushed-0", whole)
there = numbers(path)
tell(
    wrong=wrong,
    errors=sorted(errors),
    sizes=all(sizes),
    late=late,
    first=there.pop("a.py"),
    all=there == {r.name: sorted(known) for r, known in whole.items()},
)
"""
    )

    assert told["wrong"] == []
    assert set(told["errors"]) <= {errno.ENOSPC, errno.EFBIG}
    assert told["sizes"]
    assert not told["late"]
    assert told["first"] == [1]
    assert told["all"]


def test_the_room_that_was_set_aside_is_given_to_records_where_there_is_no_other(
    on_small_disk: Child,
) -> None:
    told = on_small_disk(
        IMPORTS
        + """
memory = Memory(Path("disk"))
memory.make_room(0)
with open("disk/filler", "wb", buffering=0) as filler:
    try:
        while filler.write(bytes(4096)):
            pass
    except OSError:
        pass
some = {record("a.py"): {*range(20_000)}}
more = {record("b.py"): {*range(60_000)}}
memory.append("flushed-0", some)
reserve = (memory.folder / "reserve").exists()
errors = []
for _ in range(2):
    try:
        memory.append("flushed-0", more)
    except OSError as error:
        errors.append([type(error).__name__, error.errno])
first = {r.name: len(r.numbers) for r in memory.read().records[Phase.RUNTIME]}
os.unlink("disk/filler")
memory.append("flushed-0", more)
last = {r.name: len(r.numbers) for r in memory.read().records[Phase.RUNTIME]}
tell(reserve=reserve, errors=errors, first=first, last=last)
""",
        kilobytes=(RESERVE + CHUNK >> 10) + 1000,
    )

    assert not told["reserve"]
    assert told["errors"] == [["MemoryFullError", errno.ENOSPC]] * 2
    assert told["first"] == {"a.py": 20_000}
    assert told["last"] == {"a.py": 20_000, "b.py": 60_000}


# Names of planes


def test_a_plane_that_is_called_another_takes_its_records_along(log: Log) -> None:
    log.append("untold-0", found(1, 2))

    log.move_plane("load", of="untold-0")

    ((plane, path),) = log.planes()
    assert plane == "load"
    assert numbers_in(path) == [1, 2]


def test_planes_that_are_called_the_same_do_not_replace_each_other(log: Log) -> None:
    log.append("load", found(1))
    for number in (2, 3):
        log.append("untold-0", found(number))
        log.move_plane("load", of="untold-0")

    assert {plane for plane, _ in log.planes()} == {"load"}
    assert sorted(n for _, path in log.planes() for n in numbers_in(path)) == [1, 2, 3]


def test_a_plane_of_which_there_is_nothing_may_be_called_another(log: Log) -> None:
    log.move_plane("load", of="untold-0")

    assert list(log.planes()) == []


def test_who_has_a_file_open_that_is_called_another_loses_nothing(child: Child) -> None:
    told = child(
        IMPORTS
        + """
folder = Path("memory")
folder.mkdir()
log = Log(folder)
log.append("untold-0", {record("a.py"): {1}})
write = os.write

def in_another_process():
    other = Log(folder)
    other.move_plane("load", of="untold-0")
    other.append("untold-0", {record("a.py"): {3, 4, 5}})  # longer than the old one

def renamed_before(fd, raw):
    os.write = write
    all_ended([fork(in_another_process)])
    return write(fd, raw)

os.write = renamed_before
log.append("untold-0", {record("a.py"): {1, 2}})
appended = log.append("untold-0", {record("a.py"): {6}})
planes = {}
for plane, path in log.planes():
    planes.setdefault(plane, []).extend(n for each in read_records(path) for n in each.numbers)
tell(appended=appended, planes={plane: sorted({*numbers}) for plane, numbers in planes.items()})
"""
    )

    assert told["appended"]
    assert told["planes"] == {"load": [1, 2], "untold-0": [3, 4, 5, 6]}


def test_processes_that_append_while_a_plane_is_called_another_lose_nothing(child: Child) -> None:
    told = child(
        IMPORTS
        + """
Path("memory").mkdir()
gate = Gate()

def work(each):
    gate.wait()
    log = Log(Path("memory"))
    for number in range(each * 1000, each * 1000 + 400):
        log.append("untold-0", {record("a.py"): {number}})

def rename():
    gate.wait()
    log = Log(Path("memory"))
    for _ in range(200):
        log.move_plane("load", of="untold-0")

pids = [fork(work, each) for each in range(4)] + [fork(rename)]
gate.wait_for(5)
gate.open()
codes = all_ended(pids)
found = [n for _, path in Log(Path("memory")).planes() for n in numbers(path).get("a.py", ())]
wanted = {n for each in range(4) for n in range(each * 1000, each * 1000 + 400)}
tell(codes=codes, lost=sorted(wanted - {*found}), more=sorted({*found} - wanted))
"""
    )

    assert told == {"codes": [0] * 5, "lost": [], "more": []}


@pytest.mark.parametrize(
    "name",
    [
        "load",
        "load.logs",
        "load.log.new",
        "xload.log",
        "load.0123456.log",
        "load.0123456g.log",
        "load.01234567.89abcdef.log",
        "load-0.log",
        "flushed.log",
        "flushed-.log",
        "flushed--1.log",
        "flushed-1-2.log",
        "flushed-x.log",
        "run-0.log",
        "none-0.log",
        "another.log",
        "load.log\n",
        "Load.log",
    ],
)
def test_a_file_of_another_name_is_no_plane(memory: Memory, name: str) -> None:
    (memory.folder / name).write_bytes(WHOLE + b"\n")

    assert list(memory._log.planes()) == []
    assert memory.read().records == {}
    memory.remove()
    assert name in os.listdir(memory.folder)


def test_there_are_no_planes_in_a_folder_that_is_not_there(tmp_path: Path) -> None:
    assert list(Log(tmp_path / "none").planes()) == []


def test_a_plane_that_is_forgotten_is_read_again(log: Log) -> None:
    log.append(PLANE, found(1))

    log.forget(PLANE)

    assert log.known_records() == {}
    assert not log.append(PLANE, found(1))
    assert log.known_records() == {PLANE: found(1)}
    log.forget("another")


@pytest.mark.parametrize("mask", [0, 0o022, 0o077])
def test_files_are_for_the_own_user_only(child: Child, mask: int) -> None:
    told = child(
        IMPORTS
        + f"""
os.umask({mask})
Path("memory").mkdir()
memory = Memory(Path("memory"))
memory.append("untold-0", {{record("a.py"): {{1}}}})
memory.append("flushed-0", {{record("a.py"): {{1}}}})
memory.count_as_load(0, flushed=True)
tell(modes={{each.name: each.stat().st_mode for each in Path("memory").glob("*.log")}})
"""
    )

    assert len(told["modes"]) == 2
    assert {stat.S_IMODE(mode) for mode in told["modes"].values()} == {0o600}


def test_no_descriptor_stays_open(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    before = os.listdir("/proc/self/fd")

    log.append(PLANE, found(1))
    log.append(PLANE, found(1))
    log.append("untold-0", found(1))
    log.move_plane("load", of="untold-0")
    for _, path in log.planes():
        read_records(path)
    monkeypatch.setattr(log_module, "MOST_BYTES", 10)
    with pytest.raises(LogFullError):
        log.append(PLANE, found(2))

    assert os.listdir("/proc/self/fd") == before


def test_an_exception_anywhere_in_appending_makes_nobody_believe_what_is_not_there(
    child: Child,
) -> None:
    """A signal handler of the application may raise at any line."""
    told = child(
        IMPORTS
        + INTERRUPTED
        + """
def is_wrong(line):
    folder = Path(str(line))
    folder.mkdir()
    Log(folder).append("flushed-0", {record("b.py"): {7}})
    log = Log(folder)
    log.append("flushed-0", {record("a.py"): {1}})
    Log(folder).append("flushed-0", {record("b.py"): {8}})
    work = {record("a.py"): {1, 2}, record("c.py"): {3}}
    if not interrupted_at(log_module.__file__, line, lambda: log.append("flushed-0", work)):
        return None
    log.append("flushed-0", work)
    wanted = {"a.py": [1, 2], "b.py": [7, 8], "c.py": [3]}
    held = {r.name: sorted(known) for r, known in log.known_records()["flushed-0"].items()}
    return numbers(folder / "flushed-0.log") != wanted or held != wanted

found = []
while None not in found:
    found.append(is_wrong(len(found) + 1))
tell(lines=len(found), wrong=[line for line, wrong in enumerate(found, 1) if wrong])
"""
    )

    assert told["lines"] > 20
    assert told["wrong"] == []


# In a memory


def test_records_are_read_by_phase(memory: Memory) -> None:
    memory.append("load", found(1))
    memory.append("untold-0", found(2))
    memory.append("flushed-0", found(3))

    reading = Memory(memory.folder).read()

    assert [counting(reading, phase) for phase in (LOAD, None, RUNTIME)] == [[1], [2], [3]]
    assert reading.problems == ()
    assert not reading.is_empty
    assert set(reading.names()) == {"app.py"}


@pytest.mark.parametrize(("plane", "phase"), [("flushed", RUNTIME), ("untold", None)])
def test_records_of_an_ended_epoch_do_not_count_also_when_they_come_late(
    memory: Memory, plane: str, phase: Phase | None
) -> None:
    memory.append("load", found(1))
    memory.append(f"{plane}-0", found(2))
    begin_epoch(memory, 1)
    memory.append(f"{plane}-0", found(3))
    memory.append(f"{plane}-1", found(4))

    reading = memory.read()

    assert counting(reading, phase) == [4]
    assert counting(reading, LOAD) == [1]


@pytest.mark.parametrize(("plane", "phase"), [("flushed", RUNTIME), ("untold", None)])
def test_flushed_lines_of_an_ended_epoch_do_not_count_also_when_they_come_late(
    memory: Memory, plane: str, phase: Phase | None
) -> None:
    """What is held back is not flushed late: who hears of a reset lets go of it."""
    memory.chunk_of_plane(f"{plane}-0", 0)[2] = 1
    memory.chunk(RUNTIME, 0, 0)[3] = 1
    begin_epoch(memory, 1)
    memory.chunk_of_plane(f"{plane}-0", 0)[4] = 1
    memory.chunk(RUNTIME, 0, 0)[5] = 1
    memory.chunk_of_plane(f"{plane}-1", 0)[6] = 1

    planes = memory.read().by_phase
    lines = {each: [n for n, byte in enumerate(planes[each][0]) if byte] for each in planes}

    assert lines == ({RUNTIME: [5, 6]} if phase is RUNTIME else {RUNTIME: [5], phase: [6]})


def test_an_epoch_that_began_without_a_reset_counts_with_those_before(memory: Memory) -> None:
    memory.append("load", found(1))
    memory.append("flushed-0", found(2))
    memory.chunk_of_plane("flushed-0", 0)[7] = 1
    memory.announce(epoch=1, oldest=0, paused=False)
    memory.append("flushed-1", found(3))
    memory.chunk_of_plane("flushed-1", 0)[8] = 1

    before = memory.read(before=1)
    everything = memory.read()

    assert (counting(before, LOAD), counting(before)) == ([1], [2])
    assert before.by_phase[RUNTIME][0].count(1) == 1
    assert (counting(everything, LOAD), counting(everything)) == ([1], [2, 3])
    assert everything.by_phase[RUNTIME][0].count(1) == 2


def test_old_records_and_flushed_lines_are_swept_and_the_load_is_not(memory: Memory) -> None:
    for plane in ("load", "flushed-0", "untold-0"):
        memory.append(plane, found(1))
    memory.append("untold-0", found(2))
    memory.count_as_load(0, flushed=True)
    memory.append("untold-0", found(3))
    memory.chunk_of_plane("flushed-0", 0)[7] = 1
    memory.sweep()
    early = set(os.listdir(memory.folder))
    begin_epoch(memory, 1)
    memory.append("flushed-1", found(4))

    memory.sweep()
    late = set(os.listdir(memory.folder))

    assert {"flushed-0.log", "untold-0.log", "flushed-0-0.lines"} <= early
    assert {name for name in late if "-0." in name or "-0-" in name} == set()
    reading = memory.read()
    assert (counting(reading, LOAD), counting(reading, None), counting(reading)) == (
        [1, 2],
        [],
        [4],
    )
    assert reading.by_phase.get(RUNTIME, {}).get(0, b"").count(1) == 0


def test_old_records_stay_while_a_living_process_is_in_their_epoch(memory: Memory) -> None:
    slot = memory.table.claim(flags=0, turn=0, epoch=0, token=1)
    memory.append("flushed-0", found(1))
    begin_epoch(memory, 1)

    memory.sweep()
    early = "flushed-0.log" in os.listdir(memory.folder)
    slot.note_applied(memory.turn[0], 1)
    memory.sweep()

    assert early
    assert "flushed-0.log" not in os.listdir(memory.folder)


def test_a_removed_memory_leaves_no_record(memory: Memory) -> None:
    for plane in ("load", "flushed-0", "untold-0", "untold-1"):
        memory.append(plane, found(1))
    memory.count_as_load(1, flushed=True)

    assert memory.remove()

    assert os.listdir(memory.folder) == []


def test_a_memory_with_records_that_are_in_no_data_file_is_not_removed(memory: Memory) -> None:
    memory.append("flushed-0", found(1))
    memory.note_saved(memory.read().checksum())
    memory.append("flushed-0", found(2))

    assert not memory.remove(only_saved=True)
    memory.note_saved(memory.read().checksum())
    assert memory.remove(only_saved=True)


@pytest.mark.parametrize("step", range(9))
def test_a_memory_that_is_made_while_another_is_removed_keeps_what_is_put_there(
    child: Child, step: int
) -> None:
    """A process starts in the middle of the removal, after any step of it."""
    told = child(
        IMPORTS
        + f"STEP = {step}"
        + """
folder = Path("memory")
folder.mkdir()
memory = Memory(folder)
memory.place("old.py", "v1", 100)
memory.chunk_of_plane("load", 0)
memory.append("flushed-0", {record("old.py"): {1}})
memory.append("load", {record("old.py"): {1}})
unlink, left = Path.unlink, STEP

def start():
    new = Memory(folder)
    try:
        new.table.claim(flags=0, turn=0, epoch=0, token=1)
    except OSError:  # nobody may claim it just now: who starts tries again
        return
    new.place("new.py", "v1", 100)
    new.chunk_of_plane("load", 0)[5] = 1
    new.append("flushed-0", {record("new.py"): {5}})
    new.append("load", {record("new.py"): {5}})
    Path("began").touch()

def unlink_and_start(path, missing_ok=False):
    global left
    unlink(path, missing_ok=missing_ok)
    left -= 1
    if left == -1:
        all_ended([fork(start)])

Path.unlink = unlink_and_start
memory.remove()
Path.unlink = unlink
wrong = []
if Path("began").exists():
    reading = Memory(folder).read()
    wrong = [
        [claim.name for claim in reading.sources] != ["new.py"] and "claims",
        reading.by_phase.get(Phase.LOAD, {}).get(0, b"").count(1) != 1 and "lines",
        *(
            {(r.name, r.numbers) for r in reading.records.get(phase, ())} != {("new.py", (5,))}
            and f"records, {phase}"
            for phase in (Phase.LOAD, Phase.RUNTIME)
        ),
    ]
tell(wrong=[each for each in wrong if each])
"""
    )

    assert told["wrong"] == []


@pytest.mark.parametrize("plane", ["load", "flushed-0", "untold-0"])
def test_when_the_folder_is_gone_a_process_still_reads_what_it_knows(
    memory: Memory, plane: str
) -> None:
    memory.append(plane, found(1))
    Memory(memory.folder).append(plane, found(2))
    memory.append(plane, found(3))
    before = memory.read()
    remove_all(memory)

    reading = memory.read()

    assert reading.problems == ()
    assert reading.records == before.records
    assert reading.checksum() == before.checksum()


def test_when_the_folder_is_gone_only_what_counts_is_read(memory: Memory) -> None:
    memory.append("flushed-0", found(1))
    memory.append("load", found(2))
    begin_epoch(memory, 1)
    memory.append("flushed-1", found(3))
    remove_all(memory)

    reading = memory.read()

    assert (counting(reading), counting(reading, LOAD)) == ([3], [2])
    assert counting(memory.read(before=1)) == []


def test_when_the_folder_is_gone_what_was_called_load_is_still_read(memory: Memory) -> None:
    memory.append("untold-0", found(1))
    memory.chunk_of_plane("untold-0", 0)[7] = 1
    memory.count_as_load(0, flushed=True)
    remove_all(memory)

    reading = memory.read()

    assert reading.by_phase[LOAD][0][7] == 1
    assert counting(reading, LOAD) == [1]


def remove_all(memory: Memory) -> None:
    for name in os.listdir(memory.folder):
        (memory.folder / name).unlink()
    memory.folder.rmdir()


def test_nothing_is_appended_to_a_memory_that_is_gone_or_has_another_in_its_place(
    memory: Memory,
) -> None:
    remove_all(memory)
    with pytest.raises(MemoryGoneError):
        memory.append("flushed-0", found(1))
    memory.folder.mkdir()
    new = Memory(memory.folder)

    with pytest.raises(MemoryGoneError):
        memory.append("flushed-0", found(1))

    assert new.read().records == {}


def test_a_reading_with_another_record_has_another_checksum(memory: Memory) -> None:
    sums = [memory.read().checksum()]
    for plane, record, numbers in [
        ("flushed-0", APP, ()),
        ("flushed-0", APP, (1,)),
        ("flushed-0", APP, (1, 2)),
        ("untold-0", APP, (1, 2)),
        ("load", APP, (1, 2)),
        ("flushed-0", APP._replace(version=None), (1,)),
        ("flushed-0", APP._replace(context="test_a"), (1,)),
        ("flushed-0", APP._replace(tracer="jinja"), (1,)),
        ("flushed-0", APP._replace(has_arcs=False), (1,)),
        ("flushed-0", APP._replace(name=os.fsdecode(b"\xff.py")), (1,)),
    ]:
        memory.append(plane, found(*numbers, record=record))
        sums.append(memory.read().checksum())

    assert len(set(sums)) == len(sums)
    assert Memory(memory.folder).read().checksum() == sums[-1]


def test_the_checksum_is_the_same_in_whatever_order_records_came(tmp_path: Path) -> None:
    """By it processes tell whether a data file holds all that is in the memory."""
    sums = set()
    for order in range(5):
        folder = tmp_path / str(order)
        folder.mkdir()
        memory = Memory(folder)
        numbers = list(range(50))
        random.Random(order).shuffle(numbers)
        for number in numbers:
            memory.append("flushed-0", found(number))
        sums.update({memory.read().checksum(), Memory(memory.folder).read().checksum()})
        memory.remove()

    assert len(sums) == 1


def test_a_log_that_cannot_be_read_is_named_and_the_others_are_read(memory: Memory) -> None:
    memory.append("flushed-0", found(1))
    (memory.folder / "load.log").mkdir()

    reading = memory.read()

    assert counting(reading) == [1]
    (problem,) = reading.problems
    assert "load.log" in problem
