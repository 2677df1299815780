"""The worker's side of a fleet: start the agent of its host, call it, read its answer. No redis.

Concurrency: `Fleet` may be used by any thread; the agent is started as the worker's check allows.
"""

from __future__ import annotations

import contextlib
import logging
import pickle
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from wsgi_coverage import clock
from wsgi_coverage.data.stored import read_json
from wsgi_coverage.errors import StoreUnavailableError, WsgiCoverageError
from wsgi_coverage.fleet.messages import AGENT, STATE, FleetAnswer, FleetHost
from wsgi_coverage.model import Gathering, Report, WorkerState
from wsgi_coverage.model.answers import FleetStore
from wsgi_coverage.offload import child
from wsgi_coverage.store.channel import Verb, call_all
from wsgi_coverage.system import workdir

if TYPE_CHECKING:
    from wsgi_coverage.collect.worker import Worker
    from wsgi_coverage.settings import Settings

log: logging.Logger = logging.getLogger("wsgi_coverage")

START_TIMEOUT = 10.0  # seconds for an agent that was just started to listen
CHECK_INTERVAL = 0.02  # seconds between two tries to call it
ANSWER_TIMEOUT = 15.0  # seconds for its answer, beside its own wait for workers
AWAY = "only what this host has executed is counted: {}"
NO_PYTHON = "no Python can be started for the process that talks to the store: {}"
NOT_SHARED = "the other hosts of the fleet do not have this yet: {}"
NO_AGENT = "the process that talks to the store does not answer"


class Fleet:
    """The fleet that this process's host belongs to.

    Args:
        worker: the worker of this process.
        settings: the settings, with the address of the store.
    """

    def __init__(self, worker: Worker, settings: Settings) -> None:
        self._worker = worker
        self._settings = settings
        self._logged: str | None = None  # the last problem

    def see_to_agent(self) -> None:
        """Start the agent of this host, unless its lease says that one runs.

        Raises:
            StoreUnavailableError: there is no Python to run it.
        """
        self._log(self.state()["problem"])
        memory = self._worker.memory
        if time.monotonic() < memory.leased_until:
            return
        memory.lease(time.monotonic() + START_TIMEOUT)
        try:
            # The agent goes on when the socket is closed.
            child.begin(_serve, self._about()).let_go()
        except child.NoInterpreterError as error:
            raise StoreUnavailableError(NO_PYTHON.format(error)) from error

    def _log(self, problem: str | None) -> None:
        if problem != self._logged:
            self._logged = problem
            if problem is None:
                log.info("the store of the fleet is there again")
            else:
                log.warning(
                    "lines are kept here until the store of the fleet is there: %s", problem
                )

    def _about(self) -> FleetHost:
        worker, settings = self._worker, self._settings
        assert settings.store is not None  # noqa: S101  for the type checkers
        static = worker.engine.coverage.get_option("run:context")
        relative = worker.engine.coverage.get_option("run:relative_files")
        return FleetHost(
            url=settings.store,
            namespace=settings.store_namespace,
            release=settings.release,
            days=worker.data_file_writer.days,
            data_file=worker.engine.data_file,
            private=worker.memory.folder,
            cache_dir=worker.home / settings.cache_dir,
            snapshot_dir=worker.home / settings.snapshot_dir,
            with_sources=settings.store_sources,
            static=None if static is None else str(static),
            engine=worker.engine.measuring.engine,
            root=None if relative else workdir.here(""),
        )

    def ask(self, verb: Verb, *, wait: float, identity: str | None = None) -> FleetAnswer:
        """Have the agents of all hosts do one thing, by a call to the agent of this one.

        Args:
            verb: what to do.
            wait: seconds for each host to wait for its workers.
            identity: the id of the report or snapshot, for verbs that are about one.

        Raises:
            WsgiCoverageError: this host has failed.
        """
        self.see_to_agent()
        deadline = time.monotonic() + START_TIMEOUT
        call = {"verb": verb, "wait": wait, "identity": identity}
        folder = self._worker.memory.folder
        while True:
            answers = call_all(folder, call, wait=wait + ANSWER_TIMEOUT, suffix=AGENT)
            if answers or time.monotonic() > deadline:
                break
            time.sleep(CHECK_INTERVAL)
        for each in answers:
            if each["answered"]:
                return _read(Path(each["path"]))
        return FleetAnswer(refused=NO_AGENT)

    def change(self, verb: Verb, *, wait: float) -> FleetAnswer:
        """Call `ask` for a change, and raise if the store refuses it.

        Raises:
            StoreUnavailableError: the store cannot be used; nothing was changed.
        """
        return _accepted(self.ask(verb, wait=wait), "nothing was changed")

    def have_all(self, verb: Verb, *, wait: float) -> FleetAnswer:
        """Call `change`, and then do the same in this worker at once.

        Raises:
            StoreUnavailableError: the store cannot be used; nothing was changed.
        """
        answer = self.change(verb, wait=wait)
        self._worker.do(verb)
        return answer

    # Reports

    def share(self, verb: Verb, report: Report) -> Report:
        """Have all hosts serve a report, or list a snapshot, that was just made here.

        Args:
            verb: SHARE_REPORT or SHARE_SNAPSHOT.
            report: the metadata of the report or snapshot.

        Returns:
            The metadata, with a warning if the other hosts do not have it.
        """
        try:
            why_not = self.ask(verb, wait=0.0, identity=report.id).refused
        except WsgiCoverageError as error:
            why_not = str(error)
        if why_not is None:
            return report
        return replace(report, warnings=(*report.warnings, NOT_SHARED.format(why_not)))

    def fetch_snapshot(self, identity: str) -> None:
        """Fetch the content of a snapshot that another host has made.

        Raises:
            UnknownSnapshotError: the store does not have it any more.
            StoreUnavailableError: the store cannot be used.
            StorageError: it cannot be stored here.
        """
        answer = self.ask(Verb.FETCH_SNAPSHOT, wait=0.0, identity=identity)
        _accepted(answer, "another host has made this snapshot")

    def delete_snapshot(self, identity: str) -> None:
        """Remove a snapshot from all hosts.

        Raises:
            StoreUnavailableError: the store cannot be used; nothing was removed.
        """
        answer = self.ask(Verb.DELETE_SNAPSHOT, wait=0.0, identity=identity)
        _accepted(answer, "nothing was removed")

    # State

    @property
    def is_connected(self) -> bool:
        """Tell whether the store could be used a moment ago."""
        return bool(self.state()["state"] == "connected")

    def state(self) -> FleetStore:
        """Return the state of the fleet's store, as its agent has last written it, for /health."""
        try:
            path = self._worker.memory.folder / STATE
            found: FleetStore = read_json(path)
        except (OSError, ValueError):
            return {
                "store": str(self._settings.store),
                "namespace": self._settings.store_namespace,
                "state": "starting",
                "since": None,
                "problem": None,
                "sent_at": None,
                "reports_problem": None,
                "lost_at": None,
                "hosts": [],
            }
        return found


def _accepted(answer: FleetAnswer, otherwise: str) -> FleetAnswer:
    """Return an answer unless it says that the store cannot be used.

    Raises:
        StoreUnavailableError: it says so; the message begins with `otherwise`.
    """
    if answer.refused is not None:
        raise StoreUnavailableError(f"{otherwise}: {answer.refused}")
    return answer


def ask_fleet_or_host(
    worker: Worker, fleet: Fleet | None, verb: Verb, *, wait: float
) -> tuple[Gathering, FleetAnswer | None]:
    """Ask all workers of the host, or of the fleet; return their states, and the fleet's answer.

    Args:
        worker: this process's worker.
        fleet: the fleet of its host; None: none.
        verb: FLUSH or STATUS.
        wait: seconds to wait for answers, at most.
    """
    gathering = worker.ask_all(verb, wait=wait)
    if fleet is None:
        return gathering, None
    answer = fleet.ask(verb, wait=wait)
    return with_other_hosts(gathering, answer), answer


def with_other_hosts(own: Gathering, answer: FleetAnswer) -> Gathering:
    """Join the answers of this host's workers with those of other hosts.

    Args:
        own: the answers of this host's workers.
        answer: the answer of its agent.
    """
    if answer.refused is not None:
        return replace(own, problems=(*own.problems, AWAY.format(answer.refused)))
    known = {each.id for each in own.workers}
    others = [each for each in answer.states if each.id not in known]
    return Gathering(
        workers=_in_order([*own.workers, *others]),
        ended_at=answer.ended_at or own.ended_at,
        problems=(*own.problems, *answer.problems),
    )


def gathering_of(answer: FleetAnswer) -> Gathering:
    """Return the answers of all hosts' workers, from the answer of an agent."""
    return Gathering(
        workers=_in_order(answer.states),
        ended_at=answer.ended_at or clock.now(),
        problems=answer.problems,
    )


def _in_order(states: Sequence[WorkerState]) -> tuple[WorkerState, ...]:
    return tuple(sorted(states, key=lambda each: (each.host, each.pid)))


def _read(path: Path) -> FleetAnswer:
    try:
        answer = pickle.loads(path.read_bytes())  # noqa: S301  the agent's, in the private folder
    except OSError:
        return FleetAnswer(refused=NO_AGENT)
    with contextlib.suppress(OSError):
        path.unlink()
    assert isinstance(answer, FleetAnswer)  # noqa: S101
    if answer.error is not None:
        raise answer.error
    return answer


def _serve(about: FleetHost) -> None:
    """Run the agent, in its own process: imports redis."""
    from wsgi_coverage.fleet import agent

    agent.serve(about)
