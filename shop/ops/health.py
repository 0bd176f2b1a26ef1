"""Health checks: whether the process answers, and whether it can serve buyers."""

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
from tasks.registry import QUEUES


def live(request: HttpRequest) -> HttpResponse:
    """The process answers. Checks nothing else."""
    return JsonResponse({"status": "ok"})


def ready(request: HttpRequest) -> HttpResponse:
    """
    200 when buyers can be served: Postgres answers and is migrated. 503 otherwise.

    `degraded` is 200: Redis or Razorpay is unavailable, no webhooks arrive, or the heartbeat of the
    sweeper or of a queue is late. Checkouts are still accepted, and none is lost. Only staff, and
    callers with METRICS_TOKEN, see the single checks.
    """
    checks = {"postgres": _postgres(), "redis": _redis()}
    if checks["postgres"] == "ok":
        now = timezone.now()
        try:
            checks |= _money(now=now) | _heartbeats(now=now)
        except Error as error:
            checks["postgres"] = f"unavailable: {type(error).__name__}"
    ok = checks["postgres"] == "ok"
    degraded = ok and set(checks.values()) != {"ok"}
    status = "degraded" if degraded else "ok" if ok else "unavailable"
    body: dict[str, object] = {"status": status}
    if _may_see_checks(request, has_database=ok):
        body["checks"] = checks
    return JsonResponse(body, status=200 if ok else 503)


def _may_see_checks(request: HttpRequest, *, has_database: bool) -> bool:
    """Staff are only known with the database, because a session is a row."""
    if metrics.may_read(request):
        return True
    return has_database and bool(getattr(request.user, "is_staff", False))


def _postgres() -> str:
    try:
        executor = MigrationExecutor(connection)
        pending = executor.migration_plan(executor.loader.graph.leaf_nodes())
    except Error as error:
        return f"unavailable: {type(error).__name__}"
    return "not migrated" if pending else "ok"


def _money(*, now: datetime) -> dict[str, str]:
    silent = webhook_health.webhook_health(now=now).are_missing
    return {"gateway": str(circuit_breaker.read(now=now)), "webhooks": "silent" if silent else "ok"}


def _heartbeats(*, now: datetime) -> dict[str, str]:
    """The heartbeats of the sweeper and of each queue's canary."""
    checks = {}
    for name, age in heartbeats.ages(QUEUES, now=now).items():
        late = heartbeats.is_late(name, age)
        since = "no heartbeat yet" if age is None else f"silent for {age.total_seconds():.0f} s"
        checks[name] = since if late else "ok"
    return checks


def _redis() -> str:
    try:
        redis_client.call(lambda client: client.ping())
    except RedisUnavailable:
        return "unavailable"
    return "ok"
