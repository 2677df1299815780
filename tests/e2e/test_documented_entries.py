"""Each way to wrap an application that the documentation shows, as it stands there, answers."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
APPLICATIONS = """
from flask import Flask
from flask_coverage import FlaskCoverage


def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]


def create_app():
    app = Flask(__name__)
    FlaskCoverage(app)
    app.add_url_rule("/", view_func=lambda: "hello")
    return app
"""
URLS = """
from django.http import HttpResponse
from django.urls import path

urlpatterns = [path("", lambda request: HttpResponse("hello"))]
"""
SETTINGS = """
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "mysite.urls"
SECRET_KEY = "x"
"""
ASK = """
import base64
import json
import sys
from importlib import import_module
from wsgiref.util import setup_testing_defaults

example = import_module("example")
application = getattr(example, "application", None) or example.app


def ask(path):
    environ = {"PATH_INFO": path, "HTTP_ACCEPT": "application/json"}
    setup_testing_defaults(environ)
    credentials = base64.b64encode(b"admin:open sesame").decode()
    environ["HTTP_AUTHORIZATION"] = f"Basic {credentials}"
    said = []
    answer = application(environ, lambda status, headers, *_: said.append(status))
    body = b"".join(answer).decode()
    if hasattr(answer, "close"):
        answer.close()
    return said[0], body


print(json.dumps([ask(path) for path in sys.argv[1:]]))
"""
HEALTH = "/debug/coverage/health"


def examples(page: str) -> list[str]:
    text = (ROOT / page).read_text(encoding="utf-8")
    return re.findall(r"^```python\n(.*?)^```$", text, re.M | re.S)


@pytest.fixture
def ask(project, password):
    """What an example's application answers to each path: its status, and the text."""
    project.write("myapp.py", APPLICATIONS)
    project.coveragerc("source = .")
    project.write("ask.py", ASK)

    def asking(example, *paths):
        project.write("example.py", example)
        env = {**password, "FLASK_COVERAGE_PASSWORD": password["WSGI_COVERAGE_PASSWORD"]}
        return json.loads(project.run("ask.py", *paths, env=env))

    return asking


@pytest.mark.parametrize(
    ("page", "number"), [("README.md", 0), ("docs/how-to/gunicorn.md", 0)], ids=str
)
def test_a_wsgi_application_is_wrapped_as_documented(ask, page, number):
    [front, health] = ask(examples(page)[number], "/", HEALTH)

    assert front == ["200 OK", "hello"]
    assert health[0] == "200 OK"
    assert json.loads(health[1])["workers"]


@pytest.mark.parametrize(
    ("page", "number"), [("README.md", 2), ("docs/how-to/django.md", 0)], ids=str
)
def test_django_is_wrapped_as_documented(ask, project, page, number):
    pytest.importorskip("django", reason="django is not installed")
    (project.folder / "mysite").mkdir()
    project.write("mysite/settings.py", SETTINGS)
    project.write("mysite/urls.py", URLS)

    [front, health] = ask(examples(page)[number], "/", HEALTH)

    assert front == ["200 OK", "hello"]
    assert json.loads(health[1])["workers"]


def test_a_callback_of_ones_own_decides_as_documented(ask):
    [_, _, callback] = examples("docs/how-to/django.md")
    prelude = "from wsgi_coverage import CoverageMiddleware\nfrom myapp import app\n"
    example = callback.replace("get_wsgi_application()", "app")

    [front, health] = ask(prelude + example, "/", HEALTH)

    assert front == ["200 OK", "hello"]
    assert health[0].startswith("40")


@pytest.mark.parametrize(
    ("page", "number"), [("README.md", 1), ("docs/how-to/flask.md", 0)], ids=str
)
def test_flask_is_measured_as_documented(ask, page, number):
    [health] = ask(examples(page)[number], HEALTH)

    assert json.loads(health[1])["workers"]


def test_a_flask_factory_is_measured_as_documented(ask):
    [first, factory, early, _] = examples("docs/how-to/flask.md")
    imports = first.partition("\napp = ")[0]

    [made] = ask(f"{imports}\n{factory}\napp = create_app()\n", HEALTH)
    [front, started_early] = ask(early, "/", HEALTH)

    assert json.loads(made[1])["workers"]
    assert front == ["200 OK", "hello"]
    assert json.loads(started_early[1])["workers"]


def test_a_login_of_flask_decides_as_documented(ask):
    [first, _, _, login] = examples("docs/how-to/flask.md")

    [health] = ask(first.replace("FlaskCoverage(app)\n", "") + login, HEALTH)

    assert health[0].startswith("40")


def test_what_is_imported_early_is_an_application_as_documented(ask):
    [example] = examples("docs/how-to/start-early.md")

    assert ask(example, "/") == [["200 OK", "hello"]]
