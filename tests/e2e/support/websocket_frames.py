"""The server's side of WebSocket (RFC 6455), as far as a port-forward needs it. No I/O of its own
but on the streams that it is given."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import struct
from collections.abc import AsyncIterator

BINARY, CLOSE, PING, PONG = 2, 8, 9, 10


def accept(key: str) -> str:
    """The answer to a client's Sec-WebSocket-Key."""
    joined = key.encode() + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
    return base64.b64encode(hashlib.sha1(joined).digest()).decode()


def frame(body: bytes, opcode: int = BINARY) -> bytes:
    """One whole message, as a server sends it."""
    if len(body) < 126:
        return bytes([0x80 | opcode, len(body)]) + body
    if len(body) < 1 << 16:
        return bytes([0x80 | opcode, 126]) + struct.pack(">H", len(body)) + body
    return bytes([0x80 | opcode, 127]) + struct.pack(">Q", len(body)) + body


async def payloads(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> AsyncIterator[bytes]:
    """What the client's frames carry, in order, until it closes; a message may come in parts."""
    while True:
        try:
            opcode, body = await _frame(reader)
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        if opcode == PING:
            writer.write(frame(body, PONG))
        elif opcode == CLOSE:
            writer.write(frame(body[:2], CLOSE))
            return
        elif opcode != PONG:
            yield body


async def _frame(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    first, second = await reader.readexactly(2)
    length = second & 0x7F
    if length == 126:
        (length,) = struct.unpack(">H", await reader.readexactly(2))
    elif length == 127:
        (length,) = struct.unpack(">Q", await reader.readexactly(8))
    mask = await reader.readexactly(4)
    body = await reader.readexactly(length)
    repeated = (mask * (length // 4 + 1))[:length]
    unmasked = int.from_bytes(body, "big") ^ int.from_bytes(repeated, "big")
    return first & 0x0F, unmasked.to_bytes(length, "big")
