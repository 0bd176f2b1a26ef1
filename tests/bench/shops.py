"""
The interface of a measured shop. Pakka and the references answer the same requests, so that the
same load can be put on all of them; times come from their databases.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from tests.bench.cost import Meter
from tests.bench.gateway_process import GatewayProcess
from tests.bench.wire import encode

POST_PATH = "/api/payments/create-from-cart/"
ADDRESS = {
    "name": "Asha Rao",
    "line1": "12 MG Road",
    "line2": "",
    "city": "Bengaluru",
    "state": "Karnataka",
    "postal_code": "560001",
    "country": "IN",
    "phone": "+919845012345",
}
VARIANTS = 300
LINES = 3
STUCK_SECONDS = 120


class BenchError(Exception):
    """A figure cannot be measured: a wrong answer, or no progress."""


@dataclass(frozen=True, slots=True)
class Buyer:
    """A buyer with a full cart and the request that posts it."""

    authorization: str
    post: bytes

    def read(self, checkout_id: str, *, tag: str = "") -> bytes:
        headers = {"Authorization": self.authorization} | ({"If-None-Match": tag} if tag else {})
        return encode("GET", f"/api/checkouts/{checkout_id}/", headers=headers)


@dataclass(frozen=True, slots=True)
class Progress:
    """The times and state of one checkout, from the database."""

    checkout_id: str
    state: str
    created_at: datetime
    payable_at: datetime | None
    paid_at: datetime | None
    gateway_order_id: str


class Shop(Protocol):
    name: str
    port: int
    meter: Meter
    gateway: GatewayProcess
    payable: list[Payable]  # checkouts that can be paid, for later measurements

    def make_buyers(self, count: int, *, flash: bool = False) -> list[Buyer]:
        """Buyers with carts of `LINES` lines, or with one unit of the flash sale's variant."""

    def flash_stock(self, units: int) -> None:
        """Set the stock of the flash sale's variant."""

    def undecided(self) -> int:
        """The number of posted checkouts that are neither payable nor refused."""

    def events_waiting(self) -> int:
        """The number of webhooks that are accepted but not handled."""

    def progress(self, checkout_ids: Sequence[str]) -> list[Progress]: ...


@dataclass(frozen=True, slots=True)
class Payable:
    buyer: Buyer
    progress: Progress


def lines_of(buyer_number: int) -> list[int]:
    """Numbers of the variants in this buyer's cart, below `VARIANTS`. Buyers rotate through all."""
    return [(buyer_number * 7 + line * 101) % VARIANTS for line in range(LINES)]


def order_form(authorization: str, *, key: str, **seen: int) -> bytes:
    """The request that posts a cart, as the client library sends it."""
    body = {
        "payment_method": "razorpay",
        "currency": "INR",
        "shipping_address": ADDRESS,
        **seen,
    }
    headers = {"Authorization": authorization, "Idempotency-Key": key}
    return encode("POST", POST_PATH, headers=headers, body=json.dumps(body).encode())


def wait_until_none(count: Callable[[], int], *, every_seconds: float = 0.05) -> None:
    """:raises BenchError: no progress for `STUCK_SECONDS`."""
    last, moved_at = -1, time.monotonic()
    while left := count():
        if left != last:
            last, moved_at = left, time.monotonic()
        if time.monotonic() - moved_at > STUCK_SECONDS:
            raise BenchError(f"{left} left, no progress")
        time.sleep(every_seconds)
