"""Find a Python interpreter for a child process, and its command line and environment.

In a server that embeds Python, `sys.executable` is the server (uWSGI), empty, or something else
that must not be started; so only a file called python is considered, and the child's first message
tells whether it is this very Python (wsgi_coverage.offload.child).

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
NOT_FOR_THE_CHILD = (  # it must not be measured, and must not take itself for a server or a test
    *("COVERAGE_", "COV_", "WSGI_COVERAGE_", "FLASK_COVERAGE_"),
    *("PYTHON", "PYTEST_", "GUNICORN_", "WERKZEUG_", "LISTEN_"),
)


def candidates() -> list[str]:
    """Paths of interpreters that exist here, the likeliest first; none of them has been run."""
    found: dict[str, str] = {}  # by what a link leads to: one of several names is enough
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
    """The command line: isolated (-I) and without site (-S), so that no hooks run there."""
    more = ["-B"] if sys.dont_write_bytecode else []
    if sys.pycache_prefix:
        more += ["-X", f"pycache_prefix={sys.pycache_prefix}"]
    utf8 = f"utf8={sys.flags.utf8_mode}"  # file names have to mean the same on both sides
    return [executable, "-I", "-S", *more, "-X", utf8, str(script)]


def environment(env: Mapping[str, str]) -> dict[str, str]:
    """Those of this process's environment variables that the child gets."""
    return {name: value for name, value in env.items() if not name.startswith(NOT_FOR_THE_CHILD)}


def search_path() -> list[str]:
    """Where this process finds modules, as absolute paths."""
    places: dict[str, None] = {}
    for each in sys.path:
        with contextlib.suppress(OSError):  # a relative one, and the working directory was removed
            if isinstance(each, str):
                places[os.path.abspath(each)] = None  # noqa: PTH100
    return [*places]
