"""Polling Razorpay: on a schedule, at once on request, and again after a lost answer."""

from datetime import timedelta

import pytest

from shop.checkout import purchase
from shop.checkout.jobs import CheckoutJob
from shop.checkout.states import State
from shop.checkout.steps.check_payments import CheckPayments
from shop.payments import polling
from shop.payments.gateway import OutcomeUnknown
from shop.payments.ledger import GatewayOrder, Payment
from shop.payments.refunds import Refund, RefundReason
from tests.support.shop import make_checkout, make_payable, reload, run_remote

pytestmark = pytest.mark.django_db

STEP = CheckPayments()


@pytest.fixture
def job(gateway, now):
    return make_payable(make_checkout(now=now), gateway, now=now)


def row() -> GatewayOrder:
    return GatewayOrder.objects.get()


def test_a_payable_order_is_polled_by_schedule(job, gateway, standin, now):
    standin.pay(row().gateway_order_id)

    run_remote(STEP, gateway, now=now + timedelta(seconds=30))

    assert reload(job).state == State.PAID
    assert Payment.objects.get().first_reported_via == "fetch"


def test_an_unpaid_order_follows_the_poll_schedule(job, gateway, now):
    run_remote(STEP, gateway, now=now + timedelta(seconds=30))

    assert row().poll_at == now + timedelta(minutes=1)
    assert row().poll_count == 1


def test_a_paid_order_is_polled_once_more(job, gateway, standin, now):
    """Money without a webhook: two tabs, for example, and a bank that takes days."""
    standin.settings(second_payment="keep")
    slow = standin.pay(row().gateway_order_id, "created")
    standin.pay(row().gateway_order_id)
    run_remote(STEP, gateway, now=now + timedelta(seconds=30))
    assert reload(job).state == State.PAID
    assert row().poll_at > now + timedelta(days=5)
    standin.move_payment(slow["id"], "capture")

    run_remote(STEP, gateway, now=row().poll_at)

    assert row().poll_at is None
    [refund] = Refund.objects.all()
    assert (refund.payment.gateway_payment_id, refund.reason) == (slow["id"], RefundReason.SURPLUS)


def test_a_paid_order_that_is_polled_early_still_has_its_final_poll(job, gateway, standin, now):
    """The browser returns after the webhook."""
    standin.pay(row().gateway_order_id)
    run_remote(STEP, gateway, now=now + timedelta(seconds=30))
    last_at = row().poll_at
    polling.poll_now([job.order_id], now=now + timedelta(seconds=31))

    run_remote(STEP, gateway, now=now + timedelta(seconds=31))

    assert row().poll_at == last_at


def test_an_unanswered_poll_is_retried(job, gateway, standin, now):
    standin.set_faults({"kind": "bad_gateway", "route": "orders.payments"})

    run_remote(STEP, gateway, now=now + timedelta(seconds=30))

    assert row().poll_at == now + timedelta(seconds=31)
    assert row().polled_at is None


def test_a_refused_poll_follows_the_schedule_and_is_no_answer(job, gateway, now):
    GatewayOrder.objects.update(gateway_order_id="order_of_others")

    run_remote(STEP, gateway, now=now + timedelta(seconds=30))

    assert row().poll_at == now + timedelta(minutes=1)
    assert row().polled_at is None
    run_remote(STEP, gateway, now=now + timedelta(days=6))
    assert row().poll_at is None


def test_a_poll_requested_during_a_call_is_not_postponed_by_a_lost_answer(job, now):
    polled_at = now + timedelta(seconds=30)
    [work] = STEP.claim(limit=1, now=polled_at)
    polling.poll_now([job.order_id], now=polled_at + timedelta(seconds=1))

    STEP.record([(work, OutcomeUnknown("no answer"))], now=polled_at + timedelta(seconds=10))

    assert row().poll_at == polled_at + timedelta(seconds=1)


def test_a_poll_requested_during_a_call_is_not_dropped_by_an_older_answer(job, gateway, now):
    polled_at = now + timedelta(seconds=30)
    [work] = STEP.claim(limit=1, now=polled_at)
    answer = STEP.call(gateway, work)
    polling.poll_now([job.order_id], now=polled_at + timedelta(seconds=1))

    STEP.record([(work, answer)], now=polled_at + timedelta(seconds=2))

    assert row().poll_at == polled_at + timedelta(seconds=1)


def test_an_older_answer_does_not_undo_a_newer_one(job, gateway, now):
    """The buyer returned between the two, so only the newer answer counts."""
    polled_at, again_at = now + timedelta(seconds=30), now + timedelta(seconds=32)
    [slow] = STEP.claim(limit=1, now=polled_at)
    answer = STEP.call(gateway, slow)
    CheckoutJob.objects.update(returned_at=polled_at + timedelta(seconds=1))
    polling.poll_now([job.order_id], now=again_at)
    run_remote(STEP, gateway, now=again_at)
    assert not purchase.with_money([reload(job)], now=again_at)

    STEP.record([(slow, answer)], now=polled_at + timedelta(seconds=9))

    assert row().polled_at == again_at
    assert not purchase.with_money([reload(job)], now=again_at)


def test_a_claimed_poll_is_not_made_twice(job, now):
    polled_at = now + timedelta(seconds=30)
    STEP.claim(limit=1, now=polled_at)

    assert not STEP.claim(limit=1, now=polled_at + timedelta(seconds=1))
