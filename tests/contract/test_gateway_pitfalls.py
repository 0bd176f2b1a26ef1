"""
Ten pitfalls of Razorpay's API, each tested on this shop's real code.

Each test failed when its guard was removed: docs/decisions/guards.md names the guards.
"""

from __future__ import annotations

import json
import threading
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import transaction
from django.utils import timezone
from razorpay.resources.payment import Payment as Payments

from shop.checkout import start
from shop.checkout.jobs import CheckoutJob
from shop.checkout.states import State
from shop.checkout.steps.capture import CapturePayments
from shop.checkout.steps.check_payments import CheckPayments
from shop.checkout.steps.create_razorpay_order import CreateRazorpayOrder
from shop.checkout.steps.reconcile_webhook import ReconcileWebhook
from shop.checkout.steps.send_refunds import SendRefunds
from shop.payments import inbox, polling, refunds
from shop.payments.cases import Case, CaseKind
from shop.payments.inbox import InboxEvent
from shop.payments.ledger import GatewayOrder, Payment
from shop.payments.razorpay import signatures
from shop.payments.razorpay.client import RazorpayGateway
from shop.payments.refunds import Refund, RefundReason
from tests.support import environment
from tests.support.api import Caller, granted, payable, refused
from tests.support.events import deliver
from tests.support.shop import (
    make_checkout,
    make_payable,
    make_variant,
    place_order,
    reload,
    run,
    run_remote,
    stock_of,
)
from tests.support.standin import StandIn, settled
from tests.support.threads import all_at_once

pytestmark = pytest.mark.django_db

WEBHOOK = "/api/webhooks/razorpay/"
LAG = timedelta(seconds=61)


@pytest.fixture
def impatient(standin: StandIn) -> RazorpayGateway:
    return gateway_of(standin, timeout_seconds=0.3)


def gateway_of(
    standin: StandIn, *, timeout_seconds: float, key_secret: str = environment.KEY_SECRET
) -> RazorpayGateway:
    return RazorpayGateway(
        key_id=environment.KEY_ID,
        key_secret=key_secret,
        base_url=standin.base_url,
        timeout_seconds=timeout_seconds,
        connections=4,
    )


def order_id(job: CheckoutJob) -> str:
    row = GatewayOrder.objects.get(order=job.order, is_duplicate=False)
    assert row.gateway_order_id
    return row.gateway_order_id


def poll(job: CheckoutJob, gateway: RazorpayGateway, *, now: datetime) -> None:
    """Poll Razorpay for the checkout at once."""
    polling.poll_now([job.order_id], now=now)
    run_remote(CheckPayments(), gateway, now=now)


def test_pitfall_1_a_create_repeated_after_a_timeout_makes_a_second_order(
    impatient, gateway, standin, now
):
    """An empty answer to `?receipt=` does not mean that there is no order: the list lags."""
    job = place_order(make_checkout(now=now), now=now)
    standin.settings(receipt_lag_seconds=8)
    standin.set_faults({"kind": "hang", "route": "orders.create", "when": "after"})
    run_remote(CreateRazorpayOrder(), impatient, now=now)

    run_remote(CreateRazorpayOrder(), gateway, now=now + timedelta(seconds=5))
    assert reload(job).state == State.ORDERED
    assert "confirming" in reload(job).waiting_for

    standin.advance(61)
    run_remote(CreateRazorpayOrder(), gateway, now=now + LAG)
    assert reload(job).state == State.AWAITING_PAYMENT
    assert [order["id"] for order in standin.orders()] == [order_id(job)]


@pytest.mark.parametrize(
    ("kind", "last_error"), [("hang", "ReadTimeoutError"), ("bad_gateway", "HTTP 502")]
)
def test_pitfall_2_the_sdk_has_no_timeout_and_cannot_read_html(
    kind, last_error, impatient, standin, now
):
    job = place_order(make_checkout(now=now), now=now)
    standin.set_faults({"kind": kind, "route": "orders.create", "seconds": 3})

    run_remote(CreateRazorpayOrder(), impatient, now=now)

    job = reload(job)
    assert (job.state, job.claim) == (State.ORDERED, None)
    assert job.due_at == now + timedelta(seconds=1)
    assert last_error in job.last_error


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "too_many_requests"},
        {"kind": "too_many_requests", "retry_after_seconds": None},
        {"kind": "operation_in_progress"},
        {"kind": "conflict"},
    ],
)
def test_pitfall_3_temporary_errors_look_like_bad_requests(fault, gateway, standin, now):
    job = place_order(make_checkout(now=now), now=now)
    standin.set_faults(fault | {"route": "orders.create"})

    run_remote(CreateRazorpayOrder(), gateway, now=now)
    assert reload(job).state == State.ORDERED

    run_remote(CreateRazorpayOrder(), gateway, now=now + timedelta(minutes=1))
    assert reload(job).state == State.AWAITING_PAYMENT


def test_pitfall_3_wrong_keys_look_like_a_bad_request(gateway, standin, now):
    job = place_order(make_checkout(now=now), now=now)
    stranger = gateway_of(standin, timeout_seconds=2, key_secret="wrong")

    run_remote(CreateRazorpayOrder(), stranger, now=now)
    assert reload(job).state == State.ORDERED

    run_remote(CreateRazorpayOrder(), gateway, now=now + timedelta(minutes=1))
    assert reload(job).state == State.AWAITING_PAYMENT


@pytest.mark.parametrize(("left", "ends_as"), [(2, State.PAID), (1, State.REFUNDED)])
def test_pitfall_4_a_failed_payment_is_captured_days_after_its_units_were_released(
    left, ends_as, gateway, standin, now
):
    """No webhook reports it. The units suffice for both buyers, or the other one has the last."""
    variant = make_variant(on_hand=left)
    job = make_payable(make_checkout(variant, now=now), gateway, now=now)
    payment = standin.pay(order_id(job), "failed")
    poll(job, gateway, now=now)
    start.cancel(owner_id=job.owner_id, job_id=job.pk, now=now)
    make_payable(make_checkout(variant, now=now), gateway, now=now)
    run_remote(CheckPayments(), gateway, now=now + timedelta(minutes=2))

    standin.move_payment(payment["id"], "capture")
    run_remote(CheckPayments(), gateway, now=now + timedelta(days=2))
    run_remote(SendRefunds(), gateway, now=now + timedelta(days=2))

    assert reload(job).state == ends_as
    kept_paise = standin.ledger()["orders"][order_id(job)]["net_paise"]
    assert kept_paise == (job.amount_paise if ends_as is State.PAID else 0)


@pytest.mark.django_db(transaction=True)
def test_pitfall_5_callback_authorized_captured_and_order_paid_arrive_together(
    gateway, standin, settings, caplog, now
):
    """Each event has an id of its own, so they are no duplicates of each other."""
    settings.BATCH_SIZE = 1
    variant = make_variant(on_hand=5)
    job = make_payable(make_checkout(variant, now=now), gateway, now=now)
    payment = standin.pay(order_id(job))
    for name in ("payment.authorized", "payment.captured", "order.paid"):
        deliver(payment, name=name, now=now)

    results = all_at_once(
        *[lambda: run(ReconcileWebhook(), now=now)] * 3, lambda: poll(job, gateway, now=now)
    )

    assert not [result for result in results if isinstance(result, Exception)]
    assert not [line for line in caplog.records if line.levelname == "ERROR"]
    assert InboxEvent.objects.filter(handled_at=None).count() == 0
    assert reload(job).transitions.filter(new=State.PAID).count() == 1
    assert Payment.objects.count() == 1
    assert stock_of(variant) == (4, 0)


@pytest.mark.django_db(transaction=True)
def test_pitfall_6_an_endpoint_that_answers_late_or_refuses_is_disabled(
    live_server, redis, gateway, standin, now
):
    """Events are stored and answered, readable or not. If they stop, polls take over."""
    endpoint = standin.subscribe(live_server.url + WEBHOOK)
    job = make_payable(make_checkout(now=now), gateway, now=now)
    standin.pay(order_id(job))
    settled(lambda: InboxEvent.objects.count() == 3)
    settled(lambda: len(standin.deliveries(state="delivered")) == 3)
    tries = [len(delivery["attempts"]) for delivery in standin.deliveries()]
    assert tries == [1, 1, 1]
    assert not InboxEvent.objects.exclude(handled_at=None)
    assert reload(job).state == State.AWAITING_PAYMENT
    for body in (b'{"event": "account.suspended"}', b"nobody can read this"):
        granted(send_genuine(body))

    run(ReconcileWebhook(), now=timezone.now())
    assert reload(job).state == State.PAID

    standin.change_endpoint(endpoint["id"], disabled=True)
    later = make_payable(make_checkout(now=now), gateway, now=now)
    standin.pay(order_id(later))
    run_remote(CheckPayments(), gateway, now=now + timedelta(seconds=30))
    assert reload(later).state == State.PAID


def send_genuine(body: bytes) -> Any:
    signature = signatures.sign(body, secret=environment.WEBHOOK_SECRET)
    return Caller().send("POST", WEBHOOK, body, X_Razorpay_Signature=signature)


@pytest.mark.parametrize(
    ("paid_with", "ends_as"),
    [
        ({"outcome": "authorized"}, State.AWAITING_PAYMENT),
        ({"amount": 100}, State.IN_REVIEW),
        ({"currency": "USD"}, State.IN_REVIEW),
    ],
)
@pytest.mark.usefixtures("redis")
def test_pitfall_7_a_genuine_signature_does_not_prove_the_amount(
    paid_with, ends_as, gateway, standin
):
    buyer = Caller.guest()
    checkout = buyer.check_out()
    job = payable(checkout, gateway)
    fields = standin.pay(order_id(job), **paid_with)["checkout"]

    granted(buyer.post(checkout["links"]["confirm"], fields), 202)
    run_remote(CheckPayments(), gateway, now=timezone.now())

    assert reload(job).state == ends_as
    assert Case.objects.filter(kind=CaseKind.CONFLICT).exists() == (ends_as is State.IN_REVIEW)


@pytest.mark.usefixtures("redis")
def test_pitfall_7_a_genuine_signature_of_another_order_is_refused(gateway, standin):
    cheap, dear = Caller.guest(), Caller.guest()
    of_cheap = payable(cheap.check_out(make_variant(price_paise=100)), gateway)
    checkout = dear.check_out()
    of_dear = payable(checkout, gateway)
    fields = standin.pay(order_id(of_cheap))["checkout"]

    refused(dear.post(checkout["links"]["confirm"], fields), 400, "signature_invalid")

    assert reload(of_dear).returned_at is None


@pytest.mark.parametrize(
    "shape",
    [
        {"notes": []},
        {"notes": {"order_id": "order_Another00000", "amount": "1"}},
        {"notes": None, "method": None, "error_code": None, "error_description": None},
        {"error_code": "", "captured": None, "created_at": "just now", "acquirer_data": []},
        {"base_amount": None, "reward": {"x": 1}, "created_at": 2**40},
    ],
)
def test_pitfall_8_entities_have_many_shapes(shape, gateway, standin, now):
    job = make_payable(make_checkout(now=now), gateway, now=now)
    deliver(standin.pay(order_id(job)), **shape, now=now)

    run(ReconcileWebhook(), now=now)

    assert reload(job).state == State.PAID


def test_pitfall_8_fields_are_missing_and_webhooks_arrive_out_of_order(gateway, standin, now):
    """Two events in one second, the newer one first: neither times nor order help."""
    job = make_payable(make_checkout(now=now), gateway, now=now)
    payment = standin.pay(order_id(job))
    kept = ("status", "order_id", "id", "currency", "amount")
    for status in ("captured", "authorized"):
        entity = {name: payment[name] for name in kept} | {"status": status}
        event = {"payload": {"payment": {"entity": entity}}, "event": f"payment.{status}"}
        inbox.receive(event_id=f"Bare{status}", body=json.dumps(event).encode(), now=now)

    run(ReconcileWebhook(), now=now)

    assert reload(job).state == State.PAID
    assert Payment.objects.get().status == "captured"


def test_pitfall_9_a_second_capture_is_refused_without_a_reason(gateway, standin, settings, now):
    """The worker died after the first. Only the payment itself shows its state."""
    job = authorised(gateway, standin, settings, now=now)
    [work] = CapturePayments().claim(limit=1, now=now)
    CapturePayments().call(gateway, work)

    run_remote(CapturePayments(), gateway, now=now + timedelta(minutes=2))

    assert reload(job).state == State.PAID
    assert standin.ledger()["totals"]["captured_paise"] == job.amount_paise


@pytest.mark.django_db(transaction=True)
def test_pitfall_9_concurrent_captures_share_one_argument_in_the_sdk(
    gateway, standin, settings, monkeypatch, now
):
    """With the default argument, a capture is sent with another payment's amount and refused."""
    prices = [1000, 2000]
    for price_paise in prices:
        authorised(gateway, standin, settings, price_paise=price_paise, now=now)
    with transaction.atomic():
        works = CapturePayments().claim(limit=2, now=now)
    both, send = threading.Barrier(2, timeout=20), Payments.post_url

    def send_with_a_pause(*args: Any, **options: Any) -> Any:
        both.wait()
        return send(*args, **options)

    monkeypatch.setattr(Payments, "post_url", send_with_a_pause)  # the worst moment
    facts = all_at_once(
        *(lambda work=work: CapturePayments().call(gateway, work) for work in works)
    )

    assert sorted(fact.amount_paise for fact in facts) == prices
    assert standin.requests()["payments.capture"] == {"200": 2}


def authorised(gateway, standin, settings, *, price_paise=5000, now) -> CheckoutJob:
    """A checkout whose payment waits for us to capture it."""
    settings.RAZORPAY_CAPTURE = gateway._capture = "manual"
    variant = make_variant(price_paise=price_paise)
    job = make_payable(make_checkout(variant, now=now), gateway, now=now)
    standin.pay(order_id(job), "authorized")
    poll(job, gateway, now=now)
    return reload(job)


def test_pitfall_10_a_refund_repeated_without_its_key_is_sent_twice(
    impatient, gateway, standin, now
):
    """The first call timed out, a look-up found nothing, and then Razorpay carried it out."""
    job = make_payable(make_checkout(now=now), gateway, now=now)
    standin.pay(order_id(job))
    poll(job, gateway, now=now)
    order = reload(job).order
    refunds.create_by_staff(order, amount_paise=100, note="broken", by_id=job.owner_id, now=now)
    standin.set_faults({"kind": "stall", "route": "payments.refund", "seconds": 2})

    run_remote(SendRefunds(), impatient, now=now)
    run_remote(SendRefunds(), gateway, now=now + timedelta(minutes=1))
    settled(lambda: standin.traffic()["in_flight"] == 0)

    assert [refund["amount"] for refund in standin.refunds()] == [100]
    assert Refund.objects.get().gateway_refund_id == standin.refunds()[0]["id"]


def test_pitfall_10_a_refund_is_reported_before_its_payment(gateway, standin, now):
    job = make_payable(make_checkout(now=now), gateway, now=now)
    payment = standin.pay(order_id(job))
    part = standin.move_payment(payment["id"], "refund", amount=100)

    deliver(payment, name="refund.created", refund=part, now=now)
    run(ReconcileWebhook(), now=now)

    assert reload(job).state == State.PAID
    refund = Refund.objects.get()
    assert (refund.amount_paise, refund.reason) == (100, RefundReason.ELSEWHERE)
