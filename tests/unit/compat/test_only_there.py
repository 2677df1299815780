"""What coverage.py does not document is touched in one package alone, and never at an import."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from types import ModuleType

import coverage
import coverage.collector
import coverage.inorout
import coverage.results
import pytest

DOCUMENTED = {"coverage", "coverage.exceptions", "coverage.numbits", "coverage.plugin"}
EXPORTED = {"Coverage", "CoverageData", "process_startup"}
AT_IMPORT = "filereporter.py"  # a class of coverage.py's is its base; it is itself imported late
OURS = [
    path
    for package in ("wsgi_coverage", "flask_coverage")
    for path in sorted(Path(str(files(package))).rglob("*.py"))
]
OTHERS = [path for path in OURS if path.parent.name != "compat"]
COMPAT = [path for path in OURS if path.parent.name == "compat"]


def private_names(*modules: ModuleType) -> set[str]:
    """Every name with an underscore that classes of coverage.py have, or give their instances."""
    found: set[str] = set()
    for module in modules:
        for each in ast.walk(ast.parse(Path(str(module.__file__)).read_text(encoding="utf-8"))):
            if isinstance(each, ast.Attribute):
                found.add(each.attr)
            elif isinstance(each, ast.FunctionDef):
                found.add(each.name)
    return {name for name in found if name.startswith("_") and not name.startswith("__")}


FIGURES = {
    name
    for of in (coverage.results.Numbers, coverage.results.Analysis)
    for name in (*vars(of), *getattr(of, "__annotations__", ()))
    if name.startswith(("n_", "pc_", "executed_", "missing_"))
}
OPTIONS = vars(coverage.Coverage(config_file=False).config)
PRIVATE = private_names(coverage.control, coverage.collector, coverage.inorout, coverage.sqldata)


def undocumented_imports(tree: ast.AST) -> Iterator[str]:
    for each in ast.walk(tree):
        if isinstance(each, ast.Import):
            modules = {name.name for name in each.names}
            yield from (m for m in modules if m.split(".")[0] == "coverage" and m not in DOCUMENTED)
        elif isinstance(each, ast.ImportFrom) and (each.module or "").split(".")[0] == "coverage":
            if each.module not in DOCUMENTED:
                yield str(each.module)
            elif each.module == "coverage":
                yield from (name.name for name in each.names if name.name not in EXPORTED)


def touched(tree: ast.AST) -> Iterator[str]:
    """Private names of coverage.py, on what may be an object of its."""
    for each in ast.walk(tree):
        if isinstance(each, ast.Attribute) and each.attr in PRIVATE and not is_self(each.value):
            yield each.attr
        if isinstance(each, ast.ClassDef) and any("Coverage" in ast.unparse(b) for b in each.bases):
            for part in ast.walk(each):
                name = getattr(part, "attr", None) or getattr(part, "name", None)
                if name in PRIVATE:
                    yield str(name)


def options_by_attribute(tree: ast.AST) -> Iterator[str]:
    """Attributes of what is called a configuration: an option has a documented name, too."""
    for each in ast.walk(tree):
        if isinstance(each, ast.Attribute) and isinstance(each.value, ast.Name | ast.Attribute):
            owner = each.value.id if isinstance(each.value, ast.Name) else each.value.attr
            if owner == "config" and each.attr in OPTIONS:
                yield each.attr


def figures_by_attribute(tree: ast.AST) -> Iterator[str]:
    """Attributes that coverage.py's numbers and analyses alone have."""
    for each in ast.walk(tree):
        if isinstance(each, ast.Attribute) and each.attr in FIGURES:
            yield each.attr


def is_self(value: ast.expr) -> bool:
    return isinstance(value, ast.Name) and value.id in ("self", "cls")


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", OTHERS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_no_other_module_touches_what_is_undocumented(path: Path) -> None:
    tree = tree_of(path)

    assert [*undocumented_imports(tree)] == []
    assert [*touched(tree)] == []
    assert [*options_by_attribute(tree)] == []
    assert [*figures_by_attribute(tree)] == []


@pytest.mark.parametrize("path", COMPAT, ids=lambda path: path.name)
def test_no_name_is_looked_up_where_a_module_is_imported(path: Path) -> None:
    if path.name != AT_IMPORT:
        assert [*undocumented_imports(tree_of(path))] == []


def test_what_is_touched_there_would_be_noticed_elsewhere() -> None:
    seen = {path.name: {*touched(tree_of(path))} for path in COMPAT}

    assert {"_collector", "_inorout", "_file_mapper"} <= seen["measurement.py"]
    assert {"_analyze", "_get_file_reporter"} <= seen["reporting.py"]
    reporting = tree_of(next(path for path in COMPAT if path.name == "reporting.py"))
    assert {"precision", "paths"} <= {*options_by_attribute(reporting)}
    assert {"n_statements", "pc_covered", "missing_formatted"} <= {*figures_by_attribute(reporting)}


def test_an_application_is_wrapped_without_the_module_that_looks_up_a_name() -> None:
    script = "import sys, wsgi_coverage.web.app; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )

    assert "wsgi_coverage.compat.names" in done.stdout.split()
    assert "wsgi_coverage.compat.filereporter" not in done.stdout.split()
