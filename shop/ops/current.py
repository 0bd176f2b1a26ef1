"""
What stands where at this moment: queues, what is stuck, money that needs a person, units held.

Each statement reads open work alone, by a partial index: what is done and over costs nothing,
however much there is of it.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db.models import Count, Min, Q, QuerySet, Sum
from django.urls import reverse

from shop.addresses import celery_broker_url
from shop.api.webhooks import FORGED
from shop.checkout import holds, jobs
from shop.checkout.jobs import STUCK_ATTEMPTS, CheckoutJob
from shop.checkout.states import STEP_OF, State, Step
from shop.checkout.steps.expire import FINAL_POLL_GRACE
from shop.db import redis_client
from shop.db.redis_client import RedisUnavailable
from shop.operations import retention
from shop.ops.rows import Row, select
from shop.orders import OrderLine
from shop.payments import circuit_breaker, inbox, webhook_health
from shop.payments.cases import Case
from shop.payments.refunds import Refund, RefundStatus
from shop.stock import StockLevel
from shop.telemetry import heartbeats
from shop.telemetry.redaction import redacted
from tasks.app import QUEUES

MAX_ROWS = 50
MAX_VARIANTS = 10
MANY_REFUSED = 20  # of a quarter of an hour: as the alert has it


def current(*, now: datetime) -> Row:
    """All of it. A dozen small statements, and one question to Redis."""
    found = {
        "steps": steps(now=now),
        "queues": queues(),
        "signs_of_life": heartbeat_rows(now=now),
        "stuck": stuck(now=now),
        "breaker": str(circuit_breaker.read(now=now)),
        "webhooks": webhooks(now=now),
        "refunds": refunds(),
        "cases": cases(),
        "stock": stock(now=now),
        "retention": failing_retention(),
    }
    return found | {"attention": attention(found)}


# --- work that waits -----------------------------------------------------------------------------

_DUE = """
    SELECT state, count(*) AS waiting, count(*) FILTER (WHERE due_at <= %s) AS due,
           min(due_at) AS oldest_due_at
    FROM shop_checkoutjob WHERE due_at IS NOT NULL GROUP BY state
"""
# What the other steps look at: a table each, with a clock of its own.
_OTHER_DUE = """
    SELECT %s::text AS step, count(*) AS waiting, count(*) FILTER (WHERE {clock} <= %s) AS due,
           min({clock}) AS oldest_due_at
    FROM {table} WHERE {clock} IS NOT NULL
"""
_OTHERS = (
    ("reconcile_webhook", "shop_inboxevent", "due_at"),
    ("resolve_orders", "shop_inboxevent", "resolve_at"),
    ("check_payments", "shop_gatewayorder", "poll_at"),
    ("capture", "shop_payment", "capture_at"),
    ("send_refunds", "shop_refund", "due_at"),
)


def steps(*, now: datetime) -> list[Row]:
    """For each step: how many rows wait for it, how many of them are due, and since when."""
    waiting = {row["state"]: row for row in select(_DUE, [now])}
    nothing = {"waiting": 0, "due": 0, "oldest_due_at": None}
    found = [
        nothing | waiting.get(state.value, {}) | {"step": _name(step)}
        for state, step in STEP_OF.items()
    ]
    for step, table, clock in _OTHERS:
        found += select(_OTHER_DUE.format(table=table, clock=clock), [step, now])
    for row in found:
        row.pop("state", None)
    return found


def _name(step: Step) -> str:
    """What looks at a checkout that waits for its payment is the end of its time."""
    return "expire" if step is Step.RECONCILE_PAYMENT else step.value


def queues() -> list[Row] | None:
    """Messages that wait in each queue of Celery; None while Redis is away."""
    if celery_broker_url(settings.REDIS_URL) != settings.CELERY_BROKER_URL:
        return []  # of a broker that is not ours to look into
    try:
        return redis_client.call(
            lambda it: [{"queue": queue, "messages": it.llen(queue)} for queue in QUEUES]
        )
    except RedisUnavailable:
        return None


def heartbeat_rows(*, now: datetime) -> list[Row]:
    """When the sweeper, and a task from each queue, were last heard of."""
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
    """The rules of retention whose last run failed, and since when."""
    return [
        {"rule": mark.name, "since": mark.failing_since, "error": redacted(mark.error)}
        for mark in retention.failing()
    ]


# --- what is stuck -------------------------------------------------------------------------------


def stuck(*, now: datetime) -> Row:
    """Checkouts that something keeps from moving, the longest due first, and why."""
    rows = jobs.stuck(now=now)
    longest = rows.order_by("due_at").select_related("order")[:MAX_ROWS]
    reasons = _by_reason(rows)
    return {
        "count": sum(row["count"] for row in reasons),
        "reasons": reasons,
        "rows": [_stuck_row(job) for job in longest],
    }


def _by_reason(stuck: QuerySet[CheckoutJob]) -> list[Row]:
    """How many are stuck for each reason, and since when; the most frequent first."""
    found: dict[str, Row] = {}
    groups = stuck.order_by().values(
        "state",
        is_tired=Q(attempts__gte=STUCK_ATTEMPTS),
        is_claimed=Q(claim__isnull=False),
    )
    for group in groups.annotate(count=Count("id"), oldest_at=Min("created_at")):
        count, oldest_at = group["count"], group["oldest_at"]
        why = reason(
            state=group["state"], is_tired=group["is_tired"], is_claimed=group["is_claimed"]
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
            is_tired=job.attempts >= STUCK_ATTEMPTS,
            is_claimed=job.claim is not None,
        ),
        "attempts": job.attempts,
        "due_at": job.due_at,
        "created_at": job.created_at,
        "last_error": error[-1][:200] if error else "",
    }


def reason(*, state: str, is_tired: bool, is_claimed: bool) -> str:
    """Why a checkout is stuck, as far as its row can say. Pure."""
    if is_tired:
        at_gateway = state == State.ORDERED
        return "Razorpay does not make its order" if at_gateway else "the step raises"
    return "its worker went away" if is_claimed else "no worker takes it"


# --- money that needs a person -------------------------------------------------------------------


def webhooks(*, now: datetime) -> Row:
    """Whether Razorpay's events still reach us, and those that we could not read or gave up on."""
    heard = webhook_health.webhook_health(now=now)
    given_up = inbox.unreadable(now=now)
    try:
        forged = int(redis_client.call(lambda it: it.get(FORGED)) or 0)
    except RedisUnavailable:
        forged = None
    return {
        "is_silent": heard.is_silent,
        "captured_by_webhook": heard.captured_by_webhook,
        "captured_by_fetch": heard.captured_by_fetch,
        "last_event_at": heard.last_event_at,
        "forged": forged,
        "given_up": given_up.count(),
        "given_up_link": reverse("admin:shop_inboxevent_changelist"),
    }


def refunds() -> Row:
    """Refunds that Razorpay has not confirmed: how many of each status, and since when."""
    unfinished = Refund.objects.exclude(status=RefundStatus.PROCESSED)
    rows = unfinished.order_by("status").values("status")
    return {
        "rows": list(rows.annotate(count=Count("id"), oldest_at=Min("created_at"))),
        "link": reverse("admin:shop_refund_changelist"),
    }


def cases() -> Row:
    """Open cases of each kind, and since when."""
    rows = Case.objects.filter(closed_at=None).order_by("kind").values("kind")
    return {
        "rows": list(rows.annotate(count=Count("id"), oldest_at=Min("opened_at"))),
        "link": reverse("admin:shop_case_changelist"),
    }


# --- units ---------------------------------------------------------------------------------------


def stock(*, now: datetime) -> Row:
    """Units that are held, where most of them are, and holds that should have ended by now."""
    levels = StockLevel.objects.filter(held__gt=0).order_by("-held", "variant_id")
    top = levels.values_list("variant__sku", "variant__product__name", "held", "on_hand")
    lapsed = CheckoutJob.objects.filter(
        state=State.AWAITING_PAYMENT,
        due_at__isnull=False,
        expires_at__lt=now - FINAL_POLL_GRACE - timedelta(minutes=1),
    )
    lines = OrderLine.objects.filter(order__checkout__in=lapsed)
    unpaid = holds.totals()
    return {
        "held_units": levels.aggregate(units=Sum("held"))["units"] or 0,
        "held_by_guests": unpaid.by_guests,
        "held_at_one_address": unpaid.at_one_address,
        "refused_15m": holds.refused(since=now - timedelta(minutes=15)),
        "overdue_holds": lapsed.count(),
        "overdue_units": lines.aggregate(units=Sum("units"))["units"] or 0,
        "top": [
            dict(zip(("sku", "name", "held", "on_hand"), row, strict=True))
            for row in top[:MAX_VARIANTS]
        ],
    }


# --- what needs a person -------------------------------------------------------------------------


def attention(found: dict[str, Any]) -> list[Row]:
    """What a person should look at, the worst first; empty when all is well. Pure."""
    failed = sum(row["count"] for row in found["refunds"]["rows"] if row["status"] == "failed")
    open_cases = sum(row["count"] for row in found["cases"]["rows"])
    heard = found["webhooks"]
    at_rest = found["breaker"] != "ok"
    unheard = [
        (True, "bad", f"Nothing heard of {it['name']}", it["link"])
        for it in found["signs_of_life"]
        if it["is_late"]
    ]
    failing = [
        (True, "warn", f"Retention of {row['rule']} fails: {row['error']}", "")
        for row in found["retention"]
    ]
    given_up, stuck, overdue = (
        heard["given_up"],
        found["stuck"]["count"],
        found["stock"]["overdue_holds"],
    )
    refused = found["stock"]["refused_15m"]
    signs = [
        (open_cases, "bad", _counted(open_cases, "open case"), found["cases"]["link"]),
        (failed, "bad", _counted(failed, "failed refund"), found["refunds"]["link"]),
        (given_up, "bad", f"{_counted(given_up, 'webhook')} given up", heard["given_up_link"]),
        (heard["is_silent"], "bad", "Webhooks are silent: look at Razorpay's dashboard", ""),
        *unheard,
        (stuck, "warn", f"{_counted(stuck, 'checkout')} stuck", "#stuck"),
        (overdue, "warn", f"{_counted(overdue, 'hold')} past the end", "#stock"),
        (
            refused > MANY_REFUSED,
            "warn",
            f"{_counted(refused, 'checkout')} refused because too much is held unpaid",
            "#stock",
        ),
        (at_rest, "warn", f"Razorpay is left alone: {found['breaker']}", "#gateway"),
        *failing,
        (found["queues"] is None, "warn", "Redis is away: checkouts move slowly", "#queues"),
    ]
    return [
        {"level": level, "text": text, "link": link} for is_so, level, text, link in signs if is_so
    ]


def _counted(number: int, one: str) -> str:
    return f"{number} {one}" if number == 1 else f"{number} {one}s"
