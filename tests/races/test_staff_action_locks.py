"""Staff actions lock rows in the same order as all other code."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from shop.accounts import User
from shop.checkout.jobs import CheckoutJob
from shop.checkout.states import State
from shop.checkout.steps.reconcile_webhook import ReconcileWebhook
from shop.operations import actions
from shop.operations.audit_log import ActionRequest
from shop.payments.ledger import GatewayOrder
from shop.stock import StockLevel
from tests.support.events import deliver
from tests.support.lock_order import assert_order
from tests.support.shop import (
    fill_cart,
    make_buyer,
    make_checkout,
    make_payable,
    make_variant,
    post_checkout,
    reload,
    run,
)

pytestmark = pytest.mark.django_db(transaction=True)

NOW = datetime(2026, 11, 22, 6, 30, tzinfo=UTC)


@pytest.fixture
def buyer() -> User:
    return make_buyer(now=NOW)


@pytest.fixture
def in_review(buyer, gateway, standin) -> CheckoutJob:
    """Of two products; an open checkout of the same buyer has the second one, too."""
    mug, plate = make_variant(), make_variant()
    fill_cart(buyer, mug, plate, now=NOW)
    job = make_payable(post_checkout(buyer, now=NOW), gateway, now=NOW)
    row = GatewayOrder.objects.get(order=job.order)
    deliver(standin.pay(str(row.gateway_order_id)), amount=100, now=NOW)
    run(ReconcileWebhook(), now=NOW)
    other = make_payable(make_checkout(plate, now=NOW), gateway, now=NOW)
    CheckoutJob.objects.filter(pk=other.pk).update(owner=buyer)
    return reload(job)


def test_accepting_money_takes_stock_rows_in_the_order_of_variants(in_review, buyer):
    by = ActionRequest(by_id=buyer.pk, reason="as the buyer asked", now=NOW)
    first, later = StockLevel.objects.order_by("variant_id")

    assert_order(lambda: actions.accept_money(in_review.pk, by=by), first=first, later=later)


def test_a_review_that_ends_beside_a_payment_takes_stock_rows_in_the_order_of_variants(
    gateway, standin
):
    mug, plate = make_variant(), make_variant()
    paid = make_payable(make_checkout(mug, now=NOW), gateway, now=NOW)
    ended = make_payable(make_checkout(plate, now=NOW), gateway, now=NOW)
    payments = {
        job.pk: standin.pay(str(GatewayOrder.objects.get(order=job.order).gateway_order_id))
        for job in (paid, ended)
    }
    wrong = {"amount": 100, "status": "authorized", "captured": False}
    deliver(payments[ended.pk], now=NOW, **wrong)
    run(ReconcileWebhook(), now=NOW)
    assert reload(ended).state == State.IN_REVIEW
    deliver(payments[ended.pk], now=NOW, **wrong | {"status": "refunded"})  # it lapsed
    deliver(payments[paid.pk], now=NOW)
    first, later = StockLevel.objects.order_by("variant_id")

    assert_order(lambda: run(ReconcileWebhook(), now=NOW), first=first, later=later)

    assert [reload(job).state for job in (paid, ended)] == [State.PAID, State.CANCELLED]
