"""
Do webhooks still reach us? Razorpay switches an endpoint off after a day of failures, by e-mail
only; money then comes in that we hear of by asking alone.
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
REMEMBERED = timedelta(days=1)  # a shop with three payments a day hears of it, too
MIN_PAYMENTS = 3  # one or two found by asking may just have been quicker than their webhooks


@dataclass(frozen=True, slots=True)
class WebhookHealth:
    """How the captured payments of the last `SILENT_AFTER` came to our ears."""

    captured_by_webhook: int
    captured_by_fetch: int
    last_event_at: datetime | None
    is_silent: bool  # money comes in, and no webhook tells of it


def webhook_health(*, now: datetime) -> WebhookHealth:
    """Three queries at most, on indexes."""
    since = now - SILENT_AFTER
    heard = dict(
        Payment.objects.filter(captured_at__gte=since)
        .order_by()
        .values_list("captured_via")
        .annotate(Count("id"))
    )
    events = InboxEvent.objects.exclude(gateway_event_id__startswith=POLLED)
    last = events.order_by("-id").values_list("received_at", flat=True).first()
    by_webhook, by_fetch = heard.get("webhook", 0), heard.get("fetch", 0)
    return WebhookHealth(
        captured_by_webhook=by_webhook,
        captured_by_fetch=by_fetch,
        last_event_at=last,
        is_silent=(last is None or last < since) and _has_missed(last, now=now),
    )


def _has_missed(last_event_at: datetime | None, *, now: datetime) -> bool:
    """Whether payments were found by asking since the last event."""
    since = max(last_event_at or now - REMEMBERED, now - REMEMBERED)
    found = Payment.objects.filter(captured_at__gt=since, captured_via="fetch").order_by()
    return len(found.values("pk")[:MIN_PAYMENTS]) == MIN_PAYMENTS


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
