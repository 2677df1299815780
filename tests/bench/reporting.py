"""Refreshes and pages of a large project, and what its requests feel of them.

    python tests/bench/reporting.py [--theirs PYTHON] [--data-files 64]

534 sources of the standard library; data files of as many workers, each with lines of its own.
First ours, then flask-coverage's, each by itself: both are busy for seconds.
"""

from __future__ import annotations

import argparse
import random
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path

from coverage import CoverageData
from sites import DASHBOARD, Site, Way, as_json, large_project, served, ways

from wsgi_coverage.data import stamp


def data_files(folder: Path, sources: Sequence[Path], number: int) -> None:
    """What so many workers of another host publish, under names that both find."""
    draw = random.Random(1)
    lines = {str(path): len(path.read_bytes().splitlines()) for path in sources}
    for index in range(number):
        path = folder / f".coverage.host.{index}.abc"
        data = CoverageData(basename=str(path))
        chosen = draw.sample(sorted(lines), len(lines) // 2)
        data.add_lines({name: range(1, max(lines[name] // 2, 2)) for name in chosen})
        data.close(force=True)
        stamp.put(path, stamp.Stamp(worker_id=f"host.{index}.abc", host="host", epoch=0))


def step(site: Site, what: str, path: str, method: str = "GET") -> bytes:
    """Do one thing while ordinary requests come; print how long it and they took."""
    before = site.peak()
    with site.others() as others:
        seconds, status, body = site.ask(path, method)
    worst = max(others, default=0.0) * 1000
    more = site.peak() - before
    print(f"  {what:22} {seconds:8.3f} s  {status}  worst request {worst:6.0f} ms  {more:+6.1f} MB")
    return body


def measure(way: Way, number: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "site"
        sources = large_project(folder)
        data_files(folder, sources, number)
        with served(folder, way, "--threads", "4") as site:
            print(f"{way.name}: {len(sources)} sources, {number} data files")
            step(site, "first refresh", f"{DASHBOARD}/refresh", "POST")
            for _ in range(3):
                step(site, "refresh again", f"{DASHBOARD}/refresh", "POST")
            index = step(site, "first /html/", f"{DASHBOARD}/html/").decode()
            page = re.findall(r'href="(z_[^"#]+_py\.html)"', index)[7]
            step(site, "first page of a file", f"{DASHBOARD}/html/{page}")
            files = as_json(site.ask(f"{DASHBOARD}/files")[2])
            statements = sum(each["statements"] or 0 for each in files)
            print(f"  {statements} statements in {len(files)} files")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--theirs", help="an interpreter with flask-coverage")
    parser.add_argument("--data-files", type=int, default=64)
    chosen = parser.parse_args()
    for way in ways(chosen.theirs)[1:]:
        measure(way, chosen.data_files)


if __name__ == "__main__":
    main()
