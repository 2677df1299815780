"""Look up the names of coverage.py that it does not document, and tell which are missing.

Any release of coverage.py may rename one of them. So none is looked up before it is needed, and
whoever needs some asks here first: `missing` tells which are not there, for a way without them;
`require` refuses where there is none. `problems` says all that for people.

Concurrency: what was found is remembered, and the same whoever asks; `_met` is only added to.
"""

from __future__ import annotations

import contextlib
import importlib
import sqlite3
from collections.abc import Iterator
from functools import cache
from types import ModuleType
from typing import Any

import coverage

from wsgi_coverage.compat.needs import NEEDS
from wsgi_coverage.errors import CoverageChangedError

NO_TABLE = "no such table"  # in SQLite's message

_met: dict[str, None] = {}  # what else was found to be missing when it was needed, as sentences


def version() -> str:
    """coverage.py's version."""
    return coverage.__version__


@cache
def find(name: str) -> Any:
    """What has a name, as module:attribute.

    Raises:
        CoverageChangedError: nothing has.
    """
    module, _, path = name.partition(":")
    try:
        found: Any = importlib.import_module(module)
        for each in path.split("."):
            found = getattr(found, each)
    except (ImportError, AttributeError) as error:
        raise CoverageChangedError(f"coverage.py {version()} has no {_shown(name)}") from error
    return found


@cache
def missing(need: str) -> tuple[str, ...]:
    """The names that are not there, of those that one thing needs."""
    if coverage.version_info[:3] < NEEDS[need].since:
        return ()
    return tuple(name for name in NEEDS[need].names if not _is_there(name))


def has(*needs: str) -> bool:
    """Tell whether all is there that some things need."""
    return not any(map(missing, needs))


def require(need: str) -> None:
    """Refuse what cannot be done without a name that is missing.

    Raises:
        CoverageChangedError: one is.
    """
    if why_not := why_without(need):
        raise CoverageChangedError(why_not)


def why_without(need: str) -> str | None:
    """Which names are missing, as a sentence; None: all are there."""
    if not (gone := missing(need)):
        return None
    return f"coverage.py {version()} has no {', '.join(map(_shown, gone))}"


def problems() -> list[str]:
    """What is so because names are missing, as sentences."""
    return [
        f"{', '.join(map(_shown, gone))}: {need.without}"
        for name, need in NEEDS.items()
        if (gone := missing(name))
    ] + list(_met)


def change(error: BaseException) -> CoverageChangedError | None:
    """The error that says which name is missing, where that is why something failed; else None."""
    if isinstance(error, CoverageChangedError):
        changed = error
    elif isinstance(error, sqlite3.OperationalError) and NO_TABLE in str(error):
        # Of the file that was just made; one that is damaged is set aside by name.
        changed = CoverageChangedError(f"coverage.py {version()} keeps data otherwise: {error}")
    elif not isinstance(error, AttributeError | ImportError | TypeError):
        return None
    elif gone := [why for need in NEEDS if (why := why_without(need))]:
        changed = CoverageChangedError("; ".join(dict.fromkeys(gone)))
    elif isinstance(error, AttributeError) and _is_coverages(error.obj):
        what = f"{_place_of(error.obj)}.{error.name}"
        changed = CoverageChangedError(f"coverage.py {version()} has no {what}")
    elif isinstance(error, ImportError) and (error.name or "").partition(".")[0] == "coverage":
        changed = CoverageChangedError(f"coverage.py {version()} is not as expected: {error}")
    else:
        return None
    if has(*NEEDS):
        _met[f"{changed}, which was needed"] = None
    return changed


@contextlib.contextmanager
def explaining() -> Iterator[None]:
    """Say of what fails inside for want of a name of coverage.py that it does so.

    Raises:
        CoverageChangedError: it does.
    """
    try:
        yield
    except Exception as error:
        changed = change(error)
        if changed is None or changed is error:
            raise
        raise changed from error


def _shown(name: str) -> str:
    return name.replace(":", ".")


def _place_of(value: object) -> str:
    if isinstance(value, ModuleType):
        return value.__name__
    owner = value if isinstance(value, type) else type(value)
    return f"{owner.__module__}.{owner.__name__}"


def _is_coverages(value: object) -> bool:
    module = str(getattr(value, "__module__", None) or getattr(value, "__name__", ""))
    return module.partition(".")[0] == "coverage"


def _is_there(name: str) -> bool:
    module, _, path = name.partition(":")
    owner_path, _, attribute = path.rpartition(".")
    try:
        owner = find(f"{module}:{owner_path}") if owner_path else importlib.import_module(module)
    except (CoverageChangedError, ImportError):
        return False
    return hasattr(owner, attribute) or attribute in _mentioned(owner)


@cache
def _mentioned(owner: Any) -> frozenset[str]:
    """The attributes that a class gives its instances, which itself has none of."""
    found = {*getattr(owner, "__annotations__", ()), *_names_in(owner)}
    for each in vars(owner).values() if isinstance(owner, type) else ():
        found |= _names_in(getattr(each, "fget", None) or each)
    return frozenset(found)


def _names_in(function: Any) -> set[str]:
    """Every name that the code of a function refers to."""
    code = getattr(function, "__code__", None)
    return set() if code is None else {*code.co_names}
