"""Every code block of the documentation is checked as far as it can be, or says here why not.

Shell: each command is one whose arguments are checked by what parses them, or a program of others
that is named below. Python: run here, unless it is named below. Everything else is parsed.
"""

import ast
import configparser
import contextlib
import importlib.metadata
import importlib.util
import io
import json
import re
import runpy
import shlex
import tomllib
from collections.abc import Callable, Iterator, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from coverage import Coverage
from coverage.cmdline import COMMANDS as COVERAGE_COMMANDS
from werkzeug.exceptions import MethodNotAllowed, NotFound

from wsgi_coverage import cli, settings
from wsgi_coverage.cli.run import VARIABLE as PORT
from wsgi_coverage.web.routes import URL_MAP
from wsgi_coverage.wsgi import VARIABLE as APP

ROOT = Path(__file__).parents[2]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "changes/README.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
BLOCK = re.compile(r"^( *)```(\S*)[^\n]*\n(.*?)^ *```", re.M | re.S)

# Python that another test runs, or that nothing can run here, by page and some of its text.
ENTRIES = "tests/e2e/test_documented_entries.py"
CLIENTS = "tests/e2e/test_documented_clients.py"
TEST_COMMAND = "tests/e2e/test_documented_test.py"
RUN_ELSEWHERE = {
    ("README.md", "from myapp import app"): ENTRIES,
    ("README.md", "FlaskCoverage(app)"): ENTRIES,
    ("README.md", "get_wsgi_application()"): ENTRIES,
    ("ci-with-playwright.md", "sync_playwright"): "tests/e2e/test_recipes.py",
    ("ci-with-playwright.md", "test_the_front_page_greets"): "tests/e2e/test_recipes.py",
    ("django.md", "CoverageMiddleware(get_wsgi_application())"): ENTRIES,
    ("django.md", "def may_look"): ENTRIES,
    ("first-coverage.md", "def app("): "tests/e2e/test_documented_tutorial.py",
    ("flask.md", "\nFlaskCoverage(app)\n"): ENTRIES,
    ("flask.md", "coverage.init_app(app)"): ENTRIES,
    ("flask.md", "from myapp import create_app"): ENTRIES,
    ("flask.md", 'session.get("role")'): ENTRIES,
    ("gunicorn.md", "from myapp import app"): ENTRIES,
    ("per-test.md", "def coverage_per_test"): "tests/e2e/test_per_test.py",
    ("python-api.md", "client.refresh()"): CLIENTS,
    ("run-any-program.md", "/coverage?name="): CLIENTS,
    ("security.md", "FileHandler"): "tests/integration/test_audit.py",
    ("start-early.md", "from myapp import app"): ENTRIES,
    ("test-command.md", "def run_test_server"): TEST_COMMAND,
    ("who-ran-it.md", "from celery import"): "tests/e2e/test_documented_tasks.py",
    ("test-command.md", "def test_fractions"): TEST_COMMAND,
}
NOT_RUN = {
    ("django.md", "sys.argv"): "a part of another project's function",
    ("pods.md", "CoverageClient("): (
        "asks for a cluster; tests/e2e/pods compares it with the original, and runs that"
    ),
    ("python-api.md", "forwarded("): "asks for a cluster",
    ("servers.md", "run_simple("): "serves until it is ended",
}

# Programs of others: their arguments are theirs to parse.
OTHERS = {
    **dict.fromkeys(("docker", "kubectl"), "needs what it talks to"),
    **dict.fromkeys(("uwsgi", "waitress-serve", "cheroot", "granian"), "`nox -s servers` runs it"),
    **dict.fromkeys(("towncrier", "twine", "pre-commit"), "a tool for contributors"),
    **dict.fromkeys(("pytest", "./run-test"), "stands for the reader's tests"),
    **dict.fromkeys(("jq", "openapi-python-client"), "reads what tests/e2e/test_openapi.py checks"),
    **dict.fromkeys(("set", "trap", "export", "echo", "kill", "cat", "{", "}"), "the shell's"),
}
NO_LANGUAGE = {
    "changes/README.md": "the text of a fragment",
    "docs/explanation/architecture.md": "the layers, compared below",
    "docs/explanation/security.md": "lines of a log: tests/integration/test_audit.py",
    "docs/how-to/redis.md": "an ACL: tests/fleet/test_documented.py",
    "docs/how-to/test-command.md": "what a command prints: tests/e2e/test_documented_test.py",
}
# Further variables that a command line may set.
VARIABLES = {APP, PORT, "COVERAGE_PROCESS_START"}


@dataclass(frozen=True)
class Block:
    """A code block: where it begins, its language and its text."""

    page: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    def is_that(self, page: str, having: str) -> bool:
        """Tell whether it is the block of a page that has some text."""
        return self.page.name == page and having in self.text


def blocks(*languages: str) -> list[Block]:
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for each in BLOCK.finditer(text):
            line = text.count("\n", 0, each.start()) + 1
            found.append(Block(page, line, each[2], re.sub(f"(?m)^{each[1]}", "", each[3])))
    return [each for each in found if not languages or each.language in languages]


def of(*languages: str) -> Any:
    return pytest.mark.parametrize("block", blocks(*languages), ids=str)


def test_every_block_is_in_a_language_that_is_checked() -> None:
    checked = {"sh", "console", "python", "toml", "ini", "yaml", "json", "dockerfile", "js"}
    unknown = [str(each) for each in blocks() if each.language not in {*checked, ""}]

    assert unknown == []
    pages = {str(each.page.relative_to(ROOT)) for each in blocks() if not each.language}
    assert pages == NO_LANGUAGE.keys()


# Python


def dedented(example: str) -> str:
    """An example from inside a function stands there with its indentation."""
    return f"def main():\n{example}" if re.search(r"\A(#.*\n)?    ", example) else example


@of("python")
def test_python_compiles(block: Block) -> None:
    compile(dedented(block.text), str(block), "exec")


LISTED = {**RUN_ELSEWHERE, **NOT_RUN}
UNLISTED = [
    each for each in blocks("python") if not any(each.is_that(*listed) for listed in LISTED)
]


@pytest.mark.parametrize("block", UNLISTED, ids=str)
def test_python_that_is_not_listed_runs(block: Block, tmp_path: Path) -> None:
    example = tmp_path / "example.py"
    example.write_text(block.text, encoding="utf-8")

    runpy.run_path(str(example))


@pytest.mark.parametrize("listed", LISTED, ids=str)
def test_what_is_listed_is_one_block(listed: tuple[str, str]) -> None:
    [found] = [each for each in blocks("python") if each.is_that(*listed)]

    assert [each for each in LISTED if found.is_that(*each)] == [listed]


@pytest.mark.parametrize(("listed", "test"), RUN_ELSEWHERE.items(), ids=str)
def test_the_test_that_is_said_to_run_an_example_reads_its_page(
    listed: tuple[str, str], test: str
) -> None:
    assert listed[0] in (ROOT / test).read_text(encoding="utf-8")


# Shell


def scripts() -> Iterator[tuple[Block, str]]:
    """Each script that a block has: it is one, or holds some."""
    for block in blocks("sh", "console", "yaml", "dockerfile"):
        if block.language == "sh":
            yield block, block.text
        elif block.language == "console":
            yield block, "".join(re.findall(r"^\$ (.*\n)", block.text, re.M))
        elif block.language == "dockerfile":
            yield block, "".join(re.findall(r"^RUN (.*\n)", block.text, re.M))
            for command in re.findall(r"^CMD (.*)$", block.text, re.M):
                yield block, shlex.join(json.loads(command))
        else:
            for script in scripts_in(parsed_yaml(block)):
                yield block, script


def parsed_yaml(block: Block) -> Any:
    """A block of YAML; nothing where pyyaml is not installed."""
    if importlib.util.find_spec("yaml") is None:
        return {}
    import yaml

    return yaml.safe_load(block.text)


def scripts_in(value: Any) -> Iterator[str]:
    """The scripts of a workflow's steps, and the commands of containers."""
    if isinstance(value, dict):
        if isinstance(value.get("run"), str):
            yield re.sub(r"\$\{\{.*?\}\}", "x", value["run"])
        if isinstance(value.get("command"), list):
            yield shlex.join(value["command"])
    for each in value.values() if isinstance(value, dict) else value:
        if isinstance(each, dict | list):
            yield from scripts_in(each)


def variables(page: Path) -> dict[str, str]:
    """What a page sets for its commands, `$A` in prose."""
    text = page.read_text(encoding="utf-8")
    found = dict(re.findall(r"^([A-Z]+)=(\S+)$", text, re.M))
    found |= dict(re.findall(r"^ +([A-Z]+): (http\S+)$", text, re.M))
    return found | dict(re.findall(r"`\$([A-Z])` stands for\s`(.*?)`", text))


HEREDOC = re.compile(r"^([^\n]*)<<'(\w+)'$\n(.*?)^\2$\n", re.M | re.S)
FUNCTION = re.compile(r"^(\w+)\(\) \{$", re.M)
SEPARATORS = {"|", "||", "&", "&&", ";", "(", ")", "\n"}
REDIRECTS = {">", ">>", "<", ">&"}


def commands(script: str, known: dict[str, str]) -> Iterator[list[str]]:
    """The simple commands of a script, without what redirects them."""
    text = HEREDOC.sub(r"\1\n", script).replace("\\\n", " ")
    text = FUNCTION.sub("", text)
    for name, value in known.items():
        text = re.sub(rf"\$\{{?{name}\b\}}?", value.replace("\\", r"\\"), text)
    for line in text.splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        words: list[str] = []
        for word in (*lexer, "\n"):
            if word in SEPARATORS:
                if words:
                    yield plain(words)
                words = []
            else:
                words.append(word)


def plain(words: list[str]) -> list[str]:
    """A command without redirections."""
    for sign in REDIRECTS:
        while sign in words:
            at = words.index(sign)
            words = words[:at] + words[at + 2 :]
    return words


ASSIGNMENT = re.compile(r"(\w+)=(.*)", re.S)


def is_understood(parse: Callable[[], Any]) -> None:
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            parse()
    except SystemExit:
        pytest.fail(complaint.getvalue())


def wsgi_coverage(arguments: list[str]) -> None:
    is_understood(lambda: cli._parser().parse_args(arguments))


def curl(arguments: list[str]) -> None:
    """The dashboard answers each request to it."""
    method = "GET"
    for name in ("-X", "--request"):
        if name in arguments:
            method = arguments[arguments.index(name) + 1]
    urls = [each for each in arguments if each.startswith("http")]
    assert urls
    for url in urls:
        path, found, below = url.partition("?")[0].partition(settings.URL_PREFIX)
        if found:
            try:
                URL_MAP.bind("localhost").match(below or "/", method=method)
            except (NotFound, MethodNotAllowed) as error:
                pytest.fail(f"{method} {url}: {error}")
        else:
            assert path.startswith(("http://127.0.0.1:8000/", "http://localhost"))


def nox(arguments: list[str]) -> None:
    defined = {
        node.name
        for node in ast.parse((ROOT / "noxfile.py").read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef) and node.decorator_list
    }
    if "-s" in arguments:
        assert arguments[arguments.index("-s") + 1].partition("-")[0] in defined


def pip(arguments: list[str]) -> None:
    """An extra of ours that is installed is one."""
    assert arguments[0] == "install"
    extras = set(importlib.metadata.metadata("wsgi-coverage").get_all("Provides-Extra") or ())
    for each in arguments[1:]:
        if named := re.fullmatch(r"(?:\.|wsgi-coverage)\[(.*)\]", each):
            assert set(named[1].split(",")) <= extras


def python(arguments: list[str]) -> None:
    """A module is run as its own command is; a script of ours is there."""
    if not arguments or arguments == ["-"] or arguments[0] == "manage.py":
        return
    if arguments[0] == "-m":
        if arguments[1] not in ("venv", "build"):
            check([*arguments[1:]])
        return
    assert (ROOT / arguments[0]).is_file()


def coverage(arguments: list[str]) -> None:
    ok, _, _ = COVERAGE_COMMANDS[arguments[0]].parse_args_ok(arguments[1:])
    assert ok


def gunicorn(arguments: list[str]) -> None:
    config = pytest.importorskip("gunicorn.config", reason="gunicorn is not installed")
    is_understood(lambda: config.Config("%(prog)s").parser().parse_args(arguments))


def flask_coverage(arguments: list[str]) -> None:
    """The arguments of the `flask` command: an application, and how to run it."""
    run_command = pytest.importorskip("flask.cli", reason="Flask is not installed").run_command
    first, _, command, *rest = arguments

    assert (first, command) == ("--app", "run")
    run_command.make_context("run", rest)


CHECKED: dict[str, Callable[[list[str]], None]] = {
    "wsgi-coverage": wsgi_coverage,
    "curl": curl,
    "nox": nox,
    "pip": pip,
    "python": python,
    "python3": python,
    "coverage": coverage,
    "gunicorn": gunicorn,
    "flask-coverage": flask_coverage,
}


def check(words: list[str], functions: Set[str] = frozenset()) -> None:
    """Check one command, the variables that are set for it included."""
    while words and (assigned := ASSIGNMENT.fullmatch(words[0])):
        is_known(assigned[1])
        words = words[1:]
    if not words:
        return
    program, *arguments = words
    program = program.removeprefix(".venv/bin/")
    if program == "export":
        for each in arguments:
            is_known(each.partition("=")[0])
    if program in CHECKED:
        CHECKED[program](arguments)
    else:
        assert program in OTHERS or program in functions, f"{program} is not checked, nor listed"


def is_known(variable: str) -> None:
    """A variable of ours has to be one that is read."""
    known = {settings.variable(name) for name in settings.RULES} | VARIABLES
    known |= {f"FLASK_COVERAGE_{name}" for name in ("PASSWORD", "USERNAME", "DISABLED")}
    assert "COVERAGE" not in variable or variable in known


@pytest.mark.parametrize(("block", "script"), list(scripts()), ids=str)
def test_every_command_is_one_that_is_understood(block: Block, script: str) -> None:
    functions = set(FUNCTION.findall(block.text))

    for words in commands(script, variables(block.page)):
        check(words, functions)


def test_python_in_a_script_compiles() -> None:
    for block, script in scripts():
        for command, _, text in HEREDOC.findall(script):
            assert command.split() == ["python", "-"]
            compile(text, str(block), "exec")


def test_commands_are_found() -> None:
    found = [words for block, script in scripts() for words in commands(script, {})]
    ours = {words[1] for words in found if words[0] == "wsgi-coverage"}

    assert ours >= {"run", "test", "collect", "gate", "refresh", "health"}


# Data


def test_the_layers_are_those_that_are_checked() -> None:
    [block] = [each for each in blocks("") if each.page.name == "architecture.md"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    [checked] = [
        each["layers"] for each in project["tool"]["importlinter"]["contracts"] if "layers" in each
    ]

    assert block.text.splitlines() == checked


@of("json")
def test_json_parses(block: Block) -> None:
    json.loads(block.text)


@of("console")
def test_answers_in_json_parse(block: Block) -> None:
    for answer in re.findall(r"^[\[{].*?(?=^\$ |\Z)", block.text, re.M | re.S):
        json.loads(re.sub("(, )?…", "", answer))


@of("toml", "ini")
def test_coverage_py_takes_the_configuration(block: Block, tmp_path: Path) -> None:
    if block.language == "toml":
        assert "coverage" in tomllib.loads(block.text)["tool"]
        path = tmp_path / "pyproject.toml"
    else:
        parser = configparser.ConfigParser()
        parser.read_string(block.text)
        if "filter:coverage" in parser:
            options = dict(parser["filter:coverage"])
            assert options.pop("use") == "egg:wsgi-coverage"
            settings.load({}, env={}, options=options)
            return
        path = tmp_path / ".coveragerc"
    path.write_text(block.text, encoding="utf-8")

    assert Coverage(config_file=str(path), data_file=None).config.config_file == str(path)


@of("yaml")
def test_yaml_parses(block: Block) -> None:
    pytest.importorskip("yaml", reason="pyyaml is not installed")

    assert parsed_yaml(block)


INSTRUCTIONS = {"FROM", "WORKDIR", "COPY", "RUN", "ENV", "USER", "CMD"}


@of("dockerfile")
def test_every_line_of_a_dockerfile_is_an_instruction(block: Block) -> None:
    for line in block.text.splitlines():
        assert line.partition(" ")[0] in INSTRUCTIONS
    for name in re.findall(r"(\w+)=", " ".join(re.findall(r"^ENV (.*)$", block.text, re.M))):
        is_known(name)
