"""The commands that access one dashboard, as a table: COMMANDS, at the end. No state."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from wsgi_coverage import bounds
from wsgi_coverage.cli import asking, findings, output, pods
from wsgi_coverage.cli.asking import (
    FAILED,
    OK,
    Declare,
    add_json,
    add_snapshot,
    add_wait,
    argument,
    output_file,
)
from wsgi_coverage.client import (
    Client,
    Context,
    Diff,
    Health,
    LinesOfContext,
    Refreshed,
    Snapshot,
    Status,
    Taken,
)
from wsgi_coverage.model import EXPORT_FORMATS
from wsgi_coverage.settings import MAX_DAYS

BINARY = ("coverage", "html")
Operation = Literal["merge", "subtract", "intersect"]
OPERATIONS: dict[Operation, str] = {
    "merge": "what ran in any of these",
    "subtract": "what ran in the first of these, and not in the others",
    "intersect": "what ran in all of these",
}


def _done(_: object) -> int:
    return OK


@dataclass(frozen=True, kw_only=True)
class Command:
    """A command that accesses one dashboard.

    Attributes:
        name: the command's name.
        what: what it does, in the list of commands; begins with a small letter.
        about: the description in its own help; empty: `what`.
        arguments: functions that add its own arguments to a parser, in the order of its help.
        ask: sends the request, given the arguments; returns the answer, or None if there is nothing
            to print.
        show: prints the answer, unless --json is given.
        exit_code: returns the exit code for an answer, and prints to stderr what is incomplete or
            wrong.
        ends: the exit codes, as a text for the help.
        takes_pods: whether a pod can be named instead of an address.
    """

    name: str
    what: str
    about: str = ""
    arguments: tuple[Declare, ...]
    ask: Callable[[Client, argparse.Namespace], Any]
    show: Callable[[Any], None] = output.show
    exit_code: Callable[[Any], int] = _done
    ends: str = asking.ENDS
    takes_pods: bool = True

    def add(self, commands: Any) -> None:
        """Add the command and its arguments."""
        parser = commands.add_parser(
            self.name,
            help=self.what,
            description=(self.about or f"{self.what[0].upper()}{self.what[1:]}.\n")
            + asking.ABOUT_URL,
            epilog=self.ends,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        asking.add_url(parser, "url", "?" if self.takes_pods else None)
        asking.add_access(parser)
        if self.takes_pods:
            pods.add(parser)
        for declare in self.arguments:
            declare(parser)
        parser.set_defaults(run=self.run)

    def run(self, given: argparse.Namespace) -> int:
        """Run the command; return the exit code."""
        answer = self.ask(asking.client(given), given)
        if answer is None:
            return OK
        if given.json:
            output.show_json(answer)
        else:
            self.show(answer)
        return self.exit_code(answer)


def _add_which_functions(parser: argparse.ArgumentParser) -> None:
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--unused",
        action="store_const",
        const=True,
        default=False,
        help="only those that never ran, neither at load nor at runtime",
    )
    which.add_argument(
        "--not-at-runtime",
        dest="unused",
        action="store_const",
        const="runtime",
        help="only those that never ran, and those that ran at load only",
    )
    parser.add_argument(
        "--unused-for",
        type=_days,
        metavar="DAYS",
        help="only those that certainly ran on none of so many days, for instance 30d",
    )


def _add_context(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--context", metavar="LABEL", help="as if only requests with this label had run"
    )


def _days(raw: str) -> int:
    try:
        return bounds.whole_number(raw.removesuffix("d"), 1, MAX_DAYS)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{error}, got {raw!r}") from None


def _refresh(client: Client, given: argparse.Namespace) -> Refreshed:
    with output.progress_on_terminal() as progress:
        return client.refresh(wait=given.wait, progress=progress)


def _warnings_and_completeness(answer: Refreshed) -> int:
    for warning in answer["warnings"]:
        output.say(warning)
    return asking.completeness(answer)


def _made_completely(answer: Taken) -> int:
    if answer["complete"]:
        return OK
    late = [each["id"] for each in answer.get("made_of", ()) if not each["complete"]]
    output.say(f"not complete: {', '.join(late)}")
    return asking.INCOMPLETE


def _report(client: Client, given: argparse.Namespace) -> Any:
    """Return the text report; with --json coverage.py's JSON report."""
    if not given.json:
        return client.report(snapshot=given.snapshot).rstrip("\n")
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder, "report.json")
        client.export(target, format="json", snapshot=given.snapshot)
        return json.loads(target.read_bytes())


def _export(client: Client, given: argparse.Namespace) -> None:
    if given.output is None and given.format in BINARY and sys.stdout.isatty():
        raise asking.WrongUsageError(
            "a binary format is not written to a terminal: name a file with -o"
        )
    target = sys.stdout.buffer if given.output is None else given.output
    client.export(target, format=given.format, snapshot=given.snapshot)


def _snapshots(client: Client, given: argparse.Namespace) -> list[Snapshot] | None:
    for identity in given.delete:
        client.delete_snapshot(identity)
    return None if given.delete else client.snapshots()


def _diff(client: Client, given: argparse.Namespace) -> None:
    answer = client.diff(given.a, given.b)
    findings.show(
        given,
        text=lambda: output.diff(answer),
        answer=lambda: answer,
        result=lambda: _differences(answer),
    )


def _differences(answer: Diff) -> findings.Result:
    """Return what a comparison found, about this checkout, which is the current folder."""
    from wsgi_coverage.checkout.remap import files_of, remap
    from wsgi_coverage.client.revision import prefix_of

    prefix = prefix_of(Path())
    here = remap([each["file"] for each in answer["files"]], files_of(Path()), lambda _: ()).files
    found: list[findings.Finding] = []
    rows = []
    a, b = (output.report_name(answer[side]) for side in ("a", "b"))
    for each in answer["files"]:
        file = here.get(each["file"])
        name = each["file"] if file is None else f"{prefix}{file}"
        if each["only_a"] is None or each["only_b"] is None:
            reason = f"cannot be compared: {each.get('reason')}"
            more = [
                findings.Finding(
                    rule=findings.NOT_COMPARED, file=name, first=1, last=1, message=reason
                )
            ]
            rows.append((name, "", reason))
        else:
            of_a, of_b = each["only_a"]["lines"], each["only_b"]["lines"]
            more = [
                *findings.ranges(findings.ONLY_IN_A, name, of_a, f"{{}} ran in {a} only"),
                *findings.ranges(findings.ONLY_IN_B, name, of_b, f"{{}} ran in {b} only"),
            ]
            rows.append((name, output.only(each["only_a"]), output.only(each["only_b"])))
        found += more if file is not None else ()
    lost = len(answer["files"]) - sum(each["file"] in here for each in answer["files"])
    if lost:
        output.say(f"{output.plural(lost, 'file')} cannot be found in this checkout")
    return findings.Result(
        title=f"Coverage of {a} and {b}",
        sentence=output.difference(answer),
        columns=("file", f"only in {a}", f"only in {b}"),
        rows=rows,
        findings=found,
    )


def _add_operands(parser: argparse.ArgumentParser) -> None:
    which = parser.add_mutually_exclusive_group(required=True)
    for operation, what in OPERATIONS.items():
        which.add_argument(f"--{operation}", nargs="+", metavar="ID", help=what)


def _combine(client: Client, given: argparse.Namespace) -> Taken:
    operation: Any = next(each for each in OPERATIONS if getattr(given, each))
    snapshots = getattr(given, operation)
    if len(snapshots) == 1:
        raise asking.WrongUsageError(f"--{operation} must be given two ids or more")
    return client.combine(operation, snapshots, label=given.label, wait=given.wait)


def _contexts(client: Client, given: argparse.Namespace) -> list[Context] | LinesOfContext | None:
    if given.delete:
        for label in given.delete:
            client.delete_context(label)
        return None
    if given.label is None:
        return client.contexts(snapshot=given.snapshot)
    return client.context(given.label, snapshot=given.snapshot)


def _health(client: Client, given: argparse.Namespace) -> Health:
    health = client.health()
    if not given.json:  # client.url is the dashboard's own address only after the request
        output.show_lines([f"{client.url}: {health['status']}"])
    return health


def _for_all_workers(name: str, what: str, ask: Callable[..., Status], took_part: str) -> Command:
    """Return a command that calls all workers; for `took_part`, see `output.took_part`."""
    return Command(
        name=name,
        what=what,
        arguments=(add_wait, add_json),
        ask=lambda client, given: ask(client, wait=given.wait),
        show=lambda answer: output.took_part(answer, took_part),
        exit_code=asking.completeness,
        ends=asking.ENDS_INCOMPLETE,
    )


COMMANDS = (
    Command(
        name="refresh",
        what="make a new report of what all workers have executed",
        arguments=(add_wait, add_json),
        ask=_refresh,
        show=output.refreshed,
        exit_code=_warnings_and_completeness,
        ends=asking.ENDS_INCOMPLETE,
    ),
    Command(
        name="report",
        what="print the published report",
        about="""\
Print the published report, as `coverage report` would. `wsgi-coverage refresh` makes a new one.
""",
        arguments=(
            add_snapshot,
            argument("--json", action="store_true", help="print coverage.py's JSON report"),
        ),
        ask=_report,
    ),
    Command(
        name="files",
        what="list the published report's figures, file by file",
        arguments=(_add_context, add_snapshot, add_json),
        ask=lambda client, given: client.files(context=given.context, snapshot=given.snapshot),
        show=output.files,
    ),
    Command(
        name="functions",
        what="list the published report's figures, function by function",
        arguments=(_add_which_functions, _add_context, add_snapshot, add_json),
        ask=lambda client, given: client.functions(
            unused=given.unused,
            unused_for=given.unused_for,
            context=given.context,
            snapshot=given.snapshot,
        ),
        show=output.functions,
    ),
    Command(
        name="contexts",
        what="list the labels of requests, or the lines that ran for one, or forget some",
        arguments=(
            argument("label", metavar="LABEL", nargs="?", help="the lines that ran for this label"),
            argument(
                "--delete",
                action="append",
                default=[],
                metavar="LABEL",
                help="forget what ran for this label instead; may be given again",
            ),
            add_snapshot,
            add_json,
        ),
        # --pod makes the URL optional, and an optional URL could be mistaken for a label.
        takes_pods=False,
        ask=_contexts,
        show=output.contexts,
    ),
    Command(
        name="export",
        what="download the published report",
        about="""\
Download the published report: the combined .coverage file, coverage.py's JSON, XML (Cobertura) or
LCOV report, or its HTML report as a zip archive. A file is written as a whole, or left unchanged.
""",
        arguments=(
            argument(
                "--format",
                choices=EXPORT_FORMATS,
                default="coverage",
                help="which of its formats (default: coverage, the data file)",
            ),
            argument(
                "-o",
                "--output",
                type=output_file,
                metavar="FILE",
                help="the file to write (default: stdout)",
            ),
            add_snapshot,
        ),
        ask=_export,
    ),
    Command(
        name="snapshot",
        what="store a report of everything executed up to now",
        about="""\
Store a report of everything executed up to now, and print its id. The published report stays as it
is.
""",
        arguments=(
            argument("--label", help="a name for people, stored with the snapshot"),
            argument("--reset", action="store_true", help="reset all workers, in the same step"),
            add_wait,
            add_json,
        ),
        ask=lambda client, given: client.snapshot(
            label=given.label, reset=given.reset, wait=given.wait
        ),
        show=lambda answer: output.show(answer["id"]),
        exit_code=asking.completeness,
        ends=asking.ENDS_INCOMPLETE,
    ),
    Command(
        name="snapshots",
        what="list the snapshots, or delete some",
        arguments=(
            argument(
                "--delete",
                action="append",
                default=[],
                metavar="ID",
                help="delete this snapshot instead; may be given again",
            ),
            add_json,
        ),
        ask=_snapshots,
        show=output.snapshots,
    ),
    Command(
        name="combine",
        what="store a snapshot made of others",
        about="""\
Store a snapshot made of others, and print its id. Each ID is a snapshot's, or `current` for the
published report. Load, runtime and labels are told apart. Reports on different versions of a source
cannot be combined.
""",
        arguments=(
            _add_operands,
            argument("--label", help="a name for people, stored with the snapshot"),
            add_wait,
            add_json,
        ),
        ask=_combine,
        show=lambda answer: output.show(answer["id"]),
        exit_code=_made_completely,
        ends=(f"{asking.ENDS}, 4 done, but one of the reports is not complete"),
    ),
    Command(
        name="diff",
        what="show the lines that only one of two reports has executed",
        about="""\
Show the lines, and branches, that only one of two reports has executed, per file. A and B are ids
of snapshots, `current` for the published report, or `context:LABEL` for what ran for a label of it.
""",
        # --pod makes the URL optional, and an optional URL could be mistaken for A.
        takes_pods=False,
        arguments=(
            argument("a", metavar="A", help="a snapshot's id, current, or context:LABEL"),
            argument("b", metavar="B", nargs="?", default="current", help="default: current"),
            partial(findings.add_formats, about_json=asking.ABOUT_JSON),
        ),
        ask=_diff,
    ),
    _for_all_workers(
        "reset",
        "forget every line that ran since the load, in all workers",
        Client.reset,
        "reset in",
    ),
    _for_all_workers("pause", "measure nothing until 'resume'", Client.pause, "paused in"),
    _for_all_workers("resume", "measure again after a pause", Client.resume, "measuring in"),
    Command(
        name="health",
        what="show how a running application is measured, and known problems",
        about="""\
Show how an application is measured, by which engine and core and why, every worker, the settings
that are not left at their default, and known problems with their remedies.
""",
        arguments=(add_json,),
        ask=_health,
        show=output.health,
        exit_code=lambda health: OK if health["status"] == "ok" else FAILED,
        ends=f"exit code: 0 no problem was found, 1 one was, 2 wrong usage, {asking.NOT_REACHED}",
    ),
    Command(
        name="openapi",
        what="print the OpenAPI document of a dashboard, for machines",
        arguments=(lambda parser: parser.set_defaults(json=True),),
        ask=lambda client, _: client.openapi(),
    ),
)
