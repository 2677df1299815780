"""The protocol by which `pods.forwarded` accesses a Kubernetes cluster.

No state: values only, which any thread may use.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from wsgi_coverage.client.errors import NO_ANSWER, ClientError

RUNNING = "Running"


class PodError(ClientError, RuntimeError):
    """A pod cannot be found or reached; the message says which and why, on one line."""

    exit_code = NO_ANSWER


@dataclass(frozen=True, slots=True)
class Pod:
    """The name and the state of a pod."""

    name: str
    state: str  # Running, or a few words on why it does not run

    @property
    def is_running(self) -> bool:
        """Tell whether the pod runs, so that its containers may answer."""
        return self.state == RUNNING


@dataclass(frozen=True, slots=True, kw_only=True)
class Which:
    """The pods to find: one by its name, or all that a label selector matches.

    Attributes:
        namespace: the pods' namespace; None: the one that the kubeconfig's context names.
    """

    name: str | None
    selector: str | None
    namespace: str | None

    def __str__(self) -> str:
        shown = f"pod {self.name}" if self.name else f"pod with {self.selector!r}"
        return f"{shown} in namespace {self.namespace}" if self.namespace else shown


@dataclass(frozen=True, slots=True)
class Forward:
    """A port of this machine that is forwarded to a pod's."""

    port: int
    problem: Callable[[], str]  # returns why connections have failed so far, or ""


class Cluster(Protocol):
    """A cluster; every failure is a `PodError`."""

    def pods(self, which: Which) -> list[Pod]:
        """Return the pods to find, in the cluster's order."""
        ...

    def forward(self, name: str, port: int) -> AbstractContextManager[Forward]:
        """Forward a port of this machine to the pod's, until the block ends."""
        ...


def described(manifest: dict[str, Any]) -> Pod:
    """Return a pod by its manifest."""
    metadata, status = manifest.get("metadata") or {}, manifest.get("status") or {}
    if metadata.get("deletionTimestamp"):
        return Pod(metadata["name"], "Terminating")
    state = str(status.get("phase") or "Unknown")
    if state != RUNNING:
        containers: Sequence[dict[str, Any]] = status.get("containerStatuses") or ()
        waiting = [((each.get("state") or {}).get("waiting") or {}) for each in containers]
        reasons = [status.get("reason"), *(each.get("reason") for each in waiting)]
        if why := next(filter(None, reasons), None):
            state = f"{state} ({why})"
    return Pod(metadata["name"], state)


def one_line(text: str) -> str:
    """Put a text on one line, without control characters, which could affect a terminal."""
    shown = " ".join(text.split())
    return "".join(character if character.isprintable() else "?" for character in shown)
