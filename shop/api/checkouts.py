"""Post a cart as a checkout, follow its status, cancel it."""

from __future__ import annotations

import uuid
from contextlib import suppress
from typing import Any, cast

from django.db import DatabaseError, InterfaceError
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.utils import timezone
from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import generics, serializers, status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from shop import accounts
from shop.api import idempotency
from shop.api.addresses import AddressSerializer
from shop.api.auth import buyer_of, caller_id
from shop.api.carts import MAX_ID, cart_json
from shop.api.checkout_status import (
    CheckoutStatus,
    conditional_response,
    resource,
    snapshot_response,
    status_response,
)
from shop.api.errors import ApiError, first_error
from shop.api.openapi import (
    ETAG,
    IDEMPOTENCY_KEY,
    IF_NONE_MATCH,
    LOCATION,
    NOT_MODIFIED,
    PRIVATE,
    REPLAYED,
    RETRY_AFTER,
    THROTTLED,
    WITH_BODY,
    refusals,
)
from shop.api.throttling import Throttle, address_of
from shop.checkout import holds, snapshots, start
from shop.checkout import status as checkout_status
from shop.checkout.jobs import CheckoutJob
from shop.checkout.start import CartChanged, ClientView, Terms
from shop.money import CURRENCY
from tasks.notify import notify
from tasks.registry import VALIDATE_CART

ADDRESSES = ("shipping_address", "billing_address")
ANYTHING = "*/*"
ACCEPTS_JSON = frozenset({ANYTHING, "application/json"})  # the common `Accept` headers


@extend_schema_field({"type": "string", "enum": ["razorpay"]})
class PaymentMethodField(serializers.CharField):
    pass


@extend_schema_field({"type": "string", "enum": [CURRENCY], "default": CURRENCY})
class CurrencyField(serializers.CharField):
    pass


class CheckoutIn(serializers.Serializer):
    payment_method = PaymentMethodField(max_length=40)
    shipping_address = AddressSerializer()
    billing_address = AddressSerializer(required=False, allow_null=True, default=None)
    currency = CurrencyField(max_length=8, default=CURRENCY)
    cart_id = serializers.IntegerField(
        required=False, allow_null=True, default=None, min_value=-MAX_ID, max_value=MAX_ID
    )
    cart_version = serializers.IntegerField(
        required=False, allow_null=True, default=None, min_value=0, max_value=MAX_ID
    )
    expected_total_paise = serializers.IntegerField(
        required=False, allow_null=True, default=None, min_value=0, max_value=MAX_ID
    )

    def validate_payment_method(self, value: str) -> str:
        if value != "razorpay":
            raise ApiError(400, "payment_method_unsupported", "Please pay with Razorpay.")
        return value

    def validate_currency(self, value: str) -> str:
        if value != CURRENCY:
            raise ApiError(400, "currency_unsupported", f"We charge in {CURRENCY} only.")
        return value


class Checkouts(generics.GenericAPIView):
    serializer_class = CheckoutStatus
    throttle_classes = (Throttle,)
    throttle_scope = "checkout"

    def get_throttles(self) -> list[Any]:
        return [] if self.request.method == "GET" else super().get_throttles()

    @extend_schema(responses={200: CheckoutStatus(many=True)} | refusals(PRIVATE, 404))
    def get(self, request: Request) -> Response:
        """The caller's own checkouts, newest first."""
        owner_id = caller_id(request)
        mine = CheckoutJob.objects.filter(owner_id=owner_id).order_by("-created_at")
        page = self.paginate_queryset(mine.values_list("pk", flat=True))
        if not page:
            accounts.require_active(caller_id(request))
        shown = snapshots.read_all(page or (), owner_id=owner_id)
        return self.get_paginated_response([resource(job) for job in shown])

    @extend_schema(
        request=CheckoutIn,
        responses={202: CheckoutStatus} | refusals(*WITH_BODY, PRIVATE, 409, 422, THROTTLED),
        parameters=[IDEMPOTENCY_KEY, LOCATION, ETAG, RETRY_AFTER, REPLAYED],
    )
    def post(self, request: Request) -> Response:
        """
        Start a checkout of the caller's cart. Responds at once; poll `Location` for the status.

        The same `Idempotency-Key` and body again give the same checkout. 400 `too_many_units` if
        the cart has more units than one buyer may hold unpaid.
        """
        terms = _validated(request.data)
        try:
            accepted = start.start(
                owner_id=caller_id(request),
                terms=Terms(
                    payment_method=terms["payment_method"],
                    currency=terms["currency"],
                    shipping_address=dict(terms["shipping_address"]),
                    billing_address=dict(terms["billing_address"] or terms["shipping_address"]),
                ),
                seen=ClientView(
                    cart_id=terms["cart_id"],
                    cart_version=terms["cart_version"],
                    total_paise=terms["expected_total_paise"],
                ),
                key=idempotency.key_of(request),
                now=timezone.now(),
                address_key=holds.address_key(address_of(request)),
            )
        except CartChanged as changed:
            raise ApiError(
                409, changed.code, changed.message, {"cart": cart_json(changed.cart)}
            ) from changed
        job_id = accepted.job_id
        notify(VALIDATE_CART, checkout_id=str(job_id))
        headers = {"Location": checkout_status.links(job_id)["self"]}
        if accepted.made:
            return snapshot_response(accepted.made, status_code=status.HTTP_202_ACCEPTED, **headers)
        if accepted.replayed:
            headers["Idempotent-Replayed"] = "true"
        return status_response(request, job_id, status_code=status.HTTP_202_ACCEPTED, **headers)


# Made once: creating a serializer copies all of its fields.
_CHECKOUT_IN = CheckoutIn()


def _validated(given: Any) -> dict[str, Any]:
    """
    Validate the body of a POST.

    Errors in an address have the code `address_invalid`, so that the storefront shows them in its
    form.
    """
    try:
        return _CHECKOUT_IN.run_validation(given)
    except serializers.ValidationError as error:
        errors = cast("dict[str, Any]", error.detail)
        invalid = {name: errors[name] for name in ADDRESSES if name in errors}
        if not invalid:
            raise
        field, sentence = first_error(invalid)
        details = {"fields": invalid}
        raise ApiError(400, "address_invalid", f"{field}: {sentence}", details) from error


class Checkout(APIView):
    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """
        Serve a plain status read without DRF, whose dispatch costs as much as the read itself.

        Storefronts poll the status more often than anything else (docs/decisions/speed.md). Every
        other case, such as an expired token or an unknown id, takes DRF's path and is refused
        there.
        """
        if request.method == "GET" and request.headers.get("Accept", ANYTHING) in ACCEPTS_JSON:
            buyer = buyer_of(request)
            if buyer is not None:
                request.user = buyer  # type: ignore[assignment]
                with suppress(CheckoutJob.DoesNotExist, DatabaseError, InterfaceError):
                    return conditional_response(request, kwargs["job_id"], owner_id=int(buyer.pk))
        return super().dispatch(request, *args, **kwargs)

    @extend_schema(
        responses={200: CheckoutStatus} | NOT_MODIFIED | refusals(PRIVATE, 404),
        parameters=[IF_NONE_MATCH, ETAG, RETRY_AFTER],
    )
    def get(self, request: Request, job_id: uuid.UUID) -> HttpResponse:
        """The status of a checkout. `Retry-After` and `poll` say when to poll again."""
        return conditional_response(request, job_id, owner_id=caller_id(request))


class Cancel(APIView):
    throttle_classes = (Throttle,)
    throttle_scope = "checkout"

    @extend_schema(
        request=None,
        responses={202: CheckoutStatus} | refusals(PRIVATE, 404, 409, THROTTLED),
        parameters=[ETAG, RETRY_AFTER],
    )
    def post(self, request: Request, job_id: uuid.UUID) -> Response:
        """Cancel an unpaid checkout and release its units. A repeat changes nothing."""
        start.cancel(owner_id=caller_id(request), job_id=job_id, now=timezone.now())
        return status_response(request, job_id, status_code=status.HTTP_202_ACCEPTED)
