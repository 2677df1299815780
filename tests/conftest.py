"""What every test gets: nothing of the surrounding process's coverage configuration leaks in."""

import contextlib
import os
import signal

import pytest

# A shell starts what it runs in the background with Ctrl-C ignored, and so do its children's
# children; a signal with a handler is back to its default in them.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    with contextlib.suppress(ValueError):  # not the main thread
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("WSGI_COVERAGE_", "FLASK_COVERAGE_")):
            monkeypatch.delenv(name)
