"""What every test gets: nothing of the surrounding process's coverage configuration leaks in."""

import contextlib
import os
import signal
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent / "support"))

# A shell starts what it runs in the background with Ctrl-C ignored, nohup with a hangup, and so do
# their children's children; a signal with a handler is back to its default in them. A hangup is for
# the process that somebody has started, which ends those that xdist starts.
with contextlib.suppress(ValueError):  # not the main thread
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN or "PYTEST_XDIST_WORKER" in os.environ:
        signal.signal(signal.SIGHUP, lambda *_: None)


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("WSGI_COVERAGE_", "FLASK_COVERAGE_")):
            monkeypatch.delenv(name)
