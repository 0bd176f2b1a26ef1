"""
`/metrics`, for Prometheus: the current state as gauges, and the counts of the processes.

The current state comes from `shop/ops/current.py`, as on the operations page. What processes count
while they work is in `shop/telemetry/instruments.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime

from django.conf import settings
from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.crypto import constant_time_compare
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from shop.checkout.states import OPEN
from shop.operations import retention
from shop.ops import cache, current
from shop.ops.rows import Row
from shop.payments import webhook_health
from shop.payments.cases import CaseKind
from shop.payments.circuit_breaker import BreakerState
from shop.payments.refunds import RefundStatus
from shop.telemetry import exporter, heartbeats


def view(request: HttpRequest) -> HttpResponse:
    """Requires METRICS_TOKEN; without one set, open in DEBUG and closed otherwise."""
    if not may_read(request):
        return _refuse(
            "Authorization: Bearer METRICS_TOKEN"
            if settings.METRICS_TOKEN
            else "Set METRICS_TOKEN to see metrics."
        )
    return HttpResponse(exposition(now=timezone.now()), content_type=CONTENT_TYPE_LATEST)


def may_read(request: HttpRequest) -> bool:
    """Whether the request carries METRICS_TOKEN; without one set, whether DEBUG is on."""
    if not settings.METRICS_TOKEN:
        return bool(settings.DEBUG)
    given = request.headers.get("Authorization", "")
    return constant_time_compare(given, f"Bearer {settings.METRICS_TOKEN}")


def _refuse(sentence: str) -> HttpResponse:
    return HttpResponse(f"{sentence}\n", status=403, content_type="text/plain")


def exposition(*, now: datetime) -> bytes:
    """All metrics in Prometheus' text format."""
    registry = CollectorRegistry()
    registry.register(exporter.Counted())
    registry.register(_Fixed(list(gauges(now=now))))
    return generate_latest(registry)


class _Fixed(Collector):
    def __init__(self, metrics: list[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return self._metrics


def gauges(*, now: datetime) -> Iterator[Metric]:
    """The current state. Without Postgres: that it is down, and what Redis says."""
    found: Row = {}
    try:
        found = cache.current(now=now)
    except (OperationalError, InterfaceError):
        queues, forged = current.queues(), webhook_health.forged()
    else:
        queues, forged = found["queues"], found["webhooks"]["forged"]
    yield _gauge("pakka_postgres_up", "Whether Postgres answers.", int(bool(found)))
    yield from _redis(queues, forged)
    for part in (_checkouts, _stock, _money, _webhooks, _gateway, _processes) if found else ():
        yield from part(found)


def _redis(queues: list[Row] | None, forged: int | None) -> Iterator[Metric]:
    yield _gauge("pakka_redis_up", "Whether Redis answers.", int(forged is not None))
    if forged is not None:
        yield CounterMetricFamily(
            "pakka_webhooks_forged", "Webhooks with a missing or wrong signature.", value=forged
        )
    if queues:
        depths = {row["queue"]: row["messages"] for row in queues}
        yield _by("pakka_queue_messages", "Messages that wait in a queue.", "queue", depths)


def _checkouts(found: Row) -> Iterator[Metric]:
    count = GaugeMetricFamily(
        "pakka_checkouts", "Open checkouts, and those in review or refunding.", labels=["state"]
    )
    stuck = GaugeMetricFamily(
        "pakka_checkouts_stuck",
        "Open checkouts that are overdue, or that were tried three times or more (retrying).",
        labels=["state", "reason"],
    )
    overdue = GaugeMetricFamily(
        "pakka_checkout_overdue_seconds",
        "Seconds since the longest due checkout of a state fell due.",
        labels=["state"],
    )
    for state, row in found["checkouts"].items():
        count.add_metric([state], row["count"])
        overdue.add_metric([state], max(_age(found, row["oldest_due_at"]), 0.0))
        if state in OPEN:
            stuck.add_metric([state, "overdue"], row["overdue"])
            stuck.add_metric([state, "retrying"], row["retrying"])
    yield from (count, stuck, overdue)


def _stock(found: Row) -> Iterator[Metric]:
    stock = found["stock"]
    for name, text, figure in (
        ("held", "Units held for unpaid orders.", "held_units"),
        ("lapsed", "Held units whose hold is past its end.", "lapsed_units"),
        ("held_by_guests", "Units held by guests.", "held_by_guests"),
        (
            "held_at_one_address",
            "Units held by the network address that holds the most.",
            "held_at_one_address",
        ),
    ):
        yield _gauge(f"pakka_stock_{name}_units", text, stock[figure])
    used = found["carts_used_1h"]
    yield _by("pakka_carts_used_1h", "Carts read or changed in the last hour.", "owner", used)


def _money(found: Row) -> Iterator[Metric]:
    kinds = {kind.value: 0 for kind in CaseKind}
    kinds |= {row["kind"]: row["count"] for row in found["cases"]["rows"]}
    yield _by("pakka_cases_open", "Open cases: money that needs a person.", "kind", kinds)
    rows = {row["status"]: row for row in found["refunds"]["rows"]}
    statuses = [status.value for status in RefundStatus if status != RefundStatus.PROCESSED]
    count = {status: rows.get(status, {"count": 0})["count"] for status in statuses}
    oldest = {status: _age(found, rows.get(status, {}).get("oldest_at")) for status in statuses}
    yield _by("pakka_refunds", "Refunds that Razorpay has not confirmed.", "status", count)
    yield _by("pakka_refund_oldest_seconds", "Age of the oldest of them.", "status", oldest)


def _webhooks(found: Row) -> Iterator[Metric]:
    webhooks = found["webhooks"]
    yield _by(
        "pakka_webhooks",
        "Received webhooks that wait, or that failed and are not tried again (dead).",
        "state",
        {state: webhooks[state] for state in ("waiting", "dead")},
    )
    yield _gauge(
        "pakka_webhook_oldest_seconds",
        "Age of the oldest webhook that waits.",
        _age(found, webhooks["oldest_at"]),
    )
    yield _by(
        "pakka_payments_captured_10m",
        "Payments captured in the last ten minutes, by how the shop learned of them.",
        "via",
        {via: webhooks[f"captured_by_{via}"] for via in ("webhook", "fetch")},
    )
    yield _gauge(
        "pakka_webhooks_silent",
        "Whether payments are captured while no webhook arrives.",
        int(webhooks["are_missing"]),
    )


def _gateway(found: Row) -> Iterator[Metric]:
    yield _by(
        "pakka_gateway_breaker",
        "1 for the state of the circuit breaker for Razorpay: closed, open or half_open.",
        "state",
        {state.value: int(state == found["breaker"]["state"]) for state in BreakerState},
    )


def _processes(found: Row) -> Iterator[Metric]:
    """A process that has never reported has age +Inf, so its alert fires too."""
    ages = {
        row["name"]: _age(found, row["at"]) if row["at"] else float("inf")
        for row in found["heartbeats"]
    }
    yield _gauge(
        "pakka_sweeper_age_seconds",
        "Seconds since the sweeper's last complete sweep.",
        ages.pop(heartbeats.SWEEPER),
    )
    yield _by(
        "pakka_canary_age_seconds",
        "Seconds since the last canary task of a queue finished.",
        "queue",
        {name.removeprefix(heartbeats.CANARY): age for name, age in ages.items()},
    )
    failing = {row["rule"] for row in found["retention"]}
    yield _by(
        "pakka_retention_failing",
        "1 for each retention rule whose last run failed.",
        "rule",
        {rule.name: int(rule.name in failing) for rule in retention.RULES},
    )


def _age(found: Row, at: datetime | None) -> float:
    """Seconds from `at` to the time of the figures; 0 for None."""
    return (found["as_of"] - at).total_seconds() if at else 0.0


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=value)


def _by(name: str, text: str, label: str, values: Mapping[str, float]) -> Metric:
    family = GaugeMetricFamily(name, text, labels=[label])
    for word, value in values.items():
        family.add_metric([word], value)
    return family
