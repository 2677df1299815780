"""An application of 3,000 files, measured and served."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from gunicorn.config import KNOWN_SETTINGS

from wsgi_coverage.demo.server import HOST, NOT_INHERITED, bind
from wsgi_coverage.demo.traffic import Browser as Client

FILES = 3_000
LARGE = """
from importlib import import_module
from pathlib import Path

modules = [
    import_module(".".join(path.with_suffix("").parts))
    for path in sorted(Path("big").rglob("module_*1.py"))
]


def application(environ, start_response):
    for module in modules[::2]:
        getattr(module, "f0", int)()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"served"]
"""

HAS_CONTROL_SOCKET = any("--no-control-socket" in (each.cli or ()) for each in KNOWN_SETTINGS)


@contextlib.contextmanager
def serving_large(folder: Path, lines: int = 0) -> Iterator[str]:
    """Serve the application, with a published report; yields the address of its dashboard.

    Args:
        folder: where it is written.
        lines: of one more file, `big/long.py`; 0: without it.
    """
    _write(folder)
    if lines:
        (folder / "big" / "long.py").write_text(
            "def f(x):\n    return x  # a line\n" * (lines // 2)
        )
    with bind(0) as listening:
        address = f"http://{HOST}:{listening.getsockname()[1]}"
        command = ["-m", "gunicorn", "wsgi_coverage.wsgi:application", "--workers", "2"]
        command += ["--threads", "4", "--bind", f"fd://{listening.fileno()}"]
        command += ["--no-control-socket"] if HAS_CONTROL_SOCKET else []
        with subprocess.Popen(
            [sys.executable, *command],
            cwd=folder,
            env={
                **{k: v for k, v in os.environ.items() if not k.startswith(NOT_INHERITED)},
                "WSGI_COVERAGE_APP": "app:application",
                "WSGI_COVERAGE_DEBUG": "1",
                "PYTHONPATH": str(folder),
            },
            pass_fds=[listening.fileno()],
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        ) as server:
            try:
                client = Client(address)
                client.open("/")
                client.json("/debug/coverage/refresh", method="POST")
                yield f"{address}/debug/coverage/"
            finally:
                server.terminate()


def _write(folder: Path) -> None:
    for number in range(FILES):
        package = folder / "big" / f"part{number % 12}" / f"inner{number // 12 % 5}"
        package.mkdir(parents=True, exist_ok=True)
        text = "".join(f"def f{n}():\n    a = 1\n    return a\n" for n in range(number % 7))
        (package / f"module_{number:04}.py").write_text(f"x = 1\n{text}")
    for each in [folder / "big", *(folder / "big").rglob("*")]:
        if each.is_dir():
            (each / "__init__.py").touch()
    (folder / "app.py").write_text(LARGE)
    (folder / ".coveragerc").write_text("[run]\nsource = big\n")
