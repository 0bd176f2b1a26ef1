"""
What the shop needs of any payment gateway, and how a call can fail.

A call fails with `Declined` (give up), `Unreachable` or `Busy` (try again), or `OutcomeUnknown`
(look first). `NothingAsked`: the look-up before a changing call failed, so that call was not sent.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol, TypeVar

from django.db import connection

Item = TypeVar("Item")


class GatewayError(Exception):
    """Base of all errors that a gateway call raises."""


class Declined(GatewayError):
    """The gateway refused. The same call will be refused again."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code  # stable, for tests and metrics
        self.message = message


class DuplicateReceipt(Declined):
    """An order with this receipt exists: find it. Only some accounts refuse a second one."""

    def __init__(self, message: str, *, existing_order_id: str | None) -> None:
        super().__init__("duplicate_receipt", message)
        self.existing_order_id = existing_order_id  # None: the answer does not name it


class Unreachable(GatewayError):
    """The call was not sent, or was refused unread. Nothing happened; try again later."""

    def __init__(
        self,
        message: str,
        *,
        retry_after_seconds: float | None = None,
        is_rate_limit: bool = False,
    ) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds
        self.is_rate_limit = is_rate_limit  # all workers must slow down


class Busy(Unreachable):
    """Another operation on the same entity is in progress. Nothing happened; try again later."""


class OutcomeUnknown(GatewayError):
    """The call was sent, and no answer says what happened. Look before calling again."""


class NothingAsked(GatewayError):
    """
    A look-up found nothing, or failed (`because`), so no call that changes anything was sent.
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
    What one report (webhook or fetch) says about one payment.

    `status`: created, failed, authorized, captured or refunded; other values are ignored.
    `is_void`: an authorisation that was returned and never captured, so no money came.
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
    What one report says about one refund.

    `status`: pending, processed or failed; other values are ignored. `receipt`: our key, if the
    refund is ours.
    """

    id: str
    gateway_payment_id: str
    amount_paise: int
    status: str
    receipt: str | None = None


@dataclass(frozen=True, slots=True)
class DisputeFact:
    """
    A buyer's bank demands money back.

    `status`: open, under_review, action_required, won, lost or closed. `phase`: fraud, retrieval,
    chargeback, pre_arbitration or arbitration.
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
    What one or several reports say about money.

    `looked_at`: those of `payments` that were fetched singly, together with all their `refunds`.
    """

    payments: tuple[PaymentFact, ...] = ()
    refunds: tuple[RefundFact, ...] = ()
    disputes: tuple[DisputeFact, ...] = ()
    looked_at: tuple[PaymentFact, ...] = ()

    @classmethod
    def joined(cls, several: Iterable[GatewayReport]) -> GatewayReport:
        several = list(several)
        return cls(
            tuple(fact for report in several for fact in report.payments),
            tuple(fact for report in several for fact in report.refunds),
            tuple(fact for report in several for fact in report.disputes),
            tuple(fact for report in several for fact in report.looked_at),
        )


@dataclass(frozen=True, slots=True)
class Unreadable:
    """
    An entity of a list that we cannot read, unchanged.

    `id`: its own, or a digest. `event_body`: the entity as a webhook body, which can be replayed.
    """

    id: str
    raw: Any
    problem: str
    event_body: bytes


class Listing(list[Item]):
    """The readable entities of a list in its order, and the unreadable ones apart."""

    def __init__(self, items: Iterable[Item] = (), unreadable: Iterable[Unreadable] = ()) -> None:
        super().__init__(items)
        self.unreadable = tuple(unreadable)


class Gateway(Protocol):
    def create_order(self, *, receipt: str, amount_paise: int, currency: str) -> RemoteOrder:
        """Create a payable order. Not idempotent: a repeat creates a second one."""

    def find_orders(self, *, receipt: str) -> Listing[RemoteOrder]:
        """Orders with this receipt. The list lags by up to a minute, so empty proves nothing."""

    def fetch_order(self, *, gateway_order_id: str) -> RemoteOrder:
        """One order in its present state; this read does not lag."""

    def fetch_payments(self, *, gateway_order_id: str) -> Listing[PaymentFact]:
        """All payments of one order in their present state; this read does not lag."""

    def fetch_payment(self, *, gateway_payment_id: str) -> PaymentFact:
        """One payment in its present state."""

    def capture(self, *, gateway_payment_id: str, amount_paise: int, currency: str) -> PaymentFact:
        """
        Capture an authorised payment. `Declined` has many reasons, a repeat among them: fetch the
        payment and decide by its status.
        """

    def refund(self, *, gateway_payment_id: str, amount_paise: int, key: str) -> RefundFact:
        """Refund. The same key and amount give the same refund again, or `Declined`."""

    def fetch_refunds(self, *, gateway_payment_id: str) -> Listing[RefundFact]:
        """All refunds of one payment."""

    def list_payments(
        self, *, since: datetime, until: datetime, skip: int, count: int
    ) -> Listing[PaymentFact]:
        """
        All payments made in this span, newest first: `count` of them (at most 100) after the first
        `skip`. Includes those of other shops on the account. The list lags by minutes.
        """


def refuse_inside_transaction() -> None:
    """
    Raise if a transaction is open. Every gateway method calls this first.

    Otherwise a slow gateway would hold row locks for as long as it takes. The transaction that
    wraps each test does not count.
    """
    # Private to Django and untyped: used here only, and tested.
    if any(not block._from_testcase for block in connection.atomic_blocks):  # type: ignore[attr-defined]
        raise RuntimeError("gateway called inside a transaction")
