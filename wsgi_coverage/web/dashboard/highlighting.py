"""Colour the words of a source, by Pygments where it is installed (the extra `highlight`).

Concurrency: functions without state; any thread calls them.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from html import escape
from typing import Any

LINES = 3_000  # Pygments takes 0.1 s for a thousand; a longer source stays plain

# CSS class by the beginning of Pygments' name of a token; the first that fits.
CLASSES = (
    ("Token.Comment", "yc"),
    ("Token.Literal.String", "ys"),
    ("Token.Literal.Number", "ym"),
    ("Token.Keyword.Constant", "ym"),
    ("Token.Keyword", "yk"),
    ("Token.Operator.Word", "yk"),
    ("Token.Name.Function", "yf"),
    ("Token.Name.Class", "yf"),
    ("Token.Name.Decorator", "yd"),
    ("Token.Name.Builtin", "yb"),
    ("Token.Name.Exception", "yb"),
)


def as_html(text: str, filename: str) -> Sequence[str]:
    """Return the lines of a source as HTML: coloured if they can be, else escaped.

    Args:
        text: the source.
        filename: its name, from which Pygments tells the language.
    """
    plain = text.split("\n")
    if len(plain) <= LINES and (lexer := _lexer(filename)) is not None:
        coloured = _coloured(lexer.get_tokens(text))
        if len(coloured) >= len(plain):  # Pygments ends each text with a line feed
            return coloured[: len(plain)]
    return [escape(line) for line in plain]


def _lexer(filename: str) -> Any:
    """Return Pygments' lexer of a language; None: there is none, or no Pygments."""
    try:
        from pygments.lexers import get_lexer_for_filename
        from pygments.util import ClassNotFound
    except ImportError:
        return None
    try:
        return get_lexer_for_filename(filename, stripnl=False)
    except ClassNotFound:
        return None


def _coloured(tokens: Any) -> list[str]:
    lines: list[list[str]] = [[]]
    for kind, value in tokens:
        name = _class_of(kind)
        for number, part in enumerate(value.split("\n")):
            if number:
                lines.append([])
            if part:
                found = escape(part)
                lines[-1].append(f"<span class={name}>{found}</span>" if name else found)
    return ["".join(line) for line in lines]


@cache
def _class_of(kind: Any) -> str | None:
    return next((name for token, name in CLASSES if str(kind).startswith(token)), None)
