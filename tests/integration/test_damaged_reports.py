"""A stored report with anything in the place of one of its files: no answer hangs or is a 500."""

from typing import Any

import pytest
from child_scripts import SHOP, WRAPPED

CACHE = ".wsgi-coverage-cache"
# Files of a report, and of the cache, by the pattern that finds them.
FILES = (
    f"{CACHE}/reports/*/meta.json",
    f"{CACHE}/reports/*/files.json",
    f"{CACHE}/reports/*/figures",
    f"{CACHE}/reports/*/origin.json",
    f"{CACHE}/reports/*/report.txt",
    f"{CACHE}/reports/*/data.coverage",
    f"{CACHE}/current",
    f"{CACHE}/history.json",
    f"{CACHE}/building.json",
    f"{CACHE}/analysis/figures",
    f"{CACHE}/analysis/versions",
    ".wsgi-coverage-snapshots/*/meta.json",
    ".wsgi-coverage-snapshots/*/figures",
    ".wsgi-coverage-snapshots/*/data.coverage",
    ".wsgi-coverage-snapshots/*/coverage.xml",
)
DAMAGE = """
    import hashlib, os, shutil, signal, sqlite3, zlib
    from pathlib import Path

    def of_types(value, leaf):
        if isinstance(value, dict):
            return {key: of_types(each, leaf) for key, each in value.items()}
        return [of_types(each, leaf) for each in value] if isinstance(value, list) else leaf

    def packed(raw):
        content = zlib.compress(raw)
        return hashlib.blake2b(content, digest_size=16).digest() + content

    def damages(content):
        yield from (b"", b"7", content[: len(content) // 2], bytes(range(256)))
        yield from (b"[1, 2]", b"null", b'{"a": 1}', b"[" * 200_000)
        try:
            value, wrap = json.loads(content), bytes
        except ValueError:
            try:
                value, wrap = json.loads(zlib.decompress(content[16:])), packed
            except zlib.error:
                return  # a data file: tests/unit/data/test_damage.py
        for leaf in (7, "x", None, [[]]):
            yield wrap(json.dumps(of_types(value, leaf)).encode())
        yield from (wrap(b"[]"), wrap(b"[" * 200_000), wrap(b"{}"))
        if isinstance(value, dict):
            yield wrap(json.dumps({key: [[]] for key in value}).encode())

    def hang(*_):
        raise TimeoutError

    signal.signal(signal.SIGALRM, hang)
    wrong = []

    def check(what):
        for method, url, headers in ASKED:
            signal.alarm(20)
            answer = ask(method, url, headers)
            signal.alarm(0)
            if answer.status >= 500:
                wrong.append([what, method, url, answer.status, answer.text[:300]])

    ask("POST", "/refresh")
    first = ask("POST", "/snapshot", JSON).json()["id"]
    call(app, "GET", "/")
    second = ask("POST", "/snapshot", JSON).json()["id"]
    ask("GET", f"/snapshots/{first}/export?format=xml")
    ASKED = [
        *(("GET", url, kind) for kind in (JSON, BROWSER) for url in (
            "/", "/files", "/functions", "/snapshots", "/health", f"/snapshots/{first}/files",
            f"/diff?a={first}&b={second}", f"/diff?a={second}&b=current", "/building",
        )),
        *(("GET", url, JSON) for url in (
            "/report", "/html/", "/html/shop_py.html", f"/snapshots/{first}/html/",
            "/export?format=xml", f"/snapshots/{first}/export?format=xml", f"/snapshots/{first}",
            f"/snapshots/{first}/export?format=lcov",
        )),
        ("POST", "/refresh", JSON),
        ("GET", "/", BROWSER),
    ]
    found = [path for path in Path().glob(name) if first in str(path) or "snapshots" not in name]
    path = found[0] if found else Path(name)
    shutil.copytree(CACHE, "cache"), shutil.copytree(SNAPSHOTS, "snapshots")
    content = path.read_bytes() if found else b"[1]"

    def anew():
        for folder, kept in ((CACHE, "cache"), (SNAPSHOTS, "snapshots")):
            shutil.rmtree(folder)
            shutil.copytree(kept, folder)
        path.unlink(missing_ok=True)
        call(app, "GET", "/")

    for each in damages(content):
        anew()
        path.write_bytes(each)
        check(repr(each[:40]))
    for make in (os.mkfifo, lambda path: path.symlink_to(path.name), lambda path: None):
        anew()
        make(path)
        check(str(make))
    print(json.dumps(wrong))
"""


@pytest.mark.parametrize("name", FILES)
def test_whatever_is_in_the_place_of_a_file_of_a_report_no_answer_is_a_500(
    run_script: Any, name: str
) -> None:
    given = f"\n    name, CACHE, SNAPSHOTS = {name!r}, {CACHE!r}, '.wsgi-coverage-snapshots'\n"

    assert run_script(WRAPPED + given + DAMAGE, {"shop.py": SHOP}) == []


def test_a_link_in_the_place_of_a_file_of_a_report_is_not_followed(run_script: Any) -> None:
    source = f"""{WRAPPED}
    import os
    from pathlib import Path

    secret = Path("elsewhere", "shop_py.html")
    secret.parent.mkdir()
    secret.write_text("a secret")
    ask("POST", "/refresh")
    taken = ask("POST", "/snapshot", JSON).json()["id"]
    urls = [f"{{below}}{{url}}" for below in ("", f"/snapshots/{{taken}}") for url in (
        "/report", "/files", "/export", "/export?format=json", "/export?format=xml",
        "/export?format=lcov", "/export?format=html", "/html/", "/html/shop_py.html",
    )] + [f"/snapshots/{{taken}}"]
    statuses = {{ask("GET", url).status for url in urls}}

    def told():
        found = [ask("GET", url) for url in urls]
        return [any(b"a secret" in each.body for each in found), {{each.status for each in found}}]

    folders = [*Path("{CACHE}/reports").iterdir(), Path(".wsgi-coverage-snapshots", taken)]
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    for path in files:
        if path.name not in ("meta.json", "figures") and path.parent.name != "sources":
            path.unlink()
            path.symlink_to(secret.resolve())
    by_files = told()
    for folder in folders:
        (folder / "html").rename(folder / "old")
        (folder / "html").symlink_to(secret.parent.resolve())
    by_folders = told()
    print(json.dumps([sorted(statuses), by_files[0], max(by_files[1]), by_folders[0]]))
    """

    assert run_script(source, {"shop.py": SHOP}) == [[200], False, 404, False]


def test_a_damaged_report_says_so_and_the_next_takes_its_place(run_script: Any) -> None:
    source = f"""{WRAPPED}
    from pathlib import Path

    ask("POST", "/refresh")
    taken = ask("POST", "/snapshot", JSON).json()["id"]
    [meta] = Path().glob("{CACHE}/reports/*/meta.json")
    meta.write_text("[]")
    Path(".wsgi-coverage-snapshots", taken, "meta.json").write_text("[" * 100_000)
    pairs = "a=current&b=current", f"a={{taken}}&b=current"
    errors = [ask("GET", f"/diff?{{each}}").error for each in pairs]
    listed = ask("GET", "/snapshots").json()
    statuses = [
        ask("POST", "/refresh", JSON).status,
        ask("GET", "/report").status,
        ask("DELETE", f"/snapshots/{{taken}}", JSON).status,
    ]
    print(json.dumps([errors, listed, statuses]))
    """

    errors, listed, statuses = run_script(source, {"shop.py": SHOP})

    assert errors == ["report-damaged", "report-damaged"]
    assert listed == []
    assert statuses == [200, 200, 200]
