"""Cases: money that no rule settles, so that staff decide about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from django.conf import settings
from django.db import models
from django.db.models import Q, QuerySet

from shop.orders import Order


class CaseKind(StrEnum):
    CONFLICT = "conflict"  # the money is not what the order asks for
    REFUND_FAILED = "refund_failed"
    REFUND_TWICE = "refund_twice"  # resembles a refund of ours and exceeds what we asked for
    SETTLE_FAILED = "settle_failed"  # a report about money could not be applied
    DISPUTE = "dispute"
    POLL_FAILED = "poll_failed"  # polls failed until the end of the schedule
    UNREADABLE = "unreadable"  # a poll found a payment that we cannot read


# While a checkout is in review, only the decision about it closes these.
DECIDED_IN_REVIEW = frozenset({CaseKind.CONFLICT, CaseKind.REFUND_FAILED})


class Case(models.Model):
    order = models.ForeignKey(Order, on_delete=models.PROTECT, related_name="cases")
    kind = models.CharField(max_length=16)
    reference = models.CharField(max_length=64)  # the payment, refund or dispute it is about
    text = models.CharField(max_length=300)
    # Of a dispute: its status at Razorpay.
    stage = models.CharField(max_length=16, blank=True, default="", db_default="")
    opened_at = models.DateTimeField()
    closed_at = models.DateTimeField(null=True, blank=True)
    closed_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, blank=True, related_name="+"
    )
    closed_because = models.CharField(max_length=500, blank=True, default="", db_default="")

    class Meta:
        ordering = ("-id",)
        constraints = [
            models.UniqueConstraint(fields=["kind", "reference"], name="case_once_per_reference"),
            models.CheckConstraint(
                condition=Q(kind__in=[kind.value for kind in CaseKind]), name="case_kind_known"
            ),
            models.CheckConstraint(
                condition=Q(closed_at=None, closed_by=None)
                | Q(closed_at__isnull=False) & (Q(closed_by__isnull=False) | ~Q(closed_because="")),
                name="case_closed_by_somebody",
            ),
        ]
        indexes = [
            models.Index(fields=["opened_at"], condition=Q(closed_at=None), name="case_open"),
        ]

    def __str__(self) -> str:
        return f"{self.kind}: {self.text}"


@dataclass(frozen=True, slots=True)
class Open:
    """A case to be opened."""

    order_id: int
    kind: CaseKind
    reference: str
    text: str
    stage: str = ""


def open_cases(cases: Sequence[Open], *, now: datetime) -> None:
    """
    Open each of these, unless a case of its kind and reference exists. A case that was closed
    automatically is reopened; a case that a person closed is not.
    """
    if not cases:
        return
    Case.objects.bulk_create(
        (
            Case(
                order_id=case.order_id,
                kind=case.kind,
                reference=case.reference,
                text=case.text[:300],
                opened_at=now,
            )
            for case in cases
        ),
        ignore_conflicts=True,
    )
    for case in cases:
        Case.objects.filter(
            kind=case.kind, reference=case.reference, closed_at__isnull=False, closed_by=None
        ).update(text=case.text[:300], closed_at=None, closed_because="")


def close_by_itself(cases: QuerySet[Case], *, because: str, now: datetime) -> int:
    """Close the open ones of `cases`, whose reason is gone. Returns their number."""
    opened = cases.order_by().filter(closed_at=None)
    return opened.update(closed_at=now, closed_because=because[:500])


def close(cases: QuerySet[Case], *, because: str, by_id: int, now: datetime) -> int:
    """Close the open ones of `cases` by a person. Returns their number; a repeat closes none."""
    opened = cases.order_by().filter(closed_at=None)
    return opened.update(closed_at=now, closed_by_id=by_id, closed_because=because[:500])


def follow(case: Open, *, stages: Sequence[str], now: datetime) -> None:
    """
    Open `case`, or move the existing one forward to its text and stage.

    A stage that is not ahead in `stages` changes nothing. A case that a person closed is reopened
    when it moves. Call under the lock of the order's job.
    """
    open_cases([case], now=now)
    behind = ("", *stages[: stages.index(case.stage)]) if case.stage else ()
    Case.objects.filter(kind=case.kind, reference=case.reference, stage__in=behind).update(
        text=case.text[:300], stage=case.stage, closed_at=None, closed_by=None, closed_because=""
    )
