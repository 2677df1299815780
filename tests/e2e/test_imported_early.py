"""Development servers as a newcomer runs them, which import the application before all else."""

from __future__ import annotations

import json
import sys

import pytest

pytestmark = pytest.mark.skipif(
    sys.version_info < (3, 12), reason="the first engine needs sys.monitoring"
)

EARLY = "it was imported before measuring began"

FLASK = {
    "shelf.py": "BOOKS = 2\n\n\ndef count():\n    return str(BOOKS)\n",
    "unused.py": "SIZE = 1\n",
    "library.py": (
        "from flask import Flask\nimport shelf\nimport unused\n"
        "from flask_coverage import FlaskCoverage\n\napp = Flask(__name__)\n\n\n"
        "@app.get('/')\ndef home():\n    return shelf.count()\n\n\nFlaskCoverage(app)\n"
    ),
}
DJANGO = {
    ".coveragerc": "[run]\nsource = library\n",
    "manage.py": (
        "import os\nimport sys\n\n\ndef main():\n"
        "    os.environ.setdefault('DJANGO_SETTINGS_MODULE', 'library.settings')\n"
        "    from django.core.management import execute_from_command_line\n\n"
        "    execute_from_command_line(sys.argv)\n\n\n"
        "if __name__ == '__main__':\n    main()\n"
    ),
    "library/__init__.py": "",
    "library/settings.py": (
        "SECRET_KEY = 'for tests'\nDEBUG = True\nALLOWED_HOSTS = ['127.0.0.1']\n"
        "ROOT_URLCONF = 'library.urls'\nWSGI_APPLICATION = 'library.wsgi.application'\n"
    ),
    "library/urls.py": (
        "from django.http import HttpResponse\nfrom django.urls import path\n"
        "from library import shelf\n"
        "\n\ndef home(request):\n    return HttpResponse(shelf.count())\n\n\n"
        "urlpatterns = [path('', home)]\n"
    ),
    "library/shelf.py": "BOOKS = 2\n\n\ndef count():\n    return str(BOOKS)\n",
    "library/unused.py": "SIZE = 1\n",
    "library/wsgi.py": (
        "import os\n\nfrom django.core.wsgi import get_wsgi_application\n"
        "from wsgi_coverage import CoverageMiddleware\n\n"
        "os.environ.setdefault('DJANGO_SETTINGS_MODULE', 'library.settings')\n"
        "application = CoverageMiddleware(get_wsgi_application())\n"
    ),
}
# The same manage.py, which begins first of all.
EARLIER = DJANGO["manage.py"].replace(
    "def main():\n",
    "def main():\n    from wsgi_coverage import start_early\n\n    start_early()\n",
)


@pytest.fixture
def served(project, password):
    """Write files, and serve them: the interpreter's arguments."""

    def serve(files, *command):
        for name, text in files.items():
            path = project.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return project.serve(*command, env=password)

    return serve


def told(server) -> tuple[dict, dict]:
    """The answer to a refresh, and the list of files by name."""
    answer = server.refresh()
    files = server.get("/debug/coverage/files").json()
    return answer, {each["file"].rpartition("/")[2]: each for each in files}


@pytest.mark.parametrize("more", [[], ["--debug"]], ids=["run", "run --debug"])
def test_flask_run_lists_what_it_had_imported_and_says_why_it_is_not_exact(served, more):
    pytest.importorskip("flask")
    server = served(FLASK, "-m", "flask", "--app", "library", "run", *more, "--port", "{port}")

    answer, first = told(server)
    assert server.get("/").text == "2"
    _, then = told(server)

    assert first.keys() == then.keys() == FLASK.keys()
    assert answer["summary"]["percent"] > 0
    assert "flask-coverage run" in answer["warnings"][-1]
    for found in (first["shelf.py"], first["unused.py"], then["unused.py"]):
        assert (found["percent"], found["ran"]) == (0.0, "at load only")
        assert found["imported_early"].startswith(EARLY)
    assert (then["shelf.py"]["covered"], then["shelf.py"]["runtime"]) == (1, 1)
    assert (then["library.py"]["percent"], then["library.py"].get("imported_early")) == (100, None)
    page = server.get(f"/debug/coverage/html/{then['shelf.py']['html']}").text
    assert EARLY in page


@pytest.mark.parametrize("more", [[], ["--noreload"]], ids=["runserver", "--noreload"])
def test_runserver_lists_what_it_had_imported_and_says_why_it_is_not_exact(served, more):
    pytest.importorskip("django")
    server = served(DJANGO, "manage.py", "runserver", *more, "127.0.0.1:{port}")

    answer, first = told(server)
    assert server.get("/").text == "2"
    _, then = told(server)

    assert first.keys() == then.keys()
    assert "of manage.py for Django's runserver" in answer["warnings"][-1]
    assert first["settings.py"]["imported_early"].startswith(EARLY)
    assert (first["wsgi.py"]["percent"], first["wsgi.py"].get("imported_early")) == (100, None)
    assert (then["shelf.py"]["covered"], then["shelf.py"]["runtime"]) == (1, 1)
    assert then["shelf.py"]["imported_early"].startswith(EARLY)
    assert (then["unused.py"]["ran"], then["unused.py"].get("imported_early")) == ("never", None)


def test_runserver_that_begins_in_manage_py_is_exact(served):
    pytest.importorskip("django")
    files = {**DJANGO, "manage.py": EARLIER}
    server = served(files, "manage.py", "runserver", "127.0.0.1:{port}")

    server.get("/")
    answer, found = told(server)

    assert answer["warnings"] == []
    assert [name for name, each in found.items() if each["missing"]] == ["unused.py"]


MIXED = {
    "app.py": (
        "import parts\n\nparts.ready()\n"
        "from wsgi_coverage import CoverageMiddleware\n\n\n"
        "def raw(environ, start_response):\n"
        "    start_response('200 OK', [('Content-Length', '2')])\n    return [b'ok']\n\n\n"
        "app = CoverageMiddleware(raw)\n"
    ),
    "parts.py": "def ready():\n    return 1\n\n\ndef never():\n    return 2\n",
    "job.py": "import time\n\nimport parts\n\nprint('ready', flush=True)\ntime.sleep(600)\n",
}


def test_whoever_makes_the_report_knows_what_another_process_had_imported(project, password):
    project.coveragerc("source = .")
    for name, text in MIXED.items():
        project.write(name, text)
    server = project.gunicorn("-w", "1", "app:app", env=password)
    server.get("/")
    job = project.run_measured("job.py")
    job.wait_for("ready")

    for each in (job, server, job):
        summary = each.refresh()["summary"]
        assert (summary["unused_functions"], summary["imported_early_files"]) == (None, 1)
        ran = {one["name"]: one["ran"] for one in each.get("/debug/coverage/functions").json()}
        assert ran == {"raw": "at runtime", "ready": None, "never": None}

    server.end()
    job.end()
    assert len(project.data_files()) == 1
    project.run("-m", "coverage", "combine", "--quiet")
    project.run("-m", "coverage", "json", "--quiet", "-o", "out.json")
    files = json.loads((project.folder / "out.json").read_text())["files"]
    assert files.keys() == MIXED.keys()
