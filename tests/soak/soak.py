"""Serve for a long time, and see that memory, threads, descriptors and files stay level.

    python tests/soak/soak.py [--minutes M] [--every SECONDS]

gunicorn recycles its workers, the application forks, and there are refreshes, snapshots,
collections, resets and labels all the while. Prints a sample of every few seconds as CSV. Then
there is a reset, and known functions run: the report, their labels and the data files that the
server leaves must have their lines, and no others.

Exits with 1 if any of that is wrong, if an answer is not what it should be, if the median of a
column after the warm-up is above MOST, or, in a run of LONG minutes, if a column rises: its median
over the last third is above that over the first third by more than what LEVEL allows.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import http.client
import itertools
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from coverage import CoverageData
from gunicorn.config import KNOWN_SETTINGS

DASHBOARD = "/debug/coverage"
MARK = "WSGI_COVERAGE_SOAK"  # a variable that all processes of a run have
WORKERS, CLIENTS = 2, 2
RECYCLED, JITTER = 60, 30  # requests after which a worker is replaced, and by how many more
LABELS, SNAPSHOTS, ROUTES = 40, 5, 60
WARM_UP = 0.2  # of the time
LONG = 10.0  # minutes; in less, a column may rise by chance
STARTING = 120.0  # seconds that the server may take to start
SILENT = 120  # seconds without a sign of life, after which gunicorn ends a worker
ANSWERED = 180.0  # seconds that a request may take on a busy machine
ENDING = 60.0  # seconds that what outlives the server may take to end
APP = """
import faulthandler
import os
from flask import Flask
from flask_coverage import FlaskCoverage

faulthandler.enable()  # by SIGABRT, gunicorn ends a worker that is silent
app = Flask(__name__)
app.debug = True
FlaskCoverage(app, autosave_interval=1.0, contexts="header")
import routes

@app.get("/<int:number>")
def home(number):
    return str(getattr(routes, f"route_{number}")(number))

@app.get("/fork")
def fork():
    pid = os.fork()
    if not pid:
        routes.forked(os.getpid())
        os._exit(0)
    os.waitpid(pid, 0)
    return "forked"
"""
# Without the line of `def`, and the number of lines from one function to the next.
BODY, ROUTE_LINES = (2, 3, 4, 5), 7
RESETS = 20  # tries, while workers are replaced
TIMES = 3  # requests of each known function at the end
ROUTE = (
    "def {name}(number):\n    total = 0\n    for each in range(50):\n        total += each\n{more}"
)
ALARMS = ("Traceback", "WORKER TIMEOUT")  # in the server's log
# What the median of each column may be at most: about twice what it is.
MOST = {
    "pss_mb": 160.0,
    "worker_mb": 80.0,
    "processes": 12.0,
    "threads": 16.0,
    "descriptors": 90.0,
    "data_files": 8.0,
    "cache_files": 120.0,
    "snapshot_files": 120.0,
    "shared_files": 60.0,
    "shared_mb": 10.0,
    "disk_mb": 10.0,
}
# By how much each column may rise: a factor, and a number beside it.
LEVEL = {
    "pss_mb": (1.15, 8.0),
    "worker_mb": (1.10, 3.0),
    "processes": (1.0, 2.0),
    "threads": (1.0, 3.0),
    "descriptors": (1.0, 12.0),
    "data_files": (1.0, 4.0),
    "cache_files": (1.10, 30.0),
    "snapshot_files": (1.10, 60.0),
    "shared_files": (1.0, 10.0),
    "shared_mb": (1.0, 1.5),
    "disk_mb": (1.10, 4.0),
}


class Run:
    """A server, its clients, and what the system says of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.mark = os.urandom(8).hex()
        self.over = threading.Event()  # clients are to stop
        self.failures: list[str] = []
        self.counts = dict.fromkeys(("requests", "refreshes", "snapshots", "resets"), 0)
        self._lock = threading.Lock()
        self._write()
        with socket.socket() as bound:
            bound.bind(("127.0.0.1", 0))
            self.port = bound.getsockname()[1]
        command = [
            sys.executable,
            "-m",
            "gunicorn",
            "-w",
            str(WORKERS),
            "-b",
            f"127.0.0.1:{self.port}",
        ]
        command += ["--max-requests", str(RECYCLED), "--max-requests-jitter", str(JITTER)]
        command += ["--timeout", str(SILENT), *_without_control_socket(), "app:app"]
        env = {each: os.environ[each] for each in ("PATH", "LANG", "TMPDIR") if each in os.environ}
        env |= {MARK: self.mark, "PYTHONDONTWRITEBYTECODE": "1", "HOME": str(folder)}
        with open(folder / "server.log", "wb") as log:
            self._popen = subprocess.Popen(command, cwd=folder, env=env, stdout=log, stderr=log)

    def _write(self) -> None:
        names = [f"route_{number}" for number in range(ROUTES)] + ["forked"]
        more = "    return total\n\n\n"
        text = "".join(ROUTE.format(name=each, more=more) for each in names)
        (self.folder / "routes.py").write_text(text)
        (self.folder / "app.py").write_text(APP)
        (self.folder / ".coveragerc").write_text("[run]\nsource = .\n")

    def ask(
        self, method: str, path: str, headers: dict[str, str] | None = None
    ) -> tuple[int, bytes]:
        """Status and body of a request; what a worker closed as it ended is asked again."""
        for attempt in itertools.count():
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=ANSWERED)
            try:
                sent = {"Accept": "application/json", **(headers or {})}
                connection.request(method, path, headers=sent)
                answer = connection.getresponse()
                return answer.status, answer.read()
            except (ConnectionError, http.client.RemoteDisconnected):
                if attempt == 20:
                    raise
                time.sleep(0.2)
            finally:
                connection.close()
        raise AssertionError

    def check(self, what: str, method: str, path: str, *good: int, **headers: str) -> bytes:
        """Ask, note what is not answered as it should be, and count it."""
        try:
            sent = {each.replace("_", "-"): value for each, value in headers.items()}
            status, body = self.ask(method, path, sent)
        except OSError as error:
            self.failures.append(f"{method} {path}: {error!r}")
            return b""
        if status not in (good or (200,)):
            self.failures.append(f"{method} {path}: {status} {body[:200]!r}")
        with self._lock:
            self.counts[what] = self.counts.get(what, 0) + 1
        return body

    def wait_for_start(self) -> None:
        deadline = time.monotonic() + STARTING
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                if self.ask("GET", "/1")[0] == 200:
                    return
            time.sleep(0.1)
        raise SystemExit((self.folder / "server.log").read_text())

    def request_all_the_while(self, offset: int) -> None:
        for number in itertools.count(offset, CLIENTS):
            if self.over.wait(0.1):
                return
            label = {"X_Coverage_Context": f"test-{number % LABELS}"} if number % 3 else {}
            path = "/fork" if number % 25 == 0 else f"/{number % ROUTES}"
            self.check("requests", "GET", path, **label)

    def work_all_the_while(self) -> None:
        """Ask the dashboard for everything in turn."""
        for number in itertools.count(1):
            if self.over.wait(0.5):
                return
            if number % 2 == 0:
                self.check("refreshes", "POST", f"{DASHBOARD}/refresh", 200, 409)
                self.check("reads", "GET", f"{DASHBOARD}/export?format=lcov", 200, 404)
                self.check("reads", "GET", f"{DASHBOARD}/contexts", 200, 404)
            if number % 7 == 0:
                how = "?reset=1" if number % 14 == 0 else ""
                self.check("snapshots", "POST", f"{DASHBOARD}/snapshot{how}", 200, 201, 404, 409)
                self._delete_old()
            if number % 20 == 0:
                self.check("resets", "POST", f"{DASHBOARD}/reset", 200, 409)

    def _delete_old(self) -> None:
        body = self.check("reads", "GET", f"{DASHBOARD}/snapshots")
        for each in json.loads(body or b"[]")[SNAPSHOTS:]:
            self.check("reads", "DELETE", f"{DASHBOARD}/snapshots/{each['id']}", 200, 204)

    def check_lines(self) -> set[int]:
        """Have known functions run after a reset, and check the report; return their lines."""
        self._reset()
        chosen = range(0, ROUTES, 2)
        for _ in range(TIMES):  # by more than one worker
            for number in chosen:
                self.check("requests", "GET", f"/{number}", X_Coverage_Context=f"exact-{number}")
        self.check("requests", "GET", "/fork")
        self._answer("POST", "/refresh")
        expected = {ROUTE_LINES * number + 1 for number in range(ROUTES + 1)}  # at load
        for number in (*chosen, ROUTES):
            expected |= {ROUTE_LINES * number + line for line in BODY}
        files = self._answer("GET", "/export?format=json")["files"]
        self._compare("the report has", set(files["routes.py"]["executed_lines"]), expected)
        told = {(each["label"], each["requests"]) for each in self._answer("GET", "/contexts")}
        self._compare("there are labels", told, {(f"exact-{each}", TIMES) for each in chosen})
        return expected

    def _reset(self) -> None:
        """Reset until every worker has heard of it: one may be ending just then."""
        for _ in range(RESETS):
            if json.loads(self.check("checks", "POST", f"{DASHBOARD}/reset"))["complete"]:
                return
            time.sleep(0.5)
        self.failures.append(f"none of {RESETS} resets was complete")

    def _answer(self, method: str, path: str) -> Any:
        answer = json.loads(self.check("checks", method, f"{DASHBOARD}{path}"))
        if isinstance(answer, dict) and answer.get("complete") is False:
            self.failures.append(f"{method} {path}: not complete, {answer['workers']}")
        return answer

    def _compare(self, what: str, found: set[Any], expected: set[Any]) -> None:
        if found != expected:
            more, missing = sorted(found - expected), sorted(expected - found)
            self.failures.append(f"{what}: {more} too many, {missing} missing")

    def check_left(self, expected: set[int]) -> None:
        """Check what there is after the end: data files with all lines, and nothing else."""
        deadline = time.monotonic() + ENDING
        while (left := [*self.pids()]) and time.monotonic() < deadline:
            time.sleep(0.1)
        found: set[int] = set()
        for path in self.folder.glob(".coverage.*"):
            data = CoverageData(str(path))
            data.read()
            found.update(data.lines(str(self.folder / "routes.py")) or ())
            data.close()
        self._compare("the data files have", found, expected)
        self.failures += [f"the process {pid} has not ended" for pid in left]
        self.failures += [f"{path} is left" for path in self._private()]

    def pids(self) -> Iterator[int]:
        """All processes of this run, also those that are nobody's child."""
        wanted = f"{MARK}={self.mark}".encode()
        for each in os.listdir("/proc"):
            if each.isdigit():
                with contextlib.suppress(OSError):
                    if wanted in Path("/proc", each, "environ").read_bytes():
                        yield int(each)

    def sample(self) -> dict[str, float]:
        """What the system says now."""
        sizes, threads, descriptors, workers = [], 0, 0, []
        for pid in self.pids():
            with contextlib.suppress(OSError, IndexError, ValueError):
                rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
                pss = int(rollup.split("Pss:")[1].split()[0]) / 1024
                stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                sizes.append(pss)
                if int(stat[1]) == self._popen.pid:
                    workers.append(pss)
                threads += int(stat[17])
                descriptors += len(os.listdir(f"/proc/{pid}/fd"))
        shared = [path for path in self._private() if path.is_file()]
        disk = [path for path in self.folder.rglob("*") if path.is_file()]
        return {
            "pss_mb": sum(sizes),
            "worker_mb": max(workers, default=0.0),
            "processes": len(sizes),
            "threads": threads,
            "descriptors": descriptors,
            "data_files": len(list(self.folder.glob(".coverage*"))),
            "cache_files": sum(_is_in(path, "-cache") for path in disk),
            "snapshot_files": sum(_is_in(path, "-snapshots") for path in disk),
            "shared_files": len(shared),
            "shared_mb": sum(map(_size, shared)) / 2**20,
            "disk_mb": sum(map(_size, disk)) / 2**20,
        }

    def _private(self) -> Iterator[Path]:
        for top in Path("/dev/shm").glob("wsgi-coverage-*"):
            for about in top.glob("*/about.json"):
                with contextlib.suppress(OSError):
                    if str(self.folder) in about.read_text():
                        yield from about.parent.iterdir()

    def end(self) -> None:
        """End the server, whose processes may outlive it for a moment."""
        self._popen.send_signal(signal.SIGTERM)
        self._popen.wait(ENDING)

    def end_all(self) -> None:
        """End whatever has not ended."""
        for pid in self.pids():
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)


def _without_control_socket() -> list[str]:
    """Return the option by which gunicorn's master has no thread, where it would have one."""
    switch = "--no-control-socket"
    known = any(switch in (setting.cli or ()) for setting in KNOWN_SETTINGS)
    return [switch] if known else []


def _is_in(path: Path, suffix: str) -> bool:
    return any(each.endswith(suffix) for each in path.parts)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def too_high(samples: list[dict[str, float]]) -> list[str]:
    """Return what is above MOST: a sentence for each column."""
    steady = samples[int(len(samples) * WARM_UP) :]
    medians = {name: statistics.median(each[name] for each in steady) for name in MOST}
    return [f"{name} is {medians[name]:g}" for name in MOST if medians[name] > MOST[name]]


def rising(samples: list[dict[str, float]]) -> list[str]:
    """Return what is not level: a sentence for each column."""
    steady = samples[int(len(samples) * WARM_UP) :]
    third = len(steady) // 3
    out = []
    for name, (factor, more) in LEVEL.items():
        first = statistics.median(each[name] for each in steady[:third])
        last = statistics.median(each[name] for each in steady[-third:])
        if last > first * factor + more:
            out.append(f"{name} has risen from {first:g} to {last:g}")
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--every", type=float, help="seconds between samples")
    chosen = parser.parse_args()
    every = chosen.every or max(chosen.minutes * 60 / 180, 1.0)
    folder = Path(tempfile.mkdtemp(prefix="soak-")).resolve()
    run, samples = Run(folder), []
    threads = [
        threading.Thread(target=run.request_all_the_while, args=(number,))
        for number in range(CLIENTS)
    ]
    threads.append(threading.Thread(target=run.work_all_the_while))
    try:
        run.wait_for_start()
        for thread in threads:
            thread.start()
        begun = time.monotonic()
        table = csv.DictWriter(sys.stdout, ["seconds", *run.sample()], lineterminator="\n")
        table.writeheader()
        while (seconds := time.monotonic() - begun) < chosen.minutes * 60:
            sample = run.sample()
            samples.append(sample)
            table.writerow(
                {"seconds": round(seconds)} | {k: round(v, 2) for k, v in sample.items()}
            )
            sys.stdout.flush()
            time.sleep(every)
        run.over.set()
        for thread in threads:
            thread.join()
        expected = run.check_lines()
        run.end()
        run.check_left(expected)
    finally:
        run.over.set()
        run.end_all()
    log = (folder / "server.log").read_text()
    failures = [*run.failures[:20], *too_high(samples)]
    failures += rising(samples) if chosen.minutes >= LONG else []
    failures += [f"the server's log has {each!r}" for each in ALARMS if each in log]
    print(*(f"{count} {name}" for name, count in run.counts.items()), sep=", ", file=sys.stderr)
    if failures:
        print(log[-10_000:], file=sys.stderr)
        raise SystemExit("\n".join([*failures, f"see {folder}"]))
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
