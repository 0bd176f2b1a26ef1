"""A report of money that raises when it is settled is a case until it is settled."""

import json
from datetime import timedelta

import pytest

from shop import stock
from shop.accounts import User
from shop.checkout.states import State
from shop.checkout.steps.capture import CapturePayments
from shop.checkout.steps.check_payments import CheckPayments
from shop.checkout.steps.reconcile_webhook import PAYMENT_COMES_WITHIN, ReconcileWebhook
from shop.payments import cases, inbox, ledger, polling, refund_reports
from shop.payments.cases import Case
from shop.payments.inbox import EventOutcome, InboxEvent
from shop.payments.ledger import GatewayOrder, Payment
from shop.payments.refunds import Refund
from tests.support.events import deliver
from tests.support.shop import make_checkout, make_payable, reload, run, run_remote

pytestmark = pytest.mark.django_db


@pytest.fixture
def job(gateway, now):
    return make_payable(make_checkout(now=now), gateway, now=now)


@pytest.fixture
def order_id(job):
    return GatewayOrder.objects.get(order=job.order).gateway_order_id


@pytest.fixture
def broken(monkeypatch):
    """An injected error: units cannot be sold, until this is called."""

    def sell(order_ids):
        raise ZeroDivisionError("stock of Asha Rao")

    with monkeypatch.context() as patched:
        patched.setattr(stock, "sell", sell)
        yield patched.undo


def by_webhook(job, gateway, standin, *, now):
    if not InboxEvent.objects.exists():
        deliver(standin.payments()[0], now=now)
    InboxEvent.objects.update(due_at=now)
    run(ReconcileWebhook(), now=now)


def by_poll(job, gateway, standin, *, now):
    polling.poll_now([job.order_id], now=now)
    run_remote(CheckPayments(), gateway, now=now)


@pytest.mark.parametrize("report", [by_webhook, by_poll])
def test_the_first_failure_opens_a_case_and_a_success_closes_it(
    report, job, order_id, broken, gateway, standin, now
):
    standin.pay(order_id)

    report(job, gateway, standin, now=now)

    case = Case.objects.get()
    assert (case.kind, case.order_id, case.closed_at) == ("settle_failed", job.order_id, None)
    assert "cannot be applied: ZeroDivisionError" in case.text
    assert reload(job).state == State.AWAITING_PAYMENT
    broken()
    report(job, gateway, standin, now=now)
    case.refresh_from_db()
    assert reload(job).state == State.PAID
    assert (case.closed_at, case.closed_because) == (now, "it was applied later")


def test_the_answer_to_a_capture_is_such_a_report_too(job, order_id, broken, gateway, standin, now):
    standin.pay(order_id, outcome="authorized")
    by_poll(job, gateway, standin, now=now)
    ledger.retry_capture(Payment.objects.get(), at=now)

    run_remote(CapturePayments(), gateway, now=now)

    assert Case.objects.get().kind == "settle_failed"


def test_a_case_that_staff_closed_is_open_again_after_the_next_failure(
    job, order_id, broken, gateway, standin, now
):
    standin.pay(order_id)
    by_webhook(job, gateway, standin, now=now)
    person = User.objects.create_superuser("asha@example.com", "x")
    cases.close(Case.objects.all(), because="surely once", by_id=person.pk, now=now)

    by_webhook(job, gateway, standin, now=now)

    assert Case.objects.get().closed_at is None


def test_a_case_of_one_order_concerns_no_other_order(job, order_id, broken, gateway, standin, now):
    other = make_payable(make_checkout(now=now), gateway, now=now)
    standin.pay(order_id)
    by_poll(job, gateway, standin, now=now)
    failed = standin.pay(GatewayOrder.objects.get(order=other.order).gateway_order_id, "failed")

    by_poll(other, gateway, standin, now=now)

    assert Payment.objects.get().gateway_payment_id == failed["id"]
    assert [case.order_id for case in Case.objects.filter(closed_at=None)] == [job.order_id]


def test_an_event_that_waited_for_its_payment_is_tried_as_often_as_any_other(
    job, order_id, standin, monkeypatch, now
):
    payment = standin.pay(order_id)
    refund = {"id": "rfnd_1", "payment_id": payment["id"], "amount": 100, "status": "processed"}
    body = {"event": "refund.processed", "payload": {"refund": {"entity": refund}}}
    inbox.receive(event_id="Early", body=json.dumps(body).encode(), now=now)
    for seconds in range(240):
        run(ReconcileWebhook(), now=now + timedelta(seconds=seconds))
    later = now + PAYMENT_COMES_WITHIN - timedelta(seconds=50)
    deliver(payment, now=later)

    with monkeypatch.context() as broken:
        broken.setattr(refund_reports, "record", lambda *_, **__: 1 / 0)
        run(ReconcileWebhook(), now=later)
    run(ReconcileWebhook(), now=later + timedelta(minutes=1))

    assert InboxEvent.objects.get(gateway_event_id="Early").outcome == EventOutcome.SETTLED
    assert Refund.objects.get().gateway_refund_id == "rfnd_1"
