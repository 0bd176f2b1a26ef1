"""Rows are locked in one order: a transaction that waits for one holds none that comes later."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from shop.checkout import jobs, start
from shop.checkout.jobs import CheckoutJob
from shop.checkout.outcomes import Wait
from shop.checkout.states import State
from shop.checkout.steps.reconcile_webhook import ReconcileWebhook
from shop.payments import polling
from shop.payments.gateway import OutcomeUnknown
from shop.payments.ledger import GatewayOrder
from shop.stock import StockLevel
from tests.support.events import deliver
from tests.support.lock_order import assert_order
from tests.support.shop import make_checkout, make_payable, make_variant, reload, run, stock_of

pytestmark = pytest.mark.django_db(transaction=True)

NOW = datetime(2026, 11, 22, 6, 30, tzinfo=UTC)


def test_late_money_and_money_in_time_take_stock_in_one_order(gateway, standin):
    low, high = make_variant(on_hand=3), make_variant(on_hand=3)
    paid_late, in_time = (
        make_payable(make_checkout(it, now=NOW), gateway, now=NOW) for it in (high, low)
    )
    start.cancel(owner_id=paid_late.owner_id, job_id=paid_late.pk, now=NOW)
    for job in (paid_late, in_time):
        remote = GatewayOrder.objects.get(order=job.order)
        deliver(standin.pay(remote.gateway_order_id), now=NOW)

    assert_order(
        lambda: run(ReconcileWebhook(), now=NOW),
        first=StockLevel.objects.get(pk=low.pk),
        later=StockLevel.objects.get(pk=high.pk),
    )

    assert {reload(job).state for job in (paid_late, in_time)} == {State.PAID}
    assert {stock_of(variant) for variant in (low, high)} == {(2, 0)}


@pytest.fixture
def rows(gateway, standin) -> list[GatewayOrder]:
    for _ in range(2):
        make_payable(make_checkout(now=NOW), gateway, now=NOW)
    GatewayOrder.objects.update(poll_at=None)
    return list(GatewayOrder.objects.order_by("id"))


BACKWARDS: dict[str, Callable[[list[GatewayOrder]], None]] = {
    "answered": lambda rows: polling.poll_succeeded([(row, NOW) for row in rows], now=NOW),
    "not_answered": lambda rows: polling.poll_failed(
        [(row, OutcomeUnknown("no answer")) for row in rows], now=NOW
    ),
    "poll_by": lambda rows: polling.poll_by([row.pk for row in rows], at=NOW),
    "schedule_final_poll": lambda rows: polling.schedule_final_poll([row.pk for row in rows]),
    "poll_now": lambda rows: polling.poll_now([row.order_id for row in rows], now=NOW),
}


@pytest.mark.parametrize("name", BACKWARDS)
def test_razorpay_orders_are_taken_in_the_order_of_their_ids(name, rows):
    if name == "not_answered":
        GatewayOrder.objects.update(poll_at=NOW + timedelta(minutes=1))
        rows = list(GatewayOrder.objects.order_by("id"))
    first, later = rows

    assert_order(lambda: BACKWARDS[name]([later, first]), first=first, later=later)


def test_checkouts_are_written_in_the_order_of_their_ids():
    for _ in range(2):
        make_checkout(now=NOW)
    first, later = CheckoutJob.objects.order_by("id")

    assert_order(
        lambda: jobs.apply([(job, Wait(NOW, "soon", "")) for job in (later, first)], now=NOW),
        first=first,
        later=later,
    )
