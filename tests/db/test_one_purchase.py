"""One buyer, one purchase: whichever of the buyer's checkouts the money arrives at, and when."""

from datetime import timedelta

import pytest
from django.db import transaction

from shop import carts, stock
from shop.checkout import confirm, jobs, snapshots, start, status
from shop.checkout.guests import merge_guest
from shop.checkout.jobs import CheckoutJob
from shop.checkout.outcomes import Advance
from shop.checkout.start import Terms
from shop.checkout.states import State
from shop.checkout.steps.capture import CapturePayments
from shop.checkout.steps.check_payments import CheckPayments
from shop.checkout.steps.expire import EXPIRE
from shop.checkout.steps.reconcile_webhook import ReconcileWebhook
from shop.checkout.steps.validate_cart import VALIDATE_CART
from shop.operations import actions, books
from shop.operations.audit_log import ActionRefused, ActionRequest
from shop.payments import polling
from shop.payments.ledger import GatewayOrder, Payment
from shop.payments.razorpay import signatures
from shop.payments.refunds import Refund
from tests.support import environment
from tests.support.events import deliver
from tests.support.shop import (
    ADDRESS,
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

WEBHOOK = ReconcileWebhook()
OTHER_TERMS = Terms("razorpay", "INR", ADDRESS | {"line1": "13 MG Road"}, ADDRESS)


@pytest.fixture
def mug():
    """Three of them, where a test does not say otherwise."""
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


def order_id(job) -> str:
    return GatewayOrder.objects.get(order=job.order, is_duplicate=False).gateway_order_id


def pay(job, standin, *, now, status="captured") -> None:
    """Razorpay tells us of a payment of this status."""
    captured = {"status": status, "captured": status == "captured"}
    deliver(standin.pay(order_id(job), outcome=status), now=now, **captured)
    run(WEBHOOK, now=now)


def cancel(job, *, now) -> None:
    start.cancel(owner_id=job.owner_id, job_id=job.pk, now=now)


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


def again(buyer, gateway, *, now) -> CheckoutJob:
    """The buyer posts the cart once more and gets as far as the payment form."""
    return make_payable(post_checkout(buyer, now=now), gateway, now=now)


def states() -> list[str]:
    return list(CheckoutJob.objects.order_by("created_at").values_list("state", flat=True))


def assert_books_agree() -> None:
    assert not list(books.books())


# --- money for an ended checkout -----------------------------------------------------------------


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


def test_late_money_closes_the_open_checkout_of_the_same_cart_and_is_served(
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
    run(WEBHOOK, now=now + timedelta(seconds=3))
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
        deliver(standin.pay(order_id(job)), now=now + timedelta(seconds=3))

    run(WEBHOOK, now=now + timedelta(seconds=3))

    assert sorted(states()) == [State.PAID, State.REFUNDING]
    assert stock_of(mug) == (2, 0)
    assert_books_agree()


def test_late_money_that_cannot_be_served_leaves_the_open_checkout_alone(
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


def test_buying_the_same_again_later_is_a_purchase_of_its_own(
    buyer, first, mug, gateway, standin, now
):
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

    (difference,) = books.books()

    assert "one cart revision" in str(difference)


# --- authorised money ----------------------------------------------------------------------------


@pytest.fixture
def by_hand(settings, standin, gateway) -> None:
    """We capture what is authorised."""
    settings.RAZORPAY_CAPTURE = "manual"
    standin.settings(auto_capture=False)
    gateway._capture = "manual"


def authorise(job, gateway, standin, *, now) -> None:
    standin.pay(order_id(job), outcome="authorized")
    polling.poll_now([job.order_id], now=now)
    run_remote(CheckPayments(), gateway, now=now)


@pytest.mark.usefixtures("by_hand")
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


@pytest.mark.usefixtures("by_hand")
def test_a_late_authorisation_that_fails_ends_its_checkout_again(first, mug, gateway, standin, now):
    cancel(first, now=now)
    deliver(standin.pay(order_id(first)), status="authorized", captured=False, now=now)
    run(WEBHOOK, now=now)
    assert states() == [State.AWAITING_PAYMENT]
    Payment.objects.update(status="refunded")  # the bank took it back
    later = now + timedelta(minutes=1)
    run(EXPIRE, now=later)
    GatewayOrder.objects.update(polled_at=later)

    run(EXPIRE, now=later + timedelta(minutes=1))

    assert states() == [State.EXPIRED]
    assert stock_of(mug) == (3, 0)


@pytest.mark.usefixtures("by_hand")
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


@pytest.mark.usefixtures("by_hand")
def test_a_planned_capture_of_an_ended_checkout_is_decided_anew(
    buyer, first, mug, gateway, standin, now
):
    authorise(first, gateway, standin, now=now)
    assert Payment.objects.get().capture_at == now
    with transaction.atomic():  # as if it had ended before the money was known
        ended = Advance(State.CANCELLED, "cancelled by the buyer")
        jobs.apply([(reload(first), ended)], now=now)
    second = again_unhindered(buyer, mug, gateway, now=now + timedelta(seconds=1))
    pay(second, standin, now=now + timedelta(seconds=2))

    run_remote(CapturePayments(), gateway, now=now + timedelta(seconds=3))

    assert states() == [State.CANCELLED, State.PAID]
    payment = Payment.objects.get(gateway_order__order=first.order)
    assert (payment.status, payment.capture_at) == ("authorized", None)
    assert [it["captured"] for it in standin.payments()] == [False, True]
    assert not Refund.objects.exists()


@pytest.mark.usefixtures("by_hand")
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


def again_unhindered(buyer, mug, gateway, *, now) -> CheckoutJob:
    """Another checkout of this buyer's for the same, as if the POST had not been refused."""
    other = make_checkout(mug, now=now)
    CheckoutJob.objects.filter(pk=other.pk).update(owner=buyer)
    job = make_payable(reload(other), gateway, now=now)
    type(job.order).objects.filter(pk=job.order_id).update(owner=buyer)
    return reload(job)


@pytest.mark.usefixtures("by_hand")
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


# --- a buyer who starts again --------------------------------------------------------------------


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
    deliver(standin.pay(order_id(first)), amount=100, now=now)
    run(WEBHOOK, now=now)
    assert states() == [State.IN_REVIEW]

    with pytest.raises(start.PaymentInProgress) as refused:
        post_checkout(buyer, now=now)

    assert "looking into" in refused.value.message


def test_a_verified_return_is_money(buyer, first, mug, gateway, now):
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


# --- the last unit -------------------------------------------------------------------------------


@pytest.fixture
def last(mug):
    """The mug, one of it left."""
    mug.stock.on_hand = 1
    mug.stock.save()
    return mug


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


def test_a_repeat_is_no_surprise_when_the_units_were_out_of_stock_at_first(
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


def test_two_tabs_with_the_last_unit_buy_it_once(last, buyer, first, gateway, standin, now):
    second = post_checkout(buyer, terms=OTHER_TERMS, now=now + timedelta(seconds=1))
    second = make_payable(second, gateway, now=now + timedelta(seconds=2))
    assert second.state == State.AWAITING_PAYMENT

    pay(first, standin, now=now + timedelta(seconds=3))

    assert states() == [State.PAID, State.CANCELLED]
    assert not Refund.objects.exists()
    assert stock_of(last) == (0, 0)
    assert_books_agree()


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


def test_units_that_were_to_be_taken_over_go_free_with_the_checkout(last, buyer, first, now):
    second = post_checkout(buyer, terms=OTHER_TERMS, now=now + timedelta(seconds=1))
    third = post_checkout(buyer, now=now + timedelta(seconds=2))
    assert third.takes_over == second.takes_over == [first.order_id]
    assert stock_of(last) == (1, 1)
    assert_books_agree()

    cancel(third, now=now + timedelta(seconds=3))

    assert stock_of(last) == (1, 0)
    assert_books_agree()


@pytest.mark.usefixtures("by_hand")
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


def test_a_guest_who_holds_the_last_unit_keeps_it_when_signing_in(last, buyer, first, now):
    account = make_buyer(now=now)

    merge_guest(guest_id=buyer.pk, into_id=account.pk, now=now)

    (line,) = carts.read(account.pk, now=now).lines
    assert (line.quantity, line.problem) == (1, None)
    assert post_checkout(account, now=now).pk == first.pk


def test_two_open_checkouts_after_signing_in_are_one_purchase(
    buyer, first, mug, gateway, standin, now
):
    account = make_buyer(now=now)
    fill_cart(account, mug, now=now)
    second = again(account, gateway, now=now + timedelta(seconds=1))
    merge_guest(guest_id=buyer.pk, into_id=account.pk, now=now)

    for job in (first, second):
        deliver(standin.pay(order_id(job)), now=now + timedelta(seconds=2))
    run(WEBHOOK, now=now + timedelta(seconds=2))

    assert sorted(states()) == [State.PAID, State.REFUNDING]
    assert stock_of(mug) == (2, 0)
    assert_books_agree()


# --- decisions of people -------------------------------------------------------------------------


def action_request(buyer, *, now) -> ActionRequest:
    return ActionRequest(by_id=buyer.pk, reason="as the buyer asked", now=now)


def test_money_in_review_is_not_accepted_when_the_buyer_has_bought_the_same(
    buyer, first, mug, gateway, standin, now
):
    deliver(standin.pay(order_id(first)), amount=100, now=now)
    run(WEBHOOK, now=now)
    second = again_unhindered(buyer, mug, gateway, now=now + timedelta(seconds=1))
    pay(second, standin, now=now + timedelta(seconds=2))

    with pytest.raises(ActionRefused, match="bought the same"):
        actions.accept_money(first.pk, by=action_request(buyer, now=now))

    assert reload(first).state == State.IN_REVIEW


def test_money_in_review_is_not_accepted_while_the_buyer_pays_for_the_same(
    buyer, first, mug, gateway, standin, now
):
    deliver(standin.pay(order_id(first)), amount=100, now=now)
    run(WEBHOOK, now=now)
    second = again_unhindered(buyer, mug, gateway, now=now + timedelta(seconds=1))
    pay(second, standin, status="authorized", now=now + timedelta(seconds=2))

    with pytest.raises(ActionRefused, match="pays for the same"):
        actions.accept_money(first.pk, by=action_request(buyer, now=now))

    assert states() == [State.IN_REVIEW, State.AWAITING_PAYMENT]


def test_accepted_money_closes_an_open_checkout_of_the_same(
    buyer, first, mug, gateway, standin, now
):
    deliver(standin.pay(order_id(first)), amount=100, now=now)
    run(WEBHOOK, now=now)
    again_unhindered(buyer, mug, gateway, now=now + timedelta(seconds=1))

    actions.accept_money(first.pk, by=action_request(buyer, now=now))

    assert states() == [State.PAID, State.CANCELLED]
    assert_books_agree()


@pytest.mark.usefixtures("by_hand")
def test_staff_captures_nothing_that_would_be_given_back(
    first, mug, gateway, standin, settings, now
):
    settings.LATE_PAYMENT = "refund"
    cancel(first, now=now)
    authorise(first, gateway, standin, now=now)

    with pytest.raises(ActionRefused, match="given back"):
        actions.capture(Payment.objects.get().pk, by=action_request(first.owner, now=now))
