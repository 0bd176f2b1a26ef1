"""Cases: money that needs a person. What no rule settles is here, so that nothing ends silently."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from django.db import models
from django.db.models import Q

from shop.orders import Order


class CaseKind(StrEnum):
    CONFLICT = "conflict"  # the money is not what the order asks for
    UNSERVED = "unserved"  # paid, and can be neither served nor refunded by rule
    REFUND_FAILED = "refund_failed"
    DISPUTE = "dispute"


class Case(models.Model):
    order = models.ForeignKey(Order, on_delete=models.PROTECT, related_name="cases")
    kind = models.CharField(max_length=16)
    reference = models.CharField(max_length=64)  # the payment, refund or dispute it is about
    text = models.CharField(max_length=300)
    opened_at = models.DateTimeField()
    closed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ("-id",)
        constraints = [
            models.UniqueConstraint(fields=["kind", "reference"], name="case_once_per_reference"),
            models.CheckConstraint(
                condition=Q(kind__in=[kind.value for kind in CaseKind]), name="case_kind_known"
            ),
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


def open_cases(cases: Sequence[Open], *, now: datetime) -> None:
    """Open each of these, unless one of its kind and reference was opened before."""
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
