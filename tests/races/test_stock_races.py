"""Many concurrent buyers of few units."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from django.db import IntegrityError, transaction

from shop import carts, stock
from shop.checkout import jobs, start
from shop.checkout.jobs import CheckoutJob
from shop.checkout.states import State
from shop.checkout.steps import create_order
from shop.checkout.steps.validate_cart import VALIDATE_CART
from shop.orders import Order
from tests.support.shop import (
    fill_cart,
    make_buyer,
    make_checkout,
    make_variant,
    post_checkout,
    reload,
    run,
    stock_of,
)
from tests.support.threads import all_at_once

pytestmark = pytest.mark.django_db(transaction=True)

NOW = datetime(2026, 11, 22, 6, 30, tzinfo=UTC)


def validated(*variants) -> CheckoutJob:
    job = make_checkout(*variants, now=NOW)
    run(VALIDATE_CART, now=NOW)
    return job


def create_order_alone(job: CheckoutJob) -> None:
    """Run the step of a worker that has locked only this job."""
    with transaction.atomic():
        [locked] = CheckoutJob.objects.filter(pk=job.pk).select_for_update(no_key=True)
        jobs.apply([(locked, create_order.create_order([locked], NOW)[0])], now=NOW)


def test_the_last_unit_goes_to_one_of_sixty_four():
    variant = make_variant(on_hand=1)
    waiting = [validated(variant) for _ in range(64)]

    results = all_at_once(*(lambda job=job: create_order_alone(job) for job in waiting))

    assert not [result for result in results if isinstance(result, Exception)]
    ended = [reload(job) for job in waiting]
    assert [job.state for job in ended].count(State.ORDERED) == 1
    assert {job.error_code for job in ended if job.state == State.FAILED} == {"out_of_stock"}
    assert stock_of(variant) == (1, 1)


def test_carts_that_share_one_scarce_variant_are_served_whole_or_not_at_all():
    shared = make_variant(on_hand=10)
    own = [make_variant(on_hand=5) for _ in range(24)]
    waiting = [validated(shared, other) for other in own]

    all_at_once(*(lambda job=job: create_order_alone(job) for job in waiting))

    served = [reload(job).state == State.ORDERED for job in waiting]
    assert sum(served) == Order.objects.count() == 10
    assert stock_of(shared) == (10, 10)
    assert [stock_of(other)[1] for other in own] == [int(was_served) for was_served in served]


def test_a_cart_that_changes_under_the_post_is_ordered_as_it_was_at_one_moment():
    buyer, mug, plate = make_buyer(now=NOW), make_variant(), make_variant()
    before = fill_cart(buyer, mug, now=NOW)

    def post() -> CheckoutJob:
        return post_checkout(buyer, now=NOW)

    def edit() -> None:
        carts.add(buyer.pk, variant_id=plate.pk, quantity=1, now=NOW)

    results = all_at_once(post, edit, post, edit, post)

    after = carts.read(buyer.pk, now=NOW)
    assert not [result for result in results if isinstance(result, Exception)]
    posted = {job.pk: job for job in results if isinstance(job, CheckoutJob)}
    for job in posted.values():
        lines = {line.variant_id: line.units for line in job.frozen_lines}
        plates = job.cart_version - before.version
        assert lines == {mug.pk: 1} | ({plate.pk: plates} if plates else {})
        assert job.amount_paise == (1 + plates) * mug.price_paise
        assert job.cart_version <= after.version
    assert CheckoutJob.objects.exclude(state=State.CANCELLED).count() == 1


def test_units_of_an_order_are_sold_or_released_and_that_once():
    variant = make_variant(on_hand=5)
    job = validated(variant)
    create_order_alone(job)
    order_id = reload(job).order_id

    def within(leave) -> set[int]:
        with transaction.atomic():
            return leave([order_id])

    results = all_at_once(*[lambda it=it: within(it) for it in [stock.sell, stock.release] * 4])

    assert sorted(map(len, results)) == [0] * 7 + [1]
    was_sold = {order_id} in results[::2]
    assert stock_of(variant) == ((4, 0) if was_sold else (5, 0))


def test_whoever_forgets_the_lock_is_refused_by_the_table():
    variant = make_variant(on_hand=1)

    results = all_at_once(*[lambda: stock.hold({variant.pk: 1})] * 8)

    assert sum(isinstance(result, IntegrityError) for result in results) == 7
    assert stock_of(variant) == (1, 1)


def test_a_checkout_that_is_cancelled_from_many_tabs_frees_its_units_once():
    variant = make_variant(on_hand=5)
    job = validated(variant)
    create_order_alone(job)

    results = all_at_once(
        *[lambda: start.cancel(owner_id=job.owner_id, job_id=job.pk, now=NOW)] * 6
    )

    assert {result.state for result in results} == {State.CANCELLED}
    assert reload(job).transitions.filter(new=State.CANCELLED).count() == 1
    assert stock_of(variant) == (5, 0)
