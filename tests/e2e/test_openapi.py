"""The OpenAPI document is valid, and it is what a server answers: schemathesis asks it for all.

Its requests are the same each time. Reads come first, of a report and a snapshot that are there;
then what changes something, in turns that schemathesis makes of the answers before, by the links of
the document.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from wsgi_coverage.sideport import app as sideport
from wsgi_coverage.web import openapi
from wsgi_coverage.web.openapi import Access
from wsgi_coverage.web.routes import ROUTES, URL_MAP

jsonschema = pytest.importorskip("jsonschema")
specification = pytest.importorskip("openapi_spec_validator")

DASHBOARD = "/debug/coverage"
PAGE = Path(__file__).parents[2] / "docs" / "reference" / "http.md"
# The command, which `nox` installs; read here, since tests are run without such variables.
SCHEMATHESIS = os.environ.get("WSGI_COVERAGE_TEST_SCHEMATHESIS", "")
TIMEOUT = 170  # seconds
# Not negative_data_rejection: parameters of pages are not looked at for JSON, nor unknown ones.
# Not ignored_auth: by its wrong passwords the address of all other requests would be refused.
CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,"
    "response_headers_conformance,response_schema_conformance,unsupported_method,"
    "allow_header_conformance,use_after_free"
)
OPTIONS = ("--seed", "1", "--checks", CHECKS, "--max-redirects", "0", "--warnings", "off")
# Links are followed in turns of their own, most of which end at a parameter that is refused.
FOLLOWING = "[phases.stateful.generation]\nmax-examples = 12\n"
CHANGING = "^/(refresh|reset|pause|resume|snapshot|contexts)"
SHOP = """\
def buy():
    return b"bought"


def never():
    return b""


def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [buy() if environ["PATH_INFO"] == "/buy" else b"home"]
"""
POLICIES = [
    Access(by_callback=False, by_password=True, checks_host=False),
    Access(by_callback=True, by_password=False, checks_host=True),
]


@pytest.mark.parametrize("access", POLICIES)
def test_the_document_is_valid(access: Access) -> None:
    specification.validate(openapi.document(ROUTES, access, DASHBOARD, title="t", about="a."))


def test_that_of_a_side_port_is_valid() -> None:
    routes = sideport.ROUTES
    specification.validate(
        openapi.document(routes, POLICIES[0], "", title="t", about="a.", negotiates=False)
    )


def documented() -> list[Any]:
    """Each request of the page whose answer is shown in full, and the answer."""
    consoles = re.findall(r"^```console\n(.*?)^```", PAGE.read_text("utf-8"), re.M | re.S)
    found = []
    for console in consoles:
        for asked, answer in re.findall(r"^\$ \$A(\S+.*)\n((?:(?!\$ ).*\n)*)", console, re.M):
            path, _, options = asked.partition(" ")
            method = options.removeprefix("-X ") or "GET"
            if answer.startswith(("{", "[")) and "…" not in answer and '"error"' not in answer:
                name = f"{method} {path}"
                found.append(pytest.param(method, path.partition("?")[0], answer, id=name))
    return found


@pytest.mark.parametrize(("method", "path", "answer"), documented())
def test_the_documented_answers_have_the_keys_that_are_described_and_no_other(
    method: str, path: str, answer: str
) -> None:
    document = openapi.document(ROUTES, POLICIES[0], DASHBOARD, title="t", about="a.")
    rule, _ = URL_MAP.bind("localhost").match(path, method=method, return_rule=True)
    operation = document["paths"][rule.template][method.lower()]  # type: ignore[attr-defined]
    schema = operation["responses"]["200"]["content"]["application/json"]["schema"]
    for each in document["components"]["schemas"].values():
        each["additionalProperties"] = False

    validator = jsonschema.Draft202012Validator({**schema, "components": document["components"]})

    assert [error.message for error in validator.iter_errors(json.loads(answer))] == []


def test_a_server_answers_as_the_document_says(project, password, tmp_path):
    if not Path(SCHEMATHESIS).is_file():
        pytest.skip(f"there is no command {SCHEMATHESIS!r}")
    project.write("shop.py", SHOP)
    project.coveragerc("source = .")
    env = {**password, "WSGI_COVERAGE_APP": "shop:app", "WSGI_COVERAGE_CONTEXTS": "header"}
    # Whatever length a made-up label has in a query, it reaches the application.
    limits = ("--limit-request-line", "0")
    options = (*limits, "-w", "2", "--worker-class", "gthread", "--threads", "4")
    server = project.gunicorn(*options, "wsgi_coverage.wsgi:application", env=env)
    server.wait_for_workers(2)
    server.get("/buy", headers={"X-Coverage-Context": "t1"})
    server.refresh()
    identity = server.post(f"{DASHBOARD}/snapshot").json()["id"]
    document = server.get(f"{DASHBOARD}/openapi.json").json()
    assert document["servers"] == [{"url": DASHBOARD}]
    values = {
        "path.id": identity,
        "path.label": "t1",
        "path.file": "shop.py",
        "path.path": "shop_py.html",
        "path.name": "style.css",
        "query.a": "current",
        "query.b": "context:t1",
    }
    lines = [f'"{name}" = "{value}"' for name, value in values.items()]
    (tmp_path / "reads.toml").write_text("\n".join(["[parameters]", *lines, ""]))
    (tmp_path / "changes.toml").write_text(FOLLOWING)

    def ask(config: str, *options: str) -> None:
        url = f"http://127.0.0.1:{server.port}{DASHBOARD}/openapi.json"
        credentials = ("--auth", f"admin:{server.password}")
        command = (SCHEMATHESIS, "--config-file", config, "--no-color", "run", url)
        done = project.command(
            [*command, *credentials, *OPTIONS, *options], cwd=tmp_path, timeout=TIMEOUT
        )
        print(done.stdout)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "passed" in done.stdout

    ask("reads.toml", "--phases", "fuzzing", "--max-examples", "6", "--include-method", "GET")
    phases = ("--phases", "fuzzing,stateful", "--max-examples", "4")
    only = ("--include-path-regex", CHANGING, "--header", "Accept: application/json")
    ask("changes.toml", *phases, *only)
    assert "Traceback" not in server.output
