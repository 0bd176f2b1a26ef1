"""
The checkout as a row: its state, when it is due, which worker has claimed it, and its transitions.

`due_at` is the only clock of a checkout: the time from which its step may handle it. A claim moves
`due_at` to the end of the claim, so a job whose worker dies is due again then.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import fields
from datetime import datetime, timedelta

from django.conf import settings
from django.contrib.postgres.indexes import BrinIndex
from django.db import connection, models, transaction
from django.db.models import F, Q, QuerySet

from shop import backoff, stock
from shop.carts import Cart
from shop.checkout.failed_attempts import FailedAttempt
from shop.checkout.outcomes import Change, Counted, Ignore, Outcome, RunReport
from shop.checkout.states import OPEN, WITH_TASK, WITHOUT_UNITS, State, in_sql
from shop.db import fast
from shop.orders import FrozenLine, Order
from shop.telemetry import instruments

MAX_ATTEMPTS = 6  # of a step that raises: with `retry_pause`, half a minute
MAX_RETRY_PAUSE = timedelta(minutes=1)

# A checkout is stuck if it has been due for this long, or was tried this often at one step.
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
    # Of currency, addresses and payment method. Checkouts of one cart revision may differ in these.
    terms_hash = models.CharField(max_length=64)

    lines = models.JSONField()  # `FrozenLine`s, as the buyer saw them
    items_count = models.PositiveIntegerField()
    amount_paise = models.BigIntegerField()
    order = models.OneToOneField(
        Order, on_delete=models.PROTECT, null=True, blank=True, related_name="checkout"
    )
    # Ids of the orders of checkouts that this one superseded. Their units stay held until this
    # one holds its own, so that no other buyer gets them in between.
    takes_over = models.JSONField(default=list, db_default=[])

    state = models.CharField(max_length=20, default=State.QUEUED)
    version = models.PositiveIntegerField(
        default=1
    )  # grows with each change that the buyer can see
    due_at = models.DateTimeField(null=True, blank=True)
    claim = models.UUIDField(null=True, blank=True)
    attempts = models.PositiveIntegerField(default=0)  # at the current step
    waiting_for = models.CharField(max_length=200, blank=True)  # a sentence for the buyer
    expires_at = models.DateTimeField(null=True, blank=True)  # the buyer can pay until then
    # The end of the hold on its units. `create_order` sets it; see `holds`.
    hold_until = models.DateTimeField(null=True, blank=True, editable=False)
    # A keyed hash of the caller's network address, while the checkout is open; see `holds`.
    address_key = models.BigIntegerField(null=True, blank=True, editable=False)
    returned_at = models.DateTimeField(
        null=True, blank=True
    )  # from the payment form, with a signature

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
            # Written once for a checkout, when it ends. `checkout_due` has the open ones.
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
        """The orders that may hold units for this checkout: its own, or those it takes over."""
        return [self.order_id] if self.order_id is not None else list(self.takes_over)

    @property
    def frozen_lines(self) -> tuple[FrozenLine, ...]:
        return tuple(FrozenLine.from_json(line) for line in self.lines)


class Transition(models.Model):
    """A change of state. The transitions of a checkout are its timeline."""

    job = models.ForeignKey(CheckoutJob, on_delete=models.CASCADE, related_name="transitions")
    old = models.CharField(max_length=20)
    new = models.CharField(max_length=20)
    because = models.CharField(max_length=200)
    attempts = models.PositiveIntegerField()  # made to leave `old`
    at = models.DateTimeField()

    class Meta:
        ordering = ("id",)
        indexes = [BrinIndex(fields=["at"], name="transition_at", autosummarize=True)]

    def __str__(self) -> str:
        return f"{self.old} → {self.new}: {self.because}"


def lock_due(state: State, *, limit: int, now: datetime) -> list[CheckoutJob]:
    """
    Up to `limit` due jobs in `state`, longest due first, then oldest, locked in this transaction.

    Jobs that another worker has locked are skipped, so workers never wait for each other.
    """
    return fast.select(CheckoutJob, _DUE, [state, now, limit])


_DUE = """
    WHERE state = %s AND due_at <= %s ORDER BY due_at, created_at LIMIT %s
    FOR NO KEY UPDATE SKIP LOCKED
"""


def lock_due_and_held(
    state: State, *, since: datetime, limit: int, now: datetime
) -> list[CheckoutJob]:
    """As `lock_due`, but only jobs whose order is older than `since` or whose hold has ended."""
    return fast.select(CheckoutJob, _DUE_AND_HELD, [state, now, since, now, limit])


_DUE_AND_HELD = """
    WHERE state = %s AND due_at <= %s
        AND (order_id IN (SELECT id FROM shop_order WHERE created_at <= %s) OR hold_until <= %s)
    ORDER BY due_at, created_at LIMIT %s FOR NO KEY UPDATE SKIP LOCKED
"""


def lock(*, order_ids: Iterable[int]) -> list[CheckoutJob]:
    """The jobs of these orders, locked in id order until the transaction ends. Waits for locks."""
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
    Claim up to `limit` due jobs for `CLAIM_SECONDS`. Call in a transaction; commit before working.

    Each claim counts an attempt. After that time another worker may claim the job, and `apply`
    then ignores our outcome.
    """
    until = now + timedelta(seconds=settings.CLAIM_SECONDS)
    statement = _CLAIM.format(columns=fast.columns(CheckoutJob))
    return fast.returning(CheckoutJob, statement, [state, now, limit, uuid.uuid4(), until])


def apply(decided: Sequence[tuple[CheckoutJob, Outcome]], *, now: datetime) -> RunReport:
    """
    Carry out outcomes: the only place where a checkout changes state. Call inside a transaction.

    A job that has left the state it was read in, or that another worker has claimed, stays as it
    is and counts as lost. A transition to a state without units releases them: stock rows are
    locked after job rows, in variant order. A constant number of statements, however many jobs.
    """
    report = RunReport()
    changes = [
        (job, outcome.to_change(State(job.state), attempts=job.attempts))
        for job, outcome in decided
        if not isinstance(outcome, Ignore)
    ]
    written = _write(changes, now=now)
    made = [(job, change) for job, change in changes if job.pk in written]
    for job, change in made:
        report.count(change.counted_as)
        report.job_ids.append(job.pk)
        if change.new != change.old:
            report.entered.setdefault(change.new, job.pk)
    report.count(Counted.LOST, len(changes) - len(made))
    stock.release(
        [
            order_id
            for job, change in made
            if _releases_units(change)
            for order_id in job.holding_order_ids
        ]
    )
    _note_failed_attempts(made, now=now)
    transitions = [(job, change) for job, change in made if change.new != change.old]
    if transitions:
        transaction.on_commit(lambda: _count(transitions, now=now), robust=True)
    return report


def _releases_units(change: Change) -> bool:
    """
    Whether the change releases units. Not if the checkout had ended before: units that its order
    still holds are kept for the checkout that takes them over.
    """
    had_units = change.old not in WITHOUT_UNITS
    return had_units and change.new in WITHOUT_UNITS and not change.keeps_units


def _note_failed_attempts(changes: Iterable[tuple[CheckoutJob, Change]], *, now: datetime) -> None:
    """Keep each error for operations. One statement, or none."""
    failed = [
        FailedAttempt(
            job=job, state=change.old, number=change.attempts, error=change.last_error, at=now
        )
        for job, change in changes
        if change.last_error
    ]
    if failed:
        FailedAttempt.objects.bulk_create(failed)


def _count(transitions: Iterable[tuple[CheckoutJob, Change]], *, now: datetime) -> None:
    """For metrics: which states were entered, why checkouts failed, how long buyers waited."""
    for job, change in transitions:
        instruments.TRANSITIONS.labels(change.new).inc()
        if change.error_code:
            instruments.FAILURES.labels(change.error_code).inc()
        if change.new in {State.AWAITING_PAYMENT, State.PAID}:
            waited = now - job.created_at
            instruments.REACHED.labels(change.new).observe(waited.total_seconds())


_CHANGE_COLUMNS = [field.name for field in fields(Change)]

# The WHERE clause carries the proof: still in that state, still our claim. The address is deleted
# when the checkout ends.
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


def _write(changes: Sequence[tuple[CheckoutJob, Change]], *, now: datetime) -> set[uuid.UUID]:
    """Write all changes in one statement, in id order. Returns the ids of jobs still ours."""
    if not changes:
        return set()
    records = [
        {"place": place, "id": job.pk, "claim": job.claim}
        | {name: getattr(change, name) for name in _CHANGE_COLUMNS}
        for place, (job, change) in sorted(enumerate(changes), key=lambda each: each[1][0].pk)
    ]
    with connection.cursor() as cursor:
        cursor.execute(_WRITE, [fast.as_json(records), now, now])
        return {job_id for (job_id,) in cursor.fetchall()}


def touch(job_ids: Iterable[object], *, now: datetime) -> None:
    """Give the status of these checkouts a new version, as something beside their state changed."""
    CheckoutJob.objects.filter(pk__in=list(job_ids)).update(
        version=F("version") + 1, updated_at=now
    )


def mark_waiting(state: State, buyer_sees: str, *, now: datetime) -> None:
    """
    Show `buyer_sees` to the buyers whose jobs are due in `state`, unless they see a sentence
    already. Jobs that another worker has locked are skipped.
    """
    without_sentence = CheckoutJob.objects.filter(state=state, due_at__lte=now, waiting_for="")
    free = without_sentence.select_for_update(skip_locked=True, no_key=True).values("pk")
    CheckoutJob.objects.filter(pk__in=free).update(
        waiting_for=buyer_sees, version=F("version") + 1, updated_at=now
    )


def stuck(*, now: datetime) -> QuerySet[CheckoutJob]:
    """Checkouts at a step of ours that are long overdue, or were tried again and again."""
    at_a_step = CheckoutJob.objects.filter(state__in=sorted(WITH_TASK), due_at__isnull=False)
    return at_a_step.filter(Q(due_at__lt=now - STUCK_AFTER) | Q(attempts__gte=STUCK_ATTEMPTS))


def lock_one(job_id: uuid.UUID) -> CheckoutJob:
    """
    The job, locked until the transaction ends. Waits for the lock.

    :raises CheckoutJob.DoesNotExist: there is none.
    """
    return CheckoutJob.objects.select_for_update(no_key=True).get(pk=job_id)


def make_due(job: CheckoutJob, *, now: datetime) -> None:
    """Make the job due now, with no attempts counted. Call under its lock."""
    CheckoutJob.objects.filter(pk=job.pk).update(
        due_at=now, claim=None, attempts=0, version=F("version") + 1, updated_at=now
    )
