"""The tests of a shop, several at once and each alone: either way each has run the same lines."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from coverage import CoverageData
from e2e_servers import beside, each_in_turn

pytestmark = pytest.mark.skipif(sys.version_info < (3, 12), reason="needs sys.monitoring")

DASHBOARD = "/debug/coverage"
TIMEOUT = 120  # seconds
SHOP = {
    "WSGI_COVERAGE_APP": "wsgi_coverage.demo.shop.app:application",
    "WSGI_COVERAGE_CONTEXTS": "header",
    "WSGI_COVERAGE_CONTEXTS_INCLUDE": "*/wsgi_coverage/demo/shop/*",  # it is installed
    "WSGI_COVERAGE_DEMO": "1",  # lets this shop be measured
}
TESTS = """
import os
import urllib.error
import urllib.parse
import urllib.request

import pytest


class Customer:
    def __init__(self):
        self._opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPCookieProcessor()
        )

    def get(self, path):
        with self._opener.open(os.environ["SHOP"] + path) as answer:
            return answer.read().decode()

    def post(self, path, **form):
        body = urllib.parse.urlencode(form).encode()
        with self._opener.open(os.environ["SHOP"] + path, body) as answer:
            return answer.read().decode()


@pytest.fixture
def customer():
    return Customer()


def test_shelf(customer):
    assert "Reading lamp" in customer.get("/")


def test_search(customer):
    assert "Holds a litre" in customer.get("/search?q=teapot")
    assert "teapot" not in customer.get("/search?q=nothing+like+that")


def test_discounts(customer):
    for _ in range(5):
        customer.post("/basket/add/mug")
    assert "SPRING10" in customer.get("/basket?code=spring10")


def test_voucher(customer):
    customer.post("/basket/add/lamp")
    assert "A voucher over 50.00" in customer.get("/basket?code=GIFT-50-5")
    customer.post("/basket/take-out/lamp")


def test_checkout(customer):
    customer.post("/basket/add/teapot")
    assert "Thank you" in customer.post("/checkout")


def test_sold_out(customer):
    customer.post("/basket/add/clock")
    with pytest.raises(urllib.error.HTTPError, match="409") as raised:
        customer.post("/checkout")
    raised.value.close()


def test_sales(customer):
    customer.post("/basket/add/pen")
    customer.post("/checkout")
    assert "Sales" in customer.get("/admin/sales")
    assert ",pen,1" in customer.get("/admin/sales.csv")


def test_restock(customer):
    assert "Beeswax candle" in customer.post("/admin/restock/candle", count="3")
    with pytest.raises(urllib.error.HTTPError, match="400") as raised:
        customer.post("/admin/restock/candle", count="none")
    raised.value.close()
"""
NAMES = re.findall(r"^def (test_\w+)", TESTS, re.M)

Lines = dict[str, set[int]]  # by the name of a file, without folders


@pytest.fixture
def shop(project, password):
    project.coveragerc("source_pkgs = wsgi_coverage.demo.shop")
    env = {**password, **SHOP, "SHOP_DATABASE": str(project.folder / "shop.sqlite")}
    options = ("-w", "2", "--threads", "8", "wsgi_coverage.wsgi:application")
    server = project.gunicorn(*options, env=env)
    server.wait_for_workers(2)
    return server


@pytest.fixture
def run_tests(shop, tmp_path, password):
    """Run the tests of the shop, or one of them, by pytest with some options."""
    folder = tmp_path / "tests"
    folder.mkdir()
    (folder / "test_shop.py").write_text(TESTS)
    (folder / "pytest.ini").write_text("[pytest]\n")
    address = f"http://127.0.0.1:{shop.port}"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:randomly"]

    def run(*options: str) -> str:
        done = subprocess.run(
            [*command, "--wsgi-coverage", address, *options],
            cwd=folder,
            env={
                **{k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")},
                **password,
                "SHOP": address,
            },
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


def test_each_test_has_the_same_lines_among_others_as_alone(shop, run_tests, tmp_path):
    pytest.importorskip("xdist", reason="pytest-xdist is not installed")
    # While somebody without a label looks at the shop, and at its coverage.
    look = each_in_turn(shop, ("/", "/search?q=lamp", "/basket?code=GIFT", "/admin/sales"))
    with beside(look, shop.refresh):
        text = run_tests("-n", "4")
    together = shop.ran_for_labels()

    alone = {}
    for name in NAMES:
        assert shop.reset().json()["complete"]
        run_tests(f"test_shop.py::{name}")
        found = shop.ran_for_labels()
        assert list(found) == [f"test_shop.py::{name}"]
        alone.update(found)
        assert [*found.values()] == [ran_at_runtime(shop, tmp_path)]

    assert together == alone
    assert len(alone) == len(NAMES)
    assert len({str(sorted(lines.items())) for lines in alone.values()}) == len(NAMES)
    assert f"{len(NAMES)} of {len(NAMES)} tests ran lines of the application" in text


def ran_at_runtime(server: Any, folder: Path) -> Lines:
    """Lines of the shop that ran for requests, whether these have a label or not."""
    copy = folder / "exported"
    copy.write_bytes(server.get(f"{DASHBOARD}/export").body)
    data = CoverageData(basename=str(copy))
    data.read()
    data.set_query_context("runtime")
    found = {Path(name).name: set(data.lines(name) or ()) for name in data.measured_files()}
    data.close(force=True)
    return {name: lines for name, lines in found.items() if lines}
