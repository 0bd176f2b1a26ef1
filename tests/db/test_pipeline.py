"""A checkout through all its steps, on real Postgres and against the stand-in over HTTP."""

import pytest

from shop.checkout.states import State
from shop.checkout.steps.check_payments import CheckPayments
from shop.checkout.steps.create_razorpay_order import CreateRazorpayOrder
from shop.payments import polling
from shop.payments.ledger import GatewayOrder
from tests.support.shop import (
    make_checkout,
    make_payable,
    make_variant,
    place_order,
    reload,
    run_remote,
    stock_of,
)

pytestmark = pytest.mark.django_db


def test_a_checkout_becomes_payable(gateway, standin, now):
    job = make_payable(make_checkout(now=now), gateway, now=now)

    assert job.state == State.AWAITING_PAYMENT
    [order] = standin.orders()
    assert order["receipt"] == job.order.number
    assert order["amount"] == job.order.amount_paise == job.amount_paise
    assert GatewayOrder.objects.get().gateway_order_id == order["id"]


def test_a_paid_order_is_found_by_polling(gateway, standin, now):
    variant = make_variant(on_hand=3)
    job = make_payable(make_checkout(variant, now=now, quantity=2), gateway, now=now)
    standin.pay(GatewayOrder.objects.get().gateway_order_id)
    polling.poll_now([job.order_id], now=now)

    run_remote(CheckPayments(), gateway, now=now)

    job = reload(job)
    assert job.state == State.PAID
    assert stock_of(variant) == (1, 0)
    assert job.order.paid_at == now


def test_each_transition_is_a_row(gateway, now):
    job = make_payable(make_checkout(now=now), gateway, now=now)

    assert [(move.old, move.new) for move in job.transitions.all()] == [
        ("queued", "validated"),
        ("validated", "ordered"),
        ("ordered", "awaiting_payment"),
    ]


def test_the_create_step_runs_again_and_finds_its_order(gateway, standin, now):
    job = place_order(make_checkout(now=now), now=now)
    step = CreateRazorpayOrder()
    [work] = step.claim(limit=10, now=now)
    step.call(gateway, work)  # the worker died here, before it recorded
    later = job.created_at.replace(year=job.created_at.year + 1)

    standin.advance(60)
    run_remote(step, gateway, now=later)

    assert reload(job).state == State.AWAITING_PAYMENT
    assert len(standin.orders()) == 1
