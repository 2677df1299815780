"""Read, check and describe the parameters of a request: its query and its form. No state."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypeVar

from werkzeug.exceptions import HTTPException, RequestEntityTooLarge
from werkzeug.wrappers import Request

from wsgi_coverage import bounds
from wsgi_coverage.control import CURRENT, Compared
from wsgi_coverage.control.control import MAX_LABEL
from wsgi_coverage.errors import BadParameterError, BodyTooLargeError, RequestError
from wsgi_coverage.model import EXPORT_FORMATS, Operation
from wsgi_coverage.report.snapshots import snapshot_id
from wsgi_coverage.settings import MAX_DAYS
from wsgi_coverage.web.noted import FORM

LABEL = "context:"
MAX_NUMBER = 999_999_999
FLAGS = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False, "": False}

T = TypeVar("T")


class Parameter(NamedTuple):
    """What `GET /openapi.json` says of a parameter."""

    name: str
    about: str
    schema: Mapping[str, Any] = {"type": "string"}
    is_required: bool = False


def _one_of(*values: str) -> dict[str, Any]:
    return {"type": "string", "enum": list(values)}


# The default of all that are not required is to be left out.
WAIT = Parameter(
    "wait",
    "Seconds to wait for the other workers, at most.",
    {"type": "number", "minimum": 0, "maximum": bounds.MAX_WAIT, "default": bounds.WAIT},
)
FORMAT = Parameter(
    "format", "JSON, or a page; without it, `Accept` decides.", _one_of("json", "html")
)
FORMAT_OF_FUNCTIONS = FORMAT._replace(
    about="JSON, a page, or comma-separated values; without it, `Accept` decides.",
    schema=_one_of("json", "html", "csv"),
)
FORMAT_OF_SOURCE = FORMAT._replace(
    about="JSON, a page, or the text alone; without it, `Accept` decides.",
    schema=_one_of("json", "html", "text"),
)
FORMAT_OF_EXPORT = Parameter(
    "format", "Which format.", {**_one_of(*EXPORT_FORMATS), "default": EXPORT_FORMATS[0]}
)
BACK = Parameter("back", "The page that a 303 leads to: without it, the overview.")
CONTEXT = Parameter("context", "A label: as if only requests with it had run.")
UNUSED = Parameter(
    "unused",
    "1: functions that never ran; runtime: those that did not run at runtime.",
    _one_of("runtime", *FLAGS),
)
UNUSED_FOR = Parameter(
    "unused_for",
    "Days: functions that certainly ran on none of so many.",
    {"type": "string", "pattern": "^[1-9][0-9]*d$", "examples": ["30d"]},
)
OF_A = Parameter(
    "a",
    f"A snapshot's id, `current` for the published report, or `{LABEL}` and a label.",
    {"type": "string", "minLength": 1},
    is_required=True,
)
OF_B = OF_A._replace(name="b")
SNAPSHOT_LABEL = Parameter(
    "label",
    "A name for people, stored with the snapshot.",
    {"type": "string", "maxLength": MAX_LABEL},
)
RESET = Parameter("reset", "1: forget what is in the report, in the same step.", _one_of(*FLAGS))
KEEP = Parameter("keep", "0: store nothing.", {**_one_of(*FLAGS), "default": "1"})
DETAIL = Parameter("detail", "lines: answer with coverage.py's JSON report, too.", _one_of("lines"))
MERGE, SUBTRACT, INTERSECT = (
    Parameter(
        operation,
        f"{about}. Once for each snapshot's id, or `{CURRENT}` for the published report.",
        {"type": "array", "items": {"type": "string", "minLength": 1}, "minItems": 2},
    )
    for operation, about in (
        (Operation.MERGE, "What ran in any of them"),
        (Operation.SUBTRACT, "What ran in the first of them and in none of the others"),
        (Operation.INTERSECT, "What ran in all of them"),
    )
)
# Of pages, for their links.
Q = Parameter("q", "Words that a name has to have; of a page, and of comma-separated values.")
IN = Parameter("in", "A folder; of a page.")
VIEW = Parameter("view", "How files are shown; of a page.", _one_of("tree", "list"))
SORT = Parameter("sort", "The column that a page is sorted by.")
ORDER = Parameter("order", "Of that column; of a page.", _one_of("asc", "desc"))
PAGE = Parameter(
    "page",
    "The page of a long list, from 1 on.",
    {"type": "integer", "minimum": 1, "maximum": MAX_NUMBER},
)
LINE = PAGE._replace(name="line", about="The line of which a page tells more.")
NOTICE = Parameter("notice", "What a page says was done; a 303 leads to it.")
NAME = Parameter("name", "Any name; the answer has it as `label`.")  # of the side port

OF_PATH: dict[str, Parameter] = {
    each.name: each._replace(is_required=True)
    for each in (
        Parameter("id", "A snapshot's id, as `/snapshots` lists it."),
        Parameter("label", "A label of requests. It may have slashes, quoted or not."),
        Parameter("file", "A file, as `/files` lists it. Its slashes may be quoted or not."),
        Parameter("path", "A file of the HTML report, such as `index.html`."),
        Parameter("name", "A file of the dashboard: `style.css`, `script.js`."),
    )
}


def wait(request: Request, default: float = bounds.WAIT) -> float:
    """Return `wait`: seconds to wait for the other workers, 0 to `bounds.MAX_WAIT`.

    Raises:
        BadParameterError: the parameter has another value.
    """
    raw = request.args.get("wait")
    if raw is None:
        return default
    try:
        return bounds.number(raw, 0, bounds.MAX_WAIT, "seconds")
    except ValueError as error:
        raise BadParameterError(f"wait {error}, got {raw!r}") from None


def within(request: Request) -> float | None:
    """Return `wait` as the limit of the whole answer, in seconds; None where it is not given.

    Raises:
        BadParameterError: as `wait`.
    """
    return wait(request) if "wait" in request.args else None


def compared(request: Request, name: str) -> Compared:
    """Return what a parameter names: a snapshot by its id, the published report, or a label.

    `current` is the published report, `context:<label>` what ran for one of its labels.

    Raises:
        BadParameterError: the parameter is missing.
    """
    raw = request.args.get(name)
    if not raw or raw == LABEL:
        raise BadParameterError(
            f"{name} must be a snapshot's id, current, or {LABEL}<label>: it is missing"
        )
    if raw.startswith(LABEL):
        return Compared(None, raw.removeprefix(LABEL))
    return Compared(None if raw == CURRENT else snapshot_id(raw))


def combined(request: Request) -> tuple[Operation, list[str | None]]:
    """Return how a snapshot is to be made of others, and these: ids, or None for the published.

    Raises:
        BadParameterError: there is none of `merge`, `subtract` and `intersect`, or several, or one
            is empty.
    """
    given = [each for each in Operation if each in request.args]
    names = ", ".join(Operation)
    if len(given) != 1:
        raise BadParameterError(
            f"one of {names} must be given, once for each snapshot's id (or current), "
            f"got {' and '.join(given) or 'none'}"
        )
    raw = request.args.getlist(given[0])
    if "" in raw:
        raise BadParameterError(f"{given[0]} must be a snapshot's id, or current, got ''")
    return given[0], [None if each == CURRENT else snapshot_id(each) for each in raw]


def wants_lines(request: Request) -> bool:
    """Tell whether the answer is to have coverage.py's JSON report (`detail=lines`).

    Raises:
        BadParameterError: `detail` has another value.
    """
    raw = request.args.get("detail")
    if raw not in (None, "lines"):
        raise BadParameterError(f"detail must be lines, got {raw!r}")
    return raw is not None


def flag(request: Request, name: str, *, default: str = "0") -> bool:
    """Return a parameter that is 1 or 0 as a bool.

    Raises:
        BadParameterError: the parameter has another value.
    """
    raw = request.args.get(name, default)
    if raw not in FLAGS:
        raise BadParameterError(f"{name} must be 1 or 0, got {raw!r}")
    return FLAGS[raw]


def unused(request: Request) -> bool | Literal["runtime"]:
    """Return which functions are asked for.

    Returns:
        True: those that never ran; "runtime": these, and those that ran at load only; False: all.

    Raises:
        BadParameterError: `unused` is not 1, runtime or 0.
    """
    raw = request.args.get("unused", "")
    if raw == "runtime":
        return "runtime"
    if raw not in FLAGS:
        raise BadParameterError(f"unused must be 1, runtime or 0, got {raw!r}")
    return FLAGS[raw]


def unused_for(request: Request) -> int | None:
    """Return `unused_for`, a number of days such as `30d`; None where it is not given.

    Raises:
        BadParameterError: the parameter has another value.
    """
    raw = request.args.get("unused_for")
    if not raw:
        return None
    try:
        return bounds.whole_number(raw[:-1] if raw.endswith("d") else "", 1, MAX_DAYS)
    except ValueError:
        message = f"unused_for must be a number of days from 1d to {MAX_DAYS}d, got {raw!r}"
        raise BadParameterError(message) from None


def number(request: Request, name: str, default: int) -> int:
    """Return a parameter that is a whole number, 1 or more.

    Raises:
        BadParameterError: the parameter has another value.
    """
    raw = request.args.get(name)
    if not raw:
        return default
    try:
        return bounds.whole_number(raw, 1, MAX_NUMBER)
    except ValueError:
        message = f"{name} must be a whole number from 1 on, got {raw!r}"
        raise BadParameterError(message) from None


def choice(request: Request, name: str, choices: Sequence[str]) -> str:
    """Return a parameter that is one of several values; the first where it is missing.

    Raises:
        BadParameterError: the parameter has another value.
    """
    raw = request.args.get(name) or choices[0]
    if raw not in choices:
        raise BadParameterError(f"{name} must be one of {', '.join(choices)}, got {raw!r}")
    return raw


def form(request: Request) -> dict[str, str]:
    """Return the fields of the request's form, and note them for the audit log.

    Raises:
        BodyTooLargeError, RequestError: as `received`.
    """
    fields = received(lambda: _whole(request, request.form.to_dict()))
    request.environ[FORM] = fields
    return fields


def body(request: Request) -> bytes:
    """Read the body; the form can still be read afterwards.

    Raises:
        BodyTooLargeError, RequestError: as `received`.
    """
    return received(lambda: _whole(request, request.get_data(cache=True)))


def _whole(request: Request, found: T) -> T:
    """Return what was read of a body; raise werkzeug's error if the body goes on."""
    # werkzeug reads a body of unknown length up to its limit, and says so at the next read only.
    request.stream.read(1)
    return found


def received(read: Callable[[], T]) -> T:
    """Call a function that reads a request's body, and turn its errors into ours.

    Raises:
        BodyTooLargeError: the body is over the limit.
        RequestError: it is malformed, or the client disconnected during it. Each server raises an
            error of its own about an invalid chunk.
    """
    try:
        return read()
    except RequestEntityTooLarge:
        raise BodyTooLargeError("the body is larger than an upload here may be") from None
    except HTTPException as error:
        raise RequestError(error.description or str(error)) from error
    except Exception as error:
        raise RequestError(
            f"the body cannot be read: {type(error).__name__}: {error}".rstrip(": ")
        ) from error
