"""Real servers in a project folder of their own, and a client for them.

Nothing is measured in this process: what is measured runs in child processes, each in a session of
its own, with an environment in which no coverage configuration leaks.
"""

from __future__ import annotations

import base64
import contextlib
import copy
import http.client
import itertools
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from coverage import CoverageData
from gunicorn.config import KNOWN_SETTINGS
from removal import remove

from wsgi_coverage.store.memory import open_if_there
from wsgi_coverage.store.private import private_folder

TIMEOUT = 30.0  # seconds that anything here may take at most
SEEING_OFF = 6.0  # seconds that the process which outlives others may wait for their end
DASHBOARD = "/debug/coverage"
NOT_FOR_CHILDREN = (
    *("COVERAGE_", "WSGI_COVERAGE_", "FLASK_", "WERKZEUG_", "GUNICORN_", "PYTHON", "COV_CORE_"),
    *("DEBUG", "BUGSNAG_", "HTTPBIN_"),
)

GUNICORN = ["--bind", "fd://{fd}", "--graceful-timeout", "10"]
if any(setting.name == "control_socket_disable" for setting in KNOWN_SETTINGS):
    GUNICORN.append("--no-control-socket")  # one socket for all the gunicorns of a user
# A file that has no name any more, and no buffer: wsgi-coverage opens none to be written like that.
SERVERS_OWN = re.compile(r"unclosed file <(_io\.FileIO name=\d+ mode='rb\+'|waitress\.)")


def until(check: Callable[[], Any], what: str) -> Any:
    """Call until it gives something true, and return that; fail after TIMEOUT."""
    deadline = time.monotonic() + TIMEOUT
    while not (found := check()):
        if time.monotonic() > deadline:
            pytest.fail(f"not within {TIMEOUT:.0f} s: {what}")
        time.sleep(0.02)
    return found


@contextlib.contextmanager
def beside(*jobs: Callable[[], object]) -> Iterator[None]:
    """Do each job over and over in a thread of its own while the block runs; none may fail."""
    over = threading.Event()

    def go_on(job: Callable[[], object]) -> None:
        while not over.is_set():
            job()

    with ThreadPoolExecutor(len(jobs)) as pool:
        running = [pool.submit(go_on, job) for job in jobs]
        try:
            yield
        finally:
            over.set()
        for each in running:
            each.result()


def each_in_turn(server: Server, paths: Iterable[str]) -> Callable[[], object]:
    """A job that GETs one path after the other."""
    turns = itertools.cycle(paths)
    return lambda: server.get(next(turns))


@dataclass(frozen=True)
class Answer:
    """A response, read to its end."""

    status: int
    headers: Mapping[str, str]  # names in lower case
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    def json(self) -> Any:
        return json.loads(self.body)


class Server:
    """A child process in a session of its own, and a client for it; its output goes to a file."""

    port = 0
    password: str | None = None

    def __init__(
        self, command: list[str], *, cwd: Path, env: dict[str, str], log: Path, fd: int | None
    ):
        self.log = log
        with log.open("wb") as output:
            self.popen = subprocess.Popen(
                command,
                cwd=cwd,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=[] if fd is None else [fd],
            )
        self.pid = self.popen.pid

    @property
    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def wait_for(self, text: str) -> str:
        """Wait until it has written this; return everything written so far."""

        def written() -> str | None:
            assert self.popen.poll() is None or text in self.output, f"it ended:\n{self.output}"
            return self.output if text in self.output else None

        return until(written, f"the output has {text!r}")

    def unclosed(self) -> list[str]:
        """What Python has warned that nobody has closed, but for what the server listens on."""
        return unclosed_in(self.output, port=self.port)

    def send(self, number: int) -> None:
        os.kill(self.pid, number)

    def end(self, number: int = signal.SIGTERM) -> int:
        """Ask it to end by a signal, wait for that, and return its exit code."""
        self.send(number)
        return self.popen.wait(TIMEOUT)

    def kill(self) -> None:
        """End it and every process of its session on the spot, if they still run."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self.popen.wait(TIMEOUT)

    def wait_until_it_listens(self) -> None:
        def connects() -> bool:
            assert self.popen.poll() is None, f"the server ended at once:\n{self.output}"
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port)):
                return True
            return False

        until(connects, "the server listens")

    def request(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
    ) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT)
        sent = {"Connection": "close", **(headers or {})}
        if self.password is not None and path.startswith(DASHBOARD):
            credentials = base64.b64encode(f"admin:{self.password}".encode()).decode()
            sent.setdefault("Authorization", f"Basic {credentials}")
        with contextlib.closing(connection):
            connection.request(method, path, body=body, headers=sent)
            response = connection.getresponse()
            names = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, names, response.read())

    def get(self, path: str, **more: Any) -> Answer:
        return self.request("GET", path, **more)

    def post(self, path: str, **more: Any) -> Answer:
        return self.request("POST", path, headers={"Accept": "application/json"}, **more)

    def raw(self, request: str, *headers: str, body: bytes = b"") -> Answer:
        """Send what no HTTP client would: a request line in latin-1, whatever follows, the end."""
        credentials = base64.b64encode(f"admin:{self.password}".encode()).decode()
        lines = [f"{request} HTTP/1.1", "Host: localhost", "Accept: application/json"]
        lines += [f"Authorization: Basic {credentials}", "Connection: close", *headers, "", ""]
        with socket.create_connection(("127.0.0.1", self.port), timeout=TIMEOUT) as connection:
            connection.sendall("\r\n".join(lines).encode("latin-1") + body)
            connection.shutdown(socket.SHUT_WR)
            with contextlib.closing(http.client.HTTPResponse(connection)) as response:
                response.begin()
                names = {name.lower(): value for name, value in response.getheaders()}
                return Answer(response.status, names, response.read())

    def together(self, paths: list[str], **more: Any) -> list[Answer]:
        """GET all of them at once; answers in the order of the paths."""
        with ThreadPoolExecutor(len(paths)) as pool:
            return list(pool.map(lambda path: self.get(path, **more), paths))

    def collected(self) -> dict[str, set[int]]:
        """Executed lines by file, from a side port's GET /coverage."""
        answer = self.get("/coverage?name=collected")
        assert answer.status == 200, answer.text
        data = CoverageData(no_disk=True)
        data.loads(base64.b64decode(answer.json()["coverage_data"]))
        lines = {Path(name).name: set(data.lines(name) or ()) for name in data.measured_files()}
        data.close(force=True)
        return {name: executed for name, executed in lines.items() if executed}

    def refresh(self) -> dict[str, Any]:
        """POST /refresh, which has to succeed."""
        answer = self.post(f"{DASHBOARD}/refresh")
        assert answer.status == 200, answer.text
        body: dict[str, Any] = answer.json()
        return body

    def reset(self) -> Answer:
        return self.post(f"{DASHBOARD}/reset")

    def exported(self) -> dict[str, set[int]]:
        """Executed lines by file, from GET /export."""
        answer = self.get(f"{DASHBOARD}/export")
        assert answer.status == 200, answer.text
        return lines_in(answer.body)

    def ran_for_labels(self) -> dict[str, dict[str, set[int]]]:
        """Executed lines by file, by label, as the report's GET /contexts/<label> lists them."""
        found = {}
        for each in self.get(f"{DASHBOARD}/contexts").json():
            path = f"{DASHBOARD}/contexts/{quote(each['label'], safe='')}"
            files = self.get(path).json()["files"]
            found[each["label"]] = {Path(file["file"]).name: set(file["lines"]) for file in files}
        return found

    def worker_pids(self) -> set[int]:
        """The measured processes, as GET /health lists them."""
        health = self.get(f"{DASHBOARD}/health").json()
        return {worker["pid"] for worker in health["workers"]}

    def wait_for_workers(self, count: int, *, but: set[int] | None = None) -> set[int]:
        """Wait until this many of the master's children are measured; return their pids."""

        def there() -> set[int] | None:
            pids = {pid for pid in self.worker_pids() - (but or set()) if parent(pid) == self.pid}
            return pids if len(pids) == count else None

        return until(there, f"{count} workers are there")

    @contextlib.contextmanager
    def only(self, pid: int, others: set[int]) -> Iterator[None]:
        """Stop the other workers, so that requests go to this one."""
        stopped = others - {pid}
        try:
            for each in stopped:
                os.kill(each, signal.SIGSTOP)
            for each in stopped:
                until(lambda each=each: process_state(each) == "T", "the worker has stopped")
            yield
        finally:
            for each in stopped:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(each, signal.SIGCONT)


def unclosed_in(output: str, *, port: int) -> list[str]:
    """The lines in which Python warns of a file, socket or connection that nobody has closed.

    What a server listens on, at this port, is its own affair: gunicorn opens it twice, and does
    not close both. Nor does it close the file of a worker that could not start, and waitress leaves
    its pipe open.
    """
    own = f"laddr=('127.0.0.1', {port})"
    warnings = [line for line in output.splitlines() if ": ResourceWarning: " in line]
    return [line for line in warnings if own not in line and not SERVERS_OWN.search(line)]


def fail_if_any(unclosed: list[str]) -> None:
    if unclosed:
        pytest.fail("\n".join(["nobody has closed this:", *unclosed]), pytrace=False)


def process_state(pid: int) -> str:
    """R, S, T and so on, as proc(5) has it."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def parent(pid: int) -> int | None:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return None


def lines_in(data_file: bytes) -> dict[str, set[int]]:
    """Executed lines by file name without its folders; files without any are left out."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "copy"
        copy.write_bytes(data_file)
        data = CoverageData(basename=str(copy))
        data.read()
        lines = {Path(name).name: set(data.lines(name) or ()) for name in data.measured_files()}
        data.close(force=True)
    return {name: executed for name, executed in lines.items() if executed}


class Project:
    """A folder with an application, and the processes that were started in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "project"
        self.folder.mkdir()
        self._logs = folder
        self._processes: list[Server] = []
        self.within: list[str] = []  # a command that runs another command, somewhere else

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.write_text(text, encoding="utf-8")
        return path

    def coveragerc(self, *run: str) -> Path:
        """Make a .coveragerc whose section [run] has these lines."""
        return self.write(".coveragerc", "\n".join(["[run]", *run, ""]))

    def environment(self, env: Mapping[str, str] | None) -> dict[str, str]:
        clean = {k: v for k, v in os.environ.items() if not k.startswith(NOT_FOR_CHILDREN)}
        clean.update(PYTHONPATH=str(self.folder), PYTHONDONTWRITEBYTECODE="1", PYTHONUNBUFFERED="1")
        # An error would be printed as well: where an object goes nobody is there to catch it.
        clean["PYTHONWARNINGS"] = "always::ResourceWarning"
        return {**clean, **(env or {})}

    def start(self, *command: str, env: Mapping[str, str] | None = None) -> Server:
        """Start a Python process: the interpreter's arguments."""
        return self._start([sys.executable, *command], env)

    def run(self, *command: str, given: str = "", env: Mapping[str, str] | None = None) -> str:
        """Run a Python process to its good end; return what it wrote to stdout."""
        done = self.command(
            [sys.executable, *command], cwd=self.folder, env=env, input=given, timeout=TIMEOUT
        )
        assert done.returncode == 0, done.stderr
        out: str = done.stdout
        return out

    def command(
        self,
        command: Sequence[str | Path],
        *,
        env: Mapping[str, str] | None = None,
        text: bool = True,
        port: int = 0,
        **more: Any,
    ) -> subprocess.CompletedProcess[Any]:
        """Run a command to whatever end, which leaves nothing open.

        Args:
            command: with its arguments.
            env: is put into the environment that processes of this project have.
            text: whether the output is str.
            port: that a server which it starts listens on.
            more: see subprocess.run.
        """
        done = subprocess.run(
            command,
            env=self.environment(env),
            capture_output=True,
            text=text,
            check=False,
            **more,
        )
        error = done.stderr if text else done.stderr.decode(errors="replace")
        fail_if_any(unclosed_in(error, port=port))
        return done

    def serve(self, *command: str, env: Mapping[str, str] | None = None) -> Server:
        """Start a server: the interpreter's arguments.

        {fd} in them is a bound socket; {port} its port, which the server binds itself.
        """
        with socket.socket() as bound:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind(("127.0.0.1", 0))
            port = bound.getsockname()[1]
            values = {"{fd}": str(bound.fileno()), "{port}": str(port)}
            filled = [
                re.sub(r"\{(fd|port)\}", lambda found: values[found[0]], each) for each in command
            ]
            server = self._start([sys.executable, *filled], env, fd=bound.fileno())
            server.port = port
        server.password = (env or {}).get("WSGI_COVERAGE_PASSWORD")
        server.wait_until_it_listens()
        return server

    def serve_measured(
        self, *command: str, env: Mapping[str, str] | None = None
    ) -> tuple[Server, Server]:
        """A server run by `wsgi-coverage run`: a client for it, and one for its side port."""
        server = self.serve("-m", "wsgi_coverage", "run", "--port", "0", *command, env=env)
        return server, self.side_port(server)

    def gunicorn_measured(
        self, *arguments: str, env: Mapping[str, str] | None = None
    ) -> tuple[Server, Server]:
        """gunicorn, run by `wsgi-coverage run`."""
        return self.serve_measured("-m", "gunicorn", *GUNICORN, *arguments, env=env)

    def run_measured(
        self, *command: str, port: int = 0, env: Mapping[str, str] | None = None
    ) -> Server:
        """A program run by `wsgi-coverage run`: a client for its side port."""
        program = self.start("-m", "wsgi_coverage", "run", "--port", str(port), *command, env=env)
        program.password = (env or {}).get("WSGI_COVERAGE_PASSWORD")
        return self.side_port(program)

    def side_port(self, program: Server) -> Server:
        """A client for the side port of a program that says where it is."""

        def told() -> re.Match[str] | None:
            assert program.popen.poll() is None, f"it ended at once:\n{program.output}"
            return re.search(r"^wsgi-coverage: http://\S+:(\d+)/", program.output, re.M)

        side = copy.copy(program)
        side.port = int(until(told, "the side port is told")[1])
        return side

    def gunicorn(self, *arguments: str, env: Mapping[str, str] | None = None) -> Server:
        return self.serve("-m", "gunicorn", *GUNICORN, *arguments, env=env)

    def gunicorn_under_coverage_run(self, *arguments: str, env: Mapping[str, str]) -> Server:
        """The same, in a Coverage that is not ours."""
        return self.serve("-m", "coverage", "run", "-m", "gunicorn", *GUNICORN, *arguments, env=env)

    def _start(
        self, command: list[str], env: Mapping[str, str] | None, *, fd: int | None = None
    ) -> Server:
        log = self._logs / f"output-{len(self._processes)}.txt"
        command = [*self.within, *command]
        process = Server(command, cwd=self.folder, env=self.environment(env), log=log, fd=fd)
        self._processes.append(process)
        return process

    @property
    def private(self) -> Path:
        """Where the processes of this project have their sockets and live data."""
        return private_folder(self.folder / ".coverage")

    def remove_private(self) -> None:
        """Remove that folder, into which processes write meanwhile."""
        remove(self.private)

    def _see_off(self) -> None:
        """Where every process has ended: wait for the one that writes what they have run.

        Without autosave there is none, and what they have run stays in memory.
        """
        if any(each.popen.poll() is None for each in self._processes):
            return
        given_up = time.monotonic() + SEEING_OFF

        def is_done() -> bool:
            memory = open_if_there(self.private)
            if memory is None:
                return not (self.private / "save.lock").exists()
            waits = time.monotonic() < max(memory.autosave_until, given_up)
            return not waits

        until(is_done, "what ended processes have run is written")

    def left_over(self) -> list[str]:
        """What is in the private folder that a clean end should have taken away."""
        self._see_off()
        return sorted(path.name for path in self.private.iterdir())

    def data_files(self) -> set[Path]:
        """The data files that are published, or that coverage.py has saved itself."""
        self._see_off()
        found = self.folder.glob(".coverage*")
        return {p for p in found if p.name == ".coverage" or p.name.startswith(".coverage.")}

    def saved(self, name: str) -> set[int]:
        """The lines of a file that any data file has."""
        out: set[int] = set()
        for path in self.data_files():
            out |= lines_in(path.read_bytes()).get(name, set())
        return out

    def close(self) -> None:
        for process in reversed(self._processes):
            process.kill()
            print(f"--- {' '.join(map(str, process.popen.args))}\n{process.output}")
        shutil.rmtree(self.private, ignore_errors=True)
        fail_if_any([line for each in self._processes for line in each.unclosed()])
