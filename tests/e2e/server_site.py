"""An application on a server of the table, what was hit in it, and what its reports show of it."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import e2e_server_table as table

FILE = "lines.py"


class Site:
    """An application on a server of the table, and what was hit in it."""

    def __init__(self, project: Any, routes: Any, way: Any, lines_in: Any, until: Any) -> None:
        self.way = way
        self._until = until
        self.lines_in = lines_in
        self.project = project
        self.bodies = table.write(project, routes, way)
        self._paths = itertools.cycle(self.bodies)
        self._meetings = 0
        self.server: Any = None
        self.pids: set[int] = set()  # that served the last hits

    def hit(self, until: Any) -> set[int]:
        """Run lines, new ones first, in every process and thread that serves; return them."""
        seen: dict[str, set[str]] = {}
        lines: set[int] = set()

        def one_more_meeting() -> bool:
            lines.update(self._meet(seen))
            return self._is_spread(seen)

        until(one_more_meeting, f"every worker has served: {self.way}")
        self.pids = {int(pid) for pid in seen}
        if self.way.per_request:
            until(lambda: not any(map(is_there, self.pids)), "the requests' processes have ended")
        return lines

    def _meet(self, seen: dict[str, set[str]]) -> Iterable[int]:
        count = self.way.processes * min(self.way.threads, 2)
        self._meetings += 1
        paths = list(itertools.islice(self._paths, count))
        answers = self.server.together(paths, headers={"X-Meet": f"{self._meetings}:{count}"})
        assert [answer.status for answer in answers] == [200] * count
        for path, answer in zip(paths, answers, strict=True):
            pid, thread = answer.headers["x-pid"], answer.headers["x-thread"]
            seen.setdefault(pid, set()).add(thread)
            if self.way.sees(pid=pid, thread=thread):
                yield self.bodies[path]

    def _is_spread(self, seen: dict[str, set[str]]) -> bool:
        several = self.way.threads > 1 and "gevent" not in self.way.command
        return len(seen) >= self.way.processes and all(
            len(threads) > 1 or not several for threads in seen.values()
        )

    def exported(self) -> dict[str, set[int]]:
        """Executed lines by file after a refresh; empty where there is no data."""
        report = self.server.refresh()
        assert report["complete"], report
        assert [each for each in report["warnings"] if "imported before" not in each] == []
        answer = self.server.get("/debug/coverage/export")
        if answer.status != 200:
            assert answer.json()["error"] == "no-data"
            return {}
        return self.lines_in(answer.body)

    def load(self) -> set[int]:
        """The lines that the load has left, before any of the application's handlers is hit."""
        found = self.exported().get(FILE, set())
        return found if self.way.ctrace_sees != "nothing" or not table.CTRACE else set()

    def diagnoses(self) -> list[str]:
        """What /health finds."""
        return [
            each["name"] for each in self.server.get("/debug/coverage/health").json()["diagnoses"]
        ]

    def forked(self) -> list[int]:
        """The process ids that AT_FORK has written, one for each time that it ran."""
        written = self.server.output.splitlines()
        return [int(line.split()[1]) for line in written if line.startswith("forked: ")]

    @contextlib.contextmanager
    def held(self) -> Iterator[tuple[int, Future[Any]]]:
        """While a request is held in a worker: its process id, and the answer to come."""
        self._meetings += 1
        folder = self.project.folder / "meetings" / f"held-{self._meetings}"
        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(
                self.server.get, next(self._paths), headers={"X-Hold": folder.name}
            )
            try:
                self._until((folder / "held").exists, "the request is held")
                yield int((folder / "pid").read_text()), answer
            finally:
                (folder / "let-go").touch()

    def signal(self, number: int) -> None:
        if self.way.has_stats:  # a busy worker is ended as if it were killed
            idle = lambda: not table.busy_workers(self.server.stats_port)  # noqa: E731
            self._until(idle, "uWSGI's workers are idle")
        for pid in self.pids if self.way.has_parent else [self.server.pid]:
            os.kill(pid, number)


def in_file(lines: set[int]) -> dict[str, set[int]]:
    return {FILE: lines} if lines else {}


def is_there(pid: int) -> bool:
    """A process that its parent has not waited for yet counts as ended, once its threads have."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        return state != "Z" or len(list(Path(f"/proc/{pid}/task").iterdir())) > 1
    except OSError:
        return False
