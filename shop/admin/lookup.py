"""
Search by what people have at hand. It is resolved to ids first, each by an index of its own: a list
that is joined and searched by several columns at once reads its whole table.
"""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest

from shop.accounts import User
from shop.orders import Order
from shop.payments.ledger import GatewayOrder, Payment
from shop.payments.refunds import Refund

MIN_CHARS = 4  # of the beginning of a number or of an address: fewer would find everything
MAX_FOUND = 500  # orders, or buyers, that go by one beginning


def orders_of(term: str) -> list[int]:
    """The orders that go by this id of Razorpay's, or by this order number or its beginning."""
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


def buyers_of(term: str) -> list[int]:
    """The buyers whose e-mail address begins so."""
    if len(term) < MIN_CHARS:
        return []
    found = User.objects.filter(email__startswith=term.lower()).order_by()
    return list(found.values_list("pk", flat=True)[:MAX_FOUND])


class Lookup(admin.ModelAdmin):
    """
    A list whose rows belong to an order. `order_path` leads from a row to its order's id; a term
    that begins as a key of `own` is looked up in that column of the row's alone, any other in the
    columns of `otherwise` too.
    """

    search_fields = ("pk",)  # any: `get_search_results` knows better
    order_path = "order_id"
    own: dict[str, str] = {}
    otherwise: tuple[str, ...] = ()

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        term = search_term.strip()
        return (queryset.filter(self.matches(term)) if term else queryset), False

    def matches(self, term: str) -> Q:
        for prefix, column in self.own.items():
            if term.startswith(prefix):
                return Q(**{column: term})
        if len(term) >= MIN_CHARS and (orders := orders_of(term)):
            return Q(**{f"{self.order_path}__in": orders})
        found = Q(pk__in=[])
        for column in self.otherwise:
            found |= Q(**{column: term})
        return found
