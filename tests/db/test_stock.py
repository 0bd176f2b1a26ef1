"""The units of an order are held, sold and released once."""

import pytest

from shop import stock
from shop.orders import StockState
from tests.support.shop import make_checkout, make_variant, place_order, stock_of

pytestmark = pytest.mark.django_db


@pytest.fixture
def variant():
    return make_variant(on_hand=5)


@pytest.fixture
def order(variant, now):
    place_order(make_checkout(variant, quantity=2, now=now), now=now)  # units of another order
    return place_order(make_checkout(variant, quantity=2, now=now), now=now).order


def test_units_are_released_once(order, variant):
    assert stock.release([order.pk]) == {order.pk}
    assert stock.release([order.pk]) == set()

    assert stock_of(variant) == (5, 2)


def test_units_are_sold_once(order, variant):
    assert stock.sell([order.pk]) == {order.pk}
    assert stock.sell([order.pk]) == set()

    assert stock_of(variant) == (3, 2)


def test_sold_units_cannot_be_released(order, variant):
    stock.sell([order.pk])

    stock.release([order.pk])

    assert stock_of(variant) == (3, 2)


def test_released_units_are_held_again_if_all_are_free(order, variant):
    stock.release([order.pk])

    assert stock.hold_again(order.pk)

    order.refresh_from_db()
    assert order.stock_state == StockState.HELD
    assert stock_of(variant) == (5, 4)


def test_units_that_another_order_took_are_not_held_again(order, variant, now):
    stock.release([order.pk])
    place_order(make_checkout(variant, quantity=2, now=now), now=now)

    assert not stock.hold_again(order.pk)

    assert stock_of(variant) == (5, 4)
