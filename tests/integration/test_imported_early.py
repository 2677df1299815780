"""An application that was imported before it is measured: what its figures and pages say."""

import sys

import pytest

# An application whose module wraps itself, as that of a WSGI server does.
SHELF = """\
BOOKS = 2


def count():
    return BOOKS


def never():
    return 0
"""
UNUSED = "SIZE = 1\n"
SITE = """\
import shelf
import unused


def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(shelf.count()).encode()]


class Shop:
    open = True

    def close(self):
        self.open = False


from wsgi_coverage import CoverageMiddleware

app = CoverageMiddleware(app, debug=True)
app.is_last = True
"""
FILES = {"shelf.py": SHELF, "unused.py": UNUSED, "site_app.py": SITE}
ASK = """
import json
from wsgi_calls import BROWSER, JSON, PREFIX, call
import site_app

def ask(method, path, *args):
    return call(site_app.app, method, PREFIX + path, *args)

def told():
    summary = ask("POST", "/refresh", JSON).json()
    files = ask("GET", "/files").json()
    return [summary, {each["file"].rpartition("/")[2]: each for each in files}]

first = told()
call(site_app.app, "GET", "/")
"""
ASKED = ASK + "print(json.dumps([first, told()]))\n"
PAGES = (
    ASK
    + """
told()
paths = ("/", "/files", "/files?view=list", "/functions?unused=1")
pages = {path: ask("GET", path, BROWSER).text for path in paths}
html = {each["file"].rpartition("/")[2]: each["html"] for each in ask("GET", "/files").json()}
for name in html:
    pages[name] = ask("GET", "/html/" + html[name], BROWSER).text
pages["index"] = ask("GET", "/html/", BROWSER).text
print(json.dumps(pages))
"""
)
ALL = {".coveragerc": "[run]\nsource = .\nomit = script.py\n"}
NONE = {
    ".coveragerc": "[run]\nomit = script.py, */support/*\n"
}  # no source: what was imported is listed
SECOND = {"COVERAGE_CORE": "ctrace"}
EARLY = "it was imported before measuring began"
needs_monitoring = pytest.mark.skipif(
    sys.version_info < (3, 12), reason="sys.monitoring came with Python 3.12"
)


@pytest.mark.parametrize("config", [ALL, NONE], ids=["source", "no source"])
@pytest.mark.parametrize(
    "env", [pytest.param({}, marks=needs_monitoring), SECOND], ids=["first", "second"]
)
def test_files_are_listed_from_the_first_report_on_and_say_what_was_not_seen(
    run_script, env, config
) -> None:
    (summary, first), (_, then) = run_script(ASKED, {**FILES, **config}, env=env)

    assert first.keys() == then.keys() == FILES.keys()
    assert summary["summary"]["percent"] is not None
    assert "imported before measuring began" in summary["warnings"][-1]
    for found in (first["shelf.py"], first["unused.py"], then["unused.py"]):
        assert (found["percent"], found["ran"]) == (0.0, "at load only")
        assert found["imported_early"].startswith(EARLY)
    assert (then["shelf.py"]["covered"], then["shelf.py"]["runtime"]) == (1, 1)
    assert then["shelf.py"]["imported_early"].startswith(EARLY)


@needs_monitoring
def test_a_module_that_starts_measuring_itself_shows_its_own_lines(run_script) -> None:
    (_, first), (_, then) = run_script(ASKED, {**FILES, **ALL})

    assert "imported_early" not in first["site_app.py"]
    assert (first["site_app.py"]["missing"], first["site_app.py"]["load"]) == (3, 9)
    assert (then["site_app.py"]["missing"], then["site_app.py"]["runtime"]) == (1, 2)


@needs_monitoring
def test_what_it_ran_in_a_block_above_is_not_known(run_script) -> None:
    site = f"try:\n    import json\nexcept ImportError:\n    json = None\n{SITE}"

    (_, first), _ = run_script(ASKED, {**FILES, **ALL, "site_app.py": site})

    assert "while it was imported, at line 23" in first["site_app.py"]["imported_early"]
    assert first["site_app.py"]["load"] == 10


def test_under_the_second_engine_it_says_why_not(run_script) -> None:
    _, (_, then) = run_script(ASKED, {**FILES, **ALL}, env=SECOND)

    assert "does not see a module that runs already" in then["site_app.py"]["imported_early"]
    assert (then["site_app.py"]["covered"], then["site_app.py"]["runtime"]) == (2, 2)


@needs_monitoring
def test_what_begins_early_is_exact_and_says_nothing(run_script) -> None:
    early = "from wsgi_coverage import start_early\nstart_early()\n"

    (summary, first), _ = run_script(early + ASKED, {**FILES, **ALL})

    assert not any("imported_early" in each for each in first.values())
    assert summary["warnings"] == []
    assert summary["summary"]["imported_early_files"] == 0


def test_every_page_with_a_figure_says_why_it_is_not_exact(run_script) -> None:
    pages = run_script(PAGES, {**FILES, **ALL}, env=SECOND)

    for name in ("/", "/files", "/files?view=list", "index", "/functions?unused=1"):
        assert "3 files were imported before measuring began" in pages[name], name
    for name in ("/", "/files", "/files?view=list"):
        assert "at least" in pages[name], name
    assert EARLY in pages["shelf.py"]
    assert "does not see a module that runs already" in pages["site_app.py"]


RELOADED = ASK.replace(
    "first = told()", "import importlib, shelf\nimportlib.reload(shelf)\nfirst = told()"
)
FUNCTIONS = """
ran = {each["name"]: each["ran"] for each in ask("GET", "/functions").json()}
print(json.dumps(ran))
"""


@needs_monitoring
def test_a_module_that_runs_again_may_have_run_functions_unseen_before(run_script) -> None:
    begun = SITE.replace("import unused\n", "import unused\nshelf.count()\n")
    script = RELOADED.replace('call(site_app.app, "GET", "/")\n', "") + FUNCTIONS

    ran = run_script(script, {**FILES, **ALL, "site_app.py": begun})

    assert (ran["count"], ran["never"]) == (None, None)


# The program, and what other modules get when they import it by name: it runs twice.
TWICE = """\
def ready():
    return 1


def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"ok"]


if __name__ == "site_app":
    from wsgi_coverage import CoverageMiddleware

    app = CoverageMiddleware(app, debug=True)
else:
    ready()
"""
LOADED_TWICE = """
import sys
from importlib.util import module_from_spec, spec_from_file_location
import Site
spec = spec_from_file_location("site_app", "Site.py")
sys.modules["site_app"] = module_from_spec(spec)
spec.loader.exec_module(sys.modules["site_app"])
"""


@needs_monitoring
def test_of_a_file_that_is_two_modules_what_either_ran_may_have_run(run_script) -> None:
    files = {**ALL, "Site.py": TWICE}

    assert run_script(LOADED_TWICE + ASK + FUNCTIONS, files)["ready"] is None
