"""What a worker's start takes, and the memory that it has then.

    python tests/bench/starting.py [--theirs PYTHON]

Two applications: a small one, and one of 200 modules with 60,000 lines, all of which are measured.
A start is from the call of Python to the first answer; each way in turn, so that a busy machine is
busy for all. Memory is what belongs to the process alone (private pages), after that answer.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from sites import APP, Way, ways

ROUNDS = 15
MODULES, FUNCTIONS = 200, 75
SCRIPT = """
import sys
import app
environ = {"PATH_INFO": "/", "REQUEST_METHOD": "GET", "SERVER_NAME": "x", "SERVER_PORT": "80",
           "wsgi.url_scheme": "http", "wsgi.input": sys.stdin.buffer, "wsgi.errors": sys.stderr}
list(app.app.wsgi_app(environ, lambda *_: None))
print("answered", flush=True)
sys.stdin.read()
"""


def projects(folder: Path) -> Iterator[tuple[str, Path]]:
    """The two applications, each in a folder of its own."""
    body = '@app.get("/")\ndef home(): return "home"\n'
    imports = "".join(f"import module{number}\n" for number in range(MODULES))
    for name, more in (("small", ""), (f"{MODULES} modules", imports)):
        place = folder / name.partition(" ")[0]
        place.mkdir()
        (place / "app.py").write_text(APP.format(body=more + body))
        (place / "script.py").write_text(SCRIPT)
        (place / ".coveragerc").write_text("[run]\nsource = .\nomit = script.py\n")
        if more:
            text = "".join(
                f"def f{number}(x):\n    if x:\n        return 1\n    return x\n"
                for number in range(FUNCTIONS)
            )
            for number in range(MODULES):
                (place / f"module{number}.py").write_text(text)
        yield name, place


def start(folder: Path, way: Way) -> tuple[float, float]:
    """Milliseconds to the first answer, and MB of private memory after it."""
    env = {
        "BENCH_MEASURED": way.name,
        "PATH": "/usr/bin:/bin",
        "FLASK_COVERAGE_PASSWORD": "x",
        "BENCH_AUTOSAVE": "0",
    }
    begun = time.perf_counter()
    with subprocess.Popen(
        [way.python, "script.py"],
        cwd=folder,
        env=env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        answered = process.stdout.readline()
        taken = (time.perf_counter() - begun) * 1000
        if not answered:
            raise SystemExit(f"{way.name}: no answer")
        rollup = Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines()
        private = sum(int(line.split()[1]) for line in rollup if line.startswith("Private_"))
        process.communicate()
    return taken, private / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--theirs", help="an interpreter with flask-coverage")
    chosen = parser.parse_args()
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    with tempfile.TemporaryDirectory() as made:
        for name, folder in projects(Path(made)):
            found: dict[str, list[tuple[float, float]]] = {}
            for turn in range(ROUNDS + 1):
                for way in ways(chosen.theirs):
                    one = start(folder, way)
                    if turn:  # the first compiles
                        found.setdefault(way.name, []).append(one)
            print(name)
            for way_name, rounds in found.items():
                taken, memory = (statistics.median(each) for each in zip(*rounds, strict=True))
                bare_taken, bare_memory = (
                    statistics.median(each) for each in zip(*found["bare"], strict=True)
                )
                print(
                    f"  {way_name:8} {taken:7.0f} ms ({taken / bare_taken:.2f} x)"
                    f"  {memory:6.1f} MB ({memory - bare_memory:+.1f} MB)"
                )


if __name__ == "__main__":
    main()
