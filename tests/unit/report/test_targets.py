"""A device or a pipe as a target is written to, and stays what it is."""

import os
import stat
import threading
from pathlib import Path

import pytest

from wsgi_coverage.client.download import replacing
from wsgi_coverage.report import final
from wsgi_coverage.report.targets import drafting, is_special, pour


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    return path


@pytest.fixture
def received(pipe: Path):
    """What comes out of the pipe, as a function that waits for it."""
    out: list[bytes] = []
    reader = threading.Thread(target=lambda: out.append(pipe.read_bytes()), daemon=True)
    reader.start()

    def wait() -> bytes:
        reader.join(30)
        return b"".join(out)

    return wait


def test_a_file_is_written_itself(tmp_path: Path) -> None:
    for target in (tmp_path / "new", tmp_path):
        assert not is_special(target)
        with drafting(target) as draft:
            assert draft == target


@pytest.mark.parametrize("linked", [False, True])
def test_a_pipe_gets_what_was_drafted_and_stays_one(
    tmp_path: Path, pipe: Path, received, linked: bool
) -> None:
    target = pipe
    if linked:
        target = tmp_path / "link"
        target.symlink_to(pipe)

    with drafting(target) as draft:
        draft.write_bytes(b"drafted")
        pour(draft, target)

    assert received() == b"drafted"
    assert not draft.exists()
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert target.is_symlink() == linked


def test_what_takes_a_file_s_place_is_written_into_a_pipe(pipe: Path, received) -> None:
    with replacing(pipe) as temporary:
        temporary.write_bytes(b"report")

    assert received() == b"report"
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_the_data_file_of_a_test_run_is_written_into_a_pipe(
    tmp_path: Path, pipe: Path, received
) -> None:
    (tmp_path / "data").write_bytes(b"data")

    final._put(tmp_path / "data", pipe)

    assert received() == b"data"
    assert stat.S_ISFIFO(pipe.stat().st_mode)
