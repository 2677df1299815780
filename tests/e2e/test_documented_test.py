"""The example in docs/how-to/test-command.md is run as it stands there, on a port that is free."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "test-command.md"
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)
DOCUMENTED_PORT = "5000"


def blocks() -> list[tuple[str, str]]:
    _, _, example = PAGE.read_text(encoding="utf-8").partition("\n## An example\n")
    return BLOCK.findall(example.partition("\n## ")[0])


def test_server_tests_and_report_are_the_one_command_that_is_documented(project, held_port):
    port = str(held_port)
    *files, (_, command), (_, report) = blocks()
    for _, text in files:
        name = text.partition("\n")[0].removeprefix("# ")
        project.write(name, text.replace(DOCUMENTED_PORT, port))
    words = shlex.split(command.replace(DOCUMENTED_PORT, port))
    assert words[:3] == ["wsgi-coverage", "test", "--server"]
    python = Path(sys.executable)
    words[3] = words[3].replace("python ", f"{shlex.quote(str(python))} ")
    words[words.index("--") + 1] = str(python.with_name("pytest"))
    project.write("pytest.ini", "[pytest]\naddopts = -p no:cacheprovider\n")

    done = project.command(
        [python.with_name(words[0]), *words[1:]],
        cwd=project.folder,
        env={"NO_COLOR": "1"},
        timeout=60,
    )

    assert done.returncode == 0, done.stderr
    assert "1 passed" in done.stdout
    assert done.stdout.endswith(report)  # what stands after the server's end was reached, too
    assert (project.folder / "htmlcov" / "index.html").is_file()
    assert project.data_files() == {project.folder / ".coverage"}
