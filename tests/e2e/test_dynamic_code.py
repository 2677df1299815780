"""Templates from ever new strings: sysmon keeps them all, and /health warns; ctrace keeps none."""

from __future__ import annotations

import sys

import pytest

DASHBOARD = "/debug/coverage"
SYSMON = pytest.mark.skipif(sys.version_info < (3, 12), reason="sys.monitoring came with 3.12")
TEMPLATES = 1_500  # of two or three code objects each: more than /health takes for granted
APPLICATION = """
from flask import Flask, render_template, render_template_string, request
from flask_coverage import FlaskCoverage
app = Flask(__name__)
FlaskCoverage(app)


@app.get("/render/<int:first>/<int:count>")
def render(first, count):
    made = [
        render_template_string("{% if x %}{{ x }}{% endif %} " + str(number), x="seen")
        for number in range(first, first + count)
    ]
    return made[-1]


@app.get("/file/<int:count>")
def render_file(count):
    return [render_template("page.html", x="seen") for _ in range(count)][-1]


@app.get("/memory")
def memory():
    import gc
    import os
    from pathlib import Path
    gc.collect()
    return str(int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE"))
"""


@pytest.fixture
def serve(project, password):
    project.coveragerc("source = .")
    project.write("templates_app.py", APPLICATION)

    def start(core):
        env = {**password, "COVERAGE_CORE": core}
        return project.gunicorn("-w", "1", "--timeout", "120", "templates_app:app", env=env)

    return start


def warned_of(server):
    diagnoses = server.get(f"{DASHBOARD}/health").json()["diagnoses"]
    return {each["name"]: each for each in diagnoses}.get("dynamic-code")


@SYSMON
def test_health_warns_of_ever_new_templates_under_sysmon(serve):
    server = serve("sysmon")
    assert server.get("/render/0/10").text == "seen 9"
    assert warned_of(server) is None

    assert server.get(f"/render/10/{TEMPLATES}").status == 200

    found = warned_of(server)
    assert "code objects were compiled while running" in found["text"]
    assert "render_template_string" in found["remedy"]
    assert "recycle workers" in found["remedy"]
    assert server.get(f"{DASHBOARD}/health").json()["status"] == "degraded"


def test_ctrace_keeps_no_template_and_there_is_nothing_to_warn_of(serve):
    server = serve("ctrace")
    server.get(f"/render/0/{TEMPLATES}")
    before = int(server.get("/memory").text)

    for batch in range(1, 4):
        server.get(f"/render/{batch * TEMPLATES}/{TEMPLATES}")

    grown = int(server.get("/memory").text) - before
    assert grown / (3 * TEMPLATES) < 512, f"{grown:,} bytes for {3 * TEMPLATES} templates"
    assert warned_of(server) is None


@SYSMON
def test_a_template_from_a_file_is_compiled_once_and_there_is_nothing_to_warn_of(serve, project):
    (project.folder / "templates").mkdir()
    project.write("templates/page.html", "{% if x %}{{ x }}{% endif %}")
    server = serve("sysmon")

    assert server.get(f"/file/{TEMPLATES}").text == "seen"

    assert warned_of(server) is None
