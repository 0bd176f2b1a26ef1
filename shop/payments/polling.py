"""
When to ask Razorpay ourselves. Webhooks can fail for good; questions cannot be switched off.

Each payable order is asked about on a ladder: soon after the buyer came back, then ever more
seldom, until the last late authorisation can have come.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta

from django.conf import settings
from django.db import connection

from shop.db import fast
from shop.payments import cases
from shop.payments.gateway import Declined, GatewayError
from shop.payments.ledger import GatewayOrder

# Since the order was placed. While the buyer is at the form, a lost webhook costs them at most the
# step; afterwards only a late authorisation can still come.
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

# A bank may authorise so long after the buyer tried to pay
# (razorpay.com/docs/payments/payments/late-authorisation: 3 days, elsewhere 5).
LATEST_AUTHORISATION = timedelta(days=5, hours=1)

# So long the last poll of an order is retried before operations are asked to look.
RETRY_FINAL_POLL_FOR = timedelta(days=1)


def next_poll_at(*, placed_at: datetime, now: datetime) -> datetime | None:
    """The next rung of the ladder that lies ahead; None when nothing can come any more."""
    rungs = (*(placed_at + rung for rung in POLL_SCHEDULE), placed_at + _until_final_poll())
    return next((rung for rung in rungs if rung > now), None)


def _final_poll_at(*, placed_at: datetime, now: datetime) -> datetime | None:
    """None if it was put already."""
    last_at = placed_at + _until_final_poll()
    return last_at if last_at > now else None


def _until_final_poll() -> timedelta:
    """An order becomes payable as late as it may hold units, and is payable for as long again."""
    return 2 * timedelta(seconds=settings.HOLD_SECONDS) + LATEST_AUTHORISATION


def poll_now(order_ids: Collection[int], *, now: datetime) -> None:
    """Have these orders asked about at once, aliases included. A repeat asks once."""
    GatewayOrder.objects.filter(order_id__in=order_ids, gateway_order_id__isnull=False).exclude(
        poll_at__lte=now
    ).update(poll_at=now)


def claim_due(*, limit: int, now: datetime) -> list[GatewayOrder]:
    """
    Take up to `limit` orders that are due to be asked about. Call inside a transaction.

    They are due again after `CLAIM_SECONDS`, should we die. There is no claim to check
    afterwards: two who ask the same question learn the same facts.
    """
    due = list(
        GatewayOrder.objects.filter(poll_at__lte=now)
        .order_by("poll_at")
        .select_for_update(skip_locked=True, no_key=True)[:limit]
    )
    until = now + timedelta(seconds=settings.CLAIM_SECONDS)
    GatewayOrder.objects.filter(pk__in=[row.pk for row in due]).update(poll_at=until)
    for row in due:
        row.poll_at = until
    return due


# An order that someone asked to have checked while our question was under way is due at once: the
# answer may be older than what they know. Only our own claim's `poll_at` is moved on. Of a paid
# order one question is left, see `ask_once_more`.
_POLL_SUCCEEDED = """
    UPDATE shop_gatewayorder AS row
    SET polled_at = greatest(row.polled_at, told.asked_at), poll_count = row.poll_count + 1,
        failed_polls = 0,
        poll_at = CASE
            WHEN row.poll_at IS DISTINCT FROM told.claimed_until THEN row.poll_at
            WHEN placed.paid_at IS NULL OR row.is_duplicate THEN told.next_at
            ELSE told.last_at
        END
    FROM json_to_recordset(%s::json) AS told (
        id bigint, asked_at timestamptz, claimed_until timestamptz, next_at timestamptz,
        last_at timestamptz), shop_order AS placed
    WHERE row.id = told.id AND placed.id = row.order_id
"""


def poll_succeeded(told: Sequence[tuple[GatewayOrder, datetime]], *, now: datetime) -> None:
    """Note that Razorpay told us about these orders, when we asked, and when to ask next."""
    records = [
        {
            "id": row.pk,
            "asked_at": asked_at,
            "claimed_until": row.poll_at,
            "next_at": next_poll_at(placed_at=row.created_at, now=now),
            "last_at": _final_poll_at(placed_at=row.created_at, now=now),
        }
        for row, asked_at in sorted(told, key=lambda it: it[0].pk)  # rows are taken in this order
    ]
    with connection.cursor() as cursor:
        cursor.execute(_POLL_SUCCEEDED, [fast.as_json(records)])


def poll_by(row_ids: Collection[int], *, at: datetime) -> None:
    """Poll these Razorpay orders at `at` at the latest."""
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE shop_gatewayorder SET poll_at = %s"
            " WHERE id = ANY(%s) AND (poll_at IS NULL OR poll_at > %s)",
            [at, fast.array(row_ids), at],
        )


_POLL_FAILED = """
    UPDATE shop_gatewayorder AS row
    SET failed_polls = row.failed_polls + 1,
        poll_at = CASE
            WHEN row.poll_at IS DISTINCT FROM told.claimed_until THEN row.poll_at
            ELSE told.next_at
        END
    FROM json_to_recordset(%s::json) AS told (
        id bigint, claimed_until timestamptz, next_at timestamptz)
    WHERE row.id = told.id
"""


def poll_failed(polls: Sequence[tuple[GatewayOrder, GatewayError]], *, now: datetime) -> None:
    """
    Note that these polls got no answer, or a refusal, and when to ask next: at the latest when the
    schedule has it. Opens a case for each that the schedule has no more polls for.

    A poll without an answer is retried before that, after pauses that double. A refusal stays the
    same, so it is not.
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
        for row, _ in sorted(polls, key=lambda poll: poll[0].pk)  # rows are taken in this order
    ]
    with connection.cursor() as cursor:
        cursor.execute(_POLL_FAILED, [fast.as_json(records)])
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
    """After 1, 2, 4, … seconds; never later than the schedule's next poll while there is one."""
    retry_at = now + timedelta(seconds=2 ** min(row.failed_polls, 16))
    if scheduled_at := next_poll_at(placed_at=row.created_at, now=now):
        return min(retry_at, scheduled_at)
    ends_at = row.created_at + _until_final_poll() + RETRY_FINAL_POLL_FOR
    return retry_at if retry_at <= ends_at else None


def schedule_final_poll(row_ids: Collection[int]) -> None:
    """
    These Razorpay orders are paid. Razorpay takes no more money on them, and mostly gives back what
    comes late; one last question finds what it kept. Their twins stay on the ladder.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE shop_gatewayorder SET poll_at = created_at + make_interval(secs => %s)"
            " WHERE id = ANY(%s)",
            [_until_final_poll().total_seconds(), fast.array(row_ids)],
        )
