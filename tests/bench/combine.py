"""How long the union of many data files takes, beside coverage.py's own combine.

    python tests/bench/combine.py [--sources 724] [--files 2 64 256] [--arc-files 2 8]

Both in turn, several times; printed is the shortest of each, in milliseconds.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import random
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from coverage import Coverage, CoverageData

from wsgi_coverage.analysis.reporting import ReportingCoverage
from wsgi_coverage.data import stamp
from wsgi_coverage.report.combine import combine

LINES = (20, 900)  # in a source
LOADED, RUN = 3, 8  # one in so many lines of a source, at load and afterwards
LAZY = 0.1  # of the sources are imported later, by each worker in its own order
REACHED = 0.4  # of the sources, by what a worker has served
ROUNDS = 3


def make_sources(folder: Path, number: int, seed: int = 1) -> dict[str, int]:
    """Files and their numbers of lines."""
    draw = random.Random(seed)
    out = {}
    for index in range(number):
        path = folder / "site-packages" / f"package_{index % 30}" / f"module_{index}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = draw.randint(*LINES)
        path.write_text("some_name = some_function()\n" * lines)
        out[str(path)] = lines
    return out


def make_data_files(
    folder: Path, sources: dict[str, int], number: int, *, arcs: bool, seed: int = 2
) -> list[Path]:
    """What so many workers publish: the same at load, and something of their own at runtime."""
    draw = random.Random(seed)
    load = {
        name: draw.sample(range(1, n + 1), n // LOADED)
        for name, n in sources.items()
        if draw.random() >= LAZY
    }
    fingerprints = {name: str(stamp.fingerprint(name)) for name in sources}
    out = []
    for index in range(number):
        path = folder / f".coverage.host.{index}"
        data = CoverageData(basename=str(path))
        runtime = {
            name: draw.sample(range(1, n + 1), n // RUN)
            for name, n in draw.sample(sorted(sources.items()), len(sources))
            if name not in load or draw.random() < REACHED
        }
        for context, lines in {"load": load, "runtime": runtime}.items():
            data.set_context(context)
            if arcs:
                data.add_arcs({name: _arcs(these) for name, these in lines.items()})
            else:
                data.add_lines(lines)
        data.close(force=True)
        stamp.put_fingerprints(path, fingerprints)
        stamp.put(path, stamp.Stamp(worker_id=f"host.{index}", host="host", epoch=0))
        out.append(path)
    return out


def _arcs(lines: Sequence[int]) -> list[tuple[int, int]]:
    ordered = [-1, *sorted(lines), -1]
    return list(itertools.pairwise(ordered))


def ours(folder: Path, data_files: Sequence[Path], *, arcs: bool) -> None:
    """The union, as a refresh makes it."""
    cov = ReportingCoverage(
        Coverage(branch=arcs, config_file=False).config, folder / "data.coverage"
    )
    with contextlib.closing(cov):
        warnings = combine(cov, data_files, branch=arcs, could_run=[])
    assert warnings == []


def theirs(folder: Path, data_files: Sequence[Path], *, arcs: bool) -> None:
    """The same by coverage.py."""
    cov = Coverage(branch=arcs, config_file=False, data_file=str(folder / "data.coverage"))
    cov.combine([str(path) for path in data_files], strict=True, keep=True)
    cov.get_data().close(force=True)


def milliseconds(work: Callable[..., None], data_files: Sequence[Path], *, arcs: bool) -> float:
    """How long one run takes, into a folder of its own."""
    with tempfile.TemporaryDirectory(dir=data_files[0].parent) as folder:
        started = time.perf_counter()
        work(Path(folder), data_files, arcs=arcs)
        return (time.perf_counter() - started) * 1000


def measure(data_files: Sequence[Path], *, arcs: bool, rounds: int = ROUNDS) -> tuple[float, float]:
    """Ours and theirs, interleaved; the shortest of each."""
    times = [
        (milliseconds(ours, data_files, arcs=arcs), milliseconds(theirs, data_files, arcs=arcs))
        for _ in range(rounds)
    ]
    return min(one for one, _ in times), min(other for _, other in times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sources", type=int, default=724)
    parser.add_argument("--files", type=int, nargs="*", default=[2, 64, 256])
    parser.add_argument("--arc-files", type=int, nargs="*", default=[2, 8])
    chosen = parser.parse_args()
    print(f"{'':12}{'data files':>12}{'ours, ms':>12}{'coverage.py':>14}{'ratio':>8}")
    for arcs, numbers in ((False, chosen.files), (True, chosen.arc_files)):
        for number in numbers:
            with tempfile.TemporaryDirectory() as folder:
                sources = make_sources(Path(folder), chosen.sources)
                data_files = make_data_files(Path(folder), sources, number, arcs=arcs)
                own, other = measure(data_files, arcs=arcs)
            kind = "arcs" if arcs else "statements"
            print(f"{kind:12}{number:12}{own:12.0f}{other:14.0f}{other / own:8.1f}", flush=True)


if __name__ == "__main__":
    main()
