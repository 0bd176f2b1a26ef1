"""Late money beside other checkouts of the buyer: what is captured, who may go on, who is told."""

from datetime import timedelta

import pytest

from shop import carts, stock
from shop.checkout import snapshots, start, status
from shop.checkout.guests import merge_guest
from shop.checkout.jobs import CheckoutJob
from shop.checkout.start import Terms
from shop.checkout.states import State
from shop.checkout.steps.capture import CapturePayments
from shop.checkout.steps.reconcile_webhook import ReconcileWebhook
from shop.operations import actions, books
from shop.operations.audit_log import ActionRefused, ActionRequest
from shop.payments.cases import Case
from shop.payments.ledger import GatewayOrder, Payment
from tests.support.events import deliver
from tests.support.shop import (
    ADDRESS,
    fill_cart,
    make_buyer,
    make_payable,
    make_variant,
    post_checkout,
    reload,
    run,
    run_remote,
    stock_of,
)

pytestmark = pytest.mark.django_db

WEBHOOK = ReconcileWebhook()
OTHER_TERMS = Terms("razorpay", "INR", ADDRESS | {"line1": "13 MG Road"}, ADDRESS)


@pytest.fixture
def mug():
    return make_variant(on_hand=3)


@pytest.fixture
def buyer(mug, now):
    """With one mug in the cart."""
    buyer = make_buyer(now=now)
    fill_cart(buyer, mug, now=now)
    return buyer


@pytest.fixture
def first(buyer, gateway, now):
    """The buyer's checkout, payable."""
    return make_payable(post_checkout(buyer, now=now), gateway, now=now)


@pytest.fixture
def by_hand(settings, standin, gateway) -> None:
    """We capture what is authorised."""
    settings.RAZORPAY_CAPTURE = "manual"
    standin.settings(auto_capture=False)
    gateway._capture = "manual"


def pay(job, standin, *, now, outcome="captured", **changes) -> None:
    """A webhook comes of a payment that ended so, with `changes` to what it says."""
    row = GatewayOrder.objects.get(order=job.order, is_duplicate=False)
    payment = standin.pay(row.gateway_order_id, outcome=outcome)
    said = {"status": outcome, "captured": outcome == "captured"}
    deliver(payment, now=now, **said | changes)


def settle(*, now) -> None:
    run(WEBHOOK, now=now)


def cancel(job, *, now) -> None:
    start.cancel(owner_id=job.owner_id, job_id=job.pk, now=now)


def buy_a_plate_instead(buyer, gateway, *, now) -> CheckoutJob:
    """The same cart, with nothing in it that the first checkout asks for."""
    carts.clear(buyer.pk, now=now)
    fill_cart(buyer, make_variant(), now=now)
    return make_payable(post_checkout(buyer, now=now), gateway, now=now)


def action_request(buyer, *, now) -> ActionRequest:
    return ActionRequest(by_id=buyer.pk, reason="as the buyer asked", now=now)


def states() -> list[str]:
    return list(CheckoutJob.objects.order_by("created_at").values_list("state", flat=True))


def assert_books_agree() -> None:
    assert not list(books.books())


# --- one cart has one open checkout --------------------------------------------------------------


@pytest.mark.usefixtures("by_hand")
def test_a_late_authorisation_waits_while_its_cart_has_another_open_checkout(
    buyer, first, mug, gateway, standin, now
):
    cancel(first, now=now)
    later = now + timedelta(seconds=1)
    plate = buy_a_plate_instead(buyer, gateway, now=later)

    pay(first, standin, outcome="authorized", now=later)
    settle(now=later)
    run_remote(CapturePayments(), gateway, now=later)

    assert states() == [State.CANCELLED, State.AWAITING_PAYMENT]
    assert Payment.objects.get().status == "authorized"
    assert not Case.objects.exists()
    with pytest.raises(start.PaymentInProgress):
        post_checkout(buyer, terms=OTHER_TERMS, now=later)
    pay(plate, standin, now=later)
    settle(now=later)
    run_remote(CapturePayments(), gateway, now=later + timedelta(minutes=1))  # looks, opens again
    run_remote(CapturePayments(), gateway, now=later + timedelta(minutes=1))
    assert states() == [State.PAID, State.PAID]
    assert stock_of(mug) == (2, 0)
    assert_books_agree()


@pytest.mark.usefixtures("by_hand")
def test_two_late_authorisations_for_one_cart_open_one_checkout_after_the_other(
    buyer, first, gateway, standin, now
):
    cancel(first, now=now)
    plate = buy_a_plate_instead(buyer, gateway, now=now + timedelta(seconds=1))
    cancel(plate, now=now + timedelta(seconds=1))
    for job in (first, plate):
        pay(job, standin, outcome="authorized", now=now + timedelta(seconds=2))

    settle(now=now + timedelta(seconds=2))

    assert sorted(states()) == [State.AWAITING_PAYMENT, State.CANCELLED]
    assert not Case.objects.exists()
    for minutes in range(1, 4):
        run_remote(CapturePayments(), gateway, now=now + timedelta(minutes=minutes))
    assert states() == [State.PAID, State.PAID]
    assert_books_agree()


# --- what is not captured hinders nobody ---------------------------------------------------------


@pytest.mark.usefixtures("by_hand")
def test_a_buyer_can_start_again_beside_an_authorisation_that_is_left_to_lapse(
    buyer, first, gateway, standin, settings, now
):
    settings.LATE_PAYMENT = "refund"
    cancel(first, now=now)
    pay(first, standin, outcome="authorized", now=now)
    settle(now=now)

    again = make_payable(post_checkout(buyer, now=now), gateway, now=now)
    pay(again, standin, now=now)
    settle(now=now)

    assert states() == [State.CANCELLED, State.PAID]
    assert_books_agree()


# --- two checkouts of one buyer settled together -------------------------------------------------


def test_a_payment_that_does_not_fit_is_reviewed_beside_one_that_pays(
    buyer, first, mug, gateway, standin, now
):
    account = make_buyer(now=now)
    fill_cart(account, mug, now=now)
    second = make_payable(post_checkout(account, now=now), gateway, now=now)
    merge_guest(guest_id=buyer.pk, into_id=account.pk, now=now)
    pay(first, standin, now=now)
    pay(second, standin, amount=100, now=now)

    settle(now=now)

    assert reload(first).state == State.PAID
    assert reload(second).state == State.IN_REVIEW
    actions.give_back(second.pk, by=action_request(account, now=now))
    assert reload(second).state == State.REFUNDING
    assert_books_agree()


# --- units that another checkout takes over ------------------------------------------------------


def test_accepted_money_of_a_superseded_checkout_sells_its_units(
    buyer, first, mug, gateway, standin, now
):
    second = post_checkout(buyer, terms=OTHER_TERMS, now=now)
    assert second.takes_over == [first.order_id]
    pay(first, standin, amount=100, now=now)
    settle(now=now)

    actions.accept_money(first.pk, by=action_request(buyer, now=now))

    assert reload(first).state == State.PAID
    assert reload(second).state == State.CANCELLED
    assert stock_of(mug) == (2, 0)
    assert_books_agree()


def test_money_that_goes_back_releases_no_units_that_another_checkout_takes_over(
    buyer, first, mug, gateway, standin, settings, now
):
    settings.LATE_PAYMENT = "refund"
    stock.restock(mug.pk, units=-2)
    second = post_checkout(buyer, terms=OTHER_TERMS, now=now)

    pay(first, standin, now=now)
    settle(now=now)

    assert reload(first).state == State.REFUNDING
    assert stock_of(mug) == (1, 1)
    assert make_payable(second, gateway, now=now).state == State.AWAITING_PAYMENT
    assert_books_agree()


# --- what a buyer may do and is told -------------------------------------------------------------


@pytest.mark.usefixtures("by_hand")
def test_the_buyer_is_told_that_the_money_came_late_also_if_it_was_authorised_first(
    buyer, first, gateway, standin, now
):
    cancel(first, now=now)
    pay(first, standin, outcome="authorized", now=now)
    settle(now=now)
    assert states() == [State.AWAITING_PAYMENT]

    run_remote(CapturePayments(), gateway, now=now)

    shown = status.resource(snapshots.read(first.pk, owner_id=buyer.pk), key_id="k", now=now)
    assert shown["status"] == State.PAID
    assert shown["paid_late"]
    assert "after you cancelled" in shown["message"]


def test_nobody_cancels_a_review_whose_money_went_back(buyer, first, standin, now):
    pay(first, standin, amount=100, now=now)
    settle(now=now)
    Payment.objects.update(status="refunded", amount_refunded_paise=100)  # in the dashboard

    with pytest.raises(start.CannotCancel):
        cancel(first, now=now)
    with pytest.raises(ActionRefused, match="in_review"):
        actions.cancel(first.pk, by=action_request(buyer, now=now))

    assert states() == [State.IN_REVIEW]
