"""
What we need of any payment gateway, and the three ways in which a call can fail.

Three errors, because there are three right reactions: give up, try again, look before you ask.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from django.db import connection


class GatewayError(Exception):
    """Base of everything a gateway call raises on purpose."""


class Declined(GatewayError):
    """The gateway answered no. Asking again gives the same answer."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code  # stable, for tests and metrics
        self.message = message


class DuplicateReceipt(Declined):
    """An order with this receipt is there already: find it. Only some accounts refuse this."""

    def __init__(self, message: str, *, existing_order_id: str | None) -> None:
        super().__init__("duplicate_receipt", message)
        self.existing_order_id = existing_order_id  # not every answer names it


class Unreachable(GatewayError):
    """Nothing happened there: not sent, or refused unread. Trying again later is safe."""

    def __init__(self, message: str, *, retry_after_seconds: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class OutcomeUnknown(GatewayError):
    """We sent it and got no answer that says what happened. Look before asking again."""


@dataclass(frozen=True, slots=True)
class RemoteOrder:
    """An order as the gateway has it. `status`: created, attempted or paid."""

    id: str
    amount_paise: int
    currency: str
    receipt: str | None
    status: str
    created_at: int  # seconds since the epoch


@dataclass(frozen=True, slots=True)
class PaymentFact:
    """
    What one report (webhook, fetch) says about one payment, at the time it was made.

    `status`: created, failed, authorized, captured or refunded, as Razorpay names them.
    """

    id: str
    gateway_order_id: str
    amount_paise: int
    currency: str
    status: str
    amount_refunded_paise: int = 0
    method: str = ""
    error_code: str = ""
    error_description: str = ""


class Gateway(Protocol):
    def create_order(self, *, receipt: str, amount_paise: int, currency: str) -> RemoteOrder:
        """Create an order that buyers can pay. Not idempotent: a repeat makes a second one."""

    def find_orders(self, *, receipt: str) -> list[RemoteOrder]:
        """Orders that carry this receipt. The list lags: empty is no proof within a minute."""

    def fetch_order(self, *, gateway_order_id: str) -> RemoteOrder:
        """One order as it is now; this read does not lag."""

    def fetch_payments(self, *, gateway_order_id: str) -> list[PaymentFact]:
        """All payments of one order, as they are now; this read does not lag."""


def refuse_inside_transaction() -> None:
    """
    Raise if a transaction is open. Every gateway call asks first.

    A slow gateway would otherwise hold row locks for as long as it likes. The transaction that
    wraps each test does not count.
    """
    if any(not block._from_testcase for block in connection.atomic_blocks):
        raise RuntimeError("gateway called inside a transaction")
