"""The servers that test_servers.py and others run: how each is started, what it needs, what holds.

A way that cannot run here is skipped, and the skip says what is missing.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

CTRACE = sys.version_info < (3, 12)  # statements; coverage.py 7.14 and later
TERM, INT, HUP = signal.SIGTERM, signal.SIGINT, signal.SIGHUP
BIN = str(Path(sys.executable).parent)


@dataclass(frozen=True)
class Way:
    """One way to run `served:application`.

    `command` is the interpreter's arguments, or starts with the name of a program beside it.
    """

    command: tuple[str, ...]
    needs: str = ""  # the module that is to be there
    program: bool = False
    processes: int = 1  # that serve
    threads: int = 1  # of each process, that serve at the same time
    run: tuple[str, ...] = ()  # lines of the configuration
    ends: tuple[signal.Signals, ...] = (TERM, INT)  # leave everything
    reloads: bool = False  # at HUP
    has_parent: bool = False  # signals go to the process that serves, not to the one started
    per_request: bool = False  # a process for each request
    has_stats: bool = False  # uWSGI's, which tell whether its workers are idle
    extra: str = ""  # text that served.py begins with
    tests: frozenset[str] = frozenset({"refresh", "ends", "kill"})
    ctrace_sees: str = "all"  # or main: of each process the main thread; or nothing
    not_as_root: bool = False
    min_python: tuple[int, int] = (3, 11)
    max_python: tuple[int, int] = (3, 99)

    def missing(self) -> str | None:
        """Why it cannot run here."""
        if not self.min_python <= sys.version_info[:2] <= self.max_python:
            return "for this version of Python there is another way in the table"
        if self.needs and importlib.util.find_spec(self.needs) is None:
            return f"{self.needs} is not installed"
        if self.program and shutil.which(self.command[0], path=BIN) is None:
            return f"there is no {self.command[0]} beside the interpreter"
        if self.not_as_root and os.geteuid() == 0 and not can_pass_for_a_user():
            return "Apache does not serve as root, which cannot pass for somebody else here"
        return None

    def sees(self, *, pid: str, thread: str) -> bool:
        """Whether the core can see this thread at all."""
        if not CTRACE or self.ctrace_sees == "all":
            return True
        return self.ctrace_sees == "main" and pid == thread

    @contextmanager
    def running(self, project: Any, env: Mapping[str, str]) -> Iterator[Any]:
        """Start it in a project; the server, with a client."""
        with held_port() as port, held_port() as stats, short_folder() as short:
            values = {"port": port, "stats": stats, "folder": project.folder, "short": short}
            filled = [each.format(**values) for each in self.command]
            start = [shutil.which(filled[0], path=BIN)] if self.program else [sys.executable]
            if self._passes_for_a_user:
                start = [*A_USER, *start]
            server = project._start([*start, *filled[self.program :]], env)
            server.port, server.stats_port = port, stats
            server.password = env.get("WSGI_COVERAGE_PASSWORD")
            server.wait_until_it_listens()
            try:
                yield server
            finally:
                if self._passes_for_a_user:  # the project knows its own user's folder only
                    server.kill()
                    shutil.rmtree(self.private(project), ignore_errors=True)

    @property
    def _passes_for_a_user(self) -> bool:
        return self.not_as_root and os.geteuid() == 0

    def private(self, project: Any) -> Path:
        """Where the server's processes have their sockets and live data."""
        folder: Path = project.private
        if not self._passes_for_a_user:
            return folder
        return folder.parent.with_name("wsgi-coverage-1000") / folder.name


def short_folder() -> tempfile.TemporaryDirectory[str]:
    """mod_wsgi's sockets are in one; an address has 108 bytes."""
    return tempfile.TemporaryDirectory(prefix="s-", ignore_cleanup_errors=True)


# Root, who takes itself for user 1000 and sees its files as that user's.
A_USER = ("unshare", "--user", "--map-user=1000", "--map-group=1000", "--")


@functools.cache
def can_pass_for_a_user() -> bool:
    """Whether a command can be run like that; not in many a container."""
    if shutil.which(A_USER[0]) is None:
        return False
    return subprocess.run([*A_USER, "true"], capture_output=True, check=False).returncode == 0


@contextmanager
def held_port() -> Iterator[int]:
    """A port that is bound and does not listen: nobody but a server that is told gets it."""
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


def busy_workers(stats_port: int) -> list[int]:
    """The process ids of uWSGI's workers that are in a request."""
    with socket.create_connection(("127.0.0.1", stats_port), timeout=10) as connection:
        stats = json.loads(b"".join(iter(lambda: connection.recv(65536), b"")))
    return [worker["pid"] for worker in stats["workers"] if worker["status"] != "idle"]


def gunicorn(*options: str, **more: Any) -> Way:
    command = ("-m", "gunicorn", "--bind", "127.0.0.1:{port}", "--graceful-timeout", "5")
    socket_off = ("--no-control-socket",) if HAS_CONTROL_SOCKET else ()
    return Way(
        (*command, *socket_off, "--workers", "2", *options, "served:application"),
        **{"needs": "gunicorn", "processes": 2, "reloads": True, **more},
    )


def uwsgi(*options: str, **more: Any) -> Way:
    command = ("uwsgi", "--http-socket", "127.0.0.1:{port}", "--master", "--processes", "2")
    stats = ("--stats", "127.0.0.1:{stats}")
    return Way(
        (
            *command,
            *stats,
            "--die-on-term",
            "--need-app",
            "--module",
            "served:application",
            *options,
        ),
        **{
            "program": True,
            "processes": 2,
            "has_stats": True,
            # pyuwsgi reloads by the base interpreter, which knows nothing of a virtual environment.
            "reloads": importlib.util.find_spec("pyuwsgi") is None,
            **more,
        },
    )


def uwsgi_alone() -> Way:
    command = ("uwsgi", "--http-socket", "127.0.0.1:{port}", "--need-app")
    return Way((*command, "--module", "served:application"), program=True, tests=REFRESH)


def werkzeug(options: str, **more: Any) -> Way:
    # In a file: the reloader starts it again by its name.
    return Way(("run_werkzeug.py", "{port}", options), "werkzeug", **more)


def _has_control_socket() -> bool:
    if importlib.util.find_spec("gunicorn") is None:
        return False
    from gunicorn.config import KNOWN_SETTINGS

    return any(setting.name == "control_socket_disable" for setting in KNOWN_SETTINGS)


HAS_CONTROL_SOCKET = _has_control_socket()
NONE: frozenset[str] = frozenset()  # of the tests that all servers share: it has its own
REFRESH = frozenset({"refresh"})
NO_KILL = frozenset({"refresh", "ends"})
GRACEFUL = ("--hook-master-start", "unix_signal:15 gracefully_kill_them_all")
# Three threads that wait, and are never running while uWSGI forks.
THREADS_AT_IMPORT = """
import threading

for _ in range(3):
    threading.Thread(target=threading.Event().wait, daemon=True).start()
"""
GEVENT_CTRACE = ("concurrency = gevent,thread",)

SERVERS = {
    "gunicorn-sync": gunicorn(),
    "gunicorn-gthread": gunicorn("--threads", "4", threads=4),
    "gunicorn-preload": gunicorn("--preload", ends=(TERM,)),
    "gunicorn-max-requests": gunicorn(
        *("--max-requests", "5"), ends=(TERM,), reloads=False, tests=NO_KILL
    ),
    "gunicorn-timeout-3": gunicorn("--timeout", "3", reloads=False, tests=NONE),
    "gunicorn-gevent": gunicorn("-k", "gevent", needs="gevent", threads=4, min_python=(3, 12)),
    "gunicorn-gevent-concurrency": gunicorn(
        "-k", "gevent", needs="gevent", threads=4, run=GEVENT_CTRACE
    ),
    "gunicorn-gevent-pywsgi": gunicorn(
        "-k", "gevent_pywsgi", needs="gevent", reloads=False, tests=NONE
    ),
    "uwsgi": uwsgi(),
    "uwsgi-lazy-apps": uwsgi("--lazy-apps"),
    "uwsgi-fork-hooks": uwsgi("--py-call-uwsgi-fork-hooks", ends=(TERM,)),
    "uwsgi-threads": uwsgi("--threads", "4", threads=4, ctrace_sees="main"),
    "uwsgi-threads-at-import": uwsgi(
        *("--threads", "4"),
        threads=4,
        ctrace_sees="main",
        ends=(TERM,),
        reloads=False,
        tests=NO_KILL,
        extra=THREADS_AT_IMPORT,
    ),
    "uwsgi-one-process": uwsgi_alone(),
    "uwsgi-graceful": uwsgi(*GRACEFUL, tests=NONE, reloads=False),
    "uwsgi-threads-graceful": uwsgi(
        *("--threads", "4", *GRACEFUL), threads=4, ctrace_sees="main", tests=NONE, reloads=False
    ),
    "uwsgi-threads-fork-hooks": uwsgi(
        *("--threads", "4", "--py-call-uwsgi-fork-hooks"),
        threads=4,
        ctrace_sees="main",
        ends=(TERM,),
    ),
    "uwsgi-threads-lazy-apps": uwsgi(
        "--threads", "4", "--lazy-apps", threads=4, ctrace_sees="main"
    ),
    "waitress": Way(
        ("-m", "waitress", "--listen=127.0.0.1:{port}", "--threads=4", "served:application"),
        "waitress",
        threads=4,
    ),
    "cheroot": Way(
        ("-m", "cheroot", "--bind", "127.0.0.1:{port}", "--threads", "4", "served:application"),
        "cheroot",
        threads=4,
    ),
    "granian": Way(
        (
            *("-m", "granian", "--interface", "wsgi", "--workers", "2", "--blocking-threads", "4"),
            *("--host", "127.0.0.1", "--port", "{port}", "--respawn-failed-workers"),
            "served:application",
        ),
        "granian",
        processes=2,
        threads=4,
        reloads=True,
        ctrace_sees="nothing",
    ),
    "mod_wsgi-express": Way(
        (
            *("mod_wsgi-express", "start-server", "--host", "127.0.0.1", "--port", "{port}"),
            *("--processes", "2", "--threads", "4", "--application-type", "module"),
            *("--working-directory", "{folder}", "--server-root", "{short}"),
            *("--log-to-terminal", "--startup-timeout", "15", "served"),
        ),
        "mod_wsgi",
        program=True,
        processes=2,
        threads=4,
        ctrace_sees="nothing",
        reloads=True,
        not_as_root=True,
    ),
    "werkzeug-threaded": werkzeug("threaded", threads=4),
    "werkzeug-reloader": werkzeug("reloader", threads=4, has_parent=True),
    "werkzeug-processes": werkzeug("processes", processes=2, per_request=True, tests=NO_KILL),
    "django-runserver": Way(
        ("manage.py", "runserver", "--noreload", "127.0.0.1:{port}"), "django", threads=4
    ),
    "django-runserver-reloader": Way(
        ("manage.py", "runserver", "127.0.0.1:{port}"), "django", threads=4, has_parent=True
    ),
}

# served.py, which is not measured. Requests of one meeting wait until all of it are there: so each
# is in a thread, or a process, of its own.
SERVED = """
import os
import threading
import time
from pathlib import Path
from lines import app
from wsgi_coverage import CoverageMiddleware

app = CoverageMiddleware(app)
MEETINGS = Path(__file__).with_name("meetings")


def meet(name, count):
    folder = MEETINGS / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / os.urandom(8).hex()).touch()
    deadline = time.monotonic() + 1
    while len(list(folder.iterdir())) < count and time.monotonic() < deadline:
        time.sleep(0.005)


def hold(folder):
    folder.mkdir(parents=True)
    (folder / "pid").write_text(str(os.getpid()))
    (folder / "held").touch()
    deadline = time.monotonic() + 20
    while not (folder / "let-go").exists() and time.monotonic() < deadline:
        time.sleep(0.005)


def application(environ, start_response):
    def start(status, headers, *more):
        here = [("X-Pid", str(os.getpid())), ("X-Thread", str(threading.get_native_id()))]
        return start_response(status, [*headers, *here], *more)

    if "HTTP_X_HOLD" in environ:
        hold(MEETINGS / environ["HTTP_X_HOLD"])
    if "HTTP_X_MEET" in environ:
        name, _, count = environ["HTTP_X_MEET"].partition(":")
        meet(name, int(count))
    return app(environ, start)
"""
RUN_WERKZEUG = """
import sys
from served import application
from werkzeug.serving import run_simple

OPTIONS = {
    "threaded": {"threaded": True},
    "reloader": {"threaded": True, "use_reloader": True, "reloader_type": "stat"},
    "processes": {"processes": 2},
}
if __name__ == "__main__":
    run_simple("127.0.0.1", int(sys.argv[1]), application, **OPTIONS[sys.argv[2]])
"""
MANAGE = """
import sys
from django.conf import settings
from django.core.management import execute_from_command_line

settings.configure(
    DEBUG=True,
    ROOT_URLCONF="lines",
    WSGI_APPLICATION="served.application",
    USE_TZ=True,
)
execute_from_command_line(sys.argv)
"""


def ways(*, only: Callable[[Way], bool] = lambda way: True) -> list[Any]:
    """The servers of the table as parameters; what is missing is a skip that says why."""
    return [
        pytest.param(way, id=name, marks=pytest.mark.skipif(bool(why), reason=f"{name}: {why}"))
        for name, way in SERVERS.items()
        if only(way)
        for why in [way.missing()]
    ]


def write(project: Any, routes: Any, way: Way) -> dict[str, int]:
    """Put the application that a server runs into a project; the line number by path."""
    routes.write(project)
    omitted = "omit = served.py, sitecustomize.py, run_werkzeug.py, manage.py"
    project.coveragerc("source = .", omitted, *way.run)
    project.write("served.py", way.extra + SERVED)
    project.write("run_werkzeug.py", RUN_WERKZEUG)
    project.write("manage.py", MANAGE)
    if way.needs != "django":
        bodies: dict[str, int] = routes.bodies
        return bodies
    text, bodies = django_lines(routes.COUNT)
    project.write(routes.FILE, text)
    return bodies


def django_lines(count: int) -> tuple[str, dict[str, int]]:
    """lines.py for Django: its text, and the line number by path."""
    text = [
        "from django.core.wsgi import get_wsgi_application",
        "from django.http import HttpResponse",
        "from django.urls import path",
        "from django.urls import reverse",
        "urlpatterns = []",
    ]
    bodies = {}
    for number in range(count):
        text += [f"def r{number}(request):", f"    return HttpResponse('{number}')"]
        bodies[f"/r{number}"] = len(text)
        text += [f"urlpatterns.append(path('r{number}', r{number}))"]
    return "\n".join([*text, "app = get_wsgi_application()", ""]), bodies
