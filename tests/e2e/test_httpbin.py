"""httpbin, as it comes from PyPI, under gunicorn: exactly what an in-process run measures."""

from __future__ import annotations

import hashlib
import json

import pytest

pytest.importorskip("httpbin", reason="httpbin is not installed", exc_type=ImportError)

IN_PROCESS = """
import json
import sys
import coverage

cov = coverage.Coverage(data_file="independent", source=["httpbin"], config_file=False)
cov.start()
import httpbin

client = httpbin.app.test_client(use_cookies=False)
statuses = []
for method, path, headers, body in json.load(sys.stdin):
    response = client.open(path, method=method, headers=headers, data=body)
    response.get_data()
    statuses.append(response.status_code)
cov.stop()
cov.save()
print(json.dumps(statuses))
"""
MODULES = {"__init__.py", "core.py", "filters.py", "helpers.py", "structures.py", "utils.py"}


def test_a_refresh_shows_exactly_what_an_in_process_run_measures(project, password, lines_in):
    project.coveragerc("source = httpbin")
    requests = REQUESTS * 2  # so that, split in four, no worker has only what comes early
    env = {**password, "WSGI_COVERAGE_APP": "httpbin:app"}
    server = project.gunicorn("-w", "4", "wsgi_coverage.wsgi:application", env=env)
    workers = server.wait_for_workers(4)
    statuses = [0] * len(requests)
    for number, pid in enumerate(sorted(workers)):
        with server.only(pid, workers):
            for at in range(number, len(requests), 4):
                method, path, headers, body = requests[at]
                sent = None if body is None else body.encode()
                statuses[at] = server.request(method, path, headers=headers, body=sent).status

    report = server.refresh()

    independent = project.run("-c", IN_PROCESS, given=json.dumps(requests))
    measured = lines_in((project.folder / "independent").read_bytes())
    assert set(measured) == MODULES
    assert json.loads(independent.splitlines()[-1]) == statuses
    assert server.exported() == measured
    covered = {
        entry["file"].rpartition("/")[2]: entry["covered"]
        for entry in server.get("/debug/coverage/files").json()
    }
    assert sum(covered.values()) == report["summary"]["covered"]
    assert report["complete"]
    assert report["warnings"] == []


def digest(path: str, qop: str, user: str = "u", password: str = "p") -> dict[str, str]:
    """An Authorization header that /digest-auth accepts (RFC 2617, MD5)."""

    def md5(text: str) -> str:
        return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()

    second = f"GET:{path}" + (f":{md5('')}" if qop == "auth-int" else "")
    secret = ":".join([md5(f"{user}:r:{password}"), "n", "1", "c", qop, md5(second)])
    given = {"username": user, "realm": "r", "nonce": "n", "uri": path, "qop": qop, "nc": "1"}
    given |= {"cnonce": "c", "response": md5(secret)}
    return {"Authorization": "Digest " + ", ".join(f'{k}="{v}"' for k, v in given.items())}


BASIC = {"Authorization": "Basic dTpw"}  # u:p
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
UPLOAD = {"Content-Type": "multipart/form-data; boundary=b"}
FILES = "".join(
    f'--b\r\nContent-Disposition: form-data; name="{name}"; filename="{name}"\r\n\r\ntext\r\n'
    for name in ("one", "two")
)
AUTH, AUTH_INT, NO_QOP = (f"/digest-auth/{qop}/u/p" for qop in ("auth", "auth-int", "none"))
Request = tuple[str, str, dict[str, str], str | None]


def get(path: str, headers: dict[str, str] | None = None) -> Request:
    return ("GET", path, {"User-Agent": "e2e", "Accept": "*/*", **(headers or {})}, None)


# Left out: what is random (several status codes, an unseeded drip) or depends on the transport
# (chunked bodies, which httpbin takes from gunicorn only).
REQUESTS: list[Request] = [
    *map(get, ("/", "/html", "/robots.txt", "/deny", "/ip", "/uuid", "/headers", "/user-agent")),
    *map(get, ("/get", "/get?a=1&a=2&b=3", "/get?show_env=1", "/anything", "/anything/a/b?c=d")),
    *map(get, ("/gzip", "/deflate", "/brotli", "/encoding/utf8", "/xml", "/json", "/forms/post")),
    *map(get, ("/no/such/page", "/delay/0", "/drip?duration=0&numbytes=3", "/drip?numbytes=0")),
    *map(get, ("/drip?duration=0&numbytes=2&code=202&delay=0.01",)),
    *(get(f"/redirect/{n}{query}") for n in (1, 2, 3) for query in ("", "?absolute=true")),
    *(get(f"/{kind}-redirect/{n}") for kind in ("relative", "absolute") for n in (1, 2)),
    *(get(f"/redirect-to?url=/get{more}") for more in ("", "&status_code=307", "&status_code=999")),
    *(get(f"/stream/{n}") for n in (0, 1, 3)),
    *(get(f"/bytes/{n}?seed=7") for n in (0, 10)),
    get("/bytes/5"),
    *(get(f"/stream-bytes/{n}{more}") for n in (0, 25) for more in ("", "?seed=1&chunk_size=10")),
    *(get(f"/links/{path}") for path in ("3", "3/1", "0/0", "300/299")),
    *(get(f"/status/{code}") for code in (*range(200, 209), *range(300, 309), *range(400, 430))),
    *(get(f"/status/{code}") for code in ("500", "503", "abc", "200:1,201:0", "a,b", "1:x,2:y")),
    *(get(f"/cache/{seconds}") for seconds in (0, 60)),
    get("/cache"),
    get("/cache", {"If-None-Match": "x"}),
    get("/cache", {"If-Modified-Since": "Thu, 01 Jan 2026 00:00:00 GMT"}),
    get("/etag/x"),
    *(get("/etag/x", {"If-None-Match": tag}) for tag in ('"x"', 'W/"x", "y"', "*", "z")),
    *(get("/etag/x", {"If-Match": tag}) for tag in ('"x"', '"y"', "*")),
    *(get(f"/base64/{value}") for value in ("aGVsbG8=", "!", "zzz")),
    *(get(f"/range/{n}") for n in (0, 1, 26, 200000)),
    get("/range/26?chunk_size=5&duration=0"),
    *(get("/range/26", {"Range": f"bytes={part}"}) for part in ("1-5", "-5", "5-", "30-40", "x")),
    *(get("/range/26", {"Range": part}) for part in ("lines=1-2", "bytes", "bytes=0-25")),
    *(get(f"/image/{kind}") for kind in ("png", "jpeg", "webp", "svg")),
    *(
        get("/image", {"Accept": f"{kind}"})
        for kind in ("image/webp", "image/svg+xml", "image/jpeg", "image/png", "image/*", "text/x")
    ),
    get("/cookies"),
    get("/cookies", {"Cookie": "a=b; __utmz=1"}),
    get("/cookies?show_env=1", {"Cookie": "a=b; __utmz=1"}),
    *map(get, ("/cookies/set/a/b", "/cookies/set?a=b&c=d", "/cookies/delete?a=", "/cookies/set")),
    *(
        get(f"/{kind}-auth/u/p", auth)
        for kind in ("basic", "hidden-basic")
        for auth in (None, BASIC)
    ),
    *(get("/bearer", auth) for auth in (None, BASIC, {"Authorization": "Bearer t"})),
    *(get(f"{path}{more}") for path in (AUTH, NO_QOP) for more in ("", "/SHA-256", "/SHA-512/2")),
    get(f"{AUTH}/ROT13/never"),
    get(AUTH, digest(AUTH, "auth")),
    get(AUTH_INT, digest(AUTH_INT, "auth-int")),
    get(AUTH, digest(AUTH, "auth", password="wrong")),
    get(AUTH, digest(AUTH, "other")),
    get(AUTH, BASIC),
    get(f"{AUTH}?require-cookie=1", digest(AUTH, "auth")),
    get(f"{AUTH}?require-cookie=1", {**digest(AUTH, "auth"), "Cookie": "fake=no"}),
    *(
        get(AUTH, {**digest(AUTH, "auth"), "Cookie": cookie})
        for cookie in ("stale_after=3", "stale_after=0", "stale_after=never", "last_nonce=n")
    ),
    *(
        (method, path, {**headers, "User-Agent": "e2e"}, body)
        for method, path in (
            *((verb.upper(), f"/{verb}") for verb in ("post", "put", "patch", "delete")),
            *((verb, "/anything") for verb in ("POST", "PUT", "PATCH", "DELETE")),
        )
        for headers, body in (
            ({}, ""),
            ({"Content-Type": "application/json"}, '{"a": [1, 2]}'),
            ({"Content-Type": "application/json"}, "{"),
            (FORM, "a=1&a=2&b=3"),
            (UPLOAD, f"{FILES}--b--\r\n"),
            ({"X-Forwarded-Proto": "https", "X-Request-Id": "1"}, "plain"),
            ({"X-Forwarded-Ssl": "on"}, "plain"),
        )
    ),
    ("POST", "/response-headers?a=1&a=2", {}, ""),
    get("/response-headers?a=1&b=2"),
    ("OPTIONS", "/get", {}, None),
    ("OPTIONS", "/get", {"Access-Control-Request-Headers": "X-A", "Origin": "http://o"}, None),
    ("HEAD", "/get", {}, None),
    ("POST", "/get", {}, ""),
    ("POST", "/redirect-to", FORM, "url=/get&status_code=303"),
]
