"""A buyer who posts, cancels or signs in beside money and units of an older checkout."""

from datetime import timedelta

import pytest

from shop import carts, stock
from shop.checkout import confirm, start
from shop.checkout.guests import merge_guest
from shop.checkout.states import State
from shop.checkout.steps.check_payments import CheckPayments
from shop.checkout.steps.expire import EXPIRE
from shop.checkout.steps.validate_cart import VALIDATE_CART
from shop.payments.razorpay import signatures
from tests.support import environment
from tests.support.purchases import OTHER_TERMS, assert_books_agree, cancel, order_id, pay, states
from tests.support.shop import (
    fill_cart,
    make_buyer,
    make_checkout,
    make_payable,
    make_variant,
    place_order,
    post_checkout,
    reload,
    run,
    run_remote,
    stock_of,
)

pytestmark = pytest.mark.django_db


def come_back(job, *, now) -> None:
    """The browser brings Razorpay's signature."""
    secret = environment.KEY_SECRET
    confirm.confirm(
        job,
        gateway_payment_id="pay_1",
        gateway_order_id=order_id(job),
        signature=signatures.sign(f"{order_id(job)}|pay_1".encode(), secret=secret),
        key_secret=secret,
        now=now,
    )


def test_nobody_starts_again_while_late_money_is_authorised(buyer, first, standin, now):
    cancel(first, now=now)
    pay(first, standin, status="authorized", now=now)

    with pytest.raises(start.PaymentInProgress):
        post_checkout(buyer, terms=OTHER_TERMS, now=now)


def test_nobody_starts_again_while_an_ended_checkout_is_signed_for(
    buyer, first, gateway, standin, now
):
    cancel(first, now=now)
    come_back(first, now=now + timedelta(seconds=1))

    with pytest.raises(start.PaymentInProgress):
        post_checkout(buyer, now=now + timedelta(seconds=2))

    run_remote(CheckPayments(), gateway, now=now + timedelta(seconds=3))  # it says: no payment
    assert post_checkout(buyer, now=now + timedelta(seconds=4)).pk != first.pk


def test_nobody_starts_again_while_money_is_in_review(buyer, first, standin, now):
    pay(first, standin, amount=100, now=now)
    assert states() == [State.IN_REVIEW]

    with pytest.raises(start.PaymentInProgress) as refused:
        post_checkout(buyer, now=now)

    assert "looking into" in refused.value.message


def test_a_verified_return_counts_as_money(buyer, first, mug, gateway, now):
    come_back(first, now=now + timedelta(seconds=1))
    carts.add(buyer.pk, variant_id=make_variant().pk, quantity=1, now=now)

    with pytest.raises(start.CannotCancel):
        cancel(first, now=now + timedelta(seconds=2))
    with pytest.raises(start.PaymentInProgress):
        post_checkout(buyer, now=now + timedelta(seconds=2))
    run(EXPIRE, now=first.expires_at + timedelta(minutes=6))

    assert states() == [State.AWAITING_PAYMENT]
    assert stock_of(mug) == (3, 1)


def test_a_return_that_the_poll_does_not_confirm_counts_no_more(first, gateway, now):
    come_back(first, now=now + timedelta(seconds=1))
    run_remote(CheckPayments(), gateway, now=now + timedelta(seconds=2))

    cancel(first, now=now + timedelta(seconds=3))

    assert states() == [State.CANCELLED]


def test_the_last_unit_is_available_to_the_buyer_who_holds_it(last, buyer, first, now):
    before = carts.read(buyer.pk, now=now + timedelta(minutes=2))

    (line,) = before.lines

    assert (line.available, line.problem) == (1, None)
    stranger = make_buyer(now=now)
    assert fill_cart(stranger, last, now=now).lines[0].problem == "Out of stock"


def test_a_repeated_post_of_the_last_unit_finds_its_checkout(last, buyer, first, now):
    assert post_checkout(buyer, now=now + timedelta(minutes=2)).pk == first.pk
    assert post_checkout(buyer, key="another", now=now + timedelta(minutes=2)).pk == first.pk
    assert states() == [State.AWAITING_PAYMENT]


def test_the_version_that_the_page_shows_stays_good_for_the_last_unit(last, buyer, first, now):
    seen = start.ClientView(cart_version=first.cart_version)

    again = post_checkout(buyer, key="another", seen=seen, now=now + timedelta(minutes=2))

    assert again.pk == first.pk


def test_a_repeat_finds_its_checkout_when_the_units_were_out_of_stock_at_first(
    last, buyer, gateway, now
):
    other = make_payable(make_checkout(last, now=now), gateway, now=now)
    shown = carts.read(buyer.pk, now=now)
    assert shown.lines[0].problem == "Out of stock"
    seen = start.ClientView(cart_version=shown.version)
    posted = post_checkout(buyer, seen=seen, now=now)
    cancel(other, now=now)
    make_payable(posted, gateway, now=now)

    again = post_checkout(buyer, key="another", seen=seen, now=now + timedelta(seconds=1))

    assert again.pk == posted.pk
    with pytest.raises(start.CartChanged):
        post_checkout(buyer, seen=seen, terms=OTHER_TERMS, now=now + timedelta(seconds=1))


def test_a_corrected_address_does_not_lose_the_last_unit_to_others(last, buyer, first, now):
    stock.restock(last.pk, units=1)
    stranger = make_checkout(last, now=now)
    run(VALIDATE_CART, now=now)  # so the stranger's is due earlier than the corrected one
    stock.restock(last.pk, units=-1)
    second = post_checkout(buyer, terms=OTHER_TERMS, now=now + timedelta(seconds=1))

    place_order(second, now=now + timedelta(seconds=2))

    assert reload(second).state == State.ORDERED
    assert reload(stranger).error_code == "out_of_stock"
    assert_books_agree()


def test_units_that_were_to_be_taken_over_are_released_with_the_checkout(last, buyer, first, now):
    second = post_checkout(buyer, terms=OTHER_TERMS, now=now + timedelta(seconds=1))
    third = post_checkout(buyer, now=now + timedelta(seconds=2))
    assert third.takes_over == second.takes_over == [first.order_id]
    assert stock_of(last) == (1, 1)
    assert_books_agree()

    cancel(third, now=now + timedelta(seconds=3))

    assert stock_of(last) == (1, 0)
    assert_books_agree()


def test_a_guest_who_holds_the_last_unit_keeps_it_when_signing_in(last, buyer, first, now):
    account = make_buyer(now=now)

    merge_guest(guest_id=buyer.pk, into_id=account.pk, now=now)

    (line,) = carts.read(account.pk, now=now).lines
    assert (line.quantity, line.problem) == (1, None)
    assert post_checkout(account, now=now).pk == first.pk
