"""Each diagnosis on made-up facts, and each fact on a made-up process."""

import logging
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from wsgi_coverage.health import diagnoses, facts
from wsgi_coverage.health.diagnoses import CHECKS, diagnose
from wsgi_coverage.health.facts import Facts

FACTS_OF = {
    "imported-early": Facts(imported_early=("shop", "shop.cart")),
    "gevent-without-concurrency": Facts(gevent=True, concurrency=frozenset({"thread"})),
    "plugins-disabled": Facts(core="sysmon", plugins=("django_coverage_plugin",)),
    "unseen-threads": Facts(native_threads="granian"),
    "reloader-parent": Facts(reloader_parent=123),
    "uwsgi-without-hooks": Facts(uwsgi_without_hooks=True),
    "uwsgi-hard-end": Facts(uwsgi_hard_end=True),
    "dynamic-code": Facts(core="sysmon", dynamic_code=5_000),
    "configuration-ignored": Facts(configuration="/srv/.coveragerc", ignored_configurations=("x",)),
    "lossy-flush": Facts(coverage_version="9.9", flush_problem="AttributeError: data"),
    "coverage-changed": Facts(
        coverage_version="9.9", coverage_changes=("coverage.html.escape: pages are made at once",)
    ),
    "no-channel": Facts(why_no_channel="there are no Unix sockets here"),
    "hidden-children": Facts(hides_children=True),
    "other-namespaces": Facts(other_namespaces=1),
    "private-folder-taken": Facts(
        private_folder="/dev/shm/wsgi-coverage-0-1/abc",
        refused_folders=("/dev/shm/wsgi-coverage-0 belongs to user 1001",),
    ),
    "unmeasured-code": Facts(engine="memory", unmeasured={"f in app.py": "there is no room"}),
    "greenlets-under-tracer": Facts(greenlets=True),
    "trace-changed": Facts(threads_lost=2),
    "branches-cost": Facts(branch=True),
    "autosave-off": Facts(autosave_interval=0.0),
    "paused": Facts(paused_since="2026-11-21T10:00:00+00:00"),
    "not-writable": Facts(not_writable={"/srv/shop": "the file system is read-only"}),
    "no-descriptors": Facts(has_descriptors=False),
    "store-away": Facts(fleet={"problem": "redis://a is away", "since": "2026-11-01T10:00:00"}),
    "store-lost": Facts(fleet={"problem": None, "lost_at": "2026-11-01T10:00:00"}),
}


def text_of(made_up: Facts) -> str:
    """The text of the only diagnosis."""
    (diagnosis,) = diagnose(made_up)
    return diagnosis.text


# The diagnoses


def test_nothing_is_the_matter_where_every_fact_is_at_its_default() -> None:
    assert diagnose(Facts()) == []


@pytest.mark.parametrize(
    "name", [each for each in CHECKS if each != "branches-cost" or sys.version_info >= (3, 12)]
)
def test_its_facts_call_for_a_diagnosis_and_for_no_other(name: str) -> None:
    (diagnosis,) = diagnose(FACTS_OF[name])

    assert diagnosis.name == name
    assert diagnosis.text
    assert diagnosis.remedy
    assert diagnosis.as_json() == {
        "name": name, "text": diagnosis.text, "remedy": diagnosis.remedy
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "figures"),
    [
        ("imported-early", ["2 modules were", "(shop, shop.cart)"]),
        ("gevent-without-concurrency", ["ctrace", "thread"]),
        ("plugins-disabled", ["django_coverage_plugin does nothing"]),
        ("unseen-threads", ["granian", "ctrace"]),
        ("reloader-parent", ["123"]),
        ("dynamic-code", ["5,000", "about 12 MB"]),
        ("configuration-ignored", ["x configures", "/srv/.coveragerc"]),
        ("lossy-flush", ["9.9", "AttributeError: data"]),
        ("coverage-changed", ["9.9", "coverage.html.escape: pages are made at once"]),
        ("no-channel", ["the last second"]),
        ("private-folder-taken", ["wsgi-coverage-0 belongs to user 1001", "wsgi-coverage-0-1/abc"]),
        ("not-writable", ["/srv/shop: the file system is read-only", "507"]),
        ("other-namespaces", ["1 other container of this host"]),
    ],
)
def test_the_text_says_whom_it_is_about_and_how_much(name: str, figures: list[str]) -> None:
    text = text_of(FACTS_OF[name])

    assert [figure for figure in figures if figure not in text] == []


def test_a_diagnosis_that_fails_is_logged_and_the_others_are_made(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(made_up: Facts) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(diagnoses, "CHECKS", {"broken": fail, **CHECKS})

    with caplog.at_level(logging.ERROR, "wsgi_coverage"):
        names = [each.name for each in diagnose(FACTS_OF["autosave-off"])]

    assert names == ["autosave-off"]
    assert "the diagnosis broken failed" in caplog.text


def test_three_modules_that_came_early_are_named_and_the_others_counted() -> None:
    text = text_of(Facts(imported_early=("a", "b", "c", "d", "e")))

    assert text.startswith("5 modules")
    assert "(a, b, c and 2 more)" in text


def test_a_single_module_that_came_early_is_one() -> None:
    assert "1 module was imported" in text_of(Facts(imported_early=("shop",)))


@pytest.mark.parametrize("core", ["ctrace", "pytrace"])
def test_gevent_without_being_told_of_is_wrong_under_a_trace_function(core: str) -> None:
    assert core in text_of(Facts(core=core, gevent=True))


@pytest.mark.parametrize("told", ["gevent", "greenlet", "eventlet"])
def test_gevent_is_fine_where_coverage_py_is_told_of_greenlets(told: str) -> None:
    assert diagnose(Facts(gevent=True, concurrency=frozenset({told, "thread"}))) == []


@pytest.mark.parametrize(
    "fine",
    [
        Facts(core="sysmon", gevent=True),
        Facts(core="sysmon", native_threads="mod_wsgi"),
        Facts(core="ctrace", plugins=("templates",)),
        Facts(core="ctrace", dynamic_code=1_000_000),
        Facts(core="sysmon", dynamic_code=2_000),
    ],
)
def test_what_depends_on_the_core_is_fine_under_the_other(fine: Facts) -> None:
    assert diagnose(fine) == []


def test_a_config_file_that_a_setting_names_and_nobody_read_is_named() -> None:
    text = text_of(
        Facts(
            unused_config_file="/srv/own.cfg",
            config_file_origin="keyword config_file",
            configuration="/srv/.coveragerc",
        )
    )

    assert "config_file /srv/own.cfg (keyword config_file) was not read" in text
    assert "coverage.py read /srv/.coveragerc" in text


# The facts


def test_a_fact_that_cannot_be_had_is_logged_and_the_others_are_gathered(
    caplog: pytest.LogCaptureFixture,
) -> None:
    worker = SimpleNamespace(
        autosave_interval=0.0,
        engine=SimpleNamespace(
            coverage=object(),  # knows nothing
            measuring=SimpleNamespace(core="pytrace", coverage_version="7", problem="odd"),
        ),
    )

    with caplog.at_level(logging.WARNING, "wsgi_coverage"):
        found = facts.find_facts(worker)

    assert (found.core, found.flush_problem, found.autosave_interval) == ("pytrace", "odd", 0.0)
    assert found.plugins == ()
    assert "plugins cannot be determined for /health: AttributeError" in caplog.text


def hubs(hub: object) -> dict[str, object]:
    return {"gevent._hub_local": SimpleNamespace(get_hub_if_exists=lambda: hub)}


def patched(anything: bool) -> dict[str, object]:
    return {"gevent.monkey": SimpleNamespace(is_anything_patched=lambda: anything)}


@pytest.mark.parametrize(
    ("modules", "active"),
    [
        ({}, False),
        (patched(False), False),
        (patched(True), True),
        ({**patched(False), **hubs(None)}, False),
        ({**patched(False), **hubs(object())}, True),
    ],
)
def test_gevent_is_active_once_it_has_patched_or_runs_a_hub(
    modules: dict[str, object], active: bool
) -> None:
    assert facts.has_gevent(modules) is active


def uwsgi(**options: object) -> dict[str, object]:
    """sys.modules of a uWSGI process; its options' values are bytes, or True."""
    return {"uwsgi": SimpleNamespace(opt={n.replace("_", "-"): v for n, v in options.items()})}


@pytest.mark.parametrize(
    ("modules", "server"),
    [
        ({}, None),
        ({"mod_wsgi": object()}, "mod_wsgi"),
        ({"granian": object()}, "granian"),
        (uwsgi(), None),
        (uwsgi(threads=b"1"), None),
        (uwsgi(threads=b"3"), "uWSGI with 3 threads"),
        ({"uwsgi": object()}, None),  # somebody's own module of that name
    ],
)
def test_servers_are_known_whose_threads_threading_did_not_make(
    modules: dict[str, object], server: str | None
) -> None:
    assert facts.native_threads(modules) == server


@pytest.mark.parametrize(
    ("modules", "without"),
    [
        ({}, False),
        (uwsgi(http=b":8000"), False),  # one process, which does not fork
        (uwsgi(master=True), True),
        (uwsgi(processes=b"2"), True),
        (uwsgi(workers=b"2"), True),
        (uwsgi(processes=b"1"), False),
        (uwsgi(master=True, lazy_apps=True), False),
        (uwsgi(master=True, py_call_uwsgi_fork_hooks=True), False),
    ],
)
def test_uwsgi_forks_without_hooks_unless_it_is_told_otherwise(
    modules: dict[str, object], without: bool
) -> None:
    assert facts.uwsgi_without_hooks(modules) is without


@pytest.mark.parametrize(
    ("modules", "hard"),
    [
        ({}, False),
        (uwsgi(master=True), True),
        (uwsgi(hook_master_start=b"unix_signal:15 gracefully_kill_them_all"), False),
        (
            uwsgi(hook_master_start=[b"print:hello", b"unix_signal:2 gracefully_kill_them_all"]),
            False,
        ),
        (uwsgi(hook_master_start=b"print:hello"), True),
    ],
)
def test_uwsgi_ends_busy_workers_unless_it_is_told_otherwise(
    modules: dict[str, object], hard: bool
) -> None:
    assert facts.uwsgi_hard_end(modules) is hard


@pytest.mark.parametrize("variable", ["WERKZEUG_RUN_MAIN", "RUN_MAIN"])
def test_the_reloaders_parent_is_its_childs_parent_if_it_is_measured(
    variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.getppid", lambda: 41)

    assert facts.reloader_parent({variable: "true"}, [41, 42]) == 41
    assert facts.reloader_parent({variable: "true"}, [42]) is None
    assert facts.reloader_parent({}, [41, 42]) is None


def test_a_process_that_waits_for_the_reloaders_child_is_the_parent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("os.getpid", lambda: 41)

    def restart_with_reloader(ask: Callable[[], int | None]) -> int | None:
        return ask()

    assert restart_with_reloader(lambda: facts.reloader_parent({}, [41])) == 41
    assert restart_with_reloader(lambda: facts.reloader_parent({}, [])) is None


def test_code_is_dynamic_if_it_was_compiled_from_no_file(tmp_path: Path) -> None:
    archive = tmp_path / "app.pyz"
    archive.touch()
    static = [__file__, "<frozen os>", str(archive / "shop" / "cart.py")]
    dynamic = ["<template>", "<string>", str(tmp_path / "gone.py")]

    def count(names: list[str]) -> int:
        return facts.count_dynamic([compile("1", name, "exec") for name in names])

    assert count(static) == 0
    assert count([*static, *dynamic, "<template>"]) == 4


# Configuration


@pytest.mark.parametrize(
    ("name", "text", "does"),
    [
        (".coveragerc", "[run]\nbranch = true\n", True),
        (".coveragerc", "[coverage:run]\n", True),
        (".coveragerc", "# nothing\n", False),
        (".coveragerc.toml", "[run]\n", True),
        (".coveragerc.toml", "", False),
        ("setup.cfg", "[metadata]\n[coverage:run]\n", True),
        ("setup.cfg", "[run]\n", False),
        ("tox.ini", "[coverage:report]\n", True),
        ("pyproject.toml", "[tool.coverage.run]\n", True),
        ("pyproject.toml", "[tool.ruff]\n", False),
        ("pyproject.toml", "[tool.coverage.run\n", False),
    ],
)
def test_a_file_configures_coverage_py_by_its_sections(
    tmp_path: Path, name: str, text: str, does: bool
) -> None:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")

    assert facts.configures(path) is does


def test_a_file_that_is_not_there_configures_nothing(tmp_path: Path) -> None:
    assert not facts.configures(tmp_path / ".coveragerc")


@pytest.fixture
def two_configurations(tmp_path: Path) -> Path:
    (tmp_path / ".coveragerc").write_text("[run]\n", encoding="utf-8")
    (tmp_path / "pyproject.toml").write_text("[tool.coverage.run]\n", encoding="utf-8")
    return tmp_path


def test_the_second_configuration_of_a_folder_is_ignored(two_configurations: Path) -> None:
    first, second = two_configurations / ".coveragerc", two_configurations / "pyproject.toml"

    ignored = facts.ignored_configurations(str(first), named=False, folder=two_configurations)

    assert ignored == (str(second),)


def test_a_configuration_in_the_working_directory_is_ignored_if_another_folders_was_read(
    two_configurations: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    read = tmp_path_factory.mktemp("other") / ".coveragerc"

    ignored = facts.ignored_configurations(str(read), named=False, folder=two_configurations)

    assert [Path(each).name for each in ignored] == [".coveragerc", "pyproject.toml"]


@pytest.mark.parametrize(("name", "named"), [(".coveragerc", True), ("own.cfg", False)])
def test_where_a_configuration_was_named_the_others_are_not_ignored_but_not_meant(
    two_configurations: Path, name: str, named: bool
) -> None:
    read = str(two_configurations / name)

    assert facts.ignored_configurations(read, named=named, folder=two_configurations) == ()


def test_a_named_configuration_is_unused_if_another_or_none_was_read() -> None:
    own = Path("/srv/own.cfg")

    assert facts.unused(own, str(own)) is None
    assert facts.unused(None, "/srv/.coveragerc") is None
    assert facts.unused(own, "/srv/.coveragerc") == str(own)
    assert facts.unused(own, None) == str(own)
