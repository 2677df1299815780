"""Access a cluster by the `kubernetes` package (the extra `kubernetes`), without kubectl.

Concurrency: a forward has one daemon thread that accepts connections, and one for each connection,
which alone uses the connection's WebSocket; all end with the block.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wsgi_coverage.client.cluster import Forward, Pod, PodError, Which, described, one_line
from wsgi_coverage.errors import MissingExtraError

try:
    import kubernetes
    import urllib3
    import websocket
    from kubernetes.client.exceptions import ApiException
    from kubernetes.config.config_exception import ConfigException
    from kubernetes.stream import stream
except ModuleNotFoundError as _error:
    if _error.name != "kubernetes":
        raise
    raise MissingExtraError("kubernetes", needed_for="reaching pods without kubectl") from _error

CHUNK = 1 << 16  # bytes
END_TIMEOUT = 1.0  # seconds for the threads to end
PORT_SIZE = 2  # bytes: each channel begins with the port's number
DATA, ERROR = 0, 1  # channels
NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
BROKEN = (OSError, websocket.WebSocketException)


class Kubernetes:
    """A cluster, accessed by direct requests to its API server.

    Args:
        namespace: the pods' namespace; None: the context's.
        timeout: seconds to wait for a list.

    Raises:
        PodError: there is no kubeconfig, and this process runs in no cluster.
    """

    def __init__(self, namespace: str | None, timeout: float) -> None:
        self._configuration = kubernetes.client.Configuration()
        self._configuration.retries = 0  # by default, the package tries four times
        try:
            own = _configure(self._configuration)
        except (ConfigException, OSError, ValueError) as error:
            raise PodError(f"no cluster is configured: {one_line(str(error))}") from None
        self._namespace = namespace or own
        self._timeout = timeout

    def pods(self, which: Which) -> list[Pod]:
        """Return the pods to find."""
        limits = (self._timeout, self._timeout)  # a float alone was ignored once
        asked: dict[str, Any] = {"_preload_content": False, "_request_timeout": limits}
        with self._client() as api:
            try:
                if which.name is None:
                    answer = api.list_namespaced_pod(
                        self._namespace, label_selector=which.selector, **asked
                    )
                else:
                    answer = api.read_namespaced_pod(which.name, self._namespace, **asked)
                found = json.loads(answer.data)
            except ApiException as error:
                if error.status == 404 and which.name is not None:
                    return []
                raise PodError(f"the cluster refuses: {_reason(error)}") from None
            except urllib3.exceptions.HTTPError as error:
                reason = getattr(error, "reason", None) or error
                raise PodError(f"the cluster cannot be reached: {one_line(str(reason))}") from None
        return [described(manifest) for manifest in found.get("items", [found])]

    @contextlib.contextmanager
    def _client(self) -> Iterator[Any]:
        with kubernetes.client.ApiClient(self._configuration) as client:
            try:
                yield kubernetes.client.CoreV1Api(client)
            finally:
                client.rest_client.pool_manager.clear()  # its connections are kept open

    @contextlib.contextmanager
    def forward(self, name: str, port: int) -> Iterator[Forward]:
        """Forward a port of this machine to the pod's, until the block ends."""
        listener = _Listener(lambda: self._open(name, port))
        try:
            yield Forward(listener.port, listener.problem)
        finally:
            listener.close()

    @contextlib.contextmanager
    def _open(self, name: str, port: int) -> Iterator[Any]:
        # The package's own `portforward` loses the end of an answer where the API server closes
        # the WebSocket right after it (20 of 20 answers of 3 MB); `stream` gives access to the
        # channels. It patches its client meanwhile, so each connection has a client of its own.
        with self._client() as api:
            opened = stream(
                api.connect_get_namespaced_pod_portforward,
                name,
                self._namespace,
                ports=str(port),
                binary=True,
                _preload_content=False,
            )
            try:
                yield opened
            finally:
                with contextlib.suppress(*BROKEN):
                    opened.close(timeout=0)
                opened.sock.shutdown()  # the other side has closed: it does nothing until here


class _Listener:
    """Accepts connections on a port of this machine, and forwards each one to the pod."""

    def __init__(self, open_: Any) -> None:
        self._open = open_
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self._problems: list[str] = []
        self._lock = threading.Lock()  # guards _connections, _threads and _is_closed
        self._connections: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._is_closed = False
        self._start(self._accept)

    def _start(self, work: Any, *arguments: Any) -> None:
        thread = threading.Thread(
            target=work, args=arguments, name="wsgi-coverage-forward", daemon=True
        )
        thread.start()
        self._threads = [*filter(threading.Thread.is_alive, self._threads), thread]

    def problem(self) -> str:
        """Return why connections fail, as far as the API server has reported it."""
        return self._problems[0] if self._problems else ""

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return  # closed
            with self._lock:
                if self._is_closed:
                    connection.close()
                    return
                self._connections.add(connection)
                self._start(self._lead, connection)

    def _lead(self, connection: socket.socket) -> None:
        try:
            with self._open() as opened:
                _splice(connection, opened.sock, self._problems)
        except ApiException as error:
            self._problems.append(_reason(error))
        except BROKEN:
            pass  # the end of an answer, maybe: an API server need not say goodbye
        finally:
            with self._lock:
                self._connections.discard(connection)
                connection.close()

    def close(self) -> None:
        """Accept no more connections, and end the open ones."""
        with self._lock:
            self._is_closed = True
            threads = self._threads
            for connection in self._connections:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        for thread in threads:
            thread.join(END_TIMEOUT)


def _splice(local: socket.socket, pod: websocket.WebSocket, problems: list[str]) -> None:
    """Copy both ways until one side ends; errors on the pod's side are raised."""
    to_skip = {DATA: PORT_SIZE, ERROR: PORT_SIZE}
    with selectors.DefaultSelector() as selector:
        selector.register(local, selectors.EVENT_READ)
        pod_socket: Any = pod.sock
        selector.register(pod_socket, selectors.EVENT_READ)
        while True:
            # A selector does not report data that TLS has decrypted already.
            is_waiting = isinstance(pod_socket, ssl.SSLSocket) and pod_socket.pending() > 0
            ready = {key.fileobj for key, _ in selector.select(0 if is_waiting else None)}
            if is_waiting or pod_socket in ready:
                opcode, frame = pod.recv_data_frame(control_frame=True)
                if opcode == websocket.ABNF.OPCODE_CLOSE:
                    return
                if opcode == websocket.ABNF.OPCODE_BINARY and frame.data:
                    channel, received = frame.data[0], frame.data[1:]
                    skipped = min(to_skip.get(channel, 0), len(received))
                    to_skip[channel] = to_skip.get(channel, 0) - skipped
                    if channel == DATA:
                        try:
                            local.sendall(received[skipped:])
                        except OSError:  # the client has closed its end
                            return
                    elif channel == ERROR and received[skipped:]:
                        said = received[skipped:].decode("utf-8", "replace")
                        problems.append(one_line(said))
                        return
            if local in ready:
                try:
                    sent = local.recv(CHUNK)
                except OSError:
                    return
                if not sent:
                    return
                pod.send_binary(bytes([DATA]) + sent)


def _configure(configuration: Any) -> str:
    """Fill a configuration as kubectl would; return the namespace of its context."""
    named = os.environ.get("KUBECONFIG") or "~/.kube/config"
    if not any(Path(each).expanduser().is_file() for each in named.split(os.pathsep) if each):
        try:
            kubernetes.config.load_incluster_config(client_configuration=configuration)
        except ConfigException as error:
            raise PodError(f"there is no {named}, and this process is in no pod: {error}") from None
        return NAMESPACE_FILE.read_text(encoding="utf-8").strip()
    kubernetes.config.load_kube_config(config_file=named, client_configuration=configuration)
    _, current = kubernetes.config.list_kube_config_contexts(config_file=named)
    return current["context"].get("namespace") or "default"


def _reason(error: ApiException) -> str:
    """Return the API server's message, from the JSON of its answer."""
    _, _, tail = (error.reason or "").rpartition("-+-+- ")
    for raw in (error.body or "", tail):
        with contextlib.suppress(ValueError, TypeError):
            answer = json.loads(raw)
            if isinstance(answer, dict) and isinstance(answer.get("message"), str):
                return one_line(answer["message"])
    return one_line(str(error.reason or error))
