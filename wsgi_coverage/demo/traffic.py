"""Send the shop requests of customers over HTTP: always the same ones, in the same order.

Concurrency: one thread; every customer has cookies of their own.
"""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from http.cookiejar import CookieJar
from typing import Any

TIMEOUT = 30.0  # seconds; a page of the shop takes far less, a first report may not
ROUNDS = 20

# One customer a line: pages to open, and (with values) forms to send.
Step = tuple[str, dict[str, str] | None]
BUY: Step = ("/checkout", {})


def _into_basket(*slugs: str) -> list[Step]:
    return [(f"/basket/add/{slug}", {}) for slug in slugs]


# By what they do, which is the label of their requests.
CUSTOMERS: dict[str, list[Step]] = {
    "buys a lamp": [("/", None), ("/kind/desk", None), ("/product/lamp", None),
                    *_into_basket("lamp"), BUY],
    "looks for tea": [("/search?q=tea", None), *_into_basket("teapot", "mug", "mug"),
                      ("/basket", None), BUY],
    "buys many": [("/product/notebook", None), *_into_basket(*["notebook"] * 5),
                  ("/basket", None), BUY],
    "has a code": [*_into_basket("pen"), ("/basket?code=SPRING10", None),
                   ("/checkout", {"code": "SPRING10"})],
    "has a wrong code": [*_into_basket("pen"), ("/basket?code=PLEASE", None),
                         ("/basket/take-out/pen", {}), BUY],
    "buys the last one": [("/product/clock", None), *_into_basket("clock"), BUY],
    "only looks": [("/search?q=burr+beech", None), ("/search?q=a", None),
                   ("/search?q=sofa", None)],
    "gets lost": [("/kind/garden", None), ("/product/sofa", None), ("/basket", None),
                  ("/cellar", None)],
}  # fmt: skip

TOTAL = ROUNDS * sum(map(len, CUSTOMERS.values()))  # requests


class Browser:
    """Opens pages of one site, follows redirects and keeps cookies.

    Args:
        address: the site's, without a slash at the end.
        label: of the requests for pages; None: they have none.
    """

    def __init__(self, address: str, label: str | None = None) -> None:
        self._address = address
        self._headers = {} if label is None else {"X-Coverage-Context": label}
        self._opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}),  # the site is on this machine
            urllib.request.HTTPCookieProcessor(CookieJar()),
        )

    def open(self, path: str, form: dict[str, str] | None = None) -> int:
        """Open a page, or send a form to it; return the status.

        Raises:
            OSError: there is no answer (urllib's URLError is an OSError).
        """
        data = None if form is None else urllib.parse.urlencode(form).encode()
        request = urllib.request.Request(self._address + path, data=data, headers=self._headers)
        try:
            with self._opener.open(request, timeout=TIMEOUT) as response:
                response.read()
                return int(response.status)
        except urllib.error.HTTPError as error:
            error.close()
            return int(error.code)

    def json(self, path: str, *, method: str = "GET") -> Any:
        """Ask for JSON.

        Raises:
            OSError: there is no answer, or the answer is an error.
            ValueError: the answer is not JSON.
        """
        request = urllib.request.Request(
            self._address + path, method=method, headers={"Accept": "application/json"}
        )
        with self._opener.open(request, timeout=TIMEOUT) as response:
            return json.load(response)


def drive(address: str) -> Iterator[int]:
    """Send every customer through the shop, round after round; yield the requests made so far.

    Raises:
        OSError: the shop does not answer.
        RuntimeError: the shop answers with an error of its own.
    """
    made = 0
    for _ in range(ROUNDS):
        for label, steps in CUSTOMERS.items():
            browser = Browser(address, label)
            for path, form in steps:
                status = browser.open(path, form)
                if status >= 500:
                    raise RuntimeError(f"the shop answered {path} with {status}")
                made += 1
                yield made
