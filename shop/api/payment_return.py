"""The buyer comes back from paying: by a call of the page, or by a form post from Razorpay."""

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
from shop.api.checkout_status import CheckoutStatus, answer
from shop.api.errors import ApiError, post_only
from shop.api.limits import Throttle
from shop.api.openapi import ETAG, PRIVATE, RETRY_AFTER, THROTTLED, WITH_BODY, refusals
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
        """What checkout.js handed the page. Nothing is paid by it: Razorpay is asked at once."""
        given = ConfirmIn(data=request.data)
        given.is_valid(raise_exception=True)
        job = CheckoutJob.objects.get(pk=job_id, owner_id=caller_id(request))
        _take(job, given.validated_data)
        return answer(request, job_id, status_code=status.HTTP_202_ACCEPTED)


@csrf_exempt
@post_only
def callback(request: HttpRequest, job_id: uuid.UUID) -> HttpResponse:
    """
    The browser's return in redirect mode: a form post from another site, without a session.

    Whatever it carries, the buyer is sent on to the status page, which tells the truth. A genuine
    signature has Razorpay asked at once; `error[...]` fields are unsigned and change nothing.
    """
    given = ConfirmIn(data=_form(request))
    if given.is_valid():
        try:
            _take(CheckoutJob.objects.get(pk=job_id), given.validated_data)
        except (CheckoutJob.DoesNotExist, ApiError):
            pass  # forged or mixed up: the page shows where the checkout really stands
        except (OperationalError, InterfaceError):
            pass  # we ask Razorpay ourselves, soon; the buyer need not see our trouble
    response = HttpResponseRedirect(f"/checkout/{job_id}")
    response.status_code = status.HTTP_303_SEE_OTHER
    return response


def _form(request: HttpRequest) -> Mapping[str, str]:
    """The fields of a form; none where the body is not one."""
    try:
        return request.POST
    except (MultiPartParserError, SuspiciousOperation, UnreadablePostError):
        return {}


def _take(job: CheckoutJob, fields: Mapping[str, str]) -> None:
    """:raises ApiError: the signature is not for the order of this checkout."""
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
