"""The browser comes back from paying. It brings a hint, not a fact."""

from __future__ import annotations

from datetime import datetime

from django.db import transaction
from django.db.models import F

from shop.checkout.jobs import CheckoutJob
from shop.payments import polling
from shop.payments.ledger import GatewayOrder
from shop.payments.razorpay import signatures


class SignatureInvalid(Exception):
    """These three fields were not made by Razorpay for an order of this checkout."""


def confirm(
    job: CheckoutJob,
    *,
    gateway_payment_id: str,
    gateway_order_id: str,
    signature: str,
    key_secret: str,
    now: datetime,
) -> None:
    """
    Have Razorpay asked about the order at once. A repeat asks again.

    The signature says that a payment was authorised, not that it was captured, nor how much: so it
    moves nothing. It is checked against the order id in our own database.

    :raises SignatureInvalid: it is not genuine for any Razorpay order of this checkout.
    """
    ours = GatewayOrder.objects.filter(
        order__checkout=job, gateway_order_id=gateway_order_id
    ).first()
    if ours is None or not signatures.payment_is_genuine(
        gateway_order_id=str(ours.gateway_order_id),
        gateway_payment_id=gateway_payment_id,
        signature=signature,
        key_secret=key_secret,
    ):
        raise SignatureInvalid
    with transaction.atomic():
        CheckoutJob.objects.filter(pk=job.pk).update(
            returned_at=now, version=F("version") + 1, updated_at=now
        )
        polling.poll_now([ours.order_id], now=now)
