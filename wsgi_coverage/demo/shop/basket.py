"""The customer's basket, stored in a cookie, so that every worker of the server has it.

A cookie comes from outside: entries that are not valid are ignored.

Concurrency: a basket belongs to one request.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from wsgi_coverage.demo.shop import catalogue
from wsgi_coverage.demo.shop.catalogue import Product

MOST = 20  # of one product


class Basket:
    """Products and how many of each."""

    def __init__(self, counts: dict[str, int]) -> None:
        self._counts = counts

    @classmethod
    def from_cookie(cls, cookie: str) -> Basket:
        """Read a basket from `to_cookie`; anything else is an empty one."""
        if not cookie:
            return cls({})
        try:
            raw = json.loads(cookie)
        except ValueError:
            return cls({})
        return cls(
            {
                slug: min(count, MOST)
                for slug, count in (raw.items() if isinstance(raw, dict) else ())
                if catalogue.find(slug) and isinstance(count, int) and count > 0
            }
        )

    def to_cookie(self) -> str:
        """The basket as the value of a cookie."""
        return json.dumps(self._counts, separators=(",", ":"))

    def add(self, product: Product) -> None:
        """Put one more in."""
        self._counts[product.slug] = min(self._counts.get(product.slug, 0) + 1, MOST)

    def take_out(self, product: Product) -> None:
        """Take all of one product out."""
        self._counts.pop(product.slug, None)

    def empty(self) -> None:
        """Take everything out."""
        self._counts.clear()

    def __iter__(self) -> Iterator[tuple[Product, int]]:
        for slug, count in self._counts.items():
            product = catalogue.find(slug)
            if product is not None:
                yield product, count

    def __len__(self) -> int:
        return sum(self._counts.values())
