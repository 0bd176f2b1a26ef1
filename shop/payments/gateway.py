"""
What we need of any payment gateway, and the three ways in which a call can fail.

Three errors, because there are three right reactions: give up, try again, look before you ask.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol, TypeVar

from django.db import connection

Item = TypeVar("Item")


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

    def __init__(
        self,
        message: str,
        *,
        retry_after_seconds: float | None = None,
        is_rate_limit: bool = False,
    ) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds
        self.is_rate_limit = is_rate_limit  # all of us should slow down


class Busy(Unreachable):
    """Another operation holds this one payment. Nothing happened, and the gateway is well."""


class OutcomeUnknown(GatewayError):
    """We sent it and got no answer that says what happened. Look before asking again."""


class NothingAsked(GatewayError):
    """
    We only looked, and found nothing or could not look (`because`). No call that changes anything
    went out this time.
    """

    def __init__(self, because: GatewayError | None = None) -> None:
        super().__init__(str(because or "no order with our receipt is listed yet"))
        self.because = because


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
    `is_void`: an authorisation that was given back and never captured, so no money came.
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
    is_void: bool = False


@dataclass(frozen=True, slots=True)
class RefundFact:
    """
    What one report says about one refund. `status`: created, pending, processed or failed.

    `receipt` is our key, if the refund is of our making.
    """

    id: str
    gateway_payment_id: str
    amount_paise: int
    status: str
    receipt: str | None = None


@dataclass(frozen=True, slots=True)
class DisputeFact:
    """
    A buyer's bank wants money back. `status`: open, under_review, action_required, won, lost or
    closed; `phase`: fraud, retrieval, chargeback, pre_arbitration or arbitration.
    """

    id: str
    gateway_payment_id: str
    amount_paise: int
    status: str
    phase: str = ""
    currency: str = "INR"


@dataclass(frozen=True, slots=True)
class GatewayReport:
    """
    What one report, or several, say about money. `looked_at`: those of `payments` that were fetched
    one by one, together with all of their `refunds`.
    """

    payments: tuple[PaymentFact, ...] = ()
    refunds: tuple[RefundFact, ...] = ()
    disputes: tuple[DisputeFact, ...] = ()
    looked_at: tuple[PaymentFact, ...] = ()

    @classmethod
    def joined(cls, several: Iterable[GatewayReport]) -> GatewayReport:
        several = list(several)
        return cls(
            tuple(fact for gateway_report in several for fact in gateway_report.payments),
            tuple(fact for gateway_report in several for fact in gateway_report.refunds),
            tuple(fact for gateway_report in several for fact in gateway_report.disputes),
            tuple(fact for gateway_report in several for fact in gateway_report.looked_at),
        )


@dataclass(frozen=True, slots=True)
class Unreadable:
    """An entity of a list that we cannot read, as it came. `id`: its own, or a digest."""

    id: str
    raw: Any
    problem: str


class Listing(list[Item]):
    """The entities of a list that can be read, in its order; one that cannot hides no other."""

    def __init__(self, items: Iterable[Item] = (), unreadable: Iterable[Unreadable] = ()) -> None:
        super().__init__(items)
        self.unreadable = tuple(unreadable)


class Gateway(Protocol):
    def create_order(self, *, receipt: str, amount_paise: int, currency: str) -> RemoteOrder:
        """Create an order that buyers can pay. Not idempotent: a repeat makes a second one."""

    def find_orders(self, *, receipt: str) -> Listing[RemoteOrder]:
        """Orders that carry this receipt. The list lags: empty is no proof within a minute."""

    def fetch_order(self, *, gateway_order_id: str) -> RemoteOrder:
        """One order as it is now; this read does not lag."""

    def fetch_payments(self, *, gateway_order_id: str) -> Listing[PaymentFact]:
        """All payments of one order, as they are now; this read does not lag."""

    def fetch_payment(self, *, gateway_payment_id: str) -> PaymentFact:
        """One payment as it is now."""

    def capture(self, *, gateway_payment_id: str, amount_paise: int, currency: str) -> PaymentFact:
        """
        Take the money of an authorised payment. A repeat is `Declined`, and so is whatever else
        stands in the way: fetch the payment and decide by its status.
        """

    def refund(self, *, gateway_payment_id: str, amount_paise: int, key: str) -> RefundFact:
        """Send money back. The same key and amount again give the same refund, or `Declined`."""

    def fetch_refunds(self, *, gateway_payment_id: str) -> Listing[RefundFact]:
        """All refunds of one payment."""

    def list_payments(
        self, *, since: datetime, until: datetime, skip: int, count: int
    ) -> Listing[PaymentFact]:
        """
        Up to `count` (at most 100) of all payments made in this span, newest first, after the
        first `skip`; of other shops on the account too. The list lags by minutes.
        """


def refuse_inside_transaction() -> None:
    """
    Raise if a transaction is open. Every gateway call asks first.

    A slow gateway would otherwise hold row locks for as long as it likes. The transaction that
    wraps each test does not count.
    """
    # Private to Django, and untyped: one place, one test.
    if any(not block._from_testcase for block in connection.atomic_blocks):  # type: ignore[attr-defined]
        raise RuntimeError("gateway called inside a transaction")
