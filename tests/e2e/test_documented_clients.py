"""The clients in Python that the documentation shows, run as they are, at another address."""

from __future__ import annotations

import re
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"
PROGRAM = """\
import time

print("ready", flush=True)
time.sleep(60)
"""


def example(page: str, having: str) -> str:
    """The one example in Python that has some text."""
    text = (DOCS / page).read_text(encoding="utf-8")
    found = re.findall(r"^```python\n(.*?)^```", text, re.M | re.S)
    [one] = [each for each in found if having in each]
    return str(one)


def test_a_side_port_is_asked_as_documented(project, lines_in):
    project.write("app.py", PROGRAM)
    project.coveragerc("source = .")
    side = project.run_measured("app.py")
    side.wait_for("ready")
    client = example("how-to/run-any-program.md", "/coverage?name=")

    project.run("-c", client.replace("9095", str(side.port)))

    data = (project.folder / ".coverage.my-test").read_bytes()
    assert lines_in(data) == {"app.py": {1, 3, 4}}


def test_the_client_is_used_as_documented(project, routes, password, lines_in):
    routes.write(project, early=True)
    server = project.gunicorn("-w", "2", "served:application", env=password)
    server.wait_for_workers(2)
    server.get("/r7")
    client = example("reference/python-api.md", "client.refresh()")
    client = client.replace("https://shop.example", f"http://127.0.0.1:{server.port}")
    client = client.replace('"secret"', repr(password["WSGI_COVERAGE_PASSWORD"]))

    printed = project.run("-c", client)

    percent, complete = printed.split()
    assert complete == "True"
    assert 0 < float(percent) < 100
    exported = lines_in((project.folder / "e2e.sqlite").read_bytes())
    assert exported == {routes.FILE: routes.load | routes.of(["/r7"])}
