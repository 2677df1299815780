"""Sites to measure: a Flask application under gunicorn, bare, measured by us, or by flask-coverage.

One process at a time is measured; the client runs beside it. Times are in seconds, memory in MB.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import sysconfig
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PASSWORD = "bench"
LOGIN = "Basic YWRtaW46YmVuY2g="
DASHBOARD = "/debug/coverage"
TIMEOUT = 60.0
SKIPPED = 19  # of the largest sources

APP = """
import os, sys
measured = os.environ["BENCH_MEASURED"]
if measured != "bare":
    from flask_coverage import FlaskCoverage
from flask import Flask
app = Flask(__name__)
if measured != "bare":
    FlaskCoverage(app, autosave_interval=float(os.environ.get("BENCH_AUTOSAVE", "0")))
{body}
"""


@dataclass(frozen=True)
class Way:
    """How a site is measured, and by which interpreter."""

    name: str  # bare, ours, theirs
    python: str


def ways(theirs: str | None) -> list[Way]:
    """The three to compare; without flask-coverage's interpreter, the first two."""
    here = [Way("bare", sys.executable), Way("ours", sys.executable)]
    return [*here, *([Way("theirs", theirs)] if theirs else [])]


class Site:
    """A site that is served; a client for it, and what the system says of its workers."""

    def __init__(self, popen: subprocess.Popen[bytes], port: int) -> None:
        self._popen = popen
        self.port = port

    def ask(self, path: str, method: str = "GET") -> tuple[float, int, bytes]:
        """Seconds, status and body of one request."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=300)
        headers = {"Accept": "application/json", "Authorization": LOGIN}
        try:
            begun = time.perf_counter()
            connection.request(method, path, headers=headers)
            answer = connection.getresponse()
            body = answer.read()
            return time.perf_counter() - begun, answer.status, body
        finally:
            connection.close()

    def timed(self, path: str, method: str = "GET") -> float:
        """Seconds of a request that has to succeed."""
        seconds, status, body = self.ask(path, method)
        if status != 200:
            raise SystemExit(f"{method} {path}: {status} {body[:300]!r}")
        return seconds

    def workers(self) -> list[int]:
        """The processes that serve."""
        path = Path(f"/proc/{self._popen.pid}/task/{self._popen.pid}/children")
        return [int(pid) for pid in path.read_text().split()]

    def cpu(self) -> float:
        """Seconds of CPU that the threads of the workers have used."""
        tasks = [each for pid in self.workers() for each in Path(f"/proc/{pid}/task").iterdir()]
        return sum(int((each / "schedstat").read_text().split()[0]) for each in tasks) / 1e9

    def peak(self) -> float:
        """The most memory that one of the workers has ever used, in MB."""
        return max(self._status(pid, "VmHWM") for pid in self.workers())

    def _status(self, pid: int, name: str) -> float:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) / 1024
        return 0.0

    def _is_ready(self, count: int) -> bool:
        with contextlib.suppress(OSError):
            return self.ask("/")[1] == 200 and len(self.workers()) >= count
        return False

    @contextlib.contextmanager
    def others(self) -> Iterator[list[float]]:
        """Ordinary requests all the while; the time of each."""
        times: list[float] = []
        ended = threading.Event()

        def keep_asking() -> None:
            while not ended.wait(0.002):
                times.append(self.timed("/"))

        thread = threading.Thread(target=keep_asking)
        thread.start()
        try:
            yield times
        finally:
            ended.set()
            thread.join()


@contextlib.contextmanager
def served(
    folder: Path, way: Way, *options: str, workers: int = 1, autosave: float = 0.0
) -> Iterator[Site]:
    """Serve the `app.py` of a folder with gunicorn."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
        bound.listen(512)
        os.set_inheritable(bound.fileno(), True)
        env = {
            **{name: value for name, value in os.environ.items() if not name.startswith("COV")},
            "BENCH_MEASURED": way.name,
            "BENCH_AUTOSAVE": str(autosave),
            "FLASK_COVERAGE_PASSWORD": PASSWORD,
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        for name in (".flask-coverage-cache", ".flask-coverage-snapshots"):
            shutil.rmtree(folder / name, ignore_errors=True)
        command = [way.python, "-m", "gunicorn", "--bind", f"fd://{bound.fileno()}"]
        command += ["--workers", str(workers), "--timeout", "600", *options, "app:app"]
        with (folder / "log").open("wb") as log:
            popen = subprocess.Popen(
                command, cwd=folder, env=env, stdout=log, stderr=log, pass_fds=[bound.fileno()]
            )
    site = Site(popen, port)
    try:
        deadline = time.monotonic() + TIMEOUT
        while not site._is_ready(workers):
            if popen.poll() is not None or time.monotonic() > deadline:
                raise SystemExit((folder / "log").read_text())
            time.sleep(0.05)
        yield site
    finally:
        popen.terminate()
        popen.wait(60)


def large_project(folder: Path, files: int = 534) -> list[Path]:
    """A site beside sources of the standard library, which never run; the sources.

    With 534 of them, about 105,000 statements.
    """
    folder.mkdir(parents=True)
    library = Path(sysconfig.get_path("stdlib"))
    found = [
        path
        for path in sorted(library.rglob("*.py"))
        if not {"test", "tests", "site-packages", "idle_test", "lib2to3"} & {*path.parts}
    ]
    found.sort(key=lambda path: path.stat().st_size, reverse=True)
    out: list[Path] = []
    for path in found[SKIPPED : SKIPPED + files]:
        target = folder / "project" / path.relative_to(library)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
        out.append(target)
    for name in {parent for path in out for parent in path.parents if folder in parent.parents}:
        (name / "__init__.py").touch()
    (folder / "app.py").write_text(APP.format(body='@app.get("/")\ndef home(): return "home"'))
    (folder / ".coveragerc").write_text("[run]\nsource = .\n")
    return out


def as_json(body: bytes) -> Any:
    return json.loads(body)
