"""Refunds by staff."""

from __future__ import annotations

import uuid
from typing import Any, cast

from django.http import Http404
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import serializers, status
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView
from rest_framework_simplejwt.tokens import Token

from shop import roles
from shop.api import idempotency
from shop.api.auth import caller_id, session_user
from shop.api.carts import MAX_ID
from shop.api.errors import ApiError
from shop.api.openapi import (
    IDEMPOTENCY_KEY,
    PRIVATE,
    REPLAYED,
    THROTTLED,
    WITH_BODY,
    refusals,
)
from shop.api.throttling import Throttle
from shop.money import rupees
from shop.operations import actions
from shop.operations.audit_log import ActionRequest, AlreadyDone
from shop.orders import Order
from shop.payments.refunds import Refund, RefundRefused
from tasks.notify import notify
from tasks.registry import SEND_REFUNDS


class MayRefund(BasePermission):
    """
    Staff with the permission to refund, looked up in the database, because a token may be outdated.

    401 for a token issued before a sign-out or a change of the password.
    """

    message = "Only staff with the permission to refund can do this."

    def has_permission(self, request: Request, view: APIView) -> bool:
        staff = session_user(cast("Token", request.auth))
        return staff.is_staff and staff.has_perm(roles.REFUND)


class RefundIn(serializers.Serializer):
    amount_paise = serializers.IntegerField(
        required=False, allow_null=True, default=None, min_value=1, max_value=MAX_ID
    )
    reason = serializers.CharField(max_length=300)


class RefundOut(serializers.Serializer):
    order = serializers.CharField()
    status = serializers.CharField()
    amount = serializers.FloatField()
    amount_paise = serializers.IntegerField()
    reason = serializers.CharField()
    reference = serializers.CharField(allow_null=True)
    created_at = serializers.DateTimeField()


def refund_json(order: Order, refund: Refund) -> dict[str, Any]:
    return {
        "order": order.number,
        "status": refund.status,
        "amount": rupees(refund.amount_paise),
        "amount_paise": refund.amount_paise,
        "reason": refund.note,
        "reference": refund.gateway_refund_id,
        "created_at": refund.created_at,
    }


class Refunds(APIView):
    permission_classes = (*APIView.permission_classes, MayRefund)
    throttle_classes = (Throttle,)
    throttle_scope = "refund"

    @extend_schema(
        request=RefundIn,
        responses={202: RefundOut} | refusals(PRIVATE, 403, 404, 409, 422, THROTTLED, *WITH_BODY),
        parameters=[IDEMPOTENCY_KEY, REPLAYED],
    )
    def post(self, request: Request, number: str) -> Response:
        """
        Refund a part of a paid order, or all that is left. Sent to Razorpay at once.

        The same `Idempotency-Key` again gives the same refund. Without a key each request is a
        new refund, as long as money is left to refund.
        """
        given = RefundIn(data=request.data)
        given.is_valid(raise_exception=True)
        order = Order.objects.filter(number=number).first()
        if order is None:
            raise Http404
        amount_paise = given.validated_data["amount_paise"]
        by = ActionRequest(
            caller_id(request),
            given.validated_data["reason"],
            timezone.now(),
            _action_key(request),
        )
        try:
            refund = actions.refund(order, amount_paise=amount_paise, by=by).refund
        except RefundRefused as refused:
            raise ApiError(
                409, "refund_refused", refused.message, {"left_paise": refused.left_paise}
            ) from refused
        except AlreadyDone:
            return _replayed(order, amount_paise, by)
        notify(SEND_REFUNDS, checkout_id=str(order.checkout.pk))
        return Response(refund_json(order, refund), status=status.HTTP_202_ACCEPTED)


def _action_key(request: Request) -> uuid.UUID:
    """A key made of the caller's `Idempotency-Key`, or a random one without it."""
    if given := idempotency.key_of(request):
        return uuid.uuid5(uuid.NAMESPACE_OID, f"refund {caller_id(request)} {given}")
    return uuid.uuid4()


def _replayed(order: Order, amount_paise: int | None, by: ActionRequest) -> Response:
    """
    The response to a repeated request.

    :raises ApiError: the key was used for another order or amount.
    """
    refund = Refund.objects.filter(payment__gateway_order__order=order, key=by.key.hex).first()
    if refund is None or amount_paise not in {None, refund.amount_paise}:
        raise ApiError(
            422, "idempotency_key_reused", "This Idempotency-Key was used for another refund."
        )
    return Response(
        refund_json(order, refund),
        status=status.HTTP_202_ACCEPTED,
        headers={"Idempotent-Replayed": "true"},
    )
