"""
The state of the shop now: waiting work, stuck checkouts, money that needs a person, held units.

The operations page and `/metrics` both read it, through `shop/ops/cache.py`. Each statement reads
unfinished rows alone, by a partial index, so its cost does not grow with the shop's history.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import Count, F, Min, Q, QuerySet, Sum
from django.urls import reverse

from shop.addresses import celery_broker_url
from shop.checkout import holds, jobs
from shop.checkout.jobs import STUCK_AFTER, STUCK_ATTEMPTS, CheckoutJob
from shop.checkout.states import ENDING, OPEN, STEP_OF, State, Step, in_sql
from shop.db import redis_client
from shop.db.redis_client import RedisUnavailable
from shop.operations import retention
from shop.ops.attention import attention
from shop.ops.rows import Row, select
from shop.payments import circuit_breaker, inbox, webhook_health
from shop.payments.cases import Case
from shop.payments.inbox import InboxEvent
from shop.payments.refunds import Refund, RefundStatus
from shop.stock import StockLevel
from shop.telemetry import heartbeats
from shop.telemetry.redaction import redacted
from tasks.registry import QUEUES, WORK

MAX_ROWS = 50
MAX_VARIANTS = 10
MAX_CARTS = 50_000  # counted at most
HOLD_LAPSED_AFTER = timedelta(minutes=1)  # the final poll of Razorpay comes before the release


def current(*, now: datetime) -> Row:
    """
    All figures: about 25 small statements, and two calls to Redis, which may be unavailable.

    :raises OperationalError: Postgres is unavailable.
    """
    open_checkouts = checkouts(now=now)
    found = {
        "as_of": now,
        "checkouts": open_checkouts,
        "steps": steps(open_checkouts, now=now),
        "queues": queues(),
        "heartbeats": heartbeat_rows(now=now),
        "stuck": stuck(now=now),
        "breaker": breaker(now=now),
        "webhooks": webhooks(now=now),
        "refunds": refunds(),
        "cases": cases(),
        "stock": stock(now=now),
        "carts_used_1h": carts_used(now=now),
        "retention": failing_retention(),
    }
    return found | {"attention": attention(found)}


# --- waiting work --------------------------------------------------------------------------------

# The states are written out, as in the conditions of the partial indexes.
_COUNT = """
    SELECT state, count(*) AS count, count(due_at) AS waiting,
           count(*) FILTER (WHERE due_at <= %(now)s::timestamptz) AS due,
           count(*) FILTER (WHERE due_at < %(overdue)s::timestamptz) AS overdue,
           count(*) FILTER (WHERE attempts >= %(attempts)s::int) AS retrying,
           min(due_at) AS oldest_due_at
    FROM shop_checkoutjob WHERE state IN ({states}) GROUP BY state
"""
# Two statements in one, because open and ended checkouts have an index each.
_CHECKOUTS = " UNION ALL ".join(_COUNT.format(states=in_sql(states)) for states in (OPEN, ENDING))


def checkouts(*, now: datetime) -> dict[str, Row]:
    """Open checkouts and those in review or being refunded, by state; states without any too."""
    none = dict.fromkeys(("count", "waiting", "due", "overdue", "retrying"), 0)
    by_state = {state.value: {**none, "oldest_due_at": None} for state in sorted(OPEN | ENDING)}
    values = {"now": now, "overdue": now - STUCK_AFTER, "attempts": STUCK_ATTEMPTS}
    for row in select(_CHECKOUTS, values):
        by_state[row.pop("state")] = row
    return by_state


def steps(by_state: dict[str, Row], *, now: datetime) -> list[Row]:
    """For each step: how many rows wait for it, how many are due, and since when."""
    found = [
        {name: by_state[state][name] for name in ("waiting", "due", "oldest_due_at")}
        | {"step": "expire" if step is Step.RECONCILE_PAYMENT else step.value}
        for state, step in STEP_OF.items()
    ]
    for work in WORK:
        if work.state is None:
            due_at = work.due_column
            counts = (
                work.rows()
                .filter(**{f"{due_at}__isnull": False})
                .aggregate(
                    waiting=Count("pk"),
                    due=Count("pk", filter=Q(**{f"{due_at}__lte": now})),
                    oldest_due_at=Min(due_at),
                )
            )
            found.append({"step": work.task.partition(".")[2], **counts})
    return found


def queues() -> list[Row] | None:
    """Messages in each Celery queue. None: Redis is unavailable. Empty: the broker is no Redis."""
    if celery_broker_url(settings.REDIS_URL) != settings.CELERY_BROKER_URL:
        return []
    try:
        return redis_client.call(
            lambda client: [{"queue": queue, "messages": client.llen(queue)} for queue in QUEUES]
        )
    except RedisUnavailable:
        return None


def heartbeat_rows(*, now: datetime) -> list[Row]:
    """The last heartbeat of the sweeper, and of the canary of each queue."""
    return [
        {
            "name": name,
            "at": now - age if age is not None else None,
            "is_late": heartbeats.is_late(name, age),
            "link": reverse("admin:shop_heartbeat_change", args=[name]),
        }
        for name, age in heartbeats.ages(QUEUES, now=now).items()
    ]


def failing_retention() -> list[Row]:
    """The retention rules whose last run failed, and since when."""
    return [
        {"rule": mark.name, "since": mark.failing_since, "error": redacted(mark.error)}
        for mark in retention.failing()
    ]


# --- stuck checkouts -----------------------------------------------------------------------------


def stuck(*, now: datetime) -> Row:
    """Checkouts that are overdue or fail repeatedly, with the reason; the longest due first."""
    rows = jobs.stuck(now=now)
    longest = rows.order_by("due_at").select_related("order")[:MAX_ROWS]
    reasons = _by_reason(rows)
    return {
        "count": sum(row["count"] for row in reasons),
        "reasons": reasons,
        "rows": [_stuck_row(job) for job in longest],
    }


def _by_reason(stuck: QuerySet[CheckoutJob]) -> list[Row]:
    """The number of stuck checkouts for each reason, and the oldest; the most frequent first."""
    found: dict[str, Row] = {}
    groups = stuck.order_by().values(
        "state",
        is_retrying=Q(attempts__gte=STUCK_ATTEMPTS),
        is_claimed=Q(claim__isnull=False),
    )
    for group in groups.annotate(count=Count("id"), oldest_at=Min("created_at")):
        count, oldest_at = group["count"], group["oldest_at"]
        why = reason(
            state=group["state"],
            is_retrying=group["is_retrying"],
            is_claimed=group["is_claimed"],
        )
        row = found.setdefault(why, {"reason": why, "count": 0, "oldest_at": oldest_at})
        row["count"] += count
        row["oldest_at"] = min(row["oldest_at"], oldest_at)
    return sorted(found.values(), key=lambda row: (-row["count"], row["oldest_at"]))


def _stuck_row(job: CheckoutJob) -> Row:
    error = redacted(job.last_error).strip().splitlines()
    return {
        "checkout": str(job.pk),
        "order": job.order.number if job.order else "",
        "link": reverse("admin:shop_checkoutjob_change", args=[job.pk]),
        "state": job.state,
        "reason": reason(
            state=job.state,
            is_retrying=job.attempts >= STUCK_ATTEMPTS,
            is_claimed=job.claim is not None,
        ),
        "attempts": job.attempts,
        "due_at": job.due_at,
        "created_at": job.created_at,
        "last_error": error[-1][:200] if error else "",
    }


def reason(*, state: str, is_retrying: bool, is_claimed: bool) -> str:
    """Why a checkout is stuck, as far as its row shows. Pure."""
    if is_retrying:
        at_gateway = state == State.ORDERED
        return "Razorpay does not create its order" if at_gateway else "the step raises"
    return "its worker died or hangs" if is_claimed else "no worker takes it"


# --- money ---------------------------------------------------------------------------------------


def breaker(*, now: datetime) -> Row:
    """The circuit breaker for Razorpay: `closed`, `open` (with its end) or `half_open`."""
    status = circuit_breaker.read(now=now)
    return {"state": status.state.value, "until": status.until}


def webhooks(*, now: datetime) -> Row:
    """Whether webhooks arrive, how many wait, and how many need a person."""
    health = webhook_health.webhook_health(now=now)
    waiting = InboxEvent.objects.filter(due_at__isnull=False)
    return {
        "are_missing": health.are_missing,
        "captured_by_webhook": health.captured_by_webhook,
        "captured_by_fetch": health.captured_by_fetch,
        "last_event_at": health.last_event_at,
        "forged": webhook_health.forged(),
        **waiting.aggregate(waiting=Count("id"), oldest_at=Min("received_at")),
        "dead": InboxEvent.objects.filter(due_at=None, handled_at=None).count(),
        "dead_or_unreadable": inbox.for_staff(now=now).count(),
        "link": reverse("admin:shop_inboxevent_changelist"),
    }


def refunds() -> Row:
    """Refunds that Razorpay has not confirmed: the number of each status, and the oldest."""
    unfinished = Refund.objects.exclude(status=RefundStatus.PROCESSED)
    rows = unfinished.order_by("status").values("status")
    return {
        "rows": list(rows.annotate(count=Count("id"), oldest_at=Min("created_at"))),
        "link": reverse("admin:shop_refund_changelist"),
    }


def cases() -> Row:
    """Open cases: the number of each kind, and the oldest."""
    rows = Case.objects.filter(closed_at=None).order_by("kind").values("kind")
    return {
        "rows": list(rows.annotate(count=Count("id"), oldest_at=Min("opened_at"))),
        "link": reverse("admin:shop_case_changelist"),
    }


# --- units and carts -----------------------------------------------------------------------------


def stock(*, now: datetime) -> Row:
    """Held units, the variants with most of them, and holds past their end (lapsed)."""
    levels = StockLevel.objects.filter(held__gt=0).order_by("-held", "variant_id")
    top = levels.values("held", "on_hand", sku=F("variant__sku"), name=F("variant__product__name"))
    lapsed = CheckoutJob.objects.filter(
        state__in=sorted(OPEN), expires_at__lt=now - HOLD_LAPSED_AFTER
    )
    unpaid = holds.totals()
    return {
        "held_units": levels.aggregate(units=Sum("held", default=0))["units"],
        "held_by_guests": unpaid.by_guests,
        "held_at_one_address": unpaid.at_one_address,
        "refused_15m": holds.refused(since=now - timedelta(minutes=15)),
        **lapsed.aggregate(
            lapsed_holds=Count("id", distinct=True),
            lapsed_units=Sum("order__lines__units", default=0),
        ),
        "top": list(top[:MAX_VARIANTS]),
    }


_CARTS = """
    SELECT CASE WHEN owner.is_guest THEN 'guest' ELSE 'account' END AS owner, count(*) AS carts
    FROM (SELECT owner_id FROM shop_cart WHERE updated_at >= %s LIMIT %s) AS cart
    JOIN shop_user owner ON owner.id = cart.owner_id GROUP BY 1
"""


def carts_used(*, now: datetime) -> Row:
    """Carts that were read or changed in the last hour, by kind of owner."""
    rows = select(_CARTS, [now - timedelta(hours=1), MAX_CARTS])
    return {"guest": 0, "account": 0} | {row["owner"]: row["carts"] for row in rows}
