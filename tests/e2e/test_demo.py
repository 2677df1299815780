"""`wsgi-coverage demo` as somebody at a terminal meets it: started, looked at, ended."""

import contextlib
import importlib.util
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from e2e_servers import fail_if_any, unclosed_in

from wsgi_coverage.store.private import private_folder

TIMEOUT = 600.0  # seconds until a demo that hangs is killed; one of them serves many tests
READY = "Press Ctrl-C to end."
COMMAND = [sys.executable, "-m", "wsgi_coverage", "demo"]
WITHOUT_GUNICORN = [
    sys.executable,
    "-c",
    """
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name == "gunicorn":
            raise ModuleNotFoundError("No module named 'gunicorn'", name=name)
sys.meta_path.insert(0, Missing())
from wsgi_coverage.cli import main
sys.exit(main())
""",
    "demo",
]

needs_gunicorn = pytest.mark.skipif(
    importlib.util.find_spec("gunicorn") is None, reason="gunicorn is not installed"
)
needs_proc = pytest.mark.skipif(
    not Path("/proc/self/stat").exists(), reason="there is no /proc to find a parent in"
)


class Demo:
    """A demo in a child process, with a temporary folder of its own."""

    def __init__(self, folder: Path, command: list[str]) -> None:
        self.temporary = folder / "temporary"
        self.temporary.mkdir()
        self._stdout = folder / "stdout"
        self.narration = ""
        environment = {k: v for k, v in os.environ.items() if not k.startswith("WSGI_COVERAGE_")}
        with self._stdout.open("wb") as stdout:
            self.process = subprocess.Popen(
                command,
                cwd=folder,  # a checkout would go before the installed package
                stdout=stdout,
                stderr=subprocess.PIPE,
                text=True,
                env={
                    **environment,
                    "TMPDIR": str(self.temporary),
                    "PYTHONWARNINGS": "always::ResourceWarning",
                    "PYTHONUNBUFFERED": "1",
                },
            )
        self._served = ""  # what its server wrote, as far as it was read
        self._watchdog = threading.Timer(TIMEOUT, self._give_up)
        self._watchdog.start()

    def read_until(self, wanted: str) -> None:
        """Wait until the demo has narrated this."""
        for line in self.process.stderr:
            self.narration += line
            if wanted in line:
                return
        raise AssertionError(f"never said {wanted!r}:\n{self.narration}\n{self.printed}")

    def end(self, *signals: int) -> int:
        """Send signals, wait, and return the exit code."""
        self._served += self.server_log
        for number in signals:
            self.process.send_signal(number)
        self.narration += self.process.stderr.read()
        return self.process.wait()

    def _give_up(self) -> None:
        """Kill it and its server, which is in a session of its own."""
        pids = [int(path.name) for path in Path("/proc").glob("[0-9]*")]
        servers = [pid for pid in pids if parent(pid) == self.process.pid]
        self.process.kill()
        for pid in servers:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)

    def close(self) -> None:
        if self.process.poll() is None:
            self.end(signal.SIGTERM)
        self._watchdog.cancel()
        self.process.stderr.close()
        unclosed = unclosed_in(self.narration + self._served, port=0)
        fail_if_any([line for line in unclosed if "/gunicorn/arbiter.py:" not in line])

    @property
    def server_log(self) -> str:
        logs = self.temporary.rglob("server.log")
        return "".join(path.read_text("utf-8", "replace") for path in logs)

    @property
    def printed(self) -> str:
        return self._stdout.read_text()

    def address(self, name: str) -> str:
        return re.search(rf"^{name} +(http://127\.0\.0\.1:\d+/\S*)$", self.printed, re.M)[1]

    def get(self, path: str = "", method: str = "GET") -> bytes:
        request = urllib.request.Request(
            self.address("Dashboard") + path, method=method, headers={"Accept": "application/json"}
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=30) as response:
            return response.read()

    def worker_pids(self) -> list[int]:
        return [worker["pid"] for worker in json.loads(self.get("health"))["workers"]]


@contextlib.contextmanager
def demo(folder: Path, command: list[str] = COMMAND, *arguments: str) -> Iterator[Demo]:
    started = Demo(folder, [*command, *(arguments or ("--port", "0"))])
    try:
        yield started
    finally:
        started.close()


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    with demo(tmp_path_factory.mktemp("demo")) as started:
        started.read_until(READY)
        yield started


def parent(pid: int) -> int | None:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return None


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def accepts_connections(address: str) -> bool:
    host, port = re.fullmatch(r"http://([\d.]+):(\d+)/.*", address).groups()
    with contextlib.closing(socket.socket()) as client:
        client.settimeout(5)
        return client.connect_ex((host, int(port))) == 0


def test_the_shop_and_the_dashboard_answer_where_it_says_they_do(ready: Demo) -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(ready.address("Shop"), timeout=30) as response:
        shop = response.read().decode()

    assert "Cast-iron teapot" in shop
    assert b"wsgi-coverage" in ready.get()


def test_the_figures_printed_are_those_of_the_files_endpoint(ready: Demo) -> None:
    files = json.loads(ready.get("files"))
    covered, statements = (
        sum(file[key] or 0 for file in files) for key in ("covered", "statements")
    )

    printed = re.search(
        r"^Coverage +([\d.]+) % of (\d+) statements in (\d+) files", ready.printed, re.M
    )

    assert printed.groups() == (
        str(round(100 * covered / statements, 2)),
        str(statements),
        str(len(files)),
    )


def test_the_least_executed_files_printed_are_those_of_the_files_endpoint(ready: Demo) -> None:
    files = [file for file in json.loads(ready.get("files")) if file["percent"] is not None]
    lowest = sorted((file["percent"], Path(file["file"]).name) for file in files)[:4]

    printed = re.findall(r"^ +([\d.]+) %  (\S+)$", ready.printed, re.M)

    assert printed == [(f"{percent:.2f}", name) for percent, name in lowest]


def test_what_is_measured_is_the_shop_and_nothing_else(ready: Demo) -> None:
    files = [Path(file["file"]) for file in json.loads(ready.get("files"))]

    assert {file.parent.name for file in files} == {"shop"}
    assert {file.name for file in files} >= {"app.py", "catalogue.py", "pricing.py", "sales.py"}


def test_functions_that_no_customer_needs_are_named_and_others_are_not(ready: Demo) -> None:
    unused, _, load_only = ready.printed.partition("never ran")[2].partition("at load only")
    summary = json.loads(ready.get("refresh", method="POST"))["summary"]

    assert unused.startswith(f": {summary['unused_functions']}\n")
    assert re.search(r"app\.py: .*sales_report", unused)
    assert "gift_voucher" in unused
    assert "checkout" not in unused
    assert "bulk_discount" not in unused
    assert "prepare" not in unused
    assert load_only.startswith(f": {summary['load_only_functions']}\n  stock.py: prepare\n")


def test_the_traffic_is_the_same_each_time_so_the_figure_is_too(
    ready: Demo, tmp_path: Path
) -> None:
    with demo(tmp_path, COMMAND, "--port", "0", "--workers", "1") as again:
        again.read_until(READY)

        figure = re.compile(r"^Coverage +([\d.]+ % of \d+ statements)", re.M)
        assert figure.search(again.printed)[1] == figure.search(ready.printed)[1]


@needs_gunicorn
def test_under_gunicorn_two_workers_serve_and_it_says_so(ready: Demo) -> None:
    assert "gunicorn, 2 workers" in ready.narration
    assert "executed by 2 workers" in ready.printed
    assert len(ready.worker_pids()) == 2


def test_without_gunicorn_it_says_so_and_serves_with_werkzeug(tmp_path: Path) -> None:
    with demo(tmp_path, WITHOUT_GUNICORN) as started:
        started.read_until(READY)

        assert "werkzeug's server" in started.narration
        assert "gunicorn is not installed" in started.narration
        assert "executed by 1 worker" in started.printed
        [pid] = started.worker_pids()
        assert started.end(signal.SIGINT) == 0
    assert not is_alive(pid)
    assert "Traceback" not in started.narration


@pytest.mark.parametrize(
    "signals",
    [(signal.SIGINT,), (signal.SIGTERM,), (signal.SIGHUP,), (signal.SIGINT, signal.SIGINT)],
    ids=["ctrl-c", "sigterm", "hangup", "impatient"],
)
def test_a_signal_ends_everything_and_leaves_nothing(
    tmp_path: Path, signals: tuple[int, ...]
) -> None:
    with demo(tmp_path) as started:
        started.read_until(READY)
        address, pids = started.address("Shop"), started.worker_pids()
        private = private_folder(Path(json.loads(started.get("health"))["data_file"]))
        assert private.is_dir()

        code = started.end(*signals)

    assert code == 0
    assert "Traceback" not in started.narration + started.printed
    assert not any(map(is_alive, pids))
    assert not accepts_connections(address)
    assert not private.exists()
    assert list(started.temporary.iterdir()) == []


def test_ctrl_c_amid_the_traffic_ends_it_just_as_well(tmp_path: Path) -> None:
    with demo(tmp_path) as started:
        started.read_until("requests")

        assert started.end(signal.SIGINT) == 0
    assert READY not in started.narration
    assert "Traceback" not in started.narration
    assert started.printed == ""
    assert list(started.temporary.iterdir()) == []


def test_a_port_that_is_taken_is_one_clear_line_and_exit_code_1(tmp_path: Path) -> None:
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]

        with demo(tmp_path, COMMAND, "--port", str(port)) as started:
            assert started.end() == 1

    [line] = started.narration.splitlines()
    assert f"port {port} on 127.0.0.1 cannot be used" in line
    assert started.printed == ""


@needs_proc
@needs_gunicorn
def test_a_server_that_ends_by_itself_is_told_and_the_exit_code_is_1(tmp_path: Path) -> None:
    with demo(tmp_path) as started:
        started.read_until(READY)
        worker = started.worker_pids()[0]
        master = parent(worker)
        assert master != started.process.pid
        os.kill(master, signal.SIGTERM)

        assert started.end() == 1

    assert "the server has ended by itself" in started.narration
    assert "Traceback" not in started.narration
    assert list(started.temporary.iterdir()) == []


def test_a_setting_in_the_environment_does_not_reach_the_demo(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COVERAGE_RCFILE", str(tmp_path / "missing"))
    monkeypatch.setenv("GUNICORN_CMD_ARGS", "--workers 3")

    with demo(tmp_path, COMMAND, "--port", "0", "--workers", "1") as started:
        started.read_until(READY)

        assert len(started.worker_pids()) == 1
