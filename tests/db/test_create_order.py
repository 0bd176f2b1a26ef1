from datetime import timedelta

import pytest
from django.db import IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext

from shop import stock
from shop.checkout.states import State
from shop.checkout.steps.create_order import CREATE_ORDER
from shop.checkout.steps.validate_cart import VALIDATE_CART
from shop.orders import Order
from tests.support.shop import make_checkout, make_variant, place_order, reload, run, stock_of

pytestmark = pytest.mark.django_db


def test_the_money_of_the_checkout_is_the_orders(now):
    variant = make_variant(price_paise=2248896)

    job = place_order(make_checkout(variant, quantity=2, now=now), now=now)

    assert job.order.amount_paise == job.amount_paise == 4497792
    [line] = job.order.lines.all()
    assert (line.units, line.unit_price_paise, line.sku) == (2, 2248896, variant.sku)


def test_units_are_held_with_the_order(now):
    variant = make_variant(on_hand=5)

    place_order(make_checkout(variant, quantity=2, now=now), now=now)

    assert stock_of(variant) == (5, 2)


def test_units_go_to_the_job_that_became_due_first(now):
    variant = make_variant(on_hand=1)
    late = make_checkout(variant, now=now)
    early = make_checkout(variant, now=now - timedelta(seconds=5))

    place_order(late, now=now)

    assert reload(early).state == State.ORDERED
    assert reload(late).error_code == "out_of_stock"
    assert stock_of(variant) == (1, 1)


def test_an_order_holds_all_its_lines_or_none(now):
    plenty, scarce = make_variant(on_hand=9), make_variant(on_hand=1)
    make_checkout(scarce, now=now - timedelta(seconds=5))
    both = make_checkout(plenty, scarce, now=now)

    place_order(both, now=now)

    assert reload(both).error_code == "out_of_stock"
    assert stock_of(plenty) == (9, 0)


def test_one_that_fails_leaves_its_units_to_the_next_in_the_batch(now):
    rare, mug = make_variant(on_hand=0), make_variant(on_hand=1)
    job = make_checkout(rare, mug, now=now - timedelta(seconds=5))
    next_one = make_checkout(mug, now=now)
    for waiting in (job, next_one):
        type(job).objects.filter(pk=waiting.pk).update(state=State.VALIDATED)

    run(CREATE_ORDER, now=now)

    assert reload(job).state == State.FAILED
    assert reload(next_one).state == State.ORDERED


def test_a_crash_before_the_commit_leaves_nothing_and_the_job_due(now):
    variant = make_variant()
    job = make_checkout(variant, now=now)
    run(VALIDATE_CART, now=now)

    def die_before_the_commit() -> None:
        with transaction.atomic():
            run(CREATE_ORDER, now=now)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        die_before_the_commit()

    assert reload(job).state == State.VALIDATED
    assert not Order.objects.exists()
    assert stock_of(variant) == (10, 0)


def test_a_job_that_has_its_order_already_advances(now):
    variant = make_variant()
    job = place_order(make_checkout(variant, now=now), now=now)
    type(job).objects.filter(pk=job.pk).update(state=CREATE_ORDER.state, due_at=now)

    run(CREATE_ORDER, now=now)

    assert reload(job).state == State.ORDERED
    assert Order.objects.count() == 1
    assert stock_of(variant) == (10, 1)


def test_the_table_itself_refuses_to_hold_more_than_is_there(now):
    variant = make_variant(on_hand=1)

    with pytest.raises(IntegrityError, match="stock_held_at_most_on_hand"), transaction.atomic():
        stock.hold({variant.pk: 2})


@pytest.mark.parametrize("step", [VALIDATE_CART, CREATE_ORDER])
def test_a_batch_of_many_costs_as_many_statements_as_one_of_two(step, now):
    def statements(batch: int) -> int:
        for job in [make_checkout(make_variant(), make_variant(), now=now) for _ in range(batch)]:
            if step is CREATE_ORDER:
                type(job).objects.filter(pk=job.pk).update(state=State.VALIDATED)
        with CaptureQueriesContext(connection) as captured:
            run(step, now=now)
        return len(captured)

    assert statements(2) == statements(12)
