"""The page of one source: line by line, when it ran, and for whom.

Rows are made here, not by a template: a source of 20,000 lines would take it half a second.

Concurrency: made for one answer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from werkzeug.wrappers import Request, Response

from wsgi_coverage.control import Control
from wsgi_coverage.model.answers import Function, Source, SourceLine
from wsgi_coverage.web import parameters
from wsgi_coverage.web.dashboard import highlighting, tree
from wsgi_coverage.web.dashboard.labels import quoted
from wsgi_coverage.web.dashboard.layout import base, page
from wsgi_coverage.web.dashboard.pages import render
from wsgi_coverage.web.dashboard.tree import Part

LISTED = 200  # functions, and blocks, above the lines
BLOCK = 200  # lines that a browser lays out together, when they come into view
NEVER = "never"


class State(NamedTuple):
    """How lines of one kind are shown."""

    key: str  # CSS class, which has its sign
    text: str


STATES: dict[str | None, State] = {  # by `ran`
    NEVER: State("n", "never ran"),
    "at load only": State("l", "ran at load only"),
    "at runtime": State("r", "ran at runtime"),
    None: State("u", "ran, it is not known when"),
    "excluded": State("x", "excluded"),
}
JUMPS = (
    ("prev", "Previous", "\N{UPWARDS ARROW}"),
    ("next", "Next", "\N{DOWNWARDS ARROW}"),
)
PARTIAL = State("p", "ran, and a branch was never taken")


def source(
    request: Request, control: Control, found: Source, identity: str | None = None
) -> Response:
    """GET /source/<file> as a page.

    Raises:
        BadParameterError: `line` is no whole number from 1 on.
    """
    label = request.args.get("context") or None
    listed = tree.listed(control.files(identity))
    part = listed.by_name[found["file"]]
    wanted = parameters.number(request, "line", 0)
    # Of a label people look for what ran, else for what never did.
    blocks = _blocks_of(found, "at runtime" if label else NEVER)
    counts: Counter[State] = Counter(STATES[each["ran"]] for each in found["lines"])
    counts[PARTIAL] = sum("not_taken" in each for each in found["lines"])
    if label is not None:
        del counts[STATES[NEVER]]
    return page(
        request,
        control,
        "source.html",
        tab="files",
        identity=identity,
        part=part,
        folders=_folders(part),
        has_branches=listed.has_branches,
        label=label,
        counts=[(each, counts[each]) for each in (*STATES.values(), PARTIAL) if counts[each]],
        what="never ran" if label is None else "ran for it",
        wanted=blocks[:LISTED],
        count=len(blocks),
        early=found.get("imported_early"),
        functions=found["functions"][:LISTED],
        all_functions=len(found["functions"]),
        never_run=sum(each.get("ran") == NEVER for each in found["functions"]),
        rows=_rows(found, part, blocks, _about(found, wanted), label, base(request, identity)),
        quoted=quoted,
    )


def _folders(part: Part) -> list[tuple[str, str]]:
    """Return the folders that a file is in: their names, and paths quoted for an address."""
    names = part.path.split("/")[:-1]
    return [(name, tree.quoted("/".join(names[: n + 1]))) for n, name in enumerate(names)]


def _blocks_of(found: Source, ran: str) -> list[tuple[int, int]]:
    """Return the first and the last line of each block of lines that ran so.

    Lines between two of its statements are of the block: blank ones, comments.
    """
    blocks: list[tuple[int, int]] = []
    is_open = False
    for each in found["lines"]:
        first, last = each["line"], each.get("last", each["line"])
        if each["ran"] != ran:
            is_open = False
        elif is_open:
            blocks[-1] = blocks[-1][0], last
        else:
            blocks.append((first, last))
            is_open = True
    return blocks


class About(NamedTuple):
    """What is told of the line that was asked for."""

    number: int
    line: SourceLine | None  # None: it is no statement
    state: State | None
    function: Function | None


def _about(found: Source, wanted: int) -> About | None:
    if not wanted:
        return None
    line = max(
        (e for e in found["lines"] if e["line"] <= wanted <= e.get("last", e["line"])),
        key=_first_line,
        default=None,
    )
    function = max(
        (each for each in found["functions"] if each["line"] <= wanted <= each.get("last", 0)),
        key=_first_line,
        default=None,
    )
    return About(wanted, line, None if line is None else STATES[line["ran"]], function)


def _first_line(of: Mapping[str, Any]) -> int:
    found: int = of["line"]
    return found


def _rows(
    found: Source,
    part: Part,
    blocks: Sequence[tuple[int, int]],
    about: About | None,
    label: str | None,
    report: str,
) -> Iterator[str]:
    """Yield the rows of the lines as HTML, some at once."""
    lines = {each["line"]: each for each in found["lines"]}
    classes, jumps = _classes(found["lines"], label), _jumps(blocks, label)
    given = f"&amp;context={tree.quoted(label)}" if label else ""
    texts = highlighting.as_html(found["text"].removesuffix("\n"), part.name)
    rows: list[str] = []
    for number, text in enumerate(texts, 1):
        link = f"<a href='?line={number}{given}#L{number}'"
        # A key leads to blocks; through each line of a source nobody goes by Tab.
        row = f"<div id=L{number}{classes.get(number, '')}>{link} tabindex=-1>{number}</a>"
        row += f"<code>{text}</code>"
        row += jumps.get(number, "")
        if number in lines and label is None and (count := len(lines[number].get("contexts", ()))):
            row += f"{link} class=who>{count:,} label{'' if count == 1 else 's'}</a>"
        rows.append(f"{row}</div>\n")
        if about is not None and number == about.number:
            rows.append(render("_line.html", about=about, base=report, quoted=quoted))
        if number % BLOCK == 0:
            yield "".join(rows)
            rows = []
    if rows:
        yield "".join(rows)


def _classes(lines: Iterable[SourceLine], label: str | None) -> dict[int, str]:
    """Return the attribute `class` of lines; those that continue a statement have no sign.

    What did not run for one label has none.
    """
    found: dict[int, str] = {}
    firsts: dict[int, str] = {}
    for each in lines:
        if label is not None and each["ran"] == NEVER:
            continue
        state = PARTIAL if "not_taken" in each else STATES[each["ran"]]
        firsts[each["line"]] = f" class={state.key}"
        for line in range(each["line"] + 1, each.get("last", 0) + 1):
            found[line] = f" class='{state.key} c'"
    return found | firsts  # a statement may begin where another one ends


def _jumps(blocks: Sequence[tuple[int, int]], label: str | None) -> dict[int, str]:
    """Return links from the first line of each block to its neighbours."""
    found = {}
    starts = [first for first, _ in blocks]
    what = "never ran" if label is None else "ran for it"
    for before, at, after in zip([0, *starts], starts, [*starts[1:], 0], strict=False):
        links = [
            f"<a href='#L{to}' rel={rel} aria-label='{name} block that {what}'>{arrow}</a>"
            for to, (rel, name, arrow) in zip((before, after), JUMPS, strict=True)
            if to
        ]
        found[at] = f"<span class=jump>{''.join(links)}</span>"
    return found
