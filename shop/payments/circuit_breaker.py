"""
How hard we press the gateway: a budget of calls per second, and a circuit breaker.

One row in Postgres, so that all workers slow down together: a 429 for one is a 429 for all, and a
gateway that is down gets only probes until it answers. What opens the circuit, and who may probe:
docs/decisions/gateway.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import connection, models, transaction

from shop.db import fast
from shop.payments.gateway import Busy, Declined, GatewayError, NothingAsked, Unreachable

OPENS_AFTER = 5  # entities with an unanswered call since the last answer; later, probes count
MIN_OPEN = timedelta(seconds=2)
MAX_OPEN = timedelta(minutes=1)
RATE_LIMITED_SECONDS = 2.0  # where a 429 does not say for how long

# While buyers wait, an open circuit is probed so often, with so many calls.
BUYERS_PROBE_EVERY = timedelta(seconds=3)
BUYERS_PROBE_CALLS = 3
# While buyers wait, one call so often finds out whether a 429 still holds.
LIMIT_PROBE_EVERY = timedelta(seconds=10)

Results = Sequence[tuple[str, object]]  # the entity that a call was about, and its answer or error


class CircuitBreaker(models.Model):
    """The one row (id 1): made by the first migration, locked only for moments."""

    open_until = models.DateTimeField(null=True, blank=True)  # the circuit breaker's
    # What a 429 asked for. An answer to a call that was out at that moment does not end it.
    limited_until = models.DateTimeField(null=True, blank=True)
    buyers_probe_at = models.DateTimeField(null=True, blank=True)  # the next one for buyers
    failing = ArrayField(models.CharField(max_length=80), default=list, db_default=[])
    # How many entities are in `failing`; once the circuit is open, plus probes that were not
    # answered, except those for buyers.
    failures = models.PositiveIntegerField(default=0)
    calls_left = models.FloatField(default=0)  # of this second's budget
    refilled_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return f"left alone until {it}" if (it := self.unavailable_until) else "open"

    @property
    def unavailable_until(self) -> datetime | None:
        return max(filter(None, (self.open_until, self.limited_until)), default=None)


@dataclass(frozen=True, slots=True)
class Allowance:
    """
    So many calls may go out now. Holds the row's lock until the transaction ends.

    `is_left_alone`: none may, for longer than a moment. `is_past_limit`: this is the probe of a
    limit that a 429 asked for.
    """

    calls: int
    row: CircuitBreaker
    for_buyers: bool = False
    is_unavailable: bool = False
    is_past_limit: bool = False

    @property
    def is_uncertain(self) -> bool:
        """Some call has got no answer since the last answer, or this is a probe."""
        return self.row.failures > 0 or self.is_past_limit


def acquire(wanted: int, *, for_buyers: bool = False, now: datetime) -> Allowance:
    """
    How many of `wanted` calls may go out now. Call in a transaction, and `spend` what goes out.

    None while the gateway is left alone. After a break one, whose answer decides for all; calls
    for buyers do not wait for that break, see `BUYERS_PROBE_EVERY`. Half of a second's budget is
    kept for them, too.
    """
    row = _locked()
    is_limited = _is_before(now, row.limited_until)
    probe_calls = _probe_calls(row, is_limited=is_limited, for_buyers=for_buyers, now=now)
    if probe_calls == 0:
        return Allowance(0, row, for_buyers, is_unavailable=True)
    left = _refill(row, now=now)
    if not for_buyers:
        left -= settings.GATEWAY_REQUESTS_PER_SECOND // 2
    calls = max(0, min(wanted if probe_calls is None else probe_calls, left))
    return Allowance(calls, row, for_buyers, is_past_limit=is_limited)


def _probe_calls(
    row: CircuitBreaker, *, is_limited: bool, for_buyers: bool, now: datetime
) -> int | None:
    """How many calls may find out how the gateway is; None if that is not in question."""
    if not is_limited and row.failures < OPENS_AFTER:
        return None
    if for_buyers:
        calls = 1 if is_limited else BUYERS_PROBE_CALLS
        return 0 if _is_before(now, row.buyers_probe_at) else calls
    return 0 if _is_before(now, row.unavailable_until) else 1


def _is_before(now: datetime, until: datetime | None) -> bool:
    return until is not None and now < until


def consume(allowance: Allowance, calls: int, *, now: datetime) -> None:
    """
    Take the calls that do go out off the budget. One that probes keeps others waiting; unless it
    is for buyers, it counts as unanswered until it is answered.
    """
    if not calls:
        return
    row = allowance.row
    row.calls_left -= calls
    if allowance.is_past_limit:
        row.buyers_probe_at = now + LIMIT_PROBE_EVERY
    elif row.failures >= OPENS_AFTER and allowance.for_buyers:
        row.buyers_probe_at = now + BUYERS_PROBE_EVERY
    elif row.failures >= OPENS_AFTER:
        row.failures += calls
        row.open_until = now + timedelta(seconds=settings.GATEWAY_TIMEOUT_SECONDS)
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE shop_circuitbreaker SET calls_left = %s, refilled_at = %s, failures = %s,"
            " open_until = %s, buyers_probe_at = %s WHERE id = %s",
            [
                row.calls_left,
                row.refilled_at,
                row.failures,
                row.open_until,
                row.buyers_probe_at,
                row.pk,
            ],
        )


def _refill(row: CircuitBreaker, *, now: datetime) -> int:
    """The whole calls that are left of the budget, which holds a second's worth at most."""
    budget = settings.GATEWAY_REQUESTS_PER_SECOND
    elapsed = (now - row.refilled_at).total_seconds() if row.refilled_at else 1.0
    row.calls_left = min(budget, row.calls_left + max(elapsed, 0) * budget)
    row.refilled_at = now
    return int(row.calls_left)


def record_results(
    told: Results, *, for_buyers: bool = False, ends_limit: bool = False, now: datetime
) -> None:
    """
    Count calls that got no answer; close the circuit if any call was answered. Writes only when
    something changes. Call outside a transaction.

    An entity counts once until a call is answered, so one order whose calls always fail never
    opens the circuit. Concurrent failures open it for the shortest break; breaks double with each
    probe. `for_buyers`: calls of a step that buyers wait for; while the circuit is open they leave
    the break of the others as it is. `ends_limit`: an answer also ends what a 429 asked for,
    because the call went out later.
    """
    causes = [(entity, _cause(answer)) for entity, answer in told]
    limited = [it for _, it in causes if isinstance(it, Unreachable) and it.is_rate_limit]
    limits = [it.retry_after_seconds or RATE_LIMITED_SECONDS for it in limited]
    silent = [entity for entity, it in causes if it is not None and it not in limited]
    is_news = silent or limits or ends_limit
    if not is_news and not fast.select(CircuitBreaker, "WHERE failures > 0", []):
        return
    with transaction.atomic():
        row = _locked()
        if len(silent) + len(limits) < len(causes):
            row.failures, row.failing, row.open_until = 0, [], None
            if ends_limit:
                row.limited_until = None
        if silent:
            _count_failures(row, silent, for_buyers=for_buyers, now=now)
        if limits:
            asked_for = timedelta(seconds=max(limits))
            row.limited_until = max(row.limited_until or now, now + asked_for)
            row.buyers_probe_at = now + min(asked_for, LIMIT_PROBE_EVERY)
        row.save()


def _count_failures(
    row: CircuitBreaker, silent: Sequence[str], *, for_buyers: bool, now: datetime
) -> None:
    was_open = row.failures >= OPENS_AFTER
    if not was_open:
        row.failing = sorted({*row.failing, *silent})[:OPENS_AFTER]
        row.failures = len(row.failing)
    if row.failures < OPENS_AFTER or (was_open and for_buyers):
        return
    doubled = MIN_OPEN * 2 ** min((row.failures - OPENS_AFTER), 10)
    row.open_until = now + min(doubled, MAX_OPEN)
    if not was_open:
        row.buyers_probe_at = row.open_until


def _cause(answer: object) -> GatewayError | None:
    """
    What went wrong with the call itself. A refusal is an answer, and so is that another operation
    holds the entity: the gateway is well.
    """
    error = answer.because if isinstance(answer, NothingAsked) else answer
    return (
        error
        if isinstance(error, GatewayError) and not isinstance(error, Declined | Busy)
        else None
    )


def _locked() -> CircuitBreaker:
    for row in fast.select(CircuitBreaker, "WHERE id = 1 FOR NO KEY UPDATE", []):
        return row
    CircuitBreaker.objects.bulk_create([CircuitBreaker(pk=1)], ignore_conflicts=True)
    return CircuitBreaker.objects.select_for_update(no_key=True).get(pk=1)


def state(*, now: datetime) -> str:
    """For health and operations: `ok`, `resting until …` or `probing`."""
    row = CircuitBreaker.objects.filter(pk=1).first()
    if row is None:
        return "ok"
    if row.unavailable_until and now < row.unavailable_until:
        return f"resting until {row.unavailable_until:%H:%M:%S} UTC"
    return "probing" if row.failures >= OPENS_AFTER else "ok"
