"""A caller of the HTTP API, as the storefront calls it."""

from __future__ import annotations

import itertools
import uuid
from typing import Any, Self

from django.http import HttpResponse
from django.utils import timezone
from rest_framework.test import APIClient
from rest_framework_simplejwt.tokens import AccessToken

from shop.catalogue import Variant
from shop.checkout.jobs import CheckoutJob
from shop.payments.gateway import Gateway
from tests.support.shop import ADDRESS, make_payable, make_variant, reload

POST_CHECKOUT = "/api/payments/create-from-cart/"
PASSWORD = "correct horse battery"

_serial = itertools.count(1)


class Caller:
    """Whoever holds `access`; nobody in particular without it. A fault of ours is seen as a 500."""

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

    def call(self, method: str, path: str, content: Any = None, **headers: str) -> HttpResponse:
        """`content` goes as JSON; header names are spelt with underscores."""
        sent = {"Authorization": f"Bearer {self.access}"} if self.access else {}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        act = getattr(self._client, method.lower())
        return act(path, content, format="json", headers=sent)

    def get(self, path: str, **headers: str) -> HttpResponse:
        return self._client.get(path, headers=self._headers(headers))

    def post(self, path: str, content: Any = None, **headers: str) -> HttpResponse:
        return self.call("POST", path, content, **headers)

    def patch(self, path: str, content: Any = None, **headers: str) -> HttpResponse:
        return self.call("PATCH", path, content, **headers)

    def delete(self, path: str, **headers: str) -> HttpResponse:
        return self.call("DELETE", path, **headers)
