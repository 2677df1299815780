"""`wait` bounds the whole answer, also while another process holds the locks of reports."""

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from stand_ins import Site
from wsgi_calls import JSON

HOLD = """
import sys
from pathlib import Path
from wsgi_coverage.store.file_lock import locked

path = Path(sys.argv[1])
path.parent.mkdir(exist_ok=True)
with locked(path, 30.0):
    print("held", flush=True)
    sys.stdin.read()
"""
LONG = 60.0  # seconds, in which a loaded machine answers


@contextlib.contextmanager
def held(path: Path) -> Iterator[None]:
    """Have another process hold a lock."""
    command = [sys.executable, "-c", HOLD, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline().strip() == b"held"
        yield
        process.stdin.close()


@pytest.mark.parametrize("wait", [0, 0.3])
@pytest.mark.parametrize(
    ("lock", "url"),
    [
        ("build.lock", "/refresh"),
        ("build.lock", "/snapshot"),
        ("build.lock", "/snapshot?keep=0"),
        ("build.lock", "/snapshot?reset=1"),
        ("collect.lock", "/snapshot?reset=1"),
        ("build.lock", "/reset"),
        ("build.lock", "/pause"),
        ("build.lock", "/resume"),
    ],
)
def test_after_wait_seconds_the_answer_is_that_another_process_builds(
    site: Site, tmp_path: Path, lock: str, url: str, wait: float
) -> None:
    with held(tmp_path / ".wsgi-coverage-cache" / lock):
        began = time.monotonic()
        answer = site.post(f"{url}{'&' if '?' in url else '?'}wait={wait}", JSON)
        took = time.monotonic() - began

    assert (answer.status, answer.error) == (503, "refresh-busy")
    assert answer.headers["Retry-After"]
    assert wait <= took < LONG
    assert f"has held {tmp_path / '.wsgi-coverage-cache' / lock} for " in answer.json()["message"]


def test_workers_that_are_waited_for_leave_less_time_for_other_builds(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask_all, timeouts = site.worker.ask_all, []

    def slow(verb: str, *, wait: float) -> object:
        time.sleep(wait)  # some worker does not answer
        return ask_all(verb, wait=wait)

    @contextlib.contextmanager
    def noting(path: Path, timeout: float) -> Iterator[None]:
        timeouts.append(timeout)
        yield

    monkeypatch.setattr(site.worker, "ask_all", slow)
    monkeypatch.setattr("wsgi_coverage.report.publish.locked", noting)

    assert site.post("/refresh?wait=0.2", JSON).status == 200

    assert timeouts == [0.0]


def test_a_request_that_does_not_say_how_long_shares_what_others_make(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    timeouts = []

    @contextlib.contextmanager
    def noting(path: Path, timeout: float) -> Iterator[None]:
        timeouts.append(timeout)
        yield

    monkeypatch.setattr("wsgi_coverage.report.publish.locked", noting)

    assert site.post("/refresh", JSON).status == 200

    assert timeouts == [120.0]
