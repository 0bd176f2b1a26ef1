"""
Refunds. A refund is a row before it is a request, and the row has an idempotency key.

The key is sent to Razorpay as `X-Refund-Idempotency` and as receipt: some accounts honour only one
of them, and three equal calls without either made three refunds.
"""

from __future__ import annotations

import re
import uuid
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, NamedTuple

from django.conf import settings
from django.db import models, transaction
from django.db.models import F, Q, Sum

from shop.db import due
from shop.money import format_amount
from shop.orders import Order
from shop.payments import cases
from shop.payments.ledger import Payment, PaymentStatus

MAX_ATTEMPTS = 40  # more than a day with pauses of up to an hour: staff can fill up the balance
KEY = re.compile(r"[0-9a-f]{32}")
POLL_PENDING_AFTER = timedelta(hours=1)  # a webhook usually reports the end of a refund earlier


class RefundStatus(StrEnum):
    DUE = "due"  # to be sent; Razorpay may have it already
    PENDING = "pending"  # Razorpay has it
    PROCESSED = "processed"  # Razorpay has sent it; the bank may still return it
    FAILED = "failed"  # rejected for good, or returned by the bank: opens a case


# What a report can turn a refund into. A bank may return what Razorpay has processed, and a failed
# refund may be processed later: see `refund_reports`.
FORWARD: dict[str, frozenset[str]] = {
    RefundStatus.DUE: frozenset(
        {RefundStatus.PENDING, RefundStatus.PROCESSED, RefundStatus.FAILED}
    ),
    RefundStatus.PENDING: frozenset({RefundStatus.PROCESSED, RefundStatus.FAILED}),
    RefundStatus.PROCESSED: frozenset({RefundStatus.FAILED}),
    RefundStatus.FAILED: frozenset({RefundStatus.PROCESSED}),
}


class RefundReason(StrEnum):
    SURPLUS = "surplus"  # the order was already paid
    LATE = "late"  # the checkout had ended and could not be fulfilled any more
    REQUESTED = "requested"  # by staff
    ELSEWHERE = "elsewhere"  # made at Razorpay, not by us
    TWICE = "twice"  # resembles a refund of ours and exceeds what we asked for: `refund_reports`


AUTOMATIC = (RefundReason.LATE, RefundReason.SURPLUS)


class Refund(models.Model):
    payment = models.ForeignKey(Payment, on_delete=models.PROTECT, related_name="refunds")
    amount_paise = models.BigIntegerField()
    reason = models.CharField(max_length=12)
    note = models.CharField(max_length=300, blank=True)
    requested_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, blank=True, related_name="+"
    )
    key = models.CharField(max_length=40, unique=True)
    gateway_refund_id = models.CharField(max_length=64, unique=True, null=True, blank=True)
    status = models.CharField(max_length=10, default=RefundStatus.DUE)
    due_at = models.DateTimeField(null=True, blank=True)  # when to send it, or to poll it
    claim = models.UUIDField(null=True, blank=True)
    attempts = models.PositiveIntegerField(default=0)
    last_error = models.CharField(max_length=300, blank=True)
    created_at = models.DateTimeField()
    updated_at = models.DateTimeField()

    class Meta:
        ordering = ("id",)
        constraints = [
            models.CheckConstraint(condition=Q(amount_paise__gt=0), name="refund_amount_positive"),
            models.CheckConstraint(
                condition=Q(status__in=list(FORWARD)), name="refund_status_known"
            ),
            models.UniqueConstraint(
                fields=["payment"],
                condition=Q(reason__in=AUTOMATIC),
                name="refund_one_automatic_per_payment",
            ),
        ]
        indexes = [
            models.Index(fields=["due_at"], condition=Q(due_at__isnull=False), name="refund_due"),
            models.Index(
                fields=["status", "created_at"],
                condition=~Q(status=RefundStatus.PROCESSED),
                name="refund_unfinished",
            ),
        ]

    def __str__(self) -> str:
        amount = format_amount(self.amount_paise, self.currency)
        return f"refund of {amount} ({self.status})"

    @property
    def currency(self) -> str:
        return self.payment.currency

    @property
    def order_id(self) -> int:
        return self.payment.gateway_order.order_id


class RefundRefused(Exception):
    """Nothing of the payment, or less than requested, is left to be refunded."""

    def __init__(self, message: str, *, left_paise: int) -> None:
        super().__init__(message)
        self.message = message
        self.left_paise = left_paise


@dataclass(frozen=True, slots=True)
class AutomaticRefund:
    """A payment that is to be refunded in full, without a decision of staff."""

    payment: Payment
    reason: RefundReason


class RejectedRefund(NamedTuple):
    """A claimed refund that Razorpay will not make, and why."""

    refund: Refund
    because: str


def new_refund(
    payment: Payment,
    *,
    amount_paise: int,
    reason: RefundReason,
    now: datetime,
    key: str = "",
    note: str = "",
    **more: Any,
) -> Refund:
    """A refund that is due now, not saved yet. Without a `key` it gets one of ours."""
    values = {"status": RefundStatus.DUE, "due_at": now} | more
    return Refund(
        payment=payment,
        amount_paise=amount_paise,
        reason=reason,
        note=note[:300],
        key=key or new_key(),
        created_at=now,
        updated_at=now,
        **values,
    )


def create_automatic(wanted: Sequence[AutomaticRefund], *, now: datetime) -> None:
    """
    Create refunds of what is left of these payments. A repeat adds nothing: the table allows one
    automatic refund per payment.
    """
    if not wanted:
        return
    left_paise = refundable_paise([item.payment for item in wanted])
    Refund.objects.bulk_create(
        (
            new_refund(item.payment, amount_paise=paise, reason=item.reason, now=now)
            for item in wanted
            if (paise := left_paise[item.payment.pk]) > 0
        ),
        ignore_conflicts=True,
    )


def create_by_staff(
    order: Order,
    *,
    amount_paise: int | None,
    note: str,
    by_id: int,
    now: datetime,
    key: str = "",
) -> Refund:
    """
    Create a refund of the payment that paid the order, due now. None: all that is left.

    Locks that payment, so that concurrent requests cannot refund more than it was.

    :raises RefundRefused: the order is not paid, or less is left than requested.
    """
    with transaction.atomic():
        payment = (
            Payment.objects.select_for_update(no_key=True)
            .filter(gateway_payment_id=order.paid_by, status=PaymentStatus.CAPTURED)
            .first()
        )
        if not order.paid_by or payment is None:
            raise RefundRefused("There is no money of this order to give back.", left_paise=0)
        left_paise = refundable_paise([payment])[payment.pk]
        wanted_paise = left_paise if amount_paise is None else amount_paise
        if not 0 < wanted_paise <= left_paise:
            raise RefundRefused("That is more than is left of this payment.", left_paise=left_paise)
        refund = new_refund(
            payment,
            amount_paise=wanted_paise,
            reason=RefundReason.REQUESTED,
            now=now,
            key=key,
            note=note,
            requested_by_id=by_id,
        )
        refund.save()
        return refund


def refund_all(
    payments: Sequence[Payment], *, note: str, by_id: int, now: datetime
) -> list[Refund]:
    """
    Create refunds of all that is left of these captured payments, on request of staff, due now.

    Locks the payments in id order. A payment of which nothing is left adds nothing, so a repeat
    adds nothing. A failed automatic refund does not count.
    """
    rows = Payment.objects.filter(
        pk__in=[payment.pk for payment in payments], status=PaymentStatus.CAPTURED
    )
    locked = list(rows.order_by("id").select_for_update(no_key=True))
    left_paise = refundable_paise(locked)
    return Refund.objects.bulk_create(
        new_refund(
            payment,
            amount_paise=paise,
            reason=RefundReason.REQUESTED,
            now=now,
            note=note,
            requested_by_id=by_id,
        )
        for payment in locked
        if (paise := left_paise[payment.pk]) > 0
    )


def retry_failed(refund: Refund, *, note: str, by_id: int, now: datetime) -> Refund:
    """
    Create a refund in place of a failed one, with a key of its own: Razorpay repeats its answer to
    the old key. The case of the failed one stays open.

    :raises RefundRefused: it did not fail, or less is left of its payment.
    """
    with transaction.atomic():
        payment = Payment.objects.select_for_update(no_key=True).get(pk=refund.payment_id)
        refund.refresh_from_db()
        left_paise = refundable_paise([payment])[payment.pk]
        if refund.status != RefundStatus.FAILED:
            raise RefundRefused("This refund has not failed.", left_paise=left_paise)
        if payment.status != PaymentStatus.CAPTURED or refund.amount_paise > left_paise:
            raise RefundRefused(
                "Less is left of this payment: other refunds have taken it.",
                left_paise=left_paise,
            )
        again = new_refund(
            payment,
            amount_paise=refund.amount_paise,
            reason=RefundReason.REQUESTED,
            now=now,
            note=note,
            requested_by_id=by_id,
            attempts=1,  # a second attempt looks for the refund before it sends it
        )
        again.save()
        return again


def fully_refunded(refunds: Iterable[Refund]) -> set[int]:
    """The ids of the payments that these refunds, none of them failed, cover in full."""
    paise: Counter[int] = Counter()
    covered = set()
    for refund in refunds:
        paise[refund.payment_id] += refund.amount_paise
        if paise[refund.payment_id] >= refund.payment.amount_paise:
            covered.add(refund.payment_id)
    return covered


def new_key() -> str:
    """A unique key of characters that Razorpay accepts in an idempotency key."""
    return uuid.uuid4().hex


def is_key(receipt: str) -> bool:
    """Whether it has the form of a `new_key`, with or without a row of ours."""
    return KEY.fullmatch(receipt) is not None


def refundable_paise(payments: Sequence[Payment]) -> dict[int, int]:
    """By payment id: its amount less all refunds that did not fail, in paise. One query."""
    committed = _committed_paise([payment.pk for payment in payments])
    return {payment.pk: payment.amount_paise - committed.get(payment.pk, 0) for payment in payments}


def _committed_paise(payment_ids: Collection[int]) -> dict[int, int]:
    """By payment id: the sum of its refunds that did not fail, in paise."""
    rows = Refund.objects.filter(payment_id__in=payment_ids).exclude(status=RefundStatus.FAILED)
    return dict(rows.order_by().values_list("payment_id").annotate(Sum("amount_paise")))


def claim_due(*, limit: int, now: datetime) -> list[Refund]:
    """
    Take refunds that are due to be sent or polled, for `CLAIM_SECONDS`. Call inside a transaction.
    """
    rows = Refund.objects.select_related("payment__gateway_order")
    claim = uuid.uuid4()
    claimed = due.claim(
        rows, "due_at", limit=limit, now=now, claim=claim, attempts=F("attempts") + 1
    )
    for refund in claimed:
        refund.claim, refund.attempts = claim, refund.attempts + 1
    return claimed


def postpone(refund: Refund, *, until: datetime, last_error: str) -> None:
    """Look at it again at `until`. Does nothing if our claim has lapsed."""
    Refund.objects.filter(pk=refund.pk, claim=refund.claim).update(
        claim=None, due_at=until, last_error=last_error[:300]
    )


def give_up(rejected: Sequence[RejectedRefund], *, now: datetime) -> set[int]:
    """
    Mark these refunds as failed and open a case for each; skips those whose claim has lapsed.
    Returns the ids of their orders.
    """
    order_ids = set()
    for refund, because in rejected:
        ours = Refund.objects.filter(pk=refund.pk, claim=refund.claim, status=RefundStatus.DUE)
        if ours.update(
            status=RefundStatus.FAILED,
            claim=None,
            due_at=None,
            last_error=because[:300],
            updated_at=now,
        ):
            open_failed_case(refund, because, now=now)
            order_ids.add(refund.order_id)
    return order_ids


def open_failed_case(refund: Refund, text: str, *, now: datetime) -> None:
    """Open the case of a failed refund. A repeat opens no second one."""
    case = cases.Open(refund.order_id, cases.CaseKind.REFUND_FAILED, refund.key, text)
    cases.open_cases([case], now=now)


def finish(refund: Refund) -> None:
    """Neither send nor poll it any more. Does nothing if our claim has lapsed."""
    Refund.objects.filter(pk=refund.pk, claim=refund.claim).update(claim=None, due_at=None)


def of_orders(order_ids: Collection[int]) -> dict[int, list[Refund]]:
    """The refunds of each order, oldest first."""
    found: dict[int, list[Refund]] = {order_id: [] for order_id in order_ids}
    if not found:
        return found
    rows = Refund.objects.filter(payment__gateway_order__order_id__in=order_ids)
    for refund in rows.select_related("payment__gateway_order").order_by("id"):
        found[refund.order_id].append(refund)
    return found
