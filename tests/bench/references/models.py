"""The tables of both reference shops, and the steps of a checkout on them."""

from __future__ import annotations

import uuid
from functools import cache

import razorpay
from django.conf import settings
from django.db import models, transaction
from django.db.models import F
from django.utils import timezone


class Variant(models.Model):  # noqa: DJ008 - nobody reads these names
    sku = models.CharField(max_length=64, unique=True)
    name = models.CharField(max_length=200)
    price_paise = models.BigIntegerField()
    stock = models.PositiveIntegerField()


class CartItem(models.Model):  # noqa: DJ008
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE)
    variant = models.ForeignKey(Variant, on_delete=models.PROTECT)
    quantity = models.PositiveIntegerField()


class Order(models.Model):  # noqa: DJ008
    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT)
    status = models.CharField(max_length=20, default="processing", db_index=True)
    amount_paise = models.BigIntegerField(default=0)
    shipping_address = models.JSONField()
    error = models.CharField(max_length=200, blank=True)
    gateway_order_id = models.CharField(max_length=64, blank=True, db_index=True)
    payment_id = models.CharField(max_length=64, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    payable_at = models.DateTimeField(null=True)
    paid_at = models.DateTimeField(null=True)

    @property
    def as_json(self) -> dict[str, object]:
        done = self.status in {"paid", "failed"}
        return {
            "id": str(self.id),
            "status": self.status,
            "amount_paise": self.amount_paise,
            "error": self.error,
            "payment": {"razorpay_order_id": self.gateway_order_id, "amount": self.amount_paise},
            "poll": {"after_ms": 500, "done": done},
        }


class OrderLine(models.Model):  # noqa: DJ008
    order = models.ForeignKey(Order, on_delete=models.CASCADE, related_name="lines")
    variant = models.ForeignKey(Variant, on_delete=models.PROTECT)
    units = models.PositiveIntegerField()
    unit_price_paise = models.BigIntegerField()


class CannotBuy(Exception):
    """The reason, for the buyer."""


def items_of(owner_id: int) -> list[CartItem]:
    return list(CartItem.objects.filter(owner_id=owner_id).select_related("variant"))


def validate_cart(owner_id: int) -> list[CartItem]:
    """:raises CannotBuy: the cart is empty, or a line of it is not in stock."""
    items = items_of(owner_id)
    if not items:
        raise CannotBuy("The cart is empty.")
    if missing := [it.variant.sku for it in items if it.variant.stock < it.quantity]:
        raise CannotBuy(f"Out of stock: {missing[0]}")
    return items


@transaction.atomic
def take_stock(order: Order, items: list[CartItem]) -> None:
    """
    Subtract the units of all lines from stock, in variant order, and write the order's lines.

    :raises CannotBuy: units are missing; nothing is subtracted.
    """
    wanted = {item.variant_id: item.quantity for item in items}
    shelf = Variant.objects.select_for_update().filter(pk__in=wanted).order_by("pk")
    variants = {variant.pk: variant for variant in shelf}
    for variant_id, units in sorted(wanted.items()):
        if variants[variant_id].stock < units:
            raise CannotBuy(f"Out of stock: {variants[variant_id].sku}")
        Variant.objects.filter(pk=variant_id).update(stock=F("stock") - units)
    order.amount_paise = sum(variants[it].price_paise * units for it, units in wanted.items())
    order.save()
    OrderLine.objects.bulk_create(
        OrderLine(
            order=order,
            variant_id=variant_id,
            units=units,
            unit_price_paise=variants[variant_id].price_paise,
        )
        for variant_id, units in wanted.items()
    )


def create_gateway_order(order: Order) -> None:
    """Create the gateway order and make this order payable."""
    created = _client().order.create(
        {"amount": order.amount_paise, "currency": "INR", "receipt": order.id.hex},
        timeout=settings.GATEWAY_TIMEOUT_SECONDS,
    )
    order.gateway_order_id = created["id"]
    order.status = "awaiting_payment"
    order.payable_at = timezone.now()
    order.save(update_fields=["gateway_order_id", "status", "payable_at"])


def fail(order: Order, error: CannotBuy) -> None:
    order.status, order.error = "failed", str(error)
    order.save(update_fields=["status", "error"])


@cache
def _client() -> razorpay.Client:
    return razorpay.Client(auth=("rzp_test_bench", "secret"), base_url=settings.GATEWAY_URL)
