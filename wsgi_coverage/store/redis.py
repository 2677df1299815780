"""A fleet's lines and reports in Redis or Valkey: every key and every command.

Keys, all in one slot of a Cluster, below ``wsgi-coverage:{<namespace>}:``

    standing          hash   the fleet's state: format, id, epoch, oldest, swept, pauses, lost,
                             losses, departed, published, changes; and made:<name>:<epoch>, a random
                             number that is set when a key is created
    sources:<epoch>   hash   a source's key -> [name, version, tracer, context, arcs]
    lines:<epoch>     hash   a source's key -> a bit for each line that has run
    arcs:<epoch>      set    a source's key, followed by an arc
    hosts             hash   a host's id -> the time of its last heartbeat, and its content
    answers:<call>    list   answers to a call, which is sent over the channel `calls`
    snapshots         hash   a snapshot's id -> its metadata
    deleted           zset   the ids of the snapshots that were deleted last, by time
    report:<id>       string the published report, or a snapshot (wsgi_coverage.fleet.bundle)
    sending:<random>  string the part of a report that an agent has sent up to now
    days, day:…, …    the days on which lines ran (wsgi_coverage.store.fleet_days)

A source's key is a hash of its name, version, tracer and context, so hosts that run the same code
use the same keys. Lines and arcs are only ever added, by OR: to send them twice, or in another
order, changes nothing. A script adds them, because it checks in the same step that the epoch still
counts.

Only this module imports redis (the extra `redis`), and only the agent of a host imports this module
(wsgi_coverage.fleet): a worker never waits for the store.

Concurrency: any thread may call it, as it may redis-py's clients; there is no other state that
changes. An agent sends one report at a time, under a lock of its own.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from redis import Redis, RedisCluster, RedisError, Sentinel
from redis.cluster import ClusterNode
from redis.exceptions import ResponseError

from wsgi_coverage.data.bits import as_numbits
from wsgi_coverage.errors import StoreUnavailableError
from wsgi_coverage.model import JsonObject, Pause, is_going_on
from wsgi_coverage.settings import StoreUrl
from wsgi_coverage.store import redis_scripts as scripts
from wsgi_coverage.store.fleet_days import FleetDays

FORMAT = "1"  # of the keys; a namespace of another format is not used
TIMEOUT = 5.0  # seconds for a command, or to connect
DIGEST = 12  # bytes of a key
ARC = 8  # bytes of an arc
LIVE_AGE = 15.0  # seconds since the last heartbeat, after which a host is missing
KEEP_AGE = 3600.0  # seconds since the last heartbeat, after which a host is removed from the list
ANSWER_AGE = 60  # seconds for which answers to a call are kept
PIECE = 1 << 20  # bytes of a report that are sent, or read, at once
SENDING_AGE = 600  # seconds since the last piece, after which a half-sent report is removed
DELETED = 2_000  # ids of deleted snapshots that are stored: twice as many as a host has snapshots
METADATA = 50  # snapshots whose metadata are read at once
INCOMPLETE = "it has lost a part of what was sent"
FOR_LINES = 8  # reports leave an eighth of the store's memory to all else
NO_ROOM = "a report of {} bytes would leave too little of its maxmemory, {} bytes, to lines"

# What reading a value may raise that another program has written.
UNREADABLE = (ValueError, TypeError, KeyError, RecursionError)


class FleetState(NamedTuple):
    """The state of a fleet, stored under the key `standing`: epochs, pauses, losses, reports."""

    id: str  # random; a new one after the store was emptied
    epoch: int
    oldest: int  # the oldest epoch that counts
    swept: int  # the keys of older epochs have been removed
    pauses: tuple[Pause, ...]
    lost: str  # ISO 8601, UTC: when data of this epoch were found to be missing; empty: never
    losses: int  # how often data were found to be missing
    departed: int  # number of hosts that have left in this epoch
    published: str = ""  # the id of the published report; empty: there is none
    changes: int = 0  # number of changes to the published report and the snapshots

    @property
    def is_paused(self) -> bool:
        """Tell whether measuring is paused on all hosts."""
        return is_going_on(self.pauses)


class StoredSource(NamedTuple):
    """A version of a source, with tracer and context, whose lines or arcs are stored together."""

    name: str  # the file's name in data files
    version: str | None  # fingerprint of its content; None: not known
    tracer: str  # the plugin that traces the file; "": none
    context: str  # as in data files
    has_arcs: bool

    @property
    def key(self) -> bytes:
        """Its key: the field of its lines, and the prefix of its arcs."""
        return hashlib.blake2b(self.as_bytes(), digest_size=DIGEST).digest()

    def as_bytes(self) -> bytes:
        """Serialize it, as it is stored."""
        return json.dumps(self, separators=(",", ":")).encode("utf-8", "surrogatepass")


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """Executed lines by source (bit n is line n), and arcs as `reading.arc_of` packs them."""

    lines: Mapping[StoredSource, int]
    arcs: Mapping[StoredSource, Collection[int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Beat:
    """The answer to a heartbeat."""

    state: FleetState | None  # None: the store has lost it
    hosts: int  # number of hosts on the list
    counts: tuple[int, int, int]  # numbers of entries of the epoch's sources, lines and arcs
    made: tuple[bytes | None, ...]  # random number of each of these keys; None: it was never made


class Hosts(NamedTuple):
    """The content of each host's last heartbeat, by the host's id."""

    living: dict[str, JsonObject]  # hosts with a heartbeat in the last 15 seconds
    missing: dict[str, JsonObject]  # hosts without one; they may still run


class EpochGoneError(Exception):
    """The epoch does not count any more, or the store has been emptied."""


class ForeignError(Exception):
    """The namespace holds keys of another program, or of another version."""


class FleetStore:
    """One namespace of one Redis or Valkey.

    Args:
        url: the address of the store.
        namespace: the namespace of the keys.
    """

    def __init__(self, url: StoreUrl, namespace: str) -> None:
        self.url = url
        self._prefix = f"wsgi-coverage:{{{namespace}}}:"
        self.namespace = namespace
        self._sending = self._key(f"sending:{os.urandom(8).hex()}")
        self._client: Any = _client(url)
        script = self._client.register_script
        self._join, self._beat, self._hosts = (
            script(scripts.JOIN),
            script(scripts.BEAT),
            script(scripts.HOSTS),
        )
        self._known, self._add = script(scripts.KNOWN), script(scripts.ADD)
        self._begin, self._end, self._mend = (
            script(scripts.BEGIN),
            script(scripts.END),
            script(scripts.MEND),
        )
        self._publish, self._list, self._delete = (
            script(scripts.PUBLISH),
            script(scripts.LIST),
            script(scripts.DELETE),
        )
        self._unlist, self._were_deleted = script(scripts.UNLIST), script(scripts.WERE_DELETED)
        self.days: FleetDays = FleetDays(self._client, self._key, partial(_errors, url))

    def _key(self, name: str, epoch: int | None = None) -> str:
        return f"{self._prefix}{name}" if epoch is None else f"{self._prefix}{name}:{epoch}"

    # What holds for all hosts

    def join(self) -> FleetState:
        """Read the fleet's state; create it if there is none.

        Raises:
            ForeignError: the namespace is used by another program or version.
            StoreUnavailableError: the store cannot be used.
        """
        with _errors(self.url):
            found = self._join(keys=[self._key("standing")], args=[FORMAT, os.urandom(8).hex()])
        return _state(found)

    def beat(self, host: str, about: JsonObject, epoch: int) -> Beat:
        """Send the heartbeat of a host; return the current state and counts.

        Args:
            host: the host's id.
            about: the content of the heartbeat, for other hosts.
            epoch: the epoch to count entries of.

        Raises:
            StoreUnavailableError: the store cannot be used.
        """
        keys = [
            *(self._key(name) for name in ("standing", "hosts")),
            *(self._key(name, epoch) for name in ("sources", "lines", "arcs")),
        ]
        with _errors(self.url):
            found = self._beat(keys=keys, args=[host, json.dumps(about), epoch])
        state, hosts, counts, made = found
        return Beat(
            state=None if state[0] is None else _state(state),
            hosts=hosts,
            counts=(counts[0], counts[1], counts[2]),
            made=tuple(made),
        )

    def hosts(self) -> Hosts:
        """Return the hosts on the list; remove those without a heartbeat for an hour.

        Raises:
            StoreUnavailableError: the store cannot be used.
        """
        with _errors(self.url):
            now, found = self._hosts(keys=[self._key("hosts")])
        heard = dict(zip(found[::2], found[1::2], strict=True))
        kept = _living(heard, now, KEEP_AGE)
        here = {name.encode() for name in kept}
        if gone := [name for name in heard if name not in here]:
            self.forget_hosts(*gone)
        living = _living(heard, now, LIVE_AGE)
        return Hosts(living, {name: kept[name] for name in kept if name not in living})

    def forget_hosts(self, *hosts: str | bytes, succeeded: bool = False) -> None:
        """Remove hosts from the list, because their last processes have ended.

        Args:
            hosts: the hosts' ids.
            succeeded: whether the same hosts are listed by other ids now, and so have not left.
        """
        with _errors(self.url):
            gone = self._client.hdel(self._key("hosts"), *hosts)
            if gone and not succeeded:
                self._client.hincrby(self._key("standing"), "departed", gone)

    def begin_epoch(self, known: FleetState, *, collecting: bool, began_at: str) -> int:
        """Begin an epoch; return its number.

        Args:
            known: the fleet's state.
            collecting: whether older epochs count until `end_collecting`.
            began_at: new beginning of a pause that goes on.

        Raises:
            EpochGoneError: the store has been emptied.
            StoreUnavailableError: the store cannot be used; no data are removed.
        """
        going_on = [[began_at, None]] if known.is_paused else []
        with _errors(self.url):
            epoch, withdrawn = self._begin(
                keys=[self._key("standing")],
                args=[known.id, int(collecting), json.dumps(going_on)],
            )
        if epoch < 0:
            raise EpochGoneError
        if not collecting:
            with contextlib.suppress(StoreUnavailableError):  # the next reset removes it
                self._sweep(known, int(epoch), withdrawn)
        return int(epoch)

    def end_collecting(self, known: FleetState) -> None:
        """Let only the current epoch count.

        Raises:
            StoreUnavailableError: the store cannot be used; older epochs still count.
        """
        with _errors(self.url):
            withdrawn = self._end(keys=[self._key("standing")], args=[known.id, known.epoch])
        if withdrawn != 0:
            with contextlib.suppress(StoreUnavailableError):
                self._sweep(known, known.epoch, withdrawn)

    def _sweep(self, known: FleetState, before: int, withdrawn: bytes) -> None:
        names = ("sources", "lines", "arcs")
        keys = [self._key(name, e) for e in range(known.swept, before) for name in names]
        if withdrawn:
            keys.append(self._key(f"report:{withdrawn.decode()}"))
        with _errors(self.url):
            for first in range(0, len(keys), 300):
                self._client.unlink(*keys[first : first + 300])
            made = [f"made:{name}:{e}" for e in range(known.swept, before) for name in names]
            if made:
                self._client.hdel(self._key("standing"), *made)
            self._client.hset(self._key("standing"), "swept", before)

    def set_pauses(self, pauses: Sequence[Pause]) -> None:
        """Replace the list of pauses.

        Raises:
            StoreUnavailableError: the store cannot be used.
        """
        plain = json.dumps([[each.began_at, each.ended_at] for each in pauses])
        with _errors(self.url):
            self._client.hset(self._key("standing"), "pauses", plain)

    def note_loss(self, at: str) -> None:
        """Record that data of the current epoch are missing in the store."""
        with _errors(self.url), self._client.pipeline(transaction=False) as pipe:
            pipe.hset(self._key("standing"), "lost", at)
            pipe.hincrby(self._key("standing"), "losses", 1)
            pipe.execute()

    def note_mended(self, known: FleetState) -> None:
        """Record that no data are missing any more, unless more have been lost since."""
        with _errors(self.url):
            self._mend(keys=[self._key("standing")], args=[known.id, known.losses])

    # Lines

    def known(self, epoch: int, sources: Sequence[StoredSource]) -> Content:
        """Return the lines that the store has of some sources, without those of others.

        Raises:
            StoreUnavailableError: the store cannot be used.
        """
        lines: dict[StoredSource, int] = {}
        keys = [self._key(name, epoch) for name in ("sources", "lines")]
        for some in scripts.batches(sources, lambda _: DIGEST):
            with _errors(self.url):
                found = self._known(keys=keys, args=[source.key for source in some])
            for source, bits in zip(some, found, strict=True):
                if bits is not None:
                    lines[source] = int.from_bytes(bits, "little")
        return Content(lines=lines, arcs={})

    def add(self, known: FleetState, epoch: int, news: Content) -> None:
        """Add lines and arcs, and the sources that they belong to.

        Raises:
            EpochGoneError: the epoch does not count any more; nothing, or only a part, was added.
            StoreUnavailableError: the store cannot be used; a part may have been added.
        """
        lines = [(source, as_numbits(bits)) for source, bits in news.lines.items()]
        for some in scripts.batches(lines, lambda each: len(each[1]) + len(each[0].name)):
            self._send(known, epoch, [source for source, _ in some], some, ())
        arcs = [
            (source, source.key + arc.to_bytes(ARC, "big", signed=True))
            for source, found in news.arcs.items()
            for arc in found or ()
        ]
        without = [source for source, found in news.arcs.items() if not found]
        for sources in scripts.batches(without, lambda each: len(each.name)):
            self._send(known, epoch, sources, (), ())
        for members in scripts.batches(arcs, lambda _: DIGEST + ARC):
            sources = [*dict.fromkeys(source for source, _ in members)]
            self._send(known, epoch, sources, (), [member for _, member in members])

    def _send(
        self,
        known: FleetState,
        epoch: int,
        sources: Sequence[StoredSource],
        lines: Sequence[tuple[StoredSource, bytes]],
        arcs: Sequence[bytes],
    ) -> None:
        arguments: list[Any] = [known.id, epoch, os.urandom(8).hex(), len(sources)]
        for source in sources:
            arguments += [source.key, source.as_bytes()]
        ran = [(source, bits) for source, bits in lines if bits]
        arguments.append(len(ran))
        for source, bits in ran:
            arguments += [source.key, bits]
        keys = [
            self._key("standing"),
            *(self._key(name, epoch) for name in ("sources", "lines", "arcs")),
        ]
        with _errors(self.url):
            if not self._add(keys=keys, args=[*arguments, *arcs]):
                raise EpochGoneError

    def content(self, epochs: Iterable[int]) -> Content:
        """Return what has run in some epochs, on all hosts.

        Raises:
            StoreUnavailableError: the store cannot be used.
        """
        lines: dict[StoredSource, int] = {}
        arcs: dict[StoredSource, set[int]] = {}
        for epoch in epochs:
            with _errors(self.url):
                about = self._client.hgetall(self._key("sources", epoch))
                bits = self._client.hgetall(self._key("lines", epoch))
                members = list(self._client.sscan_iter(self._key("arcs", epoch), count=10_000))
            sources = {key: source for key, raw in about.items() if (source := _source(raw))}
            for key, source in sources.items():
                if source.has_arcs:
                    arcs.setdefault(source, set())
                else:
                    ran = int.from_bytes(bits.get(key, b""), "little")
                    lines[source] = lines.get(source, 0) | ran
            for member in members:
                whose = sources.get(member[:DIGEST])
                if whose is not None:
                    arcs[whose].add(int.from_bytes(member[DIGEST:], "big", signed=True))
        return Content(lines=lines, arcs=arcs)

    # Reports

    def publish(
        self, known: FleetState, identity: str, content: bytes, *, again: bool = False
    ) -> None:
        """Store the published report, and remove the one before.

        Args:
            known: the fleet's state when the report was built.
            identity: the report's id.
            content: the report, as wsgi_coverage.fleet.bundle serializes it.
            again: store it only if it is the published one still.

        Raises:
            EpochGoneError: the epoch is over, or another report is published.
            StoreUnavailableError: the store cannot be used; the old report is still published.
        """
        report = self._key(f"report:{identity}")
        keys = [self._key("standing"), report, self._put(report, content)]
        with _errors(self.url):
            only = identity if again else ""
            before = self._publish(
                keys=keys, args=[known.id, known.epoch, identity, len(content), only]
            )
            if before == 0:
                raise EpochGoneError
            if before and before.decode() != identity:
                self._client.unlink(self._key(f"report:{before.decode()}"))

    def add_snapshot(self, known: FleetState, identity: str, metadata: str, content: bytes) -> None:
        """Store a snapshot, unless it was deleted.

        Args:
            known: the fleet's state.
            identity: the snapshot's id.
            metadata: its metadata as JSON, for lists.
            content: the snapshot, as wsgi_coverage.fleet.bundle serializes it.

        Raises:
            StoreUnavailableError: the store cannot be used.
        """
        report = self._key(f"report:{identity}")
        keys = [self._key("standing"), report, self._put(report, content)]
        keys += [self._key("snapshots"), self._key("deleted")]
        with _errors(self.url):
            self._list(keys=keys, args=[known.id, identity, metadata, len(content)])

    def _put(self, report: str, content: bytes) -> str:
        """Send a report in pieces, unless it is there; return the key that they are under.

        Args:
            report: the final key of the report.
            content: the report.

        Raises:
            StoreUnavailableError: the store cannot be used, or has lost pieces.
        """
        key = self._sending
        with _errors(self.url):
            if self._client.exists(report):
                return key
            self._client.unlink(key)  # left if the store failed in the middle of the last report
            self._check_room(report, len(content))
            try:
                for at in range(0, len(content), PIECE):
                    length = self._client.append(key, content[at : at + PIECE])
                    if length != min(at + PIECE, len(content)):
                        break  # a piece was lost, or was appended twice
                    self._client.expire(key, SENDING_AGE)
                else:
                    return key
            except RedisError:
                with contextlib.suppress(RedisError):
                    self._client.unlink(key)
                raise
            self._client.unlink(key)
            raise RedisError(INCOMPLETE)

    def _check_room(self, key: str, size: int) -> None:
        """Check that a report leaves room for lines in the store's memory.

        Raises:
            RedisError: it does not.
        """
        where: dict[str, Any] = {}
        if isinstance(self._client, RedisCluster):
            where["target_nodes"] = self._client.get_node_from_key(key)  # type: ignore[no-untyped-call]
        try:
            memory = self._client.info("memory", **where)
        except ResponseError:  # this user may not ask
            return
        limit = int(memory.get("maxmemory", 0))
        if limit and memory["used_memory"] + size > limit - limit // FOR_LINES:
            raise RedisError(NO_ROOM.format(size, limit))

    def report(self, identity: str) -> bytes | None:
        """Read a report, in pieces; None: there is none, or it was removed meanwhile.

        Raises:
            StoreUnavailableError: the store cannot be used.
        """
        key = self._key(f"report:{identity}")
        with _errors(self.url):
            size = self._client.strlen(key)
            starts = range(0, size, PIECE)
            pieces = [self._client.getrange(key, at, at + PIECE - 1) for at in starts]
        whole = b"".join(pieces)
        return whole if size and len(whole) == size else None

    def has_report(self, identity: str) -> bool:
        """Tell whether a report is there.

        Raises:
            StoreUnavailableError: the store cannot be used.
        """
        with _errors(self.url):
            return bool(self._client.exists(self._key(f"report:{identity}")))

    def note_lost_report(self) -> None:
        """Have all hosts look whether they have a report that is not there any more.

        Raises:
            StoreUnavailableError: the store cannot be used.
        """
        with _errors(self.url):
            self._client.hincrby(self._key("standing"), "changes", 1)

    def snapshots(self) -> list[str]:
        """Return the ids of all snapshots.

        Raises:
            StoreUnavailableError: the store cannot be used.
        """
        with _errors(self.url):
            found = self._client.hkeys(self._key("snapshots"))
        return [each.decode(errors="replace") for each in found]

    def metadata(self, identities: Sequence[str]) -> dict[str, str]:
        """Return the metadata of snapshots as JSON, by their ids.

        Raises:
            StoreUnavailableError: the store cannot be used.
        """
        out = {}
        for first in range(0, len(identities), METADATA):
            some = identities[first : first + METADATA]
            with _errors(self.url):
                found = self._client.hmget(self._key("snapshots"), some)
            for name, raw in zip(some, found, strict=True):
                if raw:
                    out[name] = raw.decode(errors="replace")
        return out

    def deleted(self, identities: Sequence[str]) -> set[str]:
        """Return which of some snapshots were deleted.

        Raises:
            StoreUnavailableError: the store cannot be used.
        """
        if not identities:
            return set()
        with _errors(self.url):
            found = self._were_deleted(keys=[self._key("deleted")], args=identities)
        return {each.decode() for each in found}

    def delete_snapshot(self, identity: str) -> None:
        """Remove a snapshot, for all hosts.

        Raises:
            StoreUnavailableError: the store cannot be used; it is still there.
        """
        keys = [self._key("standing"), self._key(f"report:{identity}")]
        keys += [self._key("snapshots"), self._key("deleted")]
        with _errors(self.url):
            self._delete(keys=keys, args=[identity, DELETED])

    def note_vanished(self, identity: str) -> None:
        """Remove a snapshot without content from the list, so that a host that has it sends it.

        Raises:
            StoreUnavailableError: the store cannot be used.
        """
        keys = [self._key("standing"), self._key(f"report:{identity}"), self._key("snapshots")]
        with _errors(self.url):
            self._unlist(keys=keys, args=[identity])

    # Calls

    def call(self, call: JsonObject) -> None:
        """Send a call to all hosts that listen.

        Raises:
            StoreUnavailableError: the store cannot be used.
        """
        with _errors(self.url):
            self._client.publish(self._key("calls"), json.dumps(call))

    def answer(self, call_id: str, answer: JsonObject) -> None:
        """Send an answer to a call.

        Raises:
            StoreUnavailableError: the store cannot be used.
        """
        key = self._key(f"answers:{call_id}")
        with _errors(self.url), self._client.pipeline(transaction=False) as pipe:
            pipe.rpush(key, json.dumps(answer))
            pipe.expire(key, ANSWER_AGE)
            pipe.execute()

    def answers(self, call_id: str, wanted: Collection[str], until: float) -> list[JsonObject]:
        """Wait for the answers to a call, until all wanted hosts have answered; return them.

        Args:
            call_id: the call's id.
            wanted: the hosts' ids.
            until: deadline, in seconds of CLOCK_MONOTONIC.

        Raises:
            StoreUnavailableError: the store cannot be used.
        """
        missing, out = {*wanted}, []
        key = self._key(f"answers:{call_id}")
        while missing and (left := until - time.monotonic()) > 0:
            with _errors(self.url):
                found = self._client.blpop([key], timeout=min(left, TIMEOUT / 2))
            if found is not None:
                with contextlib.suppress(*UNREADABLE):
                    answer: JsonObject = json.loads(found[1])
                    missing.discard(answer["id"])
                    out.append(answer)
        return out

    @contextlib.contextmanager
    def listening(self) -> Iterator[Callable[[float], JsonObject | None]]:
        """Subscribe to calls; yield a function that waits some seconds for one; None: none came.

        Raises:
            StoreUnavailableError: the store cannot be used.
        """
        with _errors(self.url), self._client.pubsub(ignore_subscribe_messages=True) as calls:
            calls.subscribe(self._key("calls"))

            def next_call(seconds: float) -> JsonObject | None:
                message, until = None, time.monotonic() + seconds
                # redis-py returns None, too, for the confirmation of the subscription.
                while message is None and (left := until - time.monotonic()) > 0:
                    with _errors(self.url):
                        message = calls.get_message(timeout=left)
                with contextlib.suppress(*UNREADABLE):
                    found = json.loads(message["data"]) if message else None
                    return found if isinstance(found, dict) else None
                return None

            yield next_call

    def close(self) -> None:
        """Close all connections."""
        with contextlib.suppress(RedisError, OSError):
            self._client.close()


def _client(url: StoreUrl) -> Any:
    times: dict[str, Any] = {"socket_timeout": TIMEOUT, "socket_connect_timeout": TIMEOUT}
    options: dict[str, Any] = {**times, **url.credentials, **url.tls}
    if url.kind == "cluster":
        nodes: list[Any] = [ClusterNode(*each) for each in url.hosts]  # type: ignore[no-untyped-call]
        return RedisCluster(startup_nodes=nodes, **options)
    if url.kind == "sentinel":
        sentinel = Sentinel(url.hosts, sentinel_kwargs=times, **times)  # type: ignore[no-untyped-call]
        return sentinel.master_for(url.service, db=url.database, **options)  # type: ignore[no-untyped-call]
    return Redis.from_url(url.text, **times)


@contextlib.contextmanager
def _errors(url: StoreUrl) -> Iterator[None]:
    try:
        yield
    except RedisError as error:
        if "FOREIGN" in str(error) or "WRONGTYPE" in str(error):
            raise ForeignError from error
        raise StoreUnavailableError(
            f"{url} cannot be used: {error or type(error).__name__}"
        ) from error
    except OSError as error:
        raise StoreUnavailableError(f"{url} cannot be used: {error}") from error


def _state(found: Sequence[Any]) -> FleetState:
    identity, epoch, oldest, swept, pauses, lost, losses, departed, published, changes = found
    try:
        return FleetState(
            id=identity.decode(),
            epoch=int(epoch),
            oldest=int(oldest),
            swept=int(swept),
            pauses=tuple(
                Pause(began_at=began_at, ended_at=ended_at)
                for began_at, ended_at in json.loads(pauses)
            ),
            lost=(lost or b"").decode(),
            losses=int(losses or 0),
            departed=int(departed or 0),
            published=(published or b"").decode(),
            changes=int(changes or 0),
        )
    except (*UNREADABLE, AttributeError) as error:
        raise ForeignError from error


def _living(hosts: Mapping[bytes, bytes], now: int, within: float) -> dict[str, JsonObject]:
    out = {}
    for name, raw in hosts.items():
        with contextlib.suppress(*UNREADABLE):
            at, about = json.loads(raw)
            if now - at < within and isinstance(about, dict):
                out[name.decode()] = about
    return out


def _source(raw: bytes) -> StoredSource | None:
    with contextlib.suppress(*UNREADABLE):
        match json.loads(raw.decode("utf-8", "surrogatepass")):
            case [str(name), str() | None as version, str(tracer), str(context), bool(has_arcs)]:
                return StoredSource(name, version, tracer, context, has_arcs)
    return None
