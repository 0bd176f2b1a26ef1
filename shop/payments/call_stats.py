"""
How the gateway serves us: calls, outcomes and times, one row a minute for each kind of both.

Times are kept as counts between fixed bounds, so that minutes and processes add up: a percentile
read from them is right to within the bounds, which lie no more than a factor of two apart.
"""

from __future__ import annotations

import logging
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.contrib.postgres.fields import ArrayField
from django.db import Error, connection, models

from shop.payments.gateway import Declined, GatewayError, NothingAsked, Unreachable

logger = logging.getLogger(__name__)

# In milliseconds, each the upper bound of its count; one more count takes what is slower.
BOUNDS_MS: tuple[int, ...] = (
    *(25, 50, 75, 100, 150, 200, 300, 400, 600, 800),
    *(1200, 1600, 2400, 3200, 4800, 6400, 9600, 12800),
)


class GatewayMinute(models.Model):
    """What the calls of one minute, operation and outcome came to. Added to, never rewritten."""

    minute = models.DateTimeField()
    operation = models.CharField(max_length=40)
    outcome = models.CharField(max_length=16)
    calls = models.PositiveIntegerField()
    total_ms = models.BigIntegerField()
    counts = ArrayField(models.IntegerField(), size=len(BOUNDS_MS) + 1)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["minute", "operation", "outcome"], name="gateway_minute_once"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.minute:%d %b %H:%M} {self.operation} {self.outcome}: {self.calls}"


@dataclass(frozen=True, slots=True)
class Timed:
    """One call: how long it took, and its answer or the `GatewayError` it raised."""

    seconds: float
    answer: object


def outcome_of(answer: object) -> str:
    """`ok`, `declined`, `rate_limited`, `unreachable` or `unknown`. A look in vain is ok."""
    if isinstance(answer, NothingAsked):
        return outcome_of(answer.because)
    match answer:
        case Declined():
            return "declined"
        case Unreachable():
            return "rate_limited" if answer.is_rate_limit else "unreachable"
        case GatewayError():
            return "unknown"
    return "ok"


def record(operation: str, calls: Sequence[Timed], *, now: datetime) -> None:
    """
    Add these calls to their minute: one statement. Call outside any transaction.

    Rows are taken in the order of their outcomes, so that two workers cannot deadlock. A database
    that is away is logged and no more: nobody's checkout waits for a statistic.
    """
    if not calls:
        return
    rows = _rows(calls)
    minute = now.replace(second=0, microsecond=0)
    values = [
        value
        for outcome, (total_ms, counts) in sorted(rows.items())
        for value in (minute, operation, outcome, sum(counts), total_ms, counts)
    ]
    try:
        with connection.cursor() as cursor:
            cursor.execute(_ADD.format(", ".join([_ROW] * len(rows))), values)
    except Error:
        logger.warning("calls of %s are not counted", operation, exc_info=True)


_ROW = "(%s::timestamptz, %s::text, %s::text, %s::int, %s::bigint, %s::int[])"
_ADD = """
    INSERT INTO shop_gatewayminute AS kept (minute, operation, outcome, calls, total_ms, counts)
    VALUES {}
    ON CONFLICT (minute, operation, outcome) DO UPDATE
    SET calls = kept.calls + excluded.calls, total_ms = kept.total_ms + excluded.total_ms,
        counts = ARRAY(
            SELECT coalesce(old, 0) + coalesce(new, 0)
            FROM unnest(kept.counts, excluded.counts) WITH ORDINALITY AS pair (old, new, place)
            ORDER BY place
        )
"""


def _rows(calls: Sequence[Timed]) -> dict[str, tuple[int, list[int]]]:
    """(milliseconds in all, counts between the bounds) of each outcome."""
    totals: defaultdict[str, float] = defaultdict(float)
    counts: dict[str, list[int]] = {}
    for call in calls:
        outcome = outcome_of(call.answer)
        totals[outcome] += call.seconds * 1000
        of_outcome = counts.setdefault(outcome, [0] * (len(BOUNDS_MS) + 1))
        of_outcome[bisect_left(BOUNDS_MS, call.seconds * 1000)] += 1
    return {outcome: (round(totals[outcome]), counts[outcome]) for outcome in counts}


def percentile_ms(counts: Sequence[int], share: float) -> float | None:
    """
    The time within which `share` (0…1) of the calls were answered, spread evenly between bounds.

    None without calls. What lies past the last bound is read as that bound: at least so long.
    """
    wanted = share * sum(counts)
    if not wanted:
        return None
    below = 0.0
    for place, count in enumerate(counts[: len(BOUNDS_MS)]):
        if count and below + count >= wanted:
            lower = BOUNDS_MS[place - 1] if place else 0
            return lower + (BOUNDS_MS[place] - lower) * (wanted - below) / count
        below += count
    return float(BOUNDS_MS[-1])
