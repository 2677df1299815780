"""Stand-ins for what measures, and small applications to wrap.

`Control`, its publisher and its snapshots are the real ones; only the worker that traces and the
build that asks coverage.py are not.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from coverage import CoverageData
from wsgi_calls import PREFIX, Answer, call

from wsgi_coverage import clock
from wsgi_coverage.analysis.analyst import FileEntry
from wsgi_coverage.analysis.cache import FIGURES
from wsgi_coverage.analysis.figures import Figures, Region
from wsgi_coverage.collect.engines.attention import Attention
from wsgi_coverage.data.packed import pack
from wsgi_coverage.model import Gathering, JsonObject, Measuring, Report, WorkerState
from wsgi_coverage.report.formats import HTML, JSON, LCOV, SITE, XML
from wsgi_coverage.report.publish import DATA, new_id
from wsgi_coverage.report.render import FILES, TEXT

MEASURING = Measuring(
    core="ctrace",
    core_reason="a stand-in",
    coverage_version="7.0",
    branch=False,
    ownership="ours",
    lossless=True,
    problem=None,
    data_file=".coverage",
)
MINE = WorkerState(id="h.1.aa", host="h", pid=1, state="measuring", published_at=None, fresh=True)
PAGE = b"<!doctype html><title>Coverage</title><a href='style.css'>style</a>"
FILE = {
    "file": "app.py",
    "statements": 4,
    "missing": 1,
    "covered": 3,
    "percent": 75.0,
    "load": 2,
    "load_only": 2,
    "runtime": 1,
    "runtime_percent": 50.0,
    "ran": "at runtime",
    "html": "style.css",
}
FUNCTION = {
    "file": "app.py",
    "name": "never",
    "line": 3,
    "statements": 1,
    "covered": 0,
    "runtime": 0,
}
SOURCE: dict[str, Any] = {
    "file": "app.py",
    "text": "import os\n\ndef f():\n    return 1\n",
    "lines": [
        {"line": 1, "ran": "at load only"},
        {"line": 3, "ran": "at load only"},
        {"line": 4, "ran": "at runtime"},
    ],
    "functions": [],
}
SAME: dict[str, Any] = {"branch": False, "files": []}  # what a comparison finds
SUMMARY = {
    "percent": 75.0,
    "files": 1,
    "statements": 4,
    "covered": 3,
    "missing": 1,
    "load": 2,
    "load_only": 2,
    "runtime": 1,
    "runtime_percent": 50.0,
    "unused_files": 0,
    "load_only_files": 0,
    "functions": 1,
    "unused_functions": 1,
    "load_only_functions": 0,
    "largest_unused": [FUNCTION],
    "lowest": [FILE],
}


class StandInWorker:
    """Answers the calls of `Control`, and remembers them."""

    def __init__(self, home: Path) -> None:
        self.id = MINE.id
        self.host = MINE.host
        self.home = self.private = home
        self.autosave_interval = 30.0
        self.problems: list[str] = []
        self.asked: list[tuple[str, float]] = []
        self.configured: list[float] = []
        self.pid_checks = 0
        self.phases: list[str] = []
        self.requests = 0
        self.started_at = clock.now_iso()
        self.server: str | None = None
        self.workers: tuple[WorkerState, ...] = (MINE,)
        self.engine = SimpleNamespace(
            config=SimpleNamespace(get_option={"run:plugins": []}.get),
            measuring=MEASURING,
            files_that_could_run=lambda executed: [],
            imported_early=lambda readings: {},
            coverage=object(),
            attention=Attention(),
            can_reset=True,
            labelled_too=(),
            why_no_labels=None,
            labels_refused=0,
            check_is_ours=lambda what: None,
            check_can_pause=lambda: None,
        )
        self.memories = SimpleNamespace(
            readings=lambda *, before=None: [],
            reset=lambda: None,
            begin_collecting=lambda: 1,
            give_up_collecting=lambda epoch: None,
            forget_collected=lambda epoch, data_files, counted, *, is_over: None,
            ids=set,
        )
        self.data_file_writer = SimpleNamespace(plan_meanwhile=lambda plan: None, days=0)
        self.store = SimpleNamespace(
            published=lambda *, before=None: [home / ".coverage.h.1.aa"],
            pauses=list,
            begin_pause=lambda: None,
            end_pause=lambda: None,
            fold=lambda *, live, union: None,
            describe=lambda: str(home),
            used_paths=dict,
        )

    def configure(self, interval: float) -> None:
        self.configured.append(interval)

    def keep_days(self, kept: object) -> None:
        """Nothing is recorded."""

    def store_is_paused(self) -> bool:
        return False

    def begin_load(self) -> None:
        self.phases.append("load")

    def end_load(self) -> None:
        self.phases.append("runtime")

    def before_request(self) -> None:
        """Nobody asks anything of it."""

    def name_server(self, name: str | None) -> None:
        self.server = name

    def check_user(self) -> None:
        """It stays who it is."""

    def live_ids(self) -> set[str]:
        return {self.id}

    def check_can_pause(self) -> None:
        """It can."""

    def on_last_end(self, tidy: Callable[[], object]) -> None:
        """Nothing piles up here."""

    def check_pid(self) -> None:
        self.pid_checks += 1

    def ask_all(self, verb: str, *, wait: float) -> Gathering:
        self.asked.append((verb, wait))
        return Gathering(workers=self.workers, ended_at=clock.now())

    @property
    def verbs(self) -> list[str]:
        return [verb for verb, _ in self.asked]


def figures_with(function: JsonObject) -> bytes:
    """What a report stores of the figures of one file with one function."""
    counts = [function["statements"], 0, function["statements"] - function["covered"], 0, 0, 0]
    region = Region("function", function["name"], function["line"], counts, function["runtime"])
    name = function["file"]
    figures = Figures(counts=counts, missing="", regions=[region])
    entry = FileEntry(filename=name, shown=name, source=None, known_as=None, figures=figures)
    return pack({"config": {}, "files": {name: entry.as_plain()}, "failures": {}})


def build(inputs: Any, folder: Path) -> Report:
    """Write what a report consists of, the same each time."""
    (folder / TEXT).write_text("Name Stmts Miss Cover\napp.py 4 1 75%\n", encoding="utf-8")
    (folder / FILES).write_text(json.dumps([FILE]), encoding="utf-8")
    (folder / FIGURES).write_bytes(figures_with(FUNCTION))
    (folder / JSON).write_text('{"totals": {}}', encoding="utf-8")
    (folder / XML).write_text("<coverage/>", encoding="utf-8")
    (folder / LCOV).write_text("SF:app.py", encoding="utf-8")
    (folder / SITE).write_bytes(b"PK")
    data = CoverageData(basename=str(folder / DATA))
    data.add_lines({"app.py": [1]})
    data.close(force=True)
    (folder / HTML).mkdir()
    (folder / HTML / "index.html").write_bytes(PAGE)
    (folder / HTML / "style.css").write_text("body {}", encoding="utf-8")
    (folder / HTML / ".gitignore").write_text("*", encoding="utf-8")
    return Report(
        id=new_id(),
        refreshed_at=clock.now_iso(),
        duration_seconds=0.25,
        autosave_interval_seconds=inputs.autosave_interval,
        summary=SUMMARY,
        complete=inputs.gathering.complete,
        workers=tuple(worker.as_json() for worker in inputs.gathering.workers),
        warnings=(),
        collected=inputs.collected,
        size=16,
    )


class Site:
    """A wrapped application, called as a client calls it."""

    def __init__(self, app: Callable[..., Iterable[bytes]], worker: StandInWorker) -> None:
        self.app = app
        self.worker = worker

    def get(self, path: str = "/", *args: Any, **keywords: Any) -> Answer:
        return self.call("GET", path, *args, **keywords)

    def post(self, path: str, *args: Any, **keywords: Any) -> Answer:
        return self.call("POST", path, *args, **keywords)

    def call(self, method: str, path: str, *args: Any, **keywords: Any) -> Answer:
        """`path` is what follows the default prefix."""
        return call(self.app, method, PREFIX + path, *args, **keywords)


def hello(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """An application that answers every path, naming it."""
    start_response("200 OK", [("Content-Type", "text/plain"), ("X-From", "application")])
    return [environ["SCRIPT_NAME"].encode("latin-1"), b"|", environ["PATH_INFO"].encode("latin-1")]
