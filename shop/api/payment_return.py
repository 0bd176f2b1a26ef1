"""The buyer returns from paying: by a call of the page, or by a form post from Razorpay."""

from __future__ import annotations

import uuid
from collections.abc import Mapping

from django.conf import settings
from django.core.exceptions import SuspiciousOperation
from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, UnreadablePostError
from django.http.multipartparser import MultiPartParserError
from django.utils import timezone
from django.views.decorators.csrf import csrf_exempt
from drf_spectacular.utils import extend_schema
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from shop.api.auth import caller_id
from shop.api.checkout_status import CheckoutStatus, status_response
from shop.api.errors import ApiError, post_only
from shop.api.openapi import ETAG, PRIVATE, RETRY_AFTER, THROTTLED, WITH_BODY, refusals
from shop.api.throttling import Throttle
from shop.checkout import confirm
from shop.checkout.jobs import CheckoutJob
from tasks.notify import notify
from tasks.registry import CHECK_PAYMENTS


class ConfirmIn(serializers.Serializer):
    razorpay_payment_id = serializers.CharField(max_length=64)
    razorpay_order_id = serializers.CharField(max_length=64)
    razorpay_signature = serializers.CharField(max_length=128)


class Confirm(APIView):
    throttle_classes = (Throttle,)
    throttle_scope = "confirm"

    @extend_schema(
        request=ConfirmIn,
        responses={202: CheckoutStatus} | refusals(*WITH_BODY, PRIVATE, 404, THROTTLED),
        parameters=[ETAG, RETRY_AFTER],
    )
    def post(self, request: Request, job_id: uuid.UUID) -> Response:
        """Pass on what checkout.js gave the page. Razorpay is polled at once before it counts."""
        given = ConfirmIn(data=request.data)
        given.is_valid(raise_exception=True)
        job = CheckoutJob.objects.get(pk=job_id, owner_id=caller_id(request))
        _confirm(job, given.validated_data)
        return status_response(request, job_id, status_code=status.HTTP_202_ACCEPTED)


@csrf_exempt
@post_only
def callback(request: HttpRequest, job_id: uuid.UUID) -> HttpResponse:
    """
    Handle the browser's return in redirect mode: a cross-site form post without a session.

    Always redirects to the status page. With a genuine signature Razorpay is polled at once;
    `error[...]` fields are unsigned and change nothing.
    """
    given = ConfirmIn(data=_form(request))
    if given.is_valid():
        try:
            _confirm(CheckoutJob.objects.get(pk=job_id), given.validated_data)
        except (CheckoutJob.DoesNotExist, ApiError):
            pass  # forged or mixed up: the page shows the true status
        except (OperationalError, InterfaceError):
            pass  # the scheduled poll finds the payment; the status page need not fail
    response = HttpResponseRedirect(f"/checkout/{job_id}")
    response.status_code = status.HTTP_303_SEE_OTHER
    return response


def _form(request: HttpRequest) -> Mapping[str, str]:
    """The fields of the form; empty if the body is not a form."""
    try:
        return request.POST
    except (MultiPartParserError, SuspiciousOperation, UnreadablePostError):
        return {}


def _confirm(job: CheckoutJob, fields: Mapping[str, str]) -> None:
    """:raises ApiError: the signature does not belong to this checkout's Razorpay order."""
    try:
        confirm.confirm(
            job,
            gateway_payment_id=fields["razorpay_payment_id"],
            gateway_order_id=fields["razorpay_order_id"],
            signature=fields["razorpay_signature"],
            key_secret=settings.RAZORPAY_KEY_SECRET,
            now=timezone.now(),
        )
    except confirm.SignatureInvalid as error:
        raise ApiError(
            400, "signature_invalid", "This payment could not be verified for your order."
        ) from error
    notify(CHECK_PAYMENTS, checkout_id=str(job.pk))
