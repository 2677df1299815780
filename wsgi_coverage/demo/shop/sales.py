"""The owner's report on sales: a page that somebody asked for once, and nobody opens.

No state: orders are read from the stock's file.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from wsgi_coverage.demo.shop import catalogue, stock

Order = tuple[str, str, int]  # when, what, how many


def report() -> dict[str, Any]:
    """Everything that the page shows."""
    orders = stock.orders()
    return {
        "best": best_sellers(orders),
        "hours": by_hour(orders),
        "low": running_low(),
        "turnover": turnover(orders),
    }


def best_sellers(orders: Iterable[Order], how_many: int = 5) -> list[tuple[str, int]]:
    """The products that sell best, with their numbers."""
    sold: Counter[str] = Counter()
    for _, slug, count in orders:
        sold[slug] += count
    return sold.most_common(how_many)


def by_hour(orders: Iterable[Order]) -> dict[int, int]:
    """How many orders came in each hour of the day."""
    hours = dict.fromkeys(range(24), 0)
    for at, _, _ in orders:
        hours[int(at[11:13])] += 1
    return hours


def turnover(orders: Iterable[Order]) -> int:
    """What all orders were worth, in cents, at today's prices."""
    total = 0
    for _, slug, count in orders:
        product = catalogue.find(slug)
        if product is not None:
            total += product.price * count
    return total


def running_low(limit: int = 10) -> list[str]:
    """Products of which few are left."""
    shelf = {product.name: stock.left(product.slug) for product in catalogue.PRODUCTS}
    return [name for name, left in shelf.items() if left < limit]


def as_csv(orders: Iterable[Order]) -> str:
    """All orders for a spreadsheet."""
    lines = ["when,what,how many"]
    lines += [f"{at},{slug},{count}" for at, slug, count in orders]
    return "\r\n".join(lines) + "\r\n"
