"""
Retention: which rows are deleted after how many days.

Records of money are never deleted: orders, payments, refunds, cases, their checkouts and
transitions, and the audit log.

Once a minute the sweeper runs each rule over the next `BATCH_ROWS` rows of its table, in a
transaction of its own, so the cost of a run does not depend on the size of the table. A rule that
raises does not stop the others, and raises an alert. A run skips rows that another transaction has
locked, and a later run reads them again: no buyer waits for retention, and it cannot deadlock.
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

BATCH_ROWS = 2000  # of a rule in one run: nearly three million rows a day
MAX_BATCHES = 1_000_000  # of a rule in `prune_all`
# Clocks of machines differ, and a row is inserted after its time was read: a row with a lower id
# may be younger by seconds. A larger difference means that a clock was wrong.
MAX_CLOCK_SKEW = timedelta(days=1)


class Order(Enum):
    """In which order a rule reads its table."""

    BY_ID = auto()  # each row once, when it is old enough: ids rise with time
    IN_ROUNDS = auto()  # by id, again and again: a row may become deletable later
    OLDEST_FIRST = auto()  # by an index on the time column: every old row is deletable


class RetentionMark(models.Model):
    """The progress of a rule, and whether it fails. The row is locked while its rule runs."""

    name = models.CharField(max_length=40, unique=True)
    # Rows older than this were all read when the last round ended. For staff; no code uses it.
    until = models.DateTimeField(null=True, blank=True)
    after_id = models.BigIntegerField(null=True, blank=True)  # the next run starts after this row
    failing_since = models.DateTimeField(null=True, blank=True)  # None: the last run succeeded
    error = models.TextField(blank=True, default="", db_default="")

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class Rule:
    """
    What is deleted of one table. `kept` is the setting with the number of days.

    `time` is the column that tells the age of a row. `deletable` gives the rows that may be deleted
    once older than the given time; `delete` deletes the rows with these ids, or their contents.
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
    """One run. `last_id` is the last row read; all rows up to `done_id` need no other look."""

    deleted: int
    last_id: int | None
    done_id: int | None
    is_last: bool


def prune_some(*, now: datetime) -> dict[str, int]:
    """
    Run each rule over its next rows. Returns the number of rows deleted by each rule, without the
    rules that failed or that another sweeper runs. A repeat takes the next rows.
    """
    return _run_each(lambda rule: _run_next_batch(rule, now=now), now=now)


def prune_all(*, now: datetime) -> dict[str, int]:
    """Run each rule over its whole table. Returns the same as `prune_some`."""
    return _run_each(lambda rule: _run_all(rule, now=now), now=now)


def failing() -> list[RetentionMark]:
    """The rules whose last run failed; the one that failed first comes first."""
    marks = RetentionMark.objects.filter(failing_since__isnull=False)
    return list(marks.order_by("failing_since", "name"))


def _run_each(run: Callable[[Rule], int | None], *, now: datetime) -> dict[str, int]:
    deleted: dict[str, int] = {}
    for rule in RULES:
        try:
            rows = run(rule)
        except Exception as error:  # a rule that raises must not stop the others
            if errors.is_unavailable(error):
                raise
            logger.exception("retention of %s failed", rule.name)
            _record_failure(rule, error, now=now)
        else:
            if rows is not None:
                deleted[rule.name] = rows
    return deleted


def _record_failure(rule: Rule, error: Exception, *, now: datetime) -> None:
    mark, _ = RetentionMark.objects.get_or_create(name=rule.name)
    RetentionMark.objects.filter(pk=mark.pk).update(
        failing_since=mark.failing_since or now, error=f"{type(error).__name__}: {error}"[:500]
    )


def _run_next_batch(rule: Rule, *, now: datetime) -> int | None:
    before = _cutoff(rule, now=now)
    RetentionMark.objects.get_or_create(name=rule.name)
    with transaction.atomic():
        marks = RetentionMark.objects.select_for_update(skip_locked=True, no_key=True)
        mark = marks.filter(name=rule.name).first()
        if mark is None:
            return None
        batch = _delete_batch(rule, after_id=mark.after_id, before=before)
        mark.after_id = batch.done_id
        if rule.order is Order.IN_ROUNDS:
            mark.after_id = None if batch.is_last else batch.last_id
        mark.until = before if batch.is_last else mark.until
        mark.failing_since, mark.error = None, ""
        mark.save()
    return batch.deleted


def _run_all(rule: Rule, *, now: datetime) -> int:
    before = _cutoff(rule, now=now)
    deleted = 0
    after_id = None
    for _ in range(MAX_BATCHES):
        with transaction.atomic():
            batch = _delete_batch(rule, after_id=after_id, before=before)
        deleted += batch.deleted
        after_id = batch.last_id
        if batch.is_last:
            break
    return deleted


def _cutoff(rule: Rule, *, now: datetime) -> datetime:
    return now - timedelta(days=getattr(settings, rule.kept))


def _delete_batch(rule: Rule, *, after_id: int | None, before: datetime) -> Batch:
    """Delete the deletable ones of the next `BATCH_ROWS` rows. Call inside a transaction."""
    if rule.order is Order.OLDEST_FIRST:
        aged: QuerySet[Any] = QuerySet(rule.model).filter(**{f"{rule.time}__lt": before})
        ids = list(aged.order_by(rule.time).values_list("pk", flat=True)[:BATCH_ROWS])
        deleted, _ = _delete(rule, ids, before=before)
        return Batch(deleted, None, None, is_last=not deleted)
    rows: QuerySet[Any, Any] = QuerySet(rule.model).order_by("pk").values_list("pk", rule.time)
    found = list((rows.filter(pk__gt=after_id) if after_id is not None else rows)[:BATCH_ROWS])
    old = [pk for pk, at in found if at < before]
    deleted, missed = _delete(rule, old, before=before)
    missed |= {pk for pk, at in found if before <= at < before + MAX_CLOCK_SKEW}
    done = [pk for pk in old if not missed or pk < min(missed)]
    is_short = len(found) < BATCH_ROWS
    return Batch(
        deleted,
        last_id=found[-1][0] if found else after_id,
        done_id=done[-1] if done else after_id,
        is_last=is_short or (rule.ids_rise_with_time and not old),
    )


def _delete(rule: Rule, ids: Collection[Any], *, before: datetime) -> tuple[int, set[Any]]:
    """How many of these rows were deleted, and which are locked by another transaction."""
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
    """A rule that deletes every row that is old enough, unless `more` says otherwise."""
    defaults = {"deletable": _older(model, time), "delete": _deletion(model)}
    return Rule(name, kept, model, time, **defaults | more)


def _handled_bodies(before: datetime) -> QuerySet[InboxEvent]:
    return InboxEvent.objects.filter(handled_at__isnull=False).exclude(body=b"")


def _empty_bodies(ids: Collection[int]) -> None:
    """Keep the row: it identifies a late repeat of the event."""
    InboxEvent.objects.filter(pk__in=ids).update(body=b"")


def _unpaid_transitions(before: datetime) -> QuerySet[Transition]:
    """
    Transitions of checkouts that ended unpaid and have no payment (not even a failed one), no case
    and no staff action.
    """
    job_order = OuterRef("job__order_id")
    ended = Transition.objects.filter(job__state__in=sorted(UNPAID_ENDS))
    return (
        ended.exclude(Exists(Payment.objects.filter(gateway_order__order_id=job_order)))
        .exclude(Exists(Case.objects.filter(order_id=job_order)))
        .exclude(Exists(AuditEntry.objects.filter(checkout_id=OuterRef("job_id"))))
    )


def _expired_guests(before: datetime) -> QuerySet[User]:
    """
    Guests whose tokens have expired and to whom no permanent row refers, such as a checkout. The
    cart counts too: the checkouts of a guest who signed in belong to the account, but refer to it.
    """
    in_use = Cart.objects.filter(owner_id=OuterRef("pk"), updated_at__gte=before)
    guests = User.objects.filter(is_guest=True, is_staff=False, created_at__lt=before)
    for rows in (in_use, *_protecting(User, "{}"), *_protecting(Cart, "{}__owner")):
        guests = guests.exclude(Exists(rows))
    return guests


def _protecting(model: type[models.Model], path: str) -> Iterator[QuerySet[Any]]:
    """For each PROTECT foreign key to `model`: the rows that refer to the outer row."""
    for relation in model._meta.get_fields(include_hidden=True):
        if isinstance(relation, ForeignObjectRel) and relation.on_delete is models.PROTECT:
            yield QuerySet(relation.related_model).filter(
                **{path.format(relation.field.name): OuterRef("pk")}
            )


def _abandoned_carts(before: datetime) -> QuerySet[Cart]:
    """Carts of guests that have items."""
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
    _rule("transitions", "KEEP_TRANSITIONS_DAYS", Transition, "at", deletable=_unpaid_transitions),
    _rule("failed attempts", "KEEP_TRANSITIONS_DAYS", FailedAttempt, "at"),
    _rule("idempotency keys", "KEEP_KEYS_DAYS", IdempotencyKey, "created_at"),
    _rule(
        "guests",
        "KEEP_GUESTS_DAYS",
        User,
        "created_at",
        deletable=_expired_guests,
        order=Order.IN_ROUNDS,
    ),
    _rule(
        "guest carts",
        "KEEP_GUESTS_DAYS",
        Cart,
        "updated_at",
        deletable=_abandoned_carts,
        delete=_empty_carts,
        order=Order.IN_ROUNDS,
        ids_rise_with_time=False,
    ),
    _rule("sync events", "KEEP_SYNC_EVENTS_DAYS", SyncEvent, "at"),
    _rule("sessions", "KEEP_SESSIONS_DAYS", Session, "expire_date", order=Order.OLDEST_FIRST),
)
