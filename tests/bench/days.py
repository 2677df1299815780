"""What the history of days costs a refresh of 534 sources of the standard library.

    python tests/bench/days.py [--days 90] [--sources 534] [--rounds 5]

Prints the time of a refresh in which nothing is new, without other days and with a history of so
many, in a release a week: on each day most of the lines ran that ever do. The first refresh after
midnight reads all days once; the next ones read what it has stored of them.
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
from pathlib import Path

from sites import DASHBOARD, Site, large_project, served, ways

from wsgi_coverage.data.stamp import fingerprint
from wsgi_coverage.store.days import FOLDER, Bitmaps, DaysStore, today


def history(folder: Path, days: int) -> float:
    """Write the days; return their size in MB."""
    sources: dict[str, tuple[str, int]] = {}
    for path in sorted(folder.rglob("*.py")):
        version = fingerprint(str(path))
        if version is not None:
            lines = max(1, len(path.read_bytes().splitlines()))
            sources[str(path.resolve())] = version, lines
    ever = {name: random.getrandbits(lines) for name, (_, lines) in sources.items()}
    found: dict[int, Bitmaps] = {}
    for ago in range(1, days + 1):
        names = {
            name: {version: ever[name] & (random.getrandbits(lines) | random.getrandbits(lines))}
            for name, (version, lines) in sources.items()
        }
        found[today() - ago] = {f"r{ago // 7}": names}
    store = DaysStore(folder / FOLDER)
    store.add(found, days)
    return sum(path.stat().st_size for path in store.folder.iterdir()) / 2**20


def told(site: Site, rounds: int) -> str:
    times = [site.timed(f"{DASHBOARD}/refresh", "POST") for _ in range(rounds)]
    return f"{statistics.median(times):.3f} s"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--days", type=int, default=90)
    parser.add_argument("--sources", type=int, default=534)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "site"
        large_project(folder, options.sources)
        with served(folder, ways(None)[1]) as site:
            print(f"first refresh:                      {told(site, 1)}")
            print(f"again:                              {told(site, options.rounds)}")
            size = history(folder, options.days)
            print(f"with {options.days} days ({size:.1f} MB), once:        {told(site, 1)}")
            print(f"with {options.days} days, again:               {told(site, options.rounds)}")


if __name__ == "__main__":
    main()
