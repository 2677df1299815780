"""Live code coverage for running Python web applications."""

TYPE_CHECKING = False  # typing is slow to import, and so is all else that is named here
if TYPE_CHECKING:
    from wsgi_coverage.collect.early import start_early
    from wsgi_coverage.collect.labels.blocks import labelled
    from wsgi_coverage.collect.labels.labelling import current_label
    from wsgi_coverage.errors import (
        AuthNotConfiguredError,
        SettingsError,
        UnsupportedPythonError,
        WsgiCoverageError,
    )
    from wsgi_coverage.middleware import CoverageMiddleware

__version__ = "0.1.0"

__all__ = [
    "AuthNotConfiguredError",
    "CoverageMiddleware",
    "SettingsError",
    "UnsupportedPythonError",
    "WsgiCoverageError",
    "current_label",
    "labelled",
    "start_early",
]

_HOMES = {
    "CoverageMiddleware": "middleware",
    "current_label": "collect.labels.labelling",
    "labelled": "collect.labels.blocks",
    "start_early": "collect.early",
}


def __getattr__(name: str) -> object:
    """Import a public name when it is first used.

    Commands and measured child processes need few of the names; and Ctrl-C during an import at the
    start of a command would show a traceback.
    """
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    module = importlib.import_module(f"{__name__}.{_HOMES.get(name, 'errors')}")
    found = globals()[name] = getattr(module, name)
    return found
