"""Requests that need a row locked by another transaction get 503 with Retry-After."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.conf import settings
from django.db import connection
from django.test import Client
from django.urls import reverse

from shop.accounts import User
from shop.carts import Cart
from shop.checkout.jobs import CheckoutJob
from shop.stock import StockLevel
from tests.support.api import PASSWORD, Caller, granted, ordered, refused
from tests.support.locks import impatient, locked
from tests.support.shop import ADDRESS, make_variant

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("redis")]


@pytest.fixture
def buyer() -> Caller:
    buyer = Caller.guest()
    ordered(buyer.check_out())
    return buyer


@pytest.fixture(autouse=True)
def patience(buyer) -> Iterator[None]:
    with impatient():
        yield


def job() -> CheckoutJob:
    return CheckoutJob.objects.get()


def supersede(buyer: Caller):
    """Other terms: the open checkout is cancelled, its units are taken over."""
    return buyer.post_checkout(billing_address=ADDRESS | {"city": "Mysuru"})


def order_other_goods(buyer: Caller):
    """The open checkout is cancelled, its units are released."""
    clear(buyer)
    add(buyer)
    return buyer.post_checkout()


def cancel(buyer: Caller):
    return buyer.post(f"/api/checkouts/{job().pk}/cancel/")


def confirm(buyer: Caller):
    fields = ("razorpay_payment_id", "razorpay_order_id", "razorpay_signature")
    return buyer.post(f"/api/checkouts/{job().pk}/confirm/", dict.fromkeys(fields, "x"))


def add(buyer: Caller):
    variant = make_variant()
    wish = {"product_id": variant.product_id, "variant_id": variant.pk, "quantity": 1}
    return buyer.post("/api/cart/add/", wish)


def change(buyer: Caller):
    item = Cart.objects.get().items.get()
    return buyer.patch(f"/api/cart/items/{item.pk}/", {"quantity": 2})


def remove(buyer: Caller):
    return buyer.delete(f"/api/cart/items/{Cart.objects.get().items.get().pk}/")


def clear(buyer: Caller):
    return buyer.delete("/api/cart/")


def see_new_price(buyer: Caller):
    """Reading a cart notes that a price has changed."""
    StockLevel.objects.get().variant.__class__.objects.update(price_paise=5)
    return buyer.get("/api/cart/")


def sign_in(buyer: Caller):
    return Caller(buyer.access).post(
        "/api/auth/token/", {"email": "asha@example.com", "password": PASSWORD}
    )


ROWS = {
    "checkout": job,
    "stock": lambda: StockLevel.objects.get(pk=job().frozen_lines[0].variant_id),
    "cart": lambda: Cart.objects.get(pk=job().cart_id),
}


@pytest.mark.parametrize(
    ("call", "row"),
    [
        (supersede, "checkout"),
        (order_other_goods, "stock"),
        (supersede, "cart"),
        (cancel, "checkout"),
        (cancel, "stock"),
        (add, "cart"),
        (change, "cart"),
        (remove, "cart"),
        (clear, "cart"),
        (see_new_price, "cart"),
    ],
    ids=lambda it: it if isinstance(it, str) else it.__name__,
)
def test_a_request_that_needs_a_locked_row_gets_503_with_retry_after(buyer, services, call, row):
    with locked(services, ROWS[row]()):
        response = call(buyer)
        refused(response, 503, "unavailable")
        assert int(response["Retry-After"]) >= 1

    assert call(buyer).status_code < 300


def test_merging_a_locked_cart_gets_503_with_retry_after(buyer, services):
    Caller.account("asha@example.com")
    guest_cart = ROWS["cart"]()

    with locked(services, guest_cart):
        response = sign_in(buyer)
        refused(response, 503, "unavailable")

    granted(sign_in(buyer))
    assert job().owner.email == "asha@example.com"


def test_reading_waits_for_no_lock(buyer, services):
    buyer.cart()
    with locked(services, *(row() for row in ROWS.values())):
        granted(buyer.get("/api/cart/"))
        granted(buyer.get(f"/api/checkouts/{job().pk}/"))
        granted(buyer.get("/api/checkouts/"))
        granted(buyer.get("/api/products/"))


def test_a_staff_page_that_needs_a_locked_row_gets_503_with_retry_after(buyer, services):
    client = Client(raise_request_exception=False)
    staff = User.objects.create_superuser("ops@example.com", PASSWORD)
    client.force_login(staff)
    url = reverse("admin:shop_checkoutjob_action", args=[job().pk, "cancel"])
    form = {"reason": "asked to", "key": "6f0a3c0e-53a4-4a5f-9a2a-0d5a1f4f9c11"}

    with locked(services, job()):
        response = client.post(url, form)
        refused(response, 503, "unavailable")
        assert int(response["Retry-After"]) >= 1

    assert client.post(url, form).status_code == 302


def test_a_web_process_waits_a_few_seconds_for_a_lock():
    connection.close()
    with connection.cursor() as cursor:
        cursor.execute("SHOW lock_timeout")
        [shown] = cursor.fetchone()

    assert shown == "3s"
    assert settings.LOCK_TIMEOUT_MS == 3000
