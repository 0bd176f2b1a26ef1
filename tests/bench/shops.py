"""
What is measured: a shop with buyers, checkouts on the way, and a database that says when they came
through. Ours and the references answer the same requests, so that one load is put on all of them.
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
    """A figure cannot be had: something answered what it should not, or nothing moved any more."""


@dataclass(frozen=True, slots=True)
class Buyer:
    """Somebody with a full cart, and the request that checks it out."""

    authorization: str
    post: bytes

    def read(self, checkout_id: str, *, tag: str = "") -> bytes:
        headers = {"Authorization": self.authorization} | ({"If-None-Match": tag} if tag else {})
        return encode("GET", f"/api/checkouts/{checkout_id}/", headers=headers)


@dataclass(frozen=True, slots=True)
class Progress:
    """What the database says of one checkout."""

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
    payable: list[Payable]  # checkouts that wait for money, for measurements of what comes then

    def make_buyers(self, count: int, *, flash: bool = False) -> list[Buyer]:
        """Buyers with carts of `LINES` lines; `flash`: of one unit of the flash sale's variant."""

    def flash_stock(self, units: int) -> None:
        """Put so many units of the flash sale's variant on the shelf."""

    def undecided(self) -> int:
        """How many checkouts have been posted and are neither payable nor refused."""

    def events_waiting(self) -> int:
        """How many webhooks have been answered and not worked on."""

    def progress(self, checkout_ids: Sequence[str]) -> list[Progress]: ...


@dataclass(frozen=True, slots=True)
class Payable:
    buyer: Buyer
    progress: Progress


def lines_of(buyer_number: int) -> list[int]:
    """The variants in this buyer's cart, as numbers below `VARIANTS`: all of them in turn."""
    return [(buyer_number * 7 + line * 101) % VARIANTS for line in range(LINES)]


def order_form(authorization: str, *, key: str, **seen: int) -> bytes:
    """The POST of a cart, as the client library sends it."""
    body = {
        "payment_method": "razorpay",
        "currency": "INR",
        "shipping_address": ADDRESS,
        **seen,
    }
    headers = {"Authorization": authorization, "Idempotency-Key": key}
    return encode("POST", POST_PATH, headers=headers, body=json.dumps(body).encode())


def wait_until_none(count: Callable[[], int], *, every_seconds: float = 0.05) -> None:
    """:raises BenchError: nothing has moved for `STUCK_SECONDS`."""
    last, moved_at = -1, time.monotonic()
    while left := count():
        if left != last:
            last, moved_at = left, time.monotonic()
        if time.monotonic() - moved_at > STUCK_SECONDS:
            raise BenchError(f"{left} left, and nothing moves")
        time.sleep(every_seconds)
