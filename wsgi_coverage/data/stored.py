"""Read and check JSON that this project has stored, which anybody may have replaced.

Whoever can write into one of our folders can put a pipe there, a link to a device, a file of any
size, or JSON of other types, nested to any depth.

Concurrency: functions without state.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import lru_cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from wsgi_coverage.data import regular_files
from wsgi_coverage.data.regular_files import UnreadableError

MOST_NUMBER = 1 << 63

T = TypeVar("T")


class DamagedError(ValueError):
    """Stored JSON is not what this project has written."""


def read_json(path: Path, most: int = regular_files.MOST) -> Any:
    """Read the value in a JSON file.

    Args:
        path: the file.
        most: bytes that it may have.

    Raises:
        DamagedError: it is no regular file, or a larger one, or no JSON, or nested too deeply.
        OSError: it cannot be read.
    """
    try:
        return parsed(regular_files.read(path, most))
    except UnreadableError as error:
        raise DamagedError(f"{path}: {error.strerror}") from error


def parsed(raw: str | bytes) -> Any:
    """Parse JSON.

    Raises:
        DamagedError: it is no JSON, or nested too deeply.
    """
    try:
        return json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise DamagedError(f"it is no JSON: {error}") from error


def as_dataclass(kind: type[T], raw: object) -> T:
    """Convert JSON that was made by `dataclasses.asdict` to the dataclass.

    Args:
        kind: the dataclass; its fields are plain, optional, or dataclasses, or tuples of these.
        raw: the value in the JSON.

    Raises:
        DamagedError: a field is missing, or unknown, or of another type.
    """
    if not isinstance(raw, dict):
        raise DamagedError(f"it is no {kind.__name__}")
    plain: Any = kind
    hints = _hints(plain)
    try:
        return kind(**{name: _converted(value, hints[name], name) for name, value in raw.items()})
    except (KeyError, TypeError) as error:  # unknown fields; missing ones
        raise DamagedError(f"it is no {kind.__name__}: {error}") from error


def is_number(value: Any) -> bool:
    """Tell whether a value is a finite number below 2**63, and no bool."""
    is_one = isinstance(value, int | float) and not isinstance(value, bool)
    return is_one and abs(value) < MOST_NUMBER


@lru_cache(maxsize=16)
def _hints(kind: Any) -> Mapping[str, Any]:
    hints = get_type_hints(kind)
    return {each.name: hints[each.name] for each in fields(kind)}


def _converted(value: Any, hint: Any, name: str) -> Any:
    """Convert a value in JSON to the type of a field."""
    for each in get_args(hint) if get_origin(hint) is UnionType else [hint]:
        origin = get_origin(each)
        if is_dataclass(each) and isinstance(value, dict):
            return as_dataclass(each, value)  # type: ignore[arg-type]
        if origin is tuple and isinstance(value, list):
            return tuple(_converted(one, get_args(each)[0], name) for one in value)
        if origin is Mapping and isinstance(value, dict):
            return value
        if each in (int, float):
            if is_number(value) and (each is float or isinstance(value, int)):
                return value
        elif each in (str, bool, NoneType) and isinstance(value, each):
            return value
    raise DamagedError(f"{name} is {type(value).__name__}")
