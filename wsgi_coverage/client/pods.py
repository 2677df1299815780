"""Find pods of a Kubernetes cluster, and forward a local port to a port of each.

The one entry point is `forwarded`. Concurrency: call from one thread; threads that it starts end
with the block.
"""

from __future__ import annotations

import contextlib
import http.client
import re
from collections.abc import Callable, Iterator
from typing import Literal

from wsgi_coverage.bounds import MAX_PORT
from wsgi_coverage.client.cluster import Cluster, Forward, PodError, Which
from wsgi_coverage.client.errors import BadAddressError, ClientError, UnreachableError
from wsgi_coverage.client.kubectl import Kubectl
from wsgi_coverage.client.transport import TIMEOUT
from wsgi_coverage.settings import SIDE_PORT, URL_PREFIX

SHOWN = 5  # pods named in a message, at most
PROBE = f"{URL_PREFIX}/openapi.json"  # below the dashboard's prefix: runs no application code
MOST = 64_000_000  # bytes of an answer to that

How = Literal["kubectl", "kubernetes"]

# A pod's name is a DNS subdomain, a namespace's a DNS label (RFC 1123): neither begins with "-".
NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
OF_A_SELECTOR = re.compile(r"[=!,()/ ]")


@contextlib.contextmanager
def forwarded(
    selector: str,
    *,
    namespace: str | None = None,
    container_port: int = SIDE_PORT,
    how: How = "kubectl",
    all_matching: bool = True,
    timeout: float = TIMEOUT,
    passed_over: Callable[[str], None] | None = None,
) -> Iterator[list[tuple[str, str]]]:
    """Find running pods and forward a port of each, for as long as the block lasts.

    A forward is yielded when something has answered through it. A `ClientError` that leaves the
    block is given the name of the pod whose address it names.

    Args:
        selector: a label selector (``app=shop,tier!=cache``), or a pod's name.
        namespace: None: the one that the kubeconfig's context names.
        container_port: the port in the pod, 1 to 65535.
        how: by the ``kubectl`` binary, or by the ``kubernetes`` package.
        all_matching: False: the first running one alone.
        timeout: seconds for each step: the list, the forward, the first answer.
        passed_over: called with a sentence for each pod found that does not run.

    Yields:
        Each pod's name, with the local address that leads to it: ``http://127.0.0.1:49152``.

    Raises:
        PodError: there is no such pod, none runs, or one cannot be reached.
        BadAddressError: the selector, the namespace or the port is invalid.
        MissingExtraError: the ``kubernetes`` package is not installed.
    """
    which = parse(selector, namespace)
    if not 1 <= container_port <= MAX_PORT:
        raise BadAddressError(f"a container's port must be 1 to {MAX_PORT}, got {container_port}")
    cluster = connect(namespace, how, timeout)
    names = running(cluster, which, passed_over)[: None if all_matching else 1]
    with contextlib.ExitStack() as forwards:
        reached = []
        for name in names:
            reach = _reached(cluster, name, container_port, timeout)
            reached.append((name, forwards.enter_context(reach)))
        yield reached


def parse(selector: str, namespace: str | None = None) -> Which:
    """Parse a pod's name, ``pod/NAME``, or a label selector.

    Raises:
        BadAddressError: the text is none of these, or the namespace is invalid.
    """
    if namespace is not None and not NAMESPACE.fullmatch(namespace):
        raise BadAddressError(f"no namespace can be called {namespace!r}")
    name = selector.removeprefix("pod/")
    if NAME.fullmatch(name):
        return Which(name=name, selector=None, namespace=namespace)
    if OF_A_SELECTOR.search(selector) and selector.isascii() and selector.isprintable():
        return Which(name=None, selector=selector, namespace=namespace)
    raise BadAddressError(
        f"must be a pod's name or a label selector such as app=shop, got {selector!r}"
    )


def connect(namespace: str | None, how: How, timeout: float) -> Cluster:
    """Return the cluster that the kubeconfig's context names, or that this process runs in.

    Raises:
        PodError: there is no kubectl, or no kubeconfig.
        MissingExtraError: the ``kubernetes`` package is not installed.
    """
    if how == "kubectl":
        return Kubectl(namespace, timeout)
    from wsgi_coverage.client.kubernetes import Kubernetes

    return Kubernetes(namespace, timeout)


def running(
    cluster: Cluster, which: Which, passed_over: Callable[[str], None] | None = None
) -> list[str]:
    """Return the names of the running pods, in the cluster's order; at least one.

    Raises:
        PodError: no pod matches, or none runs.
    """
    found = cluster.pods(which)
    if not found:
        raise PodError(f"there is no {which}")
    others = [f"{pod.name} is {pod.state}" for pod in found if not pod.is_running]
    names = [pod.name for pod in found if pod.is_running]
    if not names:
        more = f", and {len(others) - SHOWN} more" if len(others) > SHOWN else ""
        raise PodError(f"no {which} is running: {', '.join(others[:SHOWN])}{more}")
    if passed_over is not None:
        for other in others:
            passed_over(f"passed over: {other}")
    return names


@contextlib.contextmanager
def _reached(cluster: Cluster, name: str, port: int, timeout: float) -> Iterator[str]:
    with cluster.forward(name, port) as forward:
        _probe(forward, name, port, timeout)
        url = f"http://127.0.0.1:{forward.port}"
        try:
            yield url
        except ClientError as error:
            if url in str(error):
                problem = forward.problem() if isinstance(error, UnreachableError) else ""
                error.args = (_joined(f"pod {name}: {error}", problem),)
            raise


def _probe(forward: Forward, name: str, port: int, timeout: float) -> None:
    """Check by a request that anything answers through a forward, which may lead nowhere."""
    there = f"port {port} of pod {name}"
    connection = http.client.HTTPConnection("127.0.0.1", forward.port, timeout=timeout)
    with contextlib.closing(connection):
        try:
            connection.request("GET", PROBE, headers={"Connection": "close"})
            # Read to the end: kubectl before 1.32 forwards nothing after an answer read in part.
            with connection.getresponse() as answer:
                answer.read(MOST)
        except TimeoutError:
            late = f"nothing answers on {there} within {timeout:g} s"
            raise PodError(_joined(late, forward.problem())) from None
        except (OSError, http.client.RemoteDisconnected):
            raise PodError(_joined(f"nothing answers on {there}", forward.problem())) from None
        except http.client.HTTPException:
            raise PodError(f"the answer on {there} is not HTTP") from None


def _joined(message: str, reason: str) -> str:
    return f"{message}: {reason}" if reason else message
