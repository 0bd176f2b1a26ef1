"""
The inbox of webhooks: each event is *received* once and *handled* once, and these are two columns.

The web process stores and answers; a worker reads. What we cannot read is kept, never refused:
Razorpay repeats whatever is refused, and after a day of that switches the endpoint off.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from django.db import connection, models
from django.db.models import Q

from shop.payments.gateway import News
from shop.payments.razorpay import dispute_fact, payment_fact, refund_fact

Fact = TypeVar("Fact")


class InboxEvent(models.Model):
    # One event goes to every endpoint of the account under one id; this is our one endpoint.
    gateway_event_id = models.CharField(max_length=64, unique=True)
    body = models.BinaryField()  # the signed bytes, as they came
    received_at = models.DateTimeField()
    due_at = models.DateTimeField(null=True, blank=True)  # None: handled, or given up
    handled_at = models.DateTimeField(null=True, blank=True)
    attempts = models.PositiveIntegerField(default=0)
    name = models.CharField(max_length=64, blank=True)
    result = models.CharField(max_length=200, blank=True)
    last_error = models.TextField(blank=True)

    class Meta:
        ordering = ("id",)
        constraints = [
            models.CheckConstraint(
                condition=Q(handled_at=None) | Q(due_at=None), name="inbox_handled_is_not_due"
            ),
        ]
        indexes = [
            models.Index(
                fields=["due_at"], condition=Q(due_at__isnull=False), name="inbox_event_due"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.gateway_event_id} {self.name}"


@dataclass(frozen=True, slots=True)
class Reading:
    """What a body says: the event's name, and its news. Neither may be there."""

    name: str
    news: News
    problem: str = ""


def receive(*, event_id: str, body: bytes, now: datetime) -> bool:
    """
    Keep a genuine event. False if we have it already. One statement, no reading of the body.

    An event without an id is told from others by its bytes, which are the same on every retry.
    """
    event_id = event_id or f"sha256:{hashlib.sha256(body).hexdigest()[:57]}"
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO shop_inboxevent
                (gateway_event_id, body, received_at, due_at, attempts, name, result, last_error)
            VALUES (%s, %s, %s, %s, 0, '', '', '')
            ON CONFLICT (gateway_event_id) DO NOTHING
            """,
            [event_id, body, now, now],
        )
        return cursor.rowcount == 1


def lock_due(*, limit: int, now: datetime) -> list[InboxEvent]:
    """Up to `limit` events that wait to be handled, locked; those of other workers passed over."""
    return list(
        InboxEvent.objects.filter(due_at__lte=now)
        .order_by("due_at", "id")
        .select_for_update(skip_locked=True, no_key=True)[:limit]
    )


def read(body: bytes) -> Reading:
    """
    Read an event tolerantly: unknown events and fields are no error, and neither is nonsense.

    Whatever the event is called, each entity in it is a report about that entity.
    """
    try:
        event = json.loads(body)
        name = str(event["event"])[:64].replace("\x00", "")
        payload = event.get("payload") or {}
        news = News(
            payments=_read_all(payload, "payment", payment_fact),
            refunds=_read_all(payload, "refund", refund_fact),
            disputes=_read_all(payload, "dispute", dispute_fact),
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        return Reading("", News(), f"cannot be read: {error!r}"[:200])
    return Reading(name, news)


def _read_all(
    payload: dict[str, Any], kind: str, read_entity: Callable[[dict[str, Any]], Fact]
) -> tuple[Fact, ...]:
    wrapped = payload.get(kind)
    return (read_entity(wrapped["entity"]),) if wrapped else ()


def handled(results: Sequence[tuple[InboxEvent, str, str]], *, now: datetime) -> None:
    """Mark events as handled: (event, its name, a line on what it came to) each."""
    columns = (
        [event.pk for event, _, _ in results],
        [name for _, name, _ in results],
        [result[:200] for _, _, result in results],
    )
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE shop_inboxevent AS event
            SET handled_at = %s, due_at = NULL, name = v.name, result = v.result
            FROM unnest(%s::bigint[], %s::text[], %s::text[]) AS v (id, name, result)
            WHERE event.id = v.id AND event.handled_at IS NULL
            """,
            [now, *columns],
        )


def postpone(event: InboxEvent, *, until: datetime | None, last_error: str) -> None:
    """Look at the event again at `until`; None: no more, operations must."""
    InboxEvent.objects.filter(pk=event.pk).update(
        due_at=until, attempts=models.F("attempts") + 1, last_error=last_error
    )


def overdue(*, before: datetime) -> str | None:
    """The id of an event that has been due since `before`, if there is one."""
    late = InboxEvent.objects.filter(due_at__lt=before).order_by("due_at")
    return late.values_list("gateway_event_id", flat=True).first()
