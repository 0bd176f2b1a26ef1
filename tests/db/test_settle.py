"""Settle: from a webhook in the inbox to the state of the checkout."""

from datetime import timedelta
from types import SimpleNamespace

import pytest

import tasks.payments
import tasks.run
from shop import carts
from shop.checkout import snapshots, start, status
from shop.checkout.outcomes import Counted
from shop.checkout.states import State
from shop.checkout.steps.reconcile_webhook import ReconcileWebhook
from shop.checkout.steps.resolve_orders import ResolveOrders
from shop.payments import inbox
from shop.payments.cases import Case
from shop.payments.inbox import EventOutcome, InboxEvent
from shop.payments.ledger import GatewayOrder, Payment
from shop.payments.razorpay import webhooks
from shop.payments.refunds import Refund
from shop.telemetry.instruments import BATCHES
from tests.support.events import deliver
from tests.support.shop import (
    fill_cart,
    make_buyer,
    make_checkout,
    make_payable,
    make_variant,
    post_checkout,
    reload,
    run,
    run_remote,
    stock_of,
)

pytestmark = pytest.mark.django_db

STEP = ReconcileWebhook()


@pytest.fixture
def variant():
    return make_variant(on_hand=3)


@pytest.fixture
def job(variant, gateway, now):
    return make_payable(make_checkout(variant, quantity=2, now=now), gateway, now=now)


def order_id(job) -> str:
    return GatewayOrder.objects.get(order=job.order, is_duplicate=False).gateway_order_id


def test_a_captured_payment_pays_the_order(job, variant, standin, now):
    deliver(standin.pay(order_id(job)), now=now)

    run(STEP, now=now)

    job = reload(job)
    assert job.state == State.PAID
    assert job.order.paid_at == now
    assert stock_of(variant) == (1, 0)


def test_bought_units_leave_the_cart_and_later_ones_stay(gateway, standin, now):
    buyer, mug, plate = make_buyer(now=now), make_variant(), make_variant()
    fill_cart(buyer, mug, plate, quantity=2, now=now)
    job = make_payable(post_checkout(buyer, now=now), gateway, now=now)
    carts.add(buyer.pk, variant_id=mug.pk, quantity=3, now=now)
    deliver(standin.pay(order_id(job)), now=now)

    run(STEP, now=now)

    cart = carts.read(buyer.pk, now=now)
    assert [(line.variant_id, line.quantity) for line in cart.lines] == [(mug.pk, 3)]


def test_the_same_event_again_changes_nothing(job, variant, standin, now):
    payment = standin.pay(order_id(job))
    deliver(payment, now=now)
    run(STEP, now=now)
    before = reload(job)

    deliver(payment, name="order.paid", now=now)
    run(STEP, now=now)

    assert reload(job).version == before.version
    assert stock_of(variant) == (1, 0)
    assert Payment.objects.count() == 1


def test_three_events_of_one_payment_in_one_batch_pay_once(job, variant, standin, now):
    payment = standin.pay(order_id(job))
    deliver(payment, name="payment.captured", now=now)
    deliver(payment, name="order.paid", now=now)
    deliver(payment, name="payment.authorized", status="authorized", captured=False, now=now)

    report = run(STEP, now=now)

    assert report.counts[Counted.ADVANCED] == 1
    assert report.counts[Counted.HANDLED] == 3
    assert Payment.objects.get().status == "captured"
    assert stock_of(variant) == (1, 0)


def test_fifty_paying_webhooks_are_a_batch_of_fifty_rows(gateway, standin, now, monkeypatch):
    mug, observed = make_variant(on_hand=100), []
    jobs = [make_checkout(mug, now=now) for _ in range(50)]
    make_payable(jobs[-1], gateway, now=now)
    for row in GatewayOrder.objects.all():
        deliver(standin.pay(row.gateway_order_id), now=now)
    monkeypatch.setattr(
        tasks.run, "set_batch_delay", lambda task, rows, limit: observed.append(rows)
    )
    monkeypatch.setattr(BATCHES, "labels", lambda task: SimpleNamespace(observe=observed.append))

    line = tasks.payments.reconcile_webhook()

    assert line.startswith("advanced 50, handled 50: ")
    assert observed == [50, 50]  # for the batch delay and for the metric


def test_an_older_report_does_not_turn_a_payment_back(job, standin, now):
    payment = standin.pay(order_id(job))
    deliver(payment, now=now)
    run(STEP, now=now)

    deliver(payment, status="failed", captured=False, now=now)
    run(STEP, now=now)

    assert Payment.objects.get().status == "captured"
    assert reload(job).state == State.PAID


def test_a_failed_payment_shows_why_and_may_still_be_captured(job, standin, now):
    payment = standin.pay(order_id(job), outcome="failed")
    deliver(payment, now=now)
    run(STEP, now=now)
    assert reload(job).state == State.AWAITING_PAYMENT
    assert reload(job).version > job.version

    deliver(payment, name="payment.captured", status="captured", captured=True, now=now)
    run(STEP, now=now)

    assert reload(job).state == State.PAID


def test_an_authorised_payment_does_not_pay(job, standin, now):
    deliver(standin.pay(order_id(job)), status="authorized", captured=False, now=now)

    run(STEP, now=now)

    assert reload(job).state == State.AWAITING_PAYMENT


@pytest.mark.parametrize(
    "wrong", [{"amount": 100}, {"currency": "USD"}, {"amount": 99_999_999_999}]
)
def test_money_that_is_not_what_was_asked_for_goes_to_review(wrong, job, variant, standin, now):
    deliver(standin.pay(order_id(job)), now=now, **wrong)

    run(STEP, now=now)

    assert reload(job).state == State.IN_REVIEW
    assert stock_of(variant) == (3, 2)
    assert "not ₹44,977.92" in job.transitions.last().because
    assert Case.objects.get().kind == "conflict"


def test_each_payment_that_does_not_fit_has_a_case(job, standin, now):
    payment = standin.pay(order_id(job))
    for number in (1, 2):
        deliver(payment, id=f"pay_{number}", amount=100, now=now)
    run(STEP, now=now)
    deliver(payment, id="pay_3", amount=100, now=now)  # while it is in review already

    run(STEP, now=now)

    assert reload(job).state == State.IN_REVIEW
    references = sorted(Case.objects.values_list("reference", flat=True))
    assert references == ["pay_1", "pay_2", "pay_3"]


def test_money_after_the_end_is_served_if_units_are_free(job, variant, standin, now):
    start.cancel(owner_id=job.owner_id, job_id=job.pk, now=now)
    assert stock_of(variant) == (3, 0)
    deliver(standin.pay(order_id(job)), now=now)

    run(STEP, now=now)

    assert reload(job).state == State.PAID
    assert stock_of(variant) == (1, 0)


def test_the_timeline_of_late_money_ends_well(job, standin, now):
    start.cancel(owner_id=job.owner_id, job_id=job.pk, now=now)
    deliver(standin.pay(order_id(job)), now=now)
    run(STEP, now=now)

    job = reload(job)
    shown = status.resource(snapshots.read(job.pk, owner_id=job.owner_id), key_id="k", now=now)

    assert [step["status"] for step in shown["steps"]] == ["done"] * 4


def test_money_after_the_end_goes_back_if_others_have_the_units(
    job, variant, gateway, standin, now
):
    start.cancel(owner_id=job.owner_id, job_id=job.pk, now=now)
    make_payable(make_checkout(variant, quantity=2, now=now), gateway, now=now)
    deliver(standin.pay(order_id(job)), now=now)

    run(STEP, now=now)

    assert reload(job).state == State.REFUNDING
    assert Refund.objects.get().amount_paise == job.amount_paise
    assert stock_of(variant) == (3, 2)


def test_by_policy_late_money_goes_back_even_if_units_are_free(
    job, variant, standin, settings, now
):
    settings.LATE_PAYMENT = "refund"
    start.cancel(owner_id=job.owner_id, job_id=job.pk, now=now)
    deliver(standin.pay(order_id(job)), now=now)

    run(STEP, now=now)

    assert reload(job).state == State.REFUNDING
    assert stock_of(variant) == (3, 0)


def test_a_dispute_is_a_case_and_the_order_stays_paid(job, standin, now):
    payment = standin.pay(order_id(job))
    deliver(payment, now=now)
    dispute = {"id": "disp_1", "payment_id": payment["id"], "amount": 500, "status": "open"}
    for _ in range(2):
        deliver(payment, name="payment.dispute.created", dispute=dispute, now=now)

    run(STEP, now=now)

    assert reload(job).state == State.PAID
    assert "disputed: ₹5.00" in Case.objects.get().text


def test_money_on_a_duplicate_pays_the_order(job, gateway, standin, now):
    duplicate = gateway.create_order(
        receipt=job.order.number, amount_paise=job.amount_paise, currency="INR"
    )
    GatewayOrder.objects.create(
        order=job.order,
        gateway_order_id=duplicate.id,
        is_duplicate=True,
        amount_paise=duplicate.amount_paise,
        currency="INR",
        created_at=now,
    )
    deliver(standin.pay(duplicate.id), now=now)

    run(STEP, now=now)

    assert reload(job).state == State.PAID
    assert GatewayOrder.objects.get(is_duplicate=False).poll_at is not None  # it could be paid too


def test_an_event_that_overtakes_our_own_record_is_read_again(job, gateway, standin, now):
    row = GatewayOrder.objects.get(order=job.order)
    deliver(standin.pay(row.gateway_order_id), now=now)
    GatewayOrder.objects.update(gateway_order_id=None)
    run(STEP, now=now)
    GatewayOrder.objects.update(gateway_order_id=row.gateway_order_id)

    later = now + inbox.RESOLVE_AFTER
    run_remote(ResolveOrders(), gateway, now=later)
    run(STEP, now=later)

    assert reload(job).state == State.PAID
    assert "orders.fetch" not in standin.requests()


def test_an_unknown_order_belongs_to_another_shop(job, gateway, standin, now):
    deliver(standin.pay(order_id(job)), order_id="order_OfAnotherShop", now=now)

    run(STEP, now=now)
    run_remote(ResolveOrders(), gateway, now=now + inbox.RESOLVE_AFTER)

    event = InboxEvent.objects.get()
    assert (event.outcome, event.due_at) == (EventOutcome.NOT_OURS, None)
    assert not Payment.objects.exists()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not json",
        b"[]",
        b'{"event": 5, "payload": []}',
        b'{"event": "payment.captured"}',
        b'{"event": "payment.captured", "payload": {"payment": {"entity": {"id": 7}}}}',
        b'{"event": "payment.captured", "payload": {"payment": "x"}}',
        b'{"event": "invoice.paid\\u0000", "payload": {"invoice": {"entity": {}}}}',
        b"[" * 100_000,
        b"\xff\xfe",
    ],
)
def test_an_unreadable_event_is_kept_and_handled(body, now):
    inbox.receive(event_id="Nonsense", body=body, now=now)

    run(STEP, now=now)

    event = InboxEvent.objects.get()
    assert event.handled_at == now
    assert event.outcome
    assert bytes(event.body) == body


def test_an_event_that_raises_does_not_stop_the_others(job, standin, monkeypatch, now):
    inbox.receive(event_id="Trap", body=b'{"event": "trap"}', now=now)
    deliver(standin.pay(order_id(job)), now=now)
    read = webhooks.read

    def fail(body):
        if b"trap" in body:
            raise ZeroDivisionError
        return read(body)

    monkeypatch.setattr(webhooks, "read", fail)  # an injected fault
    run(STEP, now=now)

    assert reload(job).state == State.PAID
    trap = InboxEvent.objects.get(gateway_event_id="Trap")
    assert (trap.attempts, trap.due_at) == (1, now + timedelta(seconds=1))
    assert "ZeroDivisionError" in trap.last_error


def test_cancelling_frees_the_units(job, variant, now):
    start.cancel(owner_id=job.owner_id, job_id=job.pk, now=now)

    assert reload(job).state == State.CANCELLED
    assert stock_of(variant) == (3, 0)


def test_a_newer_checkout_waits_for_money_that_is_on_its_way(job, standin, now):
    deliver(standin.pay(order_id(job)), status="authorized", captured=False, now=now)
    run(STEP, now=now)
    carts.add(job.owner_id, variant_id=make_variant().pk, quantity=1, now=now)

    with pytest.raises(start.PaymentInProgress):
        post_checkout(job.owner, now=now)

    assert reload(job).state == State.AWAITING_PAYMENT


def test_nobody_can_cancel_once_money_is_known(job, standin, now):
    deliver(standin.pay(order_id(job)), status="authorized", captured=False, now=now)
    run(STEP, now=now)

    with pytest.raises(start.CannotCancel):
        start.cancel(owner_id=job.owner_id, job_id=job.pk, now=now)
