"""A device or a pipe as a target is written to, and stays what it is."""

import os
import stat
import subprocess
import sys
import threading
from http.client import HTTPResponse
from pathlib import Path
from unittest.mock import MagicMock

import pytest

from wsgi_coverage.checkout.sources import Checkout
from wsgi_coverage.client.collect import collect
from wsgi_coverage.client.download import replacing, to_file
from wsgi_coverage.client.errors import ClientError
from wsgi_coverage.report import test_run
from wsgi_coverage.system.outputs import drafting, is_special, pour


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

    test_run._put(tmp_path / "data", pipe)

    assert received() == b"data"
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def put(draft: Path, target: Path) -> None:
    with drafting(target) as place:
        whole = place.with_name("whole")
        whole.write_bytes(draft.read_bytes())
        whole.replace(place)
        pour(place, target)


def replace(draft: Path, target: Path) -> None:
    with replacing(target) as temporary:
        temporary.write_bytes(draft.read_bytes())


WAYS = [put, replace, test_run._put]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", ["/dev/fd/{}", "link"])
def test_an_open_file_is_written_where_it_is(tmp_path: Path, way, name: str) -> None:
    (tmp_path / "data").write_bytes(b"data")
    with (tmp_path / "out").open("wb") as out:
        out.write(b"before ")
        out.flush()
        target = Path(f"/dev/fd/{out.fileno()}")
        if name == "link":
            (tmp_path / "link").symlink_to(target)
            target = tmp_path / "link"

        way(tmp_path / "data", target)
        out.write(b" after")

    assert (tmp_path / "out").read_bytes() == b"before data after"
    assert not (tmp_path / "link").exists() or (tmp_path / "link").is_symlink()


def test_stdout_is_written_to_where_it_is_a_file(tmp_path: Path) -> None:
    link = tmp_path / "stdout"  # as /dev/stdout is one, which nobody shall lose
    link.symlink_to("/dev/fd/1")
    with (tmp_path / "out").open("wb") as out:
        subprocess.run(
            [
                sys.executable,
                "-c",
                "import sys; from pathlib import Path\n"
                "from wsgi_coverage.system.outputs import drafting, pour\n"
                "with drafting(Path(sys.argv[1])) as draft:\n"
                "    draft.write_bytes(b'data'); pour(draft, Path(sys.argv[1]))",
                link,
            ],
            stdout=out,
            check=True,
        )

    assert (tmp_path / "out").read_bytes() == b"data"
    assert link.is_symlink()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("was_there", [True, False])
def test_a_link_to_a_file_stays_one(tmp_path: Path, way, was_there: bool) -> None:
    (tmp_path / "data").write_bytes(b"data")
    (tmp_path / "real").mkdir()
    if was_there:
        (tmp_path / "real" / "file").write_bytes(b"former")
    link = tmp_path / "link"
    link.symlink_to("real/file")

    way(tmp_path / "data", link)

    assert link.is_symlink()
    assert (tmp_path / "real" / "file").read_bytes() == b"data"


def collect_into(draft: Path, target: Path) -> None:
    collect([], target, private=True, checkout=Checkout(draft.parent, False))


def download_into(draft: Path, target: Path) -> None:
    to_file(HTTPResponse(MagicMock()), target)


@pytest.mark.parametrize("way", [*WAYS, collect_into, download_into])
def test_a_link_that_leads_to_itself_is_an_error_and_stays(tmp_path: Path, way) -> None:
    (tmp_path / "data").write_bytes(b"data")
    link, back = tmp_path / "link", tmp_path / "back"
    link.symlink_to(back)
    back.symlink_to(link)

    with pytest.raises((OSError, ClientError), match=r"symbolic links"):
        way(tmp_path / "data", link)

    assert link.is_symlink()
    assert {each.name for each in tmp_path.iterdir()} == {"data", "link", "back"}
