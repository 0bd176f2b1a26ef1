"""The status resource of a checkout in the API: its schema, its headers and its responses."""

from __future__ import annotations

import uuid
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response

from shop.api.auth import caller_id
from shop.api.etags import is_fresh, quoted
from shop.api.renderers import to_json
from shop.checkout import snapshots
from shop.checkout import status as checkout_status
from shop.checkout.snapshots import Snapshot, StatusHead
from shop.checkout.states import BUYER_STATUS, Step

JSON = "application/json"
STEP_NAMES = [step.value for step in Step]
BUYER_STATUSES = sorted(set(BUYER_STATUS.values()))


class CheckoutStep(serializers.Serializer):
    name = serializers.ChoiceField(STEP_NAMES)
    status = serializers.ChoiceField(["pending", "running", "done", "failed", "waiting"])
    attempts = serializers.IntegerField()
    started_at = serializers.DateTimeField(allow_null=True)
    finished_at = serializers.DateTimeField(allow_null=True)
    error = serializers.CharField(allow_null=True)


class CheckoutOrder(serializers.Serializer):
    number = serializers.CharField()
    url = serializers.CharField()


class PaymentPrefill(serializers.Serializer):
    name = serializers.CharField()
    email = serializers.CharField(allow_blank=True)
    contact = serializers.CharField()


class PaymentFailure(serializers.Serializer):
    code = serializers.CharField(allow_blank=True)
    message = serializers.CharField()


class CheckoutPayment(serializers.Serializer):
    """What checkout.js needs to open the payment form."""

    provider = serializers.CharField()
    key_id = serializers.CharField()
    razorpay_order_id = serializers.CharField()
    amount = serializers.IntegerField(help_text="In paise, as checkout.js wants it.")
    amount_paise = serializers.IntegerField()
    currency = serializers.CharField()
    prefill = PaymentPrefill()
    expires_at = serializers.DateTimeField()
    last_error = PaymentFailure(allow_null=True)


class CheckoutRefund(serializers.Serializer):
    """All refunds to the buyer, as one sum."""

    status = serializers.ChoiceField(
        ["pending", "processed", "failed"],
        help_text="`failed`: the bank returned the money, and staff handle it.",
    )
    amount = serializers.FloatField(help_text="In `currency`.")
    amount_paise = serializers.IntegerField(help_text="In minor units of `currency`.")
    currency = serializers.CharField(
        help_text="The payment's currency, which can differ from the checkout's."
    )
    reference = serializers.CharField(help_text="A reference for the buyer's bank.")
    updated_at = serializers.DateTimeField()


class CheckoutError(serializers.Serializer):
    code = serializers.CharField(
        help_text="`out_of_stock` and others; `too_many_held`, `guests_hold_too_many` and"
        " `held_too_long` where a limit on units held unpaid was reached."
    )
    message = serializers.CharField()
    retryable = serializers.BooleanField(
        help_text="Whether a new checkout of the same cart may succeed."
    )
    details = serializers.DictField()


class CheckoutPace(serializers.Serializer):
    after_ms = serializers.IntegerField()
    done = serializers.BooleanField(help_text="The status is final: stop polling.")


class CheckoutLinks(serializers.Serializer):
    self = serializers.CharField()
    confirm = serializers.CharField()
    cancel = serializers.CharField()


class CheckoutStatus(serializers.Serializer):
    """The status of a checkout. `message` is for the buyer; `poll` says when to poll again."""

    id = serializers.UUIDField()
    status = serializers.ChoiceField(BUYER_STATUSES)
    step = serializers.ChoiceField(STEP_NAMES, allow_null=True)
    message = serializers.CharField()
    version = serializers.IntegerField()
    created_at = serializers.DateTimeField()
    updated_at = serializers.DateTimeField()
    cart_id = serializers.IntegerField()
    items_count = serializers.IntegerField()
    amount = serializers.FloatField(help_text="In rupees.")
    amount_paise = serializers.IntegerField()
    currency = serializers.CharField()
    steps = CheckoutStep(many=True)
    order = CheckoutOrder(allow_null=True)
    payment = CheckoutPayment(allow_null=True)
    paid_late = serializers.BooleanField(
        help_text="Paid after the end of the checkout (cancelled, expired, failed)."
    )
    refund = CheckoutRefund(allow_null=True)
    error = CheckoutError(allow_null=True)
    poll = CheckoutPace()
    links = CheckoutLinks()


def resource(job: Snapshot) -> dict[str, Any]:
    return checkout_status.resource(job, key_id=settings.RAZORPAY_KEY_ID, now=timezone.now())


def status_response(
    request: Request, job_id: uuid.UUID, *, status_code: int = 200, **headers: str
) -> Response:
    """
    The full status of the caller's checkout.

    :raises CheckoutJob.DoesNotExist: the caller has no checkout with this id.
    """
    job = snapshots.read(job_id, owner_id=caller_id(request))
    return snapshot_response(job, status_code=status_code, **headers)


def snapshot_response(job: Snapshot, *, status_code: int, **headers: str) -> Response:
    return Response(resource(job), status=status_code, headers=headers | _headers(job))


def conditional_response(
    request: HttpRequest | Request, job_id: uuid.UUID, *, owner_id: int
) -> HttpResponse:
    """
    The full status of a checkout, or 304 if `If-None-Match` names its current version.

    A plain `HttpResponse`: `Checkout.dispatch` calls this outside DRF.

    :raises CheckoutJob.DoesNotExist: the owner has no checkout with this id.
    """
    if "If-None-Match" in request.headers:
        head = snapshots.read_head(job_id, owner_id=owner_id)
        if is_fresh(request, head.version):
            return HttpResponse(
                status=status.HTTP_304_NOT_MODIFIED, headers=_headers(head), content_type=JSON
            )
    job = snapshots.read(job_id, owner_id=owner_id)
    return HttpResponse(to_json(resource(job)), headers=_headers(job), content_type=JSON)


def _headers(job: StatusHead | Snapshot) -> dict[str, str]:
    interval = checkout_status.poll_interval(job, now=timezone.now())
    headers = {"Cache-Control": "private, no-cache", "ETag": quoted(job.version)}
    if not interval.done:
        headers["Retry-After"] = str(interval.retry_after_seconds)
    return headers
