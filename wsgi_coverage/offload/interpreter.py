"""Find a Python interpreter for a child process, and its command line and environment.

In a server that embeds Python, `sys.executable` is the server (uWSGI), empty, or something else
that must not be started. So only files called python are considered, and the child's first message
tells whether it is the same Python (wsgi_coverage.offload.child).

Concurrency: functions without state.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

PYTHON = re.compile(r"\.?(python|pypy)[\w.-]*", re.IGNORECASE)
NOT_FOR_THE_CHILD = (  # variables by which it would be measured, or act as a server or a test
    *("COVERAGE_", "COV_", "WSGI_COVERAGE_", "FLASK_COVERAGE_"),
    *("PYTHON", "PYTEST_", "GUNICORN_", "WERKZEUG_", "LISTEN_"),
)


def candidates() -> list[str]:
    """Return the paths of existing interpreters, the likeliest first, without starting any."""
    found: dict[str, str] = {}  # by real path: one name for each is enough
    for place in _places():
        if PYTHON.fullmatch(place.name) and os.access(place, os.X_OK):
            found.setdefault(os.path.realpath(place), str(place))
    return list(found.values())


def _places() -> Iterator[Path]:
    for executable in (sys.executable, getattr(sys, "_base_executable", None)):
        if executable:
            yield Path(executable)
    version = sys.version_info
    abi = getattr(sys, "abiflags", "")
    for prefix in (sys.prefix, sys.exec_prefix, sys.base_prefix, sys.base_exec_prefix):
        for name in (f"{version.major}.{version.minor}{abi}", f"{version.major}", ""):
            yield Path(prefix, "bin", f"python{name}")


def command(executable: str, script: Path) -> list[str]:
    """Return the command line for a script: isolated (-I), and without site (-S) and its hooks."""
    more = ["-B"] if sys.dont_write_bytecode else []
    if sys.pycache_prefix:
        more += ["-X", f"pycache_prefix={sys.pycache_prefix}"]
    utf8 = f"utf8={sys.flags.utf8_mode}"  # file names have to mean the same on both sides
    return [executable, "-I", "-S", *more, "-X", utf8, str(script)]


def environment(env: Mapping[str, str]) -> dict[str, str]:
    """Return the environment variables that the child gets."""
    return {name: value for name, value in env.items() if not name.startswith(NOT_FOR_THE_CHILD)}


def search_path() -> list[str]:
    """Return this process's `sys.path`, with absolute paths."""
    places: dict[str, None] = {}
    for each in sys.path:
        with contextlib.suppress(OSError):  # a relative one, and the working directory was removed
            if isinstance(each, str):
                places[os.path.abspath(each)] = None  # noqa: PTH100
    return [*places]
