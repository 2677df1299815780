"""Get coverage.py's whole configuration: as an object, serialized, or as plain data.

coverage.py documents access to single options only (Coverage.get_option); a report needs all.

Concurrency: functions that only read.
"""

from __future__ import annotations

import json
from typing import Any

from coverage import Coverage

from wsgi_coverage.compat import names, needs


def of(cov: Coverage) -> Any:
    """Return the configuration object of a Coverage.

    Raises:
        CoverageChangedError: this coverage.py has another one.
    """
    try:
        return cov.config
    except AttributeError:
        names.require(needs.REPORTS)
        raise


def file_of(cov: Coverage) -> str | None:
    """Return the file that a Coverage's configuration was read from; None: there was none.

    Raises:
        CoverageChangedError: this coverage.py does not tell.
    """
    names.require(needs.CONFIG_FILE)
    found: str | None = of(cov).config_file
    return found


def option(config: Any, name: str) -> Any:
    """Return an option of a configuration, as `Coverage.get_option` does.

    Args:
        config: coverage.py's configuration object.
        name: the documented name: section:option, or `paths`.

    Raises:
        ConfigError: there is no such option.
    """
    return config.get_option(name)


def plain(config: Any) -> dict[str, Any]:
    """Return the options of a configuration that are plain data, by attribute name."""
    return {
        name: value
        for name, value in vars(config).items()
        if not name.startswith("_") and _is_plain(value)
    }


def _is_plain(value: Any) -> bool:
    try:
        json.dumps(value)
    except (TypeError, ValueError):
        return False
    return True


def serialized(cov: Coverage, *, data_file: str | None = None, any_core: bool = False) -> str:
    """Serialize a Coverage's configuration, with absolute paths, for `given`.

    Args:
        cov: the Coverage with the configuration.
        data_file: the data file to use instead of the configured one.
        any_core: whether to leave out the configured core.

    Raises:
        CoverageChangedError: this coverage.py cannot serialize it.
    """
    names.require(needs.CHILDREN)
    config = of(cov).copy()
    if data_file is not None:
        config.data_file = data_file
    if any_core:
        config.core = None
    found: str = config.serialize()
    return found


def given(serialized: str) -> str:
    """Return a `config_file` argument for a Coverage that is to have a serialized configuration."""
    return f":data:{serialized}"
