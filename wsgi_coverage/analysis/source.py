"""What a source could execute, as plain data that can be cached: by which rules, under which name.

Concurrency: functions without state.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from coverage.exceptions import NoSource

from wsgi_coverage.analysis.cache import digest
from wsgi_coverage.compat import names, parsing
from wsgi_coverage.compat.configuration import option
from wsgi_coverage.data import regular_files, versions

FORMAT = 1  # version of the stored form


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules that an analysis depends on, besides the source."""

    exclude: tuple[str, ...]  # regular expressions, each for lines to leave out
    partial: str
    branch: bool

    def as_bytes(self) -> bytes:
        """The rules with the versions of the format, coverage.py and Python, to make a name of."""
        return _as_bytes(self, (FORMAT, names.version(), sys.version))


@lru_cache(maxsize=4)
def _as_bytes(rules: Rules, versions: tuple[object, ...]) -> bytes:
    return json.dumps([*versions, rules.exclude, rules.partial, rules.branch]).encode()


def rules_of(config: Any, *, branch: bool) -> Rules:
    """The rules that a coverage.py configuration sets."""
    return Rules(
        exclude=tuple(option(config, "report:exclude_lines")),
        partial=parsing.joined(
            [
                *option(config, "report:partial_branches"),
                *option(config, "report:partial_branches_always"),
            ]
        ),
        branch=branch,
    )


def analysis_name(fingerprint: str, rules: Rules) -> str:
    """The name under which the cache has the analysis of a source.

    Args:
        fingerprint: of the source, by `stamp.fingerprint_of`.
        rules: of the analysis.
    """
    return digest(fingerprint.encode(), rules.as_bytes())


def current_analysis_name(filename: str, rules: Rules) -> str | None:
    """The name under which the cache would have the analysis of a source as it is now.

    None: the source is to be read for it, by `read_content`, which says what is wrong with it.

    Raises:
        OSError: no descriptor is left to read it by.
    """
    fingerprint = versions.current(filename)
    return None if fingerprint is None else analysis_name(fingerprint, rules)


def read_content(filename: str) -> bytes:
    """The bytes of a source, which tell one version from another.

    Raises:
        NoSource, SyntaxError: as coverage.py's own, where there is none, or none to be read.
    """
    try:
        return regular_files.read(filename)
    except (
        FileNotFoundError,
        NotADirectoryError,
    ):  # it may be in an archive, where coverage.py finds it
        return parsing.source_anywhere(filename).encode("utf-8", "replace")
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
        return parsing.source_anywhere(filename)
    content = content.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\f", b" ")
    text = content.decode(parsing.encoding_of(content), "replace")
    return text if not text or text.endswith("\n") else f"{text}\n"


def analyse(text: str, filename: str, rules: Rules) -> dict[str, Any]:
    """Parse a source, and return the parser's state as plain data.

    Raises:
        coverage.exceptions.NotPython: it cannot be parsed.
    """
    partial = rules.partial if rules.branch else None
    exclude = parsing.joined(parsing.that_may_match(rules.exclude, text))
    return parsing.parse(text, filename, exclude=exclude, partial=partial)
