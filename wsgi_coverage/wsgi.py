"""Entry point that needs no code: the environment names the application to serve, measured.

    WSGI_COVERAGE_APP=myapp:app gunicorn wsgi_coverage.wsgi:application

Measuring starts before the application is imported.

Concurrency: imported by the server, once a process.
"""

from __future__ import annotations

import ast
import importlib
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from wsgi_coverage import callables
from wsgi_coverage.collect.early import loading, start_early
from wsgi_coverage.errors import SettingsError
from wsgi_coverage.middleware import CoverageMiddleware, WsgiApplication, why_not_wsgi

VARIABLE = "WSGI_COVERAGE_APP"
DEFAULT_NAMES = ("application", "app")


def load_application(env: Mapping[str, str]) -> CoverageMiddleware:
    """Start measuring, import the application named in the environment, and wrap it.

    Raises:
        SettingsError: ``WSGI_COVERAGE_APP`` is missing or does not lead to an application.
    """
    named = env.get(VARIABLE, "").strip()
    if not named:
        raise SettingsError(
            f"environment variable {VARIABLE} must name the application, as in 'myapp:app' or "
            "'myapp:create_app()'; it is not set"
        )
    start_early()
    loading()  # the load begins: the application is imported from here on
    here = str(Path.cwd())
    if here not in sys.path and "" not in sys.path:
        sys.path.insert(0, here)
    return CoverageMiddleware(find_application(named))


def find_application(named: str) -> WsgiApplication:
    """Import ``module``, ``module:name`` or ``module:factory(arguments)``.

    Raises:
        SettingsError: there is no such module or name, or it is no WSGI application.
    """
    module_name, _, expression = named.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise  # a module that the application imports is missing
        raise _refusal(named, f"there is no module {error.name!r}") from None
    except ValueError as error:
        raise _refusal(named, str(error)) from None
    found = _evaluate(module, expression, named)
    if not callable(found):
        raise _refusal(named, f"{found!r} is not callable")
    if why := why_not_wsgi(found):
        raise _refusal(named, why)
    return cast("WsgiApplication", found)


def _evaluate(module: Any, expression: str, named: str) -> object:
    if not expression:
        for name in DEFAULT_NAMES:
            if hasattr(module, name):
                return getattr(module, name)
        raise _refusal(named, f"the module has neither {' nor '.join(DEFAULT_NAMES)}")
    try:
        node = ast.parse(expression, mode="eval").body
    except SyntaxError:
        raise _refusal(named, f"{expression!r} is not a name or a call") from None
    call = node if isinstance(node, ast.Call) else None
    target = call.func if call is not None else node
    found = _attribute(module, target, named)
    if call is None:
        return found
    try:
        arguments = [ast.literal_eval(each) for each in call.args]
        keywords = {each.arg: ast.literal_eval(each.value) for each in call.keywords if each.arg}
    except ValueError:
        raise _refusal(named, "a factory's arguments must be literals") from None
    if not callable(found):
        raise _refusal(named, f"{found!r} is not callable")
    if callables.is_async(found):
        raise _refusal(named, f"{found!r} is async, and gives no application when it is called")
    return found(*arguments, **keywords)


def _attribute(module: Any, node: ast.expr, named: str) -> Any:
    if isinstance(node, ast.Attribute):
        owner, name = _attribute(module, node.value, named), node.attr
    elif isinstance(node, ast.Name):
        owner, name = module, node.id
    else:
        raise _refusal(named, "a name or a call must follow the colon")
    try:
        return getattr(owner, name)
    except AttributeError:
        raise _refusal(named, f"there is no {name!r} in it") from None


def _refusal(named: str, why: str) -> SettingsError:
    return SettingsError(
        f"environment variable {VARIABLE} must lead to a WSGI application, got {named!r}: {why}"
    )


def __getattr__(name: str) -> CoverageMiddleware:
    """Load the application for the names `application` and `app`, so that errors name the cause."""
    if name not in ("application", "app"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return load_application(os.environ)


if VARIABLE in os.environ:  # uWSGI and mod_wsgi read the module's dict, not its attributes
    application: CoverageMiddleware = load_application(os.environ)
    app: CoverageMiddleware = application
