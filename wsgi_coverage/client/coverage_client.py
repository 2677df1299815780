"""A client compatible with py-coverage-http's: collect from a pod's side port, and report here.

Works with `wsgi-coverage run` in the pod and with py-coverage-http's own server. Concurrency: one
thread at a time for each test's name.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import logging
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from wsgi_coverage.checkout import reports, serialized
from wsgi_coverage.checkout.collected import Brought, combine
from wsgi_coverage.checkout.sources import Checkout
from wsgi_coverage.client import credentials, download, pods, transport
from wsgi_coverage.client.client import RETRIES
from wsgi_coverage.client.dashboard import parsed
from wsgi_coverage.client.errors import (
    ClientError,
    FailedError,
    NotADashboardError,
    RefusedError,
    VersionMismatchError,
)
from wsgi_coverage.data.datafile import UnusableError
from wsgi_coverage.errors import TooManyAttemptsError
from wsgi_coverage.settings import SIDE_PORT

NOT_IN_A_NAME = re.compile(r"[/\\%\0-\x1f\x7f]")

log: logging.Logger = logging.getLogger("wsgi_coverage")


class CoverageClient:
    """Collects what programs in pods have executed, and reports on it.

    The data of a test goes to ``.coverage_<test_name>`` in the output folder, and its reports to
    ``report_<test_name>.txt``, ``html_<test_name>/index.html`` and ``coverage_<test_name>.xml``
    there. Where py-coverage-http's client answers None or False, this one raises.

    Args:
        namespace: the namespace of the pods.
        output_dir: made if it does not exist.
        username: for HTTP Basic; without it that in WSGI_COVERAGE_USERNAME, or ``admin``.
        password: without it that in WSGI_COVERAGE_PASSWORD.
    """

    def __init__(
        self,
        namespace: str = "default",
        output_dir: str | Path = "./coverage-output",
        *,
        username: str | None = None,
        password: str | None = None,
    ) -> None:
        self.namespace = namespace
        self.output_dir: Path = Path(output_dir)
        self.output_dir.mkdir(parents=True, exist_ok=True)
        self._access = (username, password)

    @staticmethod
    def get_pod_name(namespace: str, label_selector: str, use_kubectl: bool | None = None) -> str:
        """Return the name of the first running pod that a label selector finds.

        Args:
            namespace: the namespace of the pods.
            label_selector: ``app=my-app``, for instance.
            use_kubectl: True: by kubectl; False: by the ``kubernetes`` package; None: by kubectl
                if it is installed, else by the package.

        Raises:
            PodError: no pod runs (a `RuntimeError`), or the cluster does not answer.
        """
        if use_kubectl is None:
            use_kubectl = shutil.which("kubectl") is not None
        which = pods.parse(label_selector, namespace)
        cluster = pods.connect(namespace, _how(use_kubectl), transport.TIMEOUT)
        return pods.running(cluster, which)[0]

    def collect_coverage_from_pod(
        self,
        pod_name: str,
        test_name: str,
        coverage_port: int = SIDE_PORT,
        timeout: float = transport.TIMEOUT,
        use_kubectl: bool = True,
    ) -> str:
        """Collect what the program in a pod has executed up to now.

        Args:
            pod_name: a pod's name.
            test_name: part of the files' names, and the label that is sent to the pod.
            coverage_port: its side port, in the pod.
            timeout: seconds for each step.
            use_kubectl: False: forward the port by the ``kubernetes`` package.

        Returns:
            The data file.

        Raises:
            PodError, ClientError: the pod cannot be reached, or has no data.
            DiskFullError: the disk is full.
        """
        target = f"/coverage?name={quote(test_name, safe='')}"
        answer = self._ask(target, pod_name, coverage_port, timeout, use_kubectl=use_kubectl)
        try:
            data = base64.b64decode(answer["coverage_data"], validate=True)
        except (KeyError, TypeError, binascii.Error):
            raise VersionMismatchError(
                f"pod {pod_name}: the answer of its port {coverage_port} holds no coverage data"
            ) from None
        if not data:
            raise ClientError(f"pod {pod_name} has measured nothing yet")
        path = self._path(".coverage_", test_name)
        try:
            serialized.write(data, path)
        except UnusableError as why_not:
            raise VersionMismatchError(
                f"the data of pod {pod_name} cannot be used: {why_not}"
            ) from None
        return str(path)

    def reset_coverage(
        self,
        pod_name: str,
        coverage_port: int = SIDE_PORT,
        timeout: float = transport.TIMEOUT,
        use_kubectl: bool = True,
    ) -> bool:
        """Have the program in a pod forget what it has executed; return True.

        Raises:
            PodError, ClientError: as for `collect_coverage_from_pod`.
        """
        self._ask("/coverage/reset", pod_name, coverage_port, timeout, use_kubectl=use_kubectl)
        return True

    def generate_coverage_report(
        self, test_name: str, source_dir: str | Path = ".", remap_paths: bool = True
    ) -> None:
        """Print the text report, and write it to a file.

        Args:
            test_name: the name that the data was collected under.
            source_dir: the checkout.
            remap_paths: map the pod's files to the checkout; False: use paths as they are.

        Raises:
            ClientError: nothing was collected under this name.
            NoDataError: no collected file is a source of the checkout.
            BuildFailedError, DiskFullError: the report cannot be made.
        """
        with self._about(test_name, Path(source_dir), remap_paths) as data_file:
            text = reports.text(data_file, "text")
        self._path("report_", f"{test_name}.txt").write_text(text, encoding="utf-8")
        sys.stdout.write(text)

    def generate_html_report(
        self, test_name: str, source_dir: str | Path = ".", remap_paths: bool = True
    ) -> None:
        """Write the HTML report; as `generate_coverage_report`."""
        with self._about(test_name, Path(source_dir), remap_paths) as data_file:
            reports.html(data_file, self._path("html_", test_name))

    def generate_xml_report(
        self, test_name: str, source_dir: str | Path = ".", remap_paths: bool = True
    ) -> None:
        """Write Cobertura's XML; as `generate_coverage_report`."""
        with self._about(test_name, Path(source_dir), remap_paths) as data_file:
            text = reports.text(data_file, "xml")
        path = self._path("coverage_", f"{test_name}.xml")
        path.write_text(text, encoding="utf-8", errors="surrogateescape")

    def _path(self, prefix: str, name: str) -> Path:
        """Return the path of a test's file; characters that are unfit for a name are escaped."""
        plain = NOT_IN_A_NAME.sub(lambda found: f"%{ord(found[0]):02X}", name)
        return self.output_dir / f"{prefix}{plain}"

    def _ask(
        self, target: str, pod: str, port: int, timeout: float, *, use_kubectl: bool
    ) -> dict[str, Any]:
        with pods.forwarded(
            f"pod/{pod}",
            namespace=self.namespace,
            container_port=port,
            how=_how(use_kubectl),
            timeout=timeout,
        ) as [(_, url)]:
            parts = transport.split(url)
            found = credentials.find(parts, *self._access)
            sending = transport.Transport(parts, found, timeout=timeout, retries=RETRIES)
            status, raw = sending.exchange(
                "GET", target, lambda answer: (answer.status, download.body(answer))
            )
        where = f"pod {pod}: port {port}"
        answer = parsed(raw)
        said = answer if isinstance(answer, dict) else {}
        more = f": {said['message']}" if isinstance(said.get("message"), str) else ""
        if status in (401, 403) or said.get("error") == TooManyAttemptsError.slug:
            hint = "give a user name and a password"
            if found.password:
                hint = "wrong user name or password"
            raise RefusedError(f"{where} refuses ({status}){more or f': {hint}'}")
        if status == 404:
            raise NotADashboardError(f"{where} is no side port: {target} is not there (404){more}")
        if status != 200:
            error = str(said.get("error", ""))
            raise FailedError(f"{where} answers {status}{more}", status=status, error=error)
        return said

    @contextlib.contextmanager
    def _about(self, test_name: str, checkout: Path, remap_paths: bool) -> Iterator[Path]:
        """Yield a data file with the data of a test, mapped to the files of a checkout."""
        path = self._path(".coverage_", test_name)
        if not path.is_file():
            raise ClientError(f"nothing was collected as {test_name!r}: there is no {path}")
        if not remap_paths:
            yield path
            return
        with tempfile.TemporaryDirectory() as folder:
            target = Path(folder, "coverage")
            brought = Brought(test_name, path)
            result = combine([brought], target, Checkout(checkout), workspace=Path(folder))
            for warning in result.warnings:
                log.warning("%s", warning)
            if not result.combined:
                raise ClientError(f"{path} cannot be used: {result.set_aside.get(test_name)}")
            yield target


def _how(use_kubectl: bool) -> pods.How:
    return "kubectl" if use_kubectl else "kubernetes"
