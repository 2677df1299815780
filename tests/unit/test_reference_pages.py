"""Tables of the reference are made from the code, between markers; the prose around them is not.

After a change: python tests/unit/test_reference_pages.py
"""

import argparse
import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from wsgi_coverage import cli, settings
from wsgi_coverage.cli import asking, pods
from wsgi_coverage.web.route import Route
from wsgi_coverage.web.routes import ROUTES
from wsgi_coverage.web.views import html_folder

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"
PAGES = ("settings.md", "http.md", "cli.md")
BLOCK = re.compile(
    r"(?<=^<!-- made from the code: )(.+?)( -->\n)(.*?)(?=^<!-- end -->$)", re.M | re.S
)
PODS = "pods, instead of a URL"
Row = tuple[str, ...]


def table(*rows: Row) -> str:
    """A table; its first row is the heading."""
    heading, *others = rows
    lines = [heading, ("---",) * len(heading), *others]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


# Settings


def default_of(name: str) -> str:
    """What holds where nobody has set it, in words."""
    value, unset = getattr(settings.Settings(), name), settings.RULES[name].unset
    if value is None:
        return unset
    if isinstance(value, bool):
        return "on" if value else "off"
    shown = f"{value:g}" if isinstance(value, float) else f"`{value}`"
    return unset.format(value) or shown


def setting_rows() -> Iterator[Row]:
    yield "keyword and paste option", "variable", "what it is", "default"
    for each in dataclasses.fields(settings.Settings):
        if each.name in settings.RULES:
            about = settings.RULES[each.name].about
            variable = settings.variable(each.name)
            yield f"`{each.name}`", f"`{variable}`", about, default_of(each.name)


# Endpoints


def endpoint_rows() -> Iterator[Row]:
    """Each endpoint, by the first sentence of its view's docstring."""
    yield "method", "path", "answer"

    def order(rule: Route) -> tuple[bool, str, list[str]]:
        return "<identity>" in rule.rule, rule.rule, rule.verbs

    for rule in sorted(ROUTES, key=order):
        if rule.endpoint is html_folder:
            continue  # the same without a slash at the end
        path = rule.template.translate(str.maketrans("{}", "<>"))
        yield ", ".join(rule.verbs), f"`{path}`", rule.about


# Options


def parsers() -> dict[str, argparse.ArgumentParser]:
    [commands] = [each for each in cli._parser()._actions if isinstance(each.choices, dict)]
    return commands.choices


def common() -> argparse.ArgumentParser:
    """What commands that ask a dashboard have in common."""
    parser = argparse.ArgumentParser(add_help=False)
    asking.add_access(parser)
    asking.add_wait(parser)
    asking.add_snapshot(parser)
    asking.add_json(parser)
    return parser


def for_pods() -> argparse.ArgumentParser:
    """What stands for a dashboard's address."""
    parser = argparse.ArgumentParser(add_help=False)
    pods.add(parser, many=True)
    return parser


def option_rows(actions: list[argparse.Action]) -> list[Row]:
    rows: list[Row] = [("option", "meaning")]
    for each in actions:
        names = ", ".join(f"`{_with_value(each, name)}`" for name in each.option_strings)
        rows.append((names, str(each.help).replace("|", "\\|")))
    return rows


def _with_value(action: argparse.Action, name: str) -> str:
    if action.nargs == 0:
        return name
    if action.choices is not None:
        return f"{name} {{{','.join(map(str, action.choices))}}}"
    return f"{name} {action.metavar or action.dest.upper()}"


def own_options(name: str) -> list[argparse.Action]:
    """The options that a command does not share with the others."""
    parser = parsers()[name]
    shared = {(*each.option_strings, each.help) for each in common()._actions}
    of_pods = [
        each
        for group in parser._action_groups
        if group.title == PODS
        for each in group._group_actions
    ]
    return [
        each
        for each in parser._actions
        if each.option_strings
        and "--help" not in each.option_strings
        and each not in of_pods
        and (*each.option_strings, each.help) not in shared
    ]


def made(title: str) -> str:
    """What a block has to hold."""
    kind, _, name = title.partition(" of ")
    if kind == "settings":
        return table(*setting_rows())
    if kind == "endpoints":
        return table(*endpoint_rows())
    parser = {"pods": for_pods, "every command": common}.get(name)
    return table(*option_rows(own_options(name) if parser is None else parser()._actions))


def renewed(text: str) -> str:
    """A page with its blocks as they have to be."""
    return BLOCK.sub(lambda found: f"{found[1]}{found[2]}\n{made(found[1])}\n\n", text)


@pytest.mark.parametrize("page", PAGES)
def test_what_is_made_from_the_code_is_as_the_code_says(page: str) -> None:
    text = (REFERENCE / page).read_text(encoding="utf-8")

    assert text == renewed(text), "run: python tests/unit/test_reference_pages.py"


def test_every_setting_endpoint_and_option_has_its_block() -> None:
    pages = [(REFERENCE / page).read_text(encoding="utf-8") for page in PAGES]
    titles = [found[1] for page in pages for found in BLOCK.finditer(page)]

    of_commands = [f"options of {name}" for name in parsers() if own_options(name)]
    shared = ["options of every command", "options of pods"]
    assert sorted(titles) == sorted(["settings", "endpoints", *shared, *of_commands])


@pytest.mark.parametrize("name", [name for name in parsers() if own_options(name)])
def test_the_options_of_a_command_are_in_its_section(name: str) -> None:
    text = (REFERENCE / "cli.md").read_text(encoding="utf-8")

    [section] = re.findall(rf"^## `wsgi-coverage {name}\b.*?(?=^## |\Z)", text, re.M | re.S)

    assert f"<!-- made from the code: options of {name} -->" in section


def test_every_setting_has_a_rule() -> None:
    fields = {each.name for each in dataclasses.fields(settings.Settings)}

    assert fields - {"origins"} == set(settings.RULES)


if __name__ == "__main__":
    for name in PAGES:
        path = REFERENCE / name
        path.write_text(renewed(path.read_text(encoding="utf-8")), encoding="utf-8")
