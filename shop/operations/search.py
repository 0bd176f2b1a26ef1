"""
Find checkouts and orders by the names that staff have: ids, order numbers, e-mail addresses.

Each name is resolved to ids first, each by an index of its own: a query that joins tables and
searches several columns at once reads whole tables.
"""

from __future__ import annotations

import uuid
from typing import Any

from django.db.models import Q, QuerySet

from shop.accounts import User
from shop.orders import Order
from shop.payments.ledger import GatewayOrder, Payment
from shop.payments.refunds import Refund

MIN_CHARS = 4  # of a number or an address; a shorter beginning matches too many rows
MAX_FOUND = 500  # orders, or buyers, that match one beginning
UUID_CHARS = 32


def checkouts(term: str) -> Q:
    """
    A filter for checkouts by the beginning of their id, an order number or its beginning, an id of
    Razorpay's (`order_…`, `pay_…`, `rfnd_…`), or the beginning of the buyer's e-mail address.
    """
    if len(term) < MIN_CHARS:
        return Q(pk__in=[])
    if orders := order_ids(term):
        return Q(order_id__in=orders)
    return _id_begins(term) | Q(owner_id__in=buyer_ids(term))


def order_ids(term: str) -> list[int]:
    """The orders with this Razorpay id, or with this order number or beginning of one."""
    rows: QuerySet[Any, Any]
    if term.startswith("order_"):
        rows = GatewayOrder.objects.filter(gateway_order_id=term).values_list("order_id")
    elif term.startswith("pay_"):
        rows = Payment.objects.filter(gateway_payment_id=term).values_list(
            "gateway_order__order_id"
        )
    elif term.startswith("rfnd_"):
        rows = Refund.objects.filter(gateway_refund_id=term).values_list(
            "payment__gateway_order__order_id"
        )
    elif term.upper().startswith("PK-"):
        rows = Order.objects.filter(number__startswith=term.upper()).values_list("pk")
    else:
        return []
    return [order_id for (order_id,) in rows.order_by()[:MAX_FOUND]]


def buyer_ids(term: str) -> list[int]:
    """The buyers whose e-mail address begins with `term`."""
    if len(term) < MIN_CHARS:
        return []
    found = User.objects.filter(email__startswith=term.lower()).order_by()
    return list(found.values_list("pk", flat=True)[:MAX_FOUND])


def _id_begins(term: str) -> Q:
    digits = term.lower().replace("-", "")
    if len(digits) > UUID_CHARS or not all(digit in "0123456789abcdef" for digit in digits):
        return Q(pk__in=[])
    first = uuid.UUID(hex=digits.ljust(UUID_CHARS, "0"))
    last = uuid.UUID(hex=digits.ljust(UUID_CHARS, "f"))
    return Q(pk__gte=first, pk__lte=last)
