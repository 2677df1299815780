"""`wsgi-coverage gate URL… --base main --fail-under 80`: judge the lines that changed. No state.

Further exit codes: 5 below the threshold; 6 not below it, but some changed lines cannot be judged.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wsgi_coverage import line_ranges
from wsgi_coverage.cli import asking, findings, output
from wsgi_coverage.cli.collect import add_instances, tell
from wsgi_coverage.cli.findings import NOT_EXECUTED, NOT_JUDGED, Finding, Result, ranges

if TYPE_CHECKING:
    from wsgi_coverage.checkout.changes import Judged

BELOW, UNKNOWN = 5, 6

COLUMNS = {"file": "file", "statements": "changed", "covered": "covered", "missing": "missing"}

DESCRIPTION = """\
Judge the lines of this checkout, which is the current folder, that have changed since a revision by
what instances have executed. A source of which they have another version than this checkout is
unknown, and not uncovered.
"""
ENDS = (
    f"{asking.ENDS_INCOMPLETE}, 5 below the threshold, 6 at or above it, but some of the changed "
    "lines cannot be judged"
)


def add(commands: Any) -> None:
    """Add the command and its arguments."""
    parser = commands.add_parser(
        "gate",
        help="judge the lines that have changed since a revision",
        description=DESCRIPTION + asking.ABOUT_URL,
        epilog=ENDS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_instances(parser)
    parser.add_argument(
        "--base",
        required=True,
        metavar="REVISION",
        help="a branch, a tag or a commit; the comparison begins at the merge base",
    )
    parser.add_argument(
        "--fail-under",
        type=asking.number(0, 100),
        default=100.0,
        metavar="PERCENT",
        help="of the changed statements that have to have run (default: 100)",
    )
    findings.add_formats(parser, about_json="print the verdict as JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the command; return the exit code."""
    from wsgi_coverage.checkout.changes import judge
    from wsgi_coverage.checkout.sources import Checkout
    from wsgi_coverage.client.collect import collect  # coverage.py is slow to import
    from wsgi_coverage.client.revision import changed_lines

    checkout = Checkout(Path(), arguments.rcfile)
    changed = changed_lines(checkout.folder, arguments.base)
    with tempfile.TemporaryDirectory(prefix="wsgi-coverage-") as folder:
        data_file = Path(folder, "coverage")
        collection = collect(
            [asking.client(arguments, url) for url in arguments.urls],
            data_file,
            checkout=checkout,
            wait=arguments.wait,
        )
        code = tell(collection, arguments)
        if code not in (asking.OK, asking.INCOMPLETE):
            return code
        judged = judge(data_file, changed, checkout, collection.result.unknown)
    return _verdict(judged, arguments) or code


def _verdict(judged: Sequence[Judged], arguments: argparse.Namespace) -> int:
    statements = sum(each.statements for each in judged)
    covered = sum(each.covered for each in judged)
    percent = 100 * covered / statements if statements else None
    is_below = percent is not None and percent < arguments.fail_under
    unknown = [each for each in judged if each.state == "unknown"]
    sentence = _sentence(percent, covered, statements, arguments.fail_under)
    findings.show(
        arguments,
        text=lambda: _show(judged, sentence),
        answer=lambda: {
            "percent": None if percent is None else round(percent, 2),
            "statements": statements,
            "covered": covered,
            "fail_under": arguments.fail_under,
            "passed": not is_below and not unknown,
            "files": [each.as_json() for each in judged],
        },
        result=lambda: _result(judged, sentence, _outcome(judged, is_below=is_below)),
    )
    if unknown:
        output.say(f"{output.plural(len(unknown), 'changed file')} cannot be judged")
    if is_below:
        return BELOW
    return UNKNOWN if unknown else asking.OK


def _show(judged: Sequence[Judged], sentence: str) -> None:
    rows = [{**each.as_json(), "missing": _missing(each)} for each in judged]
    if rows:
        output.table(rows, COLUMNS, left=["file", "missing"])
    output.show(sentence)


def _outcome(judged: Sequence[Judged], *, is_below: bool) -> str:
    if is_below:
        return "below the threshold"
    is_known = all(each.state != "unknown" for each in judged)
    return "passed" if is_known else "not all of them can be judged"


def _result(judged: Sequence[Judged], sentence: str, outcome: str) -> Result:
    from wsgi_coverage.client.revision import prefix_of

    prefix = prefix_of(Path())
    found: list[Finding] = []
    for each in judged:
        file = f"{prefix}{each.file}"
        if each.state == "unknown":
            message = f"the changes cannot be judged: {each.reason}"
            found.append(Finding(rule=NOT_JUDGED, file=file, first=1, last=1, message=message))
        found += ranges(NOT_EXECUTED, file, each.missing, "changed {} did not run")
    return Result(
        title=f"Coverage of changed lines: {outcome}",
        sentence=sentence,
        columns=tuple(COLUMNS.values()),
        rows=[
            (f"{prefix}{each.file}", str(each.statements), str(each.covered), _missing(each))
            for each in judged
        ],
        findings=found,
    )


def _missing(judged: Judged) -> str:
    """Return which lines of a file did not run, or why that is not known."""
    return line_ranges.shown(judged.missing) or judged.reason or _word(judged.state)


def _sentence(percent: float | None, covered: int, statements: int, fail_under: float) -> str:
    if percent is None:
        return "no changed statement is measured"
    verdict = "below" if percent < fail_under else "not below"
    return (
        f"{percent:.2f} % of the changed statements ran ({covered} of {statements}), "
        f"{verdict} {fail_under:g} %"
    )


def _word(state: str) -> str:
    return "" if state == "judged" else state
