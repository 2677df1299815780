"""Whatever is asked, SQLite is at work where no fork of the application comes."""

from __future__ import annotations

import sys

import pytest
from child_scripts import SHOP, START, WRAPPED

CORES = ["ctrace", *([""] if sys.version_info >= (3, 12) else [])]
WATCHED = """
    import atexit
    import json
    import sys
    import traceback
    from wsgi_coverage.data import forksafe

    outside, connections = [], 0

    def watch(event, arguments):
        global connections
        if event == "sqlite3.connect":
            connections += 1
            if not forksafe._owner:
                outside.append(traceback.format_stack())

    sys.addaudithook(watch)
    # Registered before ours, and so run after them.
    atexit.register(lambda: print(json.dumps([connections > 20, outside])))
"""


@pytest.mark.parametrize("core", CORES)
def test_no_fork_comes_while_this_process_uses_sqlite(run_script, core: str) -> None:
    shown = run_script(
        f"""{WATCHED}{WRAPPED}
    def ok(method, path, *args, **keywords):
        answer = ask(method, path, *args, **keywords)
        assert answer.status in (200, 303), (path, answer.status, answer.body)
        return answer

    ok("POST", "/refresh", JSON)
    for page in ("/html/", "/html/shop_py.html", "/export?format=xml", "/export?format=json",
                 "/export?format=lcov", "/export?format=html", "/report", "/export"):
        ok("GET", page)
    for page in ("/files", "/functions", "/health", "/workers", "/"):
        ok("GET", page, BROWSER)
    taken = ok("POST", "/snapshot?detail=lines", JSON).json()["id"]
    ok("GET", f"/diff?a={{taken}}&b=current", JSON)
    ok("POST", "/snapshot?reset=1&keep=0&detail=lines", JSON)
    call(app, "GET", "/buy")
    forks.current().engine.coverage.get_data().measured_files()
    ok("POST", "/refresh", JSON)
    ok("POST", "/reset", JSON)
    call(app, "GET", "/buy")
    """,
        {"shop.py": SHOP},
        env={"COVERAGE_CORE": core} if core else {},
    )

    assert shown == [True, []]


def test_in_a_child_nobody_is_inside_whoever_was_in_its_parent(run_script) -> None:
    shown = run_script(
        f"""{START}
    import os
    import shop
    from wsgi_coverage.data import forksafe
    CoverageMiddleware(shop.app, debug=True)
    forksafe.TIMEOUT = 0.05
    is_in, may_go = threading.Event(), threading.Event()

    def stay_inside():
        with forksafe.no_fork():
            is_in.set()
            may_go.wait(30)

    thread = threading.Thread(target=stay_inside)
    thread.start()
    assert is_in.wait(30)
    reading, writing = os.pipe()
    warnings.simplefilter("ignore", DeprecationWarning)  # of threads at a fork
    pid = os.fork()
    if not pid:
        is_free = forksafe._lock.acquire(blocking=False)
        os.write(writing, json.dumps([is_free, forksafe._hook(), forksafe._forking]).encode())
        os._exit(0)
    os.waitpid(pid, 0)
    may_go.set()
    thread.join()
    print(os.read(reading, 100).decode())
    """.replace("    import json\n", "    import json\n    import warnings\n", 1),
        {"shop.py": SHOP},
    )

    assert shown == [True, 0, []]
