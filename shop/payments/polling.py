"""
When to poll Razorpay for payments: webhooks can fail for good, polls cannot be switched off.

Each payable order is polled on a schedule: often after it was placed, then less and less often,
until the latest time at which a bank may still authorise a payment.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta

from django.conf import settings

from shop import backoff
from shop.db import due, fast
from shop.payments import cases
from shop.payments.gateway import Declined, GatewayError
from shop.payments.ledger import GatewayOrder

# Since the order was placed. While the buyer is at the form, a lost webhook costs them at most
# the time between two polls; later only a late authorisation can still come.
POLL_SCHEDULE = (
    timedelta(seconds=30),
    timedelta(minutes=1),
    timedelta(minutes=2),
    timedelta(minutes=4),
    timedelta(minutes=8),
    timedelta(minutes=20),
    timedelta(hours=1),
    timedelta(hours=4),
    timedelta(hours=12),
    timedelta(days=1),
    timedelta(days=2),
    timedelta(days=3),
)

# How long after the buyer's attempt a bank may authorise
# (razorpay.com/docs/payments/payments/late-authorisation: 3 days, elsewhere 5).
LATEST_AUTHORISATION = timedelta(days=5, hours=1)

# How long the final poll is retried before staff get a case.
RETRY_FINAL_POLL_FOR = timedelta(days=1)
FIRST_RETRY_PAUSE, MAX_RETRY_PAUSE = timedelta(seconds=1), timedelta(seconds=2**16)


def next_poll_at(*, placed_at: datetime, now: datetime) -> datetime | None:
    """The next time on the schedule; None after the final poll."""
    times = (*(placed_at + after for after in POLL_SCHEDULE), placed_at + _until_final_poll())
    return next((at for at in times if at > now), None)


def _final_poll_at(*, placed_at: datetime, now: datetime) -> datetime | None:
    """None if that time has passed."""
    final_at = placed_at + _until_final_poll()
    return final_at if final_at > now else None


def _until_final_poll() -> timedelta:
    """
    From the order to its final poll: up to `HOLD_SECONDS` until it is payable, as long again to
    pay, and `LATEST_AUTHORISATION` for the bank.
    """
    return 2 * timedelta(seconds=settings.HOLD_SECONDS) + LATEST_AUTHORISATION


def poll_now(order_ids: Collection[int], *, now: datetime) -> None:
    """Make the polls of these orders due at once, duplicates included. A repeat changes nothing."""
    GatewayOrder.objects.filter(order_id__in=order_ids, gateway_order_id__isnull=False).exclude(
        poll_at__lte=now
    ).update(poll_at=now)


def poll_by(row_ids: Collection[int], *, at: datetime) -> None:
    """Poll these Razorpay orders at `at` at the latest."""
    fast.execute(
        "UPDATE shop_gatewayorder SET poll_at = %s"
        " WHERE id = ANY(%s) AND (poll_at IS NULL OR poll_at > %s)",
        [at, fast.array(row_ids), at],
    )


def schedule_final_poll(row_ids: Collection[int]) -> None:
    """
    Poll these Razorpay orders, which are paid, once more at the end of the schedule.

    Razorpay accepts no more money on them and mostly returns late payments; the final poll finds
    what it kept. Duplicates of them stay on the schedule.
    """
    fast.execute(
        "UPDATE shop_gatewayorder SET poll_at = created_at + %s WHERE id = ANY(%s)",
        [_until_final_poll(), fast.array(row_ids)],
    )


def claim_due(*, limit: int, now: datetime) -> list[GatewayOrder]:
    """
    Take up to `limit` orders that are due to be polled, for `CLAIM_SECONDS`. Call inside a
    transaction. The `poll_at` of the rows returned is the end of the claim.
    """
    return due.claim(GatewayOrder.objects.all(), "poll_at", limit=limit, now=now)


# On the fast path: every answered poll. `poll_at` is only set if it is still our claim's: if
# someone made a new poll due while ours was under way, our answer may be older than what they know.
# A paid order only has its final poll left, see `schedule_final_poll`.
_POLL_SUCCEEDED = """
    UPDATE shop_gatewayorder AS row
    SET polled_at = greatest(row.polled_at, given.sent_at), poll_count = row.poll_count + 1,
        failed_polls = 0,
        poll_at = CASE
            WHEN row.poll_at IS DISTINCT FROM given.claimed_until THEN row.poll_at
            WHEN placed.paid_at IS NULL OR row.is_duplicate THEN given.next_at
            ELSE given.final_at
        END
    FROM json_to_recordset(%s::json) AS given (
        id bigint, sent_at timestamptz, claimed_until timestamptz, next_at timestamptz,
        final_at timestamptz), shop_order AS placed
    WHERE row.id = given.id AND placed.id = row.order_id
"""


def poll_succeeded(polls: Sequence[tuple[GatewayOrder, datetime]], *, now: datetime) -> None:
    """Record answered polls, each with the time at which it was sent, and schedule the next."""
    records = [
        {
            "id": row.pk,
            "sent_at": sent_at,
            "claimed_until": row.poll_at,
            "next_at": next_poll_at(placed_at=row.created_at, now=now),
            "final_at": _final_poll_at(placed_at=row.created_at, now=now),
        }
        for row, sent_at in sorted(polls, key=lambda poll: poll[0].pk)  # the lock order
    ]
    fast.execute(_POLL_SUCCEEDED, [fast.as_json(records)])


# One statement in the lock order. As above, a poll that became due during ours stays due.
_POLL_FAILED = """
    UPDATE shop_gatewayorder AS row
    SET failed_polls = row.failed_polls + 1,
        poll_at = CASE
            WHEN row.poll_at IS DISTINCT FROM given.claimed_until THEN row.poll_at
            ELSE given.next_at
        END
    FROM json_to_recordset(%s::json) AS given (
        id bigint, claimed_until timestamptz, next_at timestamptz)
    WHERE row.id = given.id
"""


def poll_failed(polls: Sequence[tuple[GatewayOrder, GatewayError]], *, now: datetime) -> None:
    """
    Record polls that were not answered or were refused, and schedule the next.

    An unanswered poll is retried with exponential backoff, at the latest at its next time on the
    schedule. A refusal would be the same again, so it waits for the schedule. An order for which
    the schedule has no more polls gets a case.
    """
    if not polls:
        return
    next_at = {
        row.pk: next_poll_at(placed_at=row.created_at, now=now)
        if isinstance(error, Declined)
        else _retry_at(row, now=now)
        for row, error in polls
    }
    records = [
        {"id": row.pk, "claimed_until": row.poll_at, "next_at": next_at[row.pk]}
        for row, _ in sorted(polls, key=lambda poll: poll[0].pk)  # the lock order
    ]
    fast.execute(_POLL_FAILED, [fast.as_json(records)])
    cases.open_cases(
        [
            cases.Open(
                row.order_id,
                cases.CaseKind.POLL_FAILED,
                str(row.gateway_order_id),
                f"Razorpay does not say what was paid on {row.gateway_order_id}: {error}",
            )
            for row, error in polls
            if next_at[row.pk] is None
        ],
        now=now,
    )


def _retry_at(row: GatewayOrder, *, now: datetime) -> datetime | None:
    """After 1, 2, 4, … seconds, at the latest at the next time on the schedule."""
    retry_at = now + backoff.exponential(
        row.failed_polls + 1, first=FIRST_RETRY_PAUSE, longest=MAX_RETRY_PAUSE
    )
    if scheduled_at := next_poll_at(placed_at=row.created_at, now=now):
        return min(retry_at, scheduled_at)
    ends_at = row.created_at + _until_final_poll() + RETRY_FINAL_POLL_FOR
    return retry_at if retry_at <= ends_at else None
