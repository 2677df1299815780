"""Ask every live worker of this host, this one included, to do one thing.

Those that have a thread of ours are called over their sockets. The others find what they are asked
in the memory, at their next request: they are not waited for, and are named where they cannot hear.

Concurrency: functions without state; no lock of ours is held while answers are waited for.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from wsgi_coverage import clock
from wsgi_coverage.collect.peers import HOLDS, READS, others, unreached
from wsgi_coverage.model import Gathering, JsonObject, WorkerState
from wsgi_coverage.store.channel import HAS_SOCKETS, call_all, listening, why_not
from wsgi_coverage.store.memory import Memory
from wsgi_coverage.store.processes import Entry

if TYPE_CHECKING:
    from wsgi_coverage.collect.worker import Worker

MISSED = (
    "another host has reset, and this one heard of it only now: what ran here in between is not "
    "told apart from what ran before, and is not counted"
)
CUT_OFF = "no other worker can be reached, and there may be some: {}"
HIDDEN = (
    "there is no /proc here to find children by that this process has forked since it serves; one "
    "that does nothing new hears of it only when it does"
)
STARTING = 0.25  # seconds for a forked child to have its thread
REACHING = 1.5  # seconds for a process whose memory was removed to be reachable again
AGAIN = 0.005  # seconds between two looks


def ask_all(worker: Worker, verb: str, *, wait: float) -> Gathering:
    """Have every live worker of this host do one thing.

    Args:
        worker: this process's.
        verb: publish, reset, collect, pause, resume or status.
        wait: seconds to wait for answers, at most.

    Raises:
        WsgiCoverageError: this worker itself could not.
    """
    worker.memories.announce()
    mine = _described(worker, worker.does(verb), verb)
    silent = _silent(worker, verb, wait=min(wait, STARTING))  # of these nobody is called
    but = {worker.pid, *(each.pid for each in silent.values())}
    cut_off = why_not(worker.private)
    answers = [] if cut_off else call_all(worker.private, verb, wait=wait, but=but)
    workers = [mine, *_beside(worker, verb, answers, wait=min(wait, REACHING))]
    workers += _late(worker, verb, {each.pid for each in workers})
    return Gathering(
        workers=tuple(sorted(workers, key=lambda each: (each.host, each.pid))),
        ended_at=clock.now(),
    )


def live_ids(worker: Worker) -> set[str] | None:
    """Ids of this host's workers that live, none of which is asked; None: that cannot be told."""
    if not HAS_SOCKETS:
        return None
    found = {worker.id, *listening(worker.private)}
    for memory in worker.memories.own():
        living = _living(worker, memory)
        found.update(others(living, memory.state(), "status", host=worker.host))
    return found


def _beside(
    worker: Worker, verb: str, answers: list[JsonObject], *, wait: float
) -> list[WorkerState]:
    """The states of all workers but this one, some of which have answered.

    Those whose sockets are gone have made them anew within a second, and are asked then. Some have
    stopped to answer since they were called.
    """
    deadline = time.monotonic() + wait
    while True:
        reached, state = {int(answer["pid"]) for answer in answers}, worker.memory.state()
        beside = [each for each in _living(worker, worker.memory) if each.pid not in reached]
        missing = unreached(beside, host=worker.host)
        left = deadline - time.monotonic()
        if not missing or left <= 0 or why_not(worker.private):
            silent = others(beside, state, verb, host=worker.host)
            return [*map(_state_of, answers), *silent.values(), *missing]
        time.sleep(AGAIN)
        for each in missing:
            answers += call_all(worker.private, verb, wait=left, only=each.pid)


def _late(worker: Worker, verb: str, noted: set[int]) -> list[WorkerState]:
    """Forked children that have not registered yet, and may hear of nothing until then."""
    late = worker.memory.late(noted)
    return [*others(late, worker.memory.state(), verb, host=worker.host).values()]


def _living(worker: Worker, memory: Memory) -> list[Entry]:
    """The live processes of a memory beside this one."""
    return [each for each in memory.table.living() if each.pid != worker.pid]


def _silent(worker: Worker, verb: str, *, wait: float) -> dict[str, WorkerState]:
    """The processes that answer no call; one just forked may have no thread yet."""
    deadline = time.monotonic() + wait
    while True:
        state = worker.memory.state()
        found = others(_living(worker, worker.memory), state, verb, host=worker.host)
        starting = any(each.error == HOLDS for each in found.values())
        if not starting or time.monotonic() >= deadline:
            return found
        time.sleep(AGAIN)


def _described(worker: Worker, mine: WorkerState, verb: str) -> WorkerState:
    """This worker's state, with an error where its lines are not all there, or may not be."""
    error = MISSED if worker.memory.has_missed else None
    if error is None and (cut_off := why_not(worker.private)) is not None:
        error = CUT_OFF.format(cut_off)
    if error is None and verb not in READS and worker.memory.hides_children:
        error = HIDDEN
    return mine if error is None else replace(mine, fresh=False, error=error)


def _state_of(answer: JsonObject) -> WorkerState:
    answered = bool(answer["answered"])
    return WorkerState(
        id=answer["id"],
        host=answer["host"],
        pid=answer["pid"],
        state=answer["state"] if answered else "silent",
        published_at=answer.get("published_at"),
        fresh=answered and answer["fresh"],
        error=answer.get("error") if answered else "no answer in time",
        server=answer.get("server"),
        core=answer.get("core"),
        requests=answer.get("requests"),
    )
