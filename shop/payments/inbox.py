"""
The inbox of webhooks: each event is *received* once and *handled* once, and these are two columns.

The web process stores and answers; a worker reads. What we cannot read is kept, never refused:
Razorpay repeats whatever is refused, and after a day of that switches the endpoint off.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.conf import settings
from django.contrib.postgres.indexes import BrinIndex
from django.db import connection, models, transaction
from django.db.models import Q, QuerySet

from shop.db import fast
from shop.payments.gateway import GatewayReport, Unreadable
from shop.telemetry.instruments import WEBHOOKS

NOT_OURS = "not ours"
RESOLVING = "asking Razorpay whose order it is of"
UNREADABLE = "cannot be read"  # how the result of an event begins that is not what it should be
# So long Razorpay sends an event again on request (razorpay.com/docs/webhooks/faqs).
REPLAYABLE = timedelta(days=15)


class InboxEvent(models.Model):
    # One event goes to every endpoint of the account under one id; this is our one endpoint.
    gateway_event_id = models.CharField(max_length=64, unique=True)
    body = models.BinaryField()  # the signed bytes, as they came
    received_at = models.DateTimeField()
    due_at = models.DateTimeField(null=True, blank=True)  # None: handled, or given up
    handled_at = models.DateTimeField(null=True, blank=True)
    attempts = models.PositiveIntegerField(default=0)
    name = models.CharField(max_length=64, blank=True)
    # The Razorpay order that it tells of, as it says itself: so a checkout finds its webhooks.
    gateway_order_id = models.CharField(max_length=64, blank=True, default="", db_default="")
    result = models.CharField(max_length=200, blank=True)
    last_error = models.TextField(blank=True)
    resolve_at = models.DateTimeField(null=True, blank=True)  # when to ask whose order it is of

    class Meta:
        verbose_name = "webhook"
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
            models.Index(
                fields=["received_at"],
                condition=Q(due_at=None, handled_at=None),
                name="inbox_event_given_up",
            ),
            models.Index(
                fields=["received_at"],
                condition=Q(result__startswith=UNREADABLE),
                name="inbox_event_unreadable",
            ),
            models.Index(
                fields=["resolve_at"],
                condition=Q(resolve_at__isnull=False),
                name="inbox_event_to_ask",
            ),
            BrinIndex(fields=["received_at"], name="inbox_event_received_at", autosummarize=True),
            models.Index(
                fields=["gateway_order_id"],
                condition=~Q(gateway_order_id=""),
                name="inbox_event_of_order",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.gateway_event_id} {self.name}"


@dataclass(frozen=True, slots=True)
class Reading:
    """What a body says: the event's name, its news, and what could not be read of it."""

    name: str = ""
    gateway_report: GatewayReport = field(default_factory=GatewayReport)
    problem: str = ""
    receipt: str = ""  # of the order entity, which not every event has

    @property
    def gateway_order_id(self) -> str:
        """The Razorpay order it tells of; empty if it tells of none."""
        return next((it.gateway_order_id for it in self.gateway_report.payments), "")


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


# An event may overtake our own record of the Razorpay order it is about.
RESOLVE_AFTER = timedelta(seconds=2)

POLLED = "poll:"  # how the id of an event begins that no webhook brought


def keep_unreadable(payments: Iterable[Unreadable], *, now: datetime) -> None:
    """
    Keep payments that a poll found and that we cannot read, as events, so that operations see them
    and can replay them. The same payment in the same state is kept once.
    """
    for payment in payments:
        event = {"event": "poll", "payload": {"payment": {"entity": payment.raw}}}
        body = json.dumps(event, separators=(",", ":")).encode()
        digest = hashlib.sha256(body).hexdigest()
        receive(event_id=f"{POLLED}{digest[:59]}", body=body, now=now)


def lock_due(*, limit: int, now: datetime) -> list[InboxEvent]:
    """Up to `limit` events that wait to be handled, locked; those of other workers passed over."""
    tail = "WHERE due_at <= %s ORDER BY due_at, id LIMIT %s FOR NO KEY UPDATE SKIP LOCKED"
    return fast.select(InboxEvent, tail, [now, limit])


def handled(
    results: Sequence[tuple[InboxEvent, Reading, str]],
    *,
    ask: Collection[int] = (),
    now: datetime,
) -> None:
    """
    Mark events as handled: (event, what it says, a line on what it came to) each. Of those whose
    ids are in `ask`, Razorpay is asked a moment later whose order they are of.
    """
    records = [
        {
            "id": event.pk,
            "name": reading.name,
            "gateway_order_id": reading.gateway_order_id,
            "result": result[:200],
            "resolve_at": now + RESOLVE_AFTER if event.pk in ask else None,
        }
        for event, reading, result in results
    ]
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE shop_inboxevent AS event
            SET handled_at = %s, due_at = NULL, name = told.name,
                gateway_order_id = told.gateway_order_id, result = told.result,
                resolve_at = told.resolve_at
            FROM json_to_recordset(%s::json) AS told (
                id bigint, name text, gateway_order_id text, result text, resolve_at timestamptz)
            WHERE event.id = told.id AND event.handled_at IS NULL
            """,
            [now, fast.as_json(records)],
        )
    transaction.on_commit(lambda: _count(results, now=now), robust=True)


def _count(results: Sequence[tuple[InboxEvent, Reading, str]], *, now: datetime) -> None:
    for event, _, _ in results:
        WEBHOOKS.observe((now - event.received_at).total_seconds())


def unreadable(*, now: datetime) -> QuerySet[InboxEvent]:
    """
    For operations, oldest first: events over which we stumbled until we gave up, and those of the
    last `REPLAYABLE` that said something we cannot read. What they said is in `body`, as it came.
    """
    gave_up = Q(handled_at=None, due_at=None)
    fresh = Q(received_at__gt=now - REPLAYABLE)
    return InboxEvent.objects.filter(gave_up | Q(result__startswith=UNREADABLE) & fresh)


def postpone(
    event: InboxEvent, *, until: datetime | None, last_error: str, gateway_order_id: str
) -> None:
    """Look at the event again at `until`; None: no more, operations must."""
    InboxEvent.objects.filter(pk=event.pk).update(
        due_at=until,
        attempts=models.F("attempts") + 1,
        last_error=last_error,
        gateway_order_id=gateway_order_id,
    )


def put_off(event: InboxEvent, *, until: datetime) -> None:
    """Look at the event again at `until`; this time counts as no attempt."""
    InboxEvent.objects.filter(pk=event.pk).update(due_at=until)


def lock_one(event_id: int) -> InboxEvent:
    """:raises InboxEvent.DoesNotExist: there is none."""
    return InboxEvent.objects.select_for_update(no_key=True).get(pk=event_id)


def replay(event: InboxEvent, *, now: datetime) -> None:
    """Have the event handled once more, whatever became of it. Its last error stays to be read."""
    InboxEvent.objects.filter(pk=event.pk).update(due_at=now, handled_at=None, attempts=0)


def known_to_be(gateway_order_ids: Collection[str]) -> dict[str, str]:
    """For each of these unknown orders that was asked about, or is being: what that came to."""
    found = InboxEvent.objects.filter(
        gateway_order_id__in=gateway_order_ids, result__in=[NOT_OURS, RESOLVING]
    ).exclude(gateway_order_id="")
    return dict(found.order_by("id").values_list("gateway_order_id", "result"))


def claim_unresolved(*, limit: int, now: datetime) -> list[InboxEvent]:
    """
    Take up to `limit` events that are due to be asked about, for `CLAIM_SECONDS`. Call inside a
    transaction. Two who ask the same learn the same, so there is no claim to check afterwards.
    """
    due = fast.select(
        InboxEvent,
        "WHERE resolve_at <= %s ORDER BY resolve_at LIMIT %s FOR NO KEY UPDATE SKIP LOCKED",
        [now, limit],
    )
    InboxEvent.objects.filter(pk__in=[event.pk for event in due]).update(
        resolve_at=now + timedelta(seconds=settings.CLAIM_SECONDS),
        attempts=models.F("attempts") + 1,
    )
    return due


def retry_resolve(event: InboxEvent, *, at: datetime, last_error: str) -> None:
    InboxEvent.objects.filter(pk=event.pk).update(resolve_at=at, last_error=last_error)


def resolved(gateway_order_ids: Collection[str], result: str) -> None:
    """Note what was found out about an unknown order, on all events that wait for it."""
    of_gateway_orders(gateway_order_ids).filter(result=RESOLVING).update(
        resolve_at=None, result=result
    )


def handle_again(gateway_order_ids: Collection[str], *, now: datetime) -> None:
    """These orders are ours after all: have their events handled once more."""
    of_gateway_orders(gateway_order_ids).filter(result__in=[NOT_OURS, RESOLVING]).update(
        due_at=now, handled_at=None, attempts=0, resolve_at=None
    )


def of_gateway_orders(gateway_order_ids: Collection[str]) -> QuerySet[InboxEvent]:
    """The events that tell of these Razorpay orders, as they came; unread ones are not known."""
    known = [it for it in gateway_order_ids if it]
    return InboxEvent.objects.filter(gateway_order_id__in=known).exclude(gateway_order_id="")
