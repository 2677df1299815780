"""Snapshots that flask-coverage 0.2.1 took are there after an upgrade."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

RunScript = Callable[..., Any]

SHOP = "def price(n):\n    if n:\n        return n\n    return 0\n"
UPGRADED = """
    import json
    from pathlib import Path
    from coverage import CoverageData
    from flask import Flask
    from flask_coverage import FlaskCoverage

    FOLDER = Path(".flask-coverage-snapshots")
    FOLDER.mkdir(exist_ok=True)
    JSON, HTML = {"Accept": "application/json"}, {"Accept": "text/html"}
    PLAIN, LABELLED = "20260301T101500Z", "20260301T101502Z-my-label"

    def took(name, lines, branch=False):
        data = CoverageData(basename=str(FOLDER / f"{name}.coverage"))
        shop = str(Path("shop.py").resolve())
        if branch:
            data.add_arcs({shop: [(-1, 2), (2, 3), (3, -1)]})
        else:
            data.add_lines({shop: lines})
        data.close(force=True)

    import shop
    app = Flask("app")
    FlaskCoverage(app, debug=True)
    client = app.test_client()

    def ask(path, method="GET"):
        return client.open("/debug/coverage" + path, method=method, headers=JSON)
"""


def test_they_are_listed_shown_downloaded_and_deleted(run_script: RunScript) -> None:
    found = run_script(
        UPGRADED
        + """
    took(PLAIN, [1, 2])
    took(LABELLED, [1, 2, 3])
    (FOLDER / "no-snapshot.coverage").write_text("x")
    listed = ask("/snapshots").get_json()
    files = ask(f"/snapshots/{LABELLED}/files").get_json()
    again = ask("/snapshots").get_json()
    data = ask(f"/snapshots/{PLAIN}.coverage")
    text = ask(f"/snapshots/{PLAIN}/report").text
    page = client.get(f"/debug/coverage/snapshots/{LABELLED}/files", headers=HTML)
    between = ask(f"/diff?a={PLAIN}&b={LABELLED}").get_json()
    gone = [ask(f"/snapshots/{each}", method="DELETE").status_code for each in (PLAIN, LABELLED)]
    print(json.dumps([
        [[each["id"], each["label"], each["taken_at"], each["complete"]] for each in listed],
        [[each["file"].rpartition("/")[2], each["statements"], each["covered"]] for each in files],
        [each["id"] for each in again], again[0]["warnings"],
        [data.status_code, data.data[:15].decode()], "shop.py" in text, page.status_code,
        [[each["only_a"], each["only_b"]] for each in between["files"]],
        gone, ask("/snapshots").get_json(), sorted(each.name for each in FOLDER.iterdir()),
        ask(f"/snapshots/{PLAIN}").status_code,
    ]))
""",
        {"shop.py": SHOP},
    )

    listed, files, again, warnings, data, in_text, page, between, gone, rest, left, status = found
    assert listed == [
        ["20260301T101502Z-my-label", "my-label", "2026-03-01T10:15:02+00:00", False],
        ["20260301T101500Z", None, "2026-03-01T10:15:00+00:00", False],
    ]
    assert files == [["shop.py", 4, 3]]
    assert again == [each[0] for each in listed]
    assert warnings[0].startswith("flask-coverage took this snapshot")
    assert data == [200, "SQLite format 3"]
    assert in_text
    assert page == 200
    assert between == [[{"lines": []}, {"lines": [3]}]]
    assert gone == [200, 200]
    assert rest == []
    assert left == ["no-snapshot.coverage"]
    assert status == 404


def test_one_with_branches_is_shown_though_statements_are_measured_now(
    run_script: RunScript,
) -> None:
    found = run_script(
        UPGRADED
        + """
    took(PLAIN, (), branch=True)
    print(json.dumps(ask(f"/snapshots/{PLAIN}/files").get_json()))
""",
        {"shop.py": SHOP},
    )

    [shop] = found
    assert (shop["covered"], shop["branches"]) == (2, 2)


def test_one_that_is_damaged_or_never_was_is_refused(run_script: RunScript) -> None:
    found = run_script(
        UPGRADED
        + """
    (FOLDER / f"{PLAIN}.coverage").write_text("no data file")
    (FOLDER / "20260301T101503Z.coverage").symlink_to("/etc/hostname")
    answers = [ask(f"/snapshots/{each}/files") for each in
               (PLAIN, "20260301T101503Z", "20260301T101504Z", "..%2F..%2Fshop")]
    print(json.dumps([[each.status_code, each.get_json()["error"]] for each in answers]))
""",
        {"shop.py": SHOP},
    )

    assert found == [[404, "report-damaged"], *[[404, "unknown-snapshot"]] * 2, [404, "not-found"]]


def test_one_that_is_empty_is_said_to_be(run_script: RunScript) -> None:
    found = run_script(
        UPGRADED
        + """
    (FOLDER / f"{PLAIN}.coverage").touch()
    print(json.dumps(ask(f"/snapshots/{PLAIN}/report").get_json()))
""",
        {"shop.py": SHOP},
    )

    assert found["error"] == "report-damaged"
    assert found["message"].endswith("is no data file: it is empty")
