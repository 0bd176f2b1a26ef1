"""Stock with units that orders hold or bought is never deleted, in the admin or in SQL."""

import pytest
from django.db import IntegrityError, transaction

from shop.accounts import User
from shop.catalogue import Variant
from shop.stock import StockLevel
from tests.support.payments import pay_and_poll
from tests.support.shop import make_checkout, make_payable, make_variant, stock_of

pytestmark = pytest.mark.django_db


@pytest.fixture
def admin(client):
    client.force_login(User.objects.create_superuser("admin@example.com", "x"))
    return client


@pytest.mark.parametrize("units", ["held", "sold"])
def test_stock_that_orders_use_cannot_be_deleted(units, admin, gateway, standin, now):
    job = make_payable(make_checkout(now=now), gateway, now=now)
    if units == "sold":
        pay_and_poll(job, gateway, standin, now=now)
    level = StockLevel.objects.get()
    url = f"/admin/shop/stocklevel/{level.pk}/delete/"

    asked = admin.get(url).content.decode()
    admin.post(url, {"post": "yes"})
    chosen = {"action": "delete_selected", "_selected_action": [level.pk], "post": "yes"}
    admin.post("/admin/shop/stocklevel/", chosen)

    held = 1 if units == "held" else 0
    assert f"{level.variant.sku}: {held} units are held and 1 were ordered" in asked
    assert StockLevel.objects.filter(pk=level.pk).exists()


def test_the_table_itself_keeps_stock_that_orders_use(gateway, now):
    make_payable(make_checkout(now=now), gateway, now=now)

    with pytest.raises(IntegrityError, match="are held or sold"), transaction.atomic():
        StockLevel.objects.all().delete()

    assert StockLevel.objects.get().held == 1


def test_stock_that_nobody_ordered_can_be_deleted(admin, now):
    variant = make_variant()

    admin.post(f"/admin/shop/stocklevel/{variant.pk}/delete/", {"post": "yes"})

    assert not StockLevel.objects.exists()


@pytest.mark.parametrize("table", ["product", "variant"])
def test_a_variant_or_product_that_was_ordered_cannot_be_deleted(table, admin, gateway, now):
    make_payable(make_checkout(now=now), gateway, now=now)
    variant = Variant.objects.get()
    product = variant.product

    if table == "product":
        url = f"/admin/shop/product/{product.pk}/delete/"
        answer = admin.get(url)
        admin.post(url, {"post": "yes"})
    else:
        prefix = "variants"
        shown = {
            "name": product.name, "slug": product.slug, "is_active": "on",
            f"{prefix}-TOTAL_FORMS": 1, f"{prefix}-INITIAL_FORMS": 1, f"{prefix}-0-DELETE": "on",
            f"{prefix}-0-id": variant.pk, f"{prefix}-0-product": product.pk,
            f"{prefix}-0-sku": variant.sku, f"{prefix}-0-price_paise": variant.price_paise,
        }  # fmt: skip
        answer = admin.post(f"/admin/shop/product/{product.pk}/change/", shown)

    assert "would require deleting the following protected related objects" in (
        answer.content.decode()
    )
    assert Variant.objects.filter(pk=variant.pk).exists()


def test_the_variant_of_a_stock_level_does_not_change(admin, now):
    mug, plate = make_variant(on_hand=5), make_variant(on_hand=7)

    given = {"variant": plate.pk, "on_hand": 6, "initial-on_hand": 5}
    admin.post(f"/admin/shop/stocklevel/{mug.pk}/change/", given)

    assert (stock_of(mug), stock_of(plate)) == ((6, 0), (7, 0))
