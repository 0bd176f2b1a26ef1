"""The caller's own cart. No request names the cart to read, so nobody can read another's."""

from __future__ import annotations

from typing import Any

from django.utils import timezone
from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from shop import cart_sync, carts
from shop.api.auth import caller_id
from shop.api.errors import ApiError
from shop.api.etags import is_fresh, quoted
from shop.api.openapi import (
    ETAG,
    IF_NONE_MATCH,
    NOT_MODIFIED,
    PRIVATE,
    THROTTLED,
    WITH_BODY,
    refusals,
)
from shop.api.throttling import Throttle
from shop.carts import Contents, Line
from shop.catalogue import Variant
from shop.money import rupees

MAX_ID = 2**63 - 1


class ItemOut(serializers.Serializer):
    id = serializers.IntegerField()
    product_id = serializers.IntegerField()
    variant_id = serializers.IntegerField()
    sku = serializers.CharField()
    name = serializers.CharField()
    quantity = serializers.IntegerField()
    unit_price = serializers.FloatField()
    unit_price_paise = serializers.IntegerField()
    line_total = serializers.FloatField()
    line_total_paise = serializers.IntegerField()
    available = serializers.IntegerField()
    problem = serializers.CharField(allow_null=True)


class CartOut(serializers.Serializer):
    id = serializers.IntegerField()
    version = serializers.IntegerField()
    currency = serializers.CharField()
    items_count = serializers.IntegerField()
    units_count = serializers.IntegerField()
    total_price = serializers.FloatField()
    total_paise = serializers.IntegerField()
    updated_at = serializers.DateTimeField()
    items = ItemOut(many=True)


@extend_schema_field({"type": "integer", "minimum": 1, "maximum": carts.MAX_LINE_UNITS})
class QuantityField(serializers.IntegerField):
    """`carts` refuses a quantity over the limit, with a sentence for the buyer."""


class AddIn(serializers.Serializer):
    product_id = serializers.IntegerField(min_value=1, max_value=MAX_ID)
    variant_id = serializers.IntegerField(
        min_value=1, max_value=MAX_ID, required=False, allow_null=True, default=None
    )
    quantity = QuantityField(min_value=1, max_value=MAX_ID, default=1)


class AddOut(serializers.Serializer):
    message = serializers.CharField()
    cart = CartOut()


class QuantityIn(serializers.Serializer):
    quantity = QuantityField(min_value=1, max_value=MAX_ID)


class SyncEventIn(serializers.Serializer):
    kind = serializers.RegexField(r"^[a-z0-9_.-]{1,40}$")
    cart_id = serializers.IntegerField(
        min_value=0, max_value=MAX_ID, required=False, allow_null=True, default=None
    )
    cart_version = serializers.IntegerField(
        min_value=0, max_value=MAX_ID, required=False, allow_null=True, default=None
    )
    detail = serializers.CharField(
        max_length=cart_sync.MAX_DETAIL_CHARS,
        required=False,
        allow_blank=True,
        allow_null=True,
        default="",
    )


def cart_json(cart: Contents) -> dict[str, Any]:
    return {
        "id": cart.cart_id,
        "version": cart.version,
        "currency": cart.currency,
        "items_count": len(cart.lines),
        "units_count": cart.units_count,
        "total_price": rupees(cart.total_paise),
        "total_paise": cart.total_paise,
        "updated_at": cart.updated_at,
        "items": [_item_json(line) for line in cart.lines],
    }


def _item_json(line: Line) -> dict[str, Any]:
    return {
        "id": line.id,
        "product_id": line.product_id,
        "variant_id": line.variant_id,
        "sku": line.sku,
        "name": line.name,
        "quantity": line.quantity,
        "unit_price": rupees(line.unit_price_paise),
        "unit_price_paise": line.unit_price_paise,
        "line_total": rupees(line.line_total_paise),
        "line_total_paise": line.line_total_paise,
        "available": max(line.available, 0),
        "problem": line.problem,
    }


def _respond(cart: Contents) -> Response:
    return Response(cart_json(cart), headers=_headers(cart))


def _headers(cart: Contents) -> dict[str, str]:
    return {"ETag": quoted(cart.version), "Cache-Control": "private, no-cache"}


class ChangingView(APIView):
    throttle_classes = (Throttle,)
    throttle_scope = "cart"


class CartView(ChangingView):
    def get_throttles(self) -> list[Any]:
        return [] if self.request.method == "GET" else super().get_throttles()

    @extend_schema(
        responses={200: CartOut} | NOT_MODIFIED | refusals(PRIVATE),
        parameters=[IF_NONE_MATCH, ETAG],
    )
    def get(self, request: Request) -> Response:
        """The cart as it is now. The `ETag` is its version."""
        cart = carts.read(caller_id(request), now=timezone.now())
        if is_fresh(request, cart.version):
            return Response(status=status.HTTP_304_NOT_MODIFIED, headers=_headers(cart))
        return _respond(cart)

    @extend_schema(responses={200: CartOut} | refusals(PRIVATE, THROTTLED), parameters=[ETAG])
    def delete(self, request: Request) -> Response:
        """Remove every line."""
        return _respond(carts.clear(caller_id(request), now=timezone.now()))


class AddToCart(ChangingView):
    @extend_schema(
        request=AddIn, responses={200: AddOut} | refusals(*WITH_BODY, PRIVATE, 404, THROTTLED)
    )
    def post(self, request: Request) -> Response:
        """Add units of a variant. A repeat adds again; concurrent adds add up."""
        given = AddIn(data=request.data)
        given.is_valid(raise_exception=True)
        variant = _variant(given.validated_data["product_id"], given.validated_data["variant_id"])
        cart = carts.add(
            caller_id(request),
            variant_id=variant.pk,
            quantity=given.validated_data["quantity"],
            now=timezone.now(),
        )
        return Response({"message": "Item added successfully", "cart": cart_json(cart)})


def _variant(product_id: int, variant_id: int | None) -> Variant:
    """The variant to add. `variant_id` may be None if the product has only one on sale."""
    on_sale = list(
        Variant.objects.filter(product_id=product_id, product__is_active=True, is_active=True)[:2]
        if variant_id is None
        else Variant.objects.filter(
            pk=variant_id, product_id=product_id, product__is_active=True, is_active=True
        )
    )
    if not on_sale:
        raise ApiError(404, "product_unavailable", "This product is not on sale.")
    if len(on_sale) > 1:
        raise ApiError(400, "variant_required", "Please choose a variant.", {"field": "variant_id"})
    return on_sale[0]


class CartItemView(ChangingView):
    @extend_schema(
        request=QuantityIn,
        responses={200: CartOut} | refusals(*WITH_BODY, PRIVATE, 404, THROTTLED),
        parameters=[ETAG],
    )
    def patch(self, request: Request, item_id: int) -> Response:
        """Set the quantity of a line."""
        given = QuantityIn(data=request.data)
        given.is_valid(raise_exception=True)
        quantity = given.validated_data["quantity"]
        return _respond(
            carts.set_quantity(caller_id(request), item_id, quantity=quantity, now=timezone.now())
        )

    @extend_schema(responses={200: CartOut} | refusals(PRIVATE, 404, THROTTLED), parameters=[ETAG])
    def delete(self, request: Request, item_id: int) -> Response:
        """Remove a line."""
        return _respond(carts.remove(caller_id(request), item_id, now=timezone.now()))


class SyncEvents(APIView):
    throttle_classes = (Throttle,)
    throttle_scope = "sync_events"

    @extend_schema(
        request=SyncEventIn, responses={202: None} | refusals(*WITH_BODY, PRIVATE, THROTTLED)
    )
    def post(self, request: Request) -> Response:
        """Report that the storefront's copy of the cart was stale, and what it did then."""
        given = SyncEventIn(data=request.data)
        given.is_valid(raise_exception=True)
        cart_sync.report_stale(
            caller_id(request),
            kind=given.validated_data["kind"],
            cart_id_seen=given.validated_data["cart_id"],
            cart_version_seen=given.validated_data["cart_version"],
            detail=given.validated_data["detail"] or "",
            now=timezone.now(),
        )
        return Response(status=status.HTTP_202_ACCEPTED)
