"""The caller's own cart."""

from datetime import timedelta

import pytest
from django.utils import timezone

from shop.accounts import User
from shop.cart_sync import SyncEvent
from shop.carts import MAX_LINE_UNITS, MAX_LINES, Cart, CartItem
from shop.catalogue import Product, Variant
from shop.stock import StockLevel
from tests.support.api import Caller, granted, refused
from tests.support.shop import make_variant

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis")]


@pytest.fixture
def buyer() -> Caller:
    return Caller.guest()


def item_path(cart: dict, *, of: Variant) -> str:
    [item_id] = [item["id"] for item in cart["items"] if item["variant_id"] == of.pk]
    return f"/api/cart/items/{item_id}/"


def test_the_first_read_creates_the_cart(buyer):
    cart = buyer.cart()

    assert cart == {
        "id": Cart.objects.get(owner_id=buyer.user_id).pk,
        "version": cart["version"],
        "currency": "INR",
        "items_count": 0,
        "units_count": 0,
        "total_price": 0,
        "total_paise": 0,
        "updated_at": cart["updated_at"],
        "items": [],
    }


def test_a_line_and_the_totals_are_in_rupees_and_in_paise(buyer):
    mug, lamp = make_variant(price_paise=2248896), make_variant(price_paise=1)
    buyer.add(mug, quantity=2)
    buyer.add(lamp)

    cart = buyer.cart()

    assert (cart["items_count"], cart["units_count"]) == (2, 3)
    assert (cart["total_price"], cart["total_paise"]) == (44977.93, 4497793)
    assert cart["items"][0] == {
        "id": CartItem.objects.get(variant=mug).pk,
        "product_id": mug.product_id,
        "variant_id": mug.pk,
        "sku": mug.sku,
        "name": mug.product.name,
        "quantity": 2,
        "unit_price": 22488.96,
        "unit_price_paise": 2248896,
        "line_total": 44977.92,
        "line_total_paise": 4497792,
        "available": 10,
        "problem": None,
    }


def test_adding_responds_with_the_message_and_the_cart(buyer):
    mug = make_variant()

    added = granted(buyer.post("/api/cart/add/", {"product_id": mug.product_id, "quantity": 2}))

    assert added == {"message": "Item added successfully", "cart": buyer.cart()}
    assert added["cart"]["items"][0]["quantity"] == 2


def test_adding_without_a_quantity_adds_one_and_a_repeat_adds_again(buyer):
    wish = {"product_id": make_variant().product_id}

    buyer.post("/api/cart/add/", wish)
    buyer.post("/api/cart/add/", wish)

    assert [item["quantity"] for item in buyer.cart()["items"]] == [2]


def test_the_variant_must_be_named_where_there_are_several(buyer):
    small = make_variant()
    Variant.objects.create(product=small.product, sku="XL", name="large", price_paise=100)

    refusal = refused(
        buyer.post("/api/cart/add/", {"product_id": small.product_id}), 400, "variant_required"
    )

    assert refusal["details"] == {"field": "variant_id"}
    assert not CartItem.objects.exists()


def test_a_withdrawn_sibling_does_not_make_the_variant_ambiguous(buyer):
    small = make_variant()
    Variant.objects.create(
        product=small.product, sku="XL", name="large", price_paise=100, is_active=False
    )

    granted(buyer.post("/api/cart/add/", {"product_id": small.product_id}))


def test_a_variant_that_is_not_on_sale_cannot_be_added(buyer):
    mug, other, withdrawn, gone = (make_variant() for _ in range(4))
    Variant.objects.filter(pk=withdrawn.pk).update(is_active=False)
    Product.objects.filter(pk=gone.product_id).update(is_active=False)

    for wish in (
        {"product_id": mug.product_id, "variant_id": other.pk},
        {"product_id": withdrawn.product_id, "variant_id": withdrawn.pk},
        {"product_id": gone.product_id},
        {"product_id": 987654321},
    ):
        refused(buyer.post("/api/cart/add/", wish), 404, "product_unavailable")
    assert not CartItem.objects.exists()


def test_a_line_never_exceeds_its_limit(buyer):
    mug = make_variant()
    cart = buyer.add(mug, quantity=MAX_LINE_UNITS)

    once_more = buyer.post("/api/cart/add/", {"product_id": mug.product_id})
    too_many = buyer.patch(item_path(cart, of=mug), {"quantity": MAX_LINE_UNITS + 1})

    for refusal in (once_more, too_many):
        details = refused(refusal, 400, "quantity_too_large")["details"]
        assert details == {"limit": MAX_LINE_UNITS}
    assert buyer.cart() == cart


def test_a_cart_never_exceeds_its_number_of_lines(buyer):
    cart_id = buyer.cart()["id"]
    CartItem.objects.bulk_create(
        CartItem(cart_id=cart_id, variant=make_variant(), quantity=1) for _ in range(MAX_LINES)
    )

    wish = {"product_id": make_variant().product_id}

    refused(buyer.post("/api/cart/add/", wish), 400, "cart_full")
    assert CartItem.objects.count() == MAX_LINES


def test_a_line_is_changed_and_removed(buyer):
    mug, lamp = make_variant(), make_variant()
    buyer.add(mug)
    cart = buyer.add(lamp)

    changed = granted(buyer.patch(item_path(cart, of=mug), {"quantity": 4}))
    assert [item["quantity"] for item in changed["items"]] == [4, 1]

    shorter = granted(buyer.delete(item_path(cart, of=mug)))
    assert [item["variant_id"] for item in shorter["items"]] == [lamp.pk]
    assert cart["version"] < changed["version"] < shorter["version"]


def test_a_removed_line_is_not_found_again(buyer):
    mug = make_variant()
    path = item_path(buyer.add(mug), of=mug)
    buyer.delete(path)

    refused(buyer.delete(path), 404, "not_found")


def test_the_whole_cart_is_emptied_and_stays_the_same_cart(buyer):
    before = buyer.add(make_variant())

    after = granted(buyer.delete("/api/cart/"))

    assert (after["id"], after["items"], after["total_paise"]) == (before["id"], [], 0)
    assert after["version"] > before["version"]


def test_the_line_of_another_buyer_is_not_found_and_not_changed(buyer):
    mug = make_variant()
    path = item_path(Caller.guest().add(mug, quantity=2), of=mug)
    buyer.add(mug)

    for response in (buyer.patch(path, {"quantity": 5}), buyer.delete(path)):
        refused(response, 404, "not_found")
    assert CartItem.objects.filter(quantity=2).exists()


@pytest.mark.parametrize("form", ['"{}"', 'W/"{}"', '"1000", "{}"', "*"])
def test_an_unchanged_cart_is_answered_304(buyer, form):
    tag = buyer.get("/api/cart/")["ETag"]

    response = buyer.get("/api/cart/", If_None_Match=form.format(tag.strip('"')))

    assert (response.status_code, response.content, response["ETag"]) == (304, b"", tag)


def test_the_etag_is_the_version_and_changes_with_every_change(buyer):
    tag = buyer.get("/api/cart/")["ETag"]
    version = buyer.add(make_variant())["version"]

    response = buyer.get("/api/cart/", If_None_Match=tag)

    assert response.status_code == 200
    assert response["ETag"] == f'"{version}"'


@pytest.mark.parametrize(
    ("happens", "problem"),
    [
        (lambda mug: StockLevel.objects.update(on_hand=2), "Only 2 left"),
        (lambda mug: StockLevel.objects.update(on_hand=3, held=3), "Out of stock"),
        (lambda mug: Variant.objects.update(is_active=False), "No longer on sale"),
        (lambda mug: Product.objects.update(is_active=False), "No longer on sale"),
        (lambda mug: Variant.objects.update(price_paise=5), None),
    ],
)
def test_a_changed_price_or_stock_gives_a_new_version(buyer, happens, problem):
    mug = make_variant()
    buyer.add(mug, quantity=3)
    tag = buyer.get("/api/cart/")["ETag"]
    happens(mug)

    response = buyer.get("/api/cart/", If_None_Match=tag)

    assert granted(response)["items"][0]["problem"] == problem
    assert response["ETag"] != tag


def test_reading_updates_the_cart_at_most_once_a_minute(buyer):
    buyer.cart()
    Cart.objects.update(updated_at=timezone.now() - timedelta(seconds=61))

    first, second = buyer.cart(), buyer.cart()

    assert Cart.objects.get().updated_at > timezone.now() - timedelta(seconds=30)
    assert first == second


def test_a_report_of_a_stale_copy_is_stored(buyer):
    report = {"kind": "stale_copy", "cart_id": 5, "cart_version": 7, "detail": "reloaded"}

    response = buyer.post("/api/cart/sync-events/", report)

    assert response.status_code == 202
    event = SyncEvent.objects.get()
    assert (event.owner_id, event.kind) == (buyer.user_id, "stale_copy")
    assert (event.cart_id_seen, event.cart_version_seen, event.detail) == (5, 7, "reloaded")


def test_an_unknown_kind_counts_as_other(buyer):
    for word in ("stale_cart", "x" * 40):
        report = {"kind": word, "detail": "y" * 500}
        assert buyer.post("/api/cart/sync-events/", report).status_code == 202

    events = SyncEvent.objects.order_by("id")
    assert [event.kind for event in events] == ["other", "other"]
    assert events[0].detail.startswith("stale_cart: yyy")


def test_a_report_needs_only_a_kind(buyer):
    assert buyer.post("/api/cart/sync-events/", {"kind": "reload"}).status_code == 202
    refused(buyer.post("/api/cart/sync-events/", {}), 400, "invalid")
    assert SyncEvent.objects.count() == 1


def test_the_token_of_a_deleted_user_opens_no_cart(buyer):
    User.objects.filter(pk=buyer.user_id).delete()

    for response in (
        buyer.get("/api/cart/"),
        buyer.post("/api/cart/add/", {"product_id": make_variant().product_id}),
        buyer.patch("/api/cart/items/1/", {"quantity": 1}),
        buyer.delete("/api/cart/items/1/"),
        buyer.delete("/api/cart/"),
        buyer.post("/api/cart/sync-events/", {"kind": "reload"}),
    ):
        refused(response, 401, "token_not_valid")
        assert response["WWW-Authenticate"].startswith("Bearer")
