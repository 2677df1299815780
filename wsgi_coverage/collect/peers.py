"""The state of measured processes that answer no call, from the table of processes.

They read a reset or a pause in the memory at their next request, so no caller waits for them. Their
state has an error where they serve no requests, or hold lines back.

Concurrency: functions of a copy of the table of processes; no state.
"""

from __future__ import annotations

from collections.abc import Iterable

from wsgi_coverage import clock
from wsgi_coverage.model import MONITORING, WorkerState
from wsgi_coverage.store import processes
from wsgi_coverage.store.channel import Verb
from wsgi_coverage.store.memory import State
from wsgi_coverage.store.processes import ProcessEntry

READS = frozenset({Verb.FLUSH, Verb.STATUS})  # verbs that change nothing
DEAF = "it serves no requests and has no listening thread, so it was not told and goes on as before"
HOLDS = (
    "it has no listening thread, so the lines that it has not flushed come with its next request"
)
UNREACHED = "its socket was removed, so it could not be asked"
LOSES = "some lines that it ran are not counted: shared memory had no room for them"


def worker_id(host: str, pid: int, token: int) -> str:
    """Return the id of a worker: host, process id, random token."""
    return f"{host}.{pid}.{token:08x}"


def states_without_call(
    living: Iterable[ProcessEntry], state: State, verb: Verb, *, host: str
) -> dict[str, WorkerState]:
    """Return the states of processes that need not be called, by worker id.

    Args:
        living: the live processes of a memory, without this one.
        state: the state of the memory.
        verb: what workers are asked to do.
        host: the name of this host.
    """
    now = clock.now_iso()
    return {
        worker_id(host, entry.pid, entry.token): _described(entry, state, verb, host, now)
        for entry in living
        if not _is_called(entry, verb)
    }


def unreached(living: Iterable[ProcessEntry], *, host: str) -> list[WorkerState]:
    """Return the states of processes that answer calls, but could not be called.

    Args:
        living: the live processes of a memory that were not reached.
        host: the name of this host.
    """
    return [
        WorkerState(
            id=worker_id(host, entry.pid, entry.token),
            host=host,
            pid=entry.pid,
            state="silent",
            published_at=None,
            fresh=False,
            error=UNREACHED,
        )
        for entry in living
        if entry.has(processes.LISTENS)
    ]


def _is_called(entry: ProcessEntry, verb: Verb) -> bool:
    """Tell whether a process answers calls, and has to be called for this verb."""
    if not entry.has(processes.LISTENS):
        return False
    return verb not in READS or entry.has(processes.HOLDS)


def _described(entry: ProcessEntry, state: State, verb: Verb, host: str, now: str) -> WorkerState:
    holds = entry.has(processes.HOLDS)
    hears = entry.has(processes.SERVES) or entry.has(processes.LOADING)
    loses = entry.has(processes.LOSES)
    # What a master that forks in C holds back, its children hold back, too, since the fork.
    is_held = holds and not entry.has(processes.LOADING)
    knows = verb == Verb.STATUS or (verb in READS and not is_held)
    is_fresh = (knows or (hears and not is_held) or entry.turn == state.turn) and not loses
    is_paused = state.paused and (hears or entry.turn == state.turn)
    is_status = verb == Verb.STATUS
    return WorkerState(
        id=worker_id(host, entry.pid, entry.token),
        host=host,
        pid=entry.pid,
        state="paused" if is_paused else "measuring",
        published_at=now,
        fresh=is_fresh,
        error=None if is_fresh else LOSES if loses else HOLDS if holds else DEAF,
        server=entry.server if is_status else None,
        core=MONITORING if is_status and not holds else None,
        requests=entry.requests if is_status else None,
    )
