"""Runs a small application with a coverage.py in which one name is another, again and again.

A line of standard input is a request, a line of standard output its answer, both in JSON. Each
request is run in a fork, which begins with all imported that has nothing to do with coverage.py.
"""

import contextlib
import ctypes
import importlib.util
import json
import logging
import os
import re
import shutil
import signal
import sys
import tempfile
import traceback
from pathlib import Path

import jinja2  # noqa: F401  imported here once, not in each fork
from werkzeug.test import Client

COVERAGE = Path(importlib.util.find_spec("coverage").origin).parent
TIMEOUT = 60  # seconds
PR_SET_CHILD_SUBREAPER = 36
CHILDREN = Path(f"/proc/self/task/{os.getpid()}/children")
SOURCE = "def f(x):\n    return x + 1\n"
PAGES = ("/html/", "/html/mod_py.html", "/export?format=json")
READ = ("/", "/files", "/report", "/functions", *PAGES)
JSON = {"Accept": "application/json"}


def renamed(name, folder):
    """A copy of the coverage.py that is installed, with another name throughout.

    What is documented stays: options, which may have the same name (run:branch).
    """
    copy = folder / "coverage"
    shutil.copytree(COVERAGE, copy)
    for path in [*copy.glob("*.py"), *copy.glob("htmlfiles/*.html")]:
        text = path.read_text(encoding="utf-8")
        if name in text:
            path.write_text(re.sub(rf"(?<!:)\b{name}\b", f"{name}_renamed", text), encoding="utf-8")
        if path.stem == name:
            path.rename(path.with_stem(f"{name}_renamed"))


def alone():
    """What coverage.py does by itself."""
    import coverage

    cov = coverage.Coverage(data_file=None, include=["*/mod.py"])
    cov.start()
    import mod

    mod.f(1)
    cov.stop()
    cov.json_report(outfile="report.json")
    cov.html_report(directory="html")
    return True


def with_us(branch, foreign):
    """What an application does that is wrapped, and what is answered on it."""
    logging.disable(logging.CRITICAL)
    if foreign:  # a Coverage of the application's own is measuring already
        import coverage

        cov = coverage.Coverage()
        cov.start()

    def app(environ, start_response):
        import mod

        mod.f(1)
        start_response("200 OK", [])
        return [b"served"]

    from wsgi_coverage import CoverageMiddleware

    client = Client(CoverageMiddleware(app, debug=True, branch=branch))
    told = {"served": client.get("/").text}
    at = "/debug/coverage"
    answers = {"/refresh": client.post(f"{at}/refresh?wait=0", headers=JSON)}
    answers |= {path: client.get(at + path) for path in (READ[:2] if foreign else READ)}
    told["refresh"] = answers["/refresh"].get_json()
    if answers["/refresh"].status_code == 200:
        files = client.get(f"{at}/files", headers=JSON).get_json()
        told["files"] = {Path(each["file"]).name: each["missing"] for each in files}
    snapshot = "/snapshot?detail=lines&reset=1"
    answers[snapshot] = client.post(at + snapshot, headers=JSON)
    told["status"] = {path: answer.status_code for path, answer in answers.items()}
    told["health"] = client.get(f"{at}/health", headers=JSON).text
    if foreign:
        cov.stop()
        cov.save()
        saved = coverage.CoverageData()
        saved.read()
        told["saved"] = {Path(each).name: saved.lines(each) for each in saved.measured_files()}
    return told


def in_a_fork(request, folder):
    """Run it, and write its answer into a file."""
    signal.alarm(TIMEOUT)
    os.chdir(folder)
    sys.path.insert(0, str(folder))
    try:
        work = alone() if request["alone"] else with_us(request["branch"], request["foreign"])
    except BaseException:
        work = {"failed": traceback.format_exc()}
    (folder / "answer.json").write_text(json.dumps(work))


def end_its_children():
    """End those that it has left, now children of this process: they may write into the folder."""
    with contextlib.suppress(ChildProcessError):
        while True:
            for child in CHILDREN.read_text().split():
                os.kill(int(child), signal.SIGKILL)
            os.wait()


def answered(request):
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        renamed(request["name"], folder)
        (folder / "mod.py").write_text(SOURCE)
        (folder / ".coveragerc").write_text(request["config"])
        pid = os.fork()
        if not pid:
            try:
                in_a_fork(request, folder)
            finally:
                os._exit(0)
        os.waitpid(pid, 0)
        end_its_children()
        try:
            return json.loads((folder / "answer.json").read_text())
        except OSError:
            return {"failed": "it ended before it was done"}


def answer_or_error(request):
    try:
        return answered(request)
    except Exception:
        return {"error": traceback.format_exc()}


ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
for line in sys.stdin:
    print(json.dumps(answer_or_error(json.loads(line))), flush=True)
