"""The slowest request while a worker autosaves, beside the slowest while it does not.

    python tests/bench/autosaving.py [--theirs PYTHON]

Each request runs a function that none has run before, so that each autosave has something to write;
all sites serve at the same time and are asked in turn.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import tempfile
from pathlib import Path

from sites import APP, Site, served, ways

ROUNDS, REQUESTS, FUNCTIONS = 8, 400, 8000
INTERVAL = 0.5  # seconds
FUNCTION = """
def f_{number}(n):
    out = 0
    for i in range(n):
        out += i
    return out
"""
HANDLER = """
import itertools, functions
names = itertools.cycle(sorted(name for name in vars(functions) if name.startswith("f_")))
@app.get("/")
def home():
    for _ in range(3):
        value = getattr(functions, next(names))(200)
    return str(value)
"""


def slowest(site: Site) -> float:
    """Milliseconds of the slowest of many requests."""
    return max(site.timed("/") for _ in range(REQUESTS)) * 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--theirs", help="an interpreter with flask-coverage")
    chosen = parser.parse_args()
    text = "".join(FUNCTION.format(number=number) for number in range(FUNCTIONS))
    with contextlib.ExitStack() as stack:
        sites = {}
        for way in ways(chosen.theirs)[1:]:
            for interval in (0.0, INTERVAL):
                folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
                (folder / "app.py").write_text(APP.format(body=HANDLER))
                (folder / "functions.py").write_text(text)
                (folder / ".coveragerc").write_text("[run]\nsource = .\n")
                site = stack.enter_context(served(folder, way, autosave=interval))
                sites[way.name, interval] = site
        found: dict[tuple[str, float], list[float]] = {key: [] for key in sites}
        for _ in range(ROUNDS):
            for key, site in sites.items():
                found[key].append(slowest(site))
    for name in dict.fromkeys(name for name, _ in sites):
        without, during = (statistics.median(found[name, each]) for each in (0.0, INTERVAL))
        print(
            f"slowest request, {name:7} {without:6.1f} ms without autosave, {during:6.1f} ms "
            f"with one every {INTERVAL} s: {during / without:4.1f} x"
        )


if __name__ == "__main__":
    main()
