"""
Reports of money that could not be settled: the first failure opens a case, a success closes it.

The report is not lost: a webhook stays in the inbox, and a fetched entity is fetched again.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from datetime import datetime

from django.db.models import QuerySet

from shop.payments import cases
from shop.payments.cases import Case, CaseKind

# The line of a traceback that names the error. Later lines may show the contents of a row.
NAMES_ERROR = re.compile(r"^[\w.]*(?:Error|Exception|Transition)\b.*$", re.MULTILINE)


def open_cases(order_ids: Collection[int], *, error: str, now: datetime) -> None:
    """
    Open a case for each order: settling a report about its money raised `error`, a traceback.

    A repeat opens a closed case again.
    """
    named = NAMES_ERROR.findall(error)
    because = named[-1] if named else "see the log"
    text = f"What Razorpay says about its money cannot be applied: {because}"
    failed = [
        cases.Open(order_id, CaseKind.SETTLE_FAILED, _reference(order_id), text)
        for order_id in sorted(order_ids)
    ]
    cases.open_cases(failed, now=now)
    _of(order_ids).filter(closed_at__isnull=False).update(
        closed_at=None, closed_by=None, closed_because="", text=text[:300]
    )


def close_cases(order_ids: Collection[int], *, now: datetime) -> None:
    """Close the cases of these orders: a report was settled. One statement, or none."""
    if order_ids:
        cases.close_by_itself(_of(order_ids), because="it was applied later", now=now)


def _of(order_ids: Collection[int]) -> QuerySet[Case]:
    references = [_reference(order_id) for order_id in order_ids]
    return Case.objects.filter(kind=CaseKind.SETTLE_FAILED, reference__in=references)


def _reference(order_id: int) -> str:
    return f"order {order_id}"
