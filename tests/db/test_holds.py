"""Limits on unpaid units: for each address, for guests, and in time."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from django.core.management import call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from shop.accounts import User
from shop.catalogue import Variant
from shop.checkout import guests, start
from shop.checkout.jobs import CheckoutJob
from shop.checkout.states import State
from shop.checkout.steps.create_order import CREATE_ORDER
from shop.checkout.steps.create_razorpay_order import GIVE_UP
from shop.checkout.steps.expire import EXPIRE, FINAL_POLL_GRACE
from shop.checkout.steps.reconcile_webhook import ReconcileWebhook
from shop.checkout.steps.validate_cart import VALIDATE_CART
from shop.payments.ledger import GatewayOrder
from shop.stock import StockLevel
from tests.support.api import Caller, job_of, refused
from tests.support.events import deliver
from tests.support.shop import (
    TERMS,
    fill_cart,
    make_buyer,
    make_payable,
    make_variant,
    place_order,
    reload,
    run,
    stock_of,
)

pytestmark = pytest.mark.django_db

MINUTE = timedelta(minutes=1)
HOLD = timedelta(minutes=15)
ATTACKER, NEIGHBOUR = "49.36.80.10", "157.32.4.77"
HERE, THERE = 11, -12  # keys of two addresses


def guest_at(address: str) -> Caller:
    caller = Caller.guest()
    caller._client.defaults["REMOTE_ADDR"] = address
    return caller


def account(*, now: datetime) -> User:
    number = User.objects.count()
    return User.objects.create(email=f"buyer{number}@example.com", created_at=now)


def posted(
    variant: Variant,
    *more: Variant,
    units: int = 1,
    at: int | None = HERE,
    buyer: User | None = None,
    now: datetime,
) -> CheckoutJob:
    """A new guest at an address posts a cart of these variants."""
    buyer = buyer or make_buyer(now=now)
    fill_cart(buyer, variant, *more, quantity=units, now=now)
    accepted = start.start(
        owner_id=buyer.pk, terms=TERMS, seen=start.ClientView(), key="", now=now, address_key=at
    )
    return CheckoutJob.objects.get(pk=accepted.job_id)


def ended_as(job: CheckoutJob, *, now: datetime) -> tuple[str, str]:
    job = place_order(job, now=now)
    return job.state, job.error_code


def post_again(buyer: User, *, line1: str, now: datetime) -> CheckoutJob:
    """The buyer corrects the address: the open checkout is superseded."""
    terms = replace(TERMS, shipping_address={**TERMS.shipping_address, "line1": line1})
    accepted = start.start(
        owner_id=buyer.pk, terms=terms, seen=start.ClientView(), key="", now=now, address_key=HERE
    )
    return CheckoutJob.objects.get(pk=accepted.job_id)


def test_two_guests_at_one_address_leave_units_for_others(unhurried, redis):
    call_command("seed")
    shelf = list(StockLevel.objects.filter(on_hand__gt=0).select_related("variant"))
    guests = [guest_at(ATTACKER), guest_at(ATTACKER)]

    for level in shelf:
        guests[level.on_hand > 100].add(level.variant, quantity=min(level.on_hand, 100))
    for guest in guests:
        guest.post_checkout()
    for step in (VALIDATE_CART, CREATE_ORDER):
        run(step, now=timezone.now())

    assert sum(level.held for level in StockLevel.objects.all()) <= 300
    assert all(level.free for level in StockLevel.objects.filter(on_hand__gt=10))


def test_many_guests_at_one_address_leave_units_for_guests_elsewhere(now):
    variants = [make_variant(on_hand=40) for _ in range(20)]
    for variant in variants:
        for _ in range(10):
            place_order(posted(variant, units=4, now=now), now=now)

    held = [stock_of(variant)[1] for variant in variants]
    assert sum(held) == 300
    assert max(held) == 20

    assert ended_as(posted(*variants, at=THERE, now=now), now=now) == (State.ORDERED, "")


def test_the_callers_address_is_kept_as_a_hash_until_the_checkout_ends(redis):
    checkout = guest_at(ATTACKER).check_out()
    beside = guest_at(ATTACKER).check_out()
    elsewhere = guest_at(NEIGHBOUR).check_out()

    keys = [job_of(posted).address_key for posted in (checkout, beside, elsewhere)]
    assert keys[0] == keys[1] != keys[2]
    assert ATTACKER not in str(CheckoutJob.objects.filter(pk=checkout["id"]).values().get())

    job = job_of(checkout)
    start.cancel(owner_id=job.owner_id, job_id=job.pk, now=job.created_at)
    assert job_of(checkout).address_key is None


@pytest.mark.parametrize("address", ["127.0.0.1", "10.0.3.4", "::1", "fd00::1", "unknown", ""])
def test_an_address_that_may_be_our_own_proxys_is_none(redis, address):
    assert job_of(guest_at(address).check_out()).address_key is None


def test_one_ipv6_network_is_one_address(redis):
    one, other = (guest_at(f"2401:4900:1c5a:1::{n}").check_out() for n in (1, 2))

    assert job_of(one).address_key == job_of(other).address_key is not None


def test_a_buyer_holds_no_more_than_the_limit_of_a_buyer(redis, settings):
    settings.HELD_UNITS_PER_BUYER = 5
    buyer = Caller.guest()
    buyer.add(make_variant(), quantity=3)
    buyer.add(make_variant(), quantity=3)

    refusal = refused(buyer.post_checkout(), 400, "too_many_units")

    assert refusal["details"] == {"limit": 5, "units": 6}
    assert not CheckoutJob.objects.exists()


def test_the_refusal_says_what_to_do(redis, now):
    variant = make_variant(on_hand=40)
    place_order(posted(variant, units=15, now=now), now=now)

    late = place_order(posted(variant, units=6, now=now), now=now)

    assert (late.state, late.error_code) == (State.FAILED, "too_many_held")
    assert "pay or cancel one of them first" in late.error_message
    assert late.error_details == {"sku": variant.sku, "wanted": 6, "available": 5}


def test_an_address_holds_its_share_of_a_variant_in_one_batch(now):
    variant = make_variant(on_hand=40)
    jobs = [posted(variant, units=6, buyer=account(now=now), now=now) for _ in range(5)]

    run(VALIDATE_CART, now=now)
    run(CREATE_ORDER, now=now)

    assert sorted(reload(job).error_code for job in jobs) == ["", "", "", *["too_many_held"] * 2]
    assert stock_of(variant) == (40, 18)


def test_checkouts_of_one_account_in_one_batch_count_together(settings, now):
    settings.HELD_UNITS_PER_ADDRESS = settings.HELD_UNITS_PER_BUYER = 8
    buyer = account(now=now)
    jobs = []
    for _ in range(4):  # as a guest each time, who signs in
        guest = make_buyer(now=now)
        jobs.append(posted(make_variant(), units=3, buyer=guest, now=now))
        guests.merge_guest(guest_id=guest.pk, into_id=buyer.pk, now=now)

    run(VALIDATE_CART, now=now)
    run(CREATE_ORDER, now=now)

    assert sorted(reload(job).error_code for job in jobs) == ["", "", *["too_many_held"] * 2]


def test_guests_leave_a_share_of_a_variant_to_accounts(now):
    variant = make_variant(on_hand=50)
    for number in range(10):
        assert ended_as(posted(variant, units=4, at=number, now=now), now=now)[0] == State.ORDERED

    guest = posted(variant, at=None, now=now)
    assert ended_as(guest, now=now) == (State.FAILED, "guests_hold_too_many")
    assert "sign in" in reload(guest).error_message

    signed_in = posted(variant, units=10, at=None, buyer=account(now=now), now=now)
    assert ended_as(signed_in, now=now) == (State.ORDERED, "")
    assert stock_of(variant) == (50, 50)


def test_what_accounts_hold_does_not_count_against_guests(now):
    variant = make_variant(on_hand=50)
    for number in range(4):
        buyer = account(now=now)
        place_order(posted(variant, units=10, at=number, buyer=buyer, now=now), now=now)

    assert ended_as(posted(variant, units=10, now=now), now=now) == (State.ORDERED, "")


def test_guests_in_one_batch_hold_no_more_than_their_share(now):
    variant = make_variant(on_hand=50)
    jobs = [posted(variant, units=7, at=number, now=now) for number in range(7)]

    run(VALIDATE_CART, now=now)
    run(CREATE_ORDER, now=now)

    assert stock_of(variant) == (50, 35)
    assert [reload(job).error_code for job in jobs].count("guests_hold_too_many") == 2


@pytest.mark.parametrize("on_hand", [1, 2, 10])
def test_a_guest_can_buy_all_of_a_small_stock(on_hand, now):
    variant = make_variant(on_hand=on_hand)

    assert ended_as(posted(variant, units=on_hand, now=now), now=now) == (State.ORDERED, "")


def test_a_guest_can_buy_the_last_unit_of_a_sale(now):
    variant = make_variant(on_hand=100)
    StockLevel.objects.filter(pk=variant.pk).update(on_hand=1)  # the other units were sold

    assert ended_as(posted(variant, now=now), now=now) == (State.ORDERED, "")


def test_an_office_of_fifty_behind_one_address_is_served(now):
    shelf = [make_variant(on_hand=60) for _ in range(10)]
    jobs = [posted(shelf[n % 10], shelf[(n + 1) % 10], units=2, now=now) for n in range(50)]

    run(VALIDATE_CART, now=now)
    run(CREATE_ORDER, now=now)

    assert {reload(job).state for job in jobs} == {State.ORDERED}


def cancel(job: CheckoutJob, now: datetime) -> None:
    start.cancel(owner_id=job.owner_id, job_id=job.pk, now=now)


def expire(job: CheckoutJob, now: datetime) -> None:
    assert job.expires_at is not None
    run(EXPIRE, now=job.expires_at + FINAL_POLL_GRACE)


@pytest.mark.parametrize("end", [cancel, expire], ids=["cancelled", "expired"])
def test_units_of_an_ended_checkout_count_no_more(end, gateway, now):
    variant = make_variant(on_hand=40)
    first = make_payable(posted(variant, units=20, now=now), gateway, now=now)
    assert ended_as(posted(variant, now=now), now=now) == (State.FAILED, "too_many_held")

    end(first, now)

    later = now + 2 * HOLD
    assert ended_as(posted(variant, units=20, now=later), now=later) == (State.ORDERED, "")


def test_units_that_wait_to_be_taken_over_count_for_the_address(now):
    variant, buyer = make_variant(on_hand=40), make_buyer(now=now)
    place_order(posted(variant, units=20, buyer=buyer, now=now), now=now)
    again = post_again(buyer, line1="13 MG Road", now=now)
    CheckoutJob.objects.filter(pk=again.pk).update(due_at=now + MINUTE)

    assert ended_as(posted(variant, now=now), now=now) == (State.FAILED, "too_many_held")

    assert ended_as(again, now=now + MINUTE) == (State.ORDERED, "")
    assert stock_of(variant) == (40, 20)


def test_units_that_wait_to_be_taken_over_by_guests_count_for_guests(now):
    variant, buyer = make_variant(on_hand=20), make_buyer(now=now)
    place_order(posted(variant, units=10, at=HERE, buyer=buyer, now=now), now=now)
    again = post_again(buyer, line1="13 MG Road", now=now)
    CheckoutJob.objects.filter(pk=again.pk).update(due_at=now + MINUTE)

    late = posted(variant, units=7, at=THERE, now=now)
    assert ended_as(late, now=now) == (State.FAILED, "guests_hold_too_many")

    assert ended_as(again, now=now + MINUTE) == (State.ORDERED, "")


def test_paid_units_count_no_more(gateway, standin, now):
    variant = make_variant(on_hand=40)
    make_payable(posted(variant, units=20, now=now), gateway, now=now)

    deliver(standin.pay(GatewayOrder.objects.get().gateway_order_id), now=now)
    run(ReconcileWebhook(), now=now)

    assert stock_of(variant) == (20, 0)
    assert ended_as(posted(variant, units=10, now=now), now=now) == (State.ORDERED, "")


# --- how long ------------------------------------------------------------------------------------


@pytest.fixture
def buyer(now):
    return make_buyer(now=now)


@pytest.fixture
def variant():
    return make_variant(on_hand=5)


def test_posting_again_and_again_does_not_keep_units(buyer, variant, gateway, now):
    job = make_payable(posted(variant, buyer=buyer, now=now), gateway, now=now)
    moment, turns = now, 0
    while job.state == State.AWAITING_PAYMENT:
        assert moment < job.expires_at <= now + 2 * HOLD
        moment, turns = moment + 4 * MINUTE, turns + 1
        job = make_payable(
            post_again(buyer, line1=f"{turns} MG Road", now=moment), gateway, now=moment
        )

    assert (job.state, job.error_code) == (State.FAILED, "held_too_long")
    assert job.error_details == {"retry_after_seconds": 60}
    assert moment == now + 28 * MINUTE
    assert stock_of(variant) == (5, 0)


def test_posts_that_no_worker_has_processed_do_not_keep_units(buyer, variant, gateway, now):
    make_payable(posted(variant, buyer=buyer, now=now), gateway, now=now)
    for minutes in range(1, 28):
        post_again(buyer, line1=f"{minutes} MG Road", now=now + minutes * MINUTE)
        assert stock_of(variant) == (5, 1)

    late = now + 28 * MINUTE
    job = post_again(buyer, line1="28 MG Road", now=late)

    assert stock_of(variant) == (5, 0)
    assert ended_as(job, now=late) == (State.FAILED, "held_too_long")


def test_cancelling_and_posting_again_does_not_keep_units(buyer, variant, gateway, now):
    job = make_payable(posted(variant, buyer=buyer, now=now), gateway, now=now)
    moment = now
    while job.state == State.AWAITING_PAYMENT:
        assert moment < job.expires_at <= now + 2 * HOLD
        moment += 9 * MINUTE
        cancel(job, moment)
        moment += timedelta(seconds=50)
        job = make_payable(post_again(buyer, line1=str(moment), now=moment), gateway, now=moment)

    assert job.error_code == "held_too_long"
    assert moment < now + 2 * HOLD


def test_an_address_corrected_at_the_last_minute_leaves_time_to_pay(buyer, variant, gateway, now):
    make_payable(posted(variant, buyer=buyer, now=now), gateway, now=now)
    corrected_at = now + 14 * MINUTE

    job = make_payable(
        post_again(buyer, line1="13 MG Road", now=corrected_at), gateway, now=corrected_at
    )

    assert job.expires_at == corrected_at + HOLD
    assert job.hold_until == now + 2 * HOLD


def test_a_payable_checkout_can_be_paid_for_three_minutes(buyer, variant, gateway, now):
    make_payable(posted(variant, buyer=buyer, now=now), gateway, now=now)
    at = now + 27 * MINUTE

    job = make_payable(post_again(buyer, line1="13 MG Road", now=at), gateway, now=at)

    assert job.expires_at - at == 3 * MINUTE


def test_after_a_break_the_buyer_may_hold_again(buyer, variant, gateway, now):
    job = make_payable(posted(variant, buyer=buyer, now=now), gateway, now=now)
    ended_at = now + 28 * MINUTE
    cancel(job, ended_at)

    again_at = ended_at + MINUTE
    job = make_payable(post_again(buyer, line1="13", now=again_at), gateway, now=again_at)

    assert (job.state, job.expires_at) == (State.AWAITING_PAYMENT, again_at + HOLD)


def test_other_goods_have_a_new_hold(buyer, variant, gateway, now):
    job = make_payable(posted(variant, buyer=buyer, now=now), gateway, now=now)
    later = now + 28 * MINUTE
    cancel(job, later)
    CheckoutJob.objects.get(pk=job.pk).cart.items.all().delete()

    other = make_payable(posted(make_variant(), buyer=buyer, now=later), gateway, now=later)

    assert other.hold_until == later + 2 * HOLD


def test_an_unavailable_gateway_does_not_extend_an_inherited_hold(buyer, variant, now):
    place_order(posted(variant, buyer=buyer, now=now), now=now)
    at = now + 20 * MINUTE
    job = place_order(post_again(buyer, line1="13", now=at), now=at)
    assert job.hold_until == now + 2 * HOLD

    run(GIVE_UP, now=now + 2 * HOLD - timedelta(seconds=1))
    assert reload(job).state == State.ORDERED
    run(GIVE_UP, now=now + 2 * HOLD)

    assert reload(job).error_code == "gateway_unavailable"
    assert stock_of(variant) == (5, 0)


# --- what it costs -------------------------------------------------------------------------------


def test_limits_cost_as_many_statements_for_many_as_for_two(now):
    def statements(number: int) -> int:
        variant = make_variant(on_hand=50)
        for place in range(number):
            posted(variant, units=4, at=place % 3, now=now)
            posted(variant, at=None, buyer=account(now=now), now=now)
        run(VALIDATE_CART, now=now)
        with CaptureQueriesContext(connection) as captured:
            run(CREATE_ORDER, now=now)
        return len(captured)

    assert statements(20) == statements(11)
