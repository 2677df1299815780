"""Hosts on this machine that serve one application, each with a name and a folder of its own.

A host is a UTS namespace and a mount namespace, held by a process that does nothing else. With `at`
each sees its own folder under that path, as machines with one deployment do; else each has another
path.

Concurrency: a host is used by one thread.
"""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from servers import TIMEOUT, Project, Server, process_state, until

USER_PASSWORD = "open sesame"  # of the dashboard
NAMESPACES = ("unshare", "--uts", "--mount", "--propagation", "private", "--", "sh", "-ec")
# For a shell: the host's name, its folder, and where that is to be seen, if anywhere else.
BEGIN = """
hostname "$0"
if [ -n "$2" ]; then mount --bind "$1" "$2"; fi
echo ready
exec cat
"""
INSIDE = 'cd "$0"; exec "$@"'


@functools.cache
def why_not() -> str | None:
    """Why there can be no hosts here; None if there can."""
    if os.geteuid() != 0 or not all(map(shutil.which, ("unshare", "nsenter", "hostname"))):
        return "hosts need root, unshare, nsenter and hostname"
    done = subprocess.run(
        [*NAMESPACES, BEGIN.replace("cat", "true"), "host-of-a-test", "/mnt", "/mnt"],
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    return f"hosts are not allowed here: {done.stderr.strip()}" if done.returncode else None


class Lines:
    """An application with one handler for each of 600 paths, /r0 to /r599: each runs one line.

    The handlers are in six modules; `served.py`, which is not measured, finds and calls them. Every
    response says which host and which process it came from.
    """

    COUNT = 600
    FILES = 6

    def __init__(self) -> None:
        self.paths = [f"/r{number}" for number in range(self.COUNT)]
        self.sources: dict[str, str] = {}
        self.load: dict[str, set[int]] = {}  # executed once the modules are imported, by file
        self._bodies: dict[str, tuple[str, int]] = {}  # file and line, by path
        for file in range(self.FILES):
            name = f"lines_{file}.py"
            text = ["HANDLERS = {}"]
            for path in self.paths[file :: self.FILES]:
                text += [f"def {path[1:]}():", f"    return {path!r}"]
                self._bodies[path] = (name, len(text))
                text += [f"HANDLERS[{path!r}] = {path[1:]}"]
            bodies = {line for its, line in self._bodies.values() if its == name}
            self.sources[name] = "\n".join([*text, ""])
            self.load[name] = set(range(1, len(text) + 1)) - bodies

    def of(self, paths: Iterable[str]) -> dict[str, set[int]]:
        """The lines that these paths have run, and the load, by file."""
        lines = {name: {*load} for name, load in self.load.items()}
        for path in paths:
            name, line = self._bodies[path]
            lines[name].add(line)
        return lines

    def body(self, path: str) -> tuple[str, int]:
        """The file and the line that a path runs."""
        return self._bodies[path]

    def write(self, project: Project) -> None:
        """Put the application into a project."""
        for name, text in self.sources.items():
            project.write(name, text)
        project.write("served.py", SERVED)
        project.coveragerc("source = .", "omit = served.py")


SERVED = f"""
import os
import socket
from importlib import import_module

HANDLERS = {{}}
for number in range({Lines.FILES}):
    HANDLERS |= import_module(f"lines_{{number}}").HANDLERS


def application(environ, start_response):
    here = [("X-Host", socket.gethostname()), ("X-Pid", str(os.getpid()))]
    start_response("200 OK", [("Content-Type", "text/plain"), *here])
    return [HANDLERS[environ["PATH_INFO"]]().encode()]
"""


class Host(Project):
    """A host with the application's sources, and after `begin` a gunicorn of two workers.

    Args:
        folder: which it makes, for all that it has.
        name: its host name.
        lines: the application.
        store: the address of the store; None: the host keeps to itself.
        namespace: in the store.
        at: the path under which it sees its sources; None: their own.
        env: put into the environment of all its processes.
    """

    server: Server

    def __init__(
        self,
        folder: Path,
        name: str,
        lines: Lines,
        *,
        store: str | None,
        namespace: str = "",
        at: Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        folder.mkdir()
        super().__init__(folder)
        self.name = name
        self.at = at or self.folder
        self.at.mkdir(exist_ok=True)
        self._temporary = folder / "tmp"
        self._temporary.mkdir()
        self._env = {"WSGI_COVERAGE_PASSWORD": USER_PASSWORD}
        if store is not None:
            self._env |= {"WSGI_COVERAGE_STORE": store}
            self._env |= {"WSGI_COVERAGE_STORE_NAMESPACE": namespace}
        self._env |= {**(env or {})}
        lines.write(self)
        self._holder = subprocess.Popen(
            [*NAMESPACES, BEGIN, name, str(self.folder), str(at or "")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        assert self._holder.stdout is not None
        assert self._holder.stdout.readline() == b"ready\n"
        spaces = [f"--{kind}=/proc/{self._holder.pid}/ns/{kind}" for kind in ("uts", "mnt")]
        spaces[1] = spaces[1].replace("--mnt", "--mount")
        self.within = ["nsenter", *spaces, "--", "sh", "-ec", INSIDE, str(self.at)]
        self._uts = self._namespace_of(self._holder.pid)

    def environment(self, env: Mapping[str, str] | None = None) -> dict[str, str]:
        own = {**self._env, "TMPDIR": str(self._temporary), "PYTHONPATH": str(self.at)}
        return {**super().environment(None), **own, **(env or {})}

    def output_of(self, *arguments: str) -> str:
        """What a Python process of this host prints."""
        command = [*self.within, sys.executable, *arguments]
        done = self.command(command, cwd=self.folder, timeout=TIMEOUT)
        assert done.returncode == 0, done.stderr
        return str(done.stdout).strip()

    def begin(
        self, *options: str, workers: int = 2, env: Mapping[str, str] | None = None
    ) -> Server:
        """Start gunicorn, and wait until its workers are measured."""
        application = "wsgi_coverage.wsgi:application"
        env = {**self._env, "WSGI_COVERAGE_APP": "served:application", **(env or {})}
        self.server = self.gunicorn("-w", str(workers), *options, application, env=env)
        self.workers = self.server.wait_for_workers(workers)
        return self.server

    def run_lines(self, paths: list[str]) -> None:
        """Have every worker run its share of these."""
        workers = sorted(self.workers)
        for number, pid in enumerate(workers):
            with self.server.only(pid, self.workers):
                for path in paths[number :: len(workers)]:
                    answer = self.server.get(path)
                    assert (answer.status, answer.text) == (200, path)
                    assert answer.headers["x-host"] == self.name
                    assert answer.headers["x-pid"] == str(pid)

    @functools.cached_property
    def private(self) -> Path:
        """Where the processes of this host have their sockets and live data."""
        call = "from pathlib import Path; from wsgi_coverage.store.private import private_folder"
        return Path(
            self.output_of("-c", f"{call}; print(private_folder(Path('.coverage').resolve()))")
        )

    def processes(self) -> set[int]:
        """The pids of all its processes."""
        pids = {int(each) for each in os.listdir("/proc") if each.isdigit()}
        here = {pid for pid in pids if self._namespace_of(pid) == self._uts}
        return here - {self._holder.pid}

    @staticmethod
    def _namespace_of(pid: int) -> str | None:
        try:
            return os.readlink(f"/proc/{pid}/ns/uts")
        except OSError:  # it has ended
            return None

    @contextlib.contextmanager
    def paused(self) -> Iterator[set[int]]:
        """No process of this host runs until the end: gives their pids."""
        stopped: set[int] = set()

        def all_have_stopped() -> bool:
            for pid in self.processes() - stopped:
                _send(pid, signal.SIGSTOP)
                stopped.add(pid)
            return all(_has_stopped(pid) for pid in self.processes())

        try:
            until(all_have_stopped, f"all processes of {self.name} have stopped")
            yield {*stopped}
        finally:
            for pid in stopped:
                _send(pid, signal.SIGCONT)

    def kill(self) -> None:
        """All its processes end on the spot: nothing of the memory is written."""
        with self.paused() as pids:
            for pid in pids:
                _send(pid, signal.SIGKILL)
        for process in self._processes:
            process.popen.wait(TIMEOUT)
        until(lambda: not self.processes(), f"all processes of {self.name} have ended")

    def close(self) -> None:
        if self._holder.returncode is not None:
            return
        try:
            self.kill()
            super().close()
        finally:
            self._holder.communicate(timeout=TIMEOUT)  # its input ends, and so does it


def _send(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _has_stopped(pid: int) -> bool:
    """A zombie does nothing, either."""
    try:
        return process_state(pid) in "TZ"
    except OSError:
        return True
