"""Where settings come from, and that every wrong one is refused by name."""

from pathlib import Path
from typing import Any

import pytest
from stand_ins import Site, StandInWorker, hello
from wsgi_calls import BROWSER, JSON, call

from wsgi_coverage import CoverageMiddleware, SettingsError
from wsgi_coverage.paste import filter_factory

WRONG = [
    ("url_prefix", "//x"),
    ("url_prefix", "//"),
    ("url_prefix", "/a//b"),
    ("url_prefix", "/a b"),
    ("url_prefix", "/a?b"),
    ("url_prefix", "/a#b"),
    ("url_prefix", "/a%20b"),
    ("url_prefix", "/a/../b"),
    ("url_prefix", "/./b"),
    ("url_prefix", "/a\\b"),
    ("url_prefix", "/a\nb"),
    ("url_prefix", "/\udce9"),
    ("url_prefix", "http://x/"),
    ("auth", "nowhere"),
    ("auth", "no_such_module_anywhere:allow"),
    ("auth", "os:no_such_name"),
    ("auth", "os:sep"),
    ("auth", ".relative:allow"),
    ("auth", "ast:walk"),  # a generator function
    ("auth", "contextlib:AsyncExitStack.aclose"),
    ("auth", "os:"),
    ("auth", ":allow"),
    ("username", "a:b"),
    ("username", "a\x01b"),
    ("username", "\udce9"),
    ("password", "a\x01secret"),
    ("password", "secret\udce9"),
    ("debug", "maybe"),
    ("debug", "2"),
    ("disabled", "perhaps"),
    ("trusted_hosts", ","),
    ("trusted_hosts", "a b"),
    ("trusted_hosts", "http://dev.example"),
    ("trusted_hosts", "me@dev.example"),
    # No Host header could match these.
    ("trusted_hosts", "*"),
    ("trusted_hosts", "*.dev.example"),
    ("trusted_hosts", "dev.example:8000"),
    ("trusted_hosts", "[::1]:8000"),
    ("trusted_hosts", "10.1.2.3/8"),
    ("trusted_hosts", "10.0.0.0/33"),
    ("config_file", "no-such-file.toml"),
    ("config_file", "."),
    ("config_file", "x" * 5000),
    ("cache_dir", __file__),
    ("cache_dir", "/proc/not-for-us"),
    ("snapshot_dir", __file__),
    ("snapshot_dir", "x" * 5000),
    ("snapshot_dir", f"{__file__}/below"),
    ("autosave_interval", "-1"),
    ("autosave_interval", "soon"),
    ("autosave_interval", "nan"),
    ("autosave_interval", "inf"),
    ("autosave_interval", "86400.1"),
    ("autosave_interval", "1,5"),
    ("parse_ahead_load", "-0.1"),
    ("parse_ahead_load", "1001"),
    ("parse_ahead_load", "idle"),
    ("store", "memory"),
    ("store", "http://localhost"),
    ("store", "redis://"),
    ("store", "redis://localhost:0"),
    ("store", "redis://localhost:port"),
    ("store", "redis://localhost:٦٣٧٩"),
    ("store", "redis://localhost/zero"),
    ("store", "redis://localhost,other"),
    ("store", "redis+sentinel://localhost"),
    ("store", "redis+cluster://localhost/1"),
    ("store", "unix://run/redis.sock"),
    ("store_namespace", "of a team"),
    ("store_namespace", "x" * 65),
    ("release", "x" * 101),
    ("release", "caf\u00e9"),
]
WRONG_KEYWORDS = [
    ("url_prefix", ""),
    ("url_prefix", 5),
    ("url_prefix", b"/x"),
    ("auth", 5),
    ("username", ""),
    ("username", 5),
    ("password", 12345),
    ("password", b"secret"),
    ("debug", 1),
    ("debug", []),
    ("trusted_hosts", []),
    ("trusted_hosts", [5]),
    ("trusted_hosts", [""]),
    ("trusted_hosts", 5),
    ("config_file", 5),
    ("config_file", ""),
    ("config_file", "a\x00b"),
    ("cache_dir", 5),
    ("cache_dir", "a\x00b"),
    ("snapshot_dir", " "),
    ("autosave_interval", True),
    ("autosave_interval", [30]),
    ("autosave_interval", float("nan")),
    ("autosave_interval", 10**400),
    ("parse_ahead_load", False),
    ("parse_ahead_load", float("inf")),
    ("store", 5),
]
NAMES = sorted({name for name, _ in WRONG})


def settled(site: Site) -> Any:
    """The settings that the control app holds."""
    return site.app._settings


def assert_names(error: pytest.ExceptionInfo[Exception], source: str, name: str, raw: Any) -> None:
    message = str(error.value)
    assert message.startswith(f"{source}: {name} ")
    assert " must " in message or " cannot be imported " in message
    if name == "password":
        assert "secret" not in message
        assert repr(raw) not in message
    else:
        assert repr(raw) in message


@pytest.mark.parametrize(("name", "raw"), [*WRONG, *WRONG_KEYWORDS])
def test_a_wrong_keyword_is_refused_by_source_rule_and_value(
    worker: StandInWorker, name: str, raw: Any
) -> None:
    with pytest.raises(SettingsError) as error:
        CoverageMiddleware(hello, **{name: raw})

    assert_names(error, f"keyword {name}", name, raw)


@pytest.mark.parametrize(("name", "raw"), WRONG)
def test_a_wrong_variable_is_refused_by_source_rule_and_value(
    worker: StandInWorker, monkeypatch: pytest.MonkeyPatch, name: str, raw: str
) -> None:
    variable = f"WSGI_COVERAGE_{name.upper()}"
    monkeypatch.setenv(variable, raw)

    with pytest.raises(SettingsError) as error:
        CoverageMiddleware(hello)

    assert_names(error, f"environment variable {variable}", name, raw)


@pytest.mark.parametrize(("name", "raw"), WRONG)
def test_a_wrong_paste_option_is_refused_by_source_rule_and_value(
    worker: StandInWorker, name: str, raw: str
) -> None:
    with pytest.raises(SettingsError) as error:
        filter_factory({}, **{name: raw})

    assert_names(error, f"paste option {name}", name, raw)


def test_a_wrong_setting_is_a_value_error(worker: StandInWorker) -> None:
    with pytest.raises(ValueError, match="autosave_interval"):
        CoverageMiddleware(hello, debug=True, autosave_interval=-1)


def test_an_unknown_keyword_is_refused_and_the_known_ones_are_named(worker: StandInWorker) -> None:
    with pytest.raises(SettingsError, match="keyword: 'autosave' is not a setting") as error:
        CoverageMiddleware(hello, autosave=5)

    assert all(name in str(error.value) for name in NAMES)


def test_an_unknown_paste_option_is_refused(worker: StandInWorker) -> None:
    with pytest.raises(SettingsError, match="paste option: 'autosave' is not a setting"):
        filter_factory({}, autosave="5")


def test_an_auth_module_that_fails_to_import_keeps_its_own_error(
    worker: StandInWorker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "auth_that_fails.py").write_text("1 / 0", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)

    with pytest.raises(ZeroDivisionError):
        CoverageMiddleware(hello, auth="auth_that_fails:allow")


def test_a_keyword_goes_before_a_variable_and_a_variable_before_a_paste_option(
    worker: StandInWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"username": "from-paste", "password": "p", "autosave_interval": "1"}
    paste_only = Site(filter_factory({}, **options)(hello), worker)
    monkeypatch.setenv("WSGI_COVERAGE_USERNAME", "from-environment")
    monkeypatch.setenv("WSGI_COVERAGE_PASSWORD", "p")
    both = Site(filter_factory({}, **options)(hello), worker)
    keyword = Site(CoverageMiddleware(hello, username="from-keyword"), worker)

    names = [settled(each).username for each in (paste_only, both, keyword)]

    assert names == ["from-paste", "from-environment", "from-keyword"]
    assert settled(both).autosave_interval == 1.0


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("empty", ["", " ", "\t"])
def test_an_empty_variable_or_paste_option_counts_as_not_set(
    worker: StandInWorker, monkeypatch: pytest.MonkeyPatch, name: str, empty: str
) -> None:
    plain = Site(filter_factory({}, password="p", debug="no")(hello), worker)
    monkeypatch.setenv(f"WSGI_COVERAGE_{name.upper()}", empty)
    options = {"password": "p", "debug": "no", **({name: empty} if name != "password" else {})}

    site = Site(filter_factory({}, **options)(hello), worker)

    assert settled(site) == settled(plain)


def test_a_keyword_of_none_counts_as_not_given(
    worker: StandInWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WSGI_COVERAGE_DEBUG", "on")

    site = Site(CoverageMiddleware(hello, debug=None, url_prefix=None), worker)

    assert site.get("/").status == 200


@pytest.mark.parametrize(
    ("raw", "seconds"),
    [("0", 0.0), ("0.25", 0.25), (" 5 ", 5.0), (0, 0.0), (86_400, 86_400.0), (None, 30.0)],
)
def test_the_autosave_interval_reaches_the_worker(
    wrap, worker: StandInWorker, raw: Any, seconds: float
) -> None:
    wrap(autosave_interval=raw)

    assert worker.configured == [seconds]


@pytest.mark.parametrize(("raw", "load"), [("0", 0.0), ("0.75", 0.75), (2, 2.0), (None, 0.5)])
def test_the_load_below_which_sources_are_parsed_ahead_is_set(wrap, raw: Any, load: float) -> None:
    assert settled(wrap(parse_ahead_load=raw)).parse_ahead_load == load


@pytest.mark.parametrize("raw", [Path("there"), "there"])
def test_reports_and_snapshots_go_where_the_settings_say(
    wrap, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, raw: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    site = wrap(
        cache_dir=raw / "cache" if isinstance(raw, Path) else "there/cache",
        snapshot_dir="there/snapshots",
    )

    site.post("/refresh", JSON)
    taken = site.post("/snapshot", JSON).json()["id"]

    assert (tmp_path / "there" / "cache" / "current").is_file()
    found = {path.name for path in (tmp_path / "there" / "snapshots").iterdir()}
    assert found == {taken, f"{taken}.coverage"}


def test_reports_and_snapshots_lie_beside_the_data_file_unless_set(
    reported: Site, tmp_path: Path
) -> None:
    reported.post("/snapshot", JSON)

    assert {path.name for path in tmp_path.iterdir()} == {
        ".wsgi-coverage-cache",
        ".wsgi-coverage-snapshots",
    }


@pytest.mark.parametrize("value", ["1", "true", "YES", "on"])
def test_disabled_turns_everything_off(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    started: list[object] = []
    monkeypatch.setattr("wsgi_coverage.collect.forks.start", lambda **_: started.append(1))
    monkeypatch.setenv("WSGI_COVERAGE_DISABLED", value)
    monkeypatch.setenv("WSGI_COVERAGE_AUTOSAVE_INTERVAL", "nonsense")

    app = CoverageMiddleware(hello)  # nothing says who may look, and nothing needs to

    assert call(app, "GET", "/debug/coverage/").body == b"|/debug/coverage/"
    assert started == []


@pytest.mark.parametrize("value", ["0", "false", "No", "off", ""])
def test_what_does_not_say_disabled_turns_nothing_off(
    wrap, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("WSGI_COVERAGE_DISABLED", value)

    assert wrap().get("/").mimetype == "text/html"


def test_the_keyword_disabled_goes_before_the_variable(
    wrap, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WSGI_COVERAGE_DISABLED", "1")

    assert wrap(disabled=False).get("/").mimetype == "text/html"


def test_the_default_section_of_a_paste_file_is_not_looked_at(worker: StandInWorker) -> None:
    of_the_application = {"debug": "true", "autosave_interval": "x", "here": "/", "no_such": "y"}

    with pytest.raises(RuntimeError, match="refusing"):
        filter_factory(of_the_application)(hello)


def test_the_settings_do_not_show_the_password(wrap) -> None:
    assert "secret" not in repr(settled(wrap(password="secret")))


def test_no_answer_has_another_variable_of_the_environment(
    wrap, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://shop:tell-nobody@db")
    monkeypatch.setenv("WSGI_COVERAGE_PASSWORD", "tell-nobody")
    site = wrap(auth=lambda environ: True)
    assert site.post("/refresh", JSON).status == 200

    for path in ("/", "/health", "/files", "/functions", "/workers", "/report", "/snapshots"):
        for headers in (JSON, BROWSER):
            answer = site.get(path, headers)
            assert answer.status == 200
            assert "tell-nobody" not in answer.text
            assert "DATABASE_URL" not in answer.text
