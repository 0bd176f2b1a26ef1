"""
`/metrics`, for Prometheus: what stands in the database now, and what processes have counted.

The state of the shop is read from Postgres at the scrape: one truth, however many processes there
are. Every query reads what is unfinished, by an index of its own, and never what is done: the cost
does not grow with the years. `shop/telemetry/instruments.py` has what is counted in passing.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta

from django.conf import settings
from django.db import InterfaceError, OperationalError, connection
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.crypto import constant_time_compare
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from shop.addresses import celery_broker_url
from shop.api.webhooks import FORGED
from shop.checkout import holds
from shop.checkout.jobs import STUCK_AFTER, STUCK_ATTEMPTS
from shop.checkout.states import OPEN, State
from shop.db import redis_client
from shop.db.redis_client import RedisUnavailable
from shop.operations import retention
from shop.payments import circuit_breaker, webhook_health
from shop.payments.cases import CaseKind
from shop.payments.circuit_breaker import BreakerState
from shop.payments.refunds import RefundStatus
from shop.telemetry import exporter, heartbeats
from tasks.app import QUEUES

READ_AGAIN_AFTER_SECONDS = 5.0  # scrapers come in twos; nobody's page should cost the shop more
HOLD_LAPSED_AFTER = timedelta(minutes=1)  # the sweeper asks Razorpay a last time before it releases
MAX_CARTS = 50_000  # are counted, no more
UNSETTLED = (State.IN_REVIEW, State.REFUNDING)


def view(request: HttpRequest) -> HttpResponse:
    """For whoever has METRICS_TOKEN; for anybody while developing without one."""
    if not may_read(request):
        return _refuse(
            "Authorization: Bearer METRICS_TOKEN"
            if settings.METRICS_TOKEN
            else "Set METRICS_TOKEN to see metrics."
        )
    return HttpResponse(exposition(now=timezone.now()), content_type=CONTENT_TYPE_LATEST)


def may_read(request: HttpRequest) -> bool:
    """Whether the request has METRICS_TOKEN; without one, whether this is a developer's machine."""
    if not settings.METRICS_TOKEN:
        return bool(settings.DEBUG)
    given = request.headers.get("Authorization", "")
    return constant_time_compare(given, f"Bearer {settings.METRICS_TOKEN}")


def _refuse(sentence: str) -> HttpResponse:
    return HttpResponse(f"{sentence}\n", status=403, content_type="text/plain")


def exposition(*, now: datetime) -> bytes:
    """Everything, in Prometheus' text format."""
    registry = CollectorRegistry()
    registry.register(exporter.Counted())
    registry.register(_Fixed(standing(now=now)))
    return generate_latest(registry)


class _Fixed(Collector):
    def __init__(self, metrics: list[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return self._metrics


_turn = threading.Lock()
_read: tuple[float, list[Metric]] | None = None


def standing(*, now: datetime) -> list[Metric]:
    """How the shop stands; as it stood up to `READ_AGAIN_AFTER_SECONDS` ago."""
    global _read  # noqa: PLW0603 - of this process
    with _turn:
        if _read is None or time.monotonic() - _read[0] > READ_AGAIN_AFTER_SECONDS:
            _read = (time.monotonic(), [*_of_postgres(now=now), *_of_redis()])
        return _read[1]


def forget() -> None:
    """Read anew at the next scrape."""
    global _read  # noqa: PLW0603 - of this process
    _read = None


def _of_postgres(*, now: datetime) -> list[Metric]:
    """Without a database, the news that there is none."""
    try:
        found = [
            *_checkouts(now=now),
            *_stock(now=now),
            *_carts(now=now),
            *_cases(),
            *_refunds(now=now),
            *_inbox(now=now),
            *_webhook_health(now=now),
            *_heartbeats(now=now),
            *_retention(),
        ]
    except (OperationalError, InterfaceError):
        return [_gauge("pakka_postgres_up", "Whether Postgres answered.", 0)]
    return [_gauge("pakka_postgres_up", "Whether Postgres answered.", 1), *found]


def _of_redis() -> Iterator[Metric]:
    try:
        depths, forged = redis_client.call(
            lambda it: ({queue: it.llen(queue) for queue in QUEUES}, int(it.get(FORGED) or 0))
        )
    except RedisUnavailable:
        yield _gauge("pakka_redis_up", "Whether Redis answered.", 0)
        return
    yield _gauge("pakka_redis_up", "Whether Redis answered.", 1)
    yield CounterMetricFamily(
        "pakka_webhooks_forged", "Webhooks with a missing or wrong signature.", value=forged
    )
    if celery_broker_url(settings.REDIS_URL) == settings.CELERY_BROKER_URL:
        yield _by("pakka_queue_messages", "Rings that wait in a queue.", "queue", depths)


# --- from Postgres ----------------------------------------------------------------------------


def _listed(states: Iterable[str]) -> str:
    """Constants of ours, spelt as in the conditions of the indexes that must serve."""
    return ", ".join(f"'{state}'" for state in sorted(states))


_COUNT = """
    SELECT state, count(*),
           count(*) FILTER (WHERE due_at < %(overdue)s::timestamptz),
           count(*) FILTER (WHERE attempts >= %(attempts)s::int),
           coalesce(extract(epoch FROM %(now)s::timestamptz - min(due_at)), 0)
    FROM shop_checkoutjob WHERE state IN ({states}) GROUP BY state
"""
_CHECKOUTS = f"{_COUNT.format(states=_listed(OPEN))} UNION ALL " + _COUNT.format(
    states=_listed(UNSETTLED)
)


def _checkouts(*, now: datetime) -> Iterator[Metric]:
    """Checkouts under way. pakka_checkout_transitions counts the others as they end."""
    values = {"now": now, "overdue": now - STUCK_AFTER, "attempts": STUCK_ATTEMPTS}
    rows = {state: rest for state, *rest in _rows(_CHECKOUTS, values)}
    count = GaugeMetricFamily("pakka_checkouts", "Checkouts under way.", labels=["state"])
    stuck = GaugeMetricFamily(
        "pakka_checkouts_stuck",
        "Checkouts that something keeps from moving: overdue, or tried again and again.",
        labels=["state", "reason"],
    )
    oldest = GaugeMetricFamily(
        "pakka_checkout_overdue_seconds",
        "For how long the longest due checkout of a state has been due.",
        labels=["state"],
    )
    for state in sorted(OPEN | set(UNSETTLED)):
        number, overdue, retried, due_seconds = rows.get(state, (0, 0, 0, 0))
        count.add_metric([state], number)
        oldest.add_metric([state], max(float(due_seconds), 0.0))
        if state in OPEN:
            stuck.add_metric([state, "overdue"], overdue)
            stuck.add_metric([state, "retrying"], retried)
    yield count
    yield stuck
    yield oldest


_HELD = "SELECT coalesce(sum(held), 0) FROM shop_stocklevel"  # as many rows as the shop has goods
_LAPSED = f"""
    SELECT coalesce(sum(line.units), 0)
    FROM shop_checkoutjob job JOIN shop_orderline line ON line.order_id = job.order_id
    WHERE job.state IN ({_listed(OPEN)}) AND job.expires_at < %s::timestamptz
"""


def _stock(*, now: datetime) -> Iterator[Metric]:
    [[held]] = _rows(_HELD)
    [[lapsed]] = _rows(_LAPSED, [now - HOLD_LAPSED_AFTER])
    unpaid = holds.totals()
    yield _gauge("pakka_stock_held_units", "Units set aside for unpaid orders.", held)
    yield _gauge("pakka_stock_lapsed_units", "Of these, units held past their time.", lapsed)
    yield _gauge("pakka_stock_held_by_guests_units", "Of these, units of guests.", unpaid.by_guests)
    yield _gauge(
        "pakka_stock_held_at_one_address_units",
        "Of these, units of the network address that holds the most.",
        unpaid.at_one_address,
    )


_CARTS = """
    SELECT owner.is_guest, count(*)
    FROM (SELECT owner_id FROM shop_cart WHERE updated_at >= %s LIMIT %s) AS cart
    JOIN shop_user owner ON owner.id = cart.owner_id GROUP BY 1
"""


def _carts(*, now: datetime) -> Iterator[Metric]:
    rows = dict(_rows(_CARTS, [now - timedelta(hours=1), MAX_CARTS]))
    used = {"guest": rows.get(True, 0), "account": rows.get(False, 0)}
    yield _by("pakka_carts_used_1h", "Carts read or changed in the last hour.", "owner", used)


_OPEN_CASES = "SELECT kind, count(*) FROM shop_case WHERE closed_at IS NULL GROUP BY kind"


def _cases() -> Iterator[Metric]:
    kinds = dict.fromkeys((kind.value for kind in CaseKind), 0) | dict(_rows(_OPEN_CASES))
    yield _by("pakka_cases_open", "Money that waits for a person.", "kind", kinds)


_UNFINISHED_REFUNDS = """
    SELECT status, count(*), extract(epoch FROM %s::timestamptz - min(created_at))
    FROM shop_refund WHERE NOT status = 'processed' GROUP BY status
"""


def _refunds(*, now: datetime) -> Iterator[Metric]:
    rows = {status: rest for status, *rest in _rows(_UNFINISHED_REFUNDS, [now])}
    statuses = [status.value for status in RefundStatus if status != RefundStatus.PROCESSED]
    found = {status: rows.get(status, (0, 0)) for status in statuses}
    count = {status: number for status, (number, _) in found.items()}
    oldest = {status: float(age) for status, (_, age) in found.items()}
    yield _by("pakka_refunds", "Refunds that Razorpay has not confirmed.", "status", count)
    yield _by("pakka_refund_oldest_seconds", "Age of the oldest of them.", "status", oldest)


_WAITING_EVENTS = """
    SELECT count(*), coalesce(extract(epoch FROM %s::timestamptz - min(received_at)), 0)
    FROM shop_inboxevent WHERE due_at IS NOT NULL
"""
_DEAD_EVENTS = "SELECT count(*) FROM shop_inboxevent WHERE due_at IS NULL AND handled_at IS NULL"


def _inbox(*, now: datetime) -> Iterator[Metric]:
    [[waiting, seconds]] = _rows(_WAITING_EVENTS, [now])
    [[dead]] = _rows(_DEAD_EVENTS)
    counts = {"waiting": waiting, "dead": dead}
    yield _by("pakka_webhooks", "Webhooks received and not handled.", "state", counts)
    yield _gauge("pakka_webhook_oldest_seconds", "Age of the oldest that waits.", float(seconds))


def _webhook_health(*, now: datetime) -> Iterator[Metric]:
    """How we hear of money."""
    heard = webhook_health.webhook_health(now=now)
    captured = {"webhook": heard.captured_by_webhook, "fetch": heard.captured_by_fetch}
    yield _by(
        "pakka_payments_captured_10m",
        "Payments captured in the last ten minutes, by how we heard of them.",
        "via",
        captured,
    )
    yield _gauge(
        "pakka_webhooks_silent",
        "Whether money comes in that no webhook tells of.",
        int(heard.is_silent),
    )
    state = circuit_breaker.read(now=now).state
    yield _by(
        "pakka_gateway_breaker",
        "1 for the state of the circuit breaker for Razorpay: closed, open or half_open.",
        "state",
        {name.value: int(name is state) for name in BreakerState},
    )


def _heartbeats(*, now: datetime) -> Iterator[Metric]:
    """Who was never heard of is as old as time: an alarm must ring for it too."""
    ages = {
        name: age.total_seconds() if age is not None else float("inf")
        for name, age in heartbeats.ages(QUEUES, now=now).items()
    }
    yield _gauge(
        "pakka_sweeper_age_seconds", "Since the sweeper's last sweep.", ages[heartbeats.SWEEPER]
    )
    canaries = {queue: ages[heartbeats.CANARY + queue] for queue in QUEUES}
    yield _by(
        "pakka_canary_age_seconds",
        "Since a task last came through a queue and finished.",
        "queue",
        canaries,
    )


def _retention() -> Iterator[Metric]:
    failing = {mark.name for mark in retention.failing()}
    yield _by(
        "pakka_retention_failing",
        "1 for each rule of retention whose last run failed.",
        "rule",
        {rule.name: int(rule.name in failing) for rule in retention.RULES},
    )


def _rows(query: str, values: object = None) -> list[tuple]:
    with connection.cursor() as cursor:
        cursor.execute(query, values)  # type: ignore[arg-type]
        return cursor.fetchall()


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=value)


def _by(name: str, text: str, label: str, values: dict[str, int] | dict[str, float]) -> Metric:
    family = GaugeMetricFamily(name, text, labels=[label])
    for word, value in values.items():
        family.add_metric([word], value)
    return family
