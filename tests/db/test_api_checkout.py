"""The POST of a cart: accepted and refused requests."""

import pytest
from django.utils import timezone

from shop import carts
from shop.accounts import User
from shop.carts import CartItem
from shop.catalogue import Variant
from shop.checkout.jobs import CheckoutJob, Transition
from shop.checkout.start import IdempotencyKey
from shop.checkout.states import State
from tests.support.api import (
    POST_CHECKOUT,
    Caller,
    granted,
    job_of,
    order_form,
    ordered,
    refused,
)
from tests.support.shop import ADDRESS, make_variant, new_key

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis")]


@pytest.fixture
def buyer() -> Caller:
    """With one mug in the cart."""
    buyer = Caller.guest()
    buyer.add(make_variant())
    return buyer


def nothing_was_written() -> bool:
    return not (
        CheckoutJob.objects.exists()
        or Transition.objects.exists()
        or IdempotencyKey.objects.exists()
    )


def test_a_cart_is_accepted_with_its_status_and_location(buyer):
    cart = buyer.cart()

    response = buyer.post_checkout()

    checkout = granted(response, 202)
    assert response["Location"] == f"/api/checkouts/{checkout['id']}/"
    assert int(response["Retry-After"]) >= 1
    assert response["ETag"] == f'"{checkout["version"]}"'
    assert "Idempotent-Replayed" not in response
    assert (checkout["status"], checkout["step"]) == ("queued", "validate_cart")
    assert (checkout["cart_id"], checkout["items_count"]) == (cart["id"], 1)
    assert (checkout["amount"], checkout["amount_paise"]) == (22488.96, 2248896)
    assert checkout["poll"]["after_ms"] > 0
    assert not checkout["poll"]["done"]
    assert [job.state for job in CheckoutJob.objects.all()] == [State.QUEUED]


def test_an_accepted_cart_is_due_at_once_with_its_lines_and_prices_frozen(buyer):
    job = job_of(granted(buyer.post_checkout(), 202))
    Variant.objects.update(price_paise=1)
    buyer.delete("/api/cart/")

    job.refresh_from_db()

    assert job.due_at <= timezone.now()
    assert [(line.units, line.unit_price_paise) for line in job.frozen_lines] == [(1, 2248896)]


def test_both_paths_are_the_same_view(buyer):
    first = granted(buyer.post("/api/checkouts/", order_form()), 202)

    assert granted(buyer.post_checkout(), 202)["id"] == first["id"]


def test_a_missing_billing_address_is_the_shipping_address(buyer):
    job = job_of(granted(buyer.post_checkout(), 202))

    assert job.billing_address == job.shipping_address == ADDRESS


def test_a_billing_address_of_its_own_is_kept(buyer):
    office = ADDRESS | {"line1": "1 Residency Road"}

    job = job_of(granted(buyer.post_checkout(billing_address=office), 202))

    assert (job.billing_address, job.shipping_address) == (office, ADDRESS)


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        ({"phone": "98450 12345"}, {"phone": "+919845012345"}),
        ({"phone": "+91-98450-12345"}, {"phone": "+919845012345"}),
        ({"phone": "09845012345"}, {"phone": "+919845012345"}),
        ({"postal_code": "560 001"}, {"postal_code": "560001"}),
        ({"postal_code": 560001}, {"postal_code": "560001"}),
        ({"country": "in"}, {"country": "IN"}),
        ({"name": " Asha Rao "}, {"name": "Asha Rao"}),
        ({"name": "आशा राव"}, {"name": "आशा राव"}),
    ],
)
def test_an_address_may_contain_spaces_and_dashes(buyer, typed, kept):
    checkout = granted(buyer.post_checkout(shipping_address=ADDRESS | typed), 202)

    assert job_of(checkout).shipping_address == ADDRESS | kept


@pytest.mark.parametrize("which", ["shipping_address", "billing_address"])
@pytest.mark.parametrize(
    ("field", "wrong"),
    [
        ("name", ""),
        ("name", None),
        ("line1", "x" * 201),
        ("city", {"of": "joy"}),
        ("state", "  "),
        ("postal_code", "012345"),
        ("postal_code", "56001"),
        ("postal_code", "५६०००१"),
        ("country", "US"),
        ("phone", "12345"),
        ("phone", "5845012345"),
    ],
)
def test_an_invalid_address_is_refused_with_the_field_named(buyer, which, field, wrong):
    response = buyer.post_checkout(**{which: ADDRESS | {field: wrong}})

    refusal = refused(response, 400, "address_invalid")
    assert refusal["error"].startswith(f"{which}.{field}: ")
    assert refusal["details"]["fields"][which][field]
    assert nothing_was_written()


@pytest.mark.parametrize("address", [None, "12 MG Road", [], {}, 560001])
def test_a_value_that_is_not_an_address_is_refused(buyer, address):
    refused(buyer.post_checkout(shipping_address=address), 400, "address_invalid")
    assert nothing_was_written()


def test_a_missing_address_is_refused(buyer):
    refused(buyer.post(POST_CHECKOUT, {"payment_method": "razorpay"}), 400, "address_invalid")
    assert nothing_was_written()


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"currency": "USD"}, "currency_unsupported"),
        ({"currency": "inr"}, "currency_unsupported"),
        ({"payment_method": "cash"}, "payment_method_unsupported"),
        ({"payment_method": "RAZORPAY"}, "payment_method_unsupported"),
        ({"payment_method": None}, "invalid"),
        ({"cart_id": "mine"}, "invalid"),
        ({"cart_version": -1}, "invalid"),
        ({"expected_total_paise": 22488.96}, "invalid"),
    ],
)
def test_unsupported_terms_are_refused(buyer, changes, code):
    refused(buyer.post_checkout(key=new_key(), **changes), 400, code)
    assert nothing_was_written()


def test_an_empty_cart_is_refused_with_the_sentence_of_the_contract():
    buyer = Caller.guest()
    cart_id = buyer.cart()["id"]

    refusal = refused(buyer.post_checkout(key=new_key()), 400, "cart_empty")

    assert refusal["error"] == (
        f"Cart is empty. Please add items to cart first. Cart ID: {cart_id}"
    )
    assert (refusal["cart_id"], refusal["user_id"]) == (cart_id, buyer.user_id)
    assert nothing_was_written()


def test_a_buyer_without_a_cart_gets_cart_empty():
    refused(Caller.guest().post_checkout(), 400, "cart_empty")


def test_the_cart_of_another_is_refused_with_the_sentence_of_the_contract(buyer):
    theirs = Caller.guest().add(make_variant())

    for cart_id in (theirs["id"], 987654321, 0, -1):
        refusal = refused(buyer.post_checkout(cart_id=cart_id), 400, "cart_not_found")
        assert refusal["error"] == (
            f"Cart not found or doesn't belong to you. Your user ID: {buyer.user_id}"
        )
    assert nothing_was_written()


def test_the_current_version_and_total_are_accepted(buyer):
    cart = buyer.cart()

    granted(
        buyer.post_checkout(
            cart_id=cart["id"],
            cart_version=cart["version"],
            expected_total_paise=cart["total_paise"],
        ),
        202,
    )


@pytest.mark.parametrize("stale", [{"cart_version": 999}, {"expected_total_paise": 1}])
def test_another_version_or_total_is_refused_with_the_current_cart(buyer, stale):
    response = buyer.post_checkout(key=new_key(), **stale)

    refusal = refused(response, 409, "cart_changed")
    assert refusal["details"]["cart"] == buyer.cart()
    assert nothing_was_written()


def test_a_changed_price_is_a_changed_cart(buyer):
    shown = buyer.cart()
    Variant.objects.update(price_paise=2248897)

    response = buyer.post_checkout(cart_version=shown["version"])

    assert refused(response, 409, "cart_changed")["details"]["cart"]["total_paise"] == 2248897


def test_a_cart_with_an_unavailable_line_is_accepted_and_the_checkout_fails(buyer):
    """The shelf is asked by the steps, so the answer is a checkout that says why."""
    mug = Variant.objects.get()
    buyer.add(mug, quantity=20)
    checkout = granted(buyer.post_checkout(), 202)
    ordered(checkout)

    failed = buyer.status(checkout)

    assert failed["status"] == "failed"
    assert failed["error"]["code"] == "out_of_stock"
    assert failed["error"]["details"] == {"sku": mug.sku, "wanted": 21, "available": 10}


def test_a_line_that_is_no_longer_on_sale_is_still_in_the_total(buyer):
    """What the buyer sees is what is posted; the steps say what is wrong with it."""
    cart = buyer.cart()
    Variant.objects.update(is_active=False)

    checkout = granted(buyer.post_checkout(), 202)

    assert checkout["amount_paise"] == cart["total_paise"]


def test_a_deleted_users_token_posts_nothing():
    buyer = Caller.guest()
    buyer.cart()
    User.objects.filter(pk=buyer.user_id).delete()

    refused(buyer.post_checkout(key=new_key()), 401, "token_not_valid")

    assert nothing_was_written()


def test_a_post_does_not_change_the_cart(buyer):
    before = carts.contents(buyer.user_id)

    granted(buyer.post_checkout(), 202)

    assert carts.contents(buyer.user_id) == before
    assert CartItem.objects.count() == 1
