"""Kill a process at each step of an operation; tell what is wrong afterwards.

    python crash_points.py OPERATION EVERY [LIBRARY]

A step is what changes the file system: a file is opened to be written, renamed, removed or linked,
a folder is made or removed, a database is opened. An audit hook counts the steps, and kills the
process before the n-th one. Where that opens a file to write it, there is a case in which the file
is there and empty, too.

With the library made of crash_calls.c, which has to be preloaded, a step is a system call that
changes a file, also one of SQLite's. Of each write there is a case that writes half of it, too.

Cases are forks of one process, which has imported everything and measures nothing. What it prints
last is JSON: the names of the steps, and a message for each case in which something was wrong.
"""

from __future__ import annotations

import contextlib
import ctypes
import io
import json
import os
import re
import shutil
import signal
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import coverage
from wsgi_calls import JSON, PREFIX, Answer, call

from wsgi_coverage import CoverageMiddleware, cli
from wsgi_coverage.collect import forks
from wsgi_coverage.collect.saves import autosave, saving
from wsgi_coverage.data.fold import write_union
from wsgi_coverage.offload import progress
from wsgi_coverage.report import build, formats, render  # noqa: F401  for the forks
from wsgi_coverage.report.finished import detail  # noqa: F401
from wsgi_coverage.store.files import FilesStore
from wsgi_coverage.store.memory import open_if_there
from wsgi_coverage.store.private import private_folders
from wsgi_coverage.store.workspace import BUILDING, WRITING
from wsgi_coverage.system.own_files import TEMPORARY

SHOP = "".join(f"def {name}():\n    {name} = 1\n    return {name}\n\n\n" for name in "abc")
LINES = {"a": {2, 3}, "b": {7, 8}, "c": {12, 13}}
LIMIT = 120  # seconds that one case may take on a busy machine
FOLDED = 3  # data files
HALF_MADE = (TEMPORARY, BUILDING, WRITING)  # first parts of names
CHANGES = {
    "os.rename": "rename",  # os.replace, too
    "os.remove": "remove",  # os.unlink, too
    "os.link": "link",
    "os.mkdir": "make folder",
    "os.rmdir": "remove folder",
    "os.truncate": "truncate",
    "sqlite3.connect": "open database",
}
OPERATIONS: dict[str, Operation] = {}
TOP = Path(tempfile.mkdtemp(prefix="crash-points-")).resolve()


class Steps:
    """Counts the steps of this process from `begin` on, and kills it before one of them."""

    def __init__(self) -> None:
        self._names: list[str] = []
        self._counts = False
        self._last: tuple[int, bool] | None = None
        sys.addaudithook(self._hear)

    def begin(self, last: tuple[int, bool] | None) -> None:
        """Begin to count; `last` is the step to be killed at, and whether its file is there."""
        self._last, self._counts = last, True

    def end(self) -> list[str]:
        """Stop to count; return the names of the steps."""
        self._counts = False
        return self._names

    def is_twice(self, name: str) -> bool:
        """Tell whether a step is tried a second time: with the file there."""
        return ": write " in name and not name.endswith("lock")

    def _hear(self, event: str, args: tuple[Any, ...]) -> None:
        if not self._counts:
            return
        what = CHANGES.get(event)
        writes = event == "open" and bool(args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
        if what is None and not writes:
            return
        path = os.fsdecode(args[0]) if isinstance(args[0], str | bytes | os.PathLike) else ""
        if path.startswith(("/dev/null", "/proc/")) or (writes and not path):
            return
        if event == "os.mkdir" and Path(path).is_dir():
            return  # nothing changes
        number = len(self._names)
        self._names.append(f"{number}: {what or 'write'} {_plain(path)}")
        if self._last is None or number != self._last[0]:
            return
        if self._last[1] and writes:
            self._counts = False
            flags = os.O_WRONLY | os.O_CREAT | args[2] & (os.O_EXCL | os.O_TRUNC)
            with contextlib.suppress(OSError):
                os.close(os.open(path, flags, 0o600))
        os.kill(os.getpid(), signal.SIGKILL)


class Calls:
    """Counts the system calls that change files, as `Steps` does; all is done by a library."""

    def __init__(self, library: str) -> None:
        self._library = ctypes.CDLL(library)
        self._library.crash_end.restype = ctypes.c_char_p

    def begin(self, last: tuple[int, bool] | None) -> None:
        """Begin to count; `last` is the call to be killed at, and whether half of it is done."""
        number, half = last or (-1, False)
        below = os.fsencode(os.getcwd()), b"/dev/shm/wsgi-coverage-"
        self._library.crash_begin(*below, number, int(half))

    def end(self) -> list[str]:
        """Stop to count; return the names of the calls."""
        lines = os.fsdecode(self._library.crash_end()).splitlines()
        return [f"{number}: {_plain(each)}" for number, each in enumerate(lines)]

    def is_twice(self, name: str) -> bool:
        """Tell whether a call is tried a second time: by half."""
        return ": write " in name


def _plain(path: str) -> str:
    """Return a path without what is random in it."""
    path = path.replace(os.getcwd(), "").replace(str(TOP), "")
    path = re.sub(r"/dev/shm/wsgi-coverage-\d+/", "memory/", path)
    return re.sub(r"[0-9a-f]{8,}|\.\d+(?=\.)|\d{8}T[\d.]+Z", "*", path)


class Site:
    """The wrapped shop in this process, whose data lie in the working directory."""

    def __init__(self) -> None:
        sys.path.insert(0, str(TOP))
        import shop

        def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
            getattr(shop, environ["PATH_INFO"].lstrip("/"))()
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [b"ran"]

        self.app = CoverageMiddleware(app, debug=True, autosave_interval=0)

    def ask(self, method: str, path: str, *good: int) -> Answer:
        answer = call(self.app, method, f"{PREFIX}{path}", JSON)
        assert answer.status in (good or (200,)), (method, path, answer.status, answer.text)
        return answer

    def run(self, name: str) -> None:
        """Have lines run; from the answer on they must not be lost."""
        assert call(self.app, "GET", f"/{name}").status == 200

    def lines(self, where: str) -> set[int]:
        """The lines of the functions that a report says have run."""
        files = self.ask("GET", f"{where}/export?format=json").json()["files"]
        found = [each for name, each in files.items() if name.endswith("shop.py")]
        ran = set().union(*(each["executed_lines"] for each in found))
        return ran & set().union(*LINES.values())

    def now(self) -> set[int]:
        """The lines that a refresh shows."""
        self.ask("POST", "/refresh")
        return self.lines("")


class Operation:
    """What is killed, what is there before it, and what must be true afterwards.

    Args:
        do: the operation; called with the site of this process.
        repeat: does it again, in another process.
        forgets: whether lines that ran before may be gone.
        withdraws: whether the published report may be.
        fresh: whether it starts with no site in this process; else /a and /b have run there.
        before: called first, by the process that is killed.
        elsewhere: whether it writes to a folder in which only itself removes what is half-made.
    """

    def __init__(
        self,
        do: Callable[[Any], object],
        *,
        repeat: Callable[[Site], object] | None = None,
        forgets: bool = False,
        withdraws: bool = False,
        fresh: bool = False,
        before: Callable[[], object] | None = None,
        elsewhere: bool = False,
    ) -> None:
        self.do = do
        self.repeat = repeat or do
        self.forgets = forgets
        self.withdraws = withdraws
        self.fresh = fresh
        self.before = before
        self.elsewhere = elsewhere

    def prepare(self) -> Site | None:
        if self.before is not None:
            self.before()
        if self.fresh:
            return None
        site = Site()
        site.run("a")
        site.ask("POST", "/refresh")
        site.ask("POST", "/snapshot")
        site.run("b")
        return site


def _fork(work: Callable[[], object]) -> int:
    """Do something in a fork, which ends without exit handlers; return how it ended."""
    pid = os.fork()
    if not pid:
        signal.alarm(LIMIT)
        status = 1
        try:
            work()
            status = 0
        except BaseException:
            Path("failed").write_text(traceback.format_exc())
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _check(operation: Operation) -> None:
    """Check, in a process that has just started, what a killed one has left."""
    site = Site()
    ran = set() if operation.fresh and operation.before is None else LINES["a"] | LINES["b"]
    if not operation.fresh:
        shown = site.ask("GET", "/files", 200, *([404] if operation.withdraws else []))
        if shown.status == 200:
            published = site.lines("")
            assert published in (LINES["a"], LINES["a"] | LINES["b"]), f"published: {published}"
    snapshots = [each["id"] for each in site.ask("GET", "/snapshots").json()]
    stored = set().union(*(site.lines(f"/snapshots/{each}") for each in snapshots))
    assert operation.fresh or stored >= LINES["a"], "a snapshot is lost"
    there = site.now()
    if operation.forgets:
        assert there in (set(), LINES["a"] | LINES["b"]), f"lines were forgotten in part: {there}"
        if operation.do is not _reset:
            kept = Path("collected")
            if kept.exists():
                stored |= _lines_of(kept)
            assert there | stored >= ran, f"{ran - there - stored} are lost"
    else:
        assert there >= ran, f"{ran - there} are lost"
    if there:
        _save(None)
        saved = set().union(*map(_lines_of, Path().glob(".coverage.*")))
        assert saved >= there, f"{there - saved} cannot be saved"
    site.run("c")
    operation.repeat(site)
    _make_old()
    if operation.elsewhere:
        operation.repeat(site)
    expected = site.now()
    assert operation.forgets or expected == there | LINES["c"], "what runs afterwards is not seen"
    forks.current().store.fold(live=forks.current().memories.ids(), union=write_union)
    data_file = Path(os.environ["COVERAGE_FILE"])
    forks.current().close()
    left = [path for each in private_folders(data_file) for path in each.iterdir()]
    assert not left, f"left in the memory: {left}"
    # Those of the analysis cache go when it is pruned, which a report on new sources does.
    found = [each for each in Path().rglob("*") if each.parent.name != "analysis"]
    left = [str(each) for each in found if each.name.startswith(HALF_MADE)]
    assert not left, f"half-made files stay: {left}"
    kept = set().union(*map(_lines_of, Path().glob(".coverage.*")))
    assert kept == expected, f"the data files hold {kept}"


def _make_old() -> None:
    """Have what is half-made look as if it was left some time ago."""
    for path in Path().rglob("*"):
        if any(each in str(path) for each in HALF_MADE):
            os.utime(path, (0, 0), follow_symlinks=False)


def _lines_of(path: Path) -> set[int]:
    data = coverage.CoverageData(str(path))
    data.read()
    out = {n for name in data.measured_files() for n in data.lines(name) or ()}
    data.close()
    return out & set().union(*LINES.values())


# Operations


def _serve(_: object) -> None:
    site = Site()
    site.run("a")


def _refresh(site: Site) -> None:
    site.ask("POST", "/refresh")


def _snapshot(site: Site) -> None:
    site.ask("POST", "/snapshot")


def _delete(site: Site) -> None:
    site.ask("POST", "/snapshot")
    identity = site.ask("GET", "/snapshots").json()[0]["id"]
    site.ask("DELETE", f"/snapshots/{identity}", 200, 204)


def _collect(site: Site) -> None:
    site.ask("POST", "/snapshot?reset=1")


def _reset(site: Site) -> None:
    site.ask("POST", "/reset")


def _memory() -> Any:
    found = [open_if_there(each) for each in private_folders(Path(os.environ["COVERAGE_FILE"]))]
    return found[0]


def _save(_: object) -> None:
    saving.save(_memory(), Path(os.environ["COVERAGE_FILE"]), None)


def _end(_: object) -> None:
    forks.current().close()


def _leave_a_memory() -> None:
    """A process is killed after it has run lines."""

    def work() -> None:
        site = Site()
        site.run("a")
        site.run("b")

    assert _fork(work) == 0  # without exit handlers, so its memory stays


def _leave_data_files() -> None:
    """Processes end one after the other; each leaves a data file."""
    _leave_a_memory()
    memory = _memory()
    store = FilesStore(Path(os.environ["COVERAGE_FILE"]), fallback=memory.folder)
    _save(None)
    [data_file] = Path().glob(".coverage.*")
    for number in range(FOLDED):
        with store.publishing(f"{memory.id}.{number}", epoch=0) as target:
            shutil.copyfile(data_file, target)
    data_file.unlink()
    shutil.rmtree(memory.folder)


def _end_after_all(_: object) -> None:
    """The autosave process sees that the last process has ended, writes, and removes the memory."""
    memory = _memory()
    read, write = os.pipe()
    os.dup2(read, autosave.START)
    os.close(read)
    os.close(write)
    data_file = Path(os.environ["COVERAGE_FILE"])
    autosave.run(memory.folder, data_file, None, 2**22 + 1, 60.0)


def _fold(_: object) -> None:
    data_file = Path(os.environ["COVERAGE_FILE"])
    FilesStore(data_file, fallback=Path()).fold(live=(), union=write_union)


class _Quiet(WSGIRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


def _command(*options: str) -> Callable[[Site], None]:
    def collect(site: Site) -> None:
        server = make_server("127.0.0.1", 0, site.app, handler_class=_Quiet)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}{PREFIX}"
        target = str(Path("collected").resolve())
        sys.argv = ["wsgi-coverage", "collect", url, "-o", target, *options]
        said = io.StringIO()
        with (
            contextlib.redirect_stdout(said),
            contextlib.redirect_stderr(said),
            contextlib.chdir(TOP),
        ):
            assert cli.main() == 0, said.getvalue()
        server.shutdown()
        thread.join()
        server.server_close()

    return collect


def _again(_: Site) -> None:
    _save(None)


def _nothing(_: Site) -> None:
    pass


OPERATIONS.update(
    {
        "place": Operation(_serve, fresh=True, repeat=_nothing),
        "adopt": Operation(_serve, fresh=True, before=_leave_a_memory, repeat=_nothing),
        "publish": Operation(_save, repeat=_again),
        "end": Operation(_end, repeat=_nothing),
        "end after all": Operation(
            _end_after_all, fresh=True, before=_leave_a_memory, repeat=_nothing
        ),
        "fold": Operation(_fold, fresh=True, before=_leave_data_files, repeat=_nothing),
        "refresh": Operation(_refresh),
        "snapshot": Operation(_snapshot),
        "delete": Operation(_delete),
        "collect": Operation(_collect, forgets=True, withdraws=True),
        "reset": Operation(_reset, forgets=True, withdraws=True),
        "command": Operation(_command(), elsewhere=True),
        "command with reset": Operation(
            _command("--reset"), forgets=True, withdraws=True, elsewhere=True
        ),
    }
)


def _case(
    operation: Operation, steps: Steps | Calls, last: tuple[int, bool] | None
) -> str | list[str]:
    """Run the operation up to a step; return what is wrong, or the steps of all of it."""
    folder = Path(tempfile.mkdtemp(dir=TOP))
    os.chdir(folder)
    os.environ["COVERAGE_FILE"] = str(folder / ".coverage")
    out = folder / "steps"

    def work() -> None:
        site = operation.prepare()
        steps.begin(last)
        operation.do(site)
        out.write_text(json.dumps(steps.end()))

    try:
        status = _fork(work)
        if last is None:
            assert status == 0, Path("failed").read_text()
            found: list[str] = json.loads(out.read_text())
            return found
        if status == 0:
            return "the operation has ended before that step"
        if status != -signal.SIGKILL:
            return Path("failed").read_text() if Path("failed").exists() else f"it ended: {status}"
        status = _fork(lambda: _check(operation))
        if status:
            return Path("failed").read_text() if Path("failed").exists() else f"it ended: {status}"
        return ""
    finally:
        for each in private_folders(folder / ".coverage"):
            shutil.rmtree(each)
        os.chdir(TOP)
        shutil.rmtree(folder)


def main(name: str, every: int, library: str | None = None) -> None:
    (TOP / "shop.py").write_text(SHOP)
    rc = TOP / "rc"
    rc.write_text(f"[run]\ninclude = {TOP}/shop.py\n")
    os.environ["COVERAGE_RCFILE"] = str(rc)
    progress.WRITE_INTERVAL = 3600.0  # seconds; the same steps on a fast and on a busy machine
    steps = Steps() if library is None else Calls(library)
    operation, wrong = OPERATIONS[name], {}
    try:
        names = _case(operation, steps, None)
        assert isinstance(names, list)
        for number, step in enumerate(names):
            if number % every != every // 2:
                continue
            for more in (False, True) if steps.is_twice(step) else (False,):
                found = _case(operation, steps, (number, more))
                if found:
                    wrong[f"{step}{' (begun)' * more}"] = found
    finally:
        shutil.rmtree(TOP)
    print(json.dumps({"steps": names, "wrong": wrong}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), *sys.argv[3:])
