"""Forged, altered and expired tokens, and guessed ids."""

from __future__ import annotations

import base64
import json
import re
import uuid
from collections.abc import Callable

import jwt
import pytest
import time_machine
from django.conf import settings as ours
from django.utils import timezone
from rest_framework_simplejwt.tokens import AccessToken

from shop.accounts import User
from shop.api.auth import issue_tokens
from shop.cart_sync import SyncEvent
from shop.carts import Cart, CartItem
from shop.checkout.jobs import CheckoutJob
from shop.orders import NUMBER_ALPHABET, new_number
from tests.support.api import PASSWORD, POST_CHECKOUT, Caller, granted, order_form, refused
from tests.support.shop import make_variant

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis", "unhurried")]

KEY = ours.SIMPLE_JWT["SIGNING_KEY"]
PUBLIC_KEY = (
    "-----BEGIN PUBLIC KEY-----\nMFwwDQYJKoZIhvcNAQEBBQADSwAwSAJBAK==\n-----END PUBLIC KEY-----\n"
)


def part(content: dict[str, object]) -> str:
    return base64.urlsafe_b64encode(json.dumps(content).encode()).decode().rstrip("=")


def altered(token: str, **claims: object) -> str:
    """Other claims under the signature of the old ones."""
    head, _, signature = token.split(".")
    return f"{head}.{part(AccessToken(token).payload | claims)}.{signature}"


def headed(token: str, **head: object) -> str:
    _, payload, signature = token.split(".")
    return f"{part({'alg': 'HS256', 'typ': 'JWT'} | head)}.{payload}.{signature}"


def signed(token: str, key: str, algorithm: str = "HS256", **headers: object) -> str:
    return jwt.encode(AccessToken(token).payload, key, algorithm=algorithm, headers=headers or None)


def test_a_cached_token_expires_too():
    buyer = Caller.guest()
    checkout = buyer.check_out()
    asked = ("/api/cart/", checkout["links"]["self"])
    assert [buyer.get(path).status_code for path in asked] == [200, 200]

    with time_machine.travel(timezone.now() + ours.SIMPLE_JWT["ACCESS_TOKEN_LIFETIME"]):
        for path in asked:
            refused(buyer.get(path), 401, "token_not_valid")


FORGERIES: dict[str, Callable[[str], str]] = {
    "another user": lambda token: altered(token, user_id="1"),
    "a user of the future": lambda token: altered(token, exp=9999999999),
    "staff by own hand": lambda token: altered(token, staff=True),
    "no algorithm": lambda token: headed(token, alg="none"),
    "no algorithm, in capitals": lambda token: headed(token, alg="NONE"),
    "no signature": lambda token: token.rpartition(".")[0] + ".",
    "an algorithm of keys in pairs": lambda token: headed(token, alg="RS256"),
    "a public key as the secret": lambda token: signed(token, "x" * 64, kid=PUBLIC_KEY),
    "our key, another algorithm": lambda token: signed(token, KEY, "HS512"),
    "the key of the admin's sessions": lambda token: signed(token, ours.SECRET_KEY),
    "an empty key": lambda token: signed(token, "\0" * 32),
    "a key by file": lambda token: signed(token, "\0" * 32, kid="../../../dev/null"),
    "a key by address": lambda token: signed(token, "x" * 32, jku="http://127.0.0.1:9/keys"),
    "the key of webhooks": lambda token: signed(token, ours.RAZORPAY_WEBHOOK_SECRETS[0] + "x" * 32),
}


@pytest.mark.filterwarnings("ignore::jwt.warnings.InsecureKeyLengthWarning")  # a forger's key
@pytest.mark.parametrize("name", FORGERIES)
def test_a_foreign_token_is_refused(name):
    buyer = Caller.guest()
    granted(buyer.get("/api/cart/"))

    forged = Caller(FORGERIES[name](buyer.access))

    for path in ("/api/cart/", "/api/checkouts/", "/api/orders/"):
        refused(forged.get(path), 401, "token_not_valid")


def test_a_refresh_token_is_no_access_token():
    refresh = granted(Caller().post("/api/auth/guest/"), 201)["refresh"]

    for path in ("/api/cart/", "/api/checkouts/", "/api/orders/"):
        refused(Caller(refresh).get(path), 401, "token_not_valid")


def test_a_session_of_the_admin_is_no_token(admin_client):
    refused(admin_client.get("/api/cart/"), 401, "not_authenticated")


# --- accounts that were switched off --------------------------------------------------------------

WRITES = [
    ("POST", "/api/cart/add/"),
    ("PATCH", "/api/cart/items/{item}/"),
    ("DELETE", "/api/cart/items/{item}/"),
    ("DELETE", "/api/cart/"),
    ("POST", POST_CHECKOUT),
    ("POST", "/api/cart/sync-events/"),
]


@pytest.fixture
def switched_off() -> Caller:
    """With a line in the cart and a checkout, and a token of before."""
    buyer = Caller.account()
    buyer.check_out(make_variant())
    User.objects.filter(pk=buyer.user_id).update(is_active=False)
    return buyer


@pytest.mark.parametrize(("method", "path"), WRITES)
def test_a_deactivated_user_changes_nothing(switched_off, method, path):
    item = CartItem.objects.get()
    version = item.cart.version
    body = order_form(
        product_id=item.variant.product_id, quantity=7, kind="reload", shipping_address=ADDRESS_TWO
    )

    response = switched_off.send(
        method, path.format(item=item.pk), json.dumps(body).encode(), "application/json"
    )

    refused(response, 401, "token_not_valid")
    item.refresh_from_db()
    assert (item.quantity, item.cart.version) == (1, version)
    assert CheckoutJob.objects.count() == 1
    assert not SyncEvent.objects.exists()


ADDRESS_TWO = order_form()["shipping_address"] | {"line1": "somewhere else"}


def test_a_deactivated_user_has_no_cart_and_still_sees_orders(switched_off):
    refused(switched_off.get("/api/cart/"), 401, "token_not_valid")

    [checkout] = granted(switched_off.get("/api/checkouts/"))["results"]
    granted(switched_off.post(checkout["links"]["cancel"]), 202)


def test_no_cart_is_created_for_a_deactivated_user():
    guest = Caller.guest()
    User.objects.update(is_active=False)

    refused(guest.get("/api/cart/"), 401, "token_not_valid")
    refused(guest.delete("/api/cart/"), 401, "token_not_valid")

    assert not Cart.objects.exists()


def test_a_deactivated_guest_is_not_merged():
    asha, guest = Caller.account("asha@example.com"), Caller.guest()
    guest.add(make_variant())
    User.objects.filter(pk=guest.user_id).update(is_active=False)

    granted(guest.post("/api/auth/token/", {"email": "asha@example.com", "password": PASSWORD}))

    assert asha.cart()["items"] == []
    assert CartItem.objects.get().cart.owner_id == guest.user_id


def test_permissions_are_read_from_the_database_not_from_the_token():
    """A token of when they were staff."""
    person = User.objects.create_superuser("staff@example.com", "x")
    staff = Caller(issue_tokens(person)["access"])
    path, reason = "/api/orders/PK-261122-0000000000/refunds/", {"reason": "because"}
    refused(staff.post(path, reason), 404, "not_found")

    User.objects.filter(pk=person.pk).update(is_staff=False)
    refused(staff.post(path, reason), 403, "permission_denied")
    User.objects.filter(pk=person.pk).update(is_staff=True, is_active=False)
    refused(staff.post(path, reason), 401, "no_active_account")


# --- ids ------------------------------------------------------------------------------------------


def test_checkout_ids_are_random():
    ids = [uuid.UUID(Caller.guest().check_out()["id"]) for _ in range(3)]

    assert {it.version for it in ids} == {4}


def test_order_numbers_have_fifty_random_bits(now):
    numbers = [new_number(now) for _ in range(500)]

    found = [re.fullmatch(rf"PK-\d{{6}}-([{NUMBER_ALPHABET}]{{10}})", it) for it in numbers]
    assert len(NUMBER_ALPHABET) ** 10 == 2**50
    for place in range(10):  # each letter is one of all of them
        assert len({it[1][place] for it in found}) > 25
