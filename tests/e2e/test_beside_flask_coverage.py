"""What flask-coverage 0.2.1 answers, ours answers, but for what the documentation lists.

Both run in a process of their own. `nox` installs flask-coverage into the folder PEER.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parent / "support" / "drop_in.py"
PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "coming-from.md"
PEER = "WSGI_COVERAGE_TEST_PEER"
SHOP = """\
from flask import Flask
from flask_coverage import FlaskCoverage

app = Flask(__name__)
extension = FlaskCoverage(app)


@app.get("/")
def home():
    return "home"
"""
OF_ERRORS = "errors are plain text or Flask's pages"
OF_401 = "the 401 is plain text"
OF_BUTTONS = "after a POST: `Location: /debug/coverage/?msg=refreshed`"
# What differs, and how the page begins to tell it.
DIFFERENCES = {
    "no credentials": OF_401,
    "wrong password": OF_401,
    "unknown path without credentials": "without credentials, an unknown path below the prefix",
    "unknown path": OF_ERRORS,
    "report before a refresh": "the first GET of `/report`",
    "refresh by GET": OF_ERRORS,
    "refresh by a button": OF_BUTTONS,
    "snapshot by a button": OF_BUTTONS,
    "reset by a button": OF_BUTTONS,
    "unknown page": OF_ERRORS,
    "unknown snapshot": OF_ERRORS,
    "labels": "a label of the list is the slug",
    "snapshots for a browser": "`/snapshots` is JSON for browsers, too",
    "refresh from another site": "POST from any site",
    "names": "`cached_html_dir()` gives a folder",
}


@pytest.fixture(scope="module")
def peer() -> str:
    """The folder that has flask-coverage 0.2.1, in full: the processes have other folders."""
    folder = os.environ.get(PEER, "")
    if not Path(folder, "flask_coverage").is_dir():
        pytest.skip(f"flask-coverage is not in the folder {PEER}={folder!r}")
    return folder


def asked(project: Any, name: str, path: str) -> dict[str, Any]:
    """The answers of an application of its own, with `flask_coverage` from a folder, if given."""
    folder = project.folder / name
    folder.mkdir()
    (folder / "shop.py").write_text(SHOP)
    (folder / ".coveragerc").write_text("[run]\nsource = .\n")
    env = {
        "PYTHONPATH": os.pathsep.join(filter(None, (str(folder), path))),
        "FLASK_COVERAGE_PASSWORD": "secret",
    }
    done = project.command([sys.executable, str(SCRIPT)], cwd=folder, env=env, timeout=60)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_ours_answers_as_flask_coverage_does_but_for_what_the_page_lists(
    project: Any, peer: str
) -> None:
    theirs, ours = asked(project, "theirs", peer), asked(project, "ours", "")
    assert Path(theirs.pop("module")).is_relative_to(peer)
    assert not Path(ours.pop("module")).is_relative_to(peer)

    for name, answer in theirs.items():
        if "keys" in answer and "keys" in ours[name]:  # ours may have more
            ours[name]["keys"] = [key for key in ours[name]["keys"] if key in answer["keys"]]
    different = {name for name, answer in theirs.items() if answer != ours[name]}
    assert theirs.keys() == ours.keys()
    assert different == DIFFERENCES.keys()
    assert {*theirs["names"]} - {*ours["names"]} == {"cached_html_dir"}


@pytest.mark.parametrize("row", sorted({*DIFFERENCES.values()}))
def test_a_difference_is_on_the_page(row: str) -> None:
    assert f"| {row}" in PAGE.read_text(encoding="utf-8")
