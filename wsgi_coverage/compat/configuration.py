"""coverage.py's configuration as an object, whole: copied, serialized, as plain data.

Single options are documented, as Coverage.get_option; a report takes all of them with it.

Concurrency: reads only; what is returned is the caller's.
"""

from __future__ import annotations

import json
from typing import Any

from coverage import Coverage

from wsgi_coverage.compat import names, needs


def of(cov: Coverage) -> Any:
    """The configuration of a Coverage, whose attributes have the names of coverage.py's options.

    Raises:
        CoverageChangedError: it cannot be had with this coverage.py.
    """
    try:
        return cov.config
    except AttributeError:
        names.require(needs.REPORTS)
        raise


def file_of(cov: Coverage) -> str | None:
    """The file that it was read from; None: none was.

    Raises:
        CoverageChangedError: that cannot be told with this coverage.py.
    """
    names.require(needs.CONFIG_FILE)
    found: str | None = of(cov).config_file
    return found


def option(config: Any, name: str) -> Any:
    """An option of a configuration, as `Coverage.get_option` gives it.

    Args:
        config: coverage.py's.
        name: as documented: section:option, or `paths`.

    Raises:
        ConfigError: there is no such option.
    """
    return config.get_option(name)


def plain(config: Any) -> dict[str, Any]:
    """A configuration as plain data."""
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
    """A configuration with absolute paths, as `given` takes it.

    Args:
        cov: whose configuration.
        data_file: instead of the configured one.
        any_core: leave out the core that it names.

    Raises:
        CoverageChangedError: that cannot be done with this coverage.py.
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
    """What a Coverage takes as its `config_file`, to have a configuration that was serialized."""
    return f":data:{serialized}"
