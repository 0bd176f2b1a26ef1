"""Health and operations: is it alive, can it serve buyers, and what needs a person."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.contrib import admin
from django.contrib.admin.views.decorators import staff_member_required
from django.db import Error, connection
from django.db.migrations.executor import MigrationExecutor
from django.db.models import Count, Min, Q, QuerySet
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.utils import timezone

from shop import redis_client
from shop.checkout.jobs import CheckoutJob
from shop.checkout.states import OPEN, State
from shop.payments import hearing, pressure
from shop.payments.cases import Case
from shop.payments.inbox import InboxEvent
from shop.payments.refunds import Refund, RefundStatus
from shop.redis_client import RedisAway

MOST_ROWS = 50
LATE_AFTER = timedelta(seconds=30)
LATE_ATTEMPTS = 3


def live(request: HttpRequest) -> HttpResponse:
    """The process answers. Asks nobody."""
    return JsonResponse({"status": "ok"})


def ready(request: HttpRequest) -> HttpResponse:
    """
    200 when buyers can be served: Postgres answers and is migrated. 503 otherwise.

    Redis away, Razorpay in trouble or webhooks that stopped coming are `degraded`, not unready:
    checkouts are accepted, and move at the sweeper's pace.
    """
    checks = {"postgres": _postgres(), "redis": _redis()}
    if checks["postgres"] == "ok":
        checks |= _money(now=timezone.now())
    ok = checks["postgres"] == "ok"
    degraded = ok and set(checks.values()) != {"ok"}
    status = "degraded" if degraded else "ok" if ok else "unavailable"
    return JsonResponse({"status": status, "checks": checks}, status=200 if ok else 503)


def _postgres() -> str:
    try:
        executor = MigrationExecutor(connection)
        pending = executor.migration_plan(executor.loader.graph.leaf_nodes())
    except Error as error:
        return f"away: {type(error).__name__}"
    return "not migrated" if pending else "ok"


def _money(*, now: datetime) -> dict[str, str]:
    """How we hear of money. A table that does not answer is Postgres' trouble, not ours."""
    try:
        silent = hearing.hearing(now=now).is_silent
        return {"gateway": pressure.state(now=now), "webhooks": "silent" if silent else "ok"}
    except Error as error:
        return {"postgres": f"away: {type(error).__name__}"}


def _redis() -> str:
    try:
        redis_client.call(lambda it: it.ping())
    except RedisAway:
        return "away"
    return "ok"


@staff_member_required
def page(request: HttpRequest) -> HttpResponse:
    """What stands where, and what needs a person. From Postgres alone, a handful of queries."""
    now = timezone.now()
    on_their_way = Refund.objects.exclude(status=RefundStatus.PROCESSED)
    return render(
        request,
        "shop/ops.html",
        {
            **admin.site.each_context(request),
            "title": "Operations",
            "now": now,
            "states": _states(),
            "late": _late(now=now),
            "cases": Case.objects.filter(closed_at=None).select_related("order")[:MOST_ROWS],
            "refunds": on_their_way.select_related("payment")[:MOST_ROWS],
            "dead_events": InboxEvent.objects.filter(handled_at=None, due_at=None)[:MOST_ROWS],
            "gateway": pressure.state(now=now),
            "hearing": hearing.hearing(now=now),
        },
    )


def _states() -> QuerySet[Any, Any]:
    """How many checkouts are in each state, and when the next of them is due."""
    states = CheckoutJob.objects.order_by("state").values("state")
    return states.annotate(checkouts=Count("id"), oldest_due_at=Min("due_at"))


def _late(*, now: datetime) -> QuerySet[CheckoutJob]:
    """Checkouts that something keeps from moving: overdue, or tried again and again."""
    moving = CheckoutJob.objects.filter(state__in=sorted(OPEN - {State.AWAITING_PAYMENT}))
    stuck = Q(due_at__lt=now - LATE_AFTER) | Q(attempts__gte=LATE_ATTEMPTS)
    return moving.filter(stuck).order_by("due_at")[:MOST_ROWS]
