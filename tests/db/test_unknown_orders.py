"""A webhook names an unknown Razorpay order: a duplicate of ours, or another shop's."""

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from shop.checkout.jobs import CheckoutJob
from shop.checkout.states import State
from shop.checkout.steps.check_payments import CheckPayments
from shop.checkout.steps.create_razorpay_order import CreateRazorpayOrder
from shop.checkout.steps.reconcile_webhook import ReconcileWebhook
from shop.checkout.steps.resolve_orders import MAX_ATTEMPTS, ResolveOrders
from shop.payments import inbox
from shop.payments.gateway import RemoteOrder
from shop.payments.inbox import RESOLVE_AFTER, EventOutcome, InboxEvent
from shop.payments.ledger import GatewayOrder
from shop.payments.razorpay.client import RazorpayGateway
from tests.support.events import deliver
from tests.support.shop import make_checkout, make_payable, place_order, reload, run, run_remote
from workers.sweeper import sweep

pytestmark = pytest.mark.django_db

STEP = ResolveOrders()
LAG = timedelta(seconds=61)

Handle = Callable[[datetime], None]


@pytest.fixture
def handle(gateway) -> Handle:
    """Handle webhooks, and resolve the unknown orders in them."""

    def work(now: datetime) -> None:
        run(ReconcileWebhook(), now=now)
        run_remote(STEP, gateway, now=now + RESOLVE_AFTER)
        run(ReconcileWebhook(), now=now + RESOLVE_AFTER)

    return work


def made_twice(job: CheckoutJob, gateway: RazorpayGateway, **changes: Any) -> RemoteOrder:
    """A second Razorpay order with the receipt of `job`, unknown to us."""
    assert job.order
    order = {"receipt": job.order.number, "amount_paise": job.amount_paise, "currency": "INR"}
    return gateway.create_order(**order | changes)


def order_entity(standin, order_id: str) -> dict[str, Any]:
    return next(order for order in standin.orders() if order["id"] == order_id)


@pytest.fixture
def job(gateway, now) -> CheckoutJob:
    return make_payable(make_checkout(now=now), gateway, now=now)


def test_a_duplicate_that_is_listed_after_our_search_is_found(gateway, standin, handle, now):
    job = place_order(make_checkout(now=now), now=now)
    standin.settings(receipt_lag_seconds=600)  # longer than RECEIPT_LAG_SECONDS
    standin.set_faults({"kind": "server_error", "route": "orders.create", "when": "after"})
    run_remote(CreateRazorpayOrder(), gateway, now=now)
    now += LAG
    run_remote(CreateRazorpayOrder(), gateway, now=now)
    assert reload(job).state == State.AWAITING_PAYMENT
    [first, second] = standin.orders()
    assert GatewayOrder.objects.get().gateway_order_id == second["id"]

    deliver(standin.pay(first["id"]), now=now)
    handle(now)

    assert reload(job).state == State.PAID
    duplicate = GatewayOrder.objects.get(is_duplicate=True)
    assert (duplicate.gateway_order_id, duplicate.order_id) == (first["id"], job.order_id)
    assert InboxEvent.objects.get().outcome == EventOutcome.SETTLED


def test_all_payments_of_the_duplicate_are_polled(job, gateway, standin, handle, now):
    """There may be a webhook of only one of them."""
    duplicate = made_twice(job, gateway)
    deliver(standin.pay(duplicate.id, outcome="failed"), now=now)
    standin.pay(duplicate.id)
    handle(now)
    assert reload(job).state == State.AWAITING_PAYMENT

    run_remote(CheckPayments(), gateway, now=now + RESOLVE_AFTER)

    assert reload(job).state == State.PAID


def test_an_order_first_known_from_a_webhook_becomes_payable(gateway, standin, handle, now):
    job = place_order(make_checkout(now=now), now=now)
    standin.settings(receipt_lag_seconds=600)
    standin.set_faults({"kind": "server_error", "route": "orders.create", "when": "after"})
    run_remote(CreateRazorpayOrder(), gateway, now=now)
    [made] = standin.orders()
    deliver(standin.pay(made["id"], outcome="failed"), now=now)
    handle(now)

    run_remote(CreateRazorpayOrder(), gateway, now=now + LAG)

    assert reload(job).state == State.AWAITING_PAYMENT
    assert GatewayOrder.objects.get().gateway_order_id == made["id"]
    assert len(standin.orders()) == 1


def test_an_order_with_our_receipt_and_another_amount_is_shown_to_staff(
    job, gateway, standin, handle, now
):
    other = made_twice(job, gateway, amount_paise=job.amount_paise + 100)
    deliver(standin.pay(other.id), now=now)

    handle(now)

    assert not GatewayOrder.objects.filter(is_duplicate=True)
    [shown] = inbox.for_staff(now=now)
    assert shown.outcome == EventOutcome.OTHER_AMOUNT


@pytest.fixture
def theirs(gateway) -> RemoteOrder:
    """An order of another shop on the account."""
    return gateway.create_order(receipt="their-1", amount_paise=50000, currency="INR")


def test_an_order_of_another_shop_costs_one_call(theirs, standin, handle, now):
    paid = standin.pay(theirs.id)
    for second in range(20):
        deliver(paid, now=now + timedelta(seconds=second))
        handle(now + timedelta(seconds=second))

    assert standin.requests()["orders.fetch"] == {"200": 1}
    assert {event.outcome for event in InboxEvent.objects.all()} == {EventOutcome.NOT_OURS}
    assert not InboxEvent.objects.exclude(due_at=None, resolve_at=None)
    assert sum(event.attempts for event in InboxEvent.objects.all()) == 1


def test_an_event_with_a_receipt_costs_no_call(theirs, standin, now):
    paid = standin.pay(theirs.id)
    deliver(paid, name="order.paid", order=order_entity(standin, theirs.id), now=now)

    run(ReconcileWebhook(), now=now)

    assert InboxEvent.objects.get().outcome == EventOutcome.NOT_OURS
    assert not STEP.claim(limit=1, now=now + RESOLVE_AFTER)


def test_events_that_come_together_cost_one_call(theirs, standin, now):
    paid = standin.pay(theirs.id)
    for name in ("payment.authorized", "payment.captured", "order.paid"):
        deliver(paid, name=name, now=now)

    run(ReconcileWebhook(), now=now)

    assert len(STEP.claim(limit=9, now=now + RESOLVE_AFTER)) == 1


def test_a_busy_shop_on_the_account_takes_a_tenth_of_the_call_budget(standin, now, settings, job):
    settings.GATEWAY_REQUESTS_PER_SECOND = 40
    paid = standin.pay(GatewayOrder.objects.get().gateway_order_id)
    for n in range(30):
        deliver(paid, id=f"pay_{n}", order_id=f"order_{n}", now=now)
    run(ReconcileWebhook(), now=now)

    assert len(STEP.claim(limit=64, now=now + RESOLVE_AFTER)) == 4


def test_without_an_answer_it_is_retried_with_backoff_and_then_shown(theirs, gateway, standin, now):
    standin.set_faults({"kind": "server_error", "route": "orders.fetch", "count": None})
    deliver(standin.pay(theirs.id), now=now)
    run(ReconcileWebhook(), now=now)
    for _ in range(2 * MAX_ATTEMPTS):
        if resolve_at := InboxEvent.objects.get().resolve_at:
            run_remote(STEP, gateway, now=resolve_at)

    assert sum(standin.requests()["orders.fetch"].values()) == MAX_ATTEMPTS + 1
    assert inbox.for_staff(now=now).get().outcome == EventOutcome.UNRESOLVED


def test_a_replayed_event_is_resolved_again(theirs, standin, handle, now):
    deliver(standin.pay(theirs.id), now=now)
    handle(now)

    inbox.replay(InboxEvent.objects.get(), now=now)
    handle(now)

    assert standin.requests()["orders.fetch"] == {"200": 2}


def test_the_sweeper_notifies_of_unknown_orders(theirs, standin, redis, now):
    deliver(standin.pay(theirs.id), now=now)
    run(ReconcileWebhook(), now=now)

    assert sweep(now=now + timedelta(seconds=5)) == ["payments.resolve_orders"]


def test_the_order_of_an_event_may_be_anything(job, standin, now):
    paid = standin.pay(GatewayOrder.objects.get().gateway_order_id)
    for entity in ({"receipt": 5}, {"receipt": None}, {}, {"receipt": "x\x00"}):
        deliver(paid, name="order.paid", order=entity or {"id": 1}, now=now)

    run(ReconcileWebhook(), now=now)

    assert reload(job).state == State.PAID
    assert not inbox.for_staff(now=now)
    assert json.loads(bytes(InboxEvent.objects.first().body))["event"] == "order.paid"
