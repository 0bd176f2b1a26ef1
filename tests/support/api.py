"""A caller of the HTTP API, as the storefront calls it."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

from django.core.signals import request_finished, request_started
from django.db import close_old_connections
from django.http import HttpResponse
from django.utils import timezone
from rest_framework.test import APIClient
from rest_framework_simplejwt.tokens import AccessToken

from shop.catalogue import Variant
from shop.checkout.jobs import CheckoutJob
from shop.payments.gateway import Gateway
from tests.support.shop import ADDRESS, make_payable, make_variant, place_order

POST_CHECKOUT = "/api/payments/create-from-cart/"
PASSWORD = "correct horse battery"

_serial = itertools.count(1)


class Caller:
    """A client with the token `access`, or without one. An exception in the shop is a 500."""

    def __init__(self, access: str = "") -> None:
        self.access = access
        self._client = APIClient(raise_request_exception=False)

    @classmethod
    def guest(cls) -> Self:
        return cls(granted(Caller().post("/api/auth/guest/"), 201)["access"])

    @classmethod
    def account(cls, email: str = "") -> Self:
        email = email or f"buyer{next(_serial)}@example.com"
        credentials = {"email": email, "password": PASSWORD}
        return cls(granted(Caller().post("/api/auth/register/", credentials), 201)["access"])

    @property
    def user_id(self) -> int:
        return int(AccessToken(self.access)["user_id"])

    def send(
        self, method: str, path: str, body: bytes = b"", content_type: str = "", **headers: str
    ) -> HttpResponse:
        """Send exactly these bytes. Names of headers are written with underscores."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if self.access:
            sent.setdefault("Authorization", f"Bearer {self.access}")
        return self._client.generic(method, path, body, content_type, headers=sent)

    def get(self, path: str, **headers: str) -> HttpResponse:
        return self.send("GET", path, **headers)

    def post(self, path: str, content: Any = None, **headers: str) -> HttpResponse:
        return self.send("POST", path, _json(content), "application/json", **headers)

    def patch(self, path: str, content: Any = None, **headers: str) -> HttpResponse:
        return self.send("PATCH", path, _json(content), "application/json", **headers)

    def delete(self, path: str, **headers: str) -> HttpResponse:
        return self.send("DELETE", path, **headers)

    def cart(self) -> dict[str, Any]:
        return granted(self.get("/api/cart/"))

    def add(self, variant: Variant, *, quantity: int = 1) -> dict[str, Any]:
        wish = {
            "product_id": variant.product_id,
            "variant_id": variant.pk,
            "quantity": quantity,
        }
        return granted(self.post("/api/cart/add/", wish))["cart"]

    def post_checkout(self, *, key: str = "", **changes: Any) -> HttpResponse:
        headers = {"Idempotency_Key": key} if key else {}
        return self.post(POST_CHECKOUT, order_form(**changes), **headers)

    def check_out(self, *variants: Variant, quantity: int = 1) -> dict[str, Any]:
        """Fill the cart with these variants, or one mug, and post it."""
        for variant in variants or (make_variant(),):
            self.add(variant, quantity=quantity)
        return granted(self.post_checkout(), 202)

    def status(self, checkout: dict[str, Any]) -> dict[str, Any]:
        return granted(self.get(checkout["links"]["self"]))


def order_form(**changes: Any) -> dict[str, Any]:
    """The body that the storefront posts, with `changes`."""
    return {"payment_method": "razorpay", "shipping_address": ADDRESS, "currency": "INR"} | changes


def granted(response: HttpResponse, status_code: int = 200) -> Any:
    assert response.status_code == status_code, response.content
    return response.json()


def refused(response: HttpResponse, status_code: int, code: str) -> dict[str, Any]:
    """Check status, code and shape of a refusal, and return it."""
    refusal = response.json()
    assert (response.status_code, refusal.get("code")) == (status_code, code), refusal
    assert refusal["error"] == refusal["message"]
    assert refusal["message"]
    assert isinstance(refusal["details"], dict)
    return refusal


def assert_answered(response: HttpResponse, what: object) -> None:
    """Not a 5xx, and a refusal has the shape of all refusals. `what` was sent."""
    assert response.status_code < 500, what
    if response.status_code >= 400:
        assert_shape(response.content, what)


def assert_shape(content: bytes, what: object) -> None:
    refusal = json.loads(content)
    assert {"code", "error", "message", "details"} <= set(refusal), what
    assert refusal["error"] == refusal["message"] != "", what
    assert isinstance(refusal["details"], dict), what
    assert isinstance(refusal["code"], str), what


def job_of(checkout: dict[str, Any]) -> CheckoutJob:
    return CheckoutJob.objects.select_related("order").get(pk=checkout["id"])


def ordered(checkout: dict[str, Any]) -> CheckoutJob:
    """Run steps until the checkout has an order that holds units."""
    return place_order(job_of(checkout), now=timezone.now())


def payable(checkout: dict[str, Any], gateway: Gateway) -> CheckoutJob:
    """Run steps until the checkout can be paid."""
    return make_payable(job_of(checkout), gateway, now=timezone.now())


@contextmanager
def one_connection() -> Iterator[None]:
    """Keep Django from closing the test's connection around a WSGI call."""
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)
    try:
        yield
    finally:
        for signal in (request_started, request_finished):
            signal.connect(close_old_connections)


def _json(content: Any) -> bytes:
    return b"" if content is None else json.dumps(content).encode()
