"""A fork in a process that is measured, and the whole of fork, exit and wait.

    python tests/bench/forking.py [--theirs PYTHON]

Each way is a Flask application in a process of its own, which has had a request; rounds of all of
them follow one another, so that a busy machine is busy for all.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import subprocess
import tempfile
from pathlib import Path

from sites import APP, ways

ROUNDS, FORKS = 9, 300
SCRIPT = """
import json, os, sys, time
import app
client = getattr(app, "application", app.app)
environ = {"PATH_INFO": "/", "REQUEST_METHOD": "GET", "SERVER_NAME": "x", "SERVER_PORT": "80",
           "wsgi.url_scheme": "http", "wsgi.input": sys.stdin.buffer, "wsgi.errors": sys.stderr}
begun = time.perf_counter()
for _ in range(3):
    list(app.app.wsgi_app(dict(environ), lambda *_: None))
for line in sys.stdin:
    forks, cycles = [], []
    for _ in range(int(line)):
        begun = time.perf_counter()
        pid = os.fork()
        if not pid:
            os._exit(0)
        forked = time.perf_counter()
        os.waitpid(pid, 0)
        forks.append(forked - begun)
        cycles.append(time.perf_counter() - begun)
    middle = [sorted(each)[len(each) // 2] for each in (forks, cycles)]
    print(json.dumps(middle), flush=True)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--theirs", help="an interpreter with flask-coverage")
    chosen = parser.parse_args()
    with contextlib.ExitStack() as stack:
        running = {}
        for way in ways(chosen.theirs):
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            (folder / "app.py").write_text(APP.format(body='@app.get("/")\ndef home(): return "x"'))
            (folder / ".coveragerc").write_text("[run]\nsource = .\n")
            (folder / "script.py").write_text(SCRIPT)
            env = {"BENCH_MEASURED": way.name, "BENCH_AUTOSAVE": "0", "PATH": "/usr/bin:/bin"}
            env["FLASK_COVERAGE_PASSWORD"] = "x"
            running[way.name] = stack.enter_context(
                subprocess.Popen(
                    [way.python, "script.py"],
                    cwd=folder,
                    env=env,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
        taken: dict[str, list[list[float]]] = {name: [] for name in running}
        for _ in range(ROUNDS):
            for name, process in running.items():
                assert process.stdin
                assert process.stdout
                process.stdin.write(f"{FORKS}\n")
                process.stdin.flush()
                taken[name].append(json.loads(process.stdout.readline()))
        for process in running.values():
            assert process.stdin
            process.stdin.close()
    middle = {
        name: [statistics.median(each) for each in zip(*rounds, strict=True)]
        for name, rounds in taken.items()
    }
    for name, (fork, cycle) in middle.items():
        bare = middle["bare"]
        print(
            f"{name:7} fork {fork * 1e6:6.0f} us ({fork / bare[0]:.2f} x bare), "
            f"fork, exit and wait {cycle * 1e6:6.0f} us ({cycle / bare[1]:.2f} x)"
        )


if __name__ == "__main__":
    main()
