"""Made-up HTTP requests, as bytes for a socket: valid ones in which a few things are wrong.

No state: the same numbers give the same requests. What a client may send is made here, and not what
a server lets through (tests/integration/test_fuzzed_requests.py).
"""

from __future__ import annotations

import base64
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum, auto

DASHBOARD = b"/debug/coverage"
ASIDE = b"/r119"  # of the application; nothing else asks for it
UNKNOWN = b"/snapshots/20260101T000000.000000Z-00000000"


class Kind(Enum):
    """What requests may do, with the right password."""

    KEEPS = auto()  # nothing that has run is forgotten by it
    FORGETS = auto()  # resets, pauses, collects
    REFUSED = auto()  # the same, without the right password: it does nothing


class End(Enum):
    """What the client does when it has sent all of it."""

    READS = auto()  # an answer has to come
    SHUTS = auto()  # it sends no more, and reads an answer if there is one
    LEAVES = auto()  # it closes the connection
    RESETS = auto()  # it closes the connection by an RST


@dataclass(frozen=True)
class OddRequest:
    """Bytes to send, in parts, and how the client goes on."""

    parts: tuple[bytes, ...]
    method: str
    end: End


@dataclass
class Draft:
    """A request that is being made up."""

    method: bytes
    target: bytes
    headers: list[tuple[bytes, bytes]]
    body: bytes = b""
    version: bytes = b"HTTP/1.1"
    line_end: bytes = b"\r\n"
    colon: bytes = b": "
    is_whole: bool = True  # a server can tell where it ends, and has all of it
    more: bytes = field(default=b"", repr=False)  # another request behind it

    def raw(self) -> bytes:
        first = b" ".join([self.method, self.target, self.version])
        lines = [first, *(name + self.colon + value for name, value in self.headers), b"", b""]
        return self.line_end.join(lines) + self.body + self.more

    def drop(self, name: bytes) -> None:
        self.headers = [each for each in self.headers if each[0].lower() != name.lower()]

    def put(self, name: bytes, value: bytes) -> None:
        self.drop(name)
        self.headers.append((name, value))


READS = [
    *(b"/", b"/report", b"/files", b"/functions?unused=1", b"/html/", b"/html/index.html"),
    *(b"/html/style.css", b"/snapshots", b"/health", b"/workers", b"/source/lines.py", b"/export"),
    *(b"/diff?a=current&b=current", b"/contexts", b"/contexts/a", b"/openapi.json", b"/nothing"),
    *(b"/export?format=json", b"/export?format=xml", b"/static/style.css", b"", UNKNOWN),
]
FORM = b"application/x-www-form-urlencoded"
KEEPS: list[tuple[bytes, bytes, bytes]] = [  # method, target, body
    *[(b"GET", DASHBOARD + each, b"") for each in READS] * 2,
    *[(b"GET", ASIDE, b"")] * 4,
    (b"POST", ASIDE, b"a=b"),
    (b"GET", b"/", b""),
    (b"GET", b"/debug/coverages", b""),
    (b"POST", DASHBOARD + b"/refresh?wait=1", b""),
    *[(b"POST", DASHBOARD + b"/snapshot?keep=0", b"label=odd")] * 10,
    (b"POST", DASHBOARD + b"/snapshot", b"label=odd"),
    *[(b"POST", DASHBOARD + b"/snapshots?merge=current&merge=current&keep=0", b"label=odd")] * 4,
    (b"DELETE", DASHBOARD + UNKNOWN, b""),
    *[(b"POST", DASHBOARD + UNKNOWN + b"/delete", b"back=x")] * 2,
    (b"DELETE", DASHBOARD + b"/contexts/unknown", b""),
]
FORGETS = [
    *[(b"POST", DASHBOARD + b"/reset", body) for body in (b"", b"back=%2F%2Fevil", b"\xff\x00=1")],
    (b"POST", DASHBOARD + b"/pause", b""),
    (b"POST", DASHBOARD + b"/resume", b""),
    (b"POST", DASHBOARD + b"/snapshot?reset=1&keep=0&detail=lines", b"label=odd"),
]
SIDE_PORT_KEEPS = [
    *[(b"GET", b"/" + each, b"") for each in (b"", b"coverage", b"health", b"coverage?name=a")],
    (b"POST", b"/coverage/save", b""),
    (b"GET", b"/openapi.json", b""),
]
SIDE_PORT_FORGETS = [
    (b"GET", b"/coverage/reset", b""),
    (b"POST", b"/coverage/reset", b"a=b"),
]

TOKENS = [
    *(b"GET", b"a", b"/", b"//", b"..", b"/../", b".", b"%2e%2e", b"%2f", b"%5c", b"\\", b"%00"),
    *(b"%ff", b"%c0%ae", b"%ed%a0%80", b"%u0041", b"%", b"%zz", b"%25%32%65", b"\xff", b"\xc3\xa9"),
    *(b"\x80", b";", b";x=y", b",", b"=", b"&", b"?", b"#", b"*", b":", b"@", b"~", b"'", b'"'),
    *(b"<script>", b"{{7*7}}", b"-1", b"0", b"1e999", b"nan", b"inf", b"99999999999999999999"),
    *(b"text/html", b"application/json", b"*/*", b"q=", b"q=1", b"q=nan", b"Basic ", b"Basic Og=="),
    *(b"Bearer x", b"coverage.context=", b"coverage.context=a", b"%E2%80%AE", b"\t", b" ", b"gzip"),
    *(b"bytes=0-1", b"bytes=-9999", b'"*"', b"http://evil.example", b"[::1", b"1.2.3.4:99999"),
]
NAMES = [
    *(
        b"Accept",
        b"Authorization",
        b"baggage",
        b"X-Coverage-Context",
        b"Cookie",
        b"Host",
        b"Origin",
    ),
    *(b"Sec-Fetch-Site", b"Referer", b"Content-Type", b"If-None-Match", b"If-Modified-Since"),
    *(b"Range", b"X-Forwarded-For", b"X-Forwarded-Prefix", b"X-Forwarded-Host", b"X-Script-Name"),
    *(b"Accept-Encoding", b"Connection", b"Upgrade", b"TE", b"Trailer", b"X-HTTP-Method-Override"),
    *(b"Content-Encoding", b"Script-Name", b"Path-Info", b"Content_Length", b"Proxy"),
]
METHODS = [
    *(b"HEAD", b"OPTIONS", b"PUT", b"PATCH", b"DELETE", b"TRACE", b"CONNECT", b"PRI", b"get", b""),
    *(b"GET GET", b"G\x00T", b"\xff", b"M" * 5000, b"PROPFIND", b"_", b"\x16\x03\x01\x02\x00"),
]
VERSIONS = [
    *(b"HTTP/1.0", b"HTTP/0.9", b"HTTP/1.2", b"HTTP/2.0", b"HTTP/11", b"http/1.1", b"HTTP/1.1 "),
    *(b"", b"HTTP/", b"HTTP/-1.1", b"HTTP/1.\xff", b"RTSP/1.0", b"HTTP/99999999999999999999.1"),
]
LENGTHS = [
    *(b"-1", b"+5", b"0x5", b"5, 5", b"5,6", b"", b" ", b"9" * 30, b"1e3", b"\xb2", b"1_0", b"05"),
    *(b"1", b"70000", b"99999999", b"5\x00", b"five", b"2147483648", b"18446744073709551617"),
]
CODINGS = [
    *(b"chunked", b"Chunked", b"gzip, chunked", b"chunked, identity", b"identity", b"xchunked"),
    *(b"chunked, chunked", b"", b"\x0bchunked", b"chunked;q=1"),
]
CHUNKS = [
    *(b"9\r\nlabel=odd\r\n0\r\n\r\n", b"zz\r\nlabel\r\n0\r\n\r\n", b"-5\r\nlabel\r\n0\r\n\r\n"),
    *(
        b"5\r\nlabel",
        b"5\r\nlabel=more\r\n0\r\n\r\n",
        b"5\r\nlabel\r\n0\r\n",
        b"0\r\n\r\n",
        b"\r\n",
    ),
    *(b"5;a=b\r\nlabel\r\n0\r\nX: y\r\n\r\n", b"ffffffffffffffff\r\n", b"5\nlabel\n0\n\n", b""),
    *(b"0x5\r\nlabel\r\n0\r\n\r\n", b"9" * 5000, b"11170\r\n" + b"a" * 70_000 + b"\r\n0\r\n\r\n"),
]
TYPES = [
    *(FORM, b"multipart/form-data", b"multipart/form-data; boundary=", b"application/json"),
    *(b"multipart/form-data; boundary=x", b"multipart/form-data; boundary=" + b"x" * 300),
    *(FORM + b"; charset=klingon", FORM + b"; charset=utf-16", b";", b"/", b"\xff", b"text/plain"),
]
BODIES = [
    *(b"label=%ff", b"label=\xff\xfe", b"label=%00", b"label", b"=", b"&&&", b"label=a&label=b"),
    *(b"label=" + b"a" * 600, b"a" * 65_536, b"a" * 65_537, b"a" * 70_000, b"\x00" * 40, b"{}"),
    *(
        b"--x\r\n\r\n--x--",
        b"--x\r\nContent-Disposition: form-data; name=label\r\n\r\nodd\r\n--x--",
    ),
    *(b"--x\r\nContent-Disposition: form-data; name=a; filename=b\r\n\r\n", b"--x" * 2000),
    b"--x\r\nContent-Disposition: form-data\r\nX: " + b"\xff" * 40 + b"\r\n\r\n\r\n--x--",
]
PARAMETERS = [
    *(b"wait", b"page", b"format", b"label", b"a", b"b", b"q", b"notice", b"back", b"sort", b"in"),
    *(b"order", b"view", b"unused", b"unused_for", b"context", b"keep", b"detail", b"merge"),
]


def odd_requests(
    seed: int, count: int, kind: Kind, *, password: str, side_port: bool = False
) -> Iterator[OddRequest]:
    """Make up requests: the number of one, and the seed, give it."""
    for number in range(count):
        yield odd_request(
            random.Random(f"{seed} {number}"), kind, password=password, side_port=side_port
        )


def odd_request(
    rng: random.Random, kind: Kind, *, password: str, side_port: bool = False
) -> OddRequest:
    """One of them, for a dashboard or a side port that has this password."""
    bases = KEEPS if kind is Kind.KEEPS else FORGETS
    if side_port:
        more = SIDE_PORT_KEEPS * 8 if kind is Kind.KEEPS else SIDE_PORT_FORGETS
        bases = [*bases, *more]
    authorization = b"Basic " + base64.b64encode(f"admin:{password}".encode())

    def draft() -> Draft:
        method, target, body = rng.choice(bases)
        made = Draft(method, target, [(b"Host", b"localhost")], body)
        if rng.random() < 0.8:
            made.put(b"Accept", b"application/json")
        made.put(b"Authorization", authorization)
        made.put(b"Connection", b"close")
        if method == b"POST":
            made.put(b"Content-Type", FORM)
            made.put(b"Content-Length", b"%d" % len(body))
        return made

    one = draft()
    for change in rng.sample(CHANGES, rng.choice([0, 1, 1, 1, 2, 3])):
        change(one, rng)
    if rng.random() < 0.08:
        one.more = draft().raw()
    if kind is Kind.REFUSED:
        one.drop(b"Authorization")
        one.more = b""
        one.put(b"Authorization", rng.choice([b"", b"Basic", b"Basic Og==", odd_text(rng)]))
    raw = one.raw()
    whole = one.is_whole
    if kind is not Kind.REFUSED and rng.random() < 0.15:
        raw, whole = damaged(raw, rng), False
    ends = [End.READS if whole else End.SHUTS] * 8
    end = rng.choice([*ends, End.LEAVES, End.RESETS])
    at = rng.randrange(len(raw) + 1)
    parts = (raw[:at], raw[at:]) if rng.random() < 0.2 else (raw,)
    return OddRequest(parts, one.method.decode("latin-1"), end)


def odd_text(rng: random.Random) -> bytes:
    """A text without control characters but for a tab, which a server lets through in a header."""
    return b"".join(rng.choice(TOKENS) for _ in range(rng.choice([0, 1, 1, 2, 3, 8])))


def damaged(raw: bytes, rng: random.Random) -> bytes:
    """Other bytes somewhere, or fewer, or more."""
    out = bytearray(raw)
    at = rng.randrange(len(out))
    match rng.choice(["flip", "cut", "insert", "repeat", "drop"]):
        case "flip":
            out[at] ^= 1 << rng.randrange(8)
        case "cut":
            del out[at:]
        case "insert":
            out[at:at] = rng.choice([b"\x00", b"\r", b"\n", b"\r\n", b"\r\n\r\n", odd_text(rng)])
        case "repeat":
            out[at:at] = out[at : at + rng.randrange(200)]
        case "drop":
            del out[at : at + rng.randrange(20)]
    return bytes(out)


# What may be wrong: each changes a draft.


def odd_method(draft: Draft, rng: random.Random) -> None:
    draft.method = rng.choice(METHODS)
    draft.is_whole = False


def odd_version(draft: Draft, rng: random.Random) -> None:
    draft.version = rng.choice(VERSIONS)
    draft.is_whole = False


def odd_target(draft: Draft, rng: random.Random) -> None:
    path, _, query = draft.target.partition(b"?")
    end = b"?" + query if query else b""
    at = rng.randrange(len(path) + 1)
    draft.target = rng.choice(
        [
            path[:at] + odd_text(rng) + path[at:] + end,
            path + b"/" + odd_text(rng) + end,
            DASHBOARD + draft.target,
            path.replace(b"/", b"//", rng.choice([1, 2, -1])) + end,
            path.replace(b"/", b"/../debug/", 1) + end,
            path.replace(b"/", b"%2F", rng.choice([1, -1])) + end,
            b"/nowhere/.." + draft.target,
            path.upper() + end,
            b"http://evil.example:80" + draft.target,
            b"http://[" + draft.target,
            b"*",
            b"",
            path + b"/" + b"a" * rng.choice([300, 5000, 70_000]) + end,
            path + b"/" + bytes(rng.randrange(33, 256) for _ in range(12)) + end,
            b"".join(b"%%%02X" % each for each in path) + end,
            path + b"#" + query,
        ]
    )


def odd_query(draft: Draft, rng: random.Random) -> None:
    pairs = (rng.choice(PARAMETERS) + b"=" + odd_text(rng) for _ in range(rng.choice([1, 2, 9])))
    joined = b"&".join(pairs).replace(b" ", b"+")
    draft.target += (b"&" if b"?" in draft.target else b"?") + joined


def odd_header(draft: Draft, rng: random.Random) -> None:
    draft.put(rng.choice(NAMES), odd_text(rng))


def malformed_header(draft: Draft, rng: random.Random) -> None:
    draft.headers.insert(
        rng.randrange(len(draft.headers) + 1),
        rng.choice(
            [
                (b"X-Odd\xff", b"a"),
                (b"", b"a"),
                (b"X Odd", b"a"),
                (b"X-Odd ", b"a"),
                (b" X-Folded", b"a"),
                (b"X-Odd", b"a\r\n folded"),
                (b"X-Odd", b"a\rb"),
                (b"X-Odd", b"a\nX-More: b"),
                (b"X-Odd", b"a\x00b"),
                (b"X-Odd", b"a" * 70_000),
                (b"X" * 70_000, b"a"),
                (b"X-Odd\r\nno colon", b"a"),
                (b"Content-Length ", b"5"),
                (b"Transfer-Encoding\x0b", b"chunked"),
            ]
        ),
    )
    draft.is_whole = False


def many_headers(draft: Draft, rng: random.Random) -> None:
    draft.headers += [(b"X-Odd-%d" % each, b"a") for each in range(rng.choice([60, 150, 1000]))]


def doubled_header(draft: Draft, rng: random.Random) -> None:
    name, value = rng.choice(draft.headers)
    draft.headers.append((name, rng.choice([value, b"evil.example", b"7", odd_text(rng)])))
    draft.is_whole &= name != b"Content-Length"


def missing_header(draft: Draft, rng: random.Random) -> None:
    gone = rng.choice(draft.headers)
    draft.headers.remove(gone)
    draft.is_whole &= gone[0] != b"Content-Length"


def odd_length(draft: Draft, rng: random.Random) -> None:
    draft.put(b"Content-Length", rng.choice(LENGTHS))
    draft.is_whole = False


def odd_chunks(draft: Draft, rng: random.Random) -> None:
    if rng.random() < 0.7:
        draft.drop(b"Content-Length")
    draft.put(b"Transfer-Encoding", rng.choice([*CODINGS, *[b"chunked"] * 10]))
    draft.body = rng.choice(CHUNKS)
    draft.is_whole = False


def odd_body(draft: Draft, rng: random.Random) -> None:
    draft.body = rng.choice(BODIES)
    draft.put(b"Content-Type", rng.choice(TYPES))
    draft.put(b"Content-Length", b"%d" % len(draft.body))


def expectation(draft: Draft, rng: random.Random) -> None:
    draft.put(b"Expect", rng.choice([b"100-continue", b"100-Continue", b"200-ok", b""]))
    draft.is_whole = False  # waitress waits for a body, though none is announced


def odd_lines(draft: Draft, rng: random.Random) -> None:
    draft.line_end = rng.choice([b"\n", b"\r", b"\r\r\n"])
    draft.colon = rng.choice([b":", b": ", b" : ", b":\t", b"="])
    draft.is_whole = False


Change = Callable[[Draft, random.Random], None]
CHANGES: list[Change] = [  # those more often that a server lets through
    *[odd_target, odd_query, odd_header, odd_body, odd_chunks] * 3,
    *(odd_method, odd_version, malformed_header, many_headers, doubled_header, missing_header),
    *(odd_length, expectation, odd_lines),
]
