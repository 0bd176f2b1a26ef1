"""Orders: what a checkout bought, at which prices, and where its units are."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone

from shop.catalogue import Variant
from shop.db import fast

NUMBER_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # Crockford: no I, L, O, U to misread
NUMBER_RANDOM_CHARS = 10  # 50 bits a day: neither guessed nor drawn twice


class StockState(StrEnum):
    """Where the units of an order are. All its lines are in the same state."""

    HELD = "held"
    SOLD = "sold"
    RELEASED = "released"


class Order(models.Model):
    # Also the receipt at Razorpay, so at most 40 ASCII characters.
    number = models.CharField(max_length=40, unique=True)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="orders"
    )
    currency = models.CharField(max_length=3)
    amount_paise = models.BigIntegerField()
    stock_state = models.CharField(max_length=8, default=StockState.HELD)
    shipping_address = models.JSONField()
    billing_address = models.JSONField()
    created_at = models.DateTimeField()
    paid_at = models.DateTimeField(null=True, blank=True)
    paid_by = models.CharField(max_length=64, blank=True)  # the gateway's id of the payment

    class Meta:
        ordering = ("-id",)
        constraints = [
            models.CheckConstraint(condition=Q(amount_paise__gt=0), name="order_amount_positive"),
            models.CheckConstraint(
                condition=Q(stock_state__in=[state.value for state in StockState]),
                name="order_stock_state_known",
            ),
        ]

    def __str__(self) -> str:
        return self.number


class OrderLine(models.Model):
    order = models.ForeignKey(
        Order,
        on_delete=models.PROTECT,
        related_name="lines",
        db_index=False,  # `order_line_one_per_variant` begins with it
    )
    variant = models.ForeignKey(Variant, on_delete=models.PROTECT, related_name="+")
    sku = models.CharField(max_length=64)
    name = models.CharField(max_length=420)
    units = models.PositiveIntegerField()
    unit_price_paise = models.BigIntegerField()

    class Meta:
        ordering = ("id",)
        constraints = [
            models.UniqueConstraint(fields=["order", "variant"], name="order_line_one_per_variant"),
            models.CheckConstraint(condition=Q(units__gte=1), name="order_line_units_at_least_one"),
        ]

    def __str__(self) -> str:
        return f"{self.units} × {self.sku}"

    @property
    def line_total_paise(self) -> int:
        return self.units * self.unit_price_paise


@dataclass(frozen=True, slots=True)
class FrozenLine:
    """A line of a checkout. Later changes of the catalogue do not change it."""

    variant_id: int
    sku: str
    name: str
    units: int
    unit_price_paise: int

    @property
    def line_total_paise(self) -> int:
        return self.units * self.unit_price_paise

    @classmethod
    def from_json(cls, line: dict[str, Any]) -> FrozenLine:
        return cls(**line)

    def to_json(self) -> dict[str, Any]:
        return {
            "variant_id": self.variant_id,
            "sku": self.sku,
            "name": self.name,
            "units": self.units,
            "unit_price_paise": self.unit_price_paise,
        }


@dataclass(frozen=True, slots=True)
class Draft:
    """What `place` needs for one order. `amount_paise`: as the checkout froze it."""

    owner_id: int
    currency: str
    amount_paise: int
    lines: tuple[FrozenLine, ...]
    shipping_address: dict[str, str]
    billing_address: dict[str, str]


def new_number(now: datetime) -> str:
    """An order number with its day and a random part: PK-261122-7F3K9QX2MD."""
    code = "".join(secrets.choice(NUMBER_ALPHABET) for _ in range(NUMBER_RANDOM_CHARS))
    return f"PK-{timezone.localtime(now):%y%m%d}-{code}"


def place(drafts: Iterable[Draft], *, now: datetime) -> Sequence[Order]:
    """
    Create orders and their lines, in the order given. Their units must be held already.

    Two statements, whatever the number of drafts.
    """
    drafts = list(drafts)
    placed = fast.insert(
        Order,
        [
            Order(
                number=new_number(now),
                owner_id=draft.owner_id,
                currency=draft.currency,
                amount_paise=draft.amount_paise,
                shipping_address=draft.shipping_address,
                billing_address=draft.billing_address,
                created_at=now,
            )
            for draft in drafts
        ],
    )
    fast.insert(
        OrderLine,
        [
            OrderLine(
                order_id=order.pk,
                variant_id=line.variant_id,
                sku=line.sku,
                name=line.name,
                units=line.units,
                unit_price_paise=line.unit_price_paise,
            )
            for order, draft in zip(placed, drafts, strict=True)
            for line in draft.lines
        ],
    )
    return placed


def of_ids(order_ids: Collection[int]) -> dict[int, Order]:
    """Orders by id."""
    found = fast.select(Order, "WHERE id = ANY(%s)", [fast.array(order_ids)])
    return {order.pk: order for order in found}


# On the fast path: `bulk_update` takes 25 ms of CPU to build for a batch of a hundred.
_PAY = """
    UPDATE shop_order AS placed SET paid_at = %s, paid_by = given.paid_by
    FROM json_to_recordset(%s::json) AS given (order_id bigint, paid_by text)
    WHERE placed.id = given.order_id
"""


def pay(paid: Collection[tuple[int, str]], *, now: datetime) -> None:
    """Record which payment paid which order: (order id, the gateway's payment id) each."""
    records = [{"order_id": order_id, "paid_by": paid_by} for order_id, paid_by in paid]
    fast.execute(_PAY, [now, fast.as_json(records)])
