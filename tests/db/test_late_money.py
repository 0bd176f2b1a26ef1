"""Captured money of ended checkouts, beside other checkouts of the buyer."""

from datetime import timedelta

import pytest

from shop import carts, stock
from shop.checkout import snapshots, status
from shop.checkout.guests import merge_guest
from shop.checkout.jobs import CheckoutJob
from shop.checkout.states import State
from shop.operations import actions, books
from shop.payments.refunds import Refund
from tests.support.events import deliver
from tests.support.purchases import (
    OTHER_TERMS,
    action_request,
    again,
    assert_books_agree,
    cancel,
    order_id,
    pay,
    report,
    settle,
    states,
)
from tests.support.shop import (
    fill_cart,
    make_buyer,
    make_checkout,
    make_payable,
    make_variant,
    post_checkout,
    reload,
    stock_of,
)

pytestmark = pytest.mark.django_db


def test_late_money_goes_back_when_the_buyer_has_bought_the_same_since(
    buyer, first, mug, gateway, standin, now
):
    cancel(first, now=now)
    second = again(buyer, gateway, now=now + timedelta(seconds=1))
    pay(second, standin, now=now + timedelta(seconds=2))

    pay(first, standin, now=now + timedelta(seconds=3))

    assert states() == [State.REFUNDING, State.PAID]
    assert Refund.objects.get().payment.gateway_order.order_id == first.order_id
    assert stock_of(mug) == (2, 0)
    assert_books_agree()


def test_late_money_goes_back_though_the_clock_of_another_worker_is_slow(
    buyer, first, mug, gateway, standin, now
):
    cancel(first, now=now)
    second = again(buyer, gateway, now=now + timedelta(seconds=1))
    pay(second, standin, now=now - timedelta(seconds=14))

    pay(first, standin, now=now + timedelta(seconds=3))

    assert states() == [State.REFUNDING, State.PAID]
    assert stock_of(mug) == (2, 0)


def test_late_money_cancels_the_open_checkout_of_the_same_cart_and_is_served(
    buyer, first, mug, gateway, standin, now
):
    cancel(first, now=now)
    second = again(buyer, gateway, now=now + timedelta(seconds=1))

    pay(first, standin, now=now + timedelta(seconds=2))

    assert states() == [State.PAID, State.CANCELLED]
    assert stock_of(mug) == (2, 0)
    shown = status.resource(snapshots.read(second.pk, owner_id=buyer.pk), key_id="k", now=now)
    assert "earlier payment" in shown["message"]
    assert_books_agree()


@pytest.mark.parametrize("second_status", ["captured", "authorized"])
def test_of_two_checkouts_with_money_exactly_one_is_served(
    second_status, buyer, first, mug, gateway, standin, now
):
    cancel(first, now=now)
    second = again(buyer, gateway, now=now + timedelta(seconds=1))
    payment = standin.pay(order_id(second))
    is_captured = second_status == "captured"
    deliver(payment, now=now, status=second_status, captured=is_captured)

    pay(first, standin, now=now + timedelta(seconds=2))

    assert reload(first).state == State.REFUNDING
    deliver(payment, now=now + timedelta(seconds=3))
    settle(now=now + timedelta(seconds=3))
    assert states() == [State.REFUNDING, State.PAID]
    assert Refund.objects.count() == 1
    assert stock_of(mug) == (2, 0)
    assert_books_agree()


def test_late_money_of_two_ended_checkouts_at_once_buys_once(
    buyer, first, mug, gateway, standin, now
):
    cancel(first, now=now)
    second = again(buyer, gateway, now=now + timedelta(seconds=1))
    cancel(second, now=now + timedelta(seconds=2))
    for job in (first, second):
        report(job, standin, now=now + timedelta(seconds=3))

    settle(now=now + timedelta(seconds=3))

    assert sorted(states()) == [State.PAID, State.REFUNDING]
    assert stock_of(mug) == (2, 0)
    assert_books_agree()


def test_late_money_that_cannot_be_served_keeps_the_open_checkout(
    buyer, mug, gateway, standin, now
):
    carts.add(buyer.pk, variant_id=mug.pk, quantity=2, now=now)
    first = again(buyer, gateway, now=now)  # three mugs, all that there are
    cancel(first, now=now)
    make_payable(make_checkout(mug, quantity=1, now=now), gateway, now=now)
    item = carts.read(buyer.pk, now=now).lines[0]
    carts.set_quantity(buyer.pk, item.id, quantity=2, now=now)
    second = again(buyer, gateway, now=now + timedelta(seconds=1))

    pay(first, standin, now=now + timedelta(seconds=2))

    assert reload(first).state == State.REFUNDING
    assert reload(second).state == State.AWAITING_PAYMENT
    assert stock_of(mug) == (3, 3)
    assert_books_agree()


def test_late_money_for_other_goods_is_served_beside_the_open_checkout(
    buyer, first, mug, gateway, standin, now
):
    cancel(first, now=now)
    carts.clear(buyer.pk, now=now)
    plate = make_variant()
    fill_cart(buyer, plate, now=now)
    second = again(buyer, gateway, now=now + timedelta(seconds=1))

    pay(first, standin, now=now + timedelta(seconds=2))
    pay(second, standin, now=now + timedelta(seconds=3))

    assert states() == [State.PAID, State.PAID]
    assert not Refund.objects.exists()
    assert_books_agree()


def test_buying_the_same_again_later_is_another_purchase(buyer, first, mug, gateway, standin, now):
    pay(first, standin, now=now)
    later = now + timedelta(hours=1)
    fill_cart(buyer, mug, now=later)

    pay(again(buyer, gateway, now=later), standin, now=later)

    assert states() == [State.PAID, State.PAID]
    assert stock_of(mug) == (1, 0)


def test_the_audit_names_two_paid_orders_of_one_cart_revision(
    buyer, first, mug, gateway, standin, now
):
    pay(first, standin, now=now)
    second = make_payable(make_checkout(mug, now=now), gateway, now=now)
    pay(second, standin, now=now)
    CheckoutJob.objects.filter(pk=second.pk).update(
        cart_id=first.cart_id, cart_version=first.cart_version
    )

    (difference,) = books.differences()

    assert "one cart revision" in str(difference)


def test_money_that_goes_back_releases_no_units_that_another_checkout_takes_over(
    buyer, first, mug, gateway, standin, settings, now
):
    settings.LATE_PAYMENT = "refund"
    stock.restock(mug.pk, units=-2)
    second = post_checkout(buyer, terms=OTHER_TERMS, now=now)

    pay(first, standin, now=now)

    assert reload(first).state == State.REFUNDING
    assert stock_of(mug) == (1, 1)
    assert make_payable(second, gateway, now=now).state == State.AWAITING_PAYMENT
    assert_books_agree()


def test_a_payment_that_does_not_fit_is_reviewed_beside_one_that_pays(
    buyer, first, mug, gateway, standin, now
):
    account = make_buyer(now=now)
    fill_cart(account, mug, now=now)
    second = make_payable(post_checkout(account, now=now), gateway, now=now)
    merge_guest(guest_id=buyer.pk, into_id=account.pk, now=now)
    report(first, standin, now=now)
    report(second, standin, amount=100, now=now)

    settle(now=now)

    assert reload(first).state == State.PAID
    assert reload(second).state == State.IN_REVIEW
    actions.refund_all(second.pk, by=action_request(account, now=now))
    assert reload(second).state == State.REFUNDING
    assert_books_agree()


def test_two_open_checkouts_after_signing_in_are_one_purchase(
    buyer, first, mug, gateway, standin, now
):
    account = make_buyer(now=now)
    fill_cart(account, mug, now=now)
    second = again(account, gateway, now=now + timedelta(seconds=1))
    merge_guest(guest_id=buyer.pk, into_id=account.pk, now=now)

    for job in (first, second):
        report(job, standin, now=now + timedelta(seconds=2))
    settle(now=now + timedelta(seconds=2))

    assert sorted(states()) == [State.PAID, State.REFUNDING]
    assert stock_of(mug) == (2, 0)
    assert_books_agree()


def test_two_tabs_with_the_last_unit_buy_it_once(last, buyer, first, gateway, standin, now):
    second = post_checkout(buyer, terms=OTHER_TERMS, now=now + timedelta(seconds=1))
    second = make_payable(second, gateway, now=now + timedelta(seconds=2))
    assert second.state == State.AWAITING_PAYMENT

    pay(first, standin, now=now + timedelta(seconds=3))

    assert states() == [State.PAID, State.CANCELLED]
    assert not Refund.objects.exists()
    assert stock_of(last) == (0, 0)
    assert_books_agree()
