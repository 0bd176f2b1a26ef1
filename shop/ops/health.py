"""Health: is it alive, and can it serve buyers?"""

from __future__ import annotations

from datetime import datetime

from django.db import Error, connection
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils import timezone

from shop.db import redis_client
from shop.db.redis_client import RedisUnavailable
from shop.ops import metrics
from shop.payments import circuit_breaker, webhook_health
from shop.telemetry import heartbeats
from tasks.app import QUEUES


def live(request: HttpRequest) -> HttpResponse:
    """The process answers. Asks nobody."""
    return JsonResponse({"status": "ok"})


def ready(request: HttpRequest) -> HttpResponse:
    """
    200 when buyers can be served: Postgres answers and is migrated. 503 otherwise.

    Redis away, Razorpay in trouble, webhooks that stopped coming, and workers or a sweeper that
    were not heard of are `degraded`, not unready: checkouts are accepted, and none is lost. What is
    the matter is told to staff, and to whoever may read the metrics.
    """
    checks = {"postgres": _postgres(), "redis": _redis()}
    if checks["postgres"] == "ok":
        now = timezone.now()
        try:
            checks |= _money(now=now) | _workers(now=now)
        except Error as error:  # a table that does not answer is Postgres' trouble, not ours
            checks["postgres"] = f"away: {type(error).__name__}"
    ok = checks["postgres"] == "ok"
    degraded = ok and set(checks.values()) != {"ok"}
    status = "degraded" if degraded else "ok" if ok else "unavailable"
    told: dict[str, object] = {"status": status}
    if _may_know(request, database_away=not ok):
        told["checks"] = checks
    return JsonResponse(told, status=200 if ok else 503)


def _may_know(request: HttpRequest, *, database_away: bool) -> bool:
    """Without the database nobody is staff: a session is a row."""
    if metrics.may_read(request):
        return True
    return not database_away and bool(getattr(request.user, "is_staff", False))


def _postgres() -> str:
    try:
        executor = MigrationExecutor(connection)
        pending = executor.migration_plan(executor.loader.graph.leaf_nodes())
    except Error as error:
        return f"away: {type(error).__name__}"
    return "not migrated" if pending else "ok"


def _money(*, now: datetime) -> dict[str, str]:
    """How we hear of money."""
    silent = webhook_health.webhook_health(now=now).is_silent
    return {"gateway": str(circuit_breaker.read(now=now)), "webhooks": "silent" if silent else "ok"}


def _workers(*, now: datetime) -> dict[str, str]:
    """Whether the sweeper sweeps, and whether tasks of each queue come to an end."""
    told = {}
    for name, age in heartbeats.ages(QUEUES, now=now).items():
        late = heartbeats.is_late(name, age)
        since = "never heard of" if age is None else f"silent for {age.total_seconds():.0f} s"
        told[name] = since if late else "ok"
    return told


def _redis() -> str:
    try:
        redis_client.call(lambda it: it.ping())
    except RedisUnavailable:
        return "away"
    return "ok"
