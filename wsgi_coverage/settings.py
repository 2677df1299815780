"""Every setting: its sources, its rule, and the error for a value that is refused.

A setting is a keyword argument, an environment variable (``WSGI_COVERAGE_<NAME>``) or a paste
option, in that order of precedence; an empty environment variable or paste option counts as not
set. Every refusal is a SettingsError that names source, rule and value; which source a value came
from is kept for errors that show later, and for /health.

Concurrency: settings are immutable once made, so shared freely between threads.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import importlib.util
import ipaddress
import re
import tempfile
import urllib.parse
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from wsgi_coverage import bounds, callables
from wsgi_coverage.errors import AuthNotConfiguredError, MissingExtraError, SettingsError
from wsgi_coverage.system import workdir
from wsgi_coverage.system.own_files import TEMPORARY, make_folder

Environ: TypeAlias = dict[str, Any]
ORIGINAL = "wsgi_coverage.environ"  # the environ as it was before the prefix was split off
AuthCallback: TypeAlias = Callable[[Environ], object]
Default: TypeAlias = tuple[object, str]  # a value, and its origin; None: there is no default

ENV_PREFIX = "WSGI_COVERAGE_"
URL_PREFIX = "/debug/coverage"
USERNAME = "admin"
AUTOSAVE_INTERVAL = 30.0  # seconds
SIDE_PORT = 9095  # where `wsgi-coverage run` answers
MAX_INTERVAL = 86_400.0  # seconds: a day
MAX_LOAD = 1000.0  # of a core
MAX_DAYS = 3660
CONTEXTS = ("off", "header", "route")
TRUE = frozenset({"1", "true", "yes", "on"})
FALSE = frozenset({"", "0", "false", "no", "off"})
BUILT_IN = "default"  # the origin of a setting that is not set
# Defaults of `wsgi-coverage run` and `test`, whose users have asked for measuring anyway.
OF_PROGRAMS: Mapping[str, Default] = {"contexts": ("header", "default of run and test")}
SECRET = ("auth", "password")  # shown as "set", never by their values
FILES = "files"
# URL schemes of a store: the kind of the store, and the default port.
SCHEMES = {
    "redis": ("single", 6379),
    "rediss": ("single", 6379),
    "unix": ("single", 0),
    "redis+sentinel": ("sentinel", 26379),
    "rediss+sentinel": ("sentinel", 26379),
    "redis+cluster": ("cluster", 6379),
    "rediss+cluster": ("cluster", 6379),
}
NAMESPACE = re.compile(r"[\w.-]{1,64}", re.A)
RELEASE = re.compile(r"[\x21-\x7e][\x20-\x7e]{0,99}")
LOCAL_HOSTS = ("localhost", ".localhost", "127.0.0.0/8", "[::1]")


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreUrl:
    """The URL of a fleet's store; str() leaves out the password."""

    text: str = field(repr=False)  # the URL as given, with the password
    kind: str  # single, sentinel or cluster
    hosts: tuple[tuple[str, int], ...] = ()  # of a sentinel or a cluster
    service: str = ""  # the name of a sentinel's service
    database: int = 0
    credentials: Mapping[str, str] = field(default_factory=dict, repr=False)
    tls: Mapping[str, object] = field(default_factory=dict)

    def __str__(self) -> str:
        head, at, tail = self.text.rpartition("@")
        scheme, slashes, user = head.partition("://")
        name, colon, _ = user.partition(":")
        return f"{scheme}{slashes}{name}{colon and ':***'}{at}{tail}" if at else self.text


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that can be set; see docs/reference/settings.md."""

    url_prefix: str = URL_PREFIX  # no trailing slash; "" is the whole site
    auth: AuthCallback | None = None  # called with the environ; true lets the request in
    username: str = USERNAME  # for HTTP Basic
    password: str | None = field(default=None, repr=False)  # for HTTP Basic; None: no Basic auth
    debug: bool = False  # serve without credentials, to local host names only
    trusted_hosts: tuple[str, ...] | None = None  # host names served; None: decided by debug
    config_file: Path | None = None  # coverage.py's; None: coverage.py looks where it always does
    cache_dir: Path = Path(".wsgi-coverage-cache")  # relative to the data file's folder
    snapshot_dir: Path = Path(".wsgi-coverage-snapshots")  # relative to the data file's folder
    autosave_interval: float = AUTOSAVE_INTERVAL  # seconds; 0 means never
    parse_ahead_load: float = 0.5  # load per core, below which sources are parsed ahead; 0: never
    branch: bool | None = None  # measure branches; None: as coverage.py's configuration says
    store: StoreUrl | None = None  # a fleet's store; None: data files of one host
    store_namespace: str = "default"  # separates fleets that share a store
    store_sources: bool = False  # whether source text may be sent to the store of a fleet
    release: str | None = None  # the name of the deploy
    seen_days: int = 90  # for which it is known on which of them lines ran; 0: for none
    # Which requests are labelled: off, header or route; None: decided by debug, run and test.
    contexts: str | None = None
    contexts_include: tuple[str, ...] = ()  # patterns of installed sources that labels are for, too
    disabled: bool = False  # measure nothing, serve nothing, check no other setting
    origins: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)

    @property
    def labels(self) -> str:
        """Which requests are labelled: off, header or route."""
        return self.contexts or ("header" if self.debug else "off")

    def origin(self, name: str) -> str:
        """Return the source of a setting's value, such as "keyword debug", or "default"."""
        return self.origins.get(name, BUILT_IN)

    def described(self, name: str, value: object = None) -> str:
        """Return a setting with its value and origin, for messages.

        Args:
            name: the setting's name.
            value: the value to show; None: the setting's own.
        """
        shown = self._shown(name) if value is None else value
        return f"{name} {shown} ({self.origin(name)})"

    def as_json(self) -> dict[str, dict[str, object]]:
        """Return all settings as `{"value": …, "origin": …}`, by name; secrets as "set" or null."""
        return {
            each.name: {"value": self._shown(each.name), "origin": self.origin(each.name)}
            for each in dataclasses.fields(self)
            if each.name in RULES
        }

    def _shown(self, name: str) -> object:
        value = getattr(self, name)
        if name in SECRET:
            return None if value is None else "set"
        if name == "store":
            return str(value or FILES)
        if isinstance(value, Path):
            return str(value)
        return list(value) if isinstance(value, tuple) else value

    def having(self, origin: str, **values: Any) -> Settings:
        """Return a copy of the settings with other values.

        Args:
            origin: the source of these values.
            **values: values by the setting's name, as their rules return them.
        """
        origins = {**self.origins, **dict.fromkeys(values, origin)}
        return dataclasses.replace(self, **values, origins=origins)

    @contextlib.contextmanager
    def reading_config_file(self) -> Iterator[None]:
        """Add the setting `config_file` to the message of a SettingsError of the block.

        Raises:
            SettingsError: the block raised one: coverage.py refuses the file.
        """
        try:
            yield
        except SettingsError as error:
            if self.config_file is None:
                raise
            told = self.described("config_file")
            raise SettingsError(f"{told} cannot be used: {error}") from error

    def require_auth(self, password_variable: str | None = None) -> None:
        """Check that an access policy is configured.

        Args:
            password_variable: the environment variable that the message names; None: the usual one.

        Raises:
            AuthNotConfiguredError: there is no auth callback, no password, and debug is off.
        """
        if self.auth is None and self.password is None and not self.debug:
            unset = [
                f"; {name} is {state} by {self.origin(name)}"
                for name, state in (("password", "empty"), ("debug", "off"))
                if name in self.origins
            ]
            named = password_variable or variable("password")
            raise AuthNotConfiguredError(
                "refusing to serve coverage data to everybody: set a password "
                f"({named}), pass auth=, or turn debug on{''.join(unset)}"
            )


def load(
    keywords: Mapping[str, object],
    *,
    env: Mapping[str, str],
    options: Mapping[str, str] | None = None,
    env_names: Mapping[str, str] | None = None,
    defaults: Mapping[str, Default] | None = None,
) -> Settings:
    """Read every setting from its sources.

    Args:
        keywords: keyword arguments as given; a value of None counts as not given.
        env: the process's environment variables.
        options: paste options, all strings.
        env_names: further environment variables by setting, which take precedence over the usual
            one (``{"password": "FLASK_COVERAGE_PASSWORD"}``).
        defaults: values for settings that no source has, as their rules return them, each with
            its origin.

    Raises:
        SettingsError: a name that is not a setting, or a value that its rule refuses.
    """
    options = options or {}
    for name in (*keywords, *options):
        if name not in RULES:
            source = "keyword" if name in keywords else "paste option"
            raise SettingsError(
                f"{source}: {name!r} is not a setting; there are {', '.join(sorted(RULES))}"
            )
    given = {name: each for name, each in (defaults or {}).items() if each[0] is not None}
    values: dict[str, Any] = {name: value for name, (value, _) in given.items()}
    origins = {name: origin for name, (_, origin) in given.items()}
    for name, rule in RULES.items():
        for source, raw in _candidates(name, keywords, env, options, env_names or {}):
            try:
                values[name], origins[name] = rule.check(raw), source
            except ValueError as error:
                hides = name == "password" or (name == "store" and "@" in str(raw))
                shown = "a value that is not shown here" if hides else repr(raw)
                raise SettingsError(f"{source}: {name} {error}, got {shown}") from None
            break
        if name == "disabled" and values.get("disabled"):
            # Once disabled, no other setting is read or checked.
            return Settings(disabled=True, origins={name: origins[name]})
    return Settings(**values, origins=origins)


def variable(name: str) -> str:
    """Return the name of a setting's environment variable."""
    return ENV_PREFIX + name.upper()


def _candidates(
    name: str,
    keywords: Mapping[str, object],
    env: Mapping[str, str],
    options: Mapping[str, str],
    env_names: Mapping[str, str],
) -> Iterable[tuple[str, object]]:
    """Yield the values that sources have for a setting, in order of precedence."""
    if keywords.get(name) is not None:
        yield f"keyword {name}", keywords[name]
    for each in (env_names.get(name), variable(name)):
        if each is not None and env.get(each, "").strip():
            yield f"environment variable {each}", env[each]
    if options.get(name, "").strip():
        yield f"paste option {name}", options[name]


# The checks of the rules, which are at the end.


def _url_prefix(raw: object) -> str:
    if not isinstance(raw, str):
        raise ValueError(f"must be a string such as {URL_PREFIX!r}")
    if raw == "":
        raise ValueError("must name a path ('/' gives the whole site to the dashboard)")
    segments = raw.strip("/").split("/") if raw.strip("/") else []
    if any(segment in ("", ".", "..") for segment in segments) or raw.startswith("//"):
        raise ValueError("must not have empty, '.' or '..' segments")
    if re.search(r"[\x00-\x20\x7f?#\\%<>\"]", raw) or not _is_utf8(raw):
        raise ValueError("must be a plain path, without spaces, queries or escapes")
    return "".join(f"/{segment}" for segment in segments)


def _auth(raw: object) -> AuthCallback:
    if callable(raw):
        return check_callback(raw)
    if isinstance(raw, str):
        module_name, _, attribute = raw.strip().partition(":")
        if module_name and attribute:
            try:
                found: object = importlib.import_module(module_name)
                for part in attribute.split("."):
                    found = getattr(found, part)
            except (ImportError, AttributeError, TypeError, ValueError) as error:
                raise ValueError(f"cannot be imported ({error})") from None
            return check_callback(found)
    raise ValueError("must be a callable, or 'module:callable'")


def check_callback(found: object) -> Callable[..., object]:
    """Refuse an auth callback that cannot return yes or no; return it otherwise.

    Raises:
        ValueError: it is not callable, or is an async or a generator function.
    """
    if not callable(found):
        raise ValueError("must be a callable")
    if callables.is_async(found) or callables.is_generator(found):
        raise ValueError("must be a plain function, neither async nor a generator")
    return found


def _username(raw: object) -> str:
    if not isinstance(raw, str) or raw == "" or ":" in raw or _has_controls(raw):
        raise ValueError("must be a string without ':' and control characters (RFC 7617)")
    if not _is_utf8(raw):
        raise ValueError("must be UTF-8 (RFC 7617)")
    return raw


def _password(raw: object) -> str | None:
    if not isinstance(raw, str) or _has_controls(raw):
        raise ValueError("must be a string without control characters (RFC 7617)")
    if not _is_utf8(raw):
        raise ValueError("must be UTF-8 (RFC 7617)")
    return raw or None  # an empty password is no password


def _is_utf8(text: str) -> bool:
    """Tell whether a text is valid Unicode; an environment variable's bytes may be no UTF-8."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _has_controls(text: str) -> bool:
    return any(ord(character) < 32 or ord(character) == 127 for character in text)


def _flag(raw: object) -> bool:
    if isinstance(raw, bool):
        return raw
    if isinstance(raw, str) and raw.strip().lower() in TRUE | FALSE:
        return raw.strip().lower() in TRUE
    raise ValueError("must be one of 1, true, yes, on, 0, false, no, off")


def _hosts(raw: object) -> tuple[str, ...]:
    if isinstance(raw, str):
        hosts: list[object] = [part.strip() for part in raw.split(",") if part.strip()]
    else:
        hosts = [*raw] if isinstance(raw, Iterable) else []
    names = [host.lower() for host in hosts if isinstance(host, str) and _is_host(host)]
    if not names or len(names) != len(hosts):
        raise ValueError(
            "must be host names or address ranges, without ports, separated by commas; "
            "'.example.org' takes all below"
        )
    return tuple(names)


def _is_host(name: str) -> bool:
    """Tell whether a name, an address or a range is one that a Host header can match."""
    if not (name.startswith("[") or ":" in name or "/" in name):
        return re.fullmatch(r"[^\s@*\[\]?#]+", name) is not None
    try:
        ipaddress.ip_network(name.strip("[]") if name.startswith("[") else name)
    except ValueError:
        return False
    return True


def _file(raw: object) -> Path:
    path = _path(raw)
    try:
        exists = path.is_file()
    except OSError as error:  # before Python 3.14; False since then
        raise ValueError(f"must be a file that exists ({error.strerror})") from None
    if not exists:
        raise ValueError("must be a file that exists")
    return path


def _path(raw: object) -> Path:
    if not isinstance(raw, (str, Path)) or not str(raw).strip() or "\x00" in str(raw):
        raise ValueError("must be a path")
    try:
        return Path(workdir.here(str(raw))).absolute()
    except OSError:  # of the working directory
        raise ValueError("must be an absolute path, as the working directory is gone") from None


def _folder(raw: object) -> Path:
    path = _path(raw)
    if not is_writable(path):
        raise ValueError("must be a folder that can be made and written to")
    return path


def is_writable(folder: Path) -> bool:
    """Tell whether files can be made in a folder, which is made if it does not exist.

    Tried with a real file, because access(2) says yes to root on a read-only file system.
    """
    try:
        make_folder(folder)
        with tempfile.NamedTemporaryFile(dir=folder, prefix=TEMPORARY):
            return True
    except OSError:
        return False


def _interval(raw: object) -> float:
    return bounds.number(raw, 0, MAX_INTERVAL, "seconds")


def _load(raw: object) -> float:
    return bounds.number(raw, 0, MAX_LOAD)


def _days(raw: object) -> int:
    return bounds.whole_number(str(raw), 0, MAX_DAYS)


def _contexts(raw: object) -> str:
    if raw not in CONTEXTS:
        raise ValueError(f"must be one of {', '.join(CONTEXTS)}")
    return str(raw)


def _patterns(raw: object) -> tuple[str, ...]:
    parts = raw.split(",") if isinstance(raw, str) else raw
    if not isinstance(parts, Iterable) or not all(isinstance(each, str) for each in parts):
        raise ValueError("must be patterns of file names, separated by commas")
    return tuple(each.strip() for each in parts if each.strip())


def _store(raw: object) -> StoreUrl | None:
    if raw == FILES:
        return None
    schemes = ", ".join(f"{scheme}://" for scheme in SCHEMES)
    if not isinstance(raw, str) or raw.partition("://")[0] not in SCHEMES:
        raise ValueError(f"must be 'files', or a URL that begins with one of {schemes}")
    url = _store_url(raw)
    if importlib.util.find_spec("redis") is None:
        raise MissingExtraError("redis", needed_for="store, a URL of Redis or Valkey,")
    return url


def _store_url(raw: str) -> StoreUrl:
    scheme = raw.partition("://")[0]
    kind, usual = SCHEMES[scheme]
    head, _, place = raw.partition("://")[2].rpartition("@")
    where, _, rest = place.partition("/")
    path, _, query = rest.partition("?")
    if scheme == "unix":
        if not place.startswith("/"):
            raise ValueError("must name the socket by an absolute path, as unix:///run/redis.sock")
        return StoreUrl(text=raw, kind=kind)
    hosts = tuple(_address(each, usual) for each in where.split(","))
    user, _, password = (urllib.parse.unquote(part) for part in head.partition(":"))
    given = {"username": user, "password": password}
    parts = path.split("/") if path else []
    service = parts.pop(0) if kind == "sentinel" and parts else ""
    if kind == "sentinel" and not service:
        raise ValueError("must name the service, as redis+sentinel://host:26379/mymaster")
    if kind == "single" and len(hosts) > 1:
        raise ValueError("must have one host; redis+cluster:// and redis+sentinel:// take several")
    if len(parts) > (kind != "cluster") or not all(each.isdecimal() for each in parts):
        raise ValueError("must end with the number of a database at most, as redis://host/0")
    tls: dict[str, object] = {"ssl": True} if scheme.startswith("rediss") else {}
    if kind != "single":
        tls |= {key: values[-1] for key, values in urllib.parse.parse_qs(query).items()}
    return StoreUrl(
        text=raw,
        kind=kind,
        hosts=hosts,
        service=service,
        database=int(parts[0]) if parts else 0,
        credentials={key: value for key, value in given.items() if value},
        tls=tls,
    )


def _address(text: str, usual: int) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if text.endswith("]") or not colon:  # an IPv6 address without a port, or a name
        host, port = text, str(usual)
    host = host.strip("[]")
    with contextlib.suppress(ValueError):
        if host:
            return host, bounds.whole_number(port, 1, bounds.MAX_PORT)
    raise ValueError("must name a host and a port from 1 to 65535, as redis://host:6379/0")


def _namespace(raw: object) -> str:
    if not isinstance(raw, str) or not NAMESPACE.fullmatch(raw):
        raise ValueError("must have 1 to 64 letters, digits, '.', '_' or '-'")
    return raw


def _release(raw: object) -> str:
    if not isinstance(raw, str) or not RELEASE.fullmatch(raw):
        raise ValueError("must have 1 to 100 printable ASCII characters")
    return raw


@dataclass(frozen=True, slots=True)
class Rule:
    """The rule of a setting: how its values are checked and documented.

    Attributes:
        check: converts a value from a source; raises ValueError with the rule as its message.
        about: the purpose and the allowed values, for docs/reference/settings.md.
        unset: the default as documented there, if the one in `Settings` is not it.
    """

    check: Callable[[object], Any]
    about: str
    unset: str = ""


_BESIDE = "`{}` beside the data file"
RULES: Mapping[str, Rule] = {
    # First: when it is set, the others do not matter.
    "disabled": Rule(_flag, "a flag: measure nothing, serve nothing, look at no other setting"),
    "url_prefix": Rule(
        _url_prefix,
        "where the dashboard is: a plain path; slashes at its ends do not matter; `/` gives the "
        "whole site to it",
    ),
    "auth": Rule(_auth, "decides who is admitted: a plain callable, or `module:callable`", "none"),
    "username": Rule(_username, "for HTTP Basic: without `:` and control characters"),
    "password": Rule(
        _password, "for HTTP Basic: without control characters; empty is no password", "none"
    ),
    "debug": Rule(_flag, "a flag: serve without credentials, to local host names only"),
    "trusted_hosts": Rule(
        _hosts,
        "which hosts are served: names or address ranges, without ports, separated by commas; "
        "`.example.org` takes all below",
        "all; in `debug` without `auth` and password: local ones",
    ),
    "config_file": Rule(
        _file, "coverage.py's configuration: a file that exists", "where coverage.py looks"
    ),
    "cache_dir": Rule(
        _folder, "a folder for reports, made for the own user alone if need be", _BESIDE
    ),
    "snapshot_dir": Rule(
        _folder, "a folder for snapshots, made for the own user alone if need be", _BESIDE
    ),
    "autosave_interval": Rule(
        _interval,
        f"seconds between two [autosaves](#autosave), 0 to {MAX_INTERVAL:g}, fractions allowed; "
        "0 is never",
    ),
    "parse_ahead_load": Rule(
        _load,
        "load of the host for each core, below which sources are [parsed ahead](#parsing-ahead), "
        f"0 to {MAX_LOAD:g}, fractions allowed; 0 is never",
    ),
    "branch": Rule(
        _flag,
        "a flag: measure branches, or statements alone",
        "as coverage.py's configuration says",
    ),
    "store": Rule(
        _store,
        "where the hosts of a fleet meet: `files` for one host, or a URL of [Redis or "
        "Valkey](#fleets)",
        "files",
    ),
    "store_namespace": Rule(
        _namespace, "tells fleets in one store apart: 1 to 64 letters, digits, `.`, `_`, `-`"
    ),
    "store_sources": Rule(
        _flag, "a flag: send source text to the store, for hosts that have other sources"
    ),
    "release": Rule(_release, "the name of the deploy: 1 to 100 printable characters", "none"),
    "seen_days": Rule(
        _days,
        f"for how many days it is known [on which of them](#seen-days) code ran, 0 to {MAX_DAYS}; "
        "0 is not at all",
    ),
    "contexts": Rule(
        _contexts,
        "which requests are [labelled](#labels): `off` for none, `header` for those that have "
        "`X-Coverage-Context`, `route` for all, each by its route",
        "`header` with `debug`, and in `run` and `test`; else `off`",
    ),
    "contexts_include": Rule(
        _patterns,
        "patterns of file names, separated by commas: installed sources whose lines labels are "
        "for, too, at a cost",
        "none",
    ),
}
