"""What labels cost requests: with one and without, alternating, and beside an open labelled stream.

    python tests/bench/labelling.py [--rounds 15]

In one process, in turns: a view that builds some JSON, and a loop of 20,000. The application is
measured, without labels as the base; `contexts` off, in a process of its own, comes first.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

APP = """
import json

def prices(count):
    found = []
    for number in range(count):
        found.append({"id": number, "price": number * 3 % 17, "name": f"item {number}"})
    return found

def total(items):
    return sum(each["price"] for each in items)

def loop(times):
    t = 0
    for j in range(times):
        t += j
    return t

def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/json")])
    if environ["PATH_INFO"] == "/stream":
        return stream()
    if environ["PATH_INFO"] == "/loop":
        return [str(loop(20_000)).encode()]
    items = prices(60)
    return [json.dumps({"items": items, "total": total(items)}).encode()]

def stream():
    yield b"a"
    yield b"b"
"""
BATCH = 40  # requests that are timed at once


def measure(rounds: int, contexts: str) -> dict[str, float]:
    """Median time of a request, in microseconds, by what it is."""
    from wsgi_coverage import CoverageMiddleware, start_early

    start_early()
    spec = importlib.util.spec_from_file_location("app", "app.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    app: Callable[..., Any] = CoverageMiddleware(module.app, debug=True, contexts=contexts)

    def request(path: str, label: str | None = None) -> Iterable[bytes]:
        environ: dict[str, Any] = {"PATH_INFO": path, "REQUEST_METHOD": "GET"}
        if label is not None:
            environ["HTTP_X_COVERAGE_CONTEXT"] = label
        result: Iterable[bytes] = app(environ, lambda *more: None)
        return result

    def timed(path: str, labels: Callable[[int], str | None]) -> float:
        count = BATCH if path == "/json" else BATCH // 8
        begun = time.perf_counter()
        for number in range(count):
            for _ in request(path, labels(number)):
                pass
        return 1e6 * (time.perf_counter() - begun) / count

    found: dict[str, list[float]] = {}
    for turn in range(rounds):
        for path in ("/json", "/loop"):
            for what, labels in (
                ("without", lambda n: None),
                ("labelled", lambda n, t=turn: f"{t}-{n}"),
                ("alternating", lambda n, t=turn: f"{t}-{n}" if n % 2 else None),
            ):
                found.setdefault(f"{path} {what}", []).append(timed(path, labels))
            stream: Any = request("/stream", "stream")
            next(iter(stream))
            found.setdefault(f"{path} without, beside a stream", []).append(
                timed(path, lambda n: None)
            )
            if hasattr(stream, "close"):
                stream.close()
    return {what: statistics.median(times) for what, times in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--contexts", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.contexts:
        print(json.dumps(measure(options.rounds, options.contexts)))
        return
    results = {}
    for contexts in ("off", "header"):
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "app.py").write_text(APP)
            Path(folder, ".coveragerc").write_text("[run]\nsource = .\n")
            command = [sys.executable, os.path.abspath(__file__), "--contexts", contexts]
            command += ["--rounds", str(options.rounds)]
            done = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
            results[contexts] = json.loads(done.stdout)
    for what, microseconds in results["header"].items():
        base = results["off"][f"{what.split()[0]} without"]
        print(f"{what:32} {microseconds:8.1f} microseconds  {microseconds / base:5.2f} x")


if __name__ == "__main__":
    main()
