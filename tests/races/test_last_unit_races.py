"""
One buyer and the last unit: tabs, the bank, staff and a sign-in act at the same moment.

Each test runs several rounds, because the threads interleave differently each time.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from shop import carts
from shop.accounts import User
from shop.checkout import guests, start
from shop.checkout.confirm import confirm
from shop.checkout.jobs import CheckoutJob
from shop.checkout.states import OPEN, State
from shop.checkout.steps.check_payments import CheckPayments
from shop.checkout.steps.create_order import CREATE_ORDER
from shop.checkout.steps.reconcile_webhook import ReconcileWebhook
from shop.checkout.steps.validate_cart import VALIDATE_CART
from shop.operations import actions
from shop.operations.audit_log import ActionRequest
from shop.payments import polling
from shop.payments.ledger import GatewayOrder
from tests.support import environment, money_books
from tests.support.events import deliver
from tests.support.shop import (
    fill_cart,
    make_buyer,
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
LATER = NOW + timedelta(seconds=1)
ROUNDS = range(2)


@pytest.fixture
def last():
    return make_variant(on_hand=1)


@pytest.fixture
def buyer(last):
    buyer = make_buyer(now=NOW)
    fill_cart(buyer, last, now=NOW)
    return buyer


@pytest.fixture
def job(buyer, gateway):
    return make_payable(post_checkout(buyer, now=NOW), gateway, now=NOW)


def razorpay_order_id(job: CheckoutJob) -> str:
    return str(GatewayOrder.objects.get(order=job.order, is_duplicate=False).gateway_order_id)


def unforeseen(results: list, *foreseen: type[Exception]) -> list[Exception]:
    return [it for it in results if isinstance(it, Exception) and not isinstance(it, foreseen)]


def settle_all(gateway, *, now: datetime) -> None:
    """Run polls and steps until nothing is due."""
    for _ in range(3):
        orders = CheckoutJob.objects.exclude(order=None).values_list("order_id", flat=True)
        polling.poll_now(list(orders), now=now)
        run(ReconcileWebhook(), now=now)
        run_remote(CheckPayments(), gateway, now=now)


def assert_bought_at_most_once(last) -> None:
    jobs = list(CheckoutJob.objects.all())
    paid = [job for job in jobs if job.state == State.PAID]
    assert len(paid) <= 1
    money_books.no_open_checkout_of_a_bought_cart(jobs)
    on_hand, held = stock_of(last)
    assert on_hand == 1 - len(paid)
    assert held <= on_hand


@pytest.mark.parametrize("round_", ROUNDS)
def test_eight_tabs_and_a_stranger_want_the_last_unit(buyer, last, round_):
    stranger = make_buyer(now=NOW)
    fill_cart(stranger, last, now=NOW)

    def work() -> None:
        run(VALIDATE_CART, now=NOW)
        run(CREATE_ORDER, now=NOW)

    results = all_at_once(
        *[lambda: post_checkout(buyer, key=new_key(), now=NOW)] * 8,
        lambda: post_checkout(stranger, now=NOW),
        work,
        work,
    )
    work()

    assert not unforeseen(results, start.CartChanged)
    assert len({it.pk for it in results if isinstance(it, CheckoutJob)}) == 2
    held = CheckoutJob.objects.filter(state=State.ORDERED)
    assert (held.count(), stock_of(last)) == (1, (1, 1))


@pytest.mark.parametrize("round_", ROUNDS)
def test_a_verified_return_against_a_cancel_and_a_changed_cart(
    buyer, job, last, gateway, standin, round_
):
    payment = standin.pay(razorpay_order_id(job))
    fields = payment["checkout"]
    fill_cart(buyer, make_variant(on_hand=5), now=NOW)

    results = all_at_once(
        lambda: confirm(
            job,
            gateway_payment_id=fields["razorpay_payment_id"],
            gateway_order_id=fields["razorpay_order_id"],
            signature=fields["razorpay_signature"],
            key_secret=environment.KEY_SECRET,
            now=LATER,
        ),
        lambda: start.cancel(owner_id=buyer.pk, job_id=job.pk, now=LATER),
        lambda: post_checkout(buyer, now=LATER),
    )
    was_ended_first = reload(job).state == State.CANCELLED
    settle_all(gateway, now=LATER)

    assert not unforeseen(results, start.CannotCancel, start.PaymentInProgress)
    assert was_ended_first or reload(job).state == State.PAID
    assert_bought_at_most_once(last)


@pytest.mark.parametrize("round_", ROUNDS)
def test_late_money_against_the_same_cart_posted_again(buyer, job, last, gateway, standin, round_):
    start.cancel(owner_id=buyer.pk, job_id=job.pk, now=NOW)
    deliver(standin.pay(razorpay_order_id(job)), now=LATER)

    results = all_at_once(
        lambda: run(ReconcileWebhook(), now=LATER),
        lambda: post_checkout(buyer, key=new_key(), now=LATER),
        lambda: run(VALIDATE_CART, now=LATER),
    )
    run(VALIDATE_CART, now=LATER)
    run(CREATE_ORDER, now=LATER)
    settle_all(gateway, now=LATER)

    foreseen = (start.PaymentInProgress, start.CartEmpty, start.CartChanged)
    assert not unforeseen(results, *foreseen)
    assert_bought_at_most_once(last)
    assert reload(job).state in {State.PAID, State.REFUNDING}


@pytest.mark.parametrize("round_", ROUNDS)
def test_signing_in_against_a_post_and_a_payment(buyer, job, last, gateway, standin, round_):
    account = User.objects.create(email=f"{new_key()}@example.com", created_at=NOW)
    deliver(standin.pay(razorpay_order_id(job)), now=LATER)

    results = all_at_once(
        lambda: guests.merge_guest(guest_id=buyer.pk, into_id=account.pk, now=LATER),
        lambda: post_checkout(buyer, key=new_key(), now=LATER),
        lambda: run(ReconcileWebhook(), now=LATER),
    )
    settle_all(gateway, now=LATER)

    foreseen = (carts.NoSuchBuyer, start.PaymentInProgress, start.CartEmpty)
    assert not unforeseen(results, *foreseen)
    assert reload(job).state == State.PAID
    assert reload(job).owner_id == account.pk
    assert not CheckoutJob.objects.filter(owner_id=buyer.pk, state__in=sorted(OPEN)).exists()
    assert_bought_at_most_once(last)


@pytest.mark.parametrize("round_", ROUNDS)
@pytest.mark.parametrize("decide", [actions.accept_money, actions.refund_all])
def test_staff_decides_while_the_buyer_posts_again(
    decide, buyer, job, last, gateway, standin, round_
):
    deliver(standin.pay(razorpay_order_id(job), amount=job.amount_paise - 100), now=NOW)
    run(ReconcileWebhook(), now=NOW)
    assert reload(job).state == State.IN_REVIEW
    staff = User.objects.create_superuser(f"{new_key()}@example.com", "x")

    results = all_at_once(
        lambda: decide(job.pk, by=ActionRequest(staff.pk, "looked at it", LATER)),
        lambda: post_checkout(buyer, key=new_key(), now=LATER),
        lambda: post_checkout(buyer, now=LATER),
    )
    run(VALIDATE_CART, now=LATER)
    run(CREATE_ORDER, now=LATER)

    foreseen = (start.PaymentInProgress, start.CartEmpty, start.CartChanged)
    assert not unforeseen(results, *foreseen)
    assert reload(job).state in {State.PAID, State.REFUNDING}
    assert_bought_at_most_once(last)
