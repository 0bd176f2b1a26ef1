import pytest

from shop.catalogue import Product, Variant
from shop.checkout.states import State
from shop.checkout.steps.create_order import CREATE_ORDER
from shop.checkout.steps.validate_cart import VALIDATE_CART
from shop.stock import StockLevel
from tests.support.shop import make_checkout, make_variant, reload, run

pytestmark = pytest.mark.django_db


def test_a_cart_that_the_shop_still_sells_is_valid(now):
    job = make_checkout(now=now)

    run(VALIDATE_CART, now=now)

    assert reload(job).state == State.VALIDATED


def test_a_changed_price_fails_with_both_prices(now):
    variant = make_variant(price_paise=10000)
    job = make_checkout(variant, now=now)
    Variant.objects.filter(pk=variant.pk).update(price_paise=12000)

    run(VALIDATE_CART, now=now)

    job = reload(job)
    assert (job.state, job.error_code) == (State.FAILED, "price_changed")
    assert job.error_details == {"sku": variant.sku, "seen_paise": 10000, "now_paise": 12000}
    assert "₹120.00" in job.error_message


@pytest.mark.parametrize("table", [Variant, Product])
def test_an_item_that_is_no_longer_sold_fails(table, now):
    variant = make_variant()
    job = make_checkout(variant, now=now)
    table.objects.update(is_active=False)

    run(VALIDATE_CART, now=now)

    assert reload(job).error_code == "product_unavailable"


def test_too_few_units_fail_with_how_many_are_left(now):
    variant = make_variant(on_hand=5)
    job = make_checkout(variant, quantity=5, now=now)
    StockLevel.objects.update(on_hand=2)

    run(VALIDATE_CART, now=now)

    job = reload(job)
    assert job.error_code == "out_of_stock"
    assert job.error_details == {"sku": variant.sku, "wanted": 5, "available": 2}


def test_less_than_one_rupee_cannot_be_charged(now):
    job = make_checkout(make_variant(price_paise=99), now=now)

    run(VALIDATE_CART, now=now)

    assert reload(job).error_code == "amount_too_small"


def test_a_price_change_after_validation_does_not_reach_the_order(now):
    variant = make_variant(price_paise=10000)
    job = make_checkout(variant, now=now)
    run(VALIDATE_CART, now=now)
    Variant.objects.filter(pk=variant.pk).update(price_paise=12000)

    run(CREATE_ORDER, now=now)

    assert reload(job).order.amount_paise == 10000
