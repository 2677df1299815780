"""The server's side of SPDY/3.1, as far as `kubectl port-forward` speaks it.

One task of an event loop reads the frames; what the streams carry is handed to one `forward` task
for each pair of streams. Flow control is left out: kubectl's library ignores it too.
"""

from __future__ import annotations

import asyncio
import struct
import zlib
from collections.abc import Awaitable, Callable

SYN_STREAM, SYN_REPLY, RST_STREAM, PING, GOAWAY = 1, 2, 3, 6, 7
CONTROL = 0x8003  # the control bit, and version 3
FIN = 0x01

# The dictionary of SPDY/3's header compression; zlib checks it by its checksum.
NAMES = (
    "options head post put delete trace accept accept-charset accept-encoding accept-language "
    "accept-ranges age allow authorization cache-control connection content-base content-encoding "
    "content-language content-length content-location content-md5 content-range content-type date "
    "etag expect expires from host if-match if-modified-since if-none-match if-range "
    "if-unmodified-since last-modified location max-forwards pragma proxy-authenticate "
    "proxy-authorization range referer retry-after server te trailer transfer-encoding upgrade "
    "user-agent vary via warning www-authenticate method get status"
)
WORDS = [
    *NAMES.split(),
    "200 OK",
    "version",
    "HTTP/1.1",
    "url",
    "public",
    "set-cookie",
    "keep-alive",
    "origin",
]
TEXT = (
    "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505"
    "203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request"
    "401 Unauthorized403 Forbidden404 Not Found500 Internal Server Error501 Not Implemented"
    "503 Service UnavailableJan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 "
    "Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMTchunked,text/html,image/png,image/jpg,image/gif,"
    "application/xml,application/xhtml+xml,text/plain,text/javascript,publicprivatemax-age="
    "gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0."
)
DICTIONARY = b"".join(struct.pack(">I", len(word)) + word.encode() for word in WORDS)
DICTIONARY += TEXT.encode()

Write = Callable[[bytes], Awaitable[None]]
# Serves one connection: its port, what the client sends, how to send to it; returns what went
# wrong, or "".
Forward = Callable[[int, asyncio.StreamReader, Write], Awaitable[str]]


class Session:
    """One connection on which kubectl opens a pair of streams for each forwarded connection."""

    def __init__(self, reader: asyncio.StreamReader, write: Write, forward: Forward) -> None:
        self._reader = reader
        self._write = write
        self._forward = forward
        self._inflate = zlib.decompressobj(zdict=DICTIONARY)
        self._deflate = zlib.compressobj(zdict=DICTIONARY)
        self._errors: dict[str, int] = {}  # the error stream's number, by the request's id
        self._incoming: dict[int, asyncio.StreamReader] = {}  # by the data stream's number
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self) -> None:
        """Until the client goes away."""
        try:
            while True:
                first, second = struct.unpack(">II", await self._reader.readexactly(8))
                body = await self._reader.readexactly(second & 0xFFFFFF)
                if not first >> 31:
                    self._received(first, body, is_last=bool(second >> 24 & FIN))
                elif not await self._control(first & 0xFFFF, body):
                    return
        except asyncio.IncompleteReadError:
            return
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _control(self, kind: int, body: bytes) -> bool:
        if kind == PING:
            await self._frame(kind, body)
        elif kind == SYN_STREAM:
            await self._opened(struct.unpack(">I", body[:4])[0], self._headers(body[10:]))
        elif kind == RST_STREAM:
            self._received(struct.unpack(">I", body[:4])[0], b"", is_last=True)
        return kind != GOAWAY

    async def _opened(self, stream: int, headers: dict[str, str]) -> None:
        empty = self._deflate.compress(bytes(4)) + self._deflate.flush(zlib.Z_SYNC_FLUSH)
        await self._frame(SYN_REPLY, struct.pack(">I", stream) + empty)
        request = headers["requestid"]
        if headers["streamtype"] == "error":
            self._errors[request] = stream
            return
        self._incoming[stream] = asyncio.StreamReader()
        pair = self._pair(int(headers["port"]), stream, self._errors.pop(request))
        task = asyncio.get_running_loop().create_task(pair)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _pair(self, port: int, stream: int, errors: int) -> None:
        async def send(sent: bytes) -> None:
            await self._data(stream, sent)

        problem = await self._forward(port, self._incoming[stream], send)
        await self._data(errors, problem.encode(), FIN)
        await self._data(stream, b"", FIN)

    def _received(self, stream: int, body: bytes, *, is_last: bool) -> None:
        incoming = self._incoming.get(stream)
        if incoming is None or incoming.at_eof():
            return
        if body:
            incoming.feed_data(body)
        if is_last:
            incoming.feed_eof()

    def _headers(self, block: bytes) -> dict[str, str]:
        raw = self._inflate.decompress(block)
        words, at = [], 4
        while at < len(raw):
            (length,) = struct.unpack(">I", raw[at : at + 4])
            words.append(raw[at + 4 : at + 4 + length].decode())
            at += 4 + length
        return dict(zip(words[::2], words[1::2], strict=True))

    async def _frame(self, kind: int, body: bytes) -> None:
        await self._write(struct.pack(">HHI", CONTROL, kind, len(body)) + body)

    async def _data(self, stream: int, body: bytes, flags: int = 0) -> None:
        await self._write(struct.pack(">II", stream, flags << 24 | len(body)) + body)
