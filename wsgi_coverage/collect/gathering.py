"""Ask every live worker of this host, this one included, to do one thing.

Workers that have a thread of ours are called over their sockets. The others read resets and pauses
in the memory at their next request: they are not waited for, and the answer names those that may
never do so.

Concurrency: functions without state; no lock of ours is held while answers are waited for.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from wsgi_coverage import clock
from wsgi_coverage.collect.peers import HOLDS, READS, states_without_call, unreached
from wsgi_coverage.model import Gathering, JsonObject, WorkerState
from wsgi_coverage.store.channel import HAS_SOCKETS, Verb, call_all, listening, why_not
from wsgi_coverage.store.memory import Memory
from wsgi_coverage.store.processes import ProcessEntry

if TYPE_CHECKING:
    from wsgi_coverage.collect.memories import Memories
    from wsgi_coverage.collect.worker import Worker

MISSED = (
    "another host, or another container on this one, has reset, and this worker learned of it only "
    "now: lines that ran here between the two are left out, because they cannot be told from lines "
    "that ran before the reset"
)
CUT_OFF = "other workers, if there are any, cannot be reached: {}"
HIDDEN = (
    "this server has forked workers since it began to serve, and without /proc those that have run "
    "no new line since then cannot be found: such a worker applies a reset or a pause when it runs "
    "one"
)
START_TIMEOUT = 0.25  # seconds for a forked child to have its thread
REACH_TIMEOUT = 1.5  # seconds for a process whose memory was removed to be reachable again
CHECK_INTERVAL = 0.005  # seconds between two looks into the table of processes


class Asker(Protocol):
    """The process that asks: a worker, or a process that marks no lines itself."""

    @property
    def host(self) -> str:
        """The name of the host."""
        ...

    @property
    def pid(self) -> int:
        """The process id of the caller, which is not called itself."""
        ...

    @property
    def private(self) -> Path:
        """The private folder, with the sockets."""
        ...

    @property
    def memory(self) -> Memory:
        """The memory whose processes are asked."""
        ...

    @property
    def memories(self) -> Memories:
        """All memories of the host."""
        ...


def ask_all(worker: Worker, verb: Verb, *, wait: float) -> Gathering:
    """Have every live worker of this host do one thing.

    Args:
        worker: this process's worker.
        verb: what to do.
        wait: seconds to wait for answers, at most.

    Raises:
        WsgiCoverageError: this process's own worker has failed.
    """
    worker.memories.announce_epoch()
    mine = _described(worker, worker.do(verb), verb)
    return as_gathering([mine, *_ask_beside(worker, verb, {worker.pid}, wait=wait)])


def ask_workers(asker: Asker, verb: Verb, *, wait: float) -> list[WorkerState]:
    """Have every live worker of this host do one thing, for a process that is no worker.

    Args:
        asker: that process.
        verb: as for `ask_all`.
        wait: seconds to wait for answers, at most.
    """
    asker.memories.announce_epoch()
    return _ask_beside(asker, verb, set(), wait=wait)


def as_gathering(workers: Iterable[WorkerState], problems: Iterable[str] = ()) -> Gathering:
    """Return the states of workers, sorted, as the result of a call."""
    return Gathering(
        workers=tuple(sorted(workers, key=lambda each: (each.host, each.pid))),
        ended_at=clock.now(),
        problems=tuple(problems),
    )


def _ask_beside(asker: Asker, verb: Verb, known: set[int], *, wait: float) -> list[WorkerState]:
    silent = _silent(asker, verb, wait=min(wait, START_TIMEOUT))  # of these nobody is called
    but = {asker.pid, *(each.pid for each in silent.values())}
    cut_off = why_not(asker.private)
    answers = [] if cut_off else call_all(asker.private, verb, wait=wait, but=but)
    workers = _beside(asker, verb, answers, wait=min(wait, REACH_TIMEOUT))
    return workers + _late(asker, verb, known | {each.pid for each in workers})


def live_ids(worker: Worker) -> set[str] | None:
    """Return the ids of this host's live workers, without a call; None: they cannot be known."""
    if not HAS_SOCKETS:
        return None
    found = {worker.id, *listening(worker.private)}
    for memory in worker.memories.own():
        living = _living(worker, memory)
        found.update(states_without_call(living, memory.state(), Verb.STATUS, host=worker.host))
    return found


def _beside(
    asker: Asker, verb: Verb, answers: list[JsonObject], *, wait: float
) -> list[WorkerState]:
    """Return the states of all workers but the caller, given the answers of some.

    Workers whose sockets were removed make new ones within a second, and are called then. The
    others are read in the table of processes, also those that have stopped to listen meanwhile.
    """
    deadline = time.monotonic() + wait
    while True:
        reached, state = {int(answer["pid"]) for answer in answers}, asker.memory.state()
        beside = [each for each in _living(asker, asker.memory) if each.pid not in reached]
        missing = unreached(beside, host=asker.host)
        left = deadline - time.monotonic()
        if not missing or left <= 0 or why_not(asker.private):
            silent = states_without_call(beside, state, verb, host=asker.host)
            return [*map(_state_of, answers), *silent.values(), *missing]
        time.sleep(CHECK_INTERVAL)
        for each in missing:
            answers += call_all(asker.private, verb, wait=left, only=each.pid)


def _late(asker: Asker, verb: Verb, noted: set[int]) -> list[WorkerState]:
    """Return the states of forked children that have not registered yet."""
    late = asker.memory.unregistered(noted)
    return [*states_without_call(late, asker.memory.state(), verb, host=asker.host).values()]


def _living(asker: Asker, memory: Memory) -> list[ProcessEntry]:
    """Return the live processes of a memory without the caller."""
    return [each for each in memory.table.living() if each.pid != asker.pid]


def _silent(asker: Asker, verb: Verb, *, wait: float) -> dict[str, WorkerState]:
    """Return the states of processes that answer no call.

    Waits for processes that have just been forked to start their threads.
    """
    deadline = time.monotonic() + wait
    while True:
        state = asker.memory.state()
        found = states_without_call(_living(asker, asker.memory), state, verb, host=asker.host)
        starting = any(each.error == HOLDS for each in found.values())
        if not starting or time.monotonic() >= deadline:
            return found
        time.sleep(CHECK_INTERVAL)


def _described(worker: Worker, mine: WorkerState, verb: Verb) -> WorkerState:
    """Return this worker's state, with an error where its answer is, or may be, incomplete."""
    error = MISSED if worker.memory.has_missed else None
    if error is None and (cut_off := why_not(worker.private)) is not None:
        error = CUT_OFF.format(cut_off)
    if error is None and verb not in READS and worker.memory.hides_children:
        error = HIDDEN
    return mine if error is None else replace(mine, fresh=False, error=error)


def _state_of(answer: JsonObject) -> WorkerState:
    """Convert an answer to a worker's state: "silent" if it has none, as from another program."""
    is_known = isinstance(answer.get("state"), str) and isinstance(answer.get("fresh"), bool)
    answered = bool(answer["answered"]) and is_known
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
