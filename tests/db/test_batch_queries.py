"""A batch takes as many queries as one checkout, so under load each checkout costs less."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from shop.checkout import start
from shop.checkout.jobs import CheckoutJob
from shop.checkout.outcomes import Counted, RunReport
from shop.checkout.steps.create_order import CREATE_ORDER
from shop.checkout.steps.create_razorpay_order import CreateRazorpayOrder
from shop.checkout.steps.reconcile_webhook import ReconcileWebhook
from shop.checkout.steps.validate_cart import VALIDATE_CART
from shop.payments.ledger import GatewayOrder
from tests.support import events
from tests.support.shop import make_checkout, make_payable, make_variant, run, run_remote
from tests.support.standin import StandIn

pytestmark = pytest.mark.django_db

MANY = 12


def checkouts(count: int, *, now: datetime) -> list[CheckoutJob]:
    """Checkouts of three lines each, of the same variants."""
    variants = [make_variant(on_hand=100, price_paise=12_300) for _ in range(3)]
    return [make_checkout(*variants, now=now) for _ in range(count)]


def queries(work: Callable[[], RunReport], *, advanced: int) -> int:
    """The number of queries of `work`, which must advance so many checkouts."""
    with CaptureQueriesContext(connection) as made:
        report = work()
    assert report.counts[Counted.ADVANCED] == advanced
    return len(made)


def test_local_steps(now):
    def cost(count: int) -> list[int]:
        checkouts(count, now=now)
        todo = (VALIDATE_CART, CREATE_ORDER)
        spent = [queries(lambda: run(step, now=now), advanced=count) for step in todo]  # noqa: B023
        CheckoutJob.objects.update(due_at=None)  # the next batch is on its own
        return spent

    assert cost(MANY) == cost(1)


def test_orders_at_the_gateway(gateway, standin, now):
    def cost(count: int) -> int:
        checkouts(count, now=now)
        for step in (VALIDATE_CART, CREATE_ORDER):
            run(step, now=now)
        step = CreateRazorpayOrder()
        return queries(lambda: run_remote(step, gateway, now=now), advanced=count)

    cost(1)  # the first call inserts the row of the circuit breaker
    assert cost(MANY) == cost(1)


def test_webhooks_of_payments(gateway, standin: StandIn, now):
    def cost(count: int) -> int:
        for job in checkouts(count, now=now):
            make_payable(job, gateway, now=now)
            remote = GatewayOrder.objects.get(order__checkout=job)
            events.deliver(standin.pay(remote.gateway_order_id), now=now)
        return queries(lambda: run(ReconcileWebhook(), now=now), advanced=count)

    assert cost(MANY) == cost(1)


def test_webhooks_of_payments_of_which_one_is_late(gateway, standin: StandIn, now):
    def cost(count: int) -> int:
        late, *rest = checkouts(1 + count, now=now)
        for job in (late, *rest):
            make_payable(job, gateway, now=now)
            remote = GatewayOrder.objects.get(order__checkout=job)
            events.deliver(standin.pay(remote.gateway_order_id), now=now)
        start.cancel(owner_id=late.owner_id, job_id=late.pk, now=now)
        return queries(lambda: run(ReconcileWebhook(), now=now), advanced=1 + count)

    assert cost(MANY) == cost(1)
