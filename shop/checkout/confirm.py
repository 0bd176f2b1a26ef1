"""Confirm: the browser returns from the payment form. Its fields are a hint, no proof of money."""

from __future__ import annotations

from datetime import datetime

from django.db import transaction
from django.db.models import F

from shop.checkout.jobs import CheckoutJob
from shop.payments import polling
from shop.payments.ledger import GatewayOrder
from shop.payments.razorpay import signatures


class SignatureInvalid(Exception):
    """The three fields are not Razorpay's for an order of this checkout."""


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
    Note the return, and have Razorpay polled about the order now. A repeat polls again.

    The signature proves that a payment was authorised, not that it was captured nor its amount, so
    it makes no transition. It is checked against the Razorpay order id in our own database.

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
