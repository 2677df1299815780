"""Look up the names of coverage.py that it does not document, and tell which are missing.

Any release of coverage.py may rename one of them. So none is looked up before it is needed, and
code that needs some checks here first: by `missing` if it can do without them, by `require` if it
cannot. `problems` lists the consequences for /health.

Concurrency: results are cached, and the same for all threads; `_met` only grows.
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

_met: dict[str, None] = {}  # sentences about other names that turned out to be missing


def version() -> str:
    """Return coverage.py's version."""
    return coverage.__version__


@cache
def find(name: str) -> Any:
    """Return the object with a name, given as module:attribute.

    Raises:
        CoverageChangedError: there is none.
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
    """Return those names of a need that this coverage.py lacks.

    Args:
        need: a constant of wsgi_coverage.compat.needs.
    """
    if coverage.version_info[:3] < NEEDS[need].since:
        return ()
    gone = [name for name in NEEDS[need].names if not _is_there(name)]
    # Where a class is missing, so are its attributes.
    return tuple(name for name in gone if name.rpartition(".")[0] not in gone)


def has(*needs: str) -> bool:
    """Tell whether this coverage.py has all names of some needs."""
    return not any(map(missing, needs))


def require(need: str) -> None:
    """Refuse to go on if a name of a need is missing.

    Raises:
        CoverageChangedError: one is missing.
    """
    if why_not := why_without(need):
        raise CoverageChangedError(why_not)


def why_without(need: str) -> str | None:
    """Return a sentence about the missing names of a need; None: all are there."""
    if not (gone := missing(need)):
        return None
    return f"coverage.py {version()} has no {', '.join(map(_shown, gone))}"


def problems() -> list[str]:
    """Return the consequences of missing names, as sentences."""
    return [
        f"{', '.join(map(_shown, gone))}: {need.without}"
        for name, need in NEEDS.items()
        if (gone := missing(name))
    ] + list(_met)


def change(error: BaseException) -> CoverageChangedError | None:
    """Return an error that names what coverage.py lacks, if that made something fail; else None."""
    if isinstance(error, CoverageChangedError):
        changed = error
    elif isinstance(error, sqlite3.OperationalError) and NO_TABLE in str(error):
        # In a new data file; damaged ones have been set aside before.
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
    """Convert errors of the block that missing names of coverage.py have caused.

    Raises:
        CoverageChangedError: a name is missing.
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
    """Return the attributes that the methods of a class, or the code of a function, refer to."""
    found = {*getattr(owner, "__annotations__", ()), *_names_in(owner)}
    for each in vars(owner).values() if isinstance(owner, type) else ():
        found |= _names_in(getattr(each, "fget", None) or each)
    return frozenset(found)


def _names_in(function: Any) -> set[str]:
    """Return every name that the code of a function refers to."""
    code = getattr(function, "__code__", None)
    return set() if code is None else {*code.co_names}
