"""Call a function in another process: start one, or use one that waits for calls; read the result.

The other process is a Python interpreter (wsgi_coverage.offload.interpreter) that runs
child_main.py. Its messages tell whether the call succeeded; its exit code does not.

Concurrency: a call belongs to one thread. A child ends with the call or the caller, unless it then
waits for calls of others. `_last_place` and `_lost` are only ever replaced.
"""

from __future__ import annotations

import base64
import contextlib
import json
import logging
import os
import pickle
import selectors
import socket
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from wsgi_coverage.errors import BuildFailedError
from wsgi_coverage.model import JsonObject
from wsgi_coverage.offload import child_main, interpreter, progress
from wsgi_coverage.offload.process import CHUNK, Peer, Process, end_waiting, start_apart, waiting
from wsgi_coverage.store import private
from wsgi_coverage.system import own_files, workdir

log: logging.Logger = logging.getLogger("wsgi_coverage")

SCRIPT = Path(child_main.__file__)
TICK = 0.2  # seconds between heartbeats to the server while the child is waited for
SILENCE_TIMEOUT = 120.0  # seconds without a message, after which the child is given up
GREETING_TIMEOUT = 30.0  # seconds for a new interpreter to send its first message
WAKE_TIMEOUT = (
    2.0  # seconds for a process that waits for calls; it may be stopped, or another program
)
MAX_LINE = 16_000_000  # bytes; a message is far shorter

INSTALLED = own_files.changed_at(SCRIPT)  # of the version that runs; an upgrade changes the file

T = TypeVar("T")
Tick = Callable[[], object]


_last_place: str | None = None  # address of the last waiting process that was called
_lost: str | None = None  # why a waiting process failed to do the last call; None: it did not fail


class NoInterpreterError(Exception):
    """No interpreter was found that is the same Python as this and can be started."""


class _WrongInterpreterError(Exception):
    """The process has not confirmed that it runs the same Python."""


class _LostError(Exception):
    """The process has confirmed its Python, and then sent neither a value nor an error."""


def call(
    function: Callable[..., T],
    *arguments: Any,
    tick: Tick,
    plugins: bool = False,
    waits: bool = False,
    silence: float = SILENCE_TIMEOUT,
    **keywords: Any,
) -> T:
    """Call a function in another process, and return its result.

    If a waiting process fails, a child process does the call again from its start.

    Args:
        function: a function of a module of this package; its arguments and its result are pickled.
        tick: called a few times a second until the result is there.
        plugins: whether modules from outside this package will be imported by name.
        waits: whether to use a process that waits after an earlier call, by any process of this
            host with the same environment, and to let the process wait afterwards.
        silence: seconds without a message after which the process is given up.

    Raises:
        NoInterpreterError: there is no Python to run it.
        BuildFailedError: the process failed, died, was silent for too long, or sent nonsense.
        WsgiCoverageError: the function has raised it.
        OSError: the system refused the function to open or to write a file; with its error number.
    """
    global _lost
    circumstances = _circumstances(plugins=plugins)
    place = _place(circumstances) if waits and not plugins else None
    _leave_last(place)
    job = _job((function, arguments, keywords), circumstances, place=place)
    reasons = []
    for name, start in _starts(place):
        greeting = WAKE_TIMEOUT if name == place else GREETING_TIMEOUT
        try:
            value: T = _call(start, job, tick=tick, greeting=greeting, silence=silence)
        except _WrongInterpreterError as error:
            if name != place:
                reasons.append(f"{name} {error}")
        except _LostError as error:
            if name != place:
                raise _failure(str(error)) from error
            end_waiting(name)
            _lost = f"the process that waited to make reports {error}; a child process made it"
            log.warning("%s", _lost)
        else:
            if name == place:
                _lost = None
            return value
    raise NoInterpreterError("; ".join(reasons) or "no interpreter was found")


def _failure(what: str) -> BuildFailedError:
    log.error("a child process that made a report %s", what)
    return BuildFailedError(
        f"the process that made the report {what}; the published report is unchanged"
    )


def lost() -> str | None:
    """Return why a waiting process failed to do the last call, as a sentence; None: none failed."""
    return _lost


def begin(function: Callable[..., object], *arguments: Any, plugins: bool = False) -> BegunCall:
    """Start to call a function in a process that is no child of this one, and that may outlive it.

    The function can tell the end of this process by the end of its standard input.

    Args:
        function: a function of a module of this package; its arguments are pickled.
        arguments: should be few bytes: what the socket does not take now is sent by `is_done`.
        plugins: whether modules from outside this package will be imported by name.

    Raises:
        NoInterpreterError: there is no Python to run it.
    """
    job = _job((function, arguments, {}), _circumstances(plugins=plugins), outlives=True)
    for executable in interpreter.candidates():
        command = interpreter.command(executable, SCRIPT)
        with contextlib.suppress(OSError):
            return BegunCall(start_apart(command, interpreter.environment(os.environ)), job)
    raise NoInterpreterError("no interpreter was found")


class BegunCall:
    """A call by `begin`; `is_done` is to be called now and then until it returns True.

    Args:
        channel: the socket to the process.
        job: header, function and arguments, serialized.
    """

    def __init__(self, channel: socket.socket, job: bytes) -> None:
        self._channel = channel
        self._left = memoryview(job)
        self._received = bytearray()
        self.error: str | None = None  # once it is done: why it failed; None: it succeeded
        self._send()

    def _send(self) -> None:
        with contextlib.suppress(OSError):
            while self._left:
                self._left = self._left[self._channel.send(self._left) :]

    def is_done(self) -> bool:
        """Read the process's messages; tell whether it has ended, and the socket is closed."""
        self._send()
        try:
            while chunk := self._channel.recv(CHUNK):
                self._received += chunk
        except BlockingIOError:
            return False
        except OSError:
            pass
        self._channel.close()
        messages = [_parsed(line) or {} for line in bytes(self._received).split(b"\n") if line]
        if not any(each.get("kind") == "value" for each in messages):
            told = [
                each["text"].partition(": ")[2] if each["refusal"] else each["text"]
                for each in messages
                if each.get("kind") == "error"
            ]
            self.error = told[0] if told else "the process that does it ended before it was done"
        return True

    def dismiss(self) -> None:
        """End the standard input of the process, as if this process ended."""
        with contextlib.suppress(OSError):  # it has ended
            self._channel.shutdown(socket.SHUT_WR)

    def let_go(self) -> None:
        """Close the socket: the call is not watched any more, or belongs to this child's parent."""
        self._channel.close()


def _job(
    call: object, circumstances: JsonObject, *, outlives: bool = False, place: str | None = None
) -> bytes:
    pickled = pickle.dumps(call)
    header = {
        **circumstances,
        "outlives": outlives,
        "caller": os.getpid(),
        "waiting": place,
        "size": len(pickled),
    }
    return json.dumps(header).encode() + b"\n" + pickled


def _circumstances(*, plugins: bool) -> JsonObject:
    """Return what has to be equal in a waiting process for it to take a call."""
    return {
        "version": child_main.python_version(),
        "path": interpreter.search_path(),
        "folder": workdir.folder(),
        "package": str(SCRIPT.parents[1]),
        "plugins": plugins,
    }


def _place(circumstances: JsonObject) -> str | None:
    """Return the address of a process that waits for such calls; None: none may wait.

    The first process of a container would adopt a waiting process. A process that was started
    before an upgrade of this package or of coverage.py has the old modules, so the address depends
    on their versions.
    """
    from wsgi_coverage.compat import names  # imports coverage.py, which may not be needed before

    if os.getpid() == 1:
        return None
    try:
        folder = circumstances["folder"] or os.getcwd()  # noqa: PTH109
    except OSError:  # it was removed
        return None
    env = sorted(interpreter.environment(os.environ).items())
    started = [interpreter.command("", SCRIPT), INSTALLED, names.version()]
    return private.socket_for_user(json.dumps([circumstances, folder, env, started]))


def _leave_last(place: str | None) -> None:
    """End the waiting process of the last call if this call has another address.

    So an application that often changes its environment has one process that waits, not dozens.
    """
    global _last_place
    if place is None:
        return
    last, _last_place = _last_place, place
    if last not in (None, place):
        end_waiting(last)


def _starts(place: str | None) -> Iterator[tuple[str, Callable[[], Peer]]]:
    """Yield ways to get a process: the one that waits, then interpreters, the likeliest first."""
    if place is not None:
        yield place, partial(waiting, place)
    env = interpreter.environment(os.environ)
    for executable in interpreter.candidates():
        yield executable, partial(Process, interpreter.command(executable, SCRIPT), env)


def _call(
    start: Callable[[], Peer], job: bytes, *, tick: Tick, greeting: float, silence: float
) -> Any:
    try:
        process = start()
    except OSError as error:
        raise _WrongInterpreterError(f"does not start: {error.strerror}") from error
    with contextlib.closing(process):
        conversation = _Conversation(process)
        return conversation.until_value(job, tick=tick, greeting=greeting, silence=silence)


class _Conversation:
    """The messages between a caller and its child."""

    def __init__(self, process: Peer) -> None:
        self._process = process
        self._received = bytearray()
        self._greeted = False
        self._is_child = True  # until it says that it waits, as no child of this process

    def until_value(self, job: bytes, *, tick: Tick, greeting: float, silence: float) -> Any:
        """Send the job, wait for the result, and return it.

        Args:
            job: header, function and arguments, serialized.
            tick: called a few times a second.
            greeting: seconds to wait for the message `hello`, whatever else comes.
            silence: seconds without a message after that, after which the process is given up.
        """
        process = self._process
        left = memoryview(job)
        heard = time.monotonic()
        with selectors.DefaultSelector() as selector:
            selector.register(process.socket, selectors.EVENT_READ | selectors.EVENT_WRITE)
            if process.stderr is not None:
                selector.register(process.stderr, selectors.EVENT_READ)
            while time.monotonic() - heard < (silence if self._greeted else greeting):
                ready = {key.fd: mask for key, mask in selector.select(TICK)}
                tick()
                if (
                    process.stderr is not None
                    and process.stderr in ready
                    and not process.read_stderr()
                ):
                    selector.unregister(process.stderr)
                mask = ready.get(process.socket.fileno(), 0)
                if mask & selectors.EVENT_WRITE:
                    left = left[process.send(left) :]
                    if not left:
                        selector.modify(process.socket, selectors.EVENT_READ)
                # A process forked meanwhile may hold the other end open: check the child, too.
                ended = not mask and self._is_child and process.has_ended()
                if ended or mask & selectors.EVENT_READ:
                    chunk = process.receive()
                    if chunk:
                        for message in self._messages(chunk):
                            if message["kind"] == "value":
                                return message["value"]
                        if self._greeted:
                            heard = time.monotonic()
                    elif ended or chunk is not None:
                        raise self._failure(f"{process.ending()} before it was done")
        if not self._greeted:
            process.shun()
        raise self._failure(f"sent no message for {time.monotonic() - heard:.0f} seconds")

    def _messages(self, chunk: bytes) -> Iterator[JsonObject]:
        """Add received bytes; yield the messages that are complete, after handling each."""
        self._received += chunk
        while (end := self._received.find(b"\n")) >= 0:
            line = bytes(self._received[:end])
            del self._received[: end + 1]
            message = _parsed(line)
            if message is None:
                raise self._failure(f"sent an invalid message ({line[:80]!r})")
            self._attend_to(message)
            yield message
        if len(self._received) > MAX_LINE:
            raise self._failure(f"sent an invalid message ({bytes(self._received[:80])!r})")

    def _attend_to(self, message: JsonObject) -> None:
        if message["kind"] == "hello":
            if message["version"] != child_main.python_version():
                raise _WrongInterpreterError(f"is {message['version']}")
            self._greeted = True
        elif message["kind"] == "waits":
            self._is_child = False
        elif message["kind"] == "files":
            progress.note(message["done"], message["total"])
        elif message["kind"] == "error":
            if message["refusal"]:
                raise OSError(message["refusal"], message["text"])
            if message["ours"]:
                raise message["ours"]
            log.error("a child process failed to make a report:\n%s", message["traceback"])
            raise BuildFailedError(
                f"the report could not be made ({message['text']}); the published report is "
                "unchanged"
            )

    def _failure(self, what: str) -> Exception:
        last_words = self._process.last_words()
        what += f"; it wrote: {last_words}" if last_words else ""
        if not self._greeted:
            return _WrongInterpreterError(what)
        return _LostError(what)


def _parsed(line: bytes) -> JsonObject | None:
    """Parse a message, with its value unpickled; None: it is not valid."""
    try:
        found: JsonObject = json.loads(line)
        match found:
            case (
                {"kind": "hello", "version": str()}
                | {"kind": "waits"}
                | {"kind": "files", "done": int(), "total": int()}
            ):
                pass
            case {
                "kind": "error",
                "text": str(),
                "traceback": str(),
                "refusal": int() | None,
                "ours": str() | None as ours,
            }:
                found["ours"] = ours and pickle.loads(base64.b64decode(ours))  # noqa: S301
            case {"kind": "value", "pickle": str(pickled)}:
                found["value"] = pickle.loads(base64.b64decode(pickled))  # noqa: S301
            case _:
                return None
    except Exception:  # noqa: BLE001  whatever it was, it is no message
        return None
    return found
