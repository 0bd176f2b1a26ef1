"""
How hard we press the gateway: a budget of calls per second, and a circuit breaker.

One row in Postgres, so that all workers slow down together: a 429 for one is a 429 for all, and a
gateway that is down is asked by one call at a time until it answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db import connection, models, transaction

from shop import rows
from shop.payments.gateway import Declined, GatewayError, NothingAsked, Unreachable

TRIPS_AFTER = 5  # calls in a row that got no answer; after that, probes are counted alone
SHORTEST_BREAK = timedelta(seconds=2)
LONGEST_BREAK = timedelta(minutes=1)
RATE_LIMITED_SECONDS = 2.0  # where a 429 does not say for how long


class GatewayPressure(models.Model):
    """The one row (id 1): made by the first migration, locked only for moments."""

    closed_until = models.DateTimeField(null=True, blank=True)  # the circuit breaker's
    # What a 429 asked for. An answer to a call that was out at that moment does not end it.
    limited_until = models.DateTimeField(null=True, blank=True)
    failures = models.PositiveIntegerField(default=0)  # calls in a row that got no answer
    calls_left = models.FloatField(default=0)  # of this second's budget
    refilled_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return f"left alone until {it}" if (it := self.left_alone_until) else "open"

    @property
    def left_alone_until(self) -> datetime | None:
        return max(filter(None, (self.closed_until, self.limited_until)), default=None)


@dataclass(frozen=True, slots=True)
class Allowance:
    """
    So many calls may go out now. Holds the row's lock until the transaction ends. `is_left_alone`:
    none may, for longer than a moment.
    """

    calls: int
    row: GatewayPressure
    is_left_alone: bool = False


def allow(wanted: int, *, now: datetime) -> Allowance:
    """
    How many of `wanted` calls may go out now. Call in a transaction, and `spend` what goes out.

    None while the gateway is left alone. After a break, one: whether it answers decides for all.
    """
    row = _locked()
    if row.left_alone_until and now < row.left_alone_until:
        return Allowance(0, row, is_left_alone=True)
    most = 1 if row.failures >= TRIPS_AFTER else wanted
    return Allowance(min(most, _refill(row, now=now)), row)


def spend(allowance: Allowance, calls: int, *, now: datetime) -> None:
    """
    Take the calls that do go out off the budget. One that probes keeps all others waiting, and
    counts as unanswered until it is answered.
    """
    if not calls:
        return
    row = allowance.row
    row.calls_left -= calls
    if row.failures >= TRIPS_AFTER:
        row.failures += calls
        row.closed_until = now + timedelta(seconds=settings.GATEWAY_TIMEOUT_SECONDS)
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE shop_gatewaypressure SET calls_left = %s, refilled_at = %s, failures = %s,"
            " closed_until = %s WHERE id = %s",
            [row.calls_left, row.refilled_at, row.failures, row.closed_until, row.pk],
        )


def _refill(row: GatewayPressure, *, now: datetime) -> int:
    """The whole calls that are left of the budget, which holds a second's worth at most."""
    budget = settings.GATEWAY_REQUESTS_PER_SECOND
    elapsed = (now - row.refilled_at).total_seconds() if row.refilled_at else 1.0
    row.calls_left = min(budget, row.calls_left + max(elapsed, 0) * budget)
    row.refilled_at = now
    return int(row.calls_left)


def learn(answers: Sequence[object], *, now: datetime) -> None:
    """
    Take a lesson from what calls came to: `GatewayError`s among other answers. Writes only when
    something changes. Call outside a transaction.

    Calls that were out together are one lesson: thirty that hang for the same second end the asking
    for the shortest break, as five do. Breaks double with each probe.
    """
    causes = [_cause(answer) for answer in answers]
    limited = [it for it in causes if isinstance(it, Unreachable) and it.is_rate_limit]
    limits = [it.retry_after_seconds or RATE_LIMITED_SECONDS for it in limited]
    silent = [it for it in causes if it is not None and it not in limited]
    if not silent and not limits and not rows.select(GatewayPressure, "WHERE failures > 0", []):
        return
    with transaction.atomic():
        row = _locked()
        if len(silent) + len(limits) < len(causes):
            row.failures, row.closed_until = 0, None
        row.failures = min(row.failures + len(silent), max(row.failures, TRIPS_AFTER))
        if row.failures >= TRIPS_AFTER:
            doubled = SHORTEST_BREAK * 2 ** min((row.failures - TRIPS_AFTER), 10)
            row.closed_until = now + min(doubled, LONGEST_BREAK)
        if limits:
            asked_for = now + timedelta(seconds=max(limits))
            row.limited_until = max(row.limited_until or asked_for, asked_for)
        row.save()


def _cause(answer: object) -> GatewayError | None:
    """What went wrong with the call itself. A refusal is an answer: the gateway is well."""
    if isinstance(answer, NothingAsked):
        return answer.because if not isinstance(answer.because, Declined) else None
    return answer if isinstance(answer, GatewayError) and not isinstance(answer, Declined) else None


def _locked() -> GatewayPressure:
    for row in rows.select(GatewayPressure, "WHERE id = 1 FOR NO KEY UPDATE", []):
        return row
    GatewayPressure.objects.bulk_create([GatewayPressure(pk=1)], ignore_conflicts=True)
    return GatewayPressure.objects.select_for_update(no_key=True).get(pk=1)


def state(*, now: datetime) -> str:
    """For health and operations: `ok`, `resting until …` or `probing`."""
    row = GatewayPressure.objects.filter(pk=1).first()
    if row is None:
        return "ok"
    if row.left_alone_until and now < row.left_alone_until:
        return f"resting until {row.left_alone_until:%H:%M:%S} UTC"
    return "probing" if row.failures >= TRIPS_AFTER else "ok"
