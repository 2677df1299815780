"""Analyse a source: what it could execute, as plain data, and the name to cache that under.

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
    """The settings of coverage.py that an analysis depends on, besides the source."""

    exclude: tuple[str, ...]  # regular expressions of lines to exclude
    partial: str
    branch: bool

    def as_bytes(self) -> bytes:
        """Return rules and versions (of the format, coverage.py and Python) as bytes to hash."""
        return _as_bytes(self, (FORMAT, names.version(), sys.version))


@lru_cache(maxsize=4)
def _as_bytes(rules: Rules, versions: tuple[object, ...]) -> bytes:
    return json.dumps([*versions, rules.exclude, rules.partial, rules.branch]).encode()


def rules_of(config: Any, *, branch: bool) -> Rules:
    """Return the rules that a coverage.py configuration sets."""
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
    """Return the name under which the cache has the analysis of a source.

    Args:
        fingerprint: the source's, by `stamp.fingerprint_of`.
        rules: the rules of the analysis.
    """
    return digest(fingerprint.encode(), rules.as_bytes())


def current_analysis_name(filename: str, rules: Rules) -> str | None:
    """Return the name under which the cache has the analysis of a source as it is now.

    Returns:
        None where the source's fingerprint cannot be had: `read_content` raises the reason.

    Raises:
        OSError: no descriptor is left to read the source.
    """
    fingerprint = versions.current(filename)
    return None if fingerprint is None else analysis_name(fingerprint, rules)


def read_content(filename: str) -> bytes:
    """Return the bytes of a source, to be fingerprinted and parsed.

    Raises:
        NoSource, SyntaxError: as by coverage.py: there is no source, or it cannot be read.
    """
    try:
        return regular_files.read(filename)
    except (
        FileNotFoundError,
        NotADirectoryError,
    ):  # the source may be in a zip archive, where coverage.py finds it
        return parsing.source_anywhere(filename).encode("utf-8", "replace")
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise NoSource(f"No source for code: '{filename}': {why}") from error


def text_of(filename: str, content: bytes) -> str:
    """Decode a source as coverage.py does.

    Args:
        filename: the source's.
        content: from `read_content`.

    Raises:
        NoSource, SyntaxError: as by coverage.py.
    """
    if not os.path.exists(filename):  # noqa: PTH110  as coverage.py asks
        return parsing.source_anywhere(filename)
    content = content.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\f", b" ")
    text = content.decode(parsing.encoding_of(content), "replace")
    return text if not text or text.endswith("\n") else f"{text}\n"


def analyse(text: str, filename: str, rules: Rules) -> dict[str, Any]:
    """Parse a source, and return the parser's state as plain data.

    Raises:
        coverage.exceptions.NotPython: the source cannot be parsed.
    """
    partial = rules.partial if rules.branch else None
    exclude = parsing.joined(parsing.that_may_match(rules.exclude, text))
    return parsing.parse(text, filename, exclude=exclude, partial=partial)
