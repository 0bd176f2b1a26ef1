"""Simulated buyers that use only the public API."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Self, TypeVar

import requests

Json = dict[str, Any]
Result = TypeVar("Result")

ADDRESS = {
    "name": "Asha Rao",
    "line1": "12 MG Road",
    "city": "Bengaluru",
    "state": "Karnataka",
    "postal_code": "560001",
    "phone": "9845012345",
}
CALL_SECONDS = 20


class Buyer:
    """A guest with a cart."""

    def __init__(self, base_url: str) -> None:
        self.base_url = base_url
        self.http = requests.Session()
        self.http.trust_env = False

    @classmethod
    def arrive(
        cls, base_url: str, *, sku: str, quantity: int = 1, found: tuple[Json, Json] | None = None
    ) -> Self:
        """A new guest with this variant in the cart. `found` saves the look-up of the variant."""
        buyer = cls(base_url)
        buyer.come(sku=sku, quantity=quantity, found=found)
        return buyer

    def come(self, *, sku: str, quantity: int = 1, found: tuple[Json, Json] | None = None) -> None:
        tokens = self.call("POST", "/api/auth/guest/", expect=201)
        self.http.headers["Authorization"] = f"Bearer {tokens['access']}"
        product, variant = found or self.find(sku)
        self.call(
            "POST",
            "/api/cart/add/",
            {"product_id": product["id"], "variant_id": variant["id"], "quantity": quantity},
        )

    def find(self, sku: str) -> tuple[Json, Json]:
        for product in self.call("GET", "/api/products/")["results"]:
            for variant in product["variants"]:
                if variant["sku"] == sku:
                    return product, variant
        raise LookupError(sku)

    def post(self, **headers: str) -> Json:
        """Post the cart. Returns the checkout of the 202."""
        body = {"payment_method": "razorpay", "shipping_address": ADDRESS}
        return self.call(
            "POST", "/api/payments/create-from-cart/", body, expect=202, headers=headers
        )

    def status(self, checkout: Json) -> Json:
        return self.call("GET", checkout["links"]["self"])

    def wait(self, checkout: Json, *statuses: str, seconds: float = 60) -> Json:
        """Poll at the server's pace until the checkout has one of these statuses."""
        deadline = time.monotonic() + seconds
        while checkout["status"] not in statuses:
            assert not checkout["poll"]["done"], f"ended as {checkout['status']}: {checkout}"
            assert time.monotonic() < deadline, f"still {checkout['status']}: {checkout}"
            time.sleep(min(checkout["poll"]["after_ms"], 500) / 1000)
            checkout = self.status(checkout)
        return checkout

    def call(
        self,
        verb: str,
        path: str,
        body: Json | None = None,
        *,
        expect: int = 200,
        headers: Json | None = None,
    ) -> Json:
        answer = self.http.request(
            verb, self.base_url + path, json=body, headers=headers, timeout=CALL_SECONDS
        )
        assert answer.status_code == expect, f"{verb} {path}: {answer.status_code} {answer.text}"
        return answer.json()


def together(
    work: Callable[[Any], Result], items: Iterable[Any], *, threads: int = 16
) -> list[Result]:
    """Call `work` for all items in `threads` threads. Results are in the order of the items."""
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(work, items))


def until(condition: Callable[[], bool], *, seconds: float = 30) -> None:
    """Wait until `condition` holds. :raises AssertionError: not within `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.05)
