"""Payments of a checkout at the stand-in."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from shop.checkout.jobs import CheckoutJob
from shop.checkout.steps.check_payments import CheckPayments
from shop.payments import polling
from shop.payments.gateway import Gateway
from shop.payments.ledger import GatewayOrder
from tests.support.shop import run_remote
from tests.support.standin import StandIn


def pay_and_poll(
    job: CheckoutJob, gateway: Gateway, standin: StandIn, *, now: datetime
) -> dict[str, Any]:
    """Pay for `job`; the shop learns of it by polling. Returns the payment's entity."""
    gateway_order_id = GatewayOrder.objects.get(order=job.order).gateway_order_id
    payment = standin.pay(str(gateway_order_id))
    polling.poll_now([job.order_id], now=now)
    run_remote(CheckPayments(), gateway, now=now)
    return payment
