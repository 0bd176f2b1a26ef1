"""The net under the ringing: what is overdue is found by its row."""

from datetime import timedelta

import pytest

from tests.support.events import deliver
from tests.support.shop import make_checkout, make_payable, place_order
from workers.sweeper import sweep

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis")]

LATER = timedelta(seconds=2)


def test_a_quiet_shop_is_left_alone(now):
    assert sweep(now=now) == []


def test_a_checkout_whose_ring_was_lost_is_rung_for(now):
    make_checkout(now=now)

    assert sweep(now=now + LATER) == ["checkout.validate_cart"]


def test_what_has_only_just_fallen_due_is_left_to_its_own_ring(now):
    make_checkout(now=now)

    assert sweep(now=now) == []


def test_a_claim_that_lapsed_is_rung_for(now, settings):
    from shop.checkout import jobs
    from shop.checkout.states import State

    place_order(make_checkout(now=now), now=now)
    jobs.claim_due(State.ORDERED, limit=1, now=now)

    assert sweep(now=now + LATER) == []
    lapsed = now + timedelta(seconds=settings.CLAIM_SECONDS) + LATER
    assert sweep(now=lapsed) == ["checkout.create_razorpay_order"]


def test_a_webhook_whose_ring_was_lost_is_rung_for(now):
    deliver({"id": "pay_1", "status": "captured"}, now=now)

    assert sweep(now=now + LATER) == ["payments.reconcile_webhook"]


def test_an_order_to_be_asked_about_is_rung_for(gateway, now):
    make_payable(make_checkout(now=now), gateway, now=now)

    assert sweep(now=now + timedelta(minutes=1)) == ["payments.check_payments"]


def test_the_end_of_the_hold_is_the_sweepers_own_business(gateway, now):
    job = make_payable(make_checkout(now=now), gateway, now=now)

    sweep(now=job.expires_at)

    job.refresh_from_db()
    assert "asking the bank" in job.waiting_for
