"""Authorised payments are captured: by setting, or because Razorpay did not capture them."""

from datetime import timedelta

import pytest

from shop.checkout.settle import CAPTURE_GRACE
from shop.checkout.states import State
from shop.checkout.steps.capture import CapturePayments
from shop.checkout.steps.check_payments import CheckPayments
from shop.checkout.steps.reconcile_webhook import ReconcileWebhook
from shop.payments import polling
from shop.payments.ledger import GatewayOrder, Payment
from tests.support.events import deliver
from tests.support.shop import make_checkout, make_payable, reload, run, run_remote

pytestmark = pytest.mark.django_db

STEP = CapturePayments()


@pytest.fixture
def job(gateway, standin, settings, now):
    """A checkout with a payment that is known to be authorised."""
    settings.RAZORPAY_CAPTURE = "manual"
    standin.settings(auto_capture=False)
    gateway._capture = "manual"
    job = make_payable(make_checkout(now=now), gateway, now=now)
    standin.pay(GatewayOrder.objects.get().gateway_order_id, outcome="authorized")
    polling.poll_now([job.order_id], now=now)
    run_remote(CheckPayments(), gateway, now=now)
    assert Payment.objects.get().status == "authorized"
    return reload(job)


def test_an_authorised_payment_is_captured_and_pays(job, gateway, standin, now):
    run_remote(STEP, gateway, now=now)

    assert reload(job).state == State.PAID
    assert standin.payments()[0]["captured"] is True
    assert Payment.objects.get().capture_at is None


def test_a_capture_whose_answer_was_lost_is_found_done(job, gateway, standin, now):
    standin.set_faults({"kind": "reset", "route": "payments.capture", "when": "after"})
    run_remote(STEP, gateway, now=now)
    assert reload(job).state == State.AWAITING_PAYMENT

    run_remote(STEP, gateway, now=now + timedelta(minutes=1))

    assert reload(job).state == State.PAID
    assert standin.ledger()["totals"]["captured_paise"] == job.amount_paise


def test_another_operation_in_progress_means_later(job, gateway, standin, now):
    standin.set_faults({"kind": "operation_in_progress", "route": "payments.capture"})

    run_remote(STEP, gateway, now=now)

    assert Payment.objects.get().capture_at == now + timedelta(seconds=1)


def test_where_razorpay_captures_we_wait_for_it_first(gateway, standin, now):
    standin.settings(auto_capture=False)
    gateway._capture = "manual"  # the stand-in does not capture, though our setting says so
    job = make_payable(make_checkout(now=now), gateway, now=now)
    standin.pay(GatewayOrder.objects.get().gateway_order_id, outcome="authorized")
    polling.poll_now([job.order_id], now=now)

    run_remote(CheckPayments(), gateway, now=now)

    assert not STEP.claim(limit=1, now=now)
    run_remote(STEP, gateway, now=now + CAPTURE_GRACE)
    assert reload(job).state == State.PAID


def test_a_payment_that_razorpay_captured_is_not_captured_again(gateway, standin, now):
    standin.settings(auto_capture=False)
    job = make_payable(make_checkout(now=now), gateway, now=now)
    paid = standin.pay(GatewayOrder.objects.get().gateway_order_id, outcome="authorized")
    polling.poll_now([job.order_id], now=now)
    run_remote(CheckPayments(), gateway, now=now)
    assert Payment.objects.get().capture_at == now + CAPTURE_GRACE

    standin.move_payment(paid["id"], "capture")
    polling.poll_now([job.order_id], now=now + timedelta(seconds=1))
    run_remote(CheckPayments(), gateway, now=now + timedelta(seconds=1))

    assert reload(job).state == State.PAID
    assert Payment.objects.get().capture_at is None


def test_a_refused_capture_is_retried_with_backoff(job, gateway, standin, now):
    refusal = '{"error": {"code": "BAD_REQUEST_ERROR", "description": "not for this account"}}'
    standin.set_faults(
        {"kind": "answer", "route": "payments.capture", "status": 400, "body": refusal}
        | {"count": None}
    )
    pauses = []
    for _ in range(14):
        run_remote(STEP, gateway, now=now)
        capture_at = Payment.objects.get().capture_at
        pauses.append(int((capture_at - now).total_seconds()))
        now = capture_at

    assert pauses == [2**n for n in range(12)] + [3600, 3600]


def test_authorised_money_is_polled_for_seconds_later(gateway, standin, now):
    """Razorpay captures it a moment later, and the webhook may be lost."""
    standin.settings(auto_capture=False)
    job = make_payable(make_checkout(now=now), gateway, now=now)
    now += timedelta(seconds=61)
    run_remote(CheckPayments(), gateway, now=now)  # the schedule's next poll is a minute ahead
    paid = standin.pay(GatewayOrder.objects.get().gateway_order_id, outcome="authorized")
    deliver(paid, now=now)
    run(ReconcileWebhook(), now=now)
    assert reload(job).state == State.AWAITING_PAYMENT
    standin.move_payment(paid["id"], "capture")

    run_remote(CheckPayments(), gateway, now=now + timedelta(seconds=10))

    assert reload(job).state == State.PAID


def test_an_earlier_poll_is_not_postponed_by_authorised_money(gateway, standin, now):
    make_payable(make_checkout(now=now), gateway, now=now)
    paid = standin.pay(GatewayOrder.objects.get().gateway_order_id, outcome="authorized")
    deliver(paid, now=now + timedelta(seconds=28))

    run(ReconcileWebhook(), now=now + timedelta(seconds=28))

    assert GatewayOrder.objects.get().poll_at == now + timedelta(seconds=30)
