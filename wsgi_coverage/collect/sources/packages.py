"""Find packages of `source` that this process has not imported, without importing them.

No state.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from importlib.machinery import BuiltinImporter, FrozenImporter, ModuleSpec, PathFinder
from typing import Any

from wsgi_coverage.collect.sources.imported_before import globals_of

INIT = "__init__.py"


def not_imported(names: Iterable[str], executed: Iterable[str]) -> Iterator[str]:
    """The folders of packages, and the files of modules, that any process could import.

    A namespace package has no file, so it is none of them, as for coverage.py.

    Args:
        names: of packages and modules, with dots.
        executed: full names of files that any process has executed.
    """
    missing = [name for name in names if not _has_file(sys.modules.get(name))]
    elsewhere = [*executed] if missing else []
    for name in missing:
        if (file := _found(name) or _executed(name, elsewhere)) is not None:
            yield os.path.dirname(file) if file.endswith(INIT) else file  # noqa: PTH120


def _has_file(module: object) -> bool:
    return globals_of(module).get("__file__") is not None


def _found(name: str) -> str | None:
    """The source of a package or module; importlib.util.find_spec would import what is above it."""
    path: Any = None
    spec = None
    parts = name.split(".")
    for number in range(1, len(parts) + 1):
        spec = _spec(".".join(parts[:number]), path)
        if spec is None:
            return None
        path = spec.submodule_search_locations
        if path is None and number < len(parts):
            return None  # no package
    origin = spec.origin if spec is not None and spec.has_location else None
    return os.path.realpath(origin) if origin is not None and origin.endswith(".py") else None


def _spec(name: str, path: Any) -> ModuleSpec | None:
    # First the one that does nothing but look; editable installations have others.
    finders: list[Any] = [PathFinder, *sys.meta_path]
    for finder in finders:
        if finder in (BuiltinImporter, FrozenImporter):
            continue
        try:
            found: ModuleSpec | None = finder.find_spec(name, path, None)
        except Exception:  # noqa: BLE001, S112  an application's own may raise anything
            continue
        if found is not None:
            return found
    return None


def _executed(name: str, executed: Iterable[str]) -> str | None:
    """The source of a package or module, from the files that other processes have executed."""
    below = "/" + name.replace(".", "/")
    ends = (f"{below}/{INIT}", f"{below}.py")
    return next((each for each in executed if each.replace(os.sep, "/").endswith(ends)), None)
