"""Beside pytest-cov, in whose Coverage a test session runs: each has all that ran."""

from __future__ import annotations

import json

import pytest

SHOP = """\
from flask import Flask
from flask_coverage import FlaskCoverage

app = Flask(__name__)
app.debug = True
FlaskCoverage(app)

@app.get("/buy")
def buy():
    return "bought"

@app.get("/sell")
def sell():
    return "sold"

@app.get("/swap")
def swap():
    return "swapped"
"""
BUY, SELL, SWAP = 10, 14, 18
TESTS = """
import json
from shop import app

client = app.test_client()

def post(verb):
    headers = {"Accept": "application/json"}
    return client.post("/debug/coverage/" + verb, headers=headers)

def test_buying():
    assert client.get("/buy").text == "bought"
    refused = post("reset")
    assert post("refresh").json["complete"] is True
    report = client.get("/debug/coverage/export?format=json").json
    with open("seen.json", "w") as file:
        json.dump({"refused": refused.json["error"], "files": report["files"]}, file)

def test_selling():
    assert client.get("/sell").text == "sold"
"""


@pytest.mark.parametrize("branch", ["false", "true"])
def test_each_has_all_that_ran_and_a_reset_is_refused(project, branch):
    pytest.importorskip("pytest_cov", reason="pytest-cov is not installed")
    project.coveragerc(f"branch = {branch}")
    project.write("shop.py", SHOP)
    project.write("test_shop.py", TESTS)

    output = project.run(
        *("-W", "error", "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:randomly", "-q"),
        *("--cov=shop", "--cov-report=json:theirs.json", "test_shop.py"),
    )

    seen = json.loads((project.folder / "seen.json").read_text())
    theirs = json.loads((project.folder / "theirs.json").read_text())
    everything = {1, 2, 4, 5, 6, 8, 9, BUY, 12, 13, SELL, 16, 17, SWAP}
    assert "2 passed" in output
    assert seen["refused"] == "not-ours"
    assert [*seen["files"]] == [*theirs["files"]] == ["shop.py"]
    assert {*seen["files"]["shop.py"]["executed_lines"]} == everything - {SELL, SWAP}
    assert {*theirs["files"]["shop.py"]["executed_lines"]} == everything - {SWAP}
