"""The tutorial, run as it stands there: only the port is another."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "tutorial" / "first-coverage.md"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.M | re.S)
DOCUMENTED_PORT = "8000"


def told(console: str) -> list[tuple[str, str]]:
    """The commands of a console, each with what it prints."""
    found = re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", console, re.M)
    return [(command, printed) for command, printed in found]


def test_every_step_of_the_tutorial_does_what_it_says(project):
    if shutil.which("curl") is None:
        pytest.skip("no curl")
    (_, application), (_, start), (_, visit), *consoles = BLOCK.findall(PAGE.read_text("utf-8"))
    project.write("hello.py", application)
    words = shlex.split(start.replace("\\\n", " "))
    env = dict(word.split("=") for word in words if re.match(r"[A-Z_]+=", word))
    assert words[len(env)] == "gunicorn"
    server = project.gunicorn(*words[len(env) + 1 :], env=env)
    server.wait_for_workers(2)

    def run(command: str) -> str:
        command = command.replace(DOCUMENTED_PORT, str(server.port))
        silent = command.replace("curl ", "curl --silent --show-error ")
        done = project.command(["sh", "-c", silent], timeout=60, port=server.port)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert run(visit) == "Hello\n"
    steps = [step for _, console in consoles for step in told(console)]
    assert len(steps) == 6
    for command, printed in steps:
        assert run(command).strip() == printed.strip(), command
