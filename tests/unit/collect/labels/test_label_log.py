"""What one process has stored of labelled requests, where others forget labels meanwhile."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import pytest

from wsgi_coverage.collect.labels.label_log import LabelLog
from wsgi_coverage.store import label_uses
from wsgi_coverage.store.memory import Memory

SOURCE = ("shop.py", "version")


@pytest.fixture
def memory(tmp_path: Path) -> Memory:
    return Memory(tmp_path)


def log_of(memory: Memory, *labels: str) -> LabelLog:
    log = LabelLog(None)
    assert all(log.takes(memory.state().epoch, label) for label in labels)
    return log


def ran(*lines: int) -> dict[tuple[str, str], set[int]]:
    return {SOURCE: set(lines)}


def stored(memory: Memory) -> dict[str, set[int]]:
    """Lines by label."""
    found: dict[str, set[int]] = {}
    for record in itertools.chain(*Memory(memory.folder).read().records.values()):
        label = str(record.context).rpartition("|")[2]
        found.setdefault(label, set()).update(record.numbers)
    return found


def requests(memory: Memory) -> dict[str, int]:
    labels = Memory(memory.folder).read().labels
    return {label.rpartition("|")[2]: use.requests for label, use in labels.items()}


def test_what_is_forgotten_is_stored_again_as_a_whole_by_every_process(memory: Memory) -> None:
    epoch = memory.state().epoch
    first, second = (log_of(memory, "one", "other") for _ in range(2))
    for log in (first, second):
        log.add(memory, epoch, "one", ran(1, 2))
        log.add(memory, epoch, "other", ran(1))

    Memory(memory.folder).forget_label("runtime|one")
    assert stored(memory) == {"other": {1}}
    assert requests(memory) == {"other": 2}

    first.add(memory, epoch, "one", ran(2))
    second.add(memory, epoch, "one", ran(3))
    second.add(memory, epoch, "one", ran(2))
    assert stored(memory) == {"one": {2, 3}, "other": {1}}


def test_requests_are_counted_one_by_one_and_forgotten(memory: Memory) -> None:
    epoch = memory.state().epoch
    logs = [log_of(memory, "one", "other") for _ in range(2)]
    for log in logs:
        for label in ("one", "other"):
            for _ in range(3):
                log.add(memory, epoch, label, ran(1))
    assert requests(memory) == {"one": 6, "other": 6}

    Memory(memory.folder).forget_label("runtime|one")
    assert requests(memory) == {"other": 6}

    logs[0].add(memory, epoch, "one", ran(1))
    logs[1].add(memory, epoch, "other", ran(1))
    assert requests(memory) == {"one": 1, "other": 7}
    Memory(memory.folder).forget_label("runtime|other")
    logs[0].add(memory, epoch, "one", ran(1))
    assert requests(memory) == {"one": 2}


def test_a_forked_child_counts_in_files_of_its_own(memory: Memory) -> None:
    epoch = memory.state().epoch
    log = log_of(memory, "one")
    log.add(memory, epoch, "one", ran(1))

    if not (child := os.fork()):
        log.after_fork()
        log.add(memory, epoch, "one", ran(1))
        log.add(memory, epoch, "one", ran(1))
        os._exit(0)
    os.waitpid(child, 0)
    log.add(memory, epoch, "one", ran(1))

    assert requests(memory) == {"one": 4}


def test_many_labels_are_counted(memory: Memory) -> None:
    epoch = memory.state().epoch
    labels = [f"{number}{'é' * (number % 180)}" for number in range(2_000)]
    log = log_of(memory, *labels)
    for label in labels:
        log.add(memory, epoch, label, {})

    assert requests(memory) == dict.fromkeys(labels, 1)


def test_labels_are_bounded_in_number_and_those_that_are_known_go_on(memory: Memory) -> None:
    epoch = memory.state().epoch
    log = log_of(memory, *map(str, range(10_000)))

    assert not log.takes(epoch, "one more")
    assert log.takes(epoch, "0")
    assert log.refused == 1


class Forgetting(Memory):
    """A memory in which a label is forgotten when it is asked for the `at`-th time whether any was.

    Between two of its own steps another process may have done so.
    """

    at = 0

    @property
    def forgotten(self) -> int:
        self.at -= 1
        if self.at == 0:
            Memory(self.folder).forget_label("runtime|one")
        return super().forgotten

    def append_labelled(self, *found: object) -> None:  # type: ignore[override]
        self.at -= 1
        if self.at == 0:
            Memory(self.folder).forget_label("runtime|one")
        super().append_labelled(*found)  # type: ignore[arg-type]


@pytest.mark.parametrize("at", range(1, 6))
def test_no_line_of_a_request_is_lost_whenever_its_label_is_forgotten(
    tmp_path: Path, at: int
) -> None:
    memory = Forgetting(tmp_path)
    epoch = memory.state().epoch
    log = log_of(memory, "one")
    log.add(memory, epoch, "one", ran(1, 2))

    memory.at = at
    log.add(memory, epoch, "one", ran(2, 3))
    log.add(memory, epoch, "one", ran(4))

    # Up to the third time that is before the second request counts; then it is after it.
    assert memory.at <= 0
    assert stored(memory)["one"] == ({2, 3, 4} if at < 4 else {4})
    assert requests(memory)["one"] == (2 if at < 4 else 1)
    # Whatever is forgotten at last, all of a later request is there.
    log.add(memory, epoch, "one", ran(1, 2, 3, 4))
    assert stored(memory)["one"] == {1, 2, 3, 4}


def test_counts_before_the_damage_of_a_file_count(memory: Memory) -> None:
    epoch = memory.state().epoch
    log = log_of(memory, "one", "two", "three")
    for label in ("one", "two", "three"):
        log.add(memory, epoch, label, ran(1))
    (path,) = (path for _, path in label_uses.files(memory.folder))

    content = path.read_bytes().replace(b"runtime|two", b"runtime|\xfftw")
    path.write_bytes(content)

    assert requests(memory) == {"one": 1}
    memory.forget_label("runtime|one")
    assert requests(memory) == {}


def test_other_records_than_those_of_the_label_stay(memory: Memory) -> None:
    epoch = memory.state().epoch
    log = log_of(memory, "one", "one more")
    log.add(memory, epoch, "one", ran(1))
    log.add(memory, epoch, "one more", ran(1))

    memory.forget_label("runtime|one")

    assert stored(memory) == {"one more": {1}}
    found, end = memory.forgotten_labels(epoch, 0)
    assert found == {"runtime|one"}
    assert memory.forgotten_labels(epoch, end) == (set(), end)
