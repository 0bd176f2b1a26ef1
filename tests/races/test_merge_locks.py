"""The merge of a guest and the POST of a checkout lock rows in one order."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from shop.accounts import User
from shop.carts import Cart
from shop.checkout.guests import merge_guest
from shop.checkout.jobs import CheckoutJob
from tests.support.lock_order import assert_order
from tests.support.shop import fill_cart, make_buyer, make_variant, post_checkout

pytestmark = pytest.mark.django_db(transaction=True)

NOW = datetime(2026, 11, 22, 6, 30, tzinfo=UTC)


@pytest.fixture
def guest() -> User:
    """With two checkouts, of which the one with the higher id is the newer one."""
    buyer = make_buyer(now=NOW)
    for _ in range(2):  # the second supersedes the first
        fill_cart(buyer, make_variant(), now=NOW)
        post_checkout(buyer, now=NOW)
    for place, job in enumerate(CheckoutJob.objects.order_by("id")):
        CheckoutJob.objects.filter(pk=job.pk).update(created_at=NOW + timedelta(minutes=place))
    return buyer


@pytest.fixture
def account() -> User:
    return User.objects.create(email="asha@example.com")


def test_a_merge_locks_the_guest_before_their_checkouts(guest, account):
    assert_order(
        lambda: merge_guest(guest_id=guest.pk, into_id=account.pk, now=NOW),
        first=guest,
        later=CheckoutJob.objects.order_by("id")[0],
    )


def test_a_merge_locks_checkouts_in_id_order(guest, account):
    first, later = CheckoutJob.objects.order_by("id")

    assert_order(
        lambda: merge_guest(guest_id=guest.pk, into_id=account.pk, now=NOW),
        first=first,
        later=later,
    )


def test_a_merge_locks_checkouts_before_carts(guest, account):
    first, _ = CheckoutJob.objects.order_by("id")

    assert_order(
        lambda: merge_guest(guest_id=guest.pk, into_id=account.pk, now=NOW),
        first=first,
        later=Cart.objects.get(owner=guest),
    )


def test_a_post_locks_the_buyer_before_their_checkouts(guest):
    fill_cart(guest, make_variant(), now=NOW)

    assert_order(
        lambda: post_checkout(guest, now=NOW),
        first=guest,
        later=CheckoutJob.objects.get(state="queued"),
    )
