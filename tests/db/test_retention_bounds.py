"""Retention costs the same for any table size, keeps up, and survives a failing rule."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.db.models import ProtectedError
from django.utils import timezone

from shop import carts
from shop.accounts import User
from shop.cart_sync import SyncEvent
from shop.carts import Cart, CartItem
from shop.checkout.failed_attempts import FailedAttempt
from shop.checkout.jobs import CheckoutJob, Transition
from shop.checkout.start import IdempotencyKey
from shop.operations import retention
from shop.ops import cache, current, metrics
from shop.payments.inbox import InboxEvent
from tests.support.locks import locked
from tests.support.shop import make_checkout, make_variant

pytestmark = pytest.mark.django_db

DAY = timedelta(days=1)
READ_AT_ONCE = 50
KEPT = 500  # rows of each kind that stay for good
OLD_AFTER = 200 * DAY  # every rule deletes what is older than this


@pytest.fixture
def few(monkeypatch):
    """A run reads few rows, and Postgres plans as for large tables."""
    monkeypatch.setattr(retention, "BATCH_ROWS", READ_AT_ONCE)
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")


def tuples_read() -> dict[str, int]:
    """How many rows of each table this transaction has read, by any kind of scan."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT relname, coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0)"
            " FROM pg_stat_xact_user_tables"
        )
        return dict(cursor.fetchall())


def analyze() -> None:
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")


def make_transitions(job: CheckoutJob, count: int, *, at) -> None:
    Transition.objects.bulk_create(
        Transition(job=job, old="queued", new="queued", because="", attempts=1, at=at)
        for _ in range(count)
    )


def make_events(count: int, *, at, handled: bool, start: int = 0) -> None:
    InboxEvent.objects.bulk_create(
        InboxEvent(
            gateway_event_id=f"evt_{start + n}",
            body=b"{}",
            received_at=at,
            handled_at=at if handled else None,
            due_at=None,
        )
        for n in range(count)
    )


def make_guests(count: int, *, at, with_item: bool = False) -> list[User]:
    guests = User.objects.bulk_create(User(is_guest=True, created_at=at) for _ in range(count))
    kept = Cart.objects.bulk_create(
        Cart(owner=guest, shown=0, created_at=at, updated_at=at) for guest in guests
    )
    if with_item:
        variant = make_variant()
        CartItem.objects.bulk_create(
            CartItem(cart=cart, variant=variant, quantity=1) for cart in kept
        )
    return guests


@pytest.fixture
def kept(now) -> CheckoutJob:
    """Many old rows that stay: an open checkout, webhooks given up, buyers with checkouts."""
    job = make_checkout(now=now)
    make_transitions(job, KEPT, at=now)
    make_events(KEPT, at=now, handled=False)
    accounts = User.objects.bulk_create(
        User(email=f"{n}@example.com", created_at=now) for n in range(KEPT)
    )
    Cart.objects.bulk_create(
        Cart(owner=account, shown=0, created_at=now, updated_at=now) for account in accounts
    )
    analyze()
    return job


def test_a_run_reads_no_more_rows_than_its_bound_however_many_there_are(few, kept, now):
    later = now + OLD_AFTER
    for run in range(5):
        before = tuples_read()

        retention.prune_some(now=later + run * timedelta(minutes=1))

        read = {table: rows - before.get(table, 0) for table, rows in tuples_read().items()}
        assert max(read.values()) <= 4 * READ_AT_ONCE, read  # each row a few times


def test_the_marks_move_though_every_run_deletes_something(few, kept, now):
    """Every minute a row becomes old, behind a thousand rows that stay."""
    ended = make_checkout(now=now)
    CheckoutJob.objects.filter(pk=ended.pk).update(state="cancelled", due_at=None)
    for minute in range(60):
        at = now + minute * timedelta(minutes=1)
        make_transitions(ended, 1, at=at)
        make_events(1, at=at, handled=True, start=KEPT + minute)
    analyze()

    for minute in range(60):
        retention.prune_some(now=now + OLD_AFTER + minute * timedelta(minutes=1))

    assert Transition.objects.filter(job=ended).count() <= 1  # the youngest may not be old yet
    assert InboxEvent.objects.exclude(body=b"").filter(handled_at__isnull=False).count() <= 1


def test_rows_that_were_read_once_are_not_read_again(few, kept, now):
    later = now + OLD_AFTER
    for _ in range(2 * KEPT // READ_AT_ONCE):
        retention.prune_some(now=later)
    before = tuples_read()

    retention.prune_some(now=later)

    read = tuples_read()
    assert read["shop_transition"] == before["shop_transition"]
    assert read["shop_inboxevent"] == before["shop_inboxevent"]


def test_guests_and_carts_are_read_in_rounds(few, kept, now):
    """A guest older than the mark is deleted too, once the cart is no longer in use."""
    [guest] = make_guests(1, at=now - DAY)
    Cart.objects.filter(owner=guest).update(updated_at=now + 20 * DAY)
    rounds = 4 * KEPT // READ_AT_ONCE
    for _ in range(rounds):
        retention.prune_some(now=now + 35 * DAY)
    assert User.objects.filter(pk=guest.pk).exists()

    for _ in range(rounds):
        retention.prune_some(now=now + 51 * DAY)

    assert not User.objects.filter(pk=guest.pk).exists()


def test_the_mark_stays_behind_a_row_that_is_only_a_little_younger(few, now):
    """Of two machines: the lower id has the later time. Neither row is skipped."""
    buyer = User.objects.create(email="asha@example.com", created_at=now)
    for seconds in (0, 2, 1):
        SyncEvent.objects.create(owner=buyer, kind="stale", at=now + timedelta(seconds=seconds))
    end = now + 30 * DAY

    counts = [
        retention.prune_some(now=end + timedelta(seconds=seconds))["sync events"]
        for seconds in (1.5, 2.5)
    ]

    assert sum(counts) == 3


def test_a_row_from_a_clock_far_ahead_does_not_stop_the_rule(few, now):
    buyer = User.objects.create(email="asha@example.com", created_at=now)
    SyncEvent.objects.create(owner=buyer, kind="stale", at=now + 1000 * DAY)
    last = SyncEvent.objects.create(owner=buyer, kind="stale", at=now)

    assert retention.prune_some(now=now + 31 * DAY)["sync events"] == 1
    assert retention.RetentionMark.objects.get(name="sync events").after_id == last.pk


def test_every_rule_works_on_more_rows_than_one_batch(few, now):
    job = make_checkout(now=now)
    CheckoutJob.objects.filter(pk=job.pk).update(state="cancelled", due_at=None)
    many = 3 * READ_AT_ONCE
    make_transitions(job, many, at=now)
    make_events(many, at=now, handled=True)
    FailedAttempt.objects.bulk_create(
        FailedAttempt(job=job, state="queued", number=1, error="", at=now) for _ in range(many)
    )
    IdempotencyKey.objects.bulk_create(
        IdempotencyKey(owner=job.owner, key=str(n), request_hash="", job=job, created_at=now)
        for n in range(many)
    )
    SyncEvent.objects.bulk_create(
        SyncEvent(owner=job.owner, kind="stale", at=now) for _ in range(many)
    )
    make_guests(many, at=now, with_item=True)

    deleted = retention.prune_all(now=now + OLD_AFTER)

    assert {name: rows for name, rows in deleted.items() if rows} == {
        "webhook bodies": many,
        "transitions": many,
        "failed attempts": many,
        "idempotency keys": many,
        "guests": many,
        "guest carts": 1,  # the buyer's who has a checkout
        "sync events": many,
    }
    assert not any(retention.prune_all(now=now + OLD_AFTER).values())


# --- locks ---------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_a_locked_row_is_deleted_by_a_later_run(services, now):
    make_events(3, at=now, handled=True)
    later = now + OLD_AFTER

    with locked(services, InboxEvent.objects.get(gateway_event_id="evt_1")):
        assert retention.prune_some(now=later)["webhook bodies"] == 2

    assert retention.prune_some(now=later)["webhook bodies"] == 1


@pytest.mark.django_db(transaction=True)
def test_two_sweepers_do_not_wait_for_each_other(services, now):
    make_events(3, at=now, handled=True)
    retention.prune_some(now=now)

    with locked(services, *retention.RetentionMark.objects.all()):
        assert retention.prune_some(now=now + OLD_AFTER) == {}

    assert retention.prune_some(now=now + OLD_AFTER)["webhook bodies"] == 3


# --- a failing rule ------------------------------------------------------------------------------


@pytest.fixture
def bad_rule(monkeypatch):
    """The rule for transitions raises; it runs before most others."""

    def refuse(ids):
        raise ProtectedError("something refers to it", set())

    rules = tuple(
        replace(rule, delete=refuse) if rule.name == "transitions" else rule
        for rule in retention.RULES
    )
    monkeypatch.setattr(retention, "RULES", rules)


def test_a_failing_rule_stops_no_other_and_records_since_when(bad_rule, now):
    job = make_checkout(now=now)
    CheckoutJob.objects.filter(pk=job.pk).update(state="cancelled", due_at=None)
    make_transitions(job, 1, at=now)
    make_guests(1, at=now)
    later = now + OLD_AFTER

    deleted = retention.prune_some(now=later)
    retention.prune_some(now=later + timedelta(minutes=1))

    assert deleted["guests"] == 1
    assert "transitions" not in deleted
    [failing] = retention.failing()
    assert (failing.name, failing.failing_since) == ("transitions", later)
    assert "ProtectedError: " in failing.error
    assert Transition.objects.exists()


def test_a_failing_rule_is_shown_on_the_operations_page_and_in_metrics(bad_rule, redis, now):
    job = make_checkout(now=now)
    CheckoutJob.objects.filter(pk=job.pk).update(state="cancelled", due_at=None)
    make_transitions(job, 1, at=now)
    retention.prune_some(now=now + OLD_AFTER)
    cache.forget()

    shown = metrics.exposition(now=now).decode()
    noticed = current.current(now=now)["attention"]

    assert 'pakka_retention_failing{rule="transitions"} 1.0' in shown
    assert 'pakka_retention_failing{rule="guests"} 0.0' in shown
    assert [
        row
        for row in noticed
        if row["text"].startswith("Retention of transitions fails: Protected")
    ]


def test_the_command_ends_with_an_error_if_a_rule_fails_after_all_others_ran(bad_rule, now):
    job = make_checkout(now=now)
    CheckoutJob.objects.filter(pk=job.pk).update(state="cancelled", due_at=None)
    make_transitions(job, 1, at=timezone.now() - OLD_AFTER)
    make_guests(1, at=timezone.now() - OLD_AFTER)

    with pytest.raises(CommandError, match="transitions"):
        call_command("prune", stdout=StringIO())

    assert User.objects.count() == 1  # the buyer who has a checkout


def test_a_rule_that_works_again_is_no_longer_failing(bad_rule, monkeypatch, now):
    job = make_checkout(now=now)
    CheckoutJob.objects.filter(pk=job.pk).update(state="cancelled", due_at=None)
    make_transitions(job, 1, at=now)
    retention.prune_some(now=now + OLD_AFTER)
    monkeypatch.undo()

    assert retention.prune_some(now=now + OLD_AFTER)["transitions"] == 1

    assert not retention.failing()


def test_an_emptied_cart_is_empty_for_its_owner_too(now):
    job = make_checkout(now=now)

    retention.prune_all(now=now + OLD_AFTER)

    cart = carts.contents(job.owner_id)
    assert cart.lines == ()
    assert cart.shown == cart.checksum
