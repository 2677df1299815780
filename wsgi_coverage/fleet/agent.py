"""The agent of a host: the one process there that talks to the fleet's store.

A worker starts it, and it runs until the last process of the host that marks lines has ended. About
every second it sends a heartbeat to the store, reads the fleet's state, applies it on the host, and
sends the lines that have run since. It answers calls of other hosts for its workers, and forwards
its workers' calls to other hosts. While the store cannot be reached, lines stay in the host's
memory and data files.

Concurrency: three kinds of threads: the first exchanges with the store; one answers calls of other
hosts; some answer this host's workers. `_lock` is held during each change of the host's epoch or of
the record of what was sent, and never while answers of other hosts are waited for.
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import random
import re
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import asdict, replace
from typing import Any

from wsgi_coverage import bounds, clock
from wsgi_coverage.errors import StorageError, StoreUnavailableError, WsgiCoverageError
from wsgi_coverage.fleet import content
from wsgi_coverage.fleet.days import HostDays
from wsgi_coverage.fleet.host import EpochPairs, Host, NoProcessLeftError
from wsgi_coverage.fleet.messages import AGENT, ANSWER, STATE, FleetAnswer, FleetHost
from wsgi_coverage.fleet.reports import FleetReports
from wsgi_coverage.model import JsonObject, Pause, WorkerState
from wsgi_coverage.store import redis
from wsgi_coverage.store.channel import Listener, Verb
from wsgi_coverage.store.days import NOT_KEPT, today
from wsgi_coverage.store.file_lock import locked
from wsgi_coverage.store.memory import open_if_there
from wsgi_coverage.store.redis import Beat, Content, FleetState, FleetStore, ForeignError, Hosts
from wsgi_coverage.system import own_files

LOCK = "agent.lock"  # in the private folder
BEAT_INTERVAL = 1.0  # seconds between two heartbeats
JITTER = 0.25  # part by which that varies, so that many hosts do not send at the same time
LEASE = 10.0  # seconds since the last heartbeat, after which workers start another agent
LAST_SEND_TIMEOUT = 10.0  # seconds to send what is left, once the last process has ended
MAX_RETRY_INTERVAL = 5.0  # seconds between two tries while the store cannot be reached, at most
RETURN_TIMEOUT = (
    2 * MAX_RETRY_INTERVAL
)  # seconds after a loss in which every running host reaches the store again
THREADS = 4  # for calls of this host's workers
CALL_TIMEOUT = 0.5  # seconds for other hosts to answer, beside the wait for their workers
UNREAD_AGE = 60.0  # seconds after which an answer that was not read is removed
CHECK_INTERVAL = 1.0  # seconds between two checks whether the agent ends
OWN_WAIT = 2.0  # seconds for this host's workers to apply a change of the fleet
TRIES = 3  # tries to send, if another host resets the fleet meanwhile
ID = re.compile(r"(?s).*\.[0-9]{1,10}\.[0-9a-f]{8}")  # of a host, as `_Agent` makes it
EMPTY = Content(lines={}, arcs={})

FOREIGN = (
    "the namespace {} of {} is used by another program, or by another version of this one: "
    "choose another store_namespace"
)
LOST = (
    "data of this fleet was lost in the store at {}: lines that ran only in processes that had "
    "ended by then are not counted, until a reset"
)
SILENT = "its host does not answer"
MISSING = "its host has sent no heartbeat lately, and has not said that it ends"
OVER = "another host has just reset the fleet"


def serve(about: FleetHost) -> None:
    """Run as the agent of a host until its last process has ended; return at once if one runs."""
    with contextlib.suppress(TimeoutError, FileNotFoundError), locked(about.private / LOCK, 0.0):
        try:
            _Agent(about).run()
        finally:
            (about.private / LOCK).unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                about.private.rmdir()


class _Agent:
    """The agent of one host, from its start to the end of the last process there.

    Only the constructor sets its attributes, except those whose comment names a thread.

    Args:
        about: the host, its folders, and the store.
    """

    def __init__(self, about: FleetHost) -> None:
        self._about = about
        self._host = Host(about)
        # This agent's id in the store: host, process id, random.
        self._id = f"{self._host.host}.{os.getpid()}.{os.urandom(4).hex()}"
        # Identifies this host's data: the same for agents of the host that follow one another.
        self._place = f"{clock.now().boot} {about.private}"
        # Whether an agent ran here before, whose data are still here; not in a new container.
        self._is_back = self._host.pairs is not None
        self._store = FleetStore(about.url, about.namespace)
        self._reports = FleetReports(about, self._store)
        self._days = HostDays(about, lambda: self._host.store.folder, self._store.days)
        self._lock = threading.RLock()
        self._is_over = threading.Event()  # set by the first thread, at its end; ends the others
        self._soon = threading.Event()  # set by any thread: has the first one send a heartbeat now

        # Written by whichever thread exchanges with the store, under `_lock`:
        self._state: FleetState | None = None  # the fleet's state; None: not read yet
        self._sent: dict[int, Content] = {}  # by epoch of the fleet: what the store surely has
        self._last_sent: str | None = None  # ISO 8601, UTC: when lines were sent last
        self._counts = (0, 0, 0)  # entries that the store had of the current epoch
        self._made: tuple[bytes | None, ...] = (None, None, None)  # random numbers of their keys
        self._number = 0  # number of hosts in the fleet, before any loss
        # After a loss: how many hosts have to send all again; None: some of them have ended.
        self._to_mend: int | None = None
        self._lost_at = 0.0  # monotonic clock, seconds: when this agent noticed the loss
        self._before_loss: dict[str, JsonObject] = {}  # hosts known before the loss
        # The store's id and number of losses: when this agent began, and when it had sent all.
        self._first: list[object] = []
        self._sent_all: list[object] = []

        # Written by the threads that answer this host's workers, and replaced as a whole:
        self._hosts: dict[str, JsonObject] = {}  # hosts with a recent heartbeat, with this one

        # Written by the first thread:
        self._problem: str | None = "it has not been reached yet"  # with the store; None: none
        self._since = clock.now_iso()  # ISO 8601, UTC: when the store was reached, or failed

    def run(self) -> None:
        """Run until the last process of the host has ended."""
        listener = Listener(
            self._about.private,
            {"id": self._id, "host": self._host.host, "pid": os.getpid()},
            suffix=AGENT,
        )
        try:
            targets: list[Callable[[], None]] = [self._hear_hosts]
            targets += [lambda: self._hear_workers(listener)] * THREADS
            for target in targets:
                threading.Thread(target=target, daemon=True).start()
            self._go_on()
            self._send_the_rest()
        finally:
            self._is_over.set()
            listener.close()
            self._sweep_answers(0.0)
            (self._about.private / STATE).unlink(missing_ok=True)

    def _go_on(self) -> None:
        """Send heartbeats until the last process has ended."""
        delay = BEAT_INTERVAL
        while self._has_work():
            is_there = self._beat()
            self._sweep_answers(UNREAD_AGE)
            delay = BEAT_INTERVAL if is_there else min(2 * delay, MAX_RETRY_INTERVAL)
            self._soon.wait(delay * random.uniform(1 - JITTER, 1 + JITTER))  # noqa: S311
            self._soon.clear()

    def _has_work(self) -> bool:
        memory = open_if_there(self._about.private)
        if memory is None or not self._host.has_workers:
            return False
        memory.lease(time.monotonic() + LEASE)
        return True

    def _sweep_answers(self, age: float) -> None:
        """Remove answers that were not read, because the caller was killed or has given up.

        Args:
            age: seconds since they were written.
        """
        before = time.time() - age
        for path in self._about.private.glob(f"*{ANSWER}"):
            with contextlib.suppress(OSError):
                if path.stat().st_mtime <= before:
                    path.unlink()

    def _send_the_rest(self) -> None:
        """Send what the last process has saved at its end; remove this host from the list."""
        deadline = time.monotonic() + LAST_SEND_TIMEOUT
        self._days.hurry()
        while not self._beat() and time.monotonic() < deadline:
            if self._state is None:
                break  # the store was never reached; the next agent sends what is in data files
            time.sleep(BEAT_INTERVAL)
        with contextlib.suppress(StoreUnavailableError, ForeignError):
            self._store.forget_hosts(self._id)

    # The store

    def _beat(self) -> bool:
        """Exchange with the store, record a problem; tell whether there is none."""
        try:
            self._exchange()
            problem = None
        except StoreUnavailableError as error:
            problem = str(error)
        except ForeignError:
            problem = FOREIGN.format(self._about.namespace, self._about.url)
        except (redis.EpochGoneError, NoProcessLeftError):
            problem = self._problem  # as before: the next heartbeat decides
        except Exception as error:  # noqa: BLE001  whatever the store has: /health shows it
            problem = f"{type(error).__name__}: {error}"
        if problem is not None:
            self._reports.forget()
        if (problem is None) is not (self._problem is None):
            self._since = clock.now_iso()
        self._problem = problem
        self._tell_state()
        return problem is None

    def _exchange(self, wait: float = OWN_WAIT) -> list[WorkerState]:
        """Send a heartbeat, apply the fleet's state on this host, and send what has run since.

        Args:
            wait: seconds to wait for this host's workers to apply a change.

        Returns:
            The states of its workers; empty if nothing has changed.
        """
        states: list[WorkerState] = []
        tries = 0
        with self._lock:
            while True:
                state = self._state or self._join_store()
                beat = self._store.beat(self._id, self._about_this_host(), state.epoch)
                # Without a state, the store has lost everything.
                state = self._checked(beat, beat.state or self._store.join())
                states = self._align(state, wait) or states
                try:
                    self._send()
                    self._send_days(state)
                    break
                except redis.EpochGoneError:  # another host has reset the fleet since the heartbeat
                    tries += 1
                    if tries == TRIES:
                        raise
            self._mend(state)
            self._reports.exchange(state)
        return states

    def _join_store(self) -> FleetState:
        state = self._store.join()
        self._heard()  # removes a killed agent of this host from the list
        return state

    def _about_this_host(self) -> JsonObject:
        living = [each for memory in self._host.memories.own() for each in memory.table.living()]
        return {
            "host": self._host.host,
            "place": self._place,
            "release": self._about.release,
            "workers": len(living),
            "engine": self._about.engine,
            "state": "paused" if self._host.is_paused else "measuring",
            "days": None if self._days.problem else self._about.days,
            "first": self._first,
            "sent": self._sent_all,
        }

    def _align(self, state: FleetState, wait: float) -> list[WorkerState]:
        """Apply the fleet's epoch and pauses on this host; return the states of called workers."""
        host = self._host
        host.read_note()
        pairs, verb = host.pairs, None
        if pairs is None or pairs.id != state.id:
            self._sent.clear()
            host.note_epochs(EpochPairs(state.id, ((state.epoch, host.store.epoch()),)))
        elif state.epoch > pairs.fleet:
            verb = Verb.COLLECT if state.oldest <= pairs.fleet else Verb.RESET
            host.follow(state)
        elif pairs.local != host.store.epoch():
            # Only the data files of this host were reset.
            epochs = (*pairs.epochs[:-1], (pairs.fleet, host.store.epoch()))
            host.note_epochs(pairs._replace(epochs=epochs))
            self._sent.clear()
        if host.pause(state):
            verb = verb or (Verb.PAUSE if state.is_paused else Verb.RESUME)
        # Workers with threads are called; the others apply it at their next request.
        states = host.ask(verb, wait=wait) if verb else []
        if verb == Verb.COLLECT:
            host.note_counted()
        pairs = host.pairs
        if pairs is not None and state.oldest == state.epoch and len(pairs.epochs) > 1:
            host.end_collecting()
            host.note_epochs(pairs._replace(epochs=pairs.epochs[-1:]))
        self._state = state
        self._sent = {epoch: c for epoch, c in self._sent.items() if epoch >= state.oldest}
        host.forget_content(host.store.oldest())
        return states

    def _checked(self, beat: Beat, state: FleetState) -> FleetState:
        """Detect lost data of the store, whose counts never fall in an epoch; return the state."""
        known, counts = self._state, beat.counts
        if known is None:
            self._number = beat.hosts
            self._first = [state.id, state.losses]
            return state
        is_less = any(now < before for now, before in zip(counts, self._counts, strict=True))
        is_same = (state.id, state.epoch) == (known.id, known.epoch)
        # Counts and numbers are of the last known epoch, which may be over.
        made = zip(beat.made, self._made, strict=True)
        is_anew = any(before not in (None, now) for now, before in made)
        self._counts = counts if is_same else (0, 0, 0)
        self._made = beat.made if is_same else (None, None, None)
        is_loss = state.id != known.id or (is_same and (is_less or is_anew))
        if is_loss or state.losses != known.losses:
            self._sent.clear()
            self._lost_at = time.monotonic()
            if not known.lost:
                self._to_mend = None if known.departed else self._number
                self._before_loss = self._hosts
        if is_loss:
            state = state._replace(lost=clock.now_iso(), losses=state.losses + 1)
            self._store.note_loss(state.lost)
            self._store.days.raise_since(today() + 1)  # what ran by then may be lost, too
        if not state.lost:
            self._number, self._before_loss = beat.hosts, {}
        return state

    def _mend(self, state: FleetState) -> None:
        """Record the end of a loss when all hosts that had sent something have sent it again."""
        self._sent_all = [state.id, state.losses]
        if self._to_mend is None or not state.lost:
            return
        if time.monotonic() < self._lost_at + RETURN_TIMEOUT:
            return  # a host that had joined just before the loss may be about to join again
        old = [
            each for each in self._heard().living.values() if each.get("first") != self._sent_all
        ]
        again = [each for each in old if each.get("sent") == self._sent_all]
        if len(old) == len(again) >= self._to_mend:
            self._store.note_mended(state)

    def _send(self) -> None:
        """Send what has run since the last time, of every epoch that counts."""
        state, pairs = self._state, self._host.pairs
        if state is None or pairs is None:
            return
        ends = [local for _, local in pairs.epochs[1:]] + [None]
        for (fleet, local), before in zip(pairs.epochs, ends, strict=True):
            if fleet < state.oldest:
                continue
            mine = self._host.content(since=local, before=before)
            if mine is (sent := self._sent.get(fleet, EMPTY)):
                continue
            news = content.without(mine, sent)
            if news.lines or news.arcs:
                self._send_news(state, fleet, news)
                self._last_sent = clock.now_iso()
            self._sent[fleet] = mine

    def _send_news(self, state: FleetState, epoch: int, news: Content) -> None:
        """Send what the store does not have yet, also not from other hosts."""
        known = self._store.known(epoch, [*news.lines])
        lines = content.without(Content(lines=news.lines, arcs={}), known).lines
        self._store.add(state, epoch, Content(lines=lines, arcs=news.arcs))

    def _send_days(self, state: FleetState) -> None:
        """Send the days on which lines ran; if that fails, reports say so: lines are sent."""
        try:
            self._days.send(state, self._host.days, self._host.lost_day)
            self._days.problem = None
        except (StoreUnavailableError, OSError) as error:
            self._days.problem = str(error)

    def _tell_state(self) -> None:
        """Write the state of the fleet's store to a file, for /health."""
        state = {
            "store": str(self._about.url),
            "namespace": self._about.namespace,
            "state": "connected" if self._problem is None else "away",
            "since": self._since,
            "problem": self._problem,
            "sent_at": self._last_sent,
            "reports_problem": self._reports.problem,
            "lost_at": (self._state.lost or None) if self._state else None,
            "hosts": [
                {key: about.get(key) for key in ("host", "release", "workers", "engine", "state")}
                for _, about in sorted(self._hosts.items())
            ],
        }
        with contextlib.suppress(OSError):
            own_files.replace(self._about.private / STATE, json.dumps(state))

    # Calls of other hosts

    def _hear_hosts(self) -> None:
        while not self._is_over.is_set():
            try:
                with self._store.listening() as next_call:
                    while not self._is_over.is_set():
                        call = next_call(CHECK_INTERVAL)
                        if call is not None and call.get("from") != self._id:
                            self._answer(call)
            except Exception:  # noqa: BLE001  else this host would never answer again
                self._is_over.wait(BEAT_INTERVAL)

    def _answer(self, call: JsonObject) -> None:
        try:
            call_id, verb, wait = str(call["id"]), Verb(call["verb"]), float(call["wait"])
        except (KeyError, ValueError, TypeError, OverflowError):
            return
        if not 0.0 <= wait <= bounds.MAX_WAIT:
            return
        try:
            states = self._do(verb, wait)
            answer: JsonObject = {"states": [asdict(each) for each in states], "error": None}
        except (StoreUnavailableError, ForeignError, redis.EpochGoneError):
            return  # the caller reports this host as silent
        except (WsgiCoverageError, OSError, NoProcessLeftError) as error:
            answer = {"states": [], "error": f"{type(error).__name__}: {error}"}
        self._store.answer(call_id, {"id": self._id, "host": self._host.host, **answer})

    def _do(self, verb: Verb, wait: float) -> list[WorkerState]:
        """Do on this host what a call asks of all hosts; return the states of its workers."""
        if verb == Verb.REPORTS:
            with self._lock:
                self._reports.hurry()
                self._exchange()
            return []
        if verb in (Verb.FLUSH, Verb.STATUS):
            states = self._host.ask(verb, wait=wait)
            if verb == Verb.FLUSH:
                with self._lock:
                    self._days.hurry()
                    self._exchange()
            return states
        # The change is in the fleet's state, and may have been applied by now.
        return self._exchange(wait) or self._host.ask(Verb.STATUS, wait=wait)

    # Calls of this host's workers

    def _hear_workers(self, listener: Listener) -> None:
        while not self._is_over.is_set():
            try:
                listener.serve(CHECK_INTERVAL, self._answer_worker)
            except OSError:
                if self._is_over.wait(CHECK_INTERVAL):
                    return

    def _answer_worker(self, call: Any) -> JsonObject:
        """Answer a worker's call to the whole fleet; return the path of a file with the answer."""
        try:
            verb, wait = Verb(call["verb"]), float(call["wait"])
            if (identity := call.get("identity")) is not None:
                answer = self._see_to_report(verb, str(identity))
            else:
                answer = self._ask_fleet(verb, wait)
        except StoreUnavailableError as error:
            with self._lock:
                self._reports.forget()
            self._soon.set()
            answer = FleetAnswer(refused=str(error))
        except ForeignError:
            self._soon.set()
            answer = FleetAnswer(refused=FOREIGN.format(self._about.namespace, self._about.url))
        except redis.EpochGoneError:
            answer = FleetAnswer(refused=OVER)
        except WsgiCoverageError as error:
            answer = FleetAnswer(error=error)
        except OSError as error:
            answer = FleetAnswer(error=StorageError(str(error)))
        except Exception as error:  # noqa: BLE001  whatever the store has: the answer says so
            answer = FleetAnswer(refused=f"{type(error).__name__}: {error}")
        path = self._about.private / f"{os.getpid()}-{os.urandom(4).hex()}{ANSWER}"
        own_files.write(path, pickle.dumps(answer))
        return {"path": str(path)}

    def _ask_fleet(self, verb: Verb, wait: float) -> FleetAnswer:
        with self._lock:
            self._days.hurry()
            self._exchange()
            states = self._exchange(wait) if self._changes(verb) else []
            state = self._state
        assert state is not None  # noqa: S101  for the type checkers
        self._hosts, missing = self._heard()
        others = {**self._before_loss, **self._hosts}
        others.pop(self._id, None)
        self._tell_state()
        answers = _parsed(self._call_hosts(verb, wait, others))
        problems = []
        for key, about in others.items():
            if key not in answers:
                states.append(_silent(about, key, SILENT))
        states += [_silent(about, key, MISSING) for key, about in missing.items()]
        for its, error in answers.values():
            states += its
            problems += [error] if error else []
        ended_at = clock.now()
        if state.lost:
            problems.append(LOST.format(state.lost))
        answer = FleetAnswer(
            states=tuple(states),
            problems=tuple(problems),
            ended_at=ended_at,
            reading=self._reading(verb),
        )
        return answer if answer.reading is None else self._with_days(answer)

    def _heard(self) -> Hosts:
        """Return all hosts on the list; remove former agents of this host from it."""
        living, missing = self._store.hosts()
        before = {
            key
            for key, about in (*living.items(), *missing.items())
            if self._is_back
            and ID.fullmatch(key)
            and key != self._id
            and about.get("place") == self._place
        }
        if before:
            self._store.forget_hosts(*before, succeeded=True)

        def counting(hosts: Mapping[str, JsonObject]) -> dict[str, JsonObject]:
            return {k: about for k, about in hosts.items() if ID.fullmatch(k) and k not in before}

        return Hosts(counting(living), counting(missing))

    def _call_hosts(self, verb: Verb, wait: float, hosts: Collection[str]) -> list[JsonObject]:
        """Call all other hosts, and wait for the answers of the given ones."""
        call_id = os.urandom(8).hex()
        self._store.call({"id": call_id, "verb": verb, "wait": wait, "from": self._id})
        return self._store.answers(call_id, hosts, time.monotonic() + wait + CALL_TIMEOUT)

    def _see_to_report(self, verb: Verb, identity: str) -> FleetAnswer:
        """Share, fetch or delete one report or snapshot, as a worker has asked."""
        with self._lock:
            self._exchange()
            state = self._state
            assert state is not None  # noqa: S101  for the type checkers
            if verb == Verb.FETCH_SNAPSHOT:
                self._reports.fetch_snapshot(identity)
                return FleetAnswer()
            if verb in (Verb.SHARE_REPORT, Verb.SHARE_SNAPSHOT):
                with contextlib.suppress(StoreUnavailableError, OSError):  # else they are unknown
                    self._days.send_functions()
            if verb == Verb.SHARE_REPORT:
                self._reports.publish(state, identity)
            elif verb == Verb.SHARE_SNAPSHOT:
                self._reports.add_snapshot(state, identity)
            elif verb == Verb.DELETE_SNAPSHOT:
                self._reports.delete_snapshot(identity)
            self._exchange()
        self._hosts = self._heard().living
        # A host that does not answer in time fetches it with its next heartbeat.
        self._call_hosts(Verb.REPORTS, 0.0, {*self._hosts} - {self._id})
        return FleetAnswer()

    def _changes(self, verb: Verb) -> bool:
        """Change the fleet's state as a worker has asked; return False for verbs that only read."""
        state, now = self._state, clock.now_iso()
        assert state is not None  # noqa: S101  for the type checkers
        if verb in (Verb.RESET, Verb.COLLECT):
            self._store.begin_epoch(state, collecting=verb == Verb.COLLECT, began_at=now)
        elif verb == Verb.END_COLLECTING:
            self._store.end_collecting(state)
        elif verb == Verb.PAUSE and not state.is_paused:
            pause = Pause(began_at=now, ended_at=None)
            self._store.set_pauses([*state.pauses, pause])
        elif verb == Verb.RESUME and state.is_paused:
            ended = replace(state.pauses[-1], ended_at=now)
            self._store.set_pauses([*state.pauses[:-1], ended])
        else:
            return verb in (Verb.PAUSE, Verb.RESUME)
        if verb in (Verb.PAUSE, Verb.RESUME):
            with contextlib.suppress(StoreUnavailableError):  # reports know of the pause, too
                self._store.days.raise_since(today() + 1)
        return True

    def _reading(self, verb: Verb) -> Any:
        """Return what has run on all hosts, for verbs that a report follows; else None."""
        if verb not in (Verb.FLUSH, Verb.COLLECT):
            return None
        with self._lock:
            state, pairs = self._state, self._host.pairs
        if state is None or pairs is None:
            return None
        last = state.epoch if verb == Verb.COLLECT else state.epoch + 1
        found = self._store.content(range(state.oldest, last))
        return content.as_reading(
            found,
            name=f"fleet {self._about.namespace}",
            epoch=pairs.local,
            static=self._about.static,
            root=self._about.root,
        )

    def _with_days(self, answer: FleetAnswer) -> FleetAnswer:
        """Write the days of all hosts for the report that follows; add what is known of them."""
        if not self._about.days:
            return replace(answer, no_days=NOT_KEPT)
        if self._days.problem is not None:
            return replace(
                answer, no_days=f"they cannot be sent to the store: {self._days.problem}"
            )
        try:
            with self._lock:
                if not all(each.get("days") for each in self._hosts.values()):
                    self._store.days.raise_since(today() + 1)  # some host records none
                return replace(answer, days_since=self._days.fetch())
        except (StoreUnavailableError, OSError) as error:  # what ran is more than when
            return replace(answer, no_days=f"they cannot be read from the store: {error}")


def _parsed(answers: Iterable[JsonObject]) -> dict[str, tuple[list[WorkerState], str]]:
    """Parse answers: by host id, the states of its workers, and an error or ""."""
    out = {}
    for each in answers:
        with contextlib.suppress(KeyError, TypeError):  # of another version: counts as silent
            states = [WorkerState(**state) for state in each["states"]]
            error = f"{each['host']}: {each['error']}" if each["error"] else ""
            out[str(each["id"])] = states, error
    return out


def _silent(about: JsonObject, identity: str, why: str) -> WorkerState:
    return WorkerState(
        id=identity,
        host=str(about.get("host")),
        pid=int(identity.rsplit(".", 2)[1]),
        state="silent",
        published_at=None,
        fresh=False,
        error=why,
    )
