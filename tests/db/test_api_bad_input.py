"""Any input gets a response in the documented shape, and never a 500."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import jwt
import pytest
from django.conf import settings as ours
from rest_framework_simplejwt.tokens import AccessToken

from shop.accounts import User
from tests.support.api import POST_CHECKOUT, Caller, assert_answered, granted, order_form
from tests.support.shop import ADDRESS, make_variant

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis", "unhurried")]

JSON = "application/json"
LONG_DIGITS = "9" * 5000  # more than Python turns into a number

# (method, path, a body that would do)
INPUTS: list[tuple[str, str, dict[str, Any]]] = [
    ("POST", "/api/auth/register/", {"email": "asha@example.com", "password": "long enough 1"}),
    ("POST", "/api/auth/token/", {"email": "asha@example.com", "password": "long enough 1"}),
    ("POST", "/api/auth/token/refresh/", {"refresh": "a.b.c"}),
    ("POST", "/api/cart/add/", {"product_id": 1, "variant_id": 1, "quantity": 1}),
    ("PATCH", "/api/cart/items/1/", {"quantity": 1}),
    (
        "POST",
        "/api/cart/sync-events/",
        {"kind": "reload", "cart_id": 1, "cart_version": 1, "detail": "x"},
    ),
    (
        "POST",
        POST_CHECKOUT,
        order_form(
            billing_address=ADDRESS, cart_id=1, cart_version=1, expected_total_paise=2248896
        ),
    ),
    (
        "POST",
        "/api/checkouts/{checkout}/confirm/",
        {
            "razorpay_payment_id": "pay_1",
            "razorpay_order_id": "order_1",
            "razorpay_signature": "0" * 64,
        },
    ),
]
# Those that look at no body must not stumble over one.
BODILESS = [
    ("POST", "/api/auth/guest/"),
    ("DELETE", "/api/cart/"),
    ("POST", "/api/checkouts/{checkout}/cancel/"),
    ("POST", "/api/checkouts/{checkout}/callback/"),
    ("POST", "/api/webhooks/razorpay/"),
]
INPUT_PATHS = [(method, path) for method, path, _ in INPUTS]
PRIVATE_PATHS = [
    ("GET", "/api/cart/"),
    ("DELETE", "/api/cart/"),
    ("DELETE", "/api/cart/items/1/"),
    ("GET", "/api/checkouts/"),
    ("GET", "/api/checkouts/{checkout}/"),
    ("POST", "/api/checkouts/{checkout}/cancel/"),
    ("GET", "/api/orders/"),
    ("GET", "/api/orders/PK-261122-0000000000/"),
    *[(method, path) for method, path in INPUT_PATHS if "/auth/" not in path],
]

STRANGE_VALUES = [
    None,
    True,
    [],
    {},
    [[[]]],
    {"\x00": "\x00"},
    "",
    " ",
    "\x00",
    "\ud800",
    "x" * 20_000,
    "²",
    "١",
    "%00",
    "a@b.c\r\nBcc: d@e.f",
    "\u0130" * 200 + "@example.com",  # twice as long in lower case
    LONG_DIGITS,
    -1,
    0,
    2**31,
    2**63,
    10**400,
    1.5,
    1e308,
]
STRANGE_BODIES = [
    b"",
    b"{",
    b"{}",
    b"[]",
    b'"text"',
    b"null",
    b"5",
    b"true",
    b"NaN",
    b'{"quantity": Infinity, "refresh": NaN}',
    b'{"quantity": 1e999, "product_id": 1e999}',
    b'{"product_id": ' + LONG_DIGITS.encode() + b"}",
    b"\xff\xfe\x00",
    b'{"kind": "\xff"}',
    "\ufeff{}".encode(),
    '{"kind": "reload"}'.encode("utf-16"),
    b"[" * 50_000,
    b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
    b'{"shipping_address":' * 3_000 + b"1" + b"}" * 3_000,
    b"\x00" * 100,
    b"a=1&b=2",
]
OTHER_TYPES = [
    "application/x-www-form-urlencoded",
    "multipart/form-data; boundary=x",
    "multipart/form-data",
    "text/plain",
    "application/xml",
    "",
    "nonsense",
    "/",
    ";",
    "application/json/json",
]


@pytest.fixture
def buyer() -> Caller:
    """With a mug in the cart and a checkout."""
    buyer = Caller.guest()
    buyer.add(make_variant())
    return buyer


@pytest.fixture
def fill(buyer) -> Callable[[str], str]:
    checkout_id = granted(buyer.post_checkout(), 202)["id"]
    return lambda path: path.format(checkout=checkout_id)


@pytest.mark.parametrize(("method", "path", "good"), INPUTS)
def test_every_field_accepts_or_refuses_any_value(buyer, fill, method, path, good):
    for field in good:
        for value in STRANGE_VALUES:
            body = json.dumps(good | {field: value}).encode()

            response = buyer.send(method, fill(path), body, JSON)

            assert_answered(response, (field, value))


@pytest.mark.parametrize("field", ADDRESS)
def test_every_field_of_an_address_accepts_or_refuses_any_value(buyer, field):
    for value in STRANGE_VALUES:
        address = ADDRESS | {field: value}

        response = buyer.post_checkout(shipping_address=address, billing_address=address)

        assert_answered(response, value)


@pytest.mark.parametrize(("method", "path"), INPUT_PATHS)
def test_a_body_that_is_not_an_object_is_refused(buyer, fill, method, path):
    for body in STRANGE_BODIES:
        response = buyer.send(method, fill(path), body, JSON)

        assert response.status_code == 400, (body[:40], response.content)
        assert_answered(response, body[:40])


@pytest.mark.parametrize(("method", "path"), BODILESS)
def test_an_unneeded_body_is_ignored(buyer, fill, method, path):
    for body in STRANGE_BODIES:
        assert_answered(buyer.send(method, fill(path), body, JSON), body[:40])


@pytest.mark.parametrize(("method", "path", "good"), INPUTS)
def test_a_body_of_another_type_is_refused(buyer, fill, method, path, good):
    for content_type in OTHER_TYPES:
        response = buyer.send(method, fill(path), json.dumps(good).encode(), content_type)

        assert response.status_code == 415, (content_type, response.content)
        assert_answered(response, content_type)


@pytest.mark.parametrize(
    ("header", "code"),
    [
        ("", "not_authenticated"),
        ("Bearer", "bad_authorization_header"),
        ("Basic YTpi", "not_authenticated"),
        ("Bearer a b", "bad_authorization_header"),
        ("Bearer garbage", "token_not_valid"),
        ("Bearer é", "token_not_valid"),
        ("Bearer " + "x" * 5000, "token_not_valid"),
    ],
)
def test_without_a_valid_token_nothing_private_is_shown(fill, header, code):
    headers = {"Authorization": header} if header else {}
    for method, path in PRIVATE_PATHS:
        response = Caller().send(method, fill(path), b"{}", JSON, **headers)

        assert (response.status_code, response.json()["code"]) == (401, code), path
        assert response["WWW-Authenticate"].startswith("Bearer")
        assert_answered(response, path)


def expired(token: AccessToken) -> str:
    token.set_exp(lifetime=-timedelta(seconds=1))
    return str(token)


@pytest.mark.parametrize(
    "forge",
    [
        expired,
        lambda token: jwt.encode(token.payload, None, algorithm="none"),
        lambda token: jwt.encode(token.payload, "another key" * 5, algorithm="HS256"),
        lambda token: jwt.encode(
            {key: value for key, value in token.payload.items() if key != "user_id"},
            ours.SIMPLE_JWT["SIGNING_KEY"],
            algorithm="HS256",
        ),
        lambda token: jwt.encode(
            token.payload | {"user_id": "²"}, ours.SIMPLE_JWT["SIGNING_KEY"], algorithm="HS256"
        ),
        lambda token: str(token)[:-2],
        lambda token: str(token).replace(".", "..", 1),
    ],
)
def test_a_changed_token_is_refused(buyer, forge):
    forged = Caller(forge(AccessToken(buyer.access)))

    response = forged.get("/api/cart/")

    assert (response.status_code, response.json()["code"]) == (401, "token_not_valid")


@pytest.mark.parametrize(("method", "path"), PRIVATE_PATHS)
def test_the_token_of_a_deleted_user_is_refused_everywhere(method, path):
    ghost = Caller.guest()
    User.objects.filter(pk=ghost.user_id).delete()

    response = ghost.send(method, path.format(checkout=uuid.uuid4()), b"{}", JSON)

    assert_answered(response, path)
    if response.status_code == 200:
        assert response.json()["results"] == []
