"""The public names and their signatures are those of public_api.txt.

After a change that is meant: python tests/unit/test_public_api.py > tests/unit/public_api.txt
"""

import importlib
import inspect
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PINNED = Path(__file__).with_name("public_api.txt")
MODULES = ("wsgi_coverage", "wsgi_coverage.client", "flask_coverage")
RENEW = (
    "the public names have changed. If that is meant, tell users of it in changes/, and run: "
    "python tests/unit/test_public_api.py > tests/unit/public_api.txt"
)


class Text(str):
    """An annotation as the source has it; `inspect` would put it in quotes."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def signature(function: Any) -> str:
    found = inspect.signature(function)
    parameters = [
        each.replace(annotation=Text(each.annotation))
        if each.annotation is not each.empty
        else each
        for each in found.parameters.values()
    ]
    result = found.return_annotation
    if result is not found.empty:
        result = Text(result)
    return str(found.replace(parameters=parameters, return_annotation=result))


def members(public: type) -> Iterator[str]:
    """What can be called, read, or is the class's own value, inherited from our classes or not."""
    ours = [each for each in public.__mro__ if each.__module__.partition(".")[0] in MODULES]
    names = {name for each in ours for name in vars(each)}
    for name in sorted(names):
        member = inspect.getattr_static(public, name)
        if name in ("__init__", "__call__") or not name.startswith("_"):
            if isinstance(member, property):
                yield f"{name}: {inspect.signature(member.fget).return_annotation}"
            elif isinstance(member, classmethod | staticmethod | types.FunctionType):
                yield f"{name}{signature(getattr(public, name))}"
            elif isinstance(member, str | int):
                yield f"{name} = {member!r}"


def described(name: str, public: Any) -> Iterator[str]:
    if hasattr(public, "__total__"):  # a TypedDict
        yield f"{name}:"
        for key, annotation in sorted(public.__annotations__.items()):
            yield f"    {key}: {getattr(annotation, '__forward_arg__', annotation)}"
    elif isinstance(public, type):
        bases = ", ".join(each.__name__ for each in public.__bases__)
        yield f"{name}({bases}):"
        yield from (f"    {member}" for member in members(public))
    elif inspect.isfunction(public):
        yield f"{name}{signature(public)}"
    else:
        yield f"{name} = {public}"


def listing() -> str:
    lines = []
    for name in MODULES:
        module = importlib.import_module(name)
        for public in sorted(module.__all__):
            lines += described(f"{name}.{public}", getattr(module, public))
    return "\n".join(lines) + "\n"


def test_the_public_names_and_signatures_are_those_that_are_written_down() -> None:
    assert listing().splitlines() == PINNED.read_text(encoding="utf-8").splitlines(), RENEW


if __name__ == "__main__":
    print(listing(), end="")
