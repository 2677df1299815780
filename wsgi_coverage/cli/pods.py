"""`--pod SELECTOR` instead of a URL: forward ports of pods while a command runs.

SIGTERM ends the command as Ctrl-C does, so that no kubectl outlives it.

Concurrency: runs in the main thread, where signals are handled.
"""

from __future__ import annotations

import argparse
import contextlib
import signal
from collections.abc import Callable, Iterator
from typing import Any

from wsgi_coverage.bounds import MAX_PORT
from wsgi_coverage.cli.asking import whole_number
from wsgi_coverage.client.errors import BadAddressError
from wsgi_coverage.client.pods import forwarded
from wsgi_coverage.settings import SIDE_PORT

ENDING = (signal.SIGTERM, signal.SIGHUP)
NAMED = 5  # pods in a message


def add(parser: argparse.ArgumentParser, *, many: bool = False) -> None:
    """Add the arguments for pods.

    Args:
        parser: the parser of a command with the argument `url`, or `urls`.
        many: whether the command accepts more than one pod.
    """
    group = parser.add_argument_group("pods, instead of a URL")
    group.add_argument(
        "--pod",
        metavar="SELECTOR",
        help="a label selector, app=shop for instance, or a pod's name"
        + ("" if many else "; one pod alone may match"),
    )
    group.add_argument(
        "-n",
        "--namespace",
        help="the namespace of the pods (default: that of the kubeconfig's context)",
    )
    group.add_argument(
        "--container-port",
        type=whole_number(1, MAX_PORT, "port"),
        default=SIDE_PORT,
        metavar="N",
        help=f"the port in the pod (default: {SIDE_PORT}, the side port)",
    )
    group.add_argument(
        "--first", action="store_true", help="the first running pod that matches, alone"
    )
    group.add_argument(
        "--kubernetes",
        action="store_true",
        help="by the kubernetes package (the extra kubernetes), not by kubectl",
    )


@contextlib.contextmanager
def resolved(arguments: argparse.Namespace, say: Callable[[str], None]) -> Iterator[None]:
    """Forward ports of the pods that the arguments name, and put the local addresses there.

    The forwards end with the block.

    Args:
        arguments: the command's; left as they are if the command takes no pods.
        say: called with a sentence for each pod that does not run.

    Raises:
        BadAddressError: there is neither a URL nor a pod, or both.
        ClientError: a pod cannot be reached, or more pods match than the command accepts.
    """
    if not hasattr(arguments, "pod"):
        yield
        return
    is_for_many = hasattr(arguments, "urls")
    given = arguments.urls if is_for_many else arguments.url
    if bool(given) == (arguments.pod is not None):
        raise BadAddressError("give either a URL or --pod")
    if given:
        yield
        return
    with (
        _ended_by_signals(),
        forwarded(
            arguments.pod,
            namespace=arguments.namespace,
            container_port=arguments.container_port,
            how="kubernetes" if arguments.kubernetes else "kubectl",
            all_matching=not arguments.first,
            timeout=arguments.timeout,
            passed_over=say,
        ) as found,
    ):
        arguments.names = {url: name for name, url in found}
        if is_for_many:
            arguments.urls = [*arguments.names]
        else:
            arguments.url = _only(found)
        yield


def named(arguments: argparse.Namespace, message: str) -> str:
    """Add the pod's name to a message that has the local address forwarded to it."""
    for url, name in getattr(arguments, "names", {}).items():
        if url in message:
            return f"pod {name}: {message}"
    return message


def _only(found: list[tuple[str, str]]) -> str:
    if len(found) > 1:
        names = ", ".join(name for name, _ in found[:NAMED])
        more = f", and {len(found) - NAMED} more" if len(found) > NAMED else ""
        raise BadAddressError(f"{len(found)} pods match: {names}{more}; name one, or say --first")
    return found[0][1]


@contextlib.contextmanager
def _ended_by_signals() -> Iterator[None]:
    def end(number: int, _: Any) -> None:
        raise SystemExit(128 + number)

    replaced = [each for each in ENDING if signal.getsignal(each) is signal.SIG_DFL]
    for each in replaced:
        signal.signal(each, end)
    try:
        yield
    finally:
        for each in replaced:
            signal.signal(each, signal.SIG_DFL)
