"""
A rate limit and a circuit breaker for calls to the gateway, shared by all workers.

Both live in one row of Postgres: a 429 for one worker limits all of them, and while the gateway
does not answer it only gets probes. docs/decisions/gateway.md says what opens the breaker and which
steps may probe.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TypeGuard

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models, transaction

from shop.db import fast
from shop.payments.gateway import Busy, Declined, GatewayError, NothingAsked, Unreachable

OPENS_AFTER = 5  # entities with an unanswered call since the last answer
MIN_OPEN = timedelta(seconds=2)
MAX_OPEN = timedelta(minutes=1)
RATE_LIMITED_SECONDS = 2.0  # for a 429 without `Retry-After`

# Probes of steps that buyers wait for, while the breaker is open.
BUYERS_PROBE_EVERY = timedelta(seconds=3)
BUYERS_PROBE_CALLS = 3
# One call of such a step tests whether the limit of a 429 still holds.
LIMIT_PROBE_EVERY = timedelta(seconds=10)

Results = Sequence[tuple[str, object]]  # (entity that the call was about, its answer or error)


class BreakerState(StrEnum):
    CLOSED = "closed"  # calls go out
    OPEN = "open"  # only probes for buyers go out
    HALF_OPEN = "half_open"  # the next call is a probe


@dataclass(frozen=True, slots=True)
class BreakerStatus:
    """`until`: when the open breaker, or the limit of a 429, ends; None in the other states."""

    state: BreakerState
    until: datetime | None = None

    def __str__(self) -> str:
        match self.state:
            case BreakerState.CLOSED:
                return "ok"
            case BreakerState.HALF_OPEN:
                return "half-open"
        return f"open until {self.until:%H:%M:%S} UTC"


class CircuitBreaker(models.Model):
    """The only row has id 1; the first call creates it. Its lock is held for moments only."""

    open_until = models.DateTimeField(null=True, blank=True)
    # Set by a 429. An answer to a call that was sent before the 429 does not clear it.
    limited_until = models.DateTimeField(null=True, blank=True)
    buyers_probe_at = models.DateTimeField(null=True, blank=True)  # the next probe for buyers
    failing = ArrayField(models.CharField(max_length=80), default=list, db_default=[])
    # The number of entities in `failing`. While the breaker is open, unanswered probes add to it,
    # except probes for buyers.
    failures = models.PositiveIntegerField(default=0)
    calls_left = models.FloatField(default=0)  # of this second's budget
    refilled_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        until = self.unavailable_until
        return f"unavailable until {until}" if until else "available"

    @property
    def unavailable_until(self) -> datetime | None:
        """The later end of the open breaker and of the limit; None if there is neither."""
        return max(filter(None, (self.open_until, self.limited_until)), default=None)


@dataclass(frozen=True, slots=True)
class Allowance:
    """
    How many calls may go out now. The row stays locked until the transaction ends.

    `is_unavailable`: no call may go out, and not because this second's budget is used up.
    `is_past_limit`: the call is a probe of the limit that a 429 set.
    """

    calls: int
    row: CircuitBreaker
    for_buyers: bool = False
    is_unavailable: bool = False
    is_past_limit: bool = False

    @property
    def is_uncertain(self) -> bool:
        """Whether a call got no answer since the last answer, or this call is a probe."""
        return self.row.failures > 0 or self.is_past_limit


def acquire(wanted: int, *, for_buyers: bool = False, now: datetime) -> Allowance:
    """
    How many of `wanted` calls may go out now. Call in a transaction, and `consume` those that do.

    0 while the breaker is open or a limit holds. When that time is over, one probe may go out; its
    answer closes the breaker. Calls for buyers do not wait for that: they probe every
    `BUYERS_PROBE_EVERY`. Half of each second's budget is kept for them.
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
    """How many calls may go out as probes; None if no probe is needed."""
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
    Take the `calls` that go out off the budget.

    A probe moves the time of the next one. A probe that is not for buyers counts as a failure until
    it is answered.
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
    row.save(
        update_fields=["calls_left", "refilled_at", "failures", "open_until", "buyers_probe_at"]
    )


def _refill(row: CircuitBreaker, *, now: datetime) -> int:
    """Refill the budget, at most to one second's worth. Returns the whole calls that are left."""
    budget = settings.GATEWAY_REQUESTS_PER_SECOND
    elapsed = (now - row.refilled_at).total_seconds() if row.refilled_at else 1.0
    row.calls_left = min(budget, row.calls_left + max(elapsed, 0) * budget)
    row.refilled_at = now
    return int(row.calls_left)


def record_results(
    results: Results, *, for_buyers: bool = False, ends_limit: bool = False, now: datetime
) -> None:
    """
    Count calls that got no answer; close the breaker if any call was answered. Writes only when
    something changes. Call outside a transaction.

    An entity counts once until a call is answered, so one order whose calls always fail never
    opens the breaker. Concurrent failures open it for `MIN_OPEN`; each unanswered probe doubles
    that. `for_buyers`: while the breaker is open, failures do not prolong it. `ends_limit`: an
    answer also ends the limit of a 429, because the call went out after it.
    """
    causes = [(entity, _cause(answer)) for entity, answer in results]
    limited = [cause for _, cause in causes if _is_rate_limit(cause)]
    limits = [cause.retry_after_seconds or RATE_LIMITED_SECONDS for cause in limited]
    unanswered = [
        entity for entity, cause in causes if cause is not None and not _is_rate_limit(cause)
    ]
    has_change = unanswered or limits or ends_limit
    if not has_change and not fast.select(CircuitBreaker, "WHERE failures > 0", []):
        return
    with transaction.atomic():
        row = _locked()
        if len(unanswered) + len(limits) < len(causes):
            row.failures, row.failing, row.open_until = 0, [], None
            if ends_limit:
                row.limited_until = None
        if unanswered:
            _count_failures(row, unanswered, for_buyers=for_buyers, now=now)
        if limits:
            limit = timedelta(seconds=max(limits))
            row.limited_until = max(row.limited_until or now, now + limit)
            row.buyers_probe_at = now + min(limit, LIMIT_PROBE_EVERY)
        row.save()


def _count_failures(
    row: CircuitBreaker, unanswered: Sequence[str], *, for_buyers: bool, now: datetime
) -> None:
    was_open = row.failures >= OPENS_AFTER
    if not was_open:
        row.failing = sorted({*row.failing, *unanswered})[:OPENS_AFTER]
        row.failures = len(row.failing)
    if row.failures < OPENS_AFTER or (was_open and for_buyers):
        return
    doubled = MIN_OPEN * 2 ** min((row.failures - OPENS_AFTER), 10)
    row.open_until = now + min(doubled, MAX_OPEN)
    if not was_open:
        row.buyers_probe_at = row.open_until


def _cause(answer: object) -> GatewayError | None:
    """
    The error of a call that got no answer. `Declined` and `Busy` are answers: the gateway works.
    """
    error = answer.because if isinstance(answer, NothingAsked) else answer
    return (
        error
        if isinstance(error, GatewayError) and not isinstance(error, Declined | Busy)
        else None
    )


def _is_rate_limit(cause: GatewayError | None) -> TypeGuard[Unreachable]:
    return isinstance(cause, Unreachable) and cause.is_rate_limit


def _locked() -> CircuitBreaker:
    """The row, locked. On the fast path: every run of calls locks it."""
    for row in fast.select(CircuitBreaker, "WHERE id = 1 FOR NO KEY UPDATE", []):
        return row
    CircuitBreaker.objects.bulk_create([CircuitBreaker(pk=1)], ignore_conflicts=True)
    return CircuitBreaker.objects.select_for_update(no_key=True).get(pk=1)


def read(*, now: datetime) -> BreakerStatus:
    """The state now, for health checks and operations. One query, no lock."""
    row = CircuitBreaker.objects.filter(pk=1).first()
    if row is None:
        return BreakerStatus(BreakerState.CLOSED)
    if row.unavailable_until and now < row.unavailable_until:
        return BreakerStatus(BreakerState.OPEN, row.unavailable_until)
    is_half_open = row.failures >= OPENS_AFTER
    return BreakerStatus(BreakerState.HALF_OPEN if is_half_open else BreakerState.CLOSED)
