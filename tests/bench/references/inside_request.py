"""The whole checkout inside the request: when the POST is answered, the buyer can pay."""

from __future__ import annotations

from django.urls import path
from rest_framework.decorators import api_view
from rest_framework.request import Request
from rest_framework.response import Response

from tests.bench.references import views
from tests.bench.references.models import (
    CannotBuy,
    create_gateway_order,
    take_stock,
    validate_cart,
)


@api_view(["POST"])
def create_from_cart(request: Request) -> Response:
    order = views.new_order(request)
    try:
        take_stock(order, validate_cart(order.owner_id))
    except CannotBuy as error:
        return Response({"error": str(error)}, status=409)
    create_gateway_order(order)  # outside the transaction: no lock waits for the gateway
    return Response(order.as_json, status=201)


urlpatterns = [*views.urlpatterns, path("api/payments/create-from-cart/", create_from_cart)]
