"""Parse sources by coverage.py's own parser, and convert it to plain data that can be cached.

The attributes of a parser are stored after parsing, and a parser is restored from them later, so
that coverage.py's own code still answers every question about lines and arcs. If the parser has not
the expected attributes, nothing is cached, and coverage.py parses each source each time.

Concurrency: functions without state.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

from coverage.plugin import CodeRegion

from wsgi_coverage.compat import names, needs
from wsgi_coverage.line_ranges import lines_of, ranges_of

PARTS = {
    "statements",
    "excluded",
    "multiline_map",
    "_ast_root",
    "_all_arcs",
    "_missing_arc_fragments",
    "_with_jump_fixers",
}

# A text that every match of one of coverage.py's own patterns contains. A search for it takes a
# tenth of the time of the pattern, and hardly any source contains it.
CONTAINED = {
    r"^\s*(((async )?def .*?)?[\])]+(\s*->.*?)?:\s*)?\.\.\.\s*(#|$)": "...",
    r"^\s*(((async )?def .*?)?\)(\s*->.*?)?:\s*)?\.\.\.\s*(#|$)": "...",
    r"^\s*if (typing\.)?TYPE_CHECKING:": "TYPE_CHECKING",
    r"if (typing\.)?TYPE_CHECKING:": "TYPE_CHECKING",
}


@cache
def can_be_cached() -> bool:
    """Tell whether coverage.py's parser has the attributes that the cache stores."""
    return not names.missing(needs.PARSER) and vars(_parser(text="", filename="x")).keys() >= PARTS


def _parser(**arguments: Any) -> Any:
    return names.find("coverage.parser:PythonParser")(**arguments)


def joined(patterns: Iterable[str]) -> str:
    """Join regular expressions to one, as coverage.py does."""
    each = [*patterns]
    return each[0] if len(each) == 1 else "|".join(f"(?:{pattern})" for pattern in each)


def that_may_match(patterns: Iterable[str], text: str) -> list[str]:
    """Return the regular expressions that may match in a text, by a quick check of known ones."""
    return [pattern for pattern in patterns if CONTAINED.get(pattern, "") in text]


def source_anywhere(filename: str) -> str:
    """Return the text of a source wherever coverage.py finds it, in a zip file for instance.

    Raises:
        NoSource: there is no source.
        SyntaxError: it cannot be decoded.
    """
    return str(names.find("coverage.python:get_python_source")(filename))


def encoding_of(content: bytes) -> str:
    """Return the encoding of a source.

    Raises:
        SyntaxError: it declares an unknown encoding.
    """
    return str(names.find("coverage.phystokens:source_encoding")(content))


def parse(text: str, filename: str, *, exclude: str, partial: str | None) -> dict[str, Any]:
    """Parse a source; return the result as plain data.

    Args:
        text: the source's text.
        filename: the source's name, for messages.
        exclude: a regular expression for excluded lines.
        partial: one for lines that may branch partially; None: branches are not analysed.

    Raises:
        coverage.exceptions.NotPython: it cannot be parsed.
    """
    parser = _parser(text=text, filename=filename, exclude=exclude)
    parser.parse_source()
    analysis: dict[str, Any] = {
        "text": text,
        "statements": sorted(parser.statements),
        "excluded": sorted(parser.excluded),
        "multiline": list(parser.multiline_map.items()),
        "regions": [
            [region.kind, region.name, region.start, ranges_of(sorted(region.lines))]
            for region in _regions(parser, text)
        ],
    }
    if partial is not None:
        analysis["no_branch"] = sorted(parser.lines_matching(partial))
        analysis["arcs"] = sorted(parser.arcs())
        analysis["jumps"] = list(parser._with_jump_fixers.items())
        analysis["fragments"] = list((parser._missing_arc_fragments or {}).items())
    return analysis


def _regions(parser: Any, text: str) -> Sequence[CodeRegion]:
    found: Sequence[CodeRegion]
    if parser._ast_root is None or names.missing(needs.REGIONS):
        found = names.find("coverage.regions:code_regions")(text)
    else:
        finder = names.find("coverage.regions:RegionFinder")()
        finder.handle_node(parser._ast_root)  # what code_regions does, without parsing once more
        found = finder.regions
    return found


def parser_of(analysis: dict[str, Any], filename: str, *, exclude: str, branch: bool) -> Any:
    """Restore a parser in its state after parsing, from what `parse` returned."""
    parser = _parser(text=analysis["text"], filename=filename, exclude=exclude)
    parser.statements = set(analysis["statements"])
    parser.excluded = set(analysis["excluded"])
    parser.multiline_map = dict(analysis["multiline"])
    if branch:
        parser._all_arcs = {(start, end) for start, end in analysis["arcs"]}
        parser._with_jump_fixers = {_tuples(arc): _tuples(jump) for arc, jump in analysis["jumps"]}
        parser._missing_arc_fragments = {
            _tuples(arc): [_tuples(pair) for pair in pairs] for arc, pairs in analysis["fragments"]
        }
    return parser


def regions_of(analysis: dict[str, Any]) -> list[CodeRegion]:
    """Return the functions and classes of a source, from what `parse` returned."""
    return [
        CodeRegion(kind=kind, name=name, start=start, lines=lines_of(ranges))
        for kind, name, start, ranges in analysis["regions"]
    ]


def _tuples(value: Any) -> Any:
    """Convert lists to tuples, at every level: JSON has no tuples."""
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
