"""The public catalogue."""

import pytest

from shop.catalogue import Product, Variant
from shop.stock import StockLevel
from tests.support.api import Caller, granted, refused
from tests.support.shop import make_variant

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis")]


def names(path: str) -> list[str]:
    return [product["name"] for product in granted(Caller().get(path))["results"]]


def test_a_product_shows_its_variants_prices_and_free_units():
    variant = make_variant(price_paise=2248896, on_hand=10)
    StockLevel.objects.update(held=3)

    product = granted(Caller().get(f"/api/products/{variant.product_id}/"))

    assert product == {
        "id": variant.product_id,
        "name": variant.product.name,
        "slug": variant.product.slug,
        "description": "",
        "image": "",
        "variants": [
            {
                "id": variant.pk,
                "sku": variant.sku,
                "name": "",
                "price": 22488.96,
                "price_paise": 2248896,
                "available": 7,
            }
        ],
    }


def test_a_variant_that_was_never_stocked_has_no_units():
    variant = make_variant()
    StockLevel.objects.all().delete()

    product = granted(Caller().get(f"/api/products/{variant.product_id}/"))

    assert product["variants"][0]["available"] == 0


def test_products_are_paged():
    made = [make_variant().product.name for _ in range(25)]

    first = granted(Caller().get("/api/products/"))
    second = granted(Caller().get(first["next"]))

    assert first["count"] == 25
    assert [product["name"] for product in first["results"] + second["results"]] == made
    assert second["next"] is None


@pytest.mark.parametrize(
    ("search", "found"),
    [
        ("brass", ["Brass lamp"]),
        ("lamp BRASS", ["Brass lamp"]),
        ("lamp", ["Brass lamp", "Clay lamp"]),
        ("glows", ["Clay lamp"]),
        ("lamp mug", []),
        ("%25", []),  # not a wildcard
        ("", ["Brass lamp", "Clay lamp", "Mug"]),
    ],
)
def test_search_finds_products_with_all_the_words(search, found):
    for name, description in (("Brass lamp", ""), ("Clay lamp", "Glows."), ("Mug", "")):
        product = make_variant(name=name).product
        Product.objects.filter(pk=product.pk).update(description=description)

    assert names(f"/api/products/?search={search}") == found


def test_products_not_on_sale_are_not_shown():
    withdrawn, without_variants = make_variant(), make_variant()
    Product.objects.filter(pk=withdrawn.product_id).update(is_active=False)
    Variant.objects.filter(pk=without_variants.pk).update(is_active=False)

    assert names("/api/products/") == []
    for variant in (withdrawn, without_variants):
        refused(Caller().get(f"/api/products/{variant.product_id}/"), 404, "not_found")


def test_a_withdrawn_variant_is_not_shown_among_the_others():
    small = make_variant()
    Variant.objects.create(
        product=small.product, sku="XL", name="large", price_paise=1, is_active=False
    )

    product = granted(Caller().get(f"/api/products/{small.product_id}/"))

    assert [variant["sku"] for variant in product["variants"]] == [small.sku]


def test_an_expired_token_does_not_prevent_browsing():
    assert granted(Caller("not.a.token").get("/api/products/"))["results"] == []


def test_a_page_of_products_costs_as_many_queries_as_one_product(django_assert_max_num_queries):
    for _ in range(24):
        make_variant()

    with django_assert_max_num_queries(3):  # count, products, variants with stock
        granted(Caller().get("/api/products/"))
