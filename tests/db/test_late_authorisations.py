"""Authorised money of an ended checkout: captured only if it can be served."""

from datetime import timedelta

import pytest
from django.db import transaction

from shop import carts
from shop.checkout import jobs, snapshots, start, status
from shop.checkout.jobs import CheckoutJob
from shop.checkout.outcomes import Advance
from shop.checkout.states import State
from shop.checkout.steps.capture import CapturePayments
from shop.checkout.steps.check_payments import CheckPayments
from shop.checkout.steps.expire import EXPIRE
from shop.payments import polling
from shop.payments.cases import Case
from shop.payments.ledger import GatewayOrder, Payment
from shop.payments.refunds import Refund
from tests.support.purchases import (
    OTHER_TERMS,
    again,
    another_checkout,
    assert_books_agree,
    authorise,
    cancel,
    pay,
    report,
    settle,
    states,
)
from tests.support.shop import (
    fill_cart,
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


def buy_a_plate_instead(buyer, gateway, *, now) -> CheckoutJob:
    """The same cart, with nothing in it that the first checkout asks for."""
    carts.clear(buyer.pk, now=now)
    fill_cart(buyer, make_variant(), now=now)
    return make_payable(post_checkout(buyer, now=now), gateway, now=now)


@pytest.mark.usefixtures("manual_capture")
def test_a_late_authorisation_opens_its_checkout_again_until_it_is_captured(
    buyer, first, mug, gateway, standin, now
):
    cancel(first, now=now)

    authorise(first, gateway, standin, now=now)

    assert states() == [State.AWAITING_PAYMENT]
    assert stock_of(mug) == (3, 1)  # nobody else can have it while the money is captured
    shown = status.resource(snapshots.read(first.pk, owner_id=buyer.pk), key_id="k", now=now)
    assert "do not pay again" in shown["message"]
    assert shown["steps"][-1]["status"] in {"waiting", "running"}
    with pytest.raises(start.CannotCancel):
        cancel(first, now=now)
    run_remote(CapturePayments(), gateway, now=now)
    assert states() == [State.PAID]
    assert_books_agree()


@pytest.mark.usefixtures("manual_capture")
def test_a_late_authorisation_that_fails_ends_its_checkout_again(first, mug, gateway, standin, now):
    cancel(first, now=now)
    pay(first, standin, status="authorized", now=now)
    assert states() == [State.AWAITING_PAYMENT]
    Payment.objects.update(status="refunded")  # the bank took it back
    later = now + timedelta(minutes=1)
    run(EXPIRE, now=later)
    GatewayOrder.objects.update(polled_at=later)

    run(EXPIRE, now=later + timedelta(minutes=1))

    assert states() == [State.EXPIRED]
    assert stock_of(mug) == (3, 0)


@pytest.mark.usefixtures("manual_capture")
@pytest.mark.parametrize("why", ["policy", "sold", "bought"])
def test_nothing_is_captured_that_would_be_given_back(
    why, buyer, first, mug, gateway, standin, settings, now
):
    cancel(first, now=now)
    later = now + timedelta(seconds=2)
    if why == "policy":
        settings.LATE_PAYMENT = "refund"
    if why == "sold":
        make_payable(make_checkout(mug, quantity=3, now=now), gateway, now=now)
    if why == "bought":
        pay(again(buyer, gateway, now=now + timedelta(seconds=1)), standin, now=later)

    authorise(first, gateway, standin, now=later)
    assert not Payment.objects.filter(capture_at__isnull=False).exists()
    run_remote(CapturePayments(), gateway, now=later + timedelta(hours=1))

    assert reload(first).state == State.CANCELLED
    payment = Payment.objects.get(gateway_order__order=first.order)
    assert (payment.status, payment.capture_at) == ("authorized", None)
    assert not Refund.objects.exists()
    assert_books_agree()


@pytest.mark.usefixtures("manual_capture")
def test_a_planned_capture_of_an_ended_checkout_is_decided_again(
    buyer, first, mug, gateway, standin, now
):
    authorise(first, gateway, standin, now=now)
    assert Payment.objects.get().capture_at == now
    with transaction.atomic():  # as if it had ended before the money was known
        ended = Advance(State.CANCELLED, "cancelled by the buyer")
        jobs.apply([(reload(first), ended)], now=now)
    second = another_checkout(buyer, mug, gateway, now=now + timedelta(seconds=1))
    pay(second, standin, now=now + timedelta(seconds=2))

    run_remote(CapturePayments(), gateway, now=now + timedelta(seconds=3))

    assert states() == [State.CANCELLED, State.PAID]
    payment = Payment.objects.get(gateway_order__order=first.order)
    assert (payment.status, payment.capture_at) == ("authorized", None)
    assert [payment["captured"] for payment in standin.payments()] == [False, True]
    assert not Refund.objects.exists()


@pytest.mark.usefixtures("manual_capture")
def test_a_planned_capture_that_can_still_be_served_opens_its_checkout_again(
    first, mug, gateway, standin, now
):
    authorise(first, gateway, standin, now=now)
    with transaction.atomic():  # as if it had ended before the money was known
        ended = Advance(State.CANCELLED, "cancelled by the buyer")
        jobs.apply([(reload(first), ended)], now=now)

    run_remote(CapturePayments(), gateway, now=now)

    assert states() == [State.AWAITING_PAYMENT]
    assert standin.payments()[0]["captured"] is False
    run_remote(CapturePayments(), gateway, now=now)
    assert states() == [State.PAID]
    assert stock_of(mug) == (2, 0)
    assert_books_agree()


@pytest.mark.usefixtures("manual_capture")
def test_money_authorised_in_time_keeps_its_units_while_the_capture_is_slow(
    first, mug, gateway, standin, now
):
    authorise(first, gateway, standin, now=now)
    later = first.expires_at + timedelta(hours=1)
    polling.poll_now([first.order_id], now=later)
    run_remote(CheckPayments(), gateway, now=later)

    run(EXPIRE, now=later)

    assert stock_of(mug) == (3, 1)
    run_remote(CapturePayments(), gateway, now=later)
    assert states() == [State.PAID]


@pytest.mark.usefixtures("manual_capture")
def test_a_late_authorisation_waits_while_its_cart_has_another_open_checkout(
    buyer, first, mug, gateway, standin, now
):
    cancel(first, now=now)
    later = now + timedelta(seconds=1)
    plate = buy_a_plate_instead(buyer, gateway, now=later)

    pay(first, standin, status="authorized", now=later)
    run_remote(CapturePayments(), gateway, now=later)

    assert states() == [State.CANCELLED, State.AWAITING_PAYMENT]
    assert Payment.objects.get().status == "authorized"
    assert not Case.objects.exists()
    with pytest.raises(start.PaymentInProgress):
        post_checkout(buyer, terms=OTHER_TERMS, now=later)
    pay(plate, standin, now=later)
    run_remote(CapturePayments(), gateway, now=later + timedelta(minutes=1))  # opens it again
    run_remote(CapturePayments(), gateway, now=later + timedelta(minutes=1))
    assert states() == [State.PAID, State.PAID]
    assert stock_of(mug) == (2, 0)
    assert_books_agree()


@pytest.mark.usefixtures("manual_capture")
def test_two_late_authorisations_for_one_cart_open_one_checkout_after_the_other(
    buyer, first, gateway, standin, now
):
    cancel(first, now=now)
    plate = buy_a_plate_instead(buyer, gateway, now=now + timedelta(seconds=1))
    cancel(plate, now=now + timedelta(seconds=1))
    for job in (first, plate):
        report(job, standin, status="authorized", now=now + timedelta(seconds=2))

    settle(now=now + timedelta(seconds=2))

    assert sorted(states()) == [State.AWAITING_PAYMENT, State.CANCELLED]
    assert not Case.objects.exists()
    for minutes in range(1, 4):
        run_remote(CapturePayments(), gateway, now=now + timedelta(minutes=minutes))
    assert states() == [State.PAID, State.PAID]
    assert_books_agree()


@pytest.mark.usefixtures("manual_capture")
def test_a_buyer_can_start_again_beside_an_authorisation_that_is_left_to_lapse(
    buyer, first, gateway, standin, settings, now
):
    settings.LATE_PAYMENT = "refund"
    cancel(first, now=now)
    pay(first, standin, status="authorized", now=now)

    again = make_payable(post_checkout(buyer, now=now), gateway, now=now)
    pay(again, standin, now=now)

    assert states() == [State.CANCELLED, State.PAID]
    assert_books_agree()


@pytest.mark.usefixtures("manual_capture")
def test_the_buyer_is_told_that_the_money_came_late_also_if_it_was_authorised_first(
    buyer, first, gateway, standin, now
):
    cancel(first, now=now)
    pay(first, standin, status="authorized", now=now)
    assert states() == [State.AWAITING_PAYMENT]

    run_remote(CapturePayments(), gateway, now=now)

    shown = status.resource(snapshots.read(first.pk, owner_id=buyer.pk), key_id="k", now=now)
    assert shown["status"] == State.PAID
    assert shown["paid_late"]
    assert "after you cancelled" in shown["message"]


@pytest.mark.usefixtures("manual_capture")
def test_the_end_of_a_checkout_releases_nothing_that_it_once_took_over(
    buyer, first, mug, gateway, standin, now
):
    second = post_checkout(buyer, terms=OTHER_TERMS, now=now + timedelta(seconds=1))
    second = make_payable(second, gateway, now=now + timedelta(seconds=1))
    cancel(second, now=now + timedelta(seconds=2))
    authorise(first, gateway, standin, now=now + timedelta(seconds=3))

    pay(second, standin, now=now + timedelta(seconds=4))

    assert {reload(first).state, reload(second).state} == {State.AWAITING_PAYMENT, State.REFUNDING}
    assert stock_of(mug) == (3, 1)  # for the first, whose money is being captured
    run_remote(CapturePayments(), gateway, now=now + timedelta(seconds=5))
    assert reload(first).state == State.PAID
    assert stock_of(mug) == (2, 0)
    assert_books_agree()
