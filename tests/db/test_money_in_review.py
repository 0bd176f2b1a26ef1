"""Staff decide about money, beside other checkouts of the buyer."""

from datetime import timedelta

import pytest

from shop.checkout import start
from shop.checkout.states import State
from shop.operations import actions
from shop.operations.audit_log import ActionRefused
from shop.payments.ledger import Payment
from tests.support.purchases import (
    OTHER_TERMS,
    action_request,
    another_checkout,
    assert_books_agree,
    authorise,
    cancel,
    pay,
    states,
)
from tests.support.shop import post_checkout, reload, stock_of

pytestmark = pytest.mark.django_db


def test_money_in_review_is_not_accepted_when_the_buyer_has_bought_the_same(
    buyer, first, mug, gateway, standin, now
):
    pay(first, standin, amount=100, now=now)
    second = another_checkout(buyer, mug, gateway, now=now + timedelta(seconds=1))
    pay(second, standin, now=now + timedelta(seconds=2))

    with pytest.raises(ActionRefused, match="bought the same"):
        actions.accept_money(first.pk, by=action_request(buyer, now=now))

    assert reload(first).state == State.IN_REVIEW


def test_money_in_review_is_not_accepted_while_the_buyer_pays_for_the_same(
    buyer, first, mug, gateway, standin, now
):
    pay(first, standin, amount=100, now=now)
    second = another_checkout(buyer, mug, gateway, now=now + timedelta(seconds=1))
    pay(second, standin, status="authorized", now=now + timedelta(seconds=2))

    with pytest.raises(ActionRefused, match="is paying for the same"):
        actions.accept_money(first.pk, by=action_request(buyer, now=now))

    assert states() == [State.IN_REVIEW, State.AWAITING_PAYMENT]


def test_accepted_money_cancels_an_open_checkout_of_the_same(
    buyer, first, mug, gateway, standin, now
):
    pay(first, standin, amount=100, now=now)
    another_checkout(buyer, mug, gateway, now=now + timedelta(seconds=1))

    actions.accept_money(first.pk, by=action_request(buyer, now=now))

    assert states() == [State.PAID, State.CANCELLED]
    assert_books_agree()


@pytest.mark.usefixtures("manual_capture")
def test_staff_captures_nothing_that_would_be_given_back(
    first, mug, gateway, standin, settings, now
):
    settings.LATE_PAYMENT = "refund"
    cancel(first, now=now)
    authorise(first, gateway, standin, now=now)

    with pytest.raises(ActionRefused, match="would be refunded"):
        actions.capture(Payment.objects.get().pk, by=action_request(first.owner, now=now))


def test_accepted_money_of_a_superseded_checkout_sells_its_units(
    buyer, first, mug, gateway, standin, now
):
    second = post_checkout(buyer, terms=OTHER_TERMS, now=now)
    assert second.takes_over == [first.order_id]
    pay(first, standin, amount=100, now=now)

    actions.accept_money(first.pk, by=action_request(buyer, now=now))

    assert reload(first).state == State.PAID
    assert reload(second).state == State.CANCELLED
    assert stock_of(mug) == (2, 0)
    assert_books_agree()


def test_nobody_cancels_a_review_whose_money_went_back(buyer, first, standin, now):
    pay(first, standin, amount=100, now=now)
    Payment.objects.update(status="refunded", amount_refunded_paise=100)  # in the dashboard

    with pytest.raises(start.CannotCancel):
        cancel(first, now=now)
    with pytest.raises(ActionRefused, match="in_review"):
        actions.cancel(first.pk, by=action_request(buyer, now=now))

    assert states() == [State.IN_REVIEW]
