"""Post a cart, follow it to paid: the resource the storefront lives on."""

from __future__ import annotations

import re
import uuid
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils import timezone
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import generics, serializers, status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from shop.api.addresses import AddressSerializer
from shop.api.auth import caller_id
from shop.api.carts import LARGEST_ID, cart_json
from shop.api.errors import ApiError
from shop.api.etags import is_fresh, quoted
from shop.api.limits import Throttle
from shop.checkout import accept, returning
from shop.checkout import status as checkout_status
from shop.checkout.accept import CartChanged, Seen, Terms
from shop.checkout.jobs import CheckoutJob
from shop.money import CURRENCY
from tasks import checkout as checkout_tasks
from tasks.app import ring
from tasks.payments import CHECK_PAYMENTS

IDEMPOTENCY_KEY = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]{0,253}[\x21-\x7e])?")
NO_CACHE = {"Cache-Control": "private, no-cache"}


class CheckoutIn(serializers.Serializer):
    payment_method = serializers.CharField(max_length=40)
    shipping_address = AddressSerializer()
    billing_address = AddressSerializer(required=False, allow_null=True, default=None)
    currency = serializers.CharField(max_length=8, default=CURRENCY)
    cart_id = serializers.IntegerField(
        required=False, allow_null=True, default=None, min_value=-LARGEST_ID, max_value=LARGEST_ID
    )
    cart_version = serializers.IntegerField(
        required=False, allow_null=True, default=None, min_value=0, max_value=LARGEST_ID
    )
    expected_total_paise = serializers.IntegerField(
        required=False, allow_null=True, default=None, min_value=0, max_value=LARGEST_ID
    )

    def validate_payment_method(self, value: str) -> str:
        if value != "razorpay":
            raise ApiError(400, "payment_method_unsupported", "Please pay with Razorpay.")
        return value

    def validate_currency(self, value: str) -> str:
        if value != CURRENCY:
            raise ApiError(400, "currency_unsupported", f"We charge in {CURRENCY} only.")
        return value


class StepOut(serializers.Serializer):
    name = serializers.CharField()
    status = serializers.ChoiceField(["pending", "running", "done", "failed", "waiting"])
    attempts = serializers.IntegerField()
    started_at = serializers.DateTimeField(allow_null=True)
    finished_at = serializers.DateTimeField(allow_null=True)
    error = serializers.CharField(allow_null=True)


class CheckoutOut(serializers.Serializer):
    """See docs/api of the status resource: `poll` says when to ask again."""

    id = serializers.UUIDField()
    status = serializers.CharField()
    step = serializers.CharField(allow_null=True)
    message = serializers.CharField()
    version = serializers.IntegerField()
    created_at = serializers.DateTimeField()
    updated_at = serializers.DateTimeField()
    cart_id = serializers.IntegerField()
    items_count = serializers.IntegerField()
    amount = serializers.FloatField()
    amount_paise = serializers.IntegerField()
    currency = serializers.CharField()
    steps = StepOut(many=True)
    order = serializers.DictField(allow_null=True)
    payment = serializers.DictField(allow_null=True)
    refund = serializers.DictField(allow_null=True)
    error = serializers.DictField(allow_null=True)
    poll = serializers.DictField()
    links = serializers.DictField()


class ConfirmIn(serializers.Serializer):
    razorpay_payment_id = serializers.CharField(max_length=64)
    razorpay_order_id = serializers.CharField(max_length=64)
    razorpay_signature = serializers.CharField(max_length=128)


def resource_of(job: CheckoutJob) -> dict[str, Any]:
    return checkout_status.resource(
        job, list(job.moves.all()), key_id=settings.RAZORPAY_KEY_ID, now=timezone.now()
    )


def find(request: Request, job_id: uuid.UUID) -> CheckoutJob:
    """The caller's checkout of this id; another's is not found."""
    return CheckoutJob.objects.select_related("order").get(pk=job_id, owner_id=caller_id(request))


def answer(job: CheckoutJob, *, status_code: int = 200, **headers: str) -> Response:
    pace = checkout_status.pace(job, now=timezone.now())
    headers |= NO_CACHE | {"ETag": quoted(job.version)}
    if not pace.done:
        headers["Retry-After"] = str(pace.retry_after_seconds)
    content = None if status_code == status.HTTP_304_NOT_MODIFIED else resource_of(job)
    return Response(content, status=status_code, headers=headers)


class Checkouts(generics.GenericAPIView):
    serializer_class = CheckoutOut
    throttle_classes = (Throttle,)
    throttle_scope = "checkout"

    def get_throttles(self) -> list[Any]:
        return [] if self.request.method == "GET" else super().get_throttles()

    @extend_schema(responses={200: CheckoutOut(many=True)})
    def get(self, request: Request) -> Response:
        """The caller's own checkouts, the newest first."""
        mine = (
            CheckoutJob.objects.filter(owner_id=caller_id(request))
            .select_related("order")
            .prefetch_related("moves")
            .order_by("-created_at")
        )
        page = self.paginate_queryset(mine)
        return self.get_paginated_response([resource_of(job) for job in page or ()])

    @extend_schema(
        request=CheckoutIn,
        responses={202: CheckoutOut, 409: OpenApiResponse(description="cart_changed")},
        parameters=[OpenApiParameter("Idempotency-Key", str, OpenApiParameter.HEADER)],
    )
    def post(self, request: Request) -> Response:
        """
        Make the caller's cart a checkout. Answers at once; follow `Location` from there.

        The same `Idempotency-Key` and body again give the same checkout.
        """
        given = CheckoutIn(data=request.data)
        _raise_unless_valid(given)
        terms = given.validated_data
        try:
            accepted = accept.accept(
                owner_id=caller_id(request),
                terms=Terms(
                    payment_method=terms["payment_method"],
                    currency=terms["currency"],
                    shipping_address=dict(terms["shipping_address"]),
                    billing_address=dict(terms["billing_address"] or terms["shipping_address"]),
                ),
                seen=Seen(
                    cart_id=terms["cart_id"],
                    cart_version=terms["cart_version"],
                    total_paise=terms["expected_total_paise"],
                ),
                key=_idempotency_key(request),
                now=timezone.now(),
            )
        except CartChanged as changed:
            raise ApiError(
                409, changed.code, changed.message, {"cart": cart_json(changed.cart)}
            ) from changed
        job = accepted.job
        ring(checkout_tasks.VALIDATE_CART, checkout_id=str(job.pk))
        headers = {"Location": checkout_status.links(job)["self"]}
        if accepted.replayed:
            headers["Idempotent-Replayed"] = "true"
        return answer(job, status_code=status.HTTP_202_ACCEPTED, **headers)


def _raise_unless_valid(given: CheckoutIn) -> None:
    """Addresses have a code of their own: the storefront shows their errors in the form."""
    if given.is_valid():
        return
    wrong = {
        name: errors
        for name, errors in given.errors.items()
        if name in {"shipping_address", "billing_address"}
    }
    if not wrong:
        raise serializers.ValidationError(given.errors)
    field, sentence = _first_error(wrong)
    raise ApiError(400, "address_invalid", f"{field}: {sentence}", {"fields": wrong})


def _first_error(errors: Any) -> tuple[str, str]:
    path = []
    while isinstance(errors, dict):
        name, errors = next(iter(errors.items()))
        path.append(str(name))
    return ".".join(path), str(errors[0])


def _idempotency_key(request: Request) -> str:
    key = request.headers.get("Idempotency-Key", "")
    if key and not IDEMPOTENCY_KEY.fullmatch(key):
        raise ApiError(
            400,
            "idempotency_key_invalid",
            "An Idempotency-Key has at most 255 printable ASCII characters.",
        )
    return key


class Checkout(APIView):
    @extend_schema(responses={200: CheckoutOut, 304: OpenApiResponse(description="Not modified")})
    def get(self, request: Request, job_id: uuid.UUID) -> Response:
        """Where the checkout stands. `Retry-After` and `poll` say when to ask again."""
        job = find(request, job_id)
        if is_fresh(request, job.version):
            return answer(job, status_code=status.HTTP_304_NOT_MODIFIED)
        return answer(job)


class Cancel(APIView):
    throttle_classes = (Throttle,)
    throttle_scope = "checkout"

    @extend_schema(request=None, responses={202: CheckoutOut})
    def post(self, request: Request, job_id: uuid.UUID) -> Response:
        """End an unpaid checkout and free its units. A repeat changes nothing."""
        accept.cancel(owner_id=caller_id(request), job_id=job_id, now=timezone.now())
        return answer(find(request, job_id), status_code=status.HTTP_202_ACCEPTED)


class Confirm(APIView):
    throttle_classes = (Throttle,)
    throttle_scope = "confirm"

    @extend_schema(request=ConfirmIn, responses={202: CheckoutOut})
    def post(self, request: Request, job_id: uuid.UUID) -> Response:
        """What checkout.js handed the page. Nothing is paid by it: Razorpay is asked at once."""
        given = ConfirmIn(data=request.data)
        given.is_valid(raise_exception=True)
        job = find(request, job_id)
        _take_return(job, given.validated_data)
        return answer(find(request, job_id), status_code=status.HTTP_202_ACCEPTED)


def _take_return(job: CheckoutJob, fields: dict[str, str]) -> None:
    """:raises ApiError: the signature is not for the order of this checkout."""
    try:
        returning.returned(
            job,
            gateway_payment_id=fields["razorpay_payment_id"],
            gateway_order_id=fields["razorpay_order_id"],
            signature=fields["razorpay_signature"],
            key_secret=settings.RAZORPAY_KEY_SECRET,
            now=timezone.now(),
        )
    except returning.SignatureInvalid as error:
        raise ApiError(
            400, "signature_invalid", "This payment could not be verified for your order."
        ) from error
    ring(CHECK_PAYMENTS, checkout_id=str(job.pk))


@csrf_exempt
@require_POST
def callback(request: HttpRequest, job_id: uuid.UUID) -> HttpResponse:
    """
    The browser's return in redirect mode: a form post from another site, without a session.

    Whatever it carries, the buyer is sent on to the status page, which tells the truth. A genuine
    signature has Razorpay asked at once; `error[...]` fields are unsigned and change nothing.
    """
    job = CheckoutJob.objects.filter(pk=job_id).select_related("order").first()
    given = ConfirmIn(data=request.POST)
    if job is not None and given.is_valid():
        try:
            _take_return(job, given.validated_data)
        except ApiError:
            pass  # forged or mixed up: the page shows where the checkout really stands
    response = HttpResponseRedirect(f"/checkout/{job_id}")
    response.status_code = status.HTTP_303_SEE_OTHER
    return response
