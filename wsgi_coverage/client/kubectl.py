"""Access a cluster by the kubectl binary, with its kubeconfig, its plugins and its context.

No shell is used, and no text from a user can become an option of kubectl. Concurrency: `forward`
has one daemon thread that reads kubectl's output; kubectl is ended, by its process id, with the
block.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import threading
from collections import deque
from collections.abc import Iterator
from typing import IO, Any, cast

from wsgi_coverage.client.cluster import Forward, Pod, PodError, Which, described, one_line

END_TIMEOUT = 5.0  # seconds for kubectl to end when it is asked to
READY = re.compile(r"Forwarding from 127\.0\.0\.1:(\d+) -> \d+")
# kubectl's log line for a connection that failed, whose form differs between its versions.
FAILED = re.compile(r"an error occurred forwarding(?: \d+ -> \d+: )?(.*)", re.I)
QUOTED = re.compile(r'\berr="((?:[^"\\]|\\.)*)"')
LAST_LINES = 20


class Kubectl:
    """A cluster, accessed by running kubectl.

    Args:
        namespace: the pods' namespace; None: the context's.
        timeout: seconds to wait for a list, and for a forward to begin.

    Raises:
        PodError: there is no kubectl on PATH.
    """

    def __init__(self, namespace: str | None, timeout: float) -> None:
        found = shutil.which("kubectl")
        if found is None:
            raise PodError("there is no kubectl on PATH: install it, or use the kubernetes package")
        self._kubectl = found
        self._namespace = () if namespace is None else (f"--namespace={namespace}",)
        self._timeout = timeout

    def pods(self, which: Which) -> list[Pod]:
        """Return the pods to find."""
        if which.name is None:
            what = ("pods", f"--selector={which.selector}")
        else:
            what = (f"pod/{which.name}", "--ignore-not-found")
        answer = self._answer("get", *what)
        manifests = answer.get("items", [answer] if answer else [])
        return [described(manifest) for manifest in manifests]

    def _answer(self, *arguments: str) -> dict[str, Any]:
        limit = f"--request-timeout={self._timeout:g}s"
        command = [self._kubectl, *arguments, *self._namespace, "--output=json", limit]
        with _started(command, stderr=subprocess.PIPE) as process:
            try:
                out, error = process.communicate(timeout=self._timeout)
            except subprocess.TimeoutExpired:
                late = f"no answer from the cluster within {self._timeout:g} s"
                raise PodError(f"kubectl: {late}") from None
        if process.returncode:
            raise PodError(f"kubectl: {_reason(error.splitlines())}")
        try:
            found = json.loads(out or "{}")
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise PodError("kubectl: its answer is no JSON")
        return found

    @contextlib.contextmanager
    def forward(self, name: str, port: int) -> Iterator[Forward]:
        """Forward a port of this machine to the pod's, until the block ends."""
        command = [self._kubectl, "port-forward", "--address=127.0.0.1", *self._namespace]
        command += [f"--pod-running-timeout={self._timeout:g}s", f"pod/{name}", f":{port}"]
        with _started(command, stderr=subprocess.STDOUT) as process:
            output = _Output(cast(IO[str], process.stdout))
            try:
                yield Forward(output.port(self._timeout, name), output.problem)
            finally:
                _end(process)
                if not output.is_read():
                    process.stdout = None  # its reader closes it


@contextlib.contextmanager
def _started(command: list[str], *, stderr: int) -> Iterator[subprocess.Popen[str]]:
    """Run kubectl, and end it with the block.

    kubectl runs in a process group of its own, which is ended as a whole, because `kubectl` may be
    a wrapper that starts the real one.
    """
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            errors="replace",
            process_group=0,
        )
    except OSError as error:
        raise PodError(f"{command[0]} cannot be run: {error.strerror}") from None
    with process:
        try:
            yield process
        finally:
            _end(process)


class _Output:
    """The output of kubectl, read to the end, so that kubectl never waits for a reader."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._lines: deque[str] = deque(maxlen=LAST_LINES)  # appended to by the thread alone
        self._port: int | None = None
        self._ready = threading.Event()  # the port is known, or the end has come
        self._ended = threading.Event()
        self._thread = threading.Thread(
            target=self._read, name="wsgi-coverage-kubectl", daemon=True
        )
        self._thread.start()

    def _read(self) -> None:
        for line in self._stream:
            if found := READY.match(line):
                self._port = int(found[1])
                self._ready.set()
            elif not line.startswith("Handling connection for "):
                self._lines.append(line)
        self._ended.set()
        self._ready.set()

    def port(self, timeout: float, name: str) -> int:
        """Wait until kubectl has written the local port, and return it."""
        if not self._ready.wait(timeout):
            raise PodError(f"kubectl: no connection to pod {name} within {timeout:g} s")
        if self._port is None:
            raise PodError(f"kubectl: {_reason([*self._lines])}")
        return self._port

    def problem(self) -> str:
        """Return why connections fail, as far as kubectl has written it."""
        # kubectl writes why the first connection has failed, and ends.
        self._ended.wait(0.5)
        lines = [*self._lines]
        refusals = [found for line in lines if (found := connection_failure(line))]
        last = [_line(line) for line in lines[-1:] if self._ended.is_set()]
        return next(iter(refusals + last), "")

    def is_read(self) -> bool:
        """Wait a moment for the end of the output; return whether it was reached."""
        self._thread.join(END_TIMEOUT)
        return not self._thread.is_alive()


def _end(process: subprocess.Popen[str]) -> None:
    # Without a return code it has not been reaped, so that its pid is not in use anew.
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(END_TIMEOUT)


def connection_failure(line: str) -> str:
    """Return why a connection failed, by a line of kubectl's log; empty for other lines."""
    if not FAILED.search(line):
        return ""
    if quoted := QUOTED.search(line):
        line = quoted[1].replace('\\"', '"')
    found = FAILED.search(line)
    return _line(found[1] if found else line)


def _reason(lines: list[str]) -> str:
    """Return the last line of kubectl's output: others repeat it, with a time and a source line."""
    said = [line for line in map(_line, lines) if line]
    return said[-1] if said else "it failed and did not say why"


def _line(text: str) -> str:
    return one_line(text).removeprefix("error: ").removeprefix("Error from server ")
