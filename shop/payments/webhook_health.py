"""
Whether webhooks still arrive. Razorpay disables an endpoint after a day of failures and says so by
e-mail only; then only polls find the payments.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Count

from shop.db import redis_client
from shop.db.redis_client import RedisUnavailable
from shop.payments.inbox import POLLED, InboxEvent
from shop.payments.ledger import Payment

SILENT_AFTER = timedelta(minutes=10)
REMEMBERED = timedelta(days=1)  # so that a shop with three payments a day notices
MIN_PAYMENTS = 3  # a poll can be quicker than a webhook once or twice


@dataclass(frozen=True, slots=True)
class WebhookHealth:
    """How we learned of the payments captured in the last `SILENT_AFTER`: webhook or poll."""

    captured_by_webhook: int
    captured_by_fetch: int
    last_event_at: datetime | None
    are_missing: bool  # payments come in without webhooks


def webhook_health(*, now: datetime) -> WebhookHealth:
    """Three queries at most, on indexes."""
    since = now - SILENT_AFTER
    captured = dict(
        Payment.objects.filter(captured_at__gte=since)
        .order_by()
        .values_list("captured_via")
        .annotate(Count("id"))
    )
    events = InboxEvent.objects.exclude(gateway_event_id__startswith=POLLED)
    last = events.order_by("-id").values_list("received_at", flat=True).first()
    by_webhook, by_fetch = captured.get("webhook", 0), captured.get("fetch", 0)
    return WebhookHealth(
        captured_by_webhook=by_webhook,
        captured_by_fetch=by_fetch,
        last_event_at=last,
        are_missing=(last is None or last < since) and _has_missed(last, now=now),
    )


def _has_missed(last_event_at: datetime | None, *, now: datetime) -> bool:
    """Whether polls have found `MIN_PAYMENTS` since the last event."""
    since = max(last_event_at or now - REMEMBERED, now - REMEMBERED)
    polled = Payment.objects.filter(captured_at__gt=since, captured_via="fetch").order_by()
    return len(polled.values("pk")[:MIN_PAYMENTS]) == MIN_PAYMENTS


_FORGED = "webhooks:forged"  # a counter in Redis


def count_forged() -> None:
    """Count a webhook with a missing or wrong signature. :raises RedisUnavailable: not counted."""
    redis_client.call(lambda client: client.incr(_FORGED))


def forged() -> int | None:
    """The number of such webhooks since Redis was last emptied; None: Redis is unavailable."""
    try:
        return int(redis_client.call(lambda client: client.get(_FORGED)) or 0)
    except RedisUnavailable:
        return None
