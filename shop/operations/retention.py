"""
Retention: which rows are deleted after how many days. Rows with money are never deleted: orders,
payments, refunds, cases, their checkouts with all moves, and the audit log.

Once a minute the sweeper runs each rule over the next `ROWS_LOOKED_AT` rows of its table, in a
transaction of its own. The cost of a run does not depend on the size of the table. A rule that
raises stops no other, and raises an alert. Rows that another transaction has locked are skipped and
looked at again, so no buyer waits for retention and no order of locks is crossed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum, auto
from typing import Any

from django.conf import settings
from django.contrib.sessions.models import Session
from django.db import models, transaction
from django.db.models import Exists, F, ForeignObjectRel, OuterRef, QuerySet

from shop.accounts import User
from shop.cart_sync import SyncEvent
from shop.carts import EMPTY_CHECKSUM, Cart, CartItem
from shop.checkout.failed_attempts import FailedAttempt
from shop.checkout.jobs import Transition
from shop.checkout.start import IdempotencyKey
from shop.checkout.states import UNPAID_ENDS
from shop.db import errors
from shop.operations.audit_log import AuditEntry
from shop.payments.cases import Case
from shop.payments.inbox import InboxEvent
from shop.payments.ledger import Payment

logger = logging.getLogger(__name__)

ROWS_LOOKED_AT = 2000  # by a rule in a run: nearly three million a day
MAX_BATCHES = 1_000_000  # of `prune_all`
# The clocks of two machines differ, and a row is written after its time was read: of two rows the
# one with the lower id may be the younger one, by seconds. A row whose time lies further ahead than
# this is no such row: its clock was wrong.
CLOCKS_DIFFER = timedelta(days=1)


class Order(Enum):
    """In which order a rule looks at the rows of its table."""

    BY_ID = auto()  # each row once, when it has become old: ids rise with time
    IN_ROUNDS = auto()  # by id, round after round: a row may become deletable later
    OLDEST_FIRST = auto()  # by an index of the time column: every old row is deletable


class RetentionMark(models.Model):
    """How far a rule has come, and whether it fails. The row is locked while its rule runs."""

    name = models.CharField(max_length=40, unique=True)
    # Rows older than this were all looked at when the last round ended. For people.
    until = models.DateTimeField(null=True, blank=True)
    after_id = models.BigIntegerField(null=True, blank=True)  # the next run begins behind this row
    failing_since = models.DateTimeField(null=True, blank=True)  # None: the last run succeeded
    error = models.TextField(blank=True, default="", db_default="")

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class Rule:
    """
    Rows of one table, and the setting that says for how many days they are kept.

    `time` is the column that says how old a row is. `deletable` are the rows that may go if they
    are older than the given moment; `delete` deletes rows of these ids, or what is in them.
    """

    name: str
    kept: str
    model: type[models.Model]
    time: str
    deletable: Callable[[datetime], QuerySet[Any]]
    delete: Callable[[Collection[Any]], object]
    order: Order = Order.BY_ID
    ids_rise_with_time: bool = True


@dataclass(frozen=True, slots=True)
class Batch:
    """What a run came to. `last_id`: of the rows looked at; `done_id`: all up to it are done."""

    deleted: int
    last_id: int | None
    done_id: int | None
    is_last: bool


def prune_some(*, now: datetime) -> dict[str, int]:
    """
    Run each rule over its next rows. Returns how many rows each deleted; a rule that failed, or
    that another sweeper runs at this moment, is missing. A repeat takes the next rows.
    """
    return _each(lambda rule: _next_batch(rule, now=now), now=now)


def prune_all(*, now: datetime) -> dict[str, int]:
    """Run each rule over its whole table. Returns as `prune_some`. A repeat finds nothing."""
    return _each(lambda rule: _all(rule, now=now), now=now)


def failing() -> list[RetentionMark]:
    """The rules whose last run failed, the longest failing first."""
    marks = RetentionMark.objects.filter(failing_since__isnull=False)
    return list(marks.order_by("failing_since", "name"))


def _each(run: Callable[[Rule], int | None], *, now: datetime) -> dict[str, int]:
    deleted: dict[str, int] = {}
    for rule in RULES:
        try:
            rows = run(rule)
        except Exception as error:  # whatever a rule raises must not stop the others
            if errors.is_unavailable(error):
                raise
            logger.exception("retention of %s failed", rule.name)
            _note_failure(rule, error, now=now)
        else:
            if rows is not None:
                deleted[rule.name] = rows
    return deleted


def _note_failure(rule: Rule, error: Exception, *, now: datetime) -> None:
    mark, _ = RetentionMark.objects.get_or_create(name=rule.name)
    RetentionMark.objects.filter(pk=mark.pk).update(
        failing_since=mark.failing_since or now, error=f"{type(error).__name__}: {error}"[:500]
    )


def _next_batch(rule: Rule, *, now: datetime) -> int | None:
    before = _before(rule, now=now)
    RetentionMark.objects.get_or_create(name=rule.name)
    with transaction.atomic():
        marks = RetentionMark.objects.select_for_update(skip_locked=True, no_key=True)
        mark = marks.filter(name=rule.name).first()
        if mark is None:
            return None
        batch = _look(rule, after_id=mark.after_id, before=before)
        mark.after_id = batch.done_id
        if rule.order is Order.IN_ROUNDS:
            mark.after_id = None if batch.is_last else batch.last_id
        mark.until = before if batch.is_last else mark.until
        mark.failing_since, mark.error = None, ""
        mark.save()
    return batch.deleted


def _all(rule: Rule, *, now: datetime) -> int:
    before = _before(rule, now=now)
    deleted = 0
    after_id = None
    for _ in range(MAX_BATCHES):
        with transaction.atomic():
            batch = _look(rule, after_id=after_id, before=before)
        deleted += batch.deleted
        after_id = batch.last_id
        if batch.is_last:
            break
    return deleted


def _before(rule: Rule, *, now: datetime) -> datetime:
    return now - timedelta(days=getattr(settings, rule.kept))


def _look(rule: Rule, *, after_id: int | None, before: datetime) -> Batch:
    """Delete what is deletable of the next `ROWS_LOOKED_AT` rows. Call inside a transaction."""
    if rule.order is Order.OLDEST_FIRST:
        aged: QuerySet[Any] = QuerySet(rule.model).filter(**{f"{rule.time}__lt": before})
        ids = list(aged.order_by(rule.time).values_list("pk", flat=True)[:ROWS_LOOKED_AT])
        deleted, _ = _delete(rule, ids, before=before)
        return Batch(deleted, None, None, is_last=not deleted)
    rows: QuerySet[Any, Any] = QuerySet(rule.model).order_by("pk").values_list("pk", rule.time)
    found = list((rows.filter(pk__gt=after_id) if after_id is not None else rows)[:ROWS_LOOKED_AT])
    old = [pk for pk, at in found if at < before]
    deleted, missed = _delete(rule, old, before=before)
    missed |= {pk for pk, at in found if before <= at < before + CLOCKS_DIFFER}
    done = [pk for pk in old if not missed or pk < min(missed)]
    is_short = len(found) < ROWS_LOOKED_AT
    return Batch(
        deleted,
        last_id=found[-1][0] if found else after_id,
        done_id=done[-1] if done else after_id,
        is_last=is_short or (rule.ids_rise_with_time and not old),
    )


def _delete(rule: Rule, ids: Collection[Any], *, before: datetime) -> tuple[int, set[Any]]:
    """How many of these rows were deleted, and which were not, because somebody has locked them."""
    rows = rule.deletable(before).order_by()
    wanted = set(rows.filter(pk__in=ids).values_list("pk", flat=True)) if ids else set()
    if not wanted:
        return 0, set()
    free = rows.filter(pk__in=wanted).select_for_update(skip_locked=True, of=("self",))
    locked = set(free.values_list("pk", flat=True))
    rule.delete(locked)
    return len(locked), wanted - locked


# --- the rules -----------------------------------------------------------------------------------


def _older(model: type[models.Model], time: str) -> Callable[[datetime], QuerySet[Any]]:
    return lambda before: QuerySet(model).filter(**{f"{time}__lt": before})


def _deletion(model: type[models.Model]) -> Callable[[Collection[Any]], object]:
    return lambda ids: QuerySet(model).filter(pk__in=ids).delete()


def _rule(name: str, kept: str, model: type[models.Model], time: str, **more: Any) -> Rule:
    """Every row that is old enough goes, unless `more` says otherwise."""
    usual = {"deletable": _older(model, time), "delete": _deletion(model)}
    return Rule(name, kept, model, time, **usual | more)


def _handled_bodies(before: datetime) -> QuerySet[InboxEvent]:
    return InboxEvent.objects.filter(handled_at__isnull=False).exclude(body=b"")


def _empty_bodies(ids: Collection[int]) -> None:
    """The row stays, so that a late repeat of the event is known as one."""
    InboxEvent.objects.filter(pk__in=ids).update(body=b"")


def _unpaid_moves(before: datetime) -> QuerySet[Transition]:
    """
    Timelines of checkouts that ended unpaid: without a payment, even one that failed, without a
    case, and with nothing done to them by hand.
    """
    job_order = OuterRef("job__order_id")
    ended = Transition.objects.filter(job__state__in=sorted(UNPAID_ENDS))
    return (
        ended.exclude(Exists(Payment.objects.filter(gateway_order__order_id=job_order)))
        .exclude(Exists(Case.objects.filter(order_id=job_order)))
        .exclude(Exists(AuditEntry.objects.filter(checkout_id=OuterRef("job_id"))))
    )


def _gone_guests(before: datetime) -> QuerySet[User]:
    """
    Guests whose tokens ran out, and to whom nothing refers that is kept for good, as a checkout or
    an order does. A guest who signed in has left their cart to the checkouts that were made of it.
    """
    in_use = Cart.objects.filter(owner_id=OuterRef("pk"), updated_at__gte=before)
    guests = User.objects.filter(is_guest=True, is_staff=False, created_at__lt=before)
    for rows in (in_use, *_protecting(User, "{}"), *_protecting(Cart, "{}__owner")):
        guests = guests.exclude(Exists(rows))
    return guests


def _protecting(model: type[models.Model], path: str) -> Iterator[QuerySet[Any]]:
    """For each foreign key that forbids to delete a `model`: the rows that refer to it."""
    for relation in model._meta.get_fields(include_hidden=True):
        if isinstance(relation, ForeignObjectRel) and relation.on_delete is models.PROTECT:
            yield QuerySet(relation.related_model).filter(
                **{path.format(relation.field.name): OuterRef("pk")}
            )


def _left_carts(before: datetime) -> QuerySet[Cart]:
    """Carts of guests that stay, with something in them."""
    return Cart.objects.filter(updated_at__lt=before, owner__is_guest=True).filter(
        Exists(CartItem.objects.filter(cart_id=OuterRef("pk")))
    )


def _empty_carts(ids: Collection[int]) -> None:
    CartItem.objects.filter(cart_id__in=ids).delete()
    Cart.objects.filter(pk__in=ids).update(version=F("version") + 1, shown=EMPTY_CHECKSUM)


RULES = (
    _rule(
        "webhook bodies",
        "KEEP_PERSONAL_DATA_DAYS",
        InboxEvent,
        "received_at",
        deletable=_handled_bodies,
        delete=_empty_bodies,
    ),
    _rule("moves", "KEEP_TRANSITIONS_DAYS", Transition, "at", deletable=_unpaid_moves),
    _rule("failed attempts", "KEEP_TRANSITIONS_DAYS", FailedAttempt, "at"),
    _rule("idempotency keys", "KEEP_KEYS_DAYS", IdempotencyKey, "created_at"),
    _rule(
        "guests",
        "KEEP_GUESTS_DAYS",
        User,
        "created_at",
        deletable=_gone_guests,
        order=Order.IN_ROUNDS,
    ),
    _rule(
        "guest carts",
        "KEEP_GUESTS_DAYS",
        Cart,
        "updated_at",
        deletable=_left_carts,
        delete=_empty_carts,
        order=Order.IN_ROUNDS,
        ids_rise_with_time=False,
    ),
    _rule("sync events", "KEEP_SYNC_EVENTS_DAYS", SyncEvent, "at"),
    _rule("sessions", "KEEP_SESSIONS_DAYS", Session, "expire_date", order=Order.OLDEST_FIRST),
)
