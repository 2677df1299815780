"""What could have run: the same on every worker and entry point, and as coverage.py has it."""

from __future__ import annotations

import json

import pytest

FILES = {
    "src/kiosk/__init__.py": "",
    "src/kiosk/till.py": "def pay():\n    return 1\n",
    "src/kiosk/back/__init__.py": "",
    "src/kiosk/back/store.py": "def fetch():\n    return 1\n",
    "src/market/hall/__init__.py": "def enter():\n    return 1\n",  # in a namespace
    "src/market/hall/stand.py": "def rent():\n    return 1\n",
    "tools/weigh.py": "def weigh():\n    return 1\n",
    "src/served.py": (
        "import kiosk.till\n"
        "import market.hall\n"
        "def app(environ, start_response):\n"
        "    start_response('200 OK', [])\n"
        "    return [str(kiosk.till.pay()).encode()]\n"
    ),
    "reference.py": "import served\nserved.app({}, lambda status, headers: None)\n",
}
CONFIGURED = {
    "folder": "source = src",
    "packages": "source = kiosk, market.hall, served",
    "source_pkgs": "source_pkgs = kiosk, market.hall",
    "source_dirs": "source_dirs = src/market, tools",
    "folder and package": "source = tools, kiosk",
    "relative": "source = kiosk\nrelative_files = true",
}


@pytest.fixture(params=CONFIGURED.values(), ids=CONFIGURED)
def shop(project, request):
    project.coveragerc("parallel = true", *request.param.split("\n"))
    for name, text in FILES.items():
        path = project.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return project


@pytest.fixture
def python_path(shop) -> dict[str, str]:
    return {"PYTHONPATH": f"{shop.folder}/src"}


def totals(report: str) -> dict[str, tuple[int, int]]:
    """Statements and missing ones by file, of coverage.py's JSON report."""
    files = json.loads(report)["files"]
    return {
        name: (each["summary"]["num_statements"], each["summary"]["missing_lines"])
        for name, each in files.items()
    }


def by_coverage(project, env: dict[str, str]) -> dict[str, tuple[int, int]]:
    """What coverage.py makes of the data files in the project's folder."""
    project.run("-m", "coverage", "combine", "--quiet", env=env)
    project.run("-m", "coverage", "json", "--quiet", "-o", "out.json", env=env)
    return totals((project.folder / "out.json").read_text())


def measured(server) -> dict[str, tuple[int, int]]:
    """The same of a refresh and its JSON report."""
    for _ in range(2):
        answer = server.refresh()
        assert answer["warnings"] == []
        found = totals(server.get("/debug/coverage/export?format=json").text)
        assert answer["summary"]["files"] == len(found)
    return found


def test_it_is_as_coverage_py_has_it_on_every_door_and_after_the_end(shop, password, python_path):
    shop.run("-m", "coverage", "run", "reference.py", env=python_path)
    expected = by_coverage(shop, python_path)
    assert sum(missing for _, missing in expected.values()) > 0
    (shop.folder / ".coverage").unlink()

    env = {**password, **python_path, "WSGI_COVERAGE_APP": "served:app"}
    server = shop.gunicorn("-w", "2", "wsgi_coverage.wsgi:application", env=env)
    server.get("/")
    assert measured(server) == expected
    assert server.end() == 0
    assert by_coverage(shop, python_path) == expected
    (shop.folder / ".coverage").unlink()

    server, side = shop.gunicorn_measured("-w", "2", "served:app", env=python_path)
    server.get("/")
    assert measured(side) == expected
    assert server.end() == 0
    assert by_coverage(shop, python_path) == expected
