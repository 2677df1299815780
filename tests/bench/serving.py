"""CPU of a worker for each request: bare, measured by us, measured by flask-coverage.

    python tests/bench/serving.py [--theirs PYTHON]

All of them serve at the same time and are asked in turn, so that a busy machine is busy for all.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import tempfile
from pathlib import Path

from sites import APP, served, ways

ROUNDS, REQUESTS = 12, 60
WORK = """
import json, string
def words(text):
    out = {}
    for word in text.split():
        word = word.strip(string.punctuation).lower()
        if word:
            out[word] = out.get(word, 0) + 1
    return out
def ranked(found):
    out = []
    for word, count in sorted(found.items()):
        if count > 1:
            out.append((word, count))
        else:
            out.append((word, 0))
    return out
TEXT = "It was the best of times, it was the worst of times. " * 40
@app.get("/")
def home():
    return json.dumps(ranked(words(TEXT)))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--theirs", help="an interpreter with flask-coverage")
    chosen = parser.parse_args()
    with contextlib.ExitStack() as stack:
        sites = {}
        for way in ways(chosen.theirs):
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            (folder / "app.py").write_text(APP.format(body=WORK))
            (folder / ".coveragerc").write_text("[run]\nsource = .\n")
            sites[way.name] = stack.enter_context(served(folder, way))
        used: dict[str, list[float]] = {name: [] for name in sites}
        for _ in range(ROUNDS):
            for name, site in sites.items():
                before = site.cpu()
                for _ in range(REQUESTS):
                    site.timed("/")
                used[name].append((site.cpu() - before) / REQUESTS)
    middle = {name: statistics.median(each[1:]) for name, each in used.items()}
    for name, seconds in middle.items():
        ratio = seconds / middle["bare"]
        print(f"CPU for each request, {name:7} {seconds * 1000:7.2f} ms  {ratio:5.2f} x bare")


if __name__ == "__main__":
    main()
