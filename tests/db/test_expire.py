"""Unpaid checkouts expire, but only after a final poll of Razorpay."""

from datetime import timedelta

import pytest

from shop.checkout.purchase import MONEY_MAY_COME_FOR
from shop.checkout.states import State
from shop.checkout.steps.check_payments import CheckPayments
from shop.checkout.steps.expire import EXPIRE, FINAL_POLL_GRACE
from shop.payments.ledger import GatewayOrder
from shop.payments.razorpay.client import RazorpayGateway
from tests.support.shop import (
    make_checkout,
    make_payable,
    make_variant,
    reload,
    run,
    run_remote,
    stock_of,
)

pytestmark = pytest.mark.django_db


@pytest.fixture
def variant():
    return make_variant()


@pytest.fixture
def job(variant, gateway, now):
    return make_payable(make_checkout(variant, now=now), gateway, now=now)


def test_it_polls_before_it_expires(job, now):
    run(EXPIRE, now=job.expires_at)

    assert reload(job).state == State.AWAITING_PAYMENT
    assert GatewayOrder.objects.get().poll_at == now + timedelta(seconds=30) or (
        GatewayOrder.objects.get().poll_at <= job.expires_at
    )


def test_an_unpaid_checkout_expires_after_the_final_poll(job, variant, gateway):
    run(EXPIRE, now=job.expires_at)
    run_remote(CheckPayments(), gateway, now=job.expires_at)

    run(EXPIRE, now=job.expires_at + timedelta(seconds=10))

    assert reload(job).state == State.EXPIRED
    assert stock_of(variant) == (10, 0)


def test_money_found_by_the_final_poll_pays(job, variant, gateway, standin):
    standin.pay(GatewayOrder.objects.get().gateway_order_id)
    run(EXPIRE, now=job.expires_at)

    run_remote(CheckPayments(), gateway, now=job.expires_at)

    assert reload(job).state == State.PAID
    assert stock_of(variant) == (9, 0)


def test_units_are_kept_for_money_on_its_way(job, variant, gateway, standin):
    payment = standin.pay(GatewayOrder.objects.get().gateway_order_id, "authorized")
    run(EXPIRE, now=job.expires_at)
    run_remote(CheckPayments(), gateway, now=job.expires_at)

    run(EXPIRE, now=job.expires_at + timedelta(seconds=10))

    assert reload(job).state == State.AWAITING_PAYMENT
    assert stock_of(variant) == (10, 1)
    standin.move_payment(payment["id"], "capture")
    run_remote(CheckPayments(), gateway, now=job.expires_at + timedelta(seconds=10))
    assert reload(job).state == State.PAID


def test_units_are_kept_for_money_as_long_as_an_authorisation_lasts(job, variant, gateway, standin):
    standin.pay(GatewayOrder.objects.get().gateway_order_id, "authorized")
    run(EXPIRE, now=job.expires_at)
    run_remote(CheckPayments(), gateway, now=job.expires_at)

    run(EXPIRE, now=job.expires_at + timedelta(days=1))
    assert reload(job).state == State.AWAITING_PAYMENT
    assert stock_of(variant) == (10, 1)

    run(EXPIRE, now=job.expires_at + MONEY_MAY_COME_FOR + timedelta(days=1))
    assert reload(job).state == State.EXPIRED
    assert stock_of(variant) == (10, 0)


def test_an_unavailable_gateway_does_not_hold_units_for_ever(job, variant):
    nobody = RazorpayGateway(
        key_id="k", key_secret="s", base_url="http://127.0.0.1:9", timeout_seconds=1, connections=1
    )
    run(EXPIRE, now=job.expires_at)
    run_remote(CheckPayments(), nobody, now=job.expires_at)
    assert reload(job).state == State.AWAITING_PAYMENT

    run(EXPIRE, now=job.expires_at + FINAL_POLL_GRACE)

    assert reload(job).state == State.EXPIRED
    assert stock_of(variant) == (10, 0)


def test_a_checkout_does_not_expire_early(job):
    run(EXPIRE, now=job.expires_at - timedelta(seconds=1))

    assert reload(job).version == job.version
