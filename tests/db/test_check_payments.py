"""Asking Razorpay ourselves: on a ladder, at once on request, and again when it does not answer."""

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


def test_a_payable_order_is_asked_about_by_itself(job, gateway, standin, now):
    standin.pay(row().gateway_order_id)

    run_remote(STEP, gateway, now=now + timedelta(seconds=30))

    assert reload(job).state == State.PAID
    assert Payment.objects.get().first_reported_via == "fetch"


def test_unpaid_it_climbs_the_ladder(job, gateway, now):
    run_remote(STEP, gateway, now=now + timedelta(seconds=30))

    assert row().poll_at == now + timedelta(minutes=1)
    assert row().poll_count == 1


def test_a_paid_order_is_asked_about_once_more(job, gateway, standin, now):
    """Two tabs, say, and a bank that takes days: money of which no webhook told."""
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


def test_a_paid_order_that_is_asked_about_early_still_has_one_question_left(
    job, gateway, standin, now
):
    """The browser comes back after the webhook."""
    standin.pay(row().gateway_order_id)
    run_remote(STEP, gateway, now=now + timedelta(seconds=30))
    last_at = row().poll_at
    polling.poll_now([job.order_id], now=now + timedelta(seconds=31))

    run_remote(STEP, gateway, now=now + timedelta(seconds=31))

    assert row().poll_at == last_at


def test_an_unanswered_question_is_put_again(job, gateway, standin, now):
    standin.set_faults({"kind": "bad_gateway", "route": "orders.payments"})

    run_remote(STEP, gateway, now=now + timedelta(seconds=30))

    assert row().poll_at == now + timedelta(seconds=31)
    assert row().polled_at is None


def test_a_question_that_is_refused_climbs_the_ladder_and_is_no_answer(job, gateway, now):
    GatewayOrder.objects.update(gateway_order_id="order_of_others")

    run_remote(STEP, gateway, now=now + timedelta(seconds=30))

    assert row().poll_at == now + timedelta(minutes=1)
    assert row().polled_at is None
    run_remote(STEP, gateway, now=now + timedelta(days=6))
    assert row().poll_at is None


def test_a_question_asked_meanwhile_is_not_put_off_by_a_lost_answer(job, now):
    asked_at = now + timedelta(seconds=30)
    [work] = STEP.claim(limit=1, now=asked_at)
    polling.poll_now([job.order_id], now=asked_at + timedelta(seconds=1))

    STEP.record([(work, OutcomeUnknown("no answer"))], now=asked_at + timedelta(seconds=10))

    assert row().poll_at == asked_at + timedelta(seconds=1)


def test_a_question_asked_meanwhile_is_not_swallowed_by_an_older_answer(job, gateway, now):
    asked_at = now + timedelta(seconds=30)
    [work] = STEP.claim(limit=1, now=asked_at)
    answer = STEP.call(gateway, work)
    polling.poll_now([job.order_id], now=asked_at + timedelta(seconds=1))

    STEP.record([(work, answer)], now=asked_at + timedelta(seconds=2))

    assert row().poll_at == asked_at + timedelta(seconds=1)


def test_an_older_answer_does_not_undo_a_newer_one(job, gateway, now):
    """The buyer came back between the two, so only the newer one says what came of it."""
    asked_at, again_at = now + timedelta(seconds=30), now + timedelta(seconds=32)
    [slow] = STEP.claim(limit=1, now=asked_at)
    answer = STEP.call(gateway, slow)
    CheckoutJob.objects.update(returned_at=asked_at + timedelta(seconds=1))
    polling.poll_now([job.order_id], now=again_at)
    run_remote(STEP, gateway, now=again_at)
    assert not purchase.with_money([reload(job)], now=again_at)

    STEP.record([(slow, answer)], now=asked_at + timedelta(seconds=9))

    assert row().polled_at == again_at
    assert not purchase.with_money([reload(job)], now=again_at)


def test_a_claimed_question_is_not_put_twice(job, now):
    asked_at = now + timedelta(seconds=30)
    STEP.claim(limit=1, now=asked_at)

    assert not STEP.claim(limit=1, now=asked_at + timedelta(seconds=1))
