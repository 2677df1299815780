"""Entry point: serve an application on a port of its own, in threads of a running program.

The port belongs to the process that opened it: a forked child closes its copy and serves nothing.

Concurrency: one thread accepts connections, and each request has a thread. They are started by
`_thread`, not `threading`, so that no core traces them, no program waits for them at its end, and
no monkey patch affects them. No connection is accepted while the process forks, and a fork waits up
to a second for requests that are being answered.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from _thread import allocate_lock, get_native_id, start_new_thread
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path
from selectors import EVENT_READ, DefaultSelector
from typing import Any

from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler

from wsgi_coverage.collect import restarting
from wsgi_coverage.collect.listener import leave_signals_alone, signals_held
from wsgi_coverage.system import interrupt

FORK_TIMEOUT = 1.0  # seconds that a fork waits for requests that are being answered
IDLE_TIMEOUT = 0.1  # seconds that a fork waits for connections on which no request is answered
TASK_TIMEOUT = 0.05  # seconds that a fork waits for the kernel to remove ended threads
END_TIMEOUT = 5.0  # seconds that the program's end waits for requests that are being answered
TIDY_INTERVAL = 10.0  # seconds
REQUEST_TIMEOUT = 30.0  # seconds for a client to send its request

Socket = socket.socket  # before any monkey patch

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class _Handler(WSGIRequestHandler):
    """Answers one request per connection, and writes nothing to the program's output."""

    protocol_version = "HTTP/1.0"
    timeout = REQUEST_TIMEOUT

    def log(self, *_: Any, **__: Any) -> None:
        pass


class _Server(BaseWSGIServer):
    multithread = True

    def get_request(self) -> tuple[socket.socket, Any]:
        # After a monkey patch, accept() would make a gevent socket, which works only in the thread
        # that made it.
        listening: Any = self.socket
        fd, address = listening._accept()  # noqa: SLF001
        connection = Socket(listening.family, listening.type, listening.proto, fileno=fd)
        connection.settimeout(REQUEST_TIMEOUT)
        return connection, address

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self._counting = allocate_lock()  # guards connections
        self.connections = 0  # open ones, each with a thread
        self.ended: deque[int] = deque(maxlen=64)  # native ids of the last threads that ended

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._counting:
            self.connections += 1
        start_new_thread(self._process_in_thread, (request, client_address))

    def _process_in_thread(self, request: Any, client_address: Any) -> None:
        try:
            with contextlib.suppress(Exception):  # the client went away
                self.finish_request(request, client_address)
            self.shutdown_request(request)
        finally:
            self.ended.append(get_native_id())
            with self._counting:
                self.connections -= 1

    def log(self, *_: Any, **__: Any) -> None:
        pass

    def handle_error(self, *_: Any, **__: Any) -> None:
        pass


def bind(host: str, port: int) -> socket.socket:
    """Return a listening socket.

    Args:
        host: a host name or an address of this machine.
        port: 0 for any free one.

    Raises:
        OSError: the port is taken, or may not be used; or there is no such host.
    """
    family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    return socket.create_server(address[:2], family=family, backlog=64)


class SidePort:
    """Serves an application on a socket until the process ends.

    Args:
        app: the WSGI application.
        listening: the socket; it belongs to this object from now on.
        tidy: called every TIDY_INTERVAL seconds at most, and at the end; raises nothing.
    """

    def __init__(
        self, app: Application, listening: socket.socket, *, tidy: Callable[[], object]
    ) -> None:
        self._app = app
        self._tidy = tidy
        host, port = listening.getsockname()[:2]
        self._server = _Server(host, port, self._counted, _Handler, fd=listening.fileno())
        listening.close()
        self._server.socket.setblocking(False)  # a client may be gone before it is accepted
        self._pid = os.getpid()
        self._fork_lock = allocate_lock()  # held during a fork: one at a time
        self._under_way = 0
        self._counting = allocate_lock()  # guards _under_way
        self._stop: Callable[[], None] | None = None
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(
                before=self._before_fork,
                after_in_parent=self._after_fork_in_parent,
                after_in_child=self._after_fork_in_child,
            )
            restarting.prepare()

    def start(self) -> None:
        """Start the thread that accepts connections."""
        if self._pid != os.getpid() or self._stop is not None or self._server.fileno() < 0:
            return
        waking, waker = socket.socketpair()
        ended = allocate_lock()
        ended.acquire()

        def stop() -> None:
            waker.close()
            ended.acquire()

        def run() -> None:
            leave_signals_alone()
            try:
                self._accept(waking)
            except (OSError, ValueError):
                pass  # the application has closed every open file
            finally:
                waking.close()
                self._server.ended.append(get_native_id())
                ended.release()

        with signals_held():
            start_new_thread(run, ())
        self._stop = stop

    def close(self) -> None:
        """Close the port at the program's end, when requests that are being answered have ended."""
        if self._pid == os.getpid():
            with interrupt.Hold():
                self._pause(END_TIMEOUT)
                self._server.server_close()
                self._tidy()

    def _accept(self, waking: socket.socket) -> None:
        with DefaultSelector() as selector:
            selector.register(self._server, EVENT_READ)
            selector.register(waking, EVENT_READ)
            tidied = time.monotonic()
            while True:
                ready = {key.fileobj for key, _ in selector.select(TIDY_INTERVAL)}
                if waking in ready:
                    return
                if self._server in ready:
                    self._server.handle_request()
                if time.monotonic() > tidied + TIDY_INTERVAL:
                    self._tidy()
                    tidied = time.monotonic()

    def _counted(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        with self._counting:
            self._under_way += 1
        try:
            return list(self._app(environ, start_response))
        finally:
            with self._counting:
                self._under_way -= 1

    def _before_fork(self) -> None:
        self._fork_lock.acquire()
        if self._pid == os.getpid():
            self._pause(FORK_TIMEOUT)

    def _after_fork_in_parent(self) -> None:
        restarting.after_the_count(self.start)
        self._fork_lock.release()

    def _after_fork_in_child(self) -> None:
        """Close the copy of the parent's listening socket."""
        self._fork_lock = allocate_lock()
        with contextlib.suppress(OSError):
            self._server.server_close()

    def _pause(self, timeout: float) -> None:
        if self._stop is not None:
            self._stop()
            self._stop = None
        began = time.monotonic()
        while self._server.connections:
            if time.monotonic() > began + (timeout if self._under_way else IDLE_TIMEOUT):
                break
            time.sleep(0.002)
        # The kernel may still count threads that have ended; Python warns of threads at a fork.
        tasks = [Path(f"/proc/self/task/{each}") for each in list(self._server.ended)]
        self._server.ended.clear()
        began = time.monotonic()
        while any(task.exists() for task in tasks) and time.monotonic() < began + TASK_TIMEOUT:
            time.sleep(0)
