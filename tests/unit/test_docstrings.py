"""Every public definition says what it is; every module, which threads may call it."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
DEFINITIONS = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
# The rule of a module: a sentence "Concurrency: …", or one that begins with "No state".
CONCURRENCY_RULE = re.compile(r"(?:^|(?<=[.:]\s))(?:Concurrency: \S|No state\b)", re.M)


def sources(*folders: str) -> list[Path]:
    found = [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]
    assert found
    return found


def public(node: ast.AST, names: str) -> Iterator[tuple[str, ast.ClassDef | ast.FunctionDef]]:
    """The public definitions in a module or a class, those of its public classes included."""
    for each in ast.iter_child_nodes(node):
        if isinstance(each, DEFINITIONS):
            if not each.name.startswith("_") and not is_setter(each):
                yield f"{names}{each.name}", each
                if isinstance(each, ast.ClassDef):
                    yield from public(each, f"{names}{each.name}.")
        elif isinstance(each, ast.stmt | ast.excepthandler):  # an if, a try
            yield from public(each, names)


def is_setter(node: ast.AST) -> bool:
    """A property has the docstring of its getter."""
    return any(
        isinstance(each, ast.Attribute) and each.attr in ("setter", "deleter")
        for each in getattr(node, "decorator_list", ())
    )


def test_every_public_definition_has_a_docstring() -> None:
    lacking = []
    for path in sources("wsgi_coverage", "adapters"):
        tree, module = ast.parse(path.read_bytes()), path.relative_to(ROOT)
        for name, node in [("module", tree), *public(tree, "")]:
            if not (ast.get_docstring(node) or "").strip():
                lacking.append(f"{module}:{getattr(node, 'lineno', 1)} {name}")

    assert "\n".join(lacking) == ""


def test_every_module_has_its_concurrency_rule() -> None:
    lacking = []
    for path in sources("wsgi_coverage", "adapters"):
        tree = ast.parse(path.read_bytes())
        # A package's own module that only says what the package is for, or forwards, has none.
        if path.stem in ("__init__", "__main__") and not any(public(tree, "")):
            continue
        if not CONCURRENCY_RULE.search(ast.get_docstring(tree) or ""):
            lacking.append(str(path.relative_to(ROOT)))

    assert "\n".join(lacking) == ""


def test_every_module_of_the_tests_has_a_docstring() -> None:
    lacking = [
        str(path.relative_to(ROOT))
        for path in sources("tests")
        if not ast.get_docstring(ast.parse(path.read_bytes()))
    ]

    assert "\n".join(lacking) == ""
