"""JSON Schemas (2020-12) of the types of answers: of TypedDicts, and of what their keys may have.

Concurrency: an instance belongs to the thread that makes it.
"""

from __future__ import annotations

import inspect
from types import NoneType, UnionType
from typing import (
    Any,
    Literal,
    NotRequired,
    TypeAlias,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

Schema: TypeAlias = dict[str, Any]

WHERE = "#/components/schemas/"
PLAIN: dict[object, Schema] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    NoneType: {"type": "null"},
    Any: {},
}


class Schemas:
    """Makes schemas, and collects those of TypedDicts in `components`, by the name of the class.

    An object may have other keys than those that its schema has: a later version may add some.
    """

    def __init__(self) -> None:
        self.components: dict[str, Schema] = {}
        self._kinds: dict[str, object] = {}

    def of(self, kind: object) -> Schema:
        """Return the schema of a type.

        Raises:
            TypeError: it is none of those that answers have.
        """
        if kind in PLAIN:
            return dict(PLAIN[kind])
        if is_typeddict(kind):
            return self._reference(kind)
        origin, arguments = get_origin(kind), get_args(kind)
        if origin is Literal:
            return {"enum": list(arguments)}
        if origin in (Union, UnionType):
            return _any_of([self.of(each) for each in arguments])
        if origin is list:
            return {"type": "array", "items": self.of(*arguments)}
        if origin is dict and arguments[0] is str:
            values = self.of(arguments[1])
            return {"type": "object", **({"additionalProperties": values} if values else {})}
        raise TypeError(f"there is no JSON Schema for {kind!r}")

    def _reference(self, kind: Any) -> Schema:
        name = kind.__name__
        if self._kinds.setdefault(name, kind) is not kind:
            raise TypeError(f"two types of answers have the name {name}")
        if name not in self.components:
            self.components[name] = schema = {}  # before its keys, which may refer to it
            schema.update(self._of_typed_dict(kind))
        return {"$ref": f"{WHERE}{name}"}

    def _of_typed_dict(self, kind: Any) -> Schema:
        properties: dict[str, Schema] = {}
        required = []
        for key, hint in get_type_hints(kind, include_extras=True).items():
            if get_origin(hint) is NotRequired:
                (hint,) = get_args(hint)
            else:
                required.append(key)
            properties[key] = self.of(hint)
        schema: Schema = {"type": "object", "properties": properties, "required": required}
        if text := inspect.cleandoc(kind.__doc__ or ""):  # none under python -OO
            schema = {"description": " ".join(text.split()), **schema}
        return schema


def _any_of(schemas: list[Schema]) -> Schema:
    """Return the schema of a union; one of plain types is a list of their names."""
    if all(each.keys() == {"type"} for each in schemas):
        return {"type": [each["type"] for each in schemas]}
    return {"anyOf": schemas}
