"""The commit hooks, CI and nox check the same."""

import ast
import re
import shlex
from collections.abc import Iterator
from importlib.metadata import metadata, requires
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
NOXFILE = ast.parse((ROOT / "noxfile.py").read_text(encoding="utf-8"))


def loaded(name: str) -> Any:
    yaml = pytest.importorskip("yaml", reason="pyyaml is not installed")
    return yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))


def constant(name: str) -> Any:
    """What is assigned to a name, or to an attribute of `nox`, in noxfile.py."""
    [value] = [
        node.value
        for node in NOXFILE.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name
    ]
    return ast.literal_eval(value)


def sessions() -> dict[str, ast.FunctionDef]:
    """The functions of noxfile.py that are sessions."""
    functions = [node for node in NOXFILE.body if isinstance(node, ast.FunctionDef)]
    return {each.name: each for each in functions if each.decorator_list}


def pythons() -> Iterator[str]:
    """The Pythons that the default sessions are for; any will do for one that names none."""
    for session in constant("nox.options.sessions"):
        name, _, version = session.partition("-")
        [decorator] = sessions()[name].decorator_list
        yield from (
            [version] if version else re.findall(r"python='([\d.]+)'", ast.unparse(decorator))
        )


def test_the_commit_hooks_run_what_lint_runs() -> None:
    [repository] = loaded(".pre-commit-config.yaml")["repos"]

    assert repository["repo"] == "local"
    assert [hook["entry"] for hook in repository["hooks"]] == [
        command.replace(" --check", "") for command in constant("LINT")
    ]


def test_the_commit_hooks_need_no_network() -> None:
    [repository] = loaded(".pre-commit-config.yaml")["repos"]

    assert {hook["language"] for hook in repository["hooks"]} == {"system"}


def test_contributors_are_told_of_every_tool_that_the_commit_hooks_call() -> None:
    [told] = re.findall(
        r"pip install pre-commit (.*)", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    )

    assert shlex.split(told) == constant("LINTERS")


def test_ci_runs_the_one_script_that_everything_runs_by() -> None:
    [job] = loaded(".github/workflows/ci.yml")["jobs"].values()

    assert [step["run"] for step in job["steps"] if "run" in step] == [".ci/run"]
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o111


def test_ci_has_every_python_that_the_default_sessions_are_for() -> None:
    [job] = loaded(".github/workflows/ci.yml")["jobs"].values()
    [versions] = [
        step["with"]["python-version"]
        for step in job["steps"]
        if "python-version" in step.get("with", {})
    ]

    assert set(versions.split()) >= set(pythons())


def documented_versions() -> dict[str, list[str]]:
    """The versions that the page of platforms says are tested, by what they are of."""
    page = (ROOT / "docs" / "reference" / "platforms.md").read_text(encoding="utf-8")
    _, _, table = page.partition("| | versions |\n")
    rows = re.findall(r"^\| ([\w.]+) \| (\d.*) \|$", table.partition("\n\n")[0], re.M)
    return {name.lower().removesuffix(".py"): versions.split(", ") for name, versions in rows}


def pinned_versions() -> dict[str, list[str]]:
    """The versions that noxfile.py has, by package; those of Python as \"python\"."""
    tested: dict[str, list[str]] = {"python": constant("PYTHONS")}
    [table] = [
        node.value
        for node in NOXFILE.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "VERSIONS"
    ]
    for pin in re.findall(r"'(\w+==[\d.]+)\.\*'", ast.unparse(table)):
        name, _, version = pin.partition("==")
        if version not in tested.setdefault(name, []):
            tested[name].append(version)
    return tested


def test_the_versions_that_are_documented_as_tested_are_those_that_nox_tests() -> None:
    assert documented_versions() == pinned_versions()


def test_the_readme_names_the_oldest_and_the_newest_that_are_tested() -> None:
    words = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())

    for name, versions in pinned_versions().items():
        spelt = "coverage.py" if name == "coverage" else name.capitalize()
        assert f"{spelt} {versions[0]} to {versions[-1]}" in words


def test_the_oldest_versions_that_are_tested_are_those_that_the_package_asks_for() -> None:
    required = dict(
        re.findall(r"^([\w-]+)>=([\d.]+)", each)[0]
        for each in requires("wsgi-coverage") or ()
        if ">=" in each
    )

    for name, version in constant("LOWEST").items():
        oldest = pinned_versions().get(name, [version])[0]
        assert version == oldest or version.startswith(f"{oldest}.")
        if name != "django":  # the package does not ask for it
            assert re.fullmatch(rf"{re.escape(required[name])}(\.0)*", version)


def test_a_package_index_shows_the_pythons_and_frameworks_that_are_tested() -> None:
    classifiers = metadata("wsgi-coverage").get_all("Classifier") or []
    of_python = re.findall(r"Python :: (3\.\d+)", "\n".join(classifiers))
    of_django = re.findall(r"Django :: ([\d.]+)", "\n".join(classifiers))

    assert of_python == pinned_versions()["python"]
    assert of_django == pinned_versions()["django"]
    assert "Framework :: Flask" in classifiers


def test_every_session_that_the_documentation_names_is_there() -> None:
    for page in (ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")):
        named = re.findall(r"nox -s (\w+)", page.read_text(encoding="utf-8"))
        assert {*named} <= {*sessions()}, page
