"""Tell whether the figures of files imported before measuring began are exact, and why not.

No state.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Iterable
from typing import Any, NamedTuple

NAMED = 3  # files that a sentence names; the others are counted
REMEDY = (
    "begin before the application is imported: WSGI_COVERAGE_APP with "
    "wsgi_coverage.wsgi:application, start_early() on the first line of the module that the "
    "server loads (of manage.py for Django's runserver), COVERAGE_PROCESS_START, or "
    "flask-coverage run instead of flask run"
)


class Unseen(NamedTuple):
    """How far a module had run when measuring began."""

    has_ended: bool  # whether its import had ended
    line: int | None  # the line it was at, from which on it is measured; None: it is not
    # First lines, with decorators, of functions that may have run by then; None: any may have.
    functions: frozenset[int] | None = None


class EarlyModule(NamedTuple):
    """A module of which something had run when measuring began in a process."""

    name: str
    file: str
    unseen: Unseen
    defines: bool = True  # whether it defines functions or classes


def as_plain(modules: Iterable[EarlyModule]) -> list[Any]:
    """Convert modules to JSON types, sorted."""
    return sorted(
        (
            [
                each.name,
                each.file,
                each.unseen.has_ended,
                each.unseen.line,
                None if each.unseen.functions is None else sorted(each.unseen.functions),
                each.defines,
            ]
            for each in modules
        ),
        key=repr,
    )


def from_plain(plain: Any) -> frozenset[EarlyModule]:
    """Convert what `as_plain` returned to modules.

    Raises:
        ValueError: it is something else.
    """
    found = set()
    try:
        for name, file, has_ended, line, functions, defines in plain:
            known = None if functions is None else frozenset(functions)
            is_sound = isinstance(name, str) and isinstance(file, str)
            if not is_sound or any(type(each) is not int for each in (line or 0, *(known or ()))):
                raise ValueError("of other types")
            unseen = Unseen(bool(has_ended), line, known)
            found.add(EarlyModule(name, file, unseen, bool(defines)))
    except TypeError as error:
        raise ValueError(str(error)) from error
    return frozenset(found)


def reason(unseen: Unseen) -> str:
    """Return why the figures of a file are not exact."""
    if unseen.has_ended:
        return (
            "it was imported before measuring began: what ran of it until then (imports, def and "
            "class lines, decorators) was not seen, and counts as missing; begin earlier, by "
            "start_early() for instance"
        )
    if unseen.line is not None:
        return (
            f"measuring began while it was imported, at line {unseen.line}: what ran above that "
            "was not all seen, and counts as missing; begin on its first line, by start_early() "
            "for instance"
        )
    return (
        "measuring began while it was imported, and the engine in use does not see a module that "
        "runs already: what ran while it was imported counts as missing; begin before it is "
        "imported"
    )


def either(one: Unseen, other: Unseen) -> Unseen:
    """Combine the records of a file that was imported as `__main__` and by its own name."""
    if one.has_ended or other.has_ended:
        return one if one.has_ended else other
    seen = one.line is not None and other.line is not None
    known = one.functions is not None and other.functions is not None
    return Unseen(
        False,
        max(one.line or 0, other.line or 0) if seen else None,
        (one.functions or frozenset()) | (other.functions or frozenset()) if known else None,
    )


def is_exact(unseen: Unseen, first_missing: int | None) -> bool:
    """Tell whether all executed lines of a file that lie outside of functions are known.

    Args:
        unseen: how far its module had run.
        first_missing: number of its first missing line outside of functions; None: there is none.
    """
    return first_missing is None or (unseen.line is not None and first_missing >= unseen.line)


def unseen_functions(unseen: Unseen, lines: Iterable[int]) -> list[int] | None:
    """Return the lines of functions that may have run before measuring began; None: all may have.

    Args:
        unseen: how far the module had run.
        lines: the line of the `def` of each function.
    """
    if unseen.functions is None:
        return None
    known = sorted(lines)
    found = {bisect_left(known, first) for first in unseen.functions}
    return [line for number, line in enumerate(known) if number in found]


def warning(files: Collection[str]) -> str | None:
    """Return why the figures of a report are not exact; None: they are.

    Args:
        files: names of files that may have run before measuring began.
    """
    if not files:
        return None
    one = len(files) == 1
    return (
        f"{len(files)} file{' was' if one else 's were'} imported before measuring began "
        f"({named(files)}): what ran of {'it' if one else 'them'} until then was not seen, "
        f"and counts as missing; {REMEDY}"
    )


def named(names: Collection[str]) -> str:
    """Join names for a sentence: the first few, and the number of the others."""
    shown = ", ".join(sorted(names)[:NAMED])
    return f"{shown} and {len(names) - NAMED} more" if len(names) > NAMED else shown
