"""A row that stays locked delays its own checkout and no other."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

import pytest
from django.db import connection

from shop.carts import Cart
from shop.checkout.jobs import CheckoutJob
from shop.checkout.states import State
from shop.checkout.steps import base, create_order, create_razorpay_order
from shop.checkout.steps.capture import CapturePayments
from shop.checkout.steps.check_payments import CheckPayments
from shop.checkout.steps.create_order import CREATE_ORDER
from shop.checkout.steps.expire import EXPIRE, FINAL_POLL_GRACE
from shop.checkout.steps.reconcile_webhook import ReconcileWebhook
from shop.checkout.steps.validate_cart import VALIDATE_CART
from shop.payments import circuit_breaker
from shop.payments.gateway import OutcomeUnknown
from shop.payments.inbox import InboxEvent
from shop.payments.ledger import GatewayOrder, Payment
from shop.stock import StockLevel
from tasks import registry
from tests.support.events import deliver
from tests.support.locks import impatient, locked
from tests.support.shop import (
    make_checkout,
    make_payable,
    make_variant,
    place_order,
    reload,
    run,
    run_remote,
)
from workers import sweeper

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("patience")]

SOON = timedelta(seconds=10)  # longer than `runner.LOCKED_RETRY`


@pytest.fixture
def patience() -> Iterator[None]:
    with impatient():
        yield


def stock_row(job: CheckoutJob) -> StockLevel:
    return StockLevel.objects.get(pk=job.frozen_lines[0].variant_id)


def gateway_order(job: CheckoutJob) -> GatewayOrder:
    return GatewayOrder.objects.get(order=job.order_id)


def cart_row(job: CheckoutJob) -> Cart:
    return Cart.objects.get(pk=job.cart_id)


def validated(count: int, *, now: datetime) -> list[CheckoutJob]:
    made = [make_checkout(now=now) for _ in range(count)]
    run(VALIDATE_CART, now=now)
    return made


# --- local steps ---------------------------------------------------------------------------------


def test_a_locked_stock_row_holds_up_no_other_product(services, now):
    first, blocked, last = validated(3, now=now)

    with locked(services, stock_row(blocked)):
        run(CREATE_ORDER, now=now)

    assert [reload(job).state for job in (first, blocked, last)] == [
        State.ORDERED,
        State.VALIDATED,
        State.ORDERED,
    ]


def test_a_checkout_whose_row_is_locked_waits_without_counting_an_attempt(services, now):
    job, _ = validated(2, now=now)

    with locked(services, stock_row(job)):
        for second in range(0, 60, 10):  # more often than a step may raise
            run(CREATE_ORDER, now=now + timedelta(seconds=second))
    waiting = reload(job)
    run(CREATE_ORDER, now=now + timedelta(seconds=60))

    assert (waiting.state, waiting.attempts) == (State.VALIDATED, 0)
    assert waiting.due_at > now + timedelta(seconds=50)
    assert not waiting.failed_attempts.exists()
    assert reload(job).state == State.ORDERED


def test_many_checkouts_of_one_locked_product_do_not_use_up_the_batch(services, now, settings):
    settings.BATCH_SIZE = 4
    variant = make_variant(on_hand=9)
    blocked = [make_checkout(variant, now=now) for _ in range(4)]
    other = make_checkout(now=now)
    run(VALIDATE_CART, now=now)
    run(VALIDATE_CART, now=now)

    with locked(services, stock_row(blocked[0])):
        run(CREATE_ORDER, now=now)
        run(CREATE_ORDER, now=now)

    assert reload(other).state == State.ORDERED
    assert {reload(job).state for job in blocked} == {State.VALIDATED}


def test_a_deadlock_is_handled_item_by_item_too(now):
    """Postgres aborts one of two transactions."""
    jobs = validated(2, now=now)
    tries = []

    def decide(batch, now):
        tries.append(len(batch))
        if len(tries) == 1:
            raise_deadlock()
        return create_order.create_order(batch, now)

    run(base.JobStep("create_order", State.VALIDATED, decide), now=now)

    assert {reload(job).state for job in jobs} == {State.ORDERED}
    assert tries == [2, 1, 1]


def raise_deadlock() -> None:
    """The error as Django raises it."""
    with connection.cursor() as cursor:
        cursor.execute("DO $$ BEGIN RAISE EXCEPTION SQLSTATE '40P01'; END $$")


@pytest.mark.parametrize("row", [stock_row, gateway_order], ids=["stock", "Razorpay order"])
def test_a_locked_row_keeps_no_other_checkout_from_expiring(gateway, services, now, row):
    blocked, other = (make_payable(make_checkout(now=now), gateway, now=now) for _ in range(2))
    over = blocked.expires_at + FINAL_POLL_GRACE

    with locked(services, row(blocked)):
        run(EXPIRE, now=blocked.expires_at)  # schedules the final poll
        run(EXPIRE, now=over)
    assert reload(other).state == State.EXPIRED

    run(EXPIRE, now=over + SOON)

    assert reload(blocked).state == State.EXPIRED


def test_a_locked_stock_row_keeps_no_other_checkout_from_being_given_up(services, now, settings):
    blocked, other = (place_order(make_checkout(now=now), now=now) for _ in range(2))
    over = now + timedelta(seconds=settings.HOLD_SECONDS)

    with locked(services, stock_row(blocked)):
        run(create_razorpay_order.GIVE_UP, now=over)

    assert (reload(blocked).state, reload(other).state) == (State.ORDERED, State.FAILED)


# --- money ---------------------------------------------------------------------------------------

ROWS_OF_A_CHECKOUT = {
    "checkout": reload,
    "stock": stock_row,
    "cart": cart_row,
    "Razorpay order": gateway_order,
    "order": lambda job: reload(job).order,
}


@pytest.fixture(params=ROWS_OF_A_CHECKOUT.values(), ids=ROWS_OF_A_CHECKOUT)
def row_of(request):
    """A row that `settle` needs."""
    return request.param


def test_webhooks_about_other_checkouts_are_settled(gateway, standin, services, now, row_of):
    blocked, other = (make_payable(make_checkout(now=now), gateway, now=now) for _ in range(2))
    for job in (blocked, other):
        deliver(standin.pay(gateway_order(job).gateway_order_id), now=now)

    with locked(services, row_of(blocked)):
        for second in range(0, 60, 10):  # more often than an event may raise
            run(ReconcileWebhook(), now=now + timedelta(seconds=second))
    assert reload(other).state == State.PAID
    [waiting] = InboxEvent.objects.filter(handled_at=None)
    assert (waiting.attempts, waiting.due_at > now) == (0, True)

    run(ReconcileWebhook(), now=now + timedelta(minutes=1))

    assert reload(blocked).state == State.PAID


def test_a_row_that_only_a_foreign_key_needs_holds_up_no_other_webhook(
    gateway, standin, services, now
):
    """Postgres checks foreign keys at the commit, unless told to check earlier."""
    blocked, other = (make_payable(make_checkout(now=now), gateway, now=now) for _ in range(2))
    deliver(standin.pay(gateway_order(blocked).gateway_order_id, "failed"), now=now)
    deliver(standin.pay(gateway_order(other).gateway_order_id), now=now)

    with locked(services, gateway_order(blocked)):
        run(ReconcileWebhook(), now=now)

    assert reload(other).state == State.PAID
    assert InboxEvent.objects.filter(handled_at=None).count() == 1


def test_answers_about_other_checkouts_are_recorded(gateway, standin, services, now, row_of):
    blocked, other = (make_payable(make_checkout(now=now), gateway, now=now) for _ in range(2))
    for job in (blocked, other):
        standin.pay(gateway_order(job).gateway_order_id)
    due = now + timedelta(seconds=30)

    with locked(services, row_of(blocked)):
        run_remote(CheckPayments(), gateway, now=due)
    assert reload(other).state == State.PAID

    run_remote(CheckPayments(), gateway, now=due + timedelta(minutes=2))

    assert reload(blocked).state == State.PAID


def test_a_locked_row_keeps_no_other_payment_from_being_captured(
    gateway, standin, services, now, settings
):
    settings.RAZORPAY_CAPTURE = "manual"
    standin.settings(auto_capture=False)
    gateway._capture = "manual"
    blocked, other = (make_payable(make_checkout(now=now), gateway, now=now) for _ in range(2))
    for job in (blocked, other):
        deliver(standin.pay(gateway_order(job).gateway_order_id, "authorized"), now=now)
    run(ReconcileWebhook(), now=now)
    payment = Payment.objects.get(gateway_order__order=blocked.order_id)

    with locked(services, payment):
        run_remote(CapturePayments(), gateway, now=now)

    assert reload(other).state == State.PAID


# --- making orders payable -----------------------------------------------------------------------


@pytest.mark.parametrize("row", [gateway_order, reload], ids=["Razorpay order", "checkout"])
def test_a_locked_row_keeps_no_other_checkout_from_becoming_payable(gateway, services, now, row):
    blocked, other = (place_order(make_checkout(now=now), now=now) for _ in range(2))

    with locked(services, row(blocked)):
        run_remote(create_razorpay_order.CreateRazorpayOrder(), gateway, now=now)
    assert reload(other).state == State.AWAITING_PAYMENT

    run_remote(create_razorpay_order.CreateRazorpayOrder(), gateway, now=now + timedelta(minutes=2))

    assert reload(blocked).state == State.AWAITING_PAYMENT


def test_buyers_are_told_of_an_outage_though_one_checkout_is_locked(gateway, services, now):
    blocked, other = (place_order(make_checkout(now=now), now=now) for _ in range(2))
    circuit_breaker.record_results(
        [(str(n), OutcomeUnknown("no answer")) for n in range(9)], now=now
    )

    with locked(services, reload(blocked)):
        run_remote(create_razorpay_order.CreateRazorpayOrder(), gateway, now=now)

    assert reload(other).waiting_for == create_razorpay_order.BUSY


# --- the sweeper ---------------------------------------------------------------------------------


def test_a_locked_stock_row_does_not_stop_the_sweeper(gateway, redis, services, now):
    """It expires the other checkout and notifies every step with due rows."""
    blocked, other = (make_payable(make_checkout(now=now), gateway, now=now) for _ in range(2))
    over = blocked.expires_at + FINAL_POLL_GRACE
    make_checkout(now=now)
    deliver({"id": "pay_1", "status": "captured"}, now=now)

    with locked(services, stock_row(blocked)):
        notified = sweeper.sweep(now=over)

    assert reload(other).state == State.EXPIRED
    assert {"checkout.validate_cart", "payments.reconcile_webhook"} <= set(notified)


@pytest.mark.parametrize("part", sweeper.PARTS)
def test_a_part_of_the_sweep_that_fails_keeps_no_other_from_running(redis, monkeypatch, now, part):
    make_checkout(now=now)
    deliver({"id": "pay_1", "status": "captured"}, now=now)
    ran = []

    def replaced(name, work):
        def run_part(**given):
            ran.append(name)
            if name == part:
                raise ZeroDivisionError("a bug")
            return work(**given)

        return run_part

    parts = {name: replaced(name, work) for name, work in sweeper.PARTS.items()}
    monkeypatch.setattr(sweeper, "PARTS", parts)

    with pytest.raises(ExceptionGroup):
        sweeper.sweep(now=now + timedelta(seconds=2))

    assert ran == list(parts)
    kept = {registry.VALIDATE_CART, registry.RECONCILE_WEBHOOK} - {part}
    assert redis.llen("checkout") == (registry.VALIDATE_CART in kept)
    assert redis.llen("webhooks") == (registry.RECONCILE_WEBHOOK in kept)


def test_a_periodic_job_that_fails_keeps_no_other_from_running(monkeypatch, now):
    turns = []

    def fails(**_given):
        raise ZeroDivisionError("a bug")

    every = timedelta(seconds=1)
    periodic_jobs = ((every, fails), (every, lambda **_: turns.append("next")))
    monkeypatch.setattr(sweeper, "PERIODIC_JOBS", periodic_jobs)

    sweeper.Schedule().work(now=now)

    assert turns == ["next"]
