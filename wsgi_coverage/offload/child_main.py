"""The child's side: a script that does one job for a worker and ends. Started by offload/child.py.

Its standard input is the worker's socket: one line of JSON, then a pickle (a function, its
arguments). It answers there, a JSON object a line: `hello`, any number of `files`, then `value` or
`error`. It ends when the worker ends, which it sees by the end of its input, unless the job is one
that outlives the worker.

Concurrency: a thread watches the input; the job runs on the main thread.
"""

from __future__ import annotations

import base64
import contextlib
import gc
import json
import os
import pickle
import select
import sys
import threading
import time
import traceback
import types
from pathlib import Path
from typing import Any

NICENESS = 10
EXPENDABLE = "500"  # of -1000 to 1000: where memory is short, this goes before a worker does
GARBAGE = 200_000  # objects; to look for garbage less often saves a sixth of the time to parse
EVERY = 0.1  # seconds between two messages about files, at least
MOST_FDS = 65536


class Worker:
    """The child's end of the channel to the worker."""

    def __init__(self) -> None:
        _close_all_above(2)
        self._out = os.dup(1)
        os.dup2(2, 1)  # what a plugin prints is no message
        self._due = 0.0

    def tell(self, kind: str, **message: Any) -> None:
        """Send a message: a line of JSON with its `kind` and the other fields.

        Raises:
            OSError: the worker has closed the channel.
        """
        line = json.dumps({"kind": kind, **message}).encode() + b"\n"
        while line:
            line = line[os.write(self._out, line) :]

    def tell_files(self, done: int, total: int) -> None:
        """Send how many files are done; at most ten messages a second, and the last one always."""
        now = time.monotonic()
        if now >= self._due or done == total:
            self._due = now + EVERY
            self.tell("files", done=done, total=total)


def main() -> None:
    """Do the job that the worker sends, and end."""
    worker = Worker()
    given = sys.stdin.buffer
    header = json.loads(given.readline())
    if not header["outlives"]:  # who has ended cannot be told, and is not to be
        worker.tell("hello", version=python_version())
    pickled = given.read(header["size"])
    if header["version"] != python_version() or len(pickled) < header["size"]:
        os._exit(1)  # another Python than the worker's, or the worker is gone
    if not header["outlives"]:
        watch = threading.Thread(target=_end_with_the_worker, args=(os.getppid(),), daemon=True)
        watch.start()
        gc.set_threshold(GARBAGE)
    _be_modest()
    try:
        _prepare_imports(header)
        if header["folder"] is not None:
            with contextlib.suppress(OSError):  # it was removed
                os.chdir(header["folder"])
        worker.tell("value", pickle=base64.b64encode(_work(worker, pickled)).decode())
    except BaseException as error:  # noqa: BLE001  whatever it is, the worker is told
        with contextlib.suppress(OSError):  # it has ended
            worker.tell("error", **_described(error))
    os._exit(0)  # nothing is left to do, and exit handlers are not ours


def _work(worker: Worker, pickled: bytes) -> bytes:
    from wsgi_coverage.offload import progress

    function, arguments, keywords = pickle.loads(pickled)  # noqa: S301  the worker's own
    with progress.told_to(worker.tell_files):
        return pickle.dumps(function(*arguments, **keywords))


def _described(error: BaseException) -> dict[str, Any]:
    refusal = ours = None
    with contextlib.suppress(Exception):
        from wsgi_coverage import errors

        refusal = errors.refusal(error)
        if isinstance(error, errors.WsgiCoverageError):
            ours = base64.b64encode(pickle.dumps(type(error)(str(error)))).decode()
    return {
        "text": f"{type(error).__name__}: {error}",
        "traceback": "".join(traceback.format_exception(error)),
        "refusal": refusal,
        "ours": ours,
    }


def _prepare_imports(header: dict[str, Any]) -> None:
    # What stands here already is the standard library: no module of the application hides it.
    sys.path += [path for path in header["path"] if path not in sys.path]
    if header["plugins"]:  # one that is installed editable may be found by a hook of a .pth file
        import site

        for path in header["path"]:
            if Path(path).name in ("site-packages", "dist-packages"):
                site.addsitedir(path)
    # The package without its __init__, which imports the entry points and werkzeug: 60 ms.
    package = types.ModuleType("wsgi_coverage")
    package.__path__ = [header["package"]]
    sys.modules["wsgi_coverage"] = package


def _be_modest() -> None:
    with contextlib.suppress(OSError):
        os.nice(max(NICENESS - os.nice(0), 0))  # who was started by one that is, is it already
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(EXPENDABLE, encoding="ascii")


def _end_with_the_worker(parent: int) -> None:
    """End when the worker does: its socket closes, or this process gets another parent.

    A fork of the worker's may hold the socket open longer.
    """
    while os.getppid() == parent:
        if select.select([0], [], [], 1.0)[0]:
            break
    os._exit(1)


def _close_all_above(highest: int) -> None:
    """Close descriptors that a server's C code has left open: listening sockets, for one."""
    try:
        open_ones = [int(name) for name in os.listdir("/dev/fd")]  # noqa: PTH208
    except OSError:
        open_ones = list(range(MOST_FDS))
    for fd in open_ones:
        if fd > highest:
            with contextlib.suppress(OSError):
                os.close(fd)


def python_version() -> str:
    """What must be equal on both sides for pickles and extension modules to work."""
    return f"{sys.implementation.cache_tag} {sys.hexversion >> 16:x} {getattr(sys, 'abiflags', '')}"


if __name__ == "__main__":
    main()
