"""The status resource of a checkout as the API gives it: its shape, its headers, whose it is."""

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
    """What checkout.js needs to open the form."""

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
    """All that goes back to the buyer, as one sum."""

    status = serializers.ChoiceField(
        ["pending", "processed", "failed"],
        help_text="`failed`: it came back, and a person looks after it.",
    )
    amount = serializers.FloatField(help_text="In `currency`.")
    amount_paise = serializers.IntegerField(help_text="In minor units of `currency`.")
    currency = serializers.CharField(help_text="As the payment's: not always the checkout's.")
    reference = serializers.CharField(help_text="What the buyer can ask their bank about.")
    updated_at = serializers.DateTimeField()


class CheckoutError(serializers.Serializer):
    code = serializers.CharField(
        help_text="`out_of_stock` and others; `too_many_held`, `guests_hold_too_many` and"
        " `held_too_long` where a limit on units held unpaid was reached."
    )
    message = serializers.CharField()
    retryable = serializers.BooleanField(help_text="Whether the same cart may do better next time.")
    details = serializers.DictField()


class CheckoutPace(serializers.Serializer):
    after_ms = serializers.IntegerField()
    done = serializers.BooleanField(help_text="Final: there is no need to ask again.")


class CheckoutLinks(serializers.Serializer):
    self = serializers.CharField()
    confirm = serializers.CharField()
    cancel = serializers.CharField()


class CheckoutStatus(serializers.Serializer):
    """Where a checkout stands. `message` is for the buyer; `poll` says when to ask again."""

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
        help_text="Paid after it had ended (cancelled, expired, failed); `message` says so."
    )
    refund = CheckoutRefund(allow_null=True)
    error = CheckoutError(allow_null=True)
    poll = CheckoutPace()
    links = CheckoutLinks()


def resource_of(job: Snapshot) -> dict[str, Any]:
    return checkout_status.resource(job, key_id=settings.RAZORPAY_KEY_ID, now=timezone.now())


def answer(
    request: Request, job_id: uuid.UUID, *, status_code: int = 200, **headers: str
) -> Response:
    """
    The caller's checkout of this id, whole.

    :raises CheckoutJob.DoesNotExist: the caller has none of this id.
    """
    job = snapshots.read(job_id, owner_id=caller_id(request))
    return shown(job, status_code=status_code, **headers)


def shown(job: Snapshot, *, status_code: int, **headers: str) -> Response:
    return Response(resource_of(job), status=status_code, headers=headers | _headers(job))


def answer_if_changed(
    request: HttpRequest | Request, job_id: uuid.UUID, *, owner_id: int
) -> HttpResponse:
    """
    The checkout of this id, whole, or 304 without a body where the caller has this version already.

    :raises CheckoutJob.DoesNotExist: the owner has none of this id.
    """
    if "If-None-Match" in request.headers:
        seen = snapshots.read_head(job_id, owner_id=owner_id)
        if is_fresh(request, seen.version):
            return HttpResponse(
                status=status.HTTP_304_NOT_MODIFIED, headers=_headers(seen), content_type=JSON
            )
    job = snapshots.read(job_id, owner_id=owner_id)
    return HttpResponse(to_json(resource_of(job)), headers=_headers(job), content_type=JSON)


def _headers(job: StatusHead | Snapshot) -> dict[str, str]:
    pace = checkout_status.poll_interval(job, now=timezone.now())
    again = {} if pace.done else {"Retry-After": str(pace.retry_after_seconds)}
    return {"Cache-Control": "private, no-cache", "ETag": quoted(job.version), **again}
