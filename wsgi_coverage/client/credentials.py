"""Find the user name and the password for a dashboard.

No state; may be called from any thread.
"""

from __future__ import annotations

import base64
import netrc
import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult, unquote

from wsgi_coverage import settings

USERNAME_VARIABLE, PASSWORD_VARIABLE = settings.variable("username"), settings.variable("password")
NETRC_FILES = ("~/.netrc", "~/_netrc")


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """A user name and a password for HTTP Basic; without a password, no credentials are sent."""

    username: str = settings.USERNAME
    password: str | None = None
    remark: str = ""  # why netrc, which may have a password, could not be read

    @property
    def header(self) -> str | None:
        """The `Authorization` header; None without a password."""
        if not self.password:
            return None
        raw = f"{self.username}:{self.password}".encode("utf-8", "surrogateescape")
        return f"Basic {base64.b64encode(raw).decode()}"


def find(parts: SplitResult, username: str | None, password: str | None) -> Credentials:
    """Return the credentials for an address.

    The user name and the password are each taken from the first of these that has one: the
    arguments, the address, the environment. If none has a password, both come from netrc (the file
    that NETRC names, or ~/.netrc).

    Args:
        parts: the address.
        username: None or empty: not given.
        password: likewise.
    """
    in_url = [None if part is None else unquote(part) for part in (parts.username, parts.password)]
    username = username or in_url[0] or os.environ.get(USERNAME_VARIABLE)
    password = password or in_url[1] or os.environ.get(PASSWORD_VARIABLE)
    if password:
        return Credentials(username=username or settings.USERNAME, password=password)
    return _in_netrc(parts.hostname or "", username)


def _in_netrc(host: str, username: str | None) -> Credentials:
    named = os.environ.get("NETRC")
    for name in (named,) if named else NETRC_FILES:
        path = Path(name).expanduser()
        try:
            found = netrc.netrc(path).authenticators(host)
        except FileNotFoundError:
            continue
        except (OSError, netrc.NetrcParseError, UnicodeDecodeError, RuntimeError) as error:
            remark = f"{path} cannot be used: {error}"
            return Credentials(username=username or settings.USERNAME, remark=remark)
        if found and found[2] and username in (None, "", found[0]):
            return Credentials(username=found[0] or settings.USERNAME, password=found[2])
    return Credentials(username=username or settings.USERNAME)
