"""The server of the demo: gunicorn if it is installed, else werkzeug's.

Concurrency: one thread; the server is a process group of its own, so that a Ctrl-C in the terminal
reaches the demo alone, which then ends the server in order.
"""

from __future__ import annotations

import importlib
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from types import TracebackType

from wsgi_coverage.collect.saves import saving
from wsgi_coverage.collect.sources.ourselves import DEMO
from wsgi_coverage.store.private import private_folder
from wsgi_coverage.system import own_files

HOST = "127.0.0.1"
FAVOURITE_PORT = 8000
THREADS = 4  # a worker; a browser's idle connection must not block one
END_TIMEOUT = 8.0  # seconds that the server has to end by itself
HERE = Path(__file__).parent
SHOP = HERE / "shop"
NOT_INHERITED = ("COVERAGE_", "WSGI_COVERAGE_", "FLASK_COVERAGE_", "GUNICORN_")


def bind(port: int | None) -> socket.socket:
    """Return a listening socket on the loopback interface.

    Args:
        port: 0 for any free one; None for FAVOURITE_PORT, or any where that is taken.

    Raises:
        OSError: the port is taken, or may not be used.
    """
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((HOST, FAVOURITE_PORT if port is None else port))
        listening.listen(64)
    except OSError:
        listening.close()
        if port is None:
            return bind(0)
        raise
    return listening


class ShopServer:
    """A context manager that serves the shop, measured, in a server process.

    Args:
        listening: the listening socket, closed here once the server has started.
        folder: an empty folder, for data, reports, the shop's database and the server's log.
        workers: the number of processes, if the server can have several.
    """

    def __init__(self, listening: socket.socket, folder: Path, workers: int) -> None:
        self.address: str = f"http://{HOST}:{listening.getsockname()[1]}"
        self._listening = listening
        self._log = folder / "server.log"
        self._data_file = folder / ".coverage"
        self._config_file = folder / "coveragerc"
        self._database = folder / "shop.sqlite"
        gunicorn, why_not = _gunicorn_options()
        if gunicorn is None:
            self.description: str = f"werkzeug's server, 1 process with threads ({why_not})"
            self._command = ["wsgi_coverage.demo.serve", str(listening.fileno())]
        else:
            self.description = f"gunicorn, {workers} worker{'' if workers == 1 else 's'}"
            self._command = [
                "gunicorn", "wsgi_coverage.wsgi:application",
                "--bind", f"fd://{listening.fileno()}", "--workers", str(workers),
                "--threads", str(THREADS), "--graceful-timeout", "2", "--log-level", "warning",
                *gunicorn,
            ]  # fmt: skip

    def __enter__(self) -> ShopServer:
        own_files.write(
            self._config_file,
            f"[run]\ndata_file = {self._data_file}\nsource_pkgs = wsgi_coverage.demo.shop\n",
        )
        own_files.create(self._log)
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", *self._command],
                cwd=HERE,  # reports name files as seen from here: shop/pricing.py
                env=self._environment(),
                pass_fds=[self._listening.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._listening.close()  # else connections to a server that died would wait for ever
        return self

    def _environment(self) -> dict[str, str]:
        inherited = {
            name: value for name, value in os.environ.items() if not name.startswith(NOT_INHERITED)
        }
        return {
            **inherited,
            "WSGI_COVERAGE_APP": "wsgi_coverage.demo.shop.app:application",
            "WSGI_COVERAGE_CONFIG_FILE": str(self._config_file),
            "WSGI_COVERAGE_DEBUG": "1",  # to local host names only
            DEMO: "1",
            "SHOP_DATABASE": str(self._database),
        }

    def has_ended(self) -> bool:
        """Tell whether the server has ended by itself."""
        return self._process.poll() is not None

    def log_tail(self, lines: int = 15) -> str:
        """Return the last lines of the server's log."""
        return "\n".join(self._log.read_text("utf-8", "replace").splitlines()[-lines:])

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the server, by SIGTERM first, and remove its private folder of shared memory."""
        self._process.terminate()
        try:
            self._process.wait(END_TIMEOUT)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        saving.discard(private_folder(self._data_file))


def _gunicorn_options() -> tuple[list[str] | None, str]:
    """Return options for gunicorn and an empty text; or None and why gunicorn cannot be used."""
    try:
        config = importlib.import_module("gunicorn.config")
    except ImportError as error:
        if error.name == "gunicorn":
            return None, "gunicorn is not installed; the extra 'demo' brings it"
        return None, f"gunicorn cannot be imported here: {error}"
    # All gunicorns of this user would share the control socket in the home folder.
    switch = "--no-control-socket"
    known = any(switch in (setting.cli or ()) for setting in config.KNOWN_SETTINGS)
    return ([switch] if known else []), ""
