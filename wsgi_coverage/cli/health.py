"""`wsgi-coverage health URL`: ask a dashboard how it is. No state.

Exit codes: 0 all is well; 1 something is the matter; 2 wrong usage; 3 no answer, refused, or no
dashboard at the address.
"""

from __future__ import annotations

import argparse
from typing import Any

from wsgi_coverage.cli import asking, output
from wsgi_coverage.client import Health, Worker

DESCRIPTION = """\
Show how an application is measured, by which core and why, every worker, what is the matter, and
what to do about it.
"""
ENDS = (
    "exit code: 0 all is well, 1 something is the matter, 2 wrong usage, "
    "3 no answer, refused, or no dashboard there"
)


def add(commands: Any) -> None:
    """Declare the command."""
    what = "show how a running application is measured, and what is the matter"
    parser = asking.command(commands, "health", what, DESCRIPTION, ends=ENDS)
    asking.add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run it; return the exit code."""
    client = asking.client(arguments)
    health = client.health()
    if arguments.json:
        output.show_json(health)
    else:
        for line in _lines(client.url, health):
            print(output.plain(line))
    return asking.OK if health["status"] == "ok" else asking.FAILED


def _lines(address: str, health: Health) -> list[str]:
    """What to show a reader."""
    workers = health["workers"]
    out = [
        f"{address}: {health['status']}",
        *(
            [f"engine:       {health['engine']} ({health['engine_reason']})"]
            if "engine" in health
            else []
        ),
        f"core:         {health['core']} ({health.get('core_reason')})",
        f"coverage.py:  {health.get('coverage_version')}",
        f"measured:     {'branches' if health.get('branch') else 'statements'}",
        f"data folder:  {health.get('data_folder')}",
        f"workers:      {len(workers)}",
        *(f"  {_worker(worker)}" for worker in workers),
    ]
    if isinstance(report := health.get("report"), dict):
        out += [f"report:       {sentence}" for sentence in report.get("outdated") or ()]
    if health["problems"]:
        out += ["problems:", *(f"  {problem}" for problem in health["problems"])]
    for diagnosis in health["diagnoses"]:
        out += [f"{diagnosis['name']}: {diagnosis['text']}", f"  Remedy: {diagnosis['remedy']}"]
    return out


def _worker(worker: Worker) -> str:
    line = f"{worker.get('host')} {worker.get('pid')} {worker.get('state')}"
    line += f", published {worker.get('published_at') or 'nothing yet'}"
    return f"{line}: {worker['error']}" if worker.get("error") else line
