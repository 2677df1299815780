"""The days on which lines ran, in the store of a fleet: their keys and commands.

Beside the keys of wsgi_coverage.store.redis, which no reset of the fleet concerns:

    days                  hash  `since`, the first day that is known; and for each day, a number
                                that is raised with every change
    day:<day>             hash  a source's key, followed by a release -> a bit for each line that
                                has run on that day
    day-sources:<period>  hash  a source's key -> [name, version], of ten days
    functions:<period>    hash  a source's key -> [name, version, {function: ranges of lines}], as
                                reports of these ten days had them

Days are numbers, as `date.toordinal` counts; the store removes them when they are kept no longer. A
source's key is a hash of its name and version. Lines are only ever added, by OR. A script adds
them: it notices in the same step that a day which was there has vanished, and raises `since`.

Concurrency: any thread may call it, as it may the client; there is no other state that changes.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from datetime import date
from typing import Any, NamedTuple

from wsgi_coverage.data.bits import as_numbits
from wsgi_coverage.store import redis_scripts as scripts
from wsgi_coverage.store.days import Bitmaps, Ranges, add_to

DIGEST = 12  # bytes of a source's key
PERIOD = 10  # days whose sources are described together
DAY = 86_400  # seconds
UNIX_DAY = date(1970, 1, 1).toordinal()
SINCE, FUNCTIONS = b"since", b"functions"


class StoredDays(NamedTuple):
    """What the store has of days, without their lines."""

    since: int  # the first day of which all is known; 0: no day has been added
    changes: dict[int, int]  # by day: a number that is raised with every change
    of_functions: int  # the same for the functions


class SourceVersion(NamedTuple):
    """A version of a source."""

    name: str  # as the fleet's hosts share it
    version: str

    @property
    def key(self) -> bytes:
        """Its key."""
        raw = json.dumps(self).encode("utf-8", "surrogatepass")
        return hashlib.blake2b(raw, digest_size=DIGEST).digest()


class FleetDays:
    """The days of one namespace of one store.

    Args:
        client: redis-py's client.
        key: returns the whole key for a name.
        errors: returns a context in which errors of the client are converted.
    """

    def __init__(
        self,
        client: Any,
        key: Callable[[str], str],
        errors: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self._client = client
        self._key = key
        self._errors = errors
        self._add = client.register_script(scripts.ADD_DAY)
        self._raise = client.register_script(scripts.RAISE_SINCE)
        self._put = client.register_script(scripts.PUT_FUNCTIONS)

    def stored(self) -> StoredDays:
        """Return which days there are.

        Raises:
            StoreUnavailableError: the store cannot be used.
        """
        with self._errors():
            found = self._client.hgetall(self._key("days"))
        changes = {}
        for name, number in found.items():
            with contextlib.suppress(ValueError):
                changes[int(name)] = int(number)
        return StoredDays(int(found.get(SINCE, 0)), changes, int(found.get(FUNCTIONS, 0)))

    def add(self, identity: str, day: int, lines: Bitmaps, last_day: int) -> bool:
        """Add the lines of one day, without those that the store has already.

        Args:
            identity: the id of the fleet's state.
            day: the day.
            lines: its lines.
            last_day: on which the day is removed.

        Returns:
            False if the store has been emptied; nothing, or only a part, was added.

        Raises:
            StoreUnavailableError: the store cannot be used; a part may have been added.
        """
        entries = [
            (SourceVersion(name, version), release, bits)
            for release, names in lines.items()
            for name, versions in names.items()
            for version, bits in versions.items()
        ]
        keys = [self._key(name) for name in ("standing", "days", *_keys_of(day))]
        for some in scripts.batches(
            entries, lambda each: each[2].bit_length() // 8 + len(each[0].name)
        ):
            fields = [source.key + _encoded(release) for source, release, _ in some]
            with self._errors():
                known = self._client.hmget(self._key(f"day:{day}"), fields)
            arguments: list[bytes] = []
            for (source, _, bits), field, raw in zip(some, fields, known, strict=True):
                if raw is None or bits & ~int.from_bytes(raw, "little"):
                    arguments += [_encoded(json.dumps(source)), field, as_numbits(bits)]
            if not arguments:
                continue
            with self._errors():
                if not self._add(keys=keys, args=[identity, day, _unix(last_day), *arguments]):
                    return False
        return True

    def read(self, day: int) -> Bitmaps | None:
        """Return the lines of a day; None: not all that it had is there any more.

        Raises:
            StoreUnavailableError: the store cannot be used.
        """
        lines_key, sources_key = (self._key(name) for name in _keys_of(day))
        with self._errors():
            # The lines before the sources, which a script adds in one step.
            lines = self._client.hgetall(lines_key)
            about = self._client.hgetall(sources_key) if lines else {}
        sources = {key: source for key, raw in about.items() if (source := _source(raw))}
        found: Bitmaps = {}
        for field, raw in lines.items():
            source = sources.get(field[:DIGEST])
            if source is None:
                return None
            release = field[DIGEST:].decode(errors="replace")
            bits = int.from_bytes(raw, "little")
            add_to(found, {release: {source.name: {source.version: bits}}})
        return found or None

    def raise_since(self, day: int) -> None:
        """Record that not all that ran before a day is known.

        Raises:
            StoreUnavailableError: the store cannot be used.
        """
        with self._errors():
            self._raise(keys=[self._key("days")], args=[day])

    def functions(self, days: range) -> dict[SourceVersion, Mapping[str, Ranges]]:
        """Return the lines of functions by version of a source, as reports of some days had them.

        Raises:
            StoreUnavailableError: the store cannot be used.
        """
        out: dict[SourceVersion, Mapping[str, Ranges]] = {}
        for period in range(days.start // PERIOD, days.stop // PERIOD + 1):
            with self._errors():
                found = self._client.hgetall(self._key(f"functions:{period}"))
            for raw in found.values():
                with contextlib.suppress(ValueError, TypeError):
                    name, version, functions = json.loads(raw.decode("utf-8", "surrogatepass"))
                    if isinstance(functions, dict):
                        out[SourceVersion(str(name), str(version))] = functions
        return out

    def put_functions(
        self, day: int, found: Mapping[SourceVersion, Mapping[str, Ranges]], last_day: int
    ) -> None:
        """Store the lines of functions in the versions of a report.

        Args:
            day: of the report.
            found: the lines.
            last_day: on which they are removed.

        Raises:
            StoreUnavailableError: the store cannot be used.
        """
        entries = [
            (source.key, _encoded(json.dumps([*source, functions], separators=(",", ":"))))
            for source, functions in found.items()
        ]
        keys = [self._key("days"), self._key(f"functions:{day // PERIOD}")]
        for some in scripts.batches(entries, lambda each: len(each[1])):
            parts = [part for each in some for part in each]
            with self._errors():
                self._put(keys=keys, args=[_unix(last_day), *parts])


def _unix(last_day: int) -> int:
    """Return the end of a day, in seconds of Unix time."""
    return (last_day + 1 - UNIX_DAY) * DAY


def _keys_of(day: int) -> tuple[str, str]:
    return f"day:{day}", f"day-sources:{day // PERIOD}"


def _source(raw: bytes) -> SourceVersion | None:
    with contextlib.suppress(ValueError, TypeError):
        match json.loads(raw.decode("utf-8", "surrogatepass")):
            case [str(name), str(version)]:
                return SourceVersion(name, version)
    return None


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
