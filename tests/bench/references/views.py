"""The views that both reference shops share: checkout status and Razorpay's webhook."""

from __future__ import annotations

import hashlib
import hmac
import json
import uuid

from django.conf import settings
from django.db import transaction
from django.http import HttpRequest, JsonResponse
from django.shortcuts import get_object_or_404
from django.urls import path
from django.utils import timezone
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST
from rest_framework import serializers
from rest_framework.decorators import api_view
from rest_framework.request import Request
from rest_framework.response import Response

from tests.bench.references.models import CartItem, Order


class AddressIn(serializers.Serializer):
    name = serializers.CharField(max_length=100)
    line1 = serializers.CharField(max_length=200)
    line2 = serializers.CharField(max_length=200, allow_blank=True, default="")
    city = serializers.CharField(max_length=100)
    state = serializers.CharField(max_length=100)
    postal_code = serializers.RegexField(r"^[1-9][0-9]{5}$")
    country = serializers.CharField(max_length=2, default="IN")
    phone = serializers.CharField(max_length=20)


class CheckoutIn(serializers.Serializer):
    payment_method = serializers.ChoiceField(["razorpay"])
    currency = serializers.ChoiceField(["INR"])
    shipping_address = AddressIn()


def new_order(request: Request) -> Order:
    """The order of this POST, unsaved."""
    given = CheckoutIn(data=request.data)
    given.is_valid(raise_exception=True)
    address = given.validated_data["shipping_address"]
    return Order(owner_id=request.user.pk, shipping_address=dict(address))


@api_view(["GET"])
def checkout(request: Request, order_id: uuid.UUID) -> Response:
    return Response(get_object_or_404(Order, pk=order_id, owner=request.user).as_json)


@csrf_exempt
@require_POST
def webhook(request: HttpRequest) -> JsonResponse:
    """Mark the order as paid, once, and empty its cart."""
    secret = settings.GATEWAY_WEBHOOK_SECRET.encode()
    expected = hmac.new(secret, request.body, hashlib.sha256).hexdigest()
    if not hmac.compare_digest(expected, request.headers.get("X-Razorpay-Signature", "")):
        return JsonResponse({"error": "bad signature"}, status=401)
    payment = json.loads(request.body)["payload"]["payment"]["entity"]
    with transaction.atomic():
        order = (
            Order.objects.select_for_update().filter(gateway_order_id=payment["order_id"]).first()
        )
        if order and order.status != "paid" and payment["amount"] == order.amount_paise:
            order.status, order.payment_id = "paid", payment["id"]
            order.paid_at = timezone.now()
            order.save(update_fields=["status", "payment_id", "paid_at"])
            CartItem.objects.filter(owner_id=order.owner_id).delete()
    return JsonResponse({"status": "ok"})


urlpatterns = [
    path("api/checkouts/<uuid:order_id>/", checkout),
    path("api/webhooks/razorpay/", webhook),
]
