"""Exactly the lines that ran are shown, whatever framework the application is written in."""

import textwrap
from typing import Any

import pytest

PLAIN = """\
    def app(environ, start_response):  # ran
        start_response("200 OK", [("Content-Type", "text/plain")])  # ran
        if environ["PATH_INFO"] == "/buy":  # ran
            return [b"bought"]  # ran
        if environ["PATH_INFO"] == "/sell":
            return [b"sold"]
        return [b"home"]


    def factory(global_conf, **local_conf):  # factory
        return app  # factory
"""
FLASK = """\
    from flask import Flask  # ran

    app = Flask(__name__)  # ran


    @app.get("/buy")  # ran
    def buy():  # ran
        return "bought"  # ran


    @app.get("/sell")  # ran
    def sell():  # ran
        return "sold"


    @app.before_request  # ran
    def count():  # ran
        if app.debug is None:  # ran
            app.logger.info("never")
"""
BOTTLE = """\
    import bottle  # ran

    app = bottle.Bottle()  # ran


    @app.get("/buy")  # ran
    def buy():  # ran
        return "bought"  # ran


    @app.get("/sell")  # ran
    def sell():  # ran
        return "sold"
"""
DJANGO = """\
    import django  # ran
    from django.conf import settings  # ran
    from django.core.wsgi import get_wsgi_application  # ran
    from django.http import HttpResponse  # ran
    from django.urls import path  # ran

    settings.configure(  # ran
        ROOT_URLCONF=__name__, ALLOWED_HOSTS=["localhost"], SECRET_KEY="for tests", USE_TZ=True
    )


    def buy(request):  # ran
        return HttpResponse("bought", content_type="text/plain")  # ran


    def sell(request):  # ran
        return HttpResponse("sold", content_type="text/plain")


    urlpatterns = [path("buy", buy), path("sell", sell)]  # ran
    app = get_wsgi_application()  # ran
"""
PASTE = """\
    [DEFAULT]
    debug = true
    trusted_hosts = meant for the application

    [app:shop]
    paste.app_factory = shop:factory

    [filter:coverage]
    use = egg:wsgi-coverage
    password = secret
    config_file = %(here)s/.coveragerc
    autosave_interval = 2.5

    [pipeline:main]
    pipeline = coverage shop
"""
MIDDLEWARE = """
    import json
    from wsgiref.validate import validator

    from wsgi_calls import call, executed
    from wsgi_coverage import CoverageMiddleware, start_early

    start_early()
    import shop

    app = CoverageMiddleware(validator(shop.app), debug=True)
    assert call(app, "GET", "/buy").text == "bought"
    print(json.dumps(executed(app)))
"""
ADAPTER = """
    import json

    from flask_calls import client_of
    from flask_coverage import FlaskCoverage, start_early
    from wsgi_calls import executed

    start_early()
    import shop

    client = client_of(shop.app, debug=True)
    assert client.get("/buy").text == "bought"
    print(json.dumps(executed(shop.app)))
"""
DEPLOYED = """
    import json
    from pathlib import Path

    from paste.deploy import loadapp
    from wsgi_calls import call, executed
    from wsgi_coverage import start_early

    start_early()
    app = loadapp(f"config:{Path('paste.ini').absolute()}")
    assert call(app, "GET", "/buy").text == "bought"
    stranger = call(app, "GET", "/debug/coverage/health").status
    known = {"HTTP_AUTHORIZATION": "Basic YWRtaW46c2VjcmV0"}
    health = call(app, "GET", "/debug/coverage/health", **known).json()
    print(json.dumps({
        "lines": executed(app, **known),
        "stranger": stranger,
        "interval": health["autosave_interval_seconds"],
    }))
"""


def marked(source: str, *marks: str) -> list[int]:
    """The lines that carry one of the marks."""
    lines = textwrap.dedent(source).splitlines()
    return [
        number
        for number, line in enumerate(lines, start=1)
        if any(line.endswith(f"# {mark}") for mark in marks)
    ]


@pytest.mark.parametrize("branch", ["false", "true"])
def test_a_plain_applications_lines_are_shown_exactly(run_script, branch: str) -> None:
    config = f"[run]\ninclude = shop.py\nbranch = {branch}\n"

    lines = run_script(MIDDLEWARE, {"shop.py": PLAIN, ".coveragerc": config})

    factory, _ = marked(PLAIN, "factory")
    assert lines == sorted([*marked(PLAIN, "ran"), factory])


@pytest.mark.parametrize("script", [MIDDLEWARE, ADAPTER], ids=["middleware", "adapter"])
def test_a_flask_applications_lines_are_shown_exactly(run_script, script: str) -> None:
    assert run_script(script, {"shop.py": FLASK}) == marked(FLASK, "ran")


def test_a_bottle_applications_lines_are_shown_exactly(run_script) -> None:
    pytest.importorskip("bottle")

    assert run_script(MIDDLEWARE, {"shop.py": BOTTLE}) == marked(BOTTLE, "ran")


def test_a_django_applications_lines_are_shown_exactly(run_script) -> None:
    pytest.importorskip("django")

    assert run_script(MIDDLEWARE, {"shop.py": DJANGO}) == marked(DJANGO, "ran")


def test_a_paste_pipeline_measures_and_takes_its_own_options_only(run_script) -> None:
    pytest.importorskip("paste.deploy")

    shown: Any = run_script(DEPLOYED, {"shop.py": PLAIN, "paste.ini": PASTE})

    assert shown == {
        "lines": marked(PLAIN, "ran", "factory"),
        "stranger": 401,
        "interval": 2.5,
    }


def test_without_an_early_start_what_runs_after_wrapping_is_shown(run_script) -> None:
    late = MIDDLEWARE.replace("start_early()\n", "\n")

    lines = run_script(late, {"shop.py": PLAIN})

    assert lines == marked(PLAIN, "ran")[1:]  # the def had run before


def test_an_application_named_in_the_environment_is_measured_from_its_first_line(
    run_script,
) -> None:
    lines = run_script(
        """
        import json

        from wsgi_calls import call, executed
        from wsgi_coverage.wsgi import application

        assert call(application, "GET", "/buy").text == "bought"
        print(json.dumps(executed(application)))
        """,
        {"shop.py": FLASK},
        env={"WSGI_COVERAGE_APP": "shop:app", "WSGI_COVERAGE_DEBUG": "1"},
    )

    assert lines == marked(FLASK, "ran")
