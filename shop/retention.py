"""
What is forgotten, and when. Never a row with money: orders, payments, refunds, cases, their
checkouts with all moves, and what people did by hand are kept for good.

The sweeper forgets a little every minute: a batch of each kind, in a transaction of its own. Rows
that somebody has locked are passed over, so no buyer waits for this, and no order of locks is
crossed. `manage.py prune` does at once what is left.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django.conf import settings
from django.contrib.sessions.models import Session
from django.db import models, transaction
from django.db.models import Exists, F, OuterRef, QuerySet

from shop.accounts import User
from shop.carts import EMPTY_CHECKSUM, Cart, CartItem, SyncEvent
from shop.checkout.accept import IdempotencyKey
from shop.checkout.attempts import FailedAttempt
from shop.checkout.jobs import CheckoutJob, Move
from shop.checkout.states import UNPAID_ENDS
from shop.checkout.trail import AuditEntry
from shop.orders import Order
from shop.payments.cases import Case
from shop.payments.inbox import InboxEvent
from shop.payments.ledger import Payment
from shop.payments.usage import GatewayMinute

BATCH_ROWS = 1000  # in a minute: more than a million a day
MOST_BATCHES = 10_000  # of one kind at once

BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
# A row that was locked when its time came is met again, because the mark lags behind.
MARK_LAGS = timedelta(days=1)


class RetentionMark(models.Model):
    """Up to when a kind was looked over: rows that stay for good are not read every minute."""

    name = models.CharField(max_length=40, unique=True)
    until = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.name} until {self.until:%d %b %Y %H:%M}"


@dataclass(frozen=True, slots=True)
class Rule:
    """
    Rows of one kind, and the setting that says for how many days they are kept.

    `forget` takes at most `limit` rows older than `before`, in the transaction it is called in, and
    returns how many there were; rows from before `since` it need not look at again.
    """

    name: str
    kept: str
    forget: Callable[[datetime, datetime, int], int]


def prune_some(*, now: datetime) -> dict[str, int]:
    """One batch of every kind: how many rows of each were forgotten. A repeat takes the next."""
    return {rule.name: _batch(rule, now=now) for rule in RULES}


def prune_all(*, now: datetime) -> dict[str, int]:
    """Batch by batch, all whose time has come. A repeat finds nothing."""
    return {rule.name: _all(rule, now=now) for rule in RULES}


def _all(rule: Rule, *, now: datetime) -> int:
    forgotten = 0
    for _ in range(MOST_BATCHES):
        rows = _batch(rule, now=now)
        forgotten += rows
        if not rows:
            break
    return forgotten


def _batch(rule: Rule, *, now: datetime) -> int:
    before = now - timedelta(days=getattr(settings, rule.kept))
    marks = RetentionMark.objects.filter(name=rule.name)
    since = marks.values_list("until", flat=True).first() or BEGINNING
    with transaction.atomic():
        rows = rule.forget(since, before, BATCH_ROWS)
        if not rows:
            RetentionMark.objects.update_or_create(
                name=rule.name, defaults={"until": before - MARK_LAGS}
            )
    return rows


def _locked(rows: QuerySet[Any], limit: int) -> list[Any]:
    """The ids of up to `limit` of these rows, locked; those that others have locked passed over."""
    free = rows.select_for_update(skip_locked=True, of=("self",))
    return list(free.order_by().values_list("pk", flat=True)[:limit])


def _delete(rows: QuerySet[Any], limit: int) -> int:
    """Delete up to `limit` of these rows, of which nothing hangs. How many."""
    ids = _locked(rows, limit)
    return rows.model.objects.filter(pk__in=ids).delete()[0] if ids else 0


# --- the kinds -----------------------------------------------------------------------------------


def _webhook_bodies(since: datetime, before: datetime, limit: int) -> int:
    """The bytes of handled events; the row stays, so that a late repeat is known as one."""
    old = InboxEvent.objects.filter(received_at__gte=since, received_at__lt=before)
    ids = _locked(old.filter(handled_at__isnull=False).exclude(body=b""), limit)
    return InboxEvent.objects.filter(pk__in=ids).update(body=b"")


def _moves(since: datetime, before: datetime, limit: int) -> int:
    """
    The timelines of checkouts that ended unpaid: without a payment, even one that failed, without a
    case, and with nothing done to them by hand.
    """
    job_order = OuterRef("job__order_id")
    old = Move.objects.filter(at__gte=since, at__lt=before)
    ended = old.filter(job__state__in=sorted(UNPAID_ENDS), job__updated_at__lt=before)
    return _delete(
        ended.exclude(Exists(Payment.objects.filter(gateway_order__order_id=job_order)))
        .exclude(Exists(Case.objects.filter(order_id=job_order)))
        .exclude(Exists(AuditEntry.objects.filter(checkout_id=OuterRef("job_id")))),
        limit,
    )


def _failed_attempts(since: datetime, before: datetime, limit: int) -> int:
    """Errors and tracebacks: of no use to anybody when the moves beside them have gone."""
    return _delete(FailedAttempt.objects.filter(at__lt=before), limit)


def _keys(since: datetime, before: datetime, limit: int) -> int:
    """A request with a key older than this is a new one."""
    return _delete(IdempotencyKey.objects.filter(created_at__lt=before), limit)


def _guests(since: datetime, before: datetime, limit: int) -> int:
    """
    Guests who never checked out, with their carts. Their tokens ran out long ago.

    Who used the cart later than they came is found by the cart: the mark has passed them by then.
    """
    gone = (
        User.objects.filter(is_guest=True, is_staff=False, created_at__lt=before)
        .exclude(Exists(Cart.objects.filter(owner_id=OuterRef("pk"), updated_at__gte=before)))
        .exclude(Exists(CheckoutJob.objects.filter(owner_id=OuterRef("pk"))))
        .exclude(Exists(Order.objects.filter(owner_id=OuterRef("pk"))))
    )
    ids = _locked(gone.filter(created_at__gte=since), limit) or _locked(
        gone.filter(cart__updated_at__gte=since, cart__updated_at__lt=before), limit
    )
    User.objects.filter(pk__in=ids).delete()
    return len(ids)


def _guest_carts(since: datetime, before: datetime, limit: int) -> int:
    """What lies in the carts of guests who did check out, and have not been seen since."""
    old = Cart.objects.filter(updated_at__gte=since, updated_at__lt=before, owner__is_guest=True)
    full = old.filter(Exists(CartItem.objects.filter(cart_id=OuterRef("pk"))))
    ids = _locked(full, limit)
    CartItem.objects.filter(cart_id__in=ids).delete()
    return Cart.objects.filter(pk__in=ids).update(version=F("version") + 1, shown=EMPTY_CHECKSUM)


def _sync_events(since: datetime, before: datetime, limit: int) -> int:
    return _delete(SyncEvent.objects.filter(at__lt=before), limit)


def _gateway_minutes(since: datetime, before: datetime, limit: int) -> int:
    return _delete(GatewayMinute.objects.filter(minute__lt=before), limit)


def _sessions(since: datetime, before: datetime, limit: int) -> int:
    """Sessions of staff that ended."""
    return _delete(Session.objects.filter(expire_date__lt=before), limit)


RULES = (
    Rule("webhook bodies", "KEEP_WEBHOOK_BODIES_DAYS", _webhook_bodies),
    Rule("moves", "KEEP_MOVES_DAYS", _moves),
    Rule("failed attempts", "KEEP_MOVES_DAYS", _failed_attempts),
    Rule("idempotency keys", "KEEP_KEYS_DAYS", _keys),
    Rule("guests", "KEEP_GUESTS_DAYS", _guests),
    Rule("guest carts", "KEEP_GUESTS_DAYS", _guest_carts),
    Rule("sync events", "KEEP_SYNC_EVENTS_DAYS", _sync_events),
    Rule("gateway minutes", "KEEP_GATEWAY_MINUTES_DAYS", _gateway_minutes),
    Rule("sessions", "KEEP_SESSIONS_DAYS", _sessions),
)
