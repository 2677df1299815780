"""What a fleet costs the store: commands and bytes for each host, memory, and a read of it all.

    python tests/bench/fleet.py [--hosts 10,100,1000] [--sources 1500] [--polled 5] [redis-server]

Hosts are simulated: each has ten workers' lines of the same sources, and does with the store what
an agent does, one after another. Each runs lines of its own, beside those that all run. `cold` is
the first time that a host sends; `steady` a second in which a line is new; `idle` one in which
nothing is.

Beside it, what a poll of some real instances by `wsgi-coverage collect` costs, each with 534
sources of the standard library: as many reports and downloads as there are hosts.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from sites import DASHBOARD, PASSWORD, large_project, served, ways

from wsgi_coverage import settings
from wsgi_coverage.fleet import content
from wsgi_coverage.store.days import today
from wsgi_coverage.store.redis import Content, FleetState, FleetStore, StoredSource

LINES = 400  # of a source
ABOUT = {"host": "host", "release": None, "workers": 10, "engine": "memory", "state": "measuring"}


@contextmanager
def store_of(program: str) -> Iterator[FleetStore]:
    with tempfile.TemporaryDirectory() as folder:
        socket = Path(folder) / "socket"
        server = subprocess.Popen(
            [program, "--port", "0", "--unixsocket", socket, "--save", ""],
            stdout=subprocess.DEVNULL,
        )
        try:
            while not socket.exists():
                time.sleep(0.01)
            url = settings.load({"store": f"unix://{socket}"}, env={}).store
            assert url is not None
            yield FleetStore(url, "bench")
        finally:
            server.terminate()
            server.wait()


class Cost:
    """Commands and bytes that the store was asked for since it was made, and the time."""

    def __init__(self, store: FleetStore) -> None:
        self._client: Any = store._client
        self._before, self._begun = self._read(), time.perf_counter()

    def _read(self) -> tuple[int, int, int]:
        stats = self._client.info("stats")
        calls = self._client.info("commandstats")
        asked = sum(
            each["calls"]
            for name, each in calls.items()
            if name in ("cmdstat_evalsha", "cmdstat_eval")
        )
        return asked, stats["total_net_input_bytes"], stats["total_net_output_bytes"]

    def told(self, hosts: int) -> str:
        seconds = time.perf_counter() - self._begun
        calls, received, sent = (
            now - before for now, before in zip(self._read(), self._before, strict=True)
        )
        return (
            f"{calls / hosts:6.1f} commands, {received / hosts / 1024:7.1f} KB in, "
            f"{sent / hosts / 1024:7.1f} KB out, {1000 * seconds / hosts:6.1f} ms"
        )


def send(store: FleetStore, state: FleetState, host: str, news: Content) -> None:
    """As wsgi_coverage.fleet.agent does it, each second; days it sends every ten seconds."""
    store.beat(host, ABOUT, state.epoch)
    if news.lines:
        known = store.known(state.epoch, [*news.lines])
        store.add(state, state.epoch, content.without(news, known))
        lines = {each.name: {each.version or "": bits} for each, bits in news.lines.items()}
        store.days.add(state.id, today(), {"r1": lines}, today() + 90)


def measure(program: str, hosts: int, sources: int) -> None:
    every = [
        StoredSource(f"shop/module_{n}.py", f"{n:032x}", "", "runtime", False)
        for n in range(sources)
    ]
    common = {source: random.getrandbits(LINES) for source in every}
    with store_of(program) as store:
        state = store.join()
        cost = Cost(store)
        for host in range(hosts):
            own = {every[host % sources]: 1 << (host // sources + 1)}
            send(store, state, f"{host}", Content(lines={**common, **own}, arcs={}))
        print(f"  {hosts:5} hosts, each: cold   {cost.told(hosts)}")
        cost = Cost(store)
        for host in range(hosts):
            new = {every[-host % sources]: 1 << (LINES + host % 50)}
            send(store, state, f"{host}", Content(lines=new, arcs={}))
        print(f"  {'':18} steady {cost.told(hosts)}")
        cost = Cost(store)
        for host in range(hosts):
            send(store, state, f"{host}", Content(lines={}, arcs={}))
        print(f"  {'':18} idle   {cost.told(hosts)}")
        begun = time.perf_counter()
        found = store.content([state.epoch])
        content.as_reading(found, name="fleet", epoch=0, static=None)
        seconds = time.perf_counter() - begun
        used = store._client.info("memory")["used_memory"] / 2**20
        print(
            f"  {'':18} a refresh reads all in {1000 * seconds:.0f} ms; the store has {used:.1f} MB"
        )


def poll(hosts: int) -> None:
    """Collect from some instances, twice: the second time their sources are parsed."""
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        sites = []
        for number in range(hosts):
            large_project(Path(name) / f"{number}")
            sites.append(stack.enter_context(served(Path(name) / f"{number}", ways(None)[1])))
        urls = [f"http://admin:{PASSWORD}@127.0.0.1:{site.port}{DASHBOARD}" for site in sites]
        command = [sys.executable, "-m", "wsgi_coverage", "collect", *urls, "-o", f"{name}/data"]
        for what in ("the first", "the next"):
            before = sum(site.cpu() for site in sites)
            begun = time.perf_counter()
            subprocess.run(command, cwd=f"{name}/0", check=True, capture_output=True)
            seconds = time.perf_counter() - begun
            cpu = sum(site.cpu() for site in sites) - before
            size = sum(len(site.ask(f"{DASHBOARD}/export?format=coverage")[2]) for site in sites)
            print(
                f"  {hosts:5} hosts, polled by collect, {what} time: each {seconds / hosts:.2f} s, "
                f"{size / hosts / 1024:.0f} KB, {cpu / hosts:.2f} s of CPU in its worker"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("program", nargs="?", default="redis-server")
    parser.add_argument("--hosts", default="10,100,1000")
    parser.add_argument("--sources", type=int, default=1500)
    parser.add_argument("--polled", type=int, default=5)
    chosen = parser.parse_args()
    for hosts in map(int, chosen.hosts.split(",")):
        measure(chosen.program, hosts, chosen.sources)
    poll(chosen.polled)


if __name__ == "__main__":
    main()
