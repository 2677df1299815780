"""Ask a Flask application all that flask-coverage 0.2.1 answers; print the answers as JSON.

Run with either `flask_coverage` in sys.path. What differs by time or chance is written the same.
"""

import json
import os
import re
import sys
from base64 import b64encode

import shop

import flask_coverage

DASHBOARD = "/debug/coverage"
BASIC = {"Authorization": f"Basic {b64encode(b'admin:secret').decode()}"}
JSON = {**BASIC, "Accept": "application/json"}
PAGE = {**BASIC, "Accept": "text/html"}
ID = re.compile(r"[0-9]{8}T[0-9.]+Z(-[0-9a-f]{8})?(-[a-z0-9-]+)?(\.coverage)?")

answers: dict[str, object] = {}
client = shop.app.test_client()


def ask(name: str, method: str, path: str, headers: dict[str, str], **more: object) -> object:
    """Send a request, and note its answer under a name."""
    response = client.open(f"{DASHBOARD}{path}", method=method, headers=headers, **more)
    headers = response.headers
    noted = {
        "status": response.status_code,
        "type": response.mimetype,
        "location": ID.sub("ID", headers.get("Location", "")),
        "asks for": headers.get("WWW-Authenticate", "").partition(" ")[0],
        "saved as": ID.sub("ID", headers.get("Content-Disposition", "").replace('"', "")),
    }
    if not noted["saved as"].startswith("attachment"):  # the others name what is shown
        del noted["saved as"]
    body = response.get_json() if response.is_json and response.status_code == 200 else None
    if body is not None:
        noted["keys"] = sorted(body[0] if isinstance(body, list) else body)
    answers[name] = noted
    data = response.get_data()
    response.close()
    return data if body is None else body


def page_of(index: bytes) -> str:
    """The address of a source's page in coverage.py's HTML report."""
    found = re.search(rb'href="(\w*shop_py\.html)"', index)
    assert found is not None, index
    return found[1].decode()


assert client.get("/").get_data() == b"home"
ask("no credentials", "GET", "/report", {})
ask("wrong password", "GET", "/report", {"Authorization": "Basic YWRtaW46bm8="})
ask("unknown path without credentials", "GET", "/nothing", {})
ask("unknown path", "GET", "/nothing", JSON)
ask("dashboard before a report", "GET", "/", PAGE)
ask("report before a refresh", "GET", "/report", BASIC)
ask("refresh", "POST", "/refresh", JSON)
ask("refresh by a button", "POST", "/refresh", PAGE)
ask("refresh by GET", "GET", "/refresh", JSON)
ask("dashboard", "GET", "/", PAGE)
ask("report", "GET", "/report", BASIC)
answers["measured"] = [
    (os.path.relpath(each["file"]), each["statements"])
    for each in ask("files", "GET", "/files", JSON)
]
ask("export", "GET", "/export", BASIC)
index = ask("html", "GET", "/html/", BASIC)
ask("page of a source", "GET", f"/html/{page_of(index)}", BASIC)
ask("unknown page", "GET", "/html/nothing.html", JSON)
taken = ask("snapshot", "POST", "/snapshot?label=My+Label", JSON)
ask("snapshot with a form", "POST", "/snapshot", JSON, data={"label": "Other"})
ask("snapshot by a button", "POST", "/snapshot", PAGE, data={"label": "Third"})
answers["labels"] = [each["label"] for each in ask("snapshots", "GET", "/snapshots", JSON)]
ask("snapshots for a browser", "GET", "/snapshots", PAGE)
ask("download of a snapshot", "GET", f"/snapshots/{taken['id']}", BASIC)
ask("unknown snapshot", "GET", "/snapshots/20200101T000000Z.coverage", JSON)
ask("reset", "POST", "/reset", JSON)
ask("reset by a button", "POST", "/reset", PAGE)
ask("refresh from another site", "POST", "/refresh", {**JSON, "Origin": "http://other.example"})

with shop.app.test_request_context():
    from flask import url_for

    for endpoint in ("index", "report", "files", "export", "html_index", "refresh", "reset"):
        answers[f"address of {endpoint}"] = url_for(f"flask_coverage.{endpoint}")
    answers["address of a snapshot"] = url_for("flask_coverage.snapshot_download", snap_id="a")
answers["module"] = flask_coverage.__file__
answers["names"] = [name for name in dir(shop.extension) if not name.startswith("_")]
json.dump(answers, sys.stdout)
