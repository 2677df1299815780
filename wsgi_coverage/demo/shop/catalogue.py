"""What the shop sells. No state: constants, which any thread reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Product:
    """One thing on the shelf."""

    slug: str
    name: str
    kind: str
    price: int  # cents
    text: str
    mark: str  # stands in for a picture


PRODUCTS = (
    Product("teapot", "Cast-iron teapot", "kitchen", 4900, "Holds a litre and keeps it warm.", "◐"),
    Product("mug", "Stoneware mug", "kitchen", 1400, "Glazed by hand, no two alike.", "◔"),
    Product("grinder", "Pepper grinder", "kitchen", 3200, "Beech, with a steel burr.", "◑"),
    Product("lamp", "Reading lamp", "desk", 7900, "Warm light, a brass arm, a long cable.", "◎"),
    Product("notebook", "Notebook, dotted", "desk", 1100, "160 pages that lie flat.", "▤"),
    Product("pen", "Fountain pen", "desk", 5600, "Medium nib; takes cartridges.", "◣"),
    Product("blanket", "Wool blanket", "home", 8900, "From a mill that still mends them.", "▦"),
    Product("clock", "Wall clock", "home", 6400, "Runs a year on one battery.", "◷"),
    Product("candle", "Beeswax candle", "home", 900, "Burns for thirty hours.", "▮"),
)


def find(slug: str) -> Product | None:
    """The product of this name, if there is one."""
    return next((product for product in PRODUCTS if product.slug == slug), None)


def kinds() -> list[str]:
    """Every kind of product, in the order of the shelf."""
    return list(dict.fromkeys(product.kind for product in PRODUCTS))


def of_kind(kind: str) -> list[Product]:
    """All products of one kind."""
    return [product for product in PRODUCTS if product.kind == kind]


def search(words: str) -> list[Product]:
    """Products whose name or description has every word."""
    wanted = words.lower().split()
    if not wanted:
        return []
    found = []
    for product in PRODUCTS:
        text = f"{product.name} {product.kind} {product.text}".lower()
        if all(word in text for word in wanted):
            found.append(product)
    return found


def similar_to(product: Product) -> list[Product]:
    """Others of the same kind, the nearest in price first."""
    others = [other for other in of_kind(product.kind) if other != product]
    return sorted(others, key=lambda other: abs(other.price - product.price))


def price_list(products: Sequence[Product]) -> str:
    """A price list to print and hang beside the door."""
    lines = []
    for product in sorted(products, key=lambda each: each.name):
        dots = "." * (40 - len(product.name))
        lines.append(f"{product.name} {dots} {product.price / 100:8.2f}")
    return "\n".join(lines)
