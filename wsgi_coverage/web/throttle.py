"""Refuse an address for a while after too many wrong passwords, and log them.

Nothing sleeps: while an address is refused, each of its requests is answered at once, by a 429, and
no password is compared. The first failures are free; from then on each one has the address refused
for twice as long as the one before. Failures are forgotten after an hour; a right password does not
clear them, since behind a proxy it may be somebody else's.

Concurrency: any thread may call, and no lock is held, which a fork could copy: a failure is one
append to a deque. Each process counts for itself.
"""

from __future__ import annotations

import ipaddress
import logging
import math
import time
from collections import deque
from collections.abc import Callable

from wsgi_coverage.errors import TooManyAttemptsError

log: logging.Logger = logging.getLogger("wsgi_coverage")

FREE = 10  # failures of an address before it is refused
LONGEST = 60.0  # seconds that an address is refused, at most
WINDOW = 3600.0  # seconds after which a failure is forgotten
KEPT = FREE + math.ceil(math.log2(LONGEST))  # failures kept of an address; more add nothing
MAX_ADDRESSES = 512  # the one that failed longest ago is forgotten
MAX_LINES = 20  # lines of the log about failures, in LINES_WINDOW
LINES_WINDOW = 60.0  # seconds
MAX_SHOWN = 100  # characters of a text from outside in the log
IPV6_PREFIX = 64  # bits: what one subscriber is given, so it counts as one address


class Throttle:
    """Counts the wrong passwords of each address in this process.

    Args:
        clock: the time in seconds, which never goes back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failures: dict[str, deque[float]] = {}  # of each address, when they were
        self._lines: deque[float] = deque(maxlen=MAX_LINES)  # when the last ones were logged
        self._unlogged = 0

    def check(self, address: str) -> None:
        """Check that an address is not refused.

        Raises:
            TooManyAttemptsError: it is, for as many seconds as the error says.
        """
        failures = self._failures.get(_counted_as(address))
        if not failures:
            return
        left = failures[-1] + self._refused_for(failures) - self._clock()
        if left > 0:
            raise TooManyAttemptsError(retry_after=math.ceil(left))

    def note_failure(self, address: str, username: str) -> None:
        """Count a wrong password, and log it.

        Args:
            address: where the request came from; empty where that is not known.
            username: as sent; empty where there was none.
        """
        key = _counted_as(address)
        failures = self._failures.setdefault(key, deque(maxlen=KEPT))
        failures.append(self._clock())
        if len(self._failures) > MAX_ADDRESSES:
            self._forget_one()
        self._log(address, username, self._refused_for(failures))

    def _refused_for(self, failures: deque[float]) -> float:
        """Return for how many seconds after the last failure the address is refused."""
        since = self._clock() - WINDOW
        excess = sum(at > since for at in failures.copy()) - FREE
        return 0.0 if excess < 0 else min(2.0**excess, LONGEST)

    def _forget_one(self) -> None:
        def last(key: str) -> float:
            failures = self._failures.get(key)
            return failures[-1] if failures else math.inf  # another thread adds it right now

        self._failures.pop(min(list(self._failures), key=last), None)

    def _log(self, address: str, username: str, refused_for: float) -> None:
        now = self._clock()
        if len(self._lines) == MAX_LINES and self._lines[0] > now - LINES_WINDOW:
            self._unlogged += 1
            return
        self._lines.append(now)
        left_out, self._unlogged = self._unlogged, 0
        log.warning(
            "wrong user name or password for the dashboard from %s, user %s%s%s",
            shown(address) if address else "an unknown address",
            shown(username),
            f"; its requests are refused for {refused_for:g} s" if refused_for else "",
            f"; {left_out} more such failures are not logged" if left_out else "",
        )


def shown(text: str) -> str:
    """Return a text from outside for the log: quoted, in ASCII, on one line, and short."""
    return ascii(text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}...")


def _counted_as(address: str) -> str:
    """Return the key of an address: an IPv6 network, or the address itself."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address[:MAX_SHOWN]
    if isinstance(found, ipaddress.IPv4Address):
        return str(found)
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ipaddress.ip_network((found, IPV6_PREFIX), strict=False))
