"""
Money on its way back. A refund is a row before it is a request, with a key of its own.

The key goes to Razorpay twice, as `X-Refund-Idempotency` and as receipt: either alone is honoured
by some accounts only, and three equal calls without them were three refunds.
"""

from __future__ import annotations

import re
import uuid
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from django.conf import settings
from django.db import models, transaction
from django.db.models import F, Q, Sum

from shop.money import format_amount
from shop.orders import Order
from shop.payments import cases
from shop.payments.ledger import Payment, PaymentStatus

MAX_ATTEMPTS = 40  # with pauses of up to an hour: more than a day, for a balance to be filled up
KEY = re.compile(r"[0-9a-f]{32}")
POLL_PENDING_AFTER = timedelta(hours=1)  # a pending refund's webhook is quicker, if it comes


class RefundStatus(StrEnum):
    DUE = "due"  # wanted by us; Razorpay may or may not have heard of it
    PENDING = "pending"  # Razorpay has it
    PROCESSED = "processed"  # Razorpay has sent it; the bank may still send it back
    FAILED = "failed"  # refused for good, or it came back: a case


# What a report can turn a refund into. The bank may send back what Razorpay had processed, and a
# failed one may yet be processed: see `refund_reports`.
FORWARD: dict[str, frozenset[str]] = {
    RefundStatus.DUE: frozenset(
        {RefundStatus.PENDING, RefundStatus.PROCESSED, RefundStatus.FAILED}
    ),
    RefundStatus.PENDING: frozenset({RefundStatus.PROCESSED, RefundStatus.FAILED}),
    RefundStatus.PROCESSED: frozenset({RefundStatus.FAILED}),
    RefundStatus.FAILED: frozenset({RefundStatus.PROCESSED}),
}


class RefundReason(StrEnum):
    SURPLUS = "surplus"  # the order was paid already
    LATE = "late"  # the checkout had ended, and could not be served any more
    REQUESTED = "requested"  # by staff
    ELSEWHERE = "elsewhere"  # made at Razorpay without us
    TWICE = "twice"  # like one of ours, and above what we asked for: see `refund_reports`


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
    due_at = models.DateTimeField(null=True, blank=True)  # when to send it, or to ask about it
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
                condition=Q(reason__in=[RefundReason.LATE, RefundReason.SURPLUS]),
                name="refund_one_by_rule_per_payment",
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


class RefundRefused(Exception):
    """Nothing, or not so much, is left to be refunded."""

    def __init__(self, message: str, *, left_paise: int) -> None:
        super().__init__(message)
        self.message = message
        self.left_paise = left_paise


@dataclass(frozen=True, slots=True)
class AutomaticRefund:
    """A payment that is to go back whole."""

    payment: Payment
    reason: RefundReason


class RejectedRefund(NamedTuple):
    """A claimed refund that Razorpay will not make, and why."""

    refund: Refund
    because: str


def create_automatic(wanted: Sequence[AutomaticRefund], *, now: datetime) -> None:
    """
    Write down that these payments go back, as far as they have not yet. A repeat adds nothing:
    the table has one refund by rule for each payment.
    """
    if not wanted:
        return
    payments = [item.payment.pk for item in wanted]
    kept = _committed_paise(payments)
    Refund.objects.bulk_create(
        (
            Refund(
                payment=item.payment,
                amount_paise=left,
                reason=item.reason,
                key=new_key(),
                due_at=now,
                created_at=now,
                updated_at=now,
            )
            for item in wanted
            if (left := item.payment.amount_paise - kept.get(item.payment.pk, 0)) > 0
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
    Write down a refund that staff asks for; None: all that is left. Sent soon after, under `key`.

    Locks the payment that paid the order, so that two requests cannot give back more than it was.

    :raises RefundRefused: the order is not paid, or less is left than asked for.
    """
    with transaction.atomic():
        payment = (
            Payment.objects.select_for_update(no_key=True)
            .filter(gateway_payment_id=order.paid_by, status=PaymentStatus.CAPTURED)
            .first()
        )
        if not order.paid_by or payment is None:
            raise RefundRefused("There is no money of this order to give back.", left_paise=0)
        left_paise = payment.amount_paise - _committed_paise([payment.pk]).get(payment.pk, 0)
        wanted_paise = left_paise if amount_paise is None else amount_paise
        if not 0 < wanted_paise <= left_paise:
            raise RefundRefused("That is more than is left of this payment.", left_paise=left_paise)
        return Refund.objects.create(
            payment=payment,
            amount_paise=wanted_paise,
            reason=RefundReason.REQUESTED,
            note=note,
            requested_by_id=by_id,
            key=key or new_key(),
            due_at=now,
            created_at=now,
            updated_at=now,
        )


def refund_all(
    payments: Sequence[Payment], *, note: str, by_id: int, now: datetime
) -> list[Refund]:
    """
    Write down that staff sends back all that is left of these captured payments. Sent soon after.

    Locks the payments in id order. One of which nothing is left adds nothing, so neither does a
    repeat. Refunds by rule that failed are no hindrance.
    """
    rows = Payment.objects.filter(
        pk__in=[payment.pk for payment in payments], status=PaymentStatus.CAPTURED
    )
    locked = list(rows.order_by("id").select_for_update(no_key=True))
    promised = _committed_paise([payment.pk for payment in locked])
    return Refund.objects.bulk_create(
        Refund(
            payment=payment,
            amount_paise=left,
            reason=RefundReason.REQUESTED,
            note=note[:300],
            requested_by_id=by_id,
            key=new_key(),
            due_at=now,
            created_at=now,
            updated_at=now,
        )
        for payment in locked
        if (left := payment.amount_paise - promised.get(payment.pk, 0)) > 0
    )


def retry_failed(refund: Refund, *, note: str, by_id: int, now: datetime) -> Refund:
    """
    Write down a refund in place of one that failed, under a key of its own: Razorpay's answer to
    the old key stays what it is, and so does its case.

    :raises RefundRefused: it did not fail, or less is left of its payment.
    """
    with transaction.atomic():
        payment = Payment.objects.select_for_update(no_key=True).get(pk=refund.payment_id)
        refund.refresh_from_db()
        left_paise = payment.amount_paise - _committed_paise([payment.pk]).get(payment.pk, 0)
        if refund.status != RefundStatus.FAILED:
            raise RefundRefused("This refund has not failed.", left_paise=left_paise)
        if payment.status != PaymentStatus.CAPTURED or refund.amount_paise > left_paise:
            raise RefundRefused(
                "So much is not left of this payment: other refunds took its place.",
                left_paise=left_paise,
            )
        return Refund.objects.create(
            payment=payment,
            amount_paise=refund.amount_paise,
            reason=RefundReason.REQUESTED,
            note=note[:300],
            requested_by_id=by_id,
            key=new_key(),
            attempts=1,  # so that it is looked for before it is sent
            due_at=now,
            created_at=now,
            updated_at=now,
        )


def fully_refunded(standing: Iterable[Refund]) -> set[int]:
    """The ids of the payments that these refunds, none of them failed, give back whole."""
    paise: Counter[int] = Counter()
    whole = set()
    for refund in standing:
        paise[refund.payment_id] += refund.amount_paise
        if paise[refund.payment_id] >= refund.payment.amount_paise:
            whole.add(refund.payment_id)
    return whole


def new_key() -> str:
    """Ours alone, and of the letters that Razorpay takes for an idempotency key."""
    return uuid.uuid4().hex


def is_key(receipt: str) -> bool:
    """Whether it looks like one that `new_key` gave, be it of a row or not."""
    return KEY.fullmatch(receipt) is not None


def refundable_paise(payments: Sequence[Payment]) -> dict[int, int]:
    """How much of each of these is neither going back nor gone, in paise. One query."""
    promised = _committed_paise([payment.pk for payment in payments])
    return {payment.pk: payment.amount_paise - promised.get(payment.pk, 0) for payment in payments}


def _committed_paise(payment_ids: Collection[int]) -> dict[int, int]:
    """How much of each payment is going back or has gone, in paise. Failed ones do not count."""
    rows = Refund.objects.filter(payment_id__in=payment_ids).exclude(status=RefundStatus.FAILED)
    return dict(
        rows.order_by().values_list("payment_id").annotate(promised_paise=Sum("amount_paise"))
    )


def claim_due(*, limit: int, now: datetime) -> list[Refund]:
    """
    Take refunds that are due to be sent, or to be asked about, for `CLAIM_SECONDS`. Call inside a
    transaction.
    """
    due = list(
        Refund.objects.filter(due_at__lte=now)
        .select_related("payment__gateway_order")
        .order_by("due_at")
        .select_for_update(skip_locked=True, no_key=True, of=("self",))[:limit]
    )
    claim = uuid.uuid4()
    until = now + timedelta(seconds=settings.CLAIM_SECONDS)
    Refund.objects.filter(pk__in=[refund.pk for refund in due]).update(
        claim=claim, due_at=until, attempts=F("attempts") + 1
    )
    for refund in due:
        refund.claim, refund.attempts = claim, refund.attempts + 1
    return due


def postpone(refund: Refund, *, until: datetime, last_error: str) -> None:
    """Look at it again at `until`. Only whoever holds the claim can."""
    Refund.objects.filter(pk=refund.pk, claim=refund.claim).update(
        claim=None, due_at=until, last_error=last_error[:300]
    )


def give_up(rejected: Sequence[RejectedRefund], *, now: datetime) -> set[int]:
    """
    Razorpay will not have these. Each row says why, and a case asks operations for help. The ids
    of the orders concerned; only whoever holds the claim can give a refund up.
    """
    concerned = set()
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
            concerned.add(refund.payment.gateway_order.order_id)
    return concerned


def open_failed_case(refund: Refund, text: str, *, now: datetime) -> None:
    """Ask operations for help with a refund that failed. A repeat opens no second case."""
    case = cases.Open(
        refund.payment.gateway_order.order_id, cases.CaseKind.REFUND_FAILED, refund.key, text
    )
    cases.open_cases([case], now=now)


def finish(refund: Refund) -> None:
    """Nothing is left to be sent or asked. Only whoever holds the claim can say so."""
    Refund.objects.filter(pk=refund.pk, claim=refund.claim).update(claim=None, due_at=None)


def of_orders(order_ids: Collection[int]) -> dict[int, list[Refund]]:
    """The refunds of each order, oldest first."""
    found: dict[int, list[Refund]] = {order_id: [] for order_id in order_ids}
    if not found:
        return found
    rows = Refund.objects.filter(payment__gateway_order__order_id__in=order_ids)
    for refund in rows.select_related("payment__gateway_order").order_by("id"):
        found[refund.payment.gateway_order.order_id].append(refund)
    return found
