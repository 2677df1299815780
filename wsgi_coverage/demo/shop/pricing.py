"""What a basket costs: discounts and delivery, in cents. No state."""

from __future__ import annotations

from dataclasses import dataclass

from wsgi_coverage.demo.shop.basket import Basket

DELIVERY = 490
FREE_DELIVERY_FROM = 10_000
PERCENT_CODES = {"SPRING10": 10, "FRIENDS20": 20}
MANY = 5  # of one product: one is given away


@dataclass(frozen=True, slots=True)
class Quote:
    """What is to be paid, and why."""

    goods: int
    discount: int
    delivery: int
    remark: str

    @property
    def total(self) -> int:
        """What is to be paid in the end."""
        return self.goods - self.discount + self.delivery


def quote(basket: Basket, code: str = "") -> Quote:
    """Work out a basket, with a discount code if there is one."""
    goods = sum(product.price * count for product, count in basket)
    discount = bulk_discount(basket)
    remark = ""
    if code:
        code = code.strip().upper()
        if code in PERCENT_CODES:
            discount += goods * PERCENT_CODES[code] // 100
            remark = f"{code}: {PERCENT_CODES[code]} % off."
        elif code.startswith("GIFT"):
            voucher = gift_voucher(code)
            discount += min(voucher, goods - discount)
            remark = f"A voucher over {voucher / 100:.2f}."
        else:
            remark = f"We do not know the code {code}."
    return Quote(goods, discount, delivery(goods - discount), remark)


def bulk_discount(basket: Basket) -> int:
    """Of five of one product, one is given away."""
    discount = 0
    for product, count in basket:
        if count >= MANY:
            discount += product.price * (count // MANY)
    return discount


def delivery(goods: int) -> int:
    """Delivery is free for large orders, and for nothing at all."""
    if goods == 0 or goods >= FREE_DELIVERY_FROM:
        return 0
    return DELIVERY


def gift_voucher(code: str) -> int:
    """What a voucher is worth: its last digits, where they match its check digit."""
    digits = code.removeprefix("GIFT").replace("-", "")
    if not digits.isdigit() or len(digits) < 3:
        return 0
    worth, check = int(digits[:-1]), int(digits[-1])
    if sum(map(int, digits[:-1])) % 10 != check:
        return 0
    return worth * 100
