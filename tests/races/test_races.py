"""Concurrent connections. Each test fails without its guard."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from shop import carts
from shop.checkout import jobs, purchase, start
from shop.checkout.jobs import CheckoutJob
from shop.checkout.start import CartEmpty, ClientView
from shop.checkout.states import State
from shop.checkout.steps import create_order
from shop.checkout.steps.create_order import CREATE_ORDER
from shop.checkout.steps.create_razorpay_order import CreateRazorpayOrder
from shop.checkout.steps.reconcile_webhook import ReconcileWebhook
from shop.checkout.steps.validate_cart import VALIDATE_CART
from shop.orders import Order
from shop.payments import inbox
from shop.payments.ledger import GatewayOrder, Payment, PaymentStatus
from shop.payments.refunds import Refund
from tasks import registry
from tasks.notify import notify, send_canary
from tasks.registry import QUEUES
from tests.support.events import deliver, event_body
from tests.support.shop import (
    TERMS,
    fill_cart,
    make_buyer,
    make_checkout,
    make_payable,
    make_variant,
    new_key,
    post_checkout,
    reload,
    run,
    run_remote,
    stock_of,
)
from tests.support.threads import all_at_once

pytestmark = pytest.mark.django_db(transaction=True)

NOW = datetime(2026, 11, 22, 6, 30, tzinfo=UTC)


def validated(*variants, quantity: int = 1) -> CheckoutJob:
    job = make_checkout(*variants, quantity=quantity, now=NOW)
    run(VALIDATE_CART, now=NOW)
    return job


def create_order_alone(job: CheckoutJob) -> None:
    """Run the step of a worker that has locked only this job."""
    from django.db import transaction

    with transaction.atomic():
        [locked] = CheckoutJob.objects.filter(pk=job.pk).select_for_update(no_key=True)
        jobs.apply([(locked, create_order.create_order([locked], NOW)[0])], now=NOW)


def test_eight_buyers_and_one_unit_make_one_order():
    variant = make_variant(on_hand=1)
    waiting = [validated(variant) for _ in range(8)]

    results = all_at_once(*(lambda job=job: create_order_alone(job) for job in waiting))

    assert not [result for result in results if isinstance(result, Exception)]
    states = sorted(reload(job).state for job in waiting)
    assert states == [State.FAILED] * 7 + [State.ORDERED]
    assert stock_of(variant) == (1, 1)


def test_orders_that_share_variants_crosswise_do_not_deadlock():
    shelf = [make_variant(on_hand=100) for _ in range(12)]
    waiting = [validated(*lines) for lines in [shelf, shelf[::-1]] * 6]

    results = all_at_once(*(lambda job=job: create_order_alone(job) for job in waiting))

    assert not [result for result in results if isinstance(result, Exception)]
    assert {stock_of(variant) for variant in shelf} == {(100, 12)}


@pytest.mark.parametrize("key", ["", "the-same-key"])
def test_twenty_equal_posts_make_one_checkout(key):
    buyer = make_buyer(now=NOW)
    fill_cart(buyer, make_variant(), now=NOW)

    results = all_at_once(*[lambda: post_checkout(buyer, key=key, now=NOW)] * 20)

    assert {getattr(job, "pk", job) for job in results} == {CheckoutJob.objects.get().pk}


def test_twenty_posts_with_keys_of_their_own_make_one_open_checkout():
    buyer = make_buyer(now=NOW)
    fill_cart(buyer, make_variant(), now=NOW)

    results = all_at_once(
        *(lambda n=n: post_checkout(buyer, key=f"key-{n}", now=NOW) for n in range(20))
    )

    assert {getattr(job, "pk", job) for job in results} == {CheckoutJob.objects.get().pk}


def test_two_tabs_that_add_at_once_lose_nothing():
    buyer, variant = make_buyer(now=NOW), make_variant()

    all_at_once(*[lambda: carts.add(buyer.pk, variant_id=variant.pk, quantity=1, now=NOW)] * 12)

    cart = carts.read(buyer.pk, now=NOW)
    assert [line.quantity for line in cart.lines] == [12]
    assert cart.version == 13


def test_tabs_that_add_different_things_give_the_cart_a_version_each():
    buyer, variants = make_buyer(now=NOW), [make_variant() for _ in range(8)]
    carts.read(buyer.pk, now=NOW)

    all_at_once(
        *(
            lambda variant=variant: carts.add(buyer.pk, variant_id=variant.pk, quantity=1, now=NOW)
            for variant in variants
        )
    )

    cart = carts.read(buyer.pk, now=NOW)
    assert len(cart.lines) == 8
    assert cart.version == 9


def test_a_first_cart_made_by_two_tabs_is_one_cart():
    buyer = make_buyer(now=NOW)

    results = all_at_once(*[lambda: carts.read(buyer.pk, now=NOW).cart_id] * 8)

    assert len(set(results)) == 1


def test_the_same_webhook_ten_times_at_once_is_one_row(gateway, standin):
    job = make_payable(make_checkout(now=NOW), gateway, now=NOW)
    body = event_body("payment.captured", standin.pay(GatewayOrder.objects.get().gateway_order_id))

    results = all_at_once(
        *[lambda: inbox.receive(event_id="Event000000001", body=body, now=NOW)] * 10
    )

    assert sorted(results) == [False] * 9 + [True]
    run(ReconcileWebhook(), now=NOW)
    assert reload(job).state == State.PAID


def test_two_workers_on_one_local_step_place_one_order():
    variant = make_variant()
    job = validated(variant)

    all_at_once(*[lambda: run(CREATE_ORDER, now=NOW)] * 2)

    assert reload(job).state == State.ORDERED
    assert Order.objects.count() == 1
    assert stock_of(variant) == (10, 1)


def test_two_gateway_workers_on_one_job_make_one_razorpay_order(gateway, standin):
    job = validated(make_variant())
    run(CREATE_ORDER, now=NOW)

    all_at_once(*[lambda: run_remote(CreateRazorpayOrder(), gateway, now=NOW)] * 4)

    assert reload(job).state == State.AWAITING_PAYMENT
    assert len(standin.orders()) == 1


def test_cancel_against_payment_ends_in_one_of_the_two(gateway, standin):
    variant = make_variant(on_hand=5)
    job = make_payable(make_checkout(variant, now=NOW), gateway, now=NOW)
    deliver(standin.pay(GatewayOrder.objects.get().gateway_order_id), now=NOW)

    cancelled, paid = all_at_once(
        lambda: start.cancel(owner_id=job.owner_id, job_id=job.pk, now=NOW),
        lambda: run(ReconcileWebhook(), now=NOW),
    )

    assert not isinstance(paid, Exception)
    assert isinstance(cancelled, CheckoutJob | start.CannotCancel)
    assert reload(job).state == State.PAID  # late money finds the units it freed
    assert stock_of(variant) == (4, 0)


def test_a_post_and_a_payment_of_the_older_checkout_do_not_deadlock(gateway, standin):
    buyer, variant = make_buyer(now=NOW), make_variant(on_hand=50)
    fill_cart(buyer, variant, now=NOW)
    job = make_payable(post_checkout(buyer, now=NOW), gateway, now=NOW)
    carts.add(buyer.pk, variant_id=variant.pk, quantity=1, now=NOW)
    deliver(standin.pay(GatewayOrder.objects.get().gateway_order_id), now=NOW)

    results = all_at_once(
        *[lambda: start.start(owner_id=buyer.pk, terms=TERMS, seen=ClientView(), key="", now=NOW)]
        * 3,
        lambda: run(ReconcileWebhook(), now=NOW),
    )

    assert not [result for result in results if isinstance(result, Exception)]
    assert reload(job).state == State.PAID


def test_one_key_for_two_requests_at_once_is_one_checkout_and_a_refusal():
    buyer = make_buyer(now=NOW)
    fill_cart(buyer, make_variant(), now=NOW)
    elsewhere = replace(TERMS, shipping_address={**TERMS.shipping_address, "line1": "elsewhere"})

    results = all_at_once(
        *[
            lambda terms=terms: post_checkout(buyer, key="one", terms=terms, now=NOW)
            for terms in (TERMS, elsewhere) * 3
        ]
    )

    kept = CheckoutJob.objects.get()
    assert {type(result) for result in results} == {CheckoutJob, start.KeyReused}
    assert {job.pk for job in results if isinstance(job, CheckoutJob)} == {kept.pk}
    assert len({isinstance(result, CheckoutJob) for result in results[::2]}) == 1


def test_reports_that_two_workers_read_out_of_order_end_as_captured(gateway, standin):
    job = make_payable(make_checkout(now=NOW), gateway, now=NOW)
    payment = standin.pay(GatewayOrder.objects.get().gateway_order_id)
    for status in ("captured", "authorized", "failed", "authorized", "captured", "failed"):
        deliver(payment, name=f"payment.{status}", status=status, now=NOW)

    results = all_at_once(*[lambda: run(ReconcileWebhook(), now=NOW)] * 4)

    assert not [result for result in results if isinstance(result, Exception)]
    assert Payment.objects.get().status == PaymentStatus.CAPTURED
    assert reload(job).transitions.filter(new=State.PAID).count() == 1


def test_two_payments_that_two_workers_read_pay_once_and_one_goes_back(gateway, standin):
    job = make_payable(make_checkout(now=NOW), gateway, now=NOW)
    order_id = GatewayOrder.objects.get().gateway_order_id
    first = standin.pay(order_id)
    for payment in (first, first | {"id": "pay_Second00000001"}) * 2:
        deliver(payment, now=NOW)

    results = all_at_once(*[lambda: run(ReconcileWebhook(), now=NOW)] * 4)

    assert not [result for result in results if isinstance(result, Exception)]
    assert reload(job).state == State.PAID
    refund = Refund.objects.get()
    assert refund.payment.gateway_payment_id != Order.objects.get().paid_by
    assert refund.amount_paise == job.amount_paise


def test_rings_from_everywhere_at_once_are_one_message(redis):
    all_at_once(*[lambda: notify(registry.VALIDATE_CART, checkout_id="1")] * 16)

    assert redis.llen("checkout") == 1


def test_canaries_of_sweepers_that_wake_together_are_one_for_each_queue(redis):
    all_at_once(*[lambda queue=queue: send_canary(queue) for queue in QUEUES * 4])

    assert [redis.llen(queue) for queue in QUEUES] == [1] * len(QUEUES)


@pytest.mark.parametrize(
    "moment", [(carts, "read"), (purchase, "lock_unsettled")], ids=["read", "lock"]
)
def test_a_cart_that_is_paid_while_it_is_posted_again_is_not_bought_twice(
    gateway, standin, monkeypatch, moment
):
    """The webhook is settled after the POST has read the cart and before it looks for jobs."""
    buyer = make_buyer(now=NOW)
    fill_cart(buyer, make_variant(), now=NOW)
    job = make_payable(post_checkout(buyer, now=NOW), gateway, now=NOW)
    remote = GatewayOrder.objects.get(order=job.order)
    module, name = moment
    true = getattr(module, name)

    def pay() -> None:
        deliver(standin.pay(remote.gateway_order_id), now=NOW)
        run(ReconcileWebhook(), now=NOW)

    def and_it_is_paid(*args, **kwargs):
        monkeypatch.setattr(module, name, true)
        before = true(*args, **kwargs) if name == "read" else None
        all_at_once(pay)
        return before or true(*args, **kwargs)

    monkeypatch.setattr(module, name, and_it_is_paid)
    with pytest.raises(CartEmpty):
        post_checkout(buyer, key=new_key(), now=NOW)

    assert [it.state for it in CheckoutJob.objects.filter(owner=buyer)] == [State.PAID]
