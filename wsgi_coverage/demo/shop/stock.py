"""Stock and orders: one SQLite file that all workers share.

Concurrency: each call opens a connection of its own; an order is one transaction.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime

from wsgi_coverage.demo.shop.basket import Basket
from wsgi_coverage.demo.shop.catalogue import PRODUCTS

ON_THE_SHELF = 5000
SOLD_OUT = "clock"
TIMEOUT = 10.0  # seconds that an order waits for another


class SoldOutError(Exception):
    """There is less on the shelf than was ordered; the text names the product."""


@contextlib.contextmanager
def _opened() -> Iterator[sqlite3.Connection]:
    path = os.environ["SHOP_DATABASE"]
    with contextlib.closing(sqlite3.connect(path, timeout=TIMEOUT)) as connection, connection:
        yield connection


def prepare() -> None:
    """Create the tables and fill the shelf, unless another worker has."""
    with _opened() as shop:
        shop.execute("create table if not exists shelf (slug text primary key, left integer)")
        shop.execute("create table if not exists orders (at text, slug text, count integer)")
        for product in PRODUCTS:
            left = 0 if product.slug == SOLD_OUT else ON_THE_SHELF
            shop.execute("insert or ignore into shelf values (?, ?)", (product.slug, left))


def left(slug: str) -> int:
    """How many are on the shelf."""
    with _opened() as shop:
        row = shop.execute("select left from shelf where slug = ?", (slug,)).fetchone()
    return int(row[0]) if row else 0


def order(basket: Basket) -> None:
    """Take everything in the basket from the shelf, or nothing.

    Raises:
        SoldOutError: there is not enough of something.
    """
    now = datetime.now(UTC).isoformat()
    with _opened() as shop:
        for product, count in basket:
            taken = shop.execute(
                "update shelf set left = left - ?1 where slug = ?2 and left >= ?1",
                (count, product.slug),
            )
            if not taken.rowcount:
                raise SoldOutError(product.name)
            shop.execute("insert into orders values (?, ?, ?)", (now, product.slug, count))


def orders() -> list[tuple[str, str, int]]:
    """Every order: when, what and how many."""
    with _opened() as shop:
        return list(shop.execute("select at, slug, count from orders order by at"))


def restock(slug: str, count: int) -> None:
    """Put more on the shelf."""
    if count <= 0:
        raise ValueError(f"count must be above 0, got {count}")
    with _opened() as shop:
        shop.execute("update shelf set left = left + ? where slug = ?", (count, slug))
