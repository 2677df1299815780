"""Collect the data of any number of instances into one data file about this checkout.

Concurrency: instances are asked at the same time, each in a thread of its own.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from wsgi_coverage.checkout.collected import Brought, Collected, combine
from wsgi_coverage.checkout.sources import Checkout
from wsgi_coverage.client.client import Client
from wsgi_coverage.client.download import drafting, saying_why_not
from wsgi_coverage.client.errors import FAILED, ClientError, FailedError, UnreachableError
from wsgi_coverage.errors import BuildFailedError, ConfigurationError, DiskFullError
from wsgi_coverage.store.workspace import WRITING, sweep, workplace
from wsgi_coverage.system import own_files
from wsgi_coverage.system.outputs import pour

AT_ONCE = 8  # instances
NO_DATA = {"no-data", "no-report"}


@dataclass(frozen=True, slots=True)
class Failure:
    """An instance whose data could not be collected, and why."""

    url: str
    message: str
    exit_code: int


@dataclass(slots=True, kw_only=True)
class Collection:
    """The result of collecting from instances."""

    result: Collected
    failures: list[Failure] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    complete: bool = True  # every worker of each instance that did not fail took part


@dataclass(slots=True)
class _Fetched:
    """What was downloaded from one instance."""

    client: Client
    path: Path
    has_data: bool = False
    complete: bool = True
    snapshot: str | None = None
    warnings: list[str] = field(default_factory=list)
    failure: Failure | None = None

    def fail(self, message: object, exit_code: int = FAILED) -> None:
        self.failure = Failure(self.client.url, f"{message}{_still_there([self])}", exit_code)


def collect(
    clients: Sequence[Client],
    target: Path,
    *,
    checkout: Checkout,
    append: bool = False,
    reset: bool = False,
    label: str | None = None,
    wait: float | None = None,
    private: bool = False,
    draft: Path | None = None,
) -> Collection:
    """Collect what instances have executed up to now into one data file.

    Measured files are mapped to the checkout, whatever folder they were in. Lines of a source of
    another version than the checkout's are left out with a warning.

    Args:
        clients: the instances.
        target: the data file; written if any instance had data, else left as it was.
        checkout: the sources that the data file is to be about.
        append: keep the present content of the data file.
        reset: have each instance forget what is collected, in one step, so that no line in between
            is lost. It is downloaded from a snapshot, which the instance keeps until the data is
            in the file.
        label: a context for the lines, and the label of the snapshots of `reset`.
        wait: seconds to wait for an instance's workers, at most; None: its default, 5.
        private: make the file readable by this user only; else its mode is by the umask.
        draft: where to make the file before it is copied to a target that is a device or a pipe,
            from `system.outputs`; None: in a temporary folder.

    Returns:
        The result; an instance that failed is in `failures`, and the others' data is collected.

    Raises:
        DiskFullError, ClientError: the file cannot be written; it is as it was.
        BuildFailedError: with `append`, the file cannot be read; it is as it was.
        ConfigurationError: coverage.py refuses `[paths]`; the file is as it was.
    """
    with contextlib.ExitStack() as drafts:
        if draft is None:
            draft = drafts.enter_context(drafting(target))
        workspace = drafts.enter_context(_workspace(draft))
        fetched = [_Fetched(client, workspace / str(n)) for n, client in enumerate(clients)]
        fetch = partial(_take if reset else _get, label=label, wait=wait)
        _at_once(partial(_trying, fetch), fetched)
        brought = [Brought(each.client.url, each.path) for each in fetched if each.has_data]
        own = [Brought(str(target), draft, is_own=True)] if append and draft.exists() else []
        result = Collected()
        try:
            if brought:
                parts = [*own, *brought]
                result = combine(
                    parts,
                    draft,
                    checkout,
                    workspace=workspace,
                    label=label,
                    mode=own_files.FILE if private else own_files.usual_mode(),
                )
                with saying_why_not(target):
                    pour(draft, target)
        except (DiskFullError, BuildFailedError, ConfigurationError) as error:
            raise type(error)(f"{error}{_still_there(fetched)}") from error
        return _finished(fetched, result, target)


def _at_once(do: Callable[[_Fetched], None], those: Sequence[_Fetched]) -> None:
    """Call a function for each instance in daemon threads, for which Ctrl-C does not wait."""
    left = list(reversed(those))  # pop is atomic
    errors: list[BaseException] = []

    def work() -> None:
        with contextlib.suppress(IndexError):
            while True:
                one = left.pop()
                try:
                    do(one)
                except BaseException as error:  # noqa: BLE001  raised again below
                    errors.append(error)

    threads = [threading.Thread(target=work, daemon=True) for _ in those[:AT_ONCE]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def _finished(fetched: Sequence[_Fetched], result: Collected, target: Path) -> Collection:
    folder = target.parent.resolve()
    out = Collection(result=result, warnings=list(result.warnings))
    for one in fetched:
        url = one.client.url
        out.complete = out.complete and one.complete
        out.warnings += [f"{url}: {warning}" for warning in one.warnings]
        if target.name.startswith(".coverage") and one.client.data_folder == str(folder):
            out.warnings.append(
                f"{url} measures into {folder}, too, and will count {target.name} in: "
                "give the file a name that does not begin with .coverage"
            )
        if url in result.set_aside and one.failure is None:
            one.fail(f"the data of {url} is set aside: {result.set_aside[url]}")
        if one.failure is not None:
            out.failures.append(one.failure)
        elif one.snapshot is not None:
            try:
                one.client.delete_snapshot(one.snapshot)
            except ClientError as error:
                out.warnings.append(
                    f"its data was collected, but its snapshot was not deleted: {error}"
                )
    return out


def _trying(fetch: Callable[[_Fetched], None], fetched: _Fetched) -> None:
    try:
        fetch(fetched)
    except DiskFullError:
        fetched.fail(f"no room on the disk for the data of {fetched.client.url}")
    except ClientError as error:
        fetched.fail(error, error.exit_code)


def _get(fetched: _Fetched, *, label: str | None, wait: float | None) -> None:  # noqa: ARG001
    """Have an instance make a report, and download that report's data file."""
    answer = fetched.client.refresh(wait=wait)
    fetched.complete = answer["complete"]
    fetched.warnings += answer["warnings"]
    _download(fetched)


def _take(fetched: _Fetched, *, label: str | None, wait: float | None) -> None:
    """Have an instance take a snapshot and reset in one step; download the snapshot's data file."""
    try:
        answer = fetched.client.snapshot(label=label, reset=True, wait=wait)
    except FailedError as error:
        if error.error not in NO_DATA:
            raise
        fetched.warnings.append("nothing was measured yet")
        return
    except UnreachableError as error:
        if not error.arrived:
            raise
        hint = "if the snapshot was taken nevertheless, the data is in it"
        fetched.fail(f"{error}; {hint}", error.exit_code)
        return
    fetched.complete = answer["complete"]
    fetched.snapshot = answer["id"]
    _download(fetched)


def _download(fetched: _Fetched) -> None:
    try:
        fetched.client.export(fetched.path, snapshot=fetched.snapshot)
    except FailedError as error:
        if error.error not in NO_DATA:
            raise
        fetched.warnings.append("nothing was measured yet")
    else:
        fetched.has_data = True


def _still_there(fetched: Sequence[_Fetched]) -> str:
    """Return a sentence that names snapshots at instances whose data could not be stored here."""
    kept = [f"snapshot {each.snapshot} of {each.client.url}" for each in fetched if each.snapshot]
    return f"; no data is lost: it is in {', '.join(kept)}" if kept else ""


@contextlib.contextmanager
def _workspace(target: Path) -> Iterator[Path]:
    """Make a folder on the target's disk; remove it at the end of the block."""
    with contextlib.ExitStack() as made:
        with saying_why_not(target):
            if target.is_dir():
                raise ClientError(f"{target} cannot be written: it is a folder")
            sweep(target.parent, WRITING, age=own_files.ABANDONED_AGE)
            folder = made.enter_context(workplace(target.parent, WRITING))
        yield folder
