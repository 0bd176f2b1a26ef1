"""
News of money that could not be applied: a case at the first failure, closed by the first success.

The news itself is not lost: a webhook stays in the inbox, and what was fetched is fetched again.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from datetime import datetime

from django.db.models import QuerySet

from shop.payments import cases
from shop.payments.cases import Case, CaseKind

# The line of a traceback that names the error. Those after it may show what is in a row.
NAMES_ERROR = re.compile(r"^[\w.]*(?:Error|Exception|Lost|Move)\b.*$", re.MULTILINE)


def open_cases(order_ids: Collection[int], *, error: str, now: datetime) -> None:
    """
    What Razorpay said about the money of these orders raised `error`, a traceback. One case for
    each order; a repeat opens it again, whoever closed it.
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
    """What Razorpay says about the money of these orders was applied. One statement, or none."""
    if order_ids:
        cases.close_by_itself(_of(order_ids), because="it was applied later", now=now)


def _of(order_ids: Collection[int]) -> QuerySet[Case]:
    references = [_reference(order_id) for order_id in order_ids]
    return Case.objects.filter(kind=CaseKind.SETTLE_FAILED, reference__in=references)


def _reference(order_id: int) -> str:
    return f"order {order_id}"
