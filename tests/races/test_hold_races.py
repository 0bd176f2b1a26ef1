"""Limits on units held unpaid, with concurrent connections that want more than is left."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import pytest
from django.db import transaction

from shop.accounts import User
from shop.catalogue import Variant
from shop.checkout import jobs, start
from shop.checkout.jobs import CheckoutJob
from shop.checkout.states import State
from shop.checkout.steps import create_order
from shop.checkout.steps.validate_cart import VALIDATE_CART
from shop.db import fast
from shop.stock import StockLevel
from tests.support.shop import TERMS, fill_cart, make_buyer, make_variant, reload, run
from tests.support.threads import all_at_once

pytestmark = pytest.mark.django_db(transaction=True)

NOW = datetime(2026, 11, 22, 6, 30, tzinfo=UTC)
ADDRESS = -4611686018427387904


def validated(
    variant: Variant, *, units: int, address_key: int | None, buyer: User | None = None
) -> CheckoutJob:
    buyer = buyer or make_buyer(now=NOW)
    fill_cart(buyer, variant, quantity=units, now=NOW)
    accepted = start.start(
        owner_id=buyer.pk,
        terms=TERMS,
        seen=start.ClientView(),
        key="",
        now=NOW,
        address_key=address_key,
    )
    run(VALIDATE_CART, now=NOW)
    return CheckoutJob.objects.get(pk=accepted.job_id)


def create_orders(batch: Sequence[CheckoutJob]) -> None:
    """Run the step of a worker that has locked only these jobs."""
    with transaction.atomic():
        locked = fast.select(
            CheckoutJob,
            "WHERE id = ANY(%s) ORDER BY id FOR NO KEY UPDATE",
            [fast.array(job.pk for job in batch)],
        )
        jobs.apply(list(zip(locked, create_order.create_order(locked, NOW), strict=True)), now=NOW)


def held() -> int:
    return sum(StockLevel.objects.values_list("held", flat=True))


def ended(batch: Sequence[CheckoutJob]) -> list[str]:
    return sorted(reload(job).error_code or reload(job).state for job in batch)


def test_an_address_holds_no_more_than_its_total_over_different_variants(settings):
    settings.HELD_UNITS_PER_ADDRESS = 9
    waiting = [validated(make_variant(), units=2, address_key=ADDRESS) for _ in range(8)]

    results = all_at_once(*(lambda job=job: create_orders([job]) for job in waiting))

    assert results == [None] * 8
    assert ended(waiting) == [State.ORDERED] * 4 + ["too_many_held"] * 4
    assert held() == 8


def test_an_address_holds_no_more_than_its_share_of_a_variant():
    variant = make_variant(on_hand=30)
    waiting = [validated(variant, units=4, address_key=ADDRESS) for _ in range(8)]

    results = all_at_once(*(lambda job=job: create_orders([job]) for job in waiting))

    assert results == [None] * 8
    assert ended(waiting) == [State.ORDERED] * 3 + ["too_many_held"] * 5
    assert held() == 12


def test_guests_hold_no_more_than_their_share_of_a_variant():
    variant = make_variant(on_hand=20)
    waiting = [validated(variant, units=3, address_key=None) for _ in range(8)]

    results = all_at_once(*(lambda job=job: create_orders([job]) for job in waiting))

    assert results == [None] * 8
    assert ended(waiting) == ["guests_hold_too_many"] * 3 + [State.ORDERED] * 5
    assert held() == 15


def test_batches_of_the_same_addresses_and_variants_do_not_deadlock():
    shelf = [make_variant(on_hand=1000) for _ in range(4)]
    waiting = [
        [validated(shelf[(n + turn) % 4], units=1, address_key=n - 3) for n in range(6)]
        for turn in range(6)
    ]

    results = all_at_once(*(lambda batch=batch: create_orders(batch) for batch in waiting))

    assert results == [None] * 6
    assert held() == 36


def test_a_cancel_beside_a_full_address_is_no_deadlock_and_frees_units(settings):
    settings.HELD_UNITS_PER_ADDRESS = 4
    variant = make_variant()
    first = validated(variant, units=4, address_key=ADDRESS)
    create_orders([first])
    second = validated(variant, units=4, address_key=ADDRESS)

    results = all_at_once(
        lambda: start.cancel(owner_id=first.owner_id, job_id=first.pk, now=NOW),
        lambda: create_orders([second]),
    )

    assert not [result for result in results if isinstance(result, Exception)]
    assert reload(second).error_code in {"", "too_many_held"}
    assert held() in {0, 4}
