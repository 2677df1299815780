"""Formats of what `gate` and `diff` find, for code hosts: FORMATS, at the end.

Both commands make a `Result`; each format is a function from that to a text. No state.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import wsgi_coverage
from wsgi_coverage import line_ranges
from wsgi_coverage.cli import asking, output

MOST_ANNOTATIONS = 10  # that GitHub shows of one level for one step
MOST_MARKDOWN = 60_000  # characters; GitHub takes comments of up to 65,536
HOME = "https://github.com/wsgi-coverage/wsgi-coverage"
SCHEMA = (
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
)
PLAIN_NAME = re.compile(r"[\w./-]+", re.ASCII)
SPECIAL = re.compile(r"[!-/:-@\[-`{-~]")  # what Markdown or HTML could take for markup


class Level(NamedTuple):
    """How much a finding matters, in the words of each format."""

    github: str
    gitlab: str
    sarif: str


WARNING = Level("warning", "minor", "warning")
NOTE = Level("notice", "info", "note")


class Rule(NamedTuple):
    """Something that can be found about lines."""

    name: str
    about: str
    level: Level = NOTE


NOT_EXECUTED = Rule("not-executed", "Changed lines did not run", WARNING)
NOT_JUDGED = Rule("not-judged", "Changed lines cannot be judged")
ONLY_IN_A = Rule("only-in-a", "Lines ran in the first report only")
ONLY_IN_B = Rule("only-in-b", "Lines ran in the second report only")
NOT_COMPARED = Rule("not-compared", "A file cannot be compared")
RULES = (NOT_EXECUTED, NOT_JUDGED, ONLY_IN_A, ONLY_IN_B, NOT_COMPARED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something about a range of lines."""

    rule: Rule
    file: str  # relative to the top of the checkout
    first: int
    last: int
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """The result of a command.

    Attributes:
        title: its heading.
        sentence: what it comes to.
        columns: the headings of a table; the first column has names of files.
        rows: the table's cells.
        findings: in the order of files and lines.
    """

    title: str
    sentence: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    findings: Sequence[Finding]


def add_formats(parser: argparse.ArgumentParser, *, about_json: str) -> None:
    """Add the options --json, --format and -o.

    Args:
        parser: of the command.
        about_json: the help of --json.
    """
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--json", action="store_true", help=about_json)
    which.add_argument(
        "--format",
        choices=("text", "json", *FORMATS),
        default="text",
        help="text; JSON; Markdown for a comment; annotations of a GitHub workflow; GitLab's Code "
        "Quality; SARIF 2.1.0 (default: text)",
    )
    parser.add_argument(
        "-o",
        "--output",
        type=asking.output_file,
        metavar="FILE",
        help="the file to write (default: stdout)",
    )


def show(
    arguments: argparse.Namespace,
    *,
    text: Callable[[], None],
    answer: Callable[[], object],
    result: Callable[[], Result],
) -> None:
    """Print a result, or write it to a file, in the format that the arguments name.

    Args:
        arguments: those of `add_formats`.
        text: prints it as a text.
        answer: returns it for JSON.
        result: returns it for all other formats.
    """
    with _going_to(arguments.output):
        if arguments.json or arguments.format == "json":
            output.show_json(answer())
        elif arguments.format == "text":
            text()
        else:
            _print(FORMATS[arguments.format](result()))


def ranges(rule: Rule, file: str, lines: Sequence[int], message: str) -> Iterator[Finding]:
    """Yield a finding for each range of lines.

    Args:
        rule: the rule.
        file: relative to the top of the checkout.
        lines: in ascending order.
        message: what is said of them; `{}` stands for `line 3`, or `lines 3-5`.
    """
    for first, last in line_ranges.ranges_of(lines):
        named = f"line {first}" if first == last else f"lines {first}-{last}"
        yield Finding(
            rule=rule, file=file, first=first, last=last, message=message.replace("{}", named)
        )


@contextlib.contextmanager
def _going_to(target: Path | None) -> Iterator[None]:
    """Write what the block prints to a file; None: leave it on stdout."""
    if target is None:
        yield
        return
    from wsgi_coverage.client.download import replacing

    with io.StringIO() as text, contextlib.redirect_stdout(text):
        yield
        written = text.getvalue()
    with replacing(target) as temporary:
        temporary.write_bytes(_encoded(written))


def _print(text: str) -> None:
    if hasattr(sys.stdout, "buffer"):  # in UTF-8, whatever the locale
        sys.stdout.flush()
        sys.stdout.buffer.write(_encoded(text))
        sys.stdout.buffer.flush()
    else:
        sys.stdout.write(text)


def _encoded(text: str) -> bytes:
    # A file name that is no UTF-8 has lone surrogates.
    return text.encode("utf-8", "backslashreplace")


# Markdown


def _markdown(result: Result) -> str:
    head = f"### {_text(result.title)}\n\n{_text(result.sentence)}\n"
    if not result.rows:
        return head
    out = [head, _row(map(_text, result.columns)), _row(["---"] * len(result.columns))]
    size = sum(map(len, out))
    for number, (name, *cells) in enumerate(result.rows):
        row = _row([_code(name), *map(_text, cells)])
        size += len(row) + 1
        if size > MOST_MARKDOWN:
            out.append(f"\nand {output.plural(len(result.rows) - number, 'more file')}")
            break
        out.append(row)
    return "\n".join(out) + "\n"


def _row(cells: Any) -> str:
    return f"| {' | '.join(cells)} |"


def _code(name: str) -> str:
    """Return a name as code; where it could be taken for markup, as HTML with all of it quoted."""
    return f"`{name}`" if PLAIN_NAME.fullmatch(name) else f"<code>{_quoted(name)}</code>"


def _text(text: str) -> str:
    """Quote what Markdown could take for markup, but for what is plain in sentences."""
    return SPECIAL.sub(
        lambda found: found[0] if found[0] in ".,;:%()/-" else _entity(found), _safe(text)
    )


def _quoted(name: str) -> str:
    return SPECIAL.sub(_entity, _safe(name))


def _entity(found: re.Match[str]) -> str:
    return f"&#{ord(found[0])};"


def _safe(text: str) -> str:
    """Escape control characters, newlines included."""
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)


# GitHub


def _github(result: Result) -> str:
    lines: list[str] = []
    for level in (WARNING, NOTE):
        found = [each for each in result.findings if each.rule.level == level]
        lines += _annotations(level.github, found)
    return "".join(f"{line}\n" for line in lines)


def _annotations(command: str, found: Sequence[Finding]) -> Iterator[str]:
    """Yield as many annotations as GitHub shows: of ranges, else of files, else of the first."""
    if len(found) > MOST_ANNOTATIONS:
        found = [_joined(tuple(group)) for _, group in groupby(found, lambda e: (e.file, e.rule))]
    left = len(found) - MOST_ANNOTATIONS
    for each in found[: MOST_ANNOTATIONS - 1] if left > 0 else found:
        where = {
            "file": each.file,
            "line": str(each.first),
            "endLine": str(each.last),
            "title": each.rule.about,
        }
        of = ",".join(f"{key}={_property(value)}" for key, value in where.items())
        yield f"::{command} {of}::{_message(each.message)}"
    if left > 0:
        names = ", ".join(dict.fromkeys(each.file for each in found[MOST_ANNOTATIONS - 1 :]))
        yield f"::{command} title={_property(found[-1].rule.about)}::{_message(f'and in {names}')}"


def _joined(found: Sequence[Finding]) -> Finding:
    """Return one finding for all of a file."""
    first, *others = found
    if not others:
        return first
    return Finding(
        rule=first.rule,
        file=first.file,
        first=first.first,
        last=first.last,
        message="; ".join(each.message for each in found),
    )


def _message(text: str) -> str:
    """Escape the message of a workflow command, by GitHub's rules."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    """Escape a property of a workflow command, by GitHub's rules."""
    return _message(text).replace(":", "%3A").replace(",", "%2C")


# GitLab


def _gitlab(result: Result) -> str:
    return _json(
        [
            {
                "description": each.message,
                "check_name": f"wsgi-coverage/{each.rule.name}",
                "fingerprint": _fingerprint(each),
                "severity": each.rule.level.gitlab,
                "location": {"path": each.file, "lines": {"begin": each.first}},
            }
            for each in result.findings
        ]
    )


# SARIF


def _sarif(result: Result) -> str:
    driver = {
        "name": "wsgi-coverage",
        "version": wsgi_coverage.__version__,
        "informationUri": HOME,
        "rules": [{"id": each.name, "shortDescription": {"text": each.about}} for each in RULES],
    }
    results = [
        {
            "ruleId": each.rule.name,
            "ruleIndex": RULES.index(each.rule),
            "level": each.rule.level.sarif,
            "message": {"text": each.message},
            "locations": [
                {
                    "physicalLocation": {
                        "artifactLocation": {
                            "uri": quote(os.fsencode(each.file)),
                            "uriBaseId": "%SRCROOT%",
                        },
                        "region": {"startLine": each.first, "endLine": each.last},
                    }
                }
            ],
            "partialFingerprints": {"wsgiCoverage/v1": _fingerprint(each)},
        }
        for each in result.findings
    ]
    run = {"tool": {"driver": driver}, "results": results}
    return _json({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]})


def _fingerprint(finding: Finding) -> str:
    """Return what identifies a finding in one result and in the next."""
    about = (finding.rule.name, finding.file, finding.first, finding.last)
    return hashlib.sha256(repr(about).encode("utf-8", "backslashreplace")).hexdigest()


def _json(value: object) -> str:
    return f"{json.dumps(value, indent=1, ensure_ascii=False)}\n"


FORMATS: dict[str, Callable[[Result], str]] = {
    "markdown": _markdown,
    "github": _github,
    "gitlab": _gitlab,
    "sarif": _sarif,
}
