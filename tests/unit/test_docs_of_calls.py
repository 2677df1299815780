"""What the documentation names can be called like that: options, functions, imports."""

import argparse
import ast
import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from wsgi_coverage import cli

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
CLI = (ROOT / "docs/reference/cli.md").read_text(encoding="utf-8")
PYTHON_API = (ROOT / "docs/reference/python-api.md").read_text(encoding="utf-8")
OPTION = re.compile(r"(?<![\w-])--?[a-zA-Z][a-z-]*")


def parsers() -> dict[str, argparse.ArgumentParser]:
    [commands] = [each for each in cli._parser()._actions if isinstance(each.choices, dict)]
    return commands.choices


def sections() -> dict[str, str]:
    """The text about each command, with its heading."""
    found = re.findall(r"^## `wsgi-coverage (\w+)(.*?)(?=^## |\Z)", CLI, re.M | re.S)
    return dict(found)


@pytest.mark.parametrize("name", parsers())
def test_a_command_has_the_options_that_its_heading_names(name: str) -> None:
    heading = sections()[name].partition("\n")[0]
    known = {each for action in parsers()[name]._actions for each in action.option_strings}

    assert set(OPTION.findall(heading)) <= known


def plain(parameter: inspect.Parameter) -> str:
    shown = str(parameter.replace(annotation=inspect.Parameter.empty))
    return shown.replace("'", '"')


@pytest.mark.parametrize("call", re.findall(r"^## `([\w.]+\(.*\))`$", PYTHON_API, re.M))
def test_a_signature_that_is_documented_is_the_signature(call: str) -> None:
    path, _, told = call.removesuffix(")").partition("(")
    module, _, name = path.rpartition(".")
    found: Any = getattr(importlib.import_module(module), name)
    parameters = inspect.signature(found).parameters

    for each in re.split(r", (?![^()]*\))", told):
        if each in ("", "*"):
            continue
        key, _, default = each.partition("=")
        if key.startswith("**"):
            assert any(p.kind is p.VAR_KEYWORD for p in parameters.values()), call
            continue
        assert key in parameters, call
        assert not default or plain(parameters[key]) == each, call
    kinds = {p.kind for p in parameters.values()}
    assert ("*" in told.split(", ")) <= (inspect.Parameter.KEYWORD_ONLY in kinds), call


def imports() -> Iterator[tuple[Path, str, str]]:
    """What the Python examples import of ours: page, module, name."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for example in re.findall(r"^```python\n(.*?)^```", text, re.M | re.S):
            for line in re.findall(
                r"^ *(from (?:wsgi|flask)_coverage[\w.]* import [^(\n]+)", example, re.M
            ):
                [statement] = ast.parse(line).body
                assert isinstance(statement, ast.ImportFrom)
                yield from ((page, str(statement.module), each.name) for each in statement.names)


@pytest.mark.parametrize(("module", "name"), sorted({each[1:] for each in imports()}))
def test_what_the_examples_import_is_there(module: str, name: str) -> None:
    assert hasattr(importlib.import_module(module), name)
