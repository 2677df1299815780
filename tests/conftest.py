"""What every test gets: nothing of the surrounding process's coverage configuration leaks in."""

import os

import pytest


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("WSGI_COVERAGE_", "FLASK_COVERAGE_")):
            monkeypatch.delenv(name)
