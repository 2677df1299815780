"""A local stand-in for a cluster's API server: pods over TLS, and ports forwarded to local ones.

It serves on 127.0.0.1 from one thread with an event loop of its own. What a test changes while it
serves (`pods`, `tunnels`, ...) are plain attributes, read anew for each request.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import struct
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import spdy
import trustme
import websocket_frames

TOKEN = "let me in"
TUNNEL = "SPDY/3.1+portforward.k8s.io"  # what kubectl asks for since 1.30
CHANNELS = "v4.channel.k8s.io"  # what the Python client speaks
UPGRADE = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n"

BROKEN = (asyncio.IncompleteReadError, ConnectionError, ssl.SSLError)

Write = Callable[[bytes], Awaitable[None]]


@dataclass
class Pod:
    """A pod, and the local port that its port 9095 stands for."""

    name: str
    labels: dict[str, str] = field(default_factory=lambda: {"app": "shop"})
    phase: str = "Running"
    waiting: str = ""  # why its container does not run
    deleting: bool = False
    port: int | None = None  # None: nothing listens in the pod
    silent: bool = False  # takes a connection and never answers

    def manifest(self, namespace: str) -> dict[str, Any]:
        metadata: dict[str, Any] = {
            "name": self.name,
            "namespace": namespace,
            "labels": self.labels,
        }
        if self.deleting:
            metadata["deletionTimestamp"] = "2026-01-01T00:00:00Z"
        status: dict[str, Any] = {"phase": self.phase}
        if self.waiting:
            status["containerStatuses"] = [{"state": {"waiting": {"reason": self.waiting}}}]
        spec = {"containers": [{"name": "app", "image": "shop"}]}
        return {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": metadata,
            "spec": spec,
            "status": status,
        }

    def matches(self, selector: str) -> bool:
        """As far as the tests go: equality, inequality and existence, joined by commas."""
        for part in filter(None, selector.split(",")):
            key, is_pair, value = part.partition("=")
            if key.endswith("!"):
                if self.labels.get(key[:-1]) == value:
                    return False
            elif key not in self.labels or (is_pair and self.labels[key] != value.lstrip("=")):
                return False
        return True


@dataclass
class Request:
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]  # names in lower case


class KubeApi:
    """Serves while it is entered; `kubeconfig` is what a client needs."""

    def __init__(self, folder: Path) -> None:
        self.namespace = "shop"
        self.pods: list[Pod] = []
        self.forbids = False  # refuses every port-forward
        self.hangs = False  # never answers a port-forward
        self.is_abrupt = False  # ends a WebSocket without a word
        self.tunnels = True  # False: knows no SPDY in a WebSocket, as before 1.30
        self.requests: list[Request] = []
        self.connected = 0  # connections that came through port-forwards
        self.spoken: list[str] = []  # the protocol of each port-forward that began
        self.kubeconfig = folder / "kubeconfig"
        self._folder = folder
        self._authority = trustme.CA()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._started = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))

    def __enter__(self) -> KubeApi:
        self._thread.start()
        assert self._started.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)
        assert not self._thread.is_alive()

    def write_kubeconfig(
        self, *, token: str = TOKEN, server: str = "", namespace: str = "default"
    ) -> None:
        authority = self._folder / "authority.pem"
        self._authority.cert_pem.write_to_path(str(authority))
        cluster = {"server": server or self.url, "certificate-authority": str(authority)}
        context = {"cluster": "here", "user": "me", "namespace": namespace}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "here",
            "clusters": [{"name": "here", "cluster": cluster}],
            "users": [{"name": "me", "user": {"token": token}}],
            "contexts": [{"name": "here", "context": context}],
        }
        self.kubeconfig.write_text(json.dumps(config))

    def distrust(self) -> None:
        """Have the client trust another authority than the one that signed for this server."""
        trustme.CA().cert_pem.write_to_path(str(self._folder / "authority.pem"))

    def paths(self, end: str) -> list[str]:
        return [each.path for each in self.requests if each.path.endswith(end)]

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._authority.issue_cert("127.0.0.1").configure_cert(context)
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0, ssl=context)
        self.url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        self.write_kubeconfig()
        self._started.set()
        await self._stop.wait()
        server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for _ in range(10):
            await asyncio.sleep(0)  # a transport is closed by the loop, in a later round

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            with contextlib.suppress(*BROKEN, asyncio.CancelledError):  # cancelled at the end
                while await self._request(reader, writer):
                    pass
        finally:
            self._tasks.discard(task)
            with contextlib.suppress(OSError, asyncio.CancelledError, TimeoutError):
                writer.close()
                await asyncio.wait_for(writer.wait_closed(), 1)
            writer.transport.abort()  # where the client does not end its side of TLS

    async def _request(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer one request; tell whether another may follow on this connection."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode().splitlines()
        method, target, _ = head[0].split()
        pairs = (line.partition(":") for line in head[1:] if line)
        headers = {name.lower(): value.strip() for name, _, value in pairs}
        await reader.readexactly(int(headers.get("content-length", 0)))
        url = urlsplit(target)
        request = Request(method, unquote(url.path), dict(parse_qsl(url.query)), headers)
        self.requests.append(request)
        if headers.get("authorization") != f"Bearer {TOKEN}":
            answer = failure(401, "Unauthorized", "Unauthorized")
        elif request.path.endswith("/portforward"):
            return await self._forward(request, reader, writer)
        else:
            answer = self._resource(request)
        await respond(writer, answer)
        return True

    def _resource(self, request: Request) -> dict[str, Any]:
        pods = f"/api/v1/namespaces/{self.namespace}/pods"
        if request.path in DISCOVERY:
            return DISCOVERY[request.path]
        if request.path.startswith("/api/v1/namespaces/") and request.path.endswith("/pods"):
            selector = request.query.get("labelSelector", "")
            here = self.pods if request.path == pods else []
            items = [pod.manifest(self.namespace) for pod in here if pod.matches(selector)]
            return {"apiVersion": "v1", "kind": "PodList", "metadata": {}, "items": items}
        for pod in self.pods:
            if request.path == f"{pods}/{pod.name}":
                return pod.manifest(self.namespace)
        kind, name = request.path.split("/")[-2:]
        return failure(404, "NotFound", f'{kind} "{name}" not found')

    async def _forward(
        self, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        name = request.path.split("/")[-2]
        pod = next((pod for pod in self.pods if pod.name == name), None)
        asked = [
            each.strip() for each in request.headers.get("sec-websocket-protocol", "").split(",")
        ]
        if self.hangs:
            await asyncio.get_running_loop().create_future()
        if pod is None:
            await respond(writer, failure(404, "NotFound", f'pods "{name}" not found'))
            return True
        if self.forbids:
            text = (
                f'pods "{name}" is forbidden: User "me" cannot create resource "pods/portforward"'
            )
            await respond(writer, failure(403, "Forbidden", text))
            return True

        async def connect(port: int, incoming: asyncio.StreamReader, send: Write) -> str:
            self.connected += 1
            return await splice(pod, port, incoming, send)

        if TUNNEL in asked and self.tunnels:
            await self._upgrade(writer, request, TUNNEL)
            async with received(reader, writer) as inner:
                await spdy.Session(inner, messages(writer), connect).serve()
        elif CHANNELS in asked:
            await self._upgrade(writer, request, CHANNELS)
            await channels(int(request.query["ports"]), reader, writer, connect)
            if not self.is_abrupt:
                code = struct.pack(">H", 1000)
                writer.write(websocket_frames.frame(code, websocket_frames.CLOSE))
        elif request.headers.get("upgrade") == "SPDY/3.1":
            self.spoken.append("SPDY/3.1")
            more = "Upgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: portforward.k8s.io\r\n\r\n"
            writer.write((UPGRADE + more).encode())
            await spdy.Session(reader, writes(writer), connect).serve()
        else:
            await respond(writer, failure(400, "BadRequest", "unknown upgrade"))
            return True
        return False

    async def _upgrade(self, writer: asyncio.StreamWriter, request: Request, protocol: str) -> None:
        self.spoken.append(protocol)
        accepted = websocket_frames.accept(request.headers["sec-websocket-key"])
        more = f"Upgrade: websocket\r\nSec-WebSocket-Accept: {accepted}\r\n"
        writer.write(f"{UPGRADE}{more}Sec-WebSocket-Protocol: {protocol}\r\n\r\n".encode())
        await writer.drain()


def failure(code: int, reason: str, message: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Status",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": reason,
        "code": code,
    }


def resources(version: str, **kinds: str) -> dict[str, Any]:
    verbs = ["create", "get", "list", "patch"]
    listed = [
        {"name": name, "singularName": "", "namespaced": True, "kind": kind, "verbs": verbs}
        for name, kind in kinds.items()
    ]
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": version,
        "resources": listed,
    }


APPS = {"groupVersion": "apps/v1", "version": "v1"}
DISCOVERY: dict[str, dict[str, Any]] = {
    "/api": {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []},
    "/apis": {
        "kind": "APIGroupList",
        "apiVersion": "v1",
        "groups": [{"name": "apps", "versions": [APPS], "preferredVersion": APPS}],
    },
    "/api/v1": resources("v1", pods="Pod", services="Service"),
    "/apis/apps/v1": resources("apps/v1", deployments="Deployment"),
}


async def respond(writer: asyncio.StreamWriter, answer: dict[str, Any]) -> None:
    body = json.dumps(answer).encode()
    status = answer.get("code", 200)
    head = f"HTTP/1.1 {status} {answer.get('reason', 'OK')}\r\nContent-Type: application/json\r\n"
    writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    await writer.drain()


def writes(writer: asyncio.StreamWriter) -> Write:
    async def write(sent: bytes) -> None:
        writer.write(sent)
        await writer.drain()

    return write


def messages(writer: asyncio.StreamWriter, head: bytes = b"") -> Write:
    async def write(sent: bytes) -> None:
        writer.write(websocket_frames.frame(head + sent))
        await writer.drain()

    return write


@contextlib.asynccontextmanager
async def received(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, skip: int = 0
) -> AsyncIterator[asyncio.StreamReader]:
    """What comes through a WebSocket, as a stream of bytes; without each message's first ones."""
    inner = asyncio.StreamReader()

    async def feed() -> None:
        async for payload in websocket_frames.payloads(reader, writer):
            inner.feed_data(payload[skip:])
        inner.feed_eof()

    feeding = asyncio.get_running_loop().create_task(feed())
    try:
        yield inner
    finally:
        feeding.cancel()
        await asyncio.gather(feeding, return_exceptions=True)


async def channels(
    port: int,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    connect: spdy.Forward,
) -> None:
    """Channel 0 is the connection and 1 its error; each begins with the port's number."""
    send, complain = messages(writer, b"\0"), messages(writer, b"\1")
    async with received(reader, writer, skip=1) as incoming:
        for channel in (send, complain):
            await channel(struct.pack("<H", port))
        if problem := await connect(port, incoming, send):
            await complain(problem.encode())


async def splice(pod: Pod, port: int, incoming: asyncio.StreamReader, send: Write) -> str:
    """Connect to what stands for the pod's port; return what went wrong, or an empty text."""
    if pod.silent:
        await incoming.read(-1)
        return ""
    if pod.port is None:
        where = f"localhost:{port} inside namespace, IPv4: dial tcp4 127.0.0.1:{port}"
        return f"failed to connect to {where}: connect: connection refused"
    reader, writer = await asyncio.open_connection("127.0.0.1", pod.port)

    async def upwards() -> None:
        while sent := await incoming.read(1 << 16):
            writer.write(sent)
            await writer.drain()
        writer.write_eof()

    going_up = asyncio.get_running_loop().create_task(upwards())
    try:
        with contextlib.suppress(ConnectionError):
            while answered := await reader.read(1 << 16):
                await send(answered)
    finally:
        writer.transport.abort()
        going_up.cancel()
        await asyncio.gather(going_up, return_exceptions=True)
    return ""
