"""What comes in over a socket and is no proper HTTP is a 4xx, or what was asked for."""

from __future__ import annotations

DASHBOARD = "/debug/coverage"
CHUNKED = ("Content-Type: application/x-www-form-urlencoded", "Transfer-Encoding: chunked")
MALFORMED = [
    b"zz\r\nlabel\r\n0\r\n\r\n",
    b"-5\r\nlabel\r\n0\r\n\r\n",
    b"5\r\nlabel",
    b"5\r\nlabel=more\r\n0\r\n\r\n",
    b"5\r\nlabel\r\n0\r\n",
]


def test_a_chunked_body_that_is_malformed_is_400(project, routes, password):
    routes.write(project)
    server = project.gunicorn("served:application", env=password)
    server.get("/r1")

    answers = [server.raw(f"POST {DASHBOARD}/snapshot", *CHUNKED, body=body) for body in MALFORMED]
    whole = server.raw(f"POST {DASHBOARD}/snapshot", *CHUNKED, body=b"7\r\nlabel=x\r\n0\r\n\r\n")

    assert {(each.status, each.json()["error"]) for each in answers} == {(400, "bad-request")}
    assert (whole.status, whole.json()["label"]) == (200, "x")
    assert len(server.get(f"{DASHBOARD}/snapshots").json()) == 1
    assert "Traceback" not in server.output


RAW = [
    ("/coverage?name=caf\xe9", 200),
    ("/health?x=\x80", 200),
    (f"{DASHBOARD}/files?q=\xe9", 200),
    (f"{DASHBOARD}/files?format=\xe9", 400),
    (f"{DASHBOARD}/html/\xe9.html?\xe9=\xff", 404),
]


def test_raw_bytes_in_an_address_are_no_500_on_the_side_port(project):
    project.coveragerc("source = .")
    project.write("script.py", "import time\nwhile True:\n    time.sleep(1)\n")
    side = project.run_measured("script.py")
    side.refresh()

    statuses = [side.raw(f"GET {target}").status for target, _ in RAW]

    assert statuses == [status for _, status in RAW]
    assert "Traceback" not in side.output
