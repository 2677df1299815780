"""One tracer and one worker a process, however measuring starts; each in a process of its own."""

import pytest
from child_scripts import SHOP, START, WRAPPED


def test_two_applications_one_wrapped_twice_share_a_tracer_and_a_worker(run_script) -> None:
    shown = run_script(
        WRAPPED
        + """
    first = forks.current()
    twice = CoverageMiddleware(app, debug=True, url_prefix="/outer")
    other = CoverageMiddleware(validator(shop.app), debug=True)
    call(other, "GET", "/")
    workers = call(twice, "POST", "/outer/refresh", JSON).json()["workers"]
    print(json.dumps([forks.current() is first, len(ours()), len(workers),
                      executed(app), executed(other)]))
    """,
        {"shop.py": SHOP},
    )

    assert shown == [True, 1, 1, [2, 3, 4, 5], [2, 3, 4, 5]]


def test_the_shorter_autosave_interval_of_two_applications_holds_for_both(run_script) -> None:
    source = f"""{START}
    import shop
    shown = []
    for seconds in (0, 40, 20, 30, 0):
        app = CoverageMiddleware(shop.app, debug=True, autosave_interval=seconds)
        health = call(app, "GET", PREFIX + "/health").json()
        shown.append(health["autosave_interval_seconds"])
    print(json.dumps(shown))
    """

    assert run_script(source, {"shop.py": SHOP}) == [0, 40, 20, 20, 20]


def test_one_flask_extension_on_two_applications_is_one_tracer_and_one_worker(run_script) -> None:
    shown = run_script(
        START
        + """
    from flask import Flask
    from flask_calls import client_of
    from flask_coverage import FlaskCoverage

    extension = FlaskCoverage(debug=True)
    apps = [Flask("one"), Flask("two")]
    clients = [client_of(app, extension) for app in apps]
    health = clients[1].get("/debug/coverage/health").json
    print(json.dumps([extension.coverage is forks.current().engine.coverage, len(ours()),
                      len(health["workers"])]))
    """
    )

    assert shown == [True, 1, 1]


@pytest.mark.parametrize("core", ["", "ctrace"])
def test_starting_keeps_no_sources_in_the_memory_of_the_process(run_script, core: str) -> None:
    shown = run_script(
        f"""
    import linecache
    {START}
    import shop
    CoverageMiddleware(shop.app, debug=True)
    print(json.dumps([*linecache.cache]))
    """,
        {"shop.py": SHOP},
        env={"COVERAGE_CORE": core} if core else {},
    )

    assert shown == []


@pytest.mark.parametrize("package", ["wsgi_coverage", "flask_coverage"])
def test_start_early_returns_the_coverage_that_it_started_and_later_none(
    run_script, package: str
) -> None:
    shown = run_script(
        START
        + f"""
    from {package} import start_early
    first, second = start_early(), start_early()
    import shop
    app = CoverageMiddleware(validator(shop.app), debug=True)
    is_ours = first is forks.current().engine.coverage
    print(json.dumps([is_ours, second, len(ours()), executed(app)]))
    """,
        {"shop.py": SHOP},
    )

    assert shown == [True, None, 1, [1]]


@pytest.mark.parametrize(
    ("package", "variable"),
    [
        ("wsgi_coverage", "WSGI_COVERAGE_DISABLED"),
        ("flask_coverage", "WSGI_COVERAGE_DISABLED"),
        ("flask_coverage", "FLASK_COVERAGE_DISABLED"),
    ],
)
def test_start_early_does_nothing_where_it_is_disabled(
    run_script, package: str, variable: str
) -> None:
    shown = run_script(
        START
        + f"""
    from {package} import start_early
    print(json.dumps([start_early(), coverage.Coverage.current(), len(ours())]))
    """,
        env={variable: "1"},
    )

    assert shown == [None, None, 0]


def test_a_coverage_that_runs_already_is_adopted_and_not_reset(run_script) -> None:
    shown = run_script(
        START
        + """
    theirs = coverage.Coverage()
    theirs.start()
    import shop
    app = CoverageMiddleware(validator(shop.app), debug=True)
    call(app, "GET", "/buy")
    lines = executed(app)
    reset = call(app, "POST", PREFIX + "/reset", JSON)
    page = call(app, "GET", PREFIX + "/", BROWSER).text
    after, early = executed(app), start_early()
    still = coverage.Coverage.current() is theirs
    theirs.stop()
    theirs.save()
    saved = [sorted(theirs.get_data().lines(name)) for name in theirs.get_data().measured_files()]
    print(json.dumps({
        "lines": lines, "reset": [reset.status, reset.error], "after": after, "still": still,
        "button": 'action="./reset"' in page, "saved": saved, "early": early,
    }))
    """,
        {"shop.py": SHOP},
    )

    assert shown == {
        "lines": [1, 2, 3, 4],
        "reset": [409, "not-ours"],
        "after": [1, 2, 3, 4],
        "still": True,
        "button": False,
        "saved": [[1, 2, 3, 4]],
        "early": None,
    }


# A coverage configuration that does not parse

BROKEN = {
    "broken.toml": "[tool.coverage.run\n",
    "broken.ini": "no section\n",
    "broken.cfg": "[run]\nbranch = perhaps\n",
}


@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.parametrize(
    "start",
    [
        "start_early({name!r})",
        "CoverageMiddleware(print, debug=True, config_file={name!r})",
        "FlaskCoverage(Flask('x'), debug=True, config_file={name!r})",
    ],
)
def test_a_configuration_that_does_not_parse_is_refused_by_source_and_in_coverage_pys_words(
    run_script, name: str, start: str
) -> None:
    message, theirs, threads, current = run_script(
        START
        + f"""
    from flask import Flask
    from flask_coverage import FlaskCoverage
    message = theirs = None
    try:
        {start.format(name=name)}
    except SettingsError as error:
        message = str(error)
    current = coverage.Coverage.current()
    import os
    try:
        coverage.Coverage(config_file=os.path.abspath({name!r}))
    except coverage.CoverageException as error:
        theirs = str(error)
    print(json.dumps([message, theirs, len(ours()), current]))
    """,
        {name: BROKEN[name]},
    )

    assert message.startswith("config_file /")
    assert message.endswith(f"{name} (keyword config_file) cannot be used: {theirs}")
    assert name in message
    assert (threads, current) == (0, None)
