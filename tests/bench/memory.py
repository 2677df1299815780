"""The host's memory: the union of many workers, and processes that start at once.

    python tests/bench/memory.py

The union is what a refresh reads, whatever the number of workers; the start is 64 processes that
place 1,500 sources each in one index.
"""

from __future__ import annotations

import multiprocessing
import random
import shutil
import statistics
import tempfile
import time
from multiprocessing.synchronize import Barrier as Barriers
from pathlib import Path
from typing import Any

from wsgi_coverage.data.phases import Phase
from wsgi_coverage.store.memory import Memory

SOURCES, LINES = 724, 415
PROCESSES, PLACED = 64, 1_500
NAME = "/srv/app/lib/python3.13/site-packages/some_package/module_{}.py"
ROUNDS = 7


def union(folder: Path, workers: int) -> float:
    """Seconds to read what some workers have marked, as integers by source and phase."""
    memory, chance = Memory(folder), random.Random(1)
    slots = [
        memory.table.claim(flags=0, turn=0, epoch=0, token=number) for number in range(workers)
    ]
    for number in range(SOURCES):
        place = memory.place(NAME.format(number), "0" * 32, LINES + 2)
        for phase in (Phase.LOAD, Phase.RUNTIME):
            chunk = memory.chunk(phase, 0, place.chunk)
            for line in range(1, LINES):
                chunk[place.at + line] = chance.random() < 0.4
    taken = []
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        found = list(memory.read().executed())
        taken.append(time.perf_counter() - begun)
    assert len(found) == SOURCES
    assert len(slots) == workers
    return statistics.median(taken)


def start(folder: str, barrier: Barriers, told: Any) -> None:
    """Place sources as a worker does that imports them."""
    memory = Memory(Path(folder))
    barrier.wait()
    slowest, begun = 0.0, time.perf_counter()
    for number in range(PLACED):
        at = time.perf_counter()
        memory.place(NAME.format(number), "0" * 32, 300)
        slowest = max(slowest, time.perf_counter() - at)
    told.put(
        (time.perf_counter() - begun, time.process_time(), slowest, hash(tuple(memory.known())))
    )


def main() -> None:
    for workers in (2, 256):
        folder = Path(tempfile.mkdtemp(dir="/dev/shm"))
        seconds = union(folder, workers)
        shutil.rmtree(folder)
        print(f"union of {workers:3} workers, {SOURCES} sources: {seconds * 1000:.1f} ms (20)")
    folder = Path(tempfile.mkdtemp(dir="/dev/shm"))
    context = multiprocessing.get_context("fork")
    barrier, told = context.Barrier(PROCESSES), context.Queue()
    processes = [
        context.Process(target=start, args=(str(folder), barrier, told)) for _ in range(PROCESSES)
    ]
    for each in processes:
        each.start()
    found = [told.get() for _ in processes]
    for each in processes:
        each.join()
    shutil.rmtree(folder)
    last, slowest = max(each[0] for each in found), max(each[2] for each in found)
    print(
        f"{PROCESSES} processes place {PLACED} sources: the last is done after {last:.2f} s, "
        f"the slowest place {slowest * 1000:.0f} ms; "
        f"all agree: {len({each[3] for each in found}) == 1}"
    )


if __name__ == "__main__":
    main()
