"""
The inbox of webhooks: an event is *received* once and *handled* once, in two columns.

The web process stores the event and answers; a worker reads it. An event that we cannot read is
kept, never refused: a gateway repeats what is refused, and Razorpay disables an endpoint that
refuses for a day.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from django.contrib.postgres.indexes import BrinIndex
from django.db import models, transaction
from django.db.models import F, Q, QuerySet

from shop.db import due, fast
from shop.payments.gateway import GatewayReport, Unreadable
from shop.telemetry.instruments import WEBHOOKS

# Staff see an event that needs them for this long: afterwards Razorpay does not send it again on
# request (razorpay.com/docs/webhooks/faqs).
REPLAYABLE = timedelta(days=15)
# A webhook may arrive before our own record of its Razorpay order is written.
RESOLVE_AFTER = timedelta(seconds=2)
POLLED = "poll:"  # prefix of the ids of events that a poll made, not a webhook


class EventOutcome(StrEnum):
    """What became of a handled event."""

    SETTLED = "settled"
    NO_MONEY = "no_money"  # it reports no payment, refund or dispute
    NOT_OURS = "not_ours"  # of another shop on the same account
    RESOLVING = "resolving"  # its order is unknown: Razorpay is asked whose it is
    UNRESOLVED = "unresolved"  # Razorpay does not say whose order it is
    OTHER_AMOUNT = "other_amount"  # its order has a receipt of ours and another amount
    UNKNOWN_PAYMENT = "unknown_payment"  # a refund or dispute, and nothing says of whose payment
    UNREADABLE = "unreadable"


NEEDS_STAFF = (
    EventOutcome.UNRESOLVED,
    EventOutcome.OTHER_AMOUNT,
    EventOutcome.UNKNOWN_PAYMENT,
    EventOutcome.UNREADABLE,
)
OF_UNKNOWN_ORDERS = (EventOutcome.NOT_OURS, EventOutcome.RESOLVING)


class InboxEvent(models.Model):
    # Razorpay sends an event to every endpoint of the account under one id; we have one endpoint.
    gateway_event_id = models.CharField(max_length=64, unique=True)
    body = models.BinaryField()  # the signed bytes, unchanged
    received_at = models.DateTimeField()
    due_at = models.DateTimeField(null=True, blank=True)  # None: handled, or given up
    handled_at = models.DateTimeField(null=True, blank=True)
    attempts = models.PositiveIntegerField(default=0)
    name = models.CharField(max_length=64, blank=True)
    # As the event names it; empty if it names none. Finds the webhooks of a checkout.
    gateway_order_id = models.CharField(max_length=64, blank=True, default="", db_default="")
    outcome = models.CharField(max_length=16, blank=True, default="", db_default="")
    detail = models.CharField(max_length=200, blank=True, default="", db_default="")
    last_error = models.TextField(blank=True)
    resolve_at = models.DateTimeField(null=True, blank=True)  # when to ask whose order it is

    class Meta:
        verbose_name = "webhook"
        ordering = ("id",)
        constraints = [
            models.CheckConstraint(
                condition=Q(handled_at=None) | Q(due_at=None), name="inbox_handled_is_not_due"
            ),
            models.CheckConstraint(
                condition=Q(outcome__in=["", *EventOutcome]), name="inbox_outcome_known"
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
                condition=Q(outcome__in=NEEDS_STAFF),
                name="inbox_event_needs_staff",
            ),
            models.Index(
                fields=["resolve_at"],
                condition=Q(resolve_at__isnull=False),
                name="inbox_event_to_resolve",
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

    @property
    def result(self) -> str:
        """The outcome and its detail for people; empty before the event was handled."""
        words = self.outcome.replace("_", " ")
        return f"{words}: {self.detail}" if self.detail else words


@dataclass(frozen=True, slots=True)
class Reading:
    """What a body says. `problem`: what of it cannot be read; `receipt`: of its order entity."""

    name: str = ""
    gateway_report: GatewayReport = field(default_factory=GatewayReport)
    problem: str = ""
    receipt: str = ""

    @property
    def gateway_order_id(self) -> str:
        """The Razorpay order of the event; empty if it names none."""
        return next((fact.gateway_order_id for fact in self.gateway_report.payments), "")


@dataclass(frozen=True, slots=True)
class Handled:
    """An event, what it says and what became of it. `resolve`: ask Razorpay whose order it is."""

    event: InboxEvent
    reading: Reading
    outcome: EventOutcome
    detail: str = ""
    resolve: bool = False


def id_of_bytes(body: bytes) -> str:
    """An id for an event without one: its bytes are the same in every delivery."""
    return f"sha256:{hashlib.sha256(body).hexdigest()[:57]}"


# On the fast path, like the other statements here: every webhook runs them.
_RECEIVE = """
    INSERT INTO shop_inboxevent
        (gateway_event_id, body, received_at, due_at, attempts, name, last_error)
    VALUES (%s, %s, %s, %s, 0, '', '')
    ON CONFLICT (gateway_event_id) DO NOTHING
"""


def receive(*, event_id: str, body: bytes, now: datetime) -> bool:
    """Keep a genuine event. False if we have it already. One statement; the body is not parsed."""
    return fast.execute(_RECEIVE, [event_id, body, now, now]) == 1


def keep_unreadable(payments: Iterable[Unreadable], *, now: datetime) -> None:
    """
    Keep unreadable payments of a poll as events, for staff to see and replay. The same payment in
    the same state is kept once.
    """
    for payment in payments:
        digest = hashlib.sha256(payment.event_body).hexdigest()
        receive(event_id=f"{POLLED}{digest[:59]}", body=payment.event_body, now=now)


def lock_due(*, limit: int, now: datetime) -> list[InboxEvent]:
    """Up to `limit` due events, locked. Events that another worker has locked are skipped."""
    tail = "WHERE due_at <= %s ORDER BY due_at, id LIMIT %s FOR NO KEY UPDATE SKIP LOCKED"
    return fast.select(InboxEvent, tail, [now, limit])


_MARK_HANDLED = """
    UPDATE shop_inboxevent AS event
    SET handled_at = %s, due_at = NULL, name = given.name,
        gateway_order_id = given.gateway_order_id, outcome = given.outcome,
        detail = given.detail, resolve_at = given.resolve_at
    FROM json_to_recordset(%s::json) AS given (
        id bigint, name text, gateway_order_id text, outcome text, detail text,
        resolve_at timestamptz)
    WHERE event.id = given.id AND event.handled_at IS NULL
"""


def mark_handled(handled: Sequence[Handled], *, now: datetime) -> None:
    """Record what became of these events. One statement, whatever their number."""
    records = [
        {
            "id": item.event.pk,
            "name": item.reading.name,
            "gateway_order_id": item.reading.gateway_order_id,
            "outcome": item.outcome,
            "detail": item.detail[:200],
            "resolve_at": now + RESOLVE_AFTER if item.resolve else None,
        }
        for item in handled
    ]
    fast.execute(_MARK_HANDLED, [now, fast.as_json(records)])
    transaction.on_commit(lambda: _measure(handled, now=now), robust=True)


def _measure(handled: Sequence[Handled], *, now: datetime) -> None:
    for item in handled:
        WEBHOOKS.observe((now - item.event.received_at).total_seconds())


def for_staff(*, now: datetime) -> QuerySet[InboxEvent]:
    """
    Events that need a person, oldest first: all that were given up, and those of the last
    `REPLAYABLE` that we cannot read or cannot place.
    """
    given_up = Q(handled_at=None, due_at=None)
    recent = Q(received_at__gt=now - REPLAYABLE)
    return InboxEvent.objects.filter(given_up | Q(outcome__in=NEEDS_STAFF) & recent)


def postpone(
    event: InboxEvent, *, until: datetime | None, last_error: str, gateway_order_id: str
) -> None:
    """Handle the event again at `until`, and count an attempt. None: give it up."""
    InboxEvent.objects.filter(pk=event.pk).update(
        due_at=until,
        attempts=F("attempts") + 1,
        last_error=last_error,
        gateway_order_id=gateway_order_id,
    )


def put_off(event: InboxEvent, *, until: datetime) -> None:
    """Handle the event again at `until`, and count no attempt."""
    InboxEvent.objects.filter(pk=event.pk).update(due_at=until)


def lock_one(event_id: int) -> InboxEvent:
    """:raises InboxEvent.DoesNotExist: there is none."""
    return InboxEvent.objects.select_for_update(no_key=True).get(pk=event_id)


def replay(event: InboxEvent, *, now: datetime) -> None:
    """Handle the event once more, whatever became of it. Its last error stays readable."""
    InboxEvent.objects.filter(pk=event.pk).update(due_at=now, handled_at=None, attempts=0)


def outcomes_of_orders(gateway_order_ids: Collection[str]) -> dict[str, EventOutcome]:
    """By unknown Razorpay order: `NOT_OURS` or `RESOLVING`, if an earlier event came to that."""
    found = of_gateway_orders(gateway_order_ids).filter(outcome__in=OF_UNKNOWN_ORDERS)
    pairs = found.order_by("id").values_list("gateway_order_id", "outcome")
    return {gateway_order_id: EventOutcome(outcome) for gateway_order_id, outcome in pairs}


def claim_unresolved(*, limit: int, now: datetime) -> list[InboxEvent]:
    """
    Take up to `limit` events whose Razorpay order is to be resolved. Call inside a transaction.

    The claim is not checked afterwards: two workers that ask about an order get the same answer.
    """
    rows = InboxEvent.objects.all()
    return due.claim(rows, "resolve_at", limit=limit, now=now, attempts=F("attempts") + 1)


def retry_resolve(event: InboxEvent, *, at: datetime, last_error: str) -> None:
    """Ask again at `at` whose order it is."""
    InboxEvent.objects.filter(pk=event.pk).update(resolve_at=at, last_error=last_error)


def resolved(gateway_order_ids: Collection[str], outcome: EventOutcome) -> None:
    """Record what Razorpay said of these orders, on all events that wait for it."""
    of_gateway_orders(gateway_order_ids).filter(outcome=EventOutcome.RESOLVING).update(
        resolve_at=None, outcome=outcome
    )


def handle_again(gateway_order_ids: Collection[str], *, now: datetime) -> None:
    """Handle the events of these orders once more: the orders turned out to be ours."""
    of_gateway_orders(gateway_order_ids).filter(outcome__in=OF_UNKNOWN_ORDERS).update(
        due_at=now, handled_at=None, attempts=0, resolve_at=None
    )


def of_gateway_orders(gateway_order_ids: Collection[str]) -> QuerySet[InboxEvent]:
    """The events of these Razorpay orders, in order of arrival; only events that were read."""
    known = [gateway_order_id for gateway_order_id in gateway_order_ids if gateway_order_id]
    return InboxEvent.objects.filter(gateway_order_id__in=known).exclude(gateway_order_id="")
