"""
The checkout as a row: its state, when it is next due, who holds it, and how it moves.

`due_at` is the only clock of a checkout: the moment at which some step has to look at it. Claiming
a job pushes `due_at` to the end of the claim, so a worker that dies simply leaves it due again.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.contrib.postgres.indexes import BrinIndex
from django.db import connection, models, transaction
from django.db.models import F, Q, QuerySet

from shop import backoff, stock
from shop.carts import Cart
from shop.checkout.failed_attempts import FailedAttempt
from shop.checkout.outcomes import Advance, Fail, Ignore, Outcome, RunReport, Wait
from shop.checkout.states import OPEN, WITHOUT_UNITS, State, check_transition
from shop.db import fast
from shop.orders import FrozenLine, Order
from shop.telemetry import instruments

MAX_ATTEMPTS = 6  # of a step that raises: with `retry_pause`, half a minute
MAX_RETRY_PAUSE = timedelta(minutes=1)

# A checkout is stuck when it should move and nothing has moved it for so long, or so often.
STUCK_AFTER = timedelta(seconds=30)
STUCK_ATTEMPTS = 3


def retry_pause(attempts: int) -> timedelta:
    """How long a step waits after `attempts` failed ones: 1, 2, 4, … seconds, at most a minute."""
    return backoff.exponential(attempts, first=timedelta(seconds=1), longest=MAX_RETRY_PAUSE)


class CheckoutJob(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.PROTECT,
        related_name="checkouts",
        db_index=False,  # `checkout_of_owner` begins with it
    )
    cart = models.ForeignKey(Cart, on_delete=models.PROTECT, related_name="checkouts")
    cart_version = models.PositiveIntegerField()
    currency = models.CharField(max_length=3)
    shipping_address = models.JSONField()
    billing_address = models.JSONField()
    email = models.CharField(max_length=254, blank=True)
    # Of the address and the means of payment: what makes two checkouts of one cart revision differ.
    terms_hash = models.CharField(max_length=64)

    lines = models.JSONField()  # `FrozenLine`s: what the buyer saw and asked for
    items_count = models.PositiveIntegerField()
    amount_paise = models.BigIntegerField()
    order = models.OneToOneField(
        Order, on_delete=models.PROTECT, null=True, blank=True, related_name="checkout"
    )
    # Ids of the orders of checkouts that this one superseded. Their units stay held until this
    # one holds its own, so that nobody else gets them meanwhile.
    takes_over = models.JSONField(default=list, db_default=[])

    state = models.CharField(max_length=20, default=State.QUEUED)
    version = models.PositiveIntegerField(default=1)  # grows whenever the buyer could see a change
    due_at = models.DateTimeField(null=True, blank=True)
    claim = models.UUIDField(null=True, blank=True)
    attempts = models.PositiveIntegerField(default=0)  # at the present step
    waiting_for = models.CharField(max_length=200, blank=True)  # a sentence for the buyer
    expires_at = models.DateTimeField(null=True, blank=True)  # payable until then
    # No units are held after it. Set by `create_order`; see `holds`.
    hold_until = models.DateTimeField(null=True, blank=True, editable=False)
    # A keyed hash of the caller's network address. Only while the checkout is open; see `holds`.
    address_key = models.BigIntegerField(null=True, blank=True, editable=False)
    returned_at = models.DateTimeField(null=True, blank=True)  # the browser came back from paying

    error_code = models.CharField(max_length=40, blank=True)
    error_message = models.CharField(max_length=300, blank=True)
    error_details = models.JSONField(default=dict)
    last_error = models.TextField(blank=True)  # for operations: may be a traceback

    created_at = models.DateTimeField()
    updated_at = models.DateTimeField()

    class Meta:
        verbose_name = "checkout"
        constraints = [
            models.UniqueConstraint(
                fields=["cart"],
                condition=Q(state__in=sorted(OPEN)),
                name="checkout_one_open_per_cart",
            ),
            models.CheckConstraint(
                condition=Q(state__in=[state.value for state in State]),
                name="checkout_state_known",
            ),
            models.CheckConstraint(
                condition=Q(claim=None) | Q(due_at__isnull=False),
                name="checkout_claim_ends",
            ),
            models.CheckConstraint(
                condition=~Q(state=State.FAILED) | ~Q(error_code=""),
                name="checkout_failed_says_why",
            ),
        ]
        indexes = [
            models.Index(
                fields=["state", "due_at"],
                condition=Q(due_at__isnull=False),
                name="checkout_due",
            ),
            models.Index(fields=["owner", "-created_at"], name="checkout_of_owner"),
            # Written once for a checkout, when it ends; open ones are found by `checkout_due`.
            models.Index(
                fields=["state", "-created_at"],
                condition=Q(state__in=sorted(set(State) - OPEN)),
                name="checkout_ended",
            ),
            models.Index(
                fields=["address_key"],
                condition=Q(address_key__isnull=False),
                name="checkout_of_address",
            ),
            BrinIndex(fields=["created_at"], name="checkout_created_at", pages_per_range=16),
        ]

    def __str__(self) -> str:
        return str(self.pk)

    @property
    def holding_order_ids(self) -> list[int]:
        """The orders that may hold units for this checkout: its own, or those it will take over."""
        return [self.order_id] if self.order_id is not None else list(self.takes_over)

    @property
    def frozen_lines(self) -> tuple[FrozenLine, ...]:
        return tuple(FrozenLine.from_json(line) for line in self.lines)


class Transition(models.Model):
    """One change of state. The moves of a checkout are its timeline."""

    job = models.ForeignKey(CheckoutJob, on_delete=models.CASCADE, related_name="transitions")
    old = models.CharField(max_length=20)
    new = models.CharField(max_length=20)
    because = models.CharField(max_length=200)
    attempts = models.PositiveIntegerField()  # it took to leave `old`
    at = models.DateTimeField()

    class Meta:
        ordering = ("id",)
        indexes = [BrinIndex(fields=["at"], name="transition_at", autosummarize=True)]

    def __str__(self) -> str:
        return f"{self.old} → {self.new}: {self.because}"


def in_sql(states: Iterable[State]) -> str:
    """States as a statement lists them."""
    return ", ".join(f"'{state}'" for state in sorted(states))


def lock_due(state: State, *, limit: int, now: datetime) -> list[CheckoutJob]:
    """
    Up to `limit` due jobs in `state`, longest due and oldest first, locked in this transaction.

    Jobs that another worker has locked are passed over, so workers never wait for each other.
    """
    return fast.select(CheckoutJob, _DUE, [state, now, limit])


_DUE = """
    WHERE state = %s AND due_at <= %s ORDER BY due_at, created_at LIMIT %s
    FOR NO KEY UPDATE SKIP LOCKED
"""


def lock_due_and_held(
    state: State, *, since: datetime, limit: int, now: datetime
) -> list[CheckoutJob]:
    """As `lock_due`, of those whose order has held its units since `since`, or must end by now."""
    return fast.select(CheckoutJob, _DUE_AND_HELD, [state, now, since, now, limit])


_DUE_AND_HELD = """
    WHERE state = %s AND due_at <= %s
        AND (order_id IN (SELECT id FROM shop_order WHERE created_at <= %s) OR hold_until <= %s)
    ORDER BY due_at, created_at LIMIT %s FOR NO KEY UPDATE SKIP LOCKED
"""


def lock(*, order_ids: Iterable[int]) -> list[CheckoutJob]:
    """The jobs of these orders, locked in id order until the transaction ends; waits its turn."""
    tail = "WHERE order_id = ANY(%s) ORDER BY id FOR NO KEY UPDATE"
    return fast.select(CheckoutJob, tail, [fast.array(set(order_ids))])


def lock_all(*, owner_id: int) -> None:
    """Lock all jobs of this buyer in id order until the transaction ends."""
    mine = CheckoutJob.objects.filter(owner_id=owner_id).order_by("id")
    list(mine.select_for_update(no_key=True).values_list("pk"))


_CLAIM = f"""
    WITH due AS MATERIALIZED (SELECT id FROM shop_checkoutjob {_DUE})
    UPDATE shop_checkoutjob SET claim = %s, due_at = %s, attempts = attempts + 1
    FROM due WHERE shop_checkoutjob.id = due.id
    RETURNING {{columns}}
"""


def claim_due(state: State, *, limit: int, now: datetime) -> list[CheckoutJob]:
    """
    Take up to `limit` due jobs for `CLAIM_SECONDS`. Call in a transaction; commit before working.

    Each claim counts an attempt. Whoever claims a job after us takes it over, and what we then
    write about it is refused.
    """
    until = now + timedelta(seconds=settings.CLAIM_SECONDS)
    statement = _CLAIM.format(columns=fast.columns(CheckoutJob))
    return fast.returning(CheckoutJob, statement, [state, now, limit, uuid.uuid4(), until])


def apply(decided: Sequence[tuple[CheckoutJob, Outcome]], *, now: datetime) -> RunReport:
    """
    Carry out outcomes: the one place where a checkout changes state. Call inside a transaction.

    A job that is no longer in the state it was read in, or whose claim another worker has taken
    over, is left alone and counted as lost. Leaving the open states without money releases held
    units: stock rows are locked after job rows, in variant order. A constant number of statements,
    however many jobs.
    """
    report = RunReport()
    changes = [_change(job, outcome) for job, outcome in decided if not isinstance(outcome, Ignore)]
    written = _write(changes, now=now)
    moved, troubled = [], []
    for change in changes:
        if change.job.pk not in written:
            report.counts["lost"] += 1
            continue
        report.counts[change.counted_as] += 1
        report.job_ids.append(change.job.pk)
        if change.last_error:
            troubled.append(change)
        if change.new != change.old:
            moved.append(change)
            report.entered.setdefault(change.new, change.job.pk)
    stock.release(
        [
            order_id
            for change in moved
            if _gives_units_back(change)
            for order_id in change.job.holding_order_ids
        ]
    )
    if troubled:
        _note_attempts(troubled, now=now)
    if moved:
        transaction.on_commit(lambda: _count(moved, now=now), robust=True)
    return report


def _gives_units_back(change: _Change) -> bool:
    """What units the order of an ended checkout still has are another's, who takes them over."""
    had_units = change.old not in WITHOUT_UNITS
    return had_units and change.new in WITHOUT_UNITS and not change.keeps_units


def _note_attempts(troubled: Sequence[_Change], *, now: datetime) -> None:
    """Keep for operations what went wrong this time. One statement."""
    FailedAttempt.objects.bulk_create(
        FailedAttempt(
            job=change.job,
            state=change.old,
            number=change.attempts,
            error=change.last_error,
            at=now,
        )
        for change in troubled
    )


def _count(moved: Sequence[_Change], *, now: datetime) -> None:
    """For metrics: which states were entered, why checkouts failed, how long buyers waited."""
    for change in moved:
        instruments.TRANSITIONS.labels(change.new).inc()
        if change.error_code:
            instruments.FAILURES.labels(change.error_code).inc()
        if change.new in {State.AWAITING_PAYMENT, State.PAID}:
            waited = now - change.job.created_at
            instruments.REACHED.labels(change.new).observe(waited.total_seconds())


@dataclass(slots=True)
class _Change:
    job: CheckoutJob
    old: State
    new: State
    because: str
    counted_as: str
    took_attempts: int
    attempts: int
    due_at: datetime | None
    waiting_for: str = ""
    last_error: str = ""
    error_code: str = ""
    error_message: str = ""
    error_details: dict[str, Any] = field(default_factory=dict)
    order_id: int | None = None
    expires_at: datetime | None = None
    keeps_units: bool = False
    hold_until: datetime | None = None


def _change(job: CheckoutJob, outcome: Outcome) -> _Change:
    old = State(job.state)
    match outcome:
        case Advance():
            check_transition(old, outcome.to)
            return _Change(
                job=job,
                old=old,
                new=outcome.to,
                because=outcome.because,
                counted_as="advanced",
                took_attempts=max(job.attempts, 1),
                attempts=0,
                due_at=outcome.due_at,
                order_id=outcome.order_id,
                expires_at=outcome.expires_at,
                waiting_for=outcome.buyer_sees[:200],
                keeps_units=outcome.keeps_units,
                hold_until=outcome.hold_until,
            )
        case Fail():
            check_transition(old, State.FAILED)
            return _Change(
                job=job,
                old=old,
                new=State.FAILED,
                because=outcome.message,
                counted_as="failed",
                took_attempts=max(job.attempts, 1),
                attempts=job.attempts,
                due_at=None,
                last_error=outcome.last_error,
                error_code=outcome.code,
                error_message=outcome.message[:300],
                error_details=outcome.details,
            )
        case Wait():
            return _Change(
                job=job,
                old=old,
                new=old,
                because="",
                counted_as="waiting",
                took_attempts=0,
                attempts=job.attempts,
                due_at=outcome.until,
                waiting_for=outcome.buyer_sees[:200],
                last_error=outcome.last_error,
            )
        case _:
            raise TypeError(f"no outcome: {outcome!r}")


# The WHERE clause carries the proof: still in that state, still our claim. The columns that only
# some outcomes set keep their value where the outcome has none. The address is forgotten when the
# checkout ends. What changed its state is noted.
_WRITE = f"""
    WITH change AS (
        SELECT * FROM json_to_recordset(%s::json) AS given (
            place int, id uuid, old text, claim uuid, new text, because text, took int,
            due_at timestamptz, attempts int, waiting_for text, last_error text, error_code text,
            error_message text, error_details jsonb, order_id bigint, expires_at timestamptz,
            hold_until timestamptz)
    ), written AS (
        UPDATE shop_checkoutjob AS job
        SET state = change.new, due_at = change.due_at, attempts = change.attempts, claim = NULL,
            version = job.version + 1, updated_at = %s,
            waiting_for = change.waiting_for, last_error = change.last_error,
            error_code = change.error_code, error_message = change.error_message,
            error_details = change.error_details,
            order_id = coalesce(change.order_id, job.order_id),
            expires_at = coalesce(change.expires_at, job.expires_at),
            hold_until = coalesce(change.hold_until, job.hold_until),
            address_key = CASE WHEN change.new IN ({in_sql(OPEN)}) THEN job.address_key END
        FROM change
        WHERE job.id = change.id AND job.state = change.old
            AND job.claim IS NOT DISTINCT FROM change.claim
        RETURNING job.id
    ), noted AS (
        INSERT INTO shop_transition (job_id, old, new, because, attempts, at)
        SELECT id, old, new, because, took, %s FROM change
        WHERE new <> old AND id IN (SELECT id FROM written) ORDER BY place
    )
    SELECT id FROM written
"""


def _write(changes: Sequence[_Change], *, now: datetime) -> set[uuid.UUID]:
    """
    Write all changes in one statement, the jobs in id order. Returns the ids of those that were
    still ours.
    """
    if not changes:
        return set()
    records = [
        {
            "place": place,
            "id": change.job.pk,
            "old": change.old,
            "claim": change.job.claim,
            "new": change.new,
            "because": change.because[:200],
            "took": change.took_attempts,
            "due_at": change.due_at,
            "attempts": change.attempts,
            "waiting_for": change.waiting_for,
            "last_error": change.last_error,
            "error_code": change.error_code,
            "error_message": change.error_message,
            "error_details": change.error_details,
            "order_id": change.order_id,
            "expires_at": change.expires_at,
            "hold_until": change.hold_until,
        }
        for place, change in sorted(enumerate(changes), key=lambda it: it[1].job.pk)
    ]
    with connection.cursor() as cursor:
        cursor.execute(_WRITE, [fast.as_json(records), now, now])
        return {job_id for (job_id,) in cursor.fetchall()}


def touch(job_ids: Iterable[object], *, now: datetime) -> None:
    """Give the status of these checkouts a new version: something beside the state changed."""
    CheckoutJob.objects.filter(pk__in=list(job_ids)).update(
        version=F("version") + 1, updated_at=now
    )


def mark_waiting(state: State, buyer_sees: str, *, now: datetime) -> None:
    """
    Have the jobs that are due in `state` say why they wait. Said once, not at every look; those
    that others have locked are passed over.
    """
    silent = CheckoutJob.objects.filter(state=state, due_at__lte=now, waiting_for="")
    free = silent.select_for_update(skip_locked=True, no_key=True).values("pk")
    CheckoutJob.objects.filter(pk__in=free).update(
        waiting_for=buyer_sees, version=F("version") + 1, updated_at=now
    )


def overdue(states: Sequence[State], *, before: datetime) -> dict[State, uuid.UUID]:
    """For each of these states in which a job has been due since `before`, one such job."""
    late = CheckoutJob.objects.filter(state__in=states, due_at__lt=before)
    found = late.order_by("state", "due_at").distinct("state").values_list("state", "id")
    return {State(state): job_id for state, job_id in found}


def stuck(*, now: datetime) -> QuerySet[CheckoutJob]:
    """Checkouts that something keeps from moving: overdue, or tried again and again."""
    moving = CheckoutJob.objects.filter(
        state__in=sorted(OPEN - {State.AWAITING_PAYMENT}), due_at__isnull=False
    )
    return moving.filter(Q(due_at__lt=now - STUCK_AFTER) | Q(attempts__gte=STUCK_ATTEMPTS))


def lock_one(job_id: uuid.UUID) -> CheckoutJob:
    """
    The job, locked until the transaction ends; waits its turn.

    :raises CheckoutJob.DoesNotExist: there is none.
    """
    return CheckoutJob.objects.select_for_update(no_key=True).get(pk=job_id)


def make_due(job: CheckoutJob, *, now: datetime) -> None:
    """Have the job's step look at it at once, its attempts counted anew. Call under its lock."""
    CheckoutJob.objects.filter(pk=job.pk).update(
        due_at=now, claim=None, attempts=0, version=F("version") + 1, updated_at=now
    )
