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
    """Yield the folders of packages, and files of modules, that this process has not imported.

    Namespace packages, which have no file, are left out, as in coverage.py.

    Args:
        names: dotted names of packages and modules.
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
    """Find the source of a package or module without an import of its parents.

    importlib.util.find_spec would import them.
    """
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
    # PathFinder first, which imports nothing; editable installations have finders of their own.
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
    """Find the source of a package or module among the files that any process has executed."""
    below = "/" + name.replace(".", "/")
    ends = (f"{below}/{INIT}", f"{below}.py")
    return next((each for each in executed if each.replace(os.sep, "/").endswith(ends)), None)
