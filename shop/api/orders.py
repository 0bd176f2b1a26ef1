"""The caller's own orders."""

from __future__ import annotations

from typing import Any

from django.http import Http404
from drf_spectacular.utils import extend_schema
from rest_framework import generics, serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from shop import accounts
from shop.api.addresses import AddressSerializer
from shop.api.auth import caller_id
from shop.api.checkout_status import BUYER_STATUSES
from shop.api.openapi import PRIVATE, refusals
from shop.checkout.states import BUYER_STATUS, State
from shop.money import rupees
from shop.orders import Order, OrderLine


class OrderLineOut(serializers.Serializer):
    sku = serializers.CharField()
    name = serializers.CharField()
    quantity = serializers.IntegerField()
    unit_price = serializers.FloatField()
    unit_price_paise = serializers.IntegerField()
    line_total = serializers.FloatField()
    line_total_paise = serializers.IntegerField()


class OrderOut(serializers.Serializer):
    number = serializers.CharField()
    status = serializers.ChoiceField(BUYER_STATUSES)
    amount = serializers.FloatField()
    amount_paise = serializers.IntegerField()
    currency = serializers.CharField()
    created_at = serializers.DateTimeField()
    paid_at = serializers.DateTimeField(allow_null=True)
    checkout_id = serializers.UUIDField()
    shipping_address = AddressSerializer()
    billing_address = AddressSerializer()
    lines = OrderLineOut(many=True)


def order_json(order: Order) -> dict[str, Any]:
    return {
        "number": order.number,
        "status": BUYER_STATUS[State(order.checkout.state)],
        "amount": rupees(order.amount_paise),
        "amount_paise": order.amount_paise,
        "currency": order.currency,
        "created_at": order.created_at,
        "paid_at": order.paid_at,
        "checkout_id": str(order.checkout.pk),
        "shipping_address": order.shipping_address,
        "billing_address": order.billing_address,
        "lines": [_line_json(line) for line in order.lines.all()],
    }


def _line_json(line: OrderLine) -> dict[str, Any]:
    return {
        "sku": line.sku,
        "name": line.name,
        "quantity": line.units,
        "unit_price": rupees(line.unit_price_paise),
        "unit_price_paise": line.unit_price_paise,
        "line_total": rupees(line.line_total_paise),
        "line_total_paise": line.line_total_paise,
    }


def _orders_of(request: Request) -> Any:
    mine = Order.objects.filter(owner_id=caller_id(request), checkout__isnull=False)
    return mine.select_related("checkout").prefetch_related("lines")


class Orders(generics.GenericAPIView):
    serializer_class = OrderOut

    @extend_schema(responses={200: OrderOut(many=True)} | refusals(PRIVATE, 404))
    def get(self, request: Request) -> Response:
        """The caller's orders, newest first."""
        page = self.paginate_queryset(_orders_of(request))
        if not page:
            accounts.require_active(caller_id(request))
        return self.get_paginated_response([order_json(order) for order in page or ()])


class OrderDetail(APIView):
    @extend_schema(responses={200: OrderOut} | refusals(PRIVATE, 404))
    def get(self, request: Request, number: str) -> Response:
        order = _orders_of(request).filter(number=number).first()
        if order is None:
            raise Http404
        return Response(order_json(order))
