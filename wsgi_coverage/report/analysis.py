"""What a source could execute, from coverage.py's parser, as plain data that can be stored.

The state of a parser is stored after its work and put into another parser later, so that the
code of coverage.py answers every question about lines and arcs. That touches attributes of its
parser; if they are not as expected, nothing is stored, and coverage.py parses each source anew.

Concurrency: functions without state.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import coverage
from coverage.exceptions import NoSource
from coverage.misc import join_regex
from coverage.parser import PythonParser
from coverage.phystokens import source_encoding
from coverage.plugin import CodeRegion
from coverage.python import get_python_source
from coverage.regions import RegionFinder, code_regions

from wsgi_coverage.data import regular
from wsgi_coverage.report.kept import digest

FORMAT = 1  # version of the stored form
PARTS = {
    "statements",
    "excluded",
    "multiline_map",
    "_ast_root",
    "_all_arcs",
    "_missing_arc_fragments",
    "_with_jump_fixers",
}


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules that an analysis depends on, besides the source."""

    exclude: str
    partial: str
    branch: bool

    def as_bytes(self) -> bytes:
        """The rules with the versions of the format, coverage.py and Python, to make a name of."""
        versions = (FORMAT, coverage.__version__, sys.version)
        return json.dumps([*versions, self.exclude, self.partial, self.branch]).encode()


def rules_of(config: Any, *, branch: bool) -> Rules:
    """The rules that a coverage.py configuration sets."""
    return Rules(
        exclude=join_regex(config.exclude_list),
        partial=join_regex([*config.partial_list, *config.partial_always_list]),
        branch=branch,
    )


def name_of(content: bytes, rules: Rules) -> str:
    """The name under which the cache has the analysis of a source."""
    return digest(content, rules.as_bytes())


@cache
def can_be_kept() -> bool:
    """Tell whether coverage.py's parser has the attributes that are stored."""
    return vars(PythonParser(text="", filename="x")).keys() >= PARTS


def read_content(filename: str) -> bytes:
    """The bytes of a source, which tell one version from another.

    Raises:
        NoSource, SyntaxError: as coverage.py's own, where there is none, or none to be read.
    """
    try:
        return regular.read(filename)
    except (
        FileNotFoundError,
        NotADirectoryError,
    ):  # it may be in an archive, where coverage.py finds it
        return get_python_source(filename).encode("utf-8", "replace")
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise NoSource(f"No source for code: '{filename}': {why}") from error


def text_of(filename: str, content: bytes) -> str:
    """A source as coverage.py decodes it.

    Args:
        filename: of the source.
        content: from `read_content`.

    Raises:
        NoSource, SyntaxError: as coverage.py's own.
    """
    if not os.path.exists(filename):  # noqa: PTH110  as coverage.py asks
        return get_python_source(filename)
    content = content.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\f", b" ")
    text = content.decode(source_encoding(content), "replace")
    return text if not text or text.endswith("\n") else f"{text}\n"


def analyse(text: str, filename: str, rules: Rules) -> dict[str, Any]:
    """Parse a source, and return the parser's state as plain data.

    Raises:
        coverage.exceptions.NotPython: it cannot be parsed.
    """
    parser = PythonParser(text=text, filename=filename, exclude=rules.exclude)
    parser.parse_source()
    kept: dict[str, Any] = {
        "text": text,
        "statements": sorted(parser.statements),
        "excluded": sorted(parser.excluded),
        "multiline": list(parser.multiline_map.items()),
        "regions": [
            [region.kind, region.name, region.start, _ranges(region.lines)]
            for region in _regions(parser)
        ],
    }
    if rules.branch:
        kept["no_branch"] = sorted(parser.lines_matching(rules.partial))
        kept["arcs"] = sorted(parser.arcs())
        kept["jumps"] = list(parser._with_jump_fixers.items())
        kept["fragments"] = list((parser._missing_arc_fragments or {}).items())
    return kept


def _regions(parser: PythonParser) -> Sequence[CodeRegion]:
    finder = RegionFinder()
    if parser._ast_root is None or not hasattr(finder, "handle_node"):
        return code_regions(parser.text)
    finder.handle_node(parser._ast_root)  # what code_regions does, without parsing once more
    return finder.regions


def parser_of(kept: dict[str, Any], filename: str, rules: Rules) -> PythonParser:
    """A parser in the state that it had after its work."""
    parser = PythonParser(text=kept["text"], filename=filename, exclude=rules.exclude)
    parser.statements = set(kept["statements"])
    parser.excluded = set(kept["excluded"])
    parser.multiline_map = dict(kept["multiline"])
    if rules.branch:
        parser._all_arcs = {(start, end) for start, end in kept["arcs"]}
        parser._with_jump_fixers = {_tuples(arc): _tuples(jump) for arc, jump in kept["jumps"]}
        parser._missing_arc_fragments = {
            _tuples(arc): [_tuples(pair) for pair in pairs] for arc, pairs in kept["fragments"]
        }
    return parser


def regions_of(kept: dict[str, Any]) -> list[CodeRegion]:
    """The functions and classes of a source."""
    return [
        CodeRegion(kind=kind, name=name, start=start, lines=_lines(ranges))
        for kind, name, start, ranges in kept["regions"]
    ]


def _tuples(value: Any) -> Any:
    """Lists as the tuples that they were before JSON."""
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _ranges(lines: Iterable[int]) -> list[list[int]]:
    out: list[list[int]] = []
    for line in sorted(lines):
        if out and out[-1][1] == line - 1:
            out[-1][1] = line
        else:
            out.append([line, line])
    return out


def _lines(ranges: Iterable[Sequence[int]]) -> set[int]:
    return {line for first, last in ranges for line in range(first, last + 1)}
