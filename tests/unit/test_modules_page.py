"""docs/reference/modules.md has the first sentence of every module's docstring.

After a change: python tests/unit/test_modules_page.py > docs/reference/modules.md
"""

import ast
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "reference" / "modules.md"
PACKAGES = (ROOT / "wsgi_coverage", ROOT / "adapters" / "flask_coverage")
HEAD = """\
# Modules

What each module is for, as its docstring says.
[Architecture](../explanation/architecture.md) tells how packages hang together.
"""
MOST = 15  # modules in a folder, about


def sentence(path: Path) -> str:
    """The first paragraph of a module's docstring."""
    text = ast.get_docstring(ast.parse(path.read_bytes())) or ""
    return " ".join(text.partition("\n\n")[0].split())


def modules() -> Iterator[tuple[str, str, str]]:
    """The package, name and purpose of each module, in the order of the page."""
    for root in PACKAGES:
        for path in sorted(root.rglob("*.py"), key=lambda each: (each.parent, each.name)):
            package = ".".join(path.relative_to(root.parent).parent.parts)
            yield package, path.stem, sentence(path)


def page() -> str:
    """The page as it has to be."""
    out = [HEAD]
    for package, group in groupby(modules(), key=lambda each: each[0]):
        found = {name: purpose for _, name, purpose in group}
        out.append(f"## {package}\n\n{found.pop('__init__')}\n")
        out.append("| module | purpose |\n| --- | --- |")
        out += [f"| `{name}` | {purpose} |" for name, purpose in found.items()]
        out.append("")
    return "\n".join(out)


def test_the_page_of_modules_is_as_the_code_says() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), (
        "run: python tests/unit/test_modules_page.py > docs/reference/modules.md"
    )


def test_no_folder_holds_too_many_modules() -> None:
    counts = {
        str(folder.relative_to(ROOT)): sum(1 for each in folder.glob("*.py"))
        for root in PACKAGES
        for folder in [root, *(each for each in root.rglob("*") if each.is_dir())]
    }

    assert {name: count for name, count in counts.items() if count > MOST + 2} == {}


if __name__ == "__main__":
    print(page(), end="")
