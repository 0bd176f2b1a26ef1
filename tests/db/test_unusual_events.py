"""Genuine events without sense are kept: ignored, or shown to staff."""

import json
from datetime import timedelta

import pytest

from shop.checkout.jobs import MAX_ATTEMPTS
from shop.checkout.states import State
from shop.checkout.steps.reconcile_webhook import PAYMENT_COMES_WITHIN, ReconcileWebhook
from shop.checkout.steps.resolve_orders import ResolveOrders
from shop.payments import inbox
from shop.payments.inbox import EventOutcome, InboxEvent
from shop.payments.ledger import GatewayOrder, Payment
from shop.payments.razorpay import webhooks
from shop.payments.refunds import Refund
from tests.support.events import deliver, event_body
from tests.support.shop import make_checkout, make_payable, reload, run, run_remote

pytestmark = pytest.mark.django_db

STEP = ReconcileWebhook()


@pytest.fixture
def job(gateway, now):
    return make_payable(make_checkout(now=now), gateway, now=now)


@pytest.fixture
def payment(job, standin):
    return standin.pay(GatewayOrder.objects.get().gateway_order_id)


@pytest.mark.parametrize(
    "wrong",
    [
        {"id": None},
        {"id": ["pay_1"]},
        {"id": "p" * 65},
        {"id": "pay_\x00"},
        {"id": "pay_\ud800"},
        {"order_id": {"id": "order_1"}},
        {"amount": "2248896"},
        {"amount": 2248896.5},
        {"amount": -1},
        {"amount": 2**63},
        {"amount": None},
        {"amount": True},
        {"currency": 356},
        {"status": None},
        {"status": {"is": "captured"}},
        {"amount_refunded": "none"},
        {"method": ["upi"]},
        {"error_description": "\ud83d"},
    ],
)
def test_an_entity_of_wrong_types_is_kept_shown_to_staff_and_stops_no_other(
    wrong, job, payment, now
):
    deliver(payment, now=now, **wrong)
    deliver(payment, now=now)

    run(STEP, now=now)

    assert reload(job).state == State.PAID
    [kept] = inbox.for_staff(now=now)
    assert kept.result.startswith("unreadable: payment: ")
    assert kept.handled_at == now
    assert json.loads(bytes(kept.body))["payload"]["payment"]["entity"]["entity"] == "payment"


@pytest.mark.parametrize("payload", ["x", 5, [1], {"payment": None}, {"payment": []}])
def test_an_event_without_its_entity_is_shown_to_staff(payload, now):
    body = json.dumps({"event": "payment.captured", "payload": payload}).encode()
    inbox.receive(event_id="Envelope", body=body, now=now)

    run(STEP, now=now)

    assert bytes(inbox.for_staff(now=now).get().body) == body


def test_an_entity_that_cannot_be_read_does_not_hide_the_one_beside_it(job, payment, standin, now):
    deliver(payment, now=now)
    run(STEP, now=now)
    refund = standin.move_payment(payment["id"], "refund", amount=100)

    deliver(payment, name="refund.processed", refund=refund, status=7, now=now)
    run(STEP, now=now)

    assert Refund.objects.get().amount_paise == 100
    [kept] = inbox.for_staff(now=now)
    assert (kept.name, kept.outcome) == ("refund.processed", EventOutcome.UNREADABLE)
    assert kept.detail.startswith("payment:")


@pytest.mark.parametrize(
    "body",
    [
        b'{"event": "payment.downtime.started", "payload": {"payment.downtime": {"entity": {}}}}',
        b'{"event": "subscription.charged", "payload": {"subscription": {"entity": {"id": 5}}}}',
        b'{"event": "of.tomorrow \\ud800", "payload": {}}',
        b'{"event": "of.tomorrow", "payload": null, "new": [1, 2]}',
    ],
)
def test_a_genuine_event_that_we_do_not_know_is_kept_and_ignored(body, now):
    inbox.receive(event_id="Unknown", body=body, now=now)

    run(STEP, now=now)

    event = InboxEvent.objects.get()
    assert (event.handled_at, event.outcome) == (now, EventOutcome.NO_MONEY)
    assert bytes(event.body) == body
    assert not inbox.for_staff(now=now)


def test_a_payment_of_an_order_that_is_not_ours_is_kept_apart(job, payment, gateway, now):
    deliver(payment, id="pay_Theirs", order_id="order_Theirs", now=now)
    deliver(payment, now=now)

    run(STEP, now=now)
    run_remote(ResolveOrders(), gateway, now=now + inbox.RESOLVE_AFTER)

    theirs = InboxEvent.objects.get(outcome=EventOutcome.NOT_OURS)
    assert b"pay_Theirs" in bytes(theirs.body)
    assert [row.gateway_payment_id for row in Payment.objects.all()] == [payment["id"]]
    assert not inbox.for_staff(now=now)


def test_an_event_that_raised_until_we_gave_up_is_shown_to_staff(payment, monkeypatch, now):
    body = event_body("payment.captured", payment)
    inbox.receive(event_id="Trap", body=body, now=now)
    monkeypatch.setattr(webhooks, "read", lambda body: 1 / 0)  # an injected fault

    for _ in range(MAX_ATTEMPTS):
        InboxEvent.objects.update(due_at=now)
        run(STEP, now=now)

    assert not InboxEvent.objects.filter(due_at__isnull=False)
    [kept] = inbox.for_staff(now=now)
    assert bytes(kept.body) == body
    assert "ZeroDivisionError" in kept.last_error


def test_an_event_that_razorpay_cannot_send_again_is_no_longer_shown(now):
    inbox.receive(event_id="Nonsense", body=b"nonsense", now=now)
    run(STEP, now=now)

    assert inbox.for_staff(now=now)
    assert not inbox.for_staff(now=now + inbox.REPLAYABLE)


# --- refunds of unknown payments -----------------------------------------------------------------


def receive_refund_alone(payment, *, now):
    """A refund event without its payment."""
    refund = {"id": "rfnd_1", "payment_id": payment["id"], "amount": 100, "status": "processed"}
    payload = {"refund": {"entity": refund}}
    body = json.dumps({"event": "refund.processed", "payload": payload}).encode()
    inbox.receive(event_id="Alone", body=body, now=now)


def refund_alone(payment, *, now):
    receive_refund_alone(payment, now=now)
    run(STEP, now=now)


def test_a_refund_of_an_unknown_payment_waits_until_the_payment_is_known(job, payment, now):
    refund_alone(payment, now=now)
    assert InboxEvent.objects.get().handled_at is None

    deliver(payment, now=now)
    run(STEP, now=now)
    run(STEP, now=now + timedelta(minutes=1))

    assert Refund.objects.get().gateway_refund_id == "rfnd_1"
    assert InboxEvent.objects.get(gateway_event_id="Alone").outcome == EventOutcome.SETTLED


def test_a_refund_handled_together_with_its_payment_is_settled(job, payment, now):
    """After an outage of ours, for example, when the refund event is old."""
    receive_refund_alone(payment, now=now)
    deliver(payment, now=now)

    run(STEP, now=now + PAYMENT_COMES_WITHIN)

    assert Refund.objects.get().gateway_refund_id == "rfnd_1"
    assert InboxEvent.objects.get(gateway_event_id="Alone").outcome == EventOutcome.SETTLED


def test_a_refund_of_a_payment_that_stays_unknown_is_shown_to_staff(job, payment, now):
    refund_alone(payment, now=now)

    run(STEP, now=now + PAYMENT_COMES_WITHIN)

    [kept] = inbox.for_staff(now=now)
    assert (kept.outcome, kept.detail) == (EventOutcome.UNKNOWN_PAYMENT, payment["id"])
    assert kept.handled_at
