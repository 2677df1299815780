"""A proxy between a host and the store: it counts, and it cuts the one off from the other.

Concurrency: it runs in a thread of its own, in an event loop that no other thread touches; its
methods may be called by any thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Coroutine, Iterator
from typing import Any, Literal

from store_servers import LOOPBACK, Port

BLOCK = 1 << 16  # bytes that are handed on at a time
TIMEOUT = 10  # seconds that anything in the event loop may take


class Proxy:
    """A port of loopback behind which another one is.

    Attributes:
        behind: the port of what is behind it, for the next connection.
        port: where it listens.
        received: bytes that went to what is behind it.
        sent: bytes that came from there.
        connections: how many were made, whether they still are or not.
    """

    def __init__(self, behind: int) -> None:
        self.behind = behind
        self._reserved = Port()
        self.port = self._reserved.number
        self.received = 0
        self.sent = 0
        self.connections = 0
        self._open: set[asyncio.StreamWriter] = set()
        self._flows = asyncio.Event()
        self._flows.set()
        self._listener: asyncio.Server | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._in_loop(self._listen())

    @contextlib.contextmanager
    def severed(self) -> Iterator[None]:
        """Connections break, and new ones are refused, until the end."""
        self._in_loop(self._sever())
        try:
            yield
        finally:
            self._in_loop(self._listen())

    @contextlib.contextmanager
    def stalled(self) -> Iterator[None]:
        """Connections are taken, and nothing goes through them either way until the end."""
        self._loop.call_soon_threadsafe(self._flows.clear)
        try:
            yield
        finally:
            self._loop.call_soon_threadsafe(self._flows.set)

    def close(self) -> None:
        self._in_loop(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._reserved.close()

    def _in_loop(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(TIMEOUT)

    async def _listen(self) -> None:
        self._listener = await asyncio.start_server(self._connected, LOOPBACK, self.port)

    async def _sever(self) -> None:
        if self._listener is not None:
            self._listener.close()
        for writer in [*self._open]:
            writer.transport.abort()

    async def _end(self) -> None:
        await self._sever()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._open.add(writer)
        with contextlib.suppress(OSError, asyncio.CancelledError):
            there_reader, there = await asyncio.open_connection(LOOPBACK, self.behind)
            self._open.add(there)
            try:
                await asyncio.gather(
                    self._hand_on(reader, there, "received"),
                    self._hand_on(there_reader, writer, "sent"),
                )
            finally:
                self._open.discard(there)
                there.transport.abort()
        self._open.discard(writer)
        writer.transport.abort()

    async def _hand_on(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        count: Literal["received", "sent"],
    ) -> None:
        """Hand on what comes, until one of the two ends."""
        while block := await reader.read(BLOCK):
            await self._flows.wait()
            setattr(self, count, getattr(self, count) + len(block))
            writer.write(block)
            await writer.drain()
        raise ConnectionResetError
