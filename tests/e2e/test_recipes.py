"""The recipes of the documentation, run as they stand there: only the port is another."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from coverage import CoverageData

from wsgi_coverage import settings
from wsgi_coverage.collect import children

DOCS = Path(__file__).parents[2] / "docs/how-to"
TIMEOUT = 120  # seconds
HELLO = """\
from flask import Flask

app = Flask(__name__)


@app.get("/")
def hello():
    return "Hello"


def never():
    return "never"
"""
HEAD = {1, 3, 6, 7, 11}  # lines that run at import
FLAGS = [
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--no-first-run", "--disable-quic"),
]


def blocks(page: str, language: str) -> list[str]:
    text = (DOCS / page).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.M | re.S)


@pytest.fixture
def folder(project):
    """A project with one application, which says which of its files is measured."""
    project.write("hello.py", HELLO)
    project.coveragerc("source = .", "omit = e2e/*")
    return project.folder


@pytest.fixture
def run(project, folder, held_port):
    """Run a script in the project, in which `gunicorn` and `wsgi-coverage` are found."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"

    def running(script, **env):
        return project.command(
            ["bash", "-e", "-c", script],
            cwd=folder,
            env={**env, "PATH": path},
            port=held_port,
            timeout=TIMEOUT,
            stdin=subprocess.DEVNULL,
        )

    return running


def lines_in(path):
    data = CoverageData(basename=str(path))
    data.read()
    out = {name: set(data.lines(name) or ()) for name in data.measured_files()}
    data.close(force=True)
    return out


def needs(*programs):
    for each in programs:
        if shutil.which(each) is None:
            pytest.skip(f"no {each}")


def test_the_recipe_with_curl(folder, run, held_port):
    needs("curl", "bash")
    [script, combining, _] = blocks("ci-with-curl.md", "sh")

    done = run(script.replace("8000", str(held_port)))

    assert done.returncode == 0, done.stderr
    assert lines_in(folder / "e2e.sqlite") == {str(folder / "hello.py"): HEAD | {8}}
    (folder / ".coverage.unit").write_bytes((folder / "e2e.sqlite").read_bytes())
    combined = run(combining)
    assert combined.returncode == 0, combined.stderr
    assert re.search(r"^hello\.py +7 +1 +86%$", combined.stdout, re.M)


def test_the_recipe_with_playwright_and_pytest(folder, run, held_port):
    pytest.importorskip("playwright")
    needs("chromium", "bash")
    conftest, test = blocks("ci-with-playwright.md", "python")
    [command] = blocks("ci-with-playwright.md", "sh")
    launch = (
        f"launch(executable_path={shutil.which('chromium')!r}, chromium_sandbox=False, "
        f"args={FLAGS!r})"
    )
    assert conftest.count("launch()") == 1
    (folder / "e2e").mkdir()
    (folder / "e2e/conftest.py").write_text(
        conftest.replace("launch()", launch).replace("8000", str(held_port))
    )
    (folder / "e2e/test_hello.py").write_text(test)

    done = run(command.replace("pytest", "pytest -s -p no:cacheprovider"))

    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout
    assert lines_in(folder / "e2e.sqlite") == {str(folder / "hello.py"): HEAD | {8}}
    assert re.search(r"^hello\.py +7 +1 +86%$", done.stdout, re.M)


@pytest.fixture
def workflow():
    yaml = pytest.importorskip("yaml")
    [text] = blocks("ci-with-github-actions.md", "yaml")
    return yaml.safe_load(text)["jobs"]["e2e"]


def test_the_steps_of_the_workflow(folder, run, held_port, workflow, tmp_path):
    needs("curl", "bash", "git")
    summary = tmp_path / "summary"
    env = {
        "SITE": workflow["env"]["SITE"].replace("8000", str(held_port)),
        "GITHUB_STEP_SUMMARY": str(summary),
        **{f"GIT_{who}_{key}": "x@example.org" for who in ("AUTHOR", "COMMITTER")
           for key in ("NAME", "EMAIL")},
    }  # fmt: skip
    (folder / ".gitignore").write_text(".wsgi-coverage-*\n.coverage*\n")
    assert run(
        "git init -q; git commit -q --allow-empty -m base; git branch origin/main;"
        "git add .; git commit -q -m change",
        **env,
    ).returncode == 0  # fmt: skip
    steps = {step["name"]: step["run"] for step in workflow["steps"] if "run" in step}
    assert list(steps) == ["Install", "Serve", "Test", "Report", "Gate", "Summary", "Stop"]
    uploads = [step["with"] for step in workflow["steps"] if "upload" in step.get("uses", "")]
    del steps["Install"]

    outputs = {}
    try:
        for name, script in steps.items():
            if name == "Stop":
                continue
            script = script.replace("8000", str(held_port)).replace(
                "${{ github.base_ref }}", "main"
            )
            done = outputs[name] = run(script, **env)
            assert done.returncode == 0, (name, done.stdout, done.stderr)
    finally:
        stopped = run(steps["Stop"], **env)

    assert stopped.returncode == 0, stopped.stderr
    assert re.match(r"::warning file=hello\.py,line=(\d+),endLine=\1,", outputs["Gate"].stdout)
    assert "85.71 % of the changed statements ran (6 of 7)" in summary.read_text()
    assert re.search(r"^hello\.py +7 +1 +86%$", summary.read_text(), re.M)
    for name in uploads[0]["path"].split():
        assert (folder / name).stat().st_size > 0, name
    assert 'filename="hello.py"' in (folder / "coverage.xml").read_text()
    assert "SF:hello.py" in (folder / "coverage.lcov").read_text()
    assert lines_in(folder / "e2e.sqlite") == {str(folder / "hello.py"): HEAD | {8}}


def test_what_the_dockerfile_starts_works_on_a_read_only_root(project, folder, mounts, tmp_path):
    [dockerfile] = blocks("docker.md", "dockerfile")
    start, collect = blocks("docker.md", "sh")
    env = dict(re.findall(r"([A-Z_]+)=(\S+)", dockerfile) + re.findall(r"(WSGI\w+)=(\S+)", start))
    assert set(env) == {"WSGI_COVERAGE_APP", "WSGI_COVERAGE_PASSWORD", "PYTHONDONTWRITEBYTECODE"}
    [command] = re.findall(r"^CMD (\[.*\])$", dockerfile, re.M)
    arguments = json.loads(command)
    assert arguments[:1] == ["gunicorn"]
    at = arguments.index("--bind") + 1
    arguments[at] = "fd://{fd}"
    checkout = tmp_path / "checkout"
    shutil.copytree(folder, checkout)
    project.within = mounts.within(*mounts.read_only(folder))
    server = project.serve("-m", *arguments, env=env)
    server.wait_for_workers(2)
    assert server.get("/").status == 200

    done = project.command(
        ["bash", "-e", "-c", collect.replace("8000", str(server.port))],
        cwd=checkout,
        env={"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"},
        timeout=TIMEOUT,
    )

    assert done.returncode == 0, done.stderr
    assert lines_in(checkout / ".coverage") == {str(checkout / "hello.py"): HEAD | {8}}
    assert re.search(r"^hello\.py +7 +1 +86%$", done.stdout, re.M)


def test_the_settings_that_the_recipes_name_are_settings():
    known = {f"{settings.ENV_PREFIX}{name.upper()}" for name in settings.RULES}
    known |= {"WSGI_COVERAGE_APP", "WSGI_COVERAGE_PASSWORD", "WSGI_COVERAGE_USERNAME"}
    known |= {children.VARIABLE}

    for page in DOCS.glob("*.md"):
        named = set(re.findall(r"\bWSGI_COVERAGE_[A-Z_]+\b", page.read_text(encoding="utf-8")))
        assert named <= known, page
