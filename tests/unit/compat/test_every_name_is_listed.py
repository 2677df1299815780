"""Every undocumented name of coverage.py that is reached is in NEEDS, with what is so without it.

The rule, for the modules of compat, the only ones that may reach such a name:

- Names that coverage.py's own sources give to anything (a function, a class, an attribute, a
  global) are coverage.py's. What its documentation promises is public in `Coverage`,
  `CoverageData` and the classes of `coverage.plugin`.
- An attribute of such a name has to be in NEEDS, whatever it is an attribute of; so has one that
  getattr and its like are given as a string, and a method of a class here, for coverage.py may be
  what calls it.
- Excused is only what is known to be something else: an attribute of a module, of Python's plain
  types, and of a variable in `KNOWN`, where what it holds has the attribute in public.
- A string that begins with `coverage.` is a name in NEEDS, or the module of one.
- A module that is imported is one that is documented (test_only_there.py).
"""

import ast
import re
from collections.abc import Iterator, Mapping
from importlib.resources import files
from pathlib import Path

import coverage
import coverage.plugin
import pytest

from wsgi_coverage.compat import measurement, needs
from wsgi_coverage.compat.htmlreport import RegionRow

COMPAT = sorted(Path(str(files("wsgi_coverage.compat"))).glob("*.py"))
LOOKED_UP = {name for need in needs.NEEDS.values() for name in need.names}
LISTED = {re.split("[.:]", name)[-1] for name in LOOKED_UP}
MODULES = {name.partition(":")[0] for name in LOOKED_UP}
BY_STRING = {"getattr", "hasattr", "setattr", "delattr"}
PLAIN = {name for kind in (dict, set, list, str, tuple, int, object) for name in dir(kind)}

# What variables hold that do not hold an object of coverage.py's with undocumented names.
KNOWN: Mapping[str, object] = {
    "cov": coverage.Coverage,
    "data": coverage.CoverageData,
    "get_data()": coverage.CoverageData,
    "instead_of": coverage.CoverageData,
    "fr": coverage.plugin.FileReporter,
    "of_file": coverage.plugin.FileReporter,
    "reporter": coverage.plugin.FileReporter,
    "region": coverage.plugin.CodeRegion(kind="", name="", start=1, lines=set()),
    "row": RegionRow,
    "found": measurement.Converted,
    "error": AttributeError(),
    "Path()": Path(),
    "NEEDS[]": needs.Need,
}
DOCUMENTED = {
    name
    for kind in (coverage.Coverage, coverage.CoverageData, *vars(coverage.plugin).values())
    if isinstance(kind, type)
    for name in dir(kind)
    if not name.startswith("_")
}
# Methods of classes here that coverage.py does not call; something else there has the name.
OUR_METHODS = {"warned"}


def given(tree: ast.AST) -> Iterator[str]:
    """Names that a source gives to something."""
    for each in ast.walk(tree):
        if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield each.name
        elif isinstance(each, ast.Attribute) and isinstance(each.ctx, ast.Store):
            yield each.attr
        elif isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store):
            yield each.id


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


COVERAGES = {
    name for path in Path(coverage.__file__).parent.rglob("*.py") for name in given(tree_of(path))
}


def holder(value: ast.expr) -> str:
    """What an attribute is reached on: its last name, with () if called, [] if a part of it."""
    match value:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case ast.Call(func=called):
            return f"{holder(called)}()"
        case ast.Subscript(value=whole):
            return f"{holder(whole)}[]"
    return ""


def modules_of(tree: ast.AST) -> set[str]:
    """The names under which a source has imported modules."""
    return {
        name.asname or name.name
        for each in ast.walk(tree)
        if isinstance(each, ast.Import | ast.ImportFrom)
        for name in each.names
        if name.name.islower()
    }


def own(tree: ast.AST) -> set[str]:
    """What the classes of a source give to themselves."""
    return {
        name
        for each in ast.walk(tree)
        if isinstance(each, ast.ClassDef)
        for name in given(ast.Module(each.body, []))
    }


def reached(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Names of coverage.py's that a source reaches and that are not excused, with their lines."""
    modules, ours = modules_of(tree), own(tree)
    for each in ast.walk(tree):
        match each:
            case ast.Attribute(value=ast.Name(id=name)) if name in modules:
                continue
            case ast.Attribute(value=ast.Name(id="self"), attr=name):
                found = name not in ours | DOCUMENTED
            case ast.Attribute(value=value, attr=name):
                found = not hasattr(KNOWN.get(holder(value)), name) or name.startswith("_")
            case ast.Call(func=ast.Name(id=called), args=[_, ast.Constant(value=name), *_]):
                found = called in BY_STRING
            case ast.ClassDef(body=body):
                methods = {part.name for part in body if isinstance(part, ast.FunctionDef)}
                for name in (methods & COVERAGES) - PLAIN - DOCUMENTED - OUR_METHODS:
                    yield each.lineno, name
                continue
            case _:
                continue
        if found and name in COVERAGES - PLAIN and not name.startswith("__"):  # Python's own
            yield each.lineno, name


def looked_up(tree: ast.AST) -> set[str]:
    """Strings that are names of coverage.py's."""
    return {
        each.value
        for each in ast.walk(tree)
        if isinstance(each, ast.Constant)
        and isinstance(each.value, str)
        and re.fullmatch(r"coverage[.:][\w.:]+", each.value)
    }


@pytest.mark.parametrize("path", COMPAT, ids=lambda path: path.name)
def test_every_attribute_that_is_coverage_pys_is_listed(path: Path) -> None:
    assert [(line, name) for line, name in reached(tree_of(path)) if name not in LISTED] == []


@pytest.mark.parametrize(
    "path", [path for path in COMPAT if path.name != "needs.py"], ids=lambda path: path.name
)
def test_every_name_that_is_looked_up_is_listed(path: Path) -> None:
    modules = MODULES | {module.replace(".", ":") for module in MODULES}

    assert looked_up(tree_of(path)) - LOOKED_UP - modules == set()


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("connection.execute_void('x')", {"execute_void"}),
        ("def f(tracer): tracer.stop()", {"stop"}),
        ("cov.stop()", set()),
        ("cov._collector", {"_collector"}),
        ("[*getattr(tracer, 'code_infos', {})]", {"code_infos"}),
        ("class Stands:\n    def reset_activity(self): pass", {"reset_activity"}),
        ("import names\nnames.find('x')", set()),
        ("of(cov).config_file", {"config_file"}),
    ],
)
def test_what_is_reached_is_noticed(source: str, names: set[str]) -> None:
    assert {name for _, name in reached(ast.parse(source))} == names
