"""Entry point for PasteDeploy: ``use = egg:wsgi-coverage`` in a filter section.

The options of that section are the settings. Options of ``[DEFAULT]`` are ignored: ``debug`` there
is meant for the application. No state.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

from wsgi_coverage import settings as settings_module
from wsgi_coverage.collect import forks
from wsgi_coverage.middleware import CoverageMiddleware, WsgiApplication


def filter_factory(
    global_conf: Mapping[str, str],  # noqa: ARG001  PasteDeploy's interface
    **local_conf: str,
) -> Callable[[WsgiApplication], CoverageMiddleware]:
    """Make a filter from paste options.

    Raises:
        SettingsError: an option is not a setting, or its value is refused.
    """
    forks.note_folder()
    settings = settings_module.load({}, env=os.environ, options=local_conf)

    def wrap(app: WsgiApplication) -> CoverageMiddleware:
        return CoverageMiddleware.with_settings(app, settings)

    return wrap
