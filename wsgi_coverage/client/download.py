"""Read an answer's body into memory, or into a file that is replaced only by a complete body.

No state; two downloads to one file have a temporary file each, and the last one stays.
"""

from __future__ import annotations

import contextlib
import http.client
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from wsgi_coverage.client.errors import ClientError
from wsgi_coverage.client.transport import BrokenAnswerError
from wsgi_coverage.errors import DiskFullError, is_disk_full
from wsgi_coverage.system import outputs, own_files

CHUNK = 1 << 16  # bytes
MOST = 256_000_000  # bytes of an answer that is read into memory


def body(answer: http.client.HTTPResponse, most: int = MOST) -> bytes:
    """Read a whole body into memory.

    Args:
        answer: the answer to read.
        most: bytes that the body may have.

    Raises:
        BrokenAnswerError: the connection broke before the end.
        ClientError: the body is larger than `most`.
    """
    found = answer.read(most + 1)
    if len(found) > most:
        raise ClientError(f"the answer is larger than {most} bytes: download it to a file")
    _check_whole(answer)
    return found


def to_file(answer: http.client.HTTPResponse, target: Path) -> int:
    """Write a body to a temporary file beside a target, and rename it to the target.

    A target that is no regular file, a pipe or /dev/null for instance, is written to directly.

    Returns:
        The body's size in bytes.

    Raises:
        BrokenAnswerError: the connection broke before the end; the target is as it was.
        DiskFullError, ClientError: the target cannot be written; it is as it was.
    """
    with saying_why_not(target):
        is_special = outputs.is_special(target)
    if is_special:
        with saying_why_not(target), outputs.open_output(target) as file:
            return _copy(answer, file)
    with replacing(target) as temporary, temporary.open("wb") as file:
        return _copy(answer, file)


class NotWrittenError(Exception):
    """An open file cannot be written to. No OSError, so as not to be taken for a connection's."""

    def __init__(self, error: OSError) -> None:
        super().__init__(error)
        self.error = error


def to_open_file(answer: http.client.HTTPResponse, file: BinaryIO) -> int:
    """Write a body to an open file.

    Returns:
        The body's size in bytes.

    Raises:
        BrokenAnswerError: the connection broke before the end; what came until then is written.
        NotWrittenError: the file cannot be written to.
    """
    size = 0
    while chunk := _chunk(answer):
        try:
            file.write(chunk)
        except OSError as error:
            raise NotWrittenError(error) from error
        size += len(chunk)
    _check_whole(answer)
    return size


def _copy(answer: http.client.HTTPResponse, file: BinaryIO) -> int:
    size = 0
    while chunk := _chunk(answer):
        file.write(chunk)
        size += len(chunk)
    _check_whole(answer)
    return size


@contextlib.contextmanager
def drafting(target: Path) -> Iterator[Path]:
    """Do as `outputs.drafting`, with errors of the file system as a client's.

    Raises:
        DiskFullError, ClientError: the target cannot be written. Errors of the block stay as is.
    """
    with contextlib.ExitStack() as drafts:
        with saying_why_not(target):
            draft = drafts.enter_context(outputs.drafting(target))
        yield draft


@contextlib.contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """Do as `outputs.replacing`, with the mode of a new file by the umask.

    Raises:
        DiskFullError, ClientError: writing failed, here or in the block; the target is as it was.
    """
    with saying_why_not(target), outputs.replacing(target, own_files.usual_mode()) as temporary:
        yield temporary


@contextlib.contextmanager
def saying_why_not(target: Path) -> Iterator[None]:
    """Turn an OSError of the block into a one-line error that names the file."""
    try:
        yield
    except OSError as error:
        if is_disk_full(error):
            raise DiskFullError(f"no room on the disk for {target}, which is unchanged") from None
        reason = error.strerror or str(error)
        raise ClientError(f"{target} cannot be written: {reason}") from None


def _chunk(answer: http.client.HTTPResponse) -> bytes:
    try:
        return answer.read(CHUNK)
    except (OSError, http.client.HTTPException) as error:
        reason = "the answer stopped" if isinstance(error, TimeoutError) else "the answer broke off"
        raise BrokenAnswerError(reason) from None


def _check_whole(answer: http.client.HTTPResponse) -> None:
    # Read in parts, a body that is shorter than its Content-Length is no error for http.client.
    if answer.length:
        raise BrokenAnswerError(f"the answer broke off {answer.length} bytes before its end")
