"""GET /health names the problems of a process that is really measured, and their remedies."""

import importlib.util
import sys

import pytest
from child_scripts import SHOP, START, WRAPPED
from stand_ins import Site

from wsgi_coverage.health import diagnoses

HEALTH = """
    health = call(app, "GET", PREFIX + "/health").json()
    print(json.dumps([health["status"], {d["name"]: d["text"] for d in health["diagnoses"]}]))
"""
MEASURE = "app = CoverageMiddleware(validator(shop.app), debug=True, config_file=config_file)\n"
EARLY = START + "    start_early()\n    import shop\n    config_file = None\n    " + MEASURE

needs_sysmon = pytest.mark.skipif(
    sys.version_info < (3, 12), reason="sys.monitoring came with Python 3.12"
)
needs_gevent = pytest.mark.skipif(
    importlib.util.find_spec("gevent") is None, reason="gevent is not installed"
)


@pytest.fixture
def ask_health(run_script):
    """Run a script that makes `app`; the status, and the text of each diagnosis by its name."""
    return lambda source, files=None, **options: tuple(
        run_script(source + HEALTH, {"shop.py": SHOP, **(files or {})}, **options)
    )


def test_where_nothing_is_the_matter_the_status_is_ok(ask_health) -> None:
    assert ask_health(EARLY) == ("ok", {})


def test_modules_that_were_imported_before_measuring_began_are_named(ask_health) -> None:
    status, found = ask_health(WRAPPED)

    assert (status, list(found)) == ("degraded", ["imported-early"])
    assert "1 module was imported before measuring began (shop)" in found["imported-early"]


def test_modules_that_are_not_measured_may_come_early(ask_health) -> None:
    files = {".coveragerc": "[run]\ninclude = other.py\n"}

    assert ask_health(WRAPPED, files) == ("ok", {})


def test_what_an_adopted_coverage_saw_is_not_taken_for_early(ask_health) -> None:
    adopted = "    theirs = coverage.Coverage()\n    theirs.start()\n    import shop\n"

    assert ask_health(f"{START}{adopted}    config_file = None\n    {MEASURE}") == ("ok", {})


DEFINES = "def function():\n    pass\n"


@pytest.mark.parametrize(
    ("more", "env", "early"),
    [
        ("", {"COVERAGE_CORE": "ctrace"}, []),
        (DEFINES, {"COVERAGE_CORE": "ctrace"}, ["imported-early"]),
        pytest.param(DEFINES, {}, [], marks=needs_sysmon),
    ],
)
def test_the_module_that_starts_early_may_have_begun_if_it_is_seen_or_has_no_functions(
    run_script, more: str, env: dict[str, str], early: list[str]
) -> None:
    found = run_script(
        more
        + """
from wsgi_coverage import start_early
start_early()
import json
from wsgi_calls import PREFIX, call
import shop
from wsgi_coverage import CoverageMiddleware
health = call(CoverageMiddleware(shop.app, debug=True), "GET", PREFIX + "/health").json()
print(json.dumps([diagnosis["name"] for diagnosis in health["diagnoses"]]))
""",
        {"shop.py": SHOP, ".coveragerc": "[run]\ninclude = shop.py, script.py\n"},
        env=env,
    )

    assert found == early


@pytest.mark.parametrize(
    ("env", "why"),
    [
        pytest.param({}, "lines are marked in shared memory", marks=needs_sysmon),
        ({"COVERAGE_CORE": "ctrace"}, "coverage.py's internals are as expected"),
    ],
)
def test_the_page_says_of_each_engine_why_no_lines_are_lost(
    run_script, env: dict[str, str], why: str
) -> None:
    script = """
    headers = {"Accept": "text/html"}
    print(json.dumps(call(app, "GET", PREFIX + "/health", headers=headers).text))
"""
    page = run_script(EARLY + script, {"shop.py": SHOP}, env=env)

    assert f"by flushes, none: {why}" in page.replace("&#39;", "'")


def test_a_second_configuration_beside_the_one_that_was_read_is_named(ask_health) -> None:
    _, found = ask_health(EARLY, {"pyproject.toml": "[tool.coverage.run]\nbranch = true\n"})

    assert list(found) == ["configuration-ignored"]
    assert "pyproject.toml configures coverage.py too" in found["configuration-ignored"]


def test_a_configuration_that_came_too_late_is_named(ask_health) -> None:
    source = EARLY.replace("config_file = None", 'config_file = "own.cfg"')

    _, found = ask_health(source, {"own.cfg": "[run]\nbranch = true\n"})

    assert list(found) == ["configuration-ignored"]
    assert "own.cfg (keyword config_file) was not read" in found["configuration-ignored"]


def test_without_autosave_a_killed_worker_loses_what_it_ran(ask_health) -> None:
    _, found = ask_health(EARLY, env={"WSGI_COVERAGE_AUTOSAVE_INTERVAL": "0"})

    assert list(found) == ["autosave-off"]


@needs_sysmon
def test_code_that_was_compiled_while_running_is_counted_under_sysmon(ask_health) -> None:
    templates = """
    for number in range(2_001):
        exec(compile(f"{number}", "<template>", "exec"))
"""

    _, found = ask_health(EARLY + templates, env={"COVERAGE_CORE": "sysmon"})

    assert list(found) == ["dynamic-code"]


@needs_sysmon
def test_code_that_was_compiled_while_running_is_not_kept_where_lines_are_marked_in_memory(
    ask_health,
) -> None:
    templates = """
    for number in range(2_001):
        exec(compile(f"{number}", "<template>", "exec"))
"""

    assert ask_health(EARLY + templates) == ("ok", {})


@needs_sysmon
def test_a_plugin_that_sysmon_does_not_run_is_named(ask_health) -> None:
    plugin = """\
    import coverage

    class Templates(coverage.CoveragePlugin):
        pass

    def coverage_init(registry, options):
        registry.add_file_tracer(Templates())
    """
    configuration = "[run]\ninclude = shop.py\nplugins = templates\n"

    _, found = ask_health(
        EARLY,
        {"templates.py": plugin, ".coveragerc": configuration},
        env={"COVERAGE_CORE": "sysmon"},
    )

    assert list(found) == ["plugins-disabled"]
    assert "templates.Templates does nothing" in found["plugins-disabled"]


@needs_gevent
@pytest.mark.parametrize(
    ("concurrency", "names"),
    [
        ("thread", ["gevent-without-concurrency"]),
        ("gevent", []),
    ],
)
def test_gevent_is_to_be_told_to_a_trace_function(
    ask_health, concurrency: str, names: list[str]
) -> None:
    patched = "    from gevent import monkey\n    monkey.patch_all()\n"
    configuration = f"[run]\ninclude = shop.py\nconcurrency = {concurrency}\n"

    _, found = ask_health(
        patched + EARLY, {".coveragerc": configuration}, env={"COVERAGE_CORE": "ctrace"}
    )

    assert list(found) == names


def test_a_diagnosis_that_fails_is_left_out_and_health_answers(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(facts: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(diagnoses, "CHECKS", {"broken": fail})

    answer = site.get("/health")

    assert (answer.status, answer.json()["diagnoses"]) == (200, [])


def test_a_diagnosis_alone_degrades_the_status(site: Site) -> None:
    site.worker.autosave_interval = 0.0

    health = site.get("/health").json()

    assert (health["status"], health["problems"]) == ("degraded", [])
    assert [each["name"] for each in health["diagnoses"]] == ["autosave-off"]
    assert all(each["remedy"] for each in health["diagnoses"])


@pytest.mark.parametrize("branch", ["1", "0"])
def test_branches_are_measured_or_not_as_the_setting_says_whatever_the_configuration(
    run_script, branch: str
) -> None:
    other = {"1": "false", "0": "true"}[branch]
    files = {"shop.py": SHOP, ".coveragerc": f"[run]\ninclude = shop.py\nbranch = {other}\n"}

    health = run_script(
        EARLY + "    print(json.dumps(call(app, 'GET', PREFIX + '/health', JSON).json()))\n",
        files,
        env={"WSGI_COVERAGE_BRANCH": branch},
    )

    assert health["branch"] is (branch == "1")
    if sys.version_info >= (3, 12):
        assert health["engine"] == {"1": "coverage", "0": "memory"}[branch]
    named = [each["name"] for each in health["diagnoses"]]
    costs = branch == "1" and (3, 12) <= sys.version_info < (3, 14)
    assert named == (["branches-cost"] if costs else [])
