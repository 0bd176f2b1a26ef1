"""What retention deletes, and what it never deletes."""

import threading
from datetime import timedelta
from io import StringIO

import pytest
from django.contrib.sessions.models import Session
from django.core.management import call_command
from django.db import connection, transaction
from django.utils import timezone

from shop import carts
from shop.accounts import User
from shop.cart_sync import SyncEvent
from shop.carts import Cart, CartItem
from shop.checkout import snapshots, start, status
from shop.checkout.failed_attempts import FailedAttempt
from shop.checkout.guests import merge_guest
from shop.checkout.jobs import CheckoutJob, Transition
from shop.checkout.start import IdempotencyKey
from shop.checkout.steps.reconcile_webhook import ReconcileWebhook
from shop.operations import retention
from shop.operations.audit_log import Action, ActionRequest, record
from shop.orders import Order
from shop.payments import cases, inbox
from shop.payments.inbox import InboxEvent
from shop.payments.ledger import GatewayOrder, Payment
from tests.support.events import deliver
from tests.support.shop import (
    fill_cart,
    make_buyer,
    make_checkout,
    make_payable,
    make_variant,
    place_order,
    post_checkout,
    run,
)
from workers.sweeper import PERIODIC_JOBS

pytestmark = pytest.mark.django_db

DAY = timedelta(days=1)


def cancelled(*, now, key=""):
    buyer = make_buyer(now=now)
    fill_cart(buyer, make_variant(), now=now)
    job = place_order(post_checkout(buyer, now=now, key=key), now=now)
    return _cancel(job, now=now)


def _cancel(job: CheckoutJob, *, now) -> CheckoutJob:
    return start.cancel(owner_id=job.owner_id, job_id=job.pk, now=now)


def paid(gateway, standin, *, now):
    job = make_payable(make_checkout(now=now), gateway, now=now)
    payment = standin.pay(GatewayOrder.objects.get(order=job.order).gateway_order_id)
    deliver(payment, now=now)
    run(ReconcileWebhook(), now=now)
    return job


def prune(days: float, *, now) -> dict[str, int]:
    """Run all rules this many days later; the counts that are not 0."""
    found = retention.prune_all(now=now + timedelta(days=days))
    return {name: rows for name, rows in found.items() if rows}


# --- money ---------------------------------------------------------------------------------------


def test_only_the_key_and_the_webhook_bodies_of_a_paid_checkout_are_deleted(gateway, standin, now):
    job = paid(gateway, standin, now=now)
    count = job.transitions.count()

    deleted = prune(10_000, now=now)

    assert set(deleted) == {"webhook bodies"}
    assert job.transitions.count() == count == 4
    assert Order.objects.filter(checkout=job).exists()
    assert Payment.objects.exists()
    assert InboxEvent.objects.exists()
    assert User.objects.filter(pk=job.owner_id).exists()


@pytest.mark.parametrize("status_of_payment", ["failed", "captured"])
def test_transitions_stay_where_there_was_a_payment(gateway, now, status_of_payment):
    job = make_payable(make_checkout(now=now), gateway, now=now)
    Payment.objects.create(
        gateway_payment_id="pay_1",
        gateway_order=GatewayOrder.objects.get(order=job.order),
        amount_paise=100,
        currency="INR",
        status=status_of_payment,
        first_reported_via="fetch",
        created_at=now,
        updated_at=now,
    )
    CheckoutJob.objects.filter(pk=job.pk).update(state="expired", due_at=None)

    assert "transitions" not in prune(1000, now=now)


def test_transitions_stay_where_there_was_a_case(now):
    job = cancelled(now=now)
    case = cases.Open(job.order_id, cases.CaseKind.CONFLICT, "pay_1", "what is this?")
    cases.open_cases([case], now=now)

    assert "transitions" not in prune(1000, now=now)


def test_transitions_stay_where_there_was_a_staff_action(now):
    job = cancelled(now=now)
    staff = User.objects.create(email="ops@example.com", is_staff=True)
    by = ActionRequest(by_id=staff.pk, reason="asked to", now=now)
    record(by, Action.CANCEL, subject="a checkout", outcome="cancelled", checkout_id=job.pk)

    assert "transitions" not in prune(1000, now=now)


# --- transitions ---------------------------------------------------------------------------------


def test_the_transitions_of_an_unpaid_checkout_are_deleted_when_old(now):
    job = cancelled(now=now)

    assert "transitions" not in prune(179, now=now)
    assert prune(181, now=now)["transitions"] == 3

    assert CheckoutJob.objects.filter(pk=job.pk).exists()
    assert prune(181, now=now) == {}


def test_failed_attempts_are_deleted_with_the_transitions(now):
    job = cancelled(now=now)
    FailedAttempt.objects.create(job=job, state="queued", number=1, error="a bug", at=now)

    assert "failed attempts" not in prune(179, now=now)
    assert prune(181, now=now)["failed attempts"] == 1


def test_a_checkout_without_transitions_can_still_be_read(now):
    job = cancelled(now=now)
    Transition.objects.all().delete()

    shown = status.resource(snapshots.read(job.pk, owner_id=job.owner_id), key_id="k", now=now)

    assert shown["status"] == "cancelled"


def test_open_checkouts_keep_their_transitions(now):
    place_order(make_checkout(now=now), now=now)

    assert "transitions" not in prune(1000, now=now)


# --- webhooks ------------------------------------------------------------------------------------


def test_bodies_of_handled_webhooks_are_deleted_and_the_rows_stay(now):
    event_id = deliver({"id": "pay_1", "status": "captured"}, now=now)
    InboxEvent.objects.update(handled_at=now, due_at=None)

    assert prune(89, now=now) == {}
    assert prune(91, now=now) == {"webhook bodies": 1}

    assert bytes(InboxEvent.objects.get().body) == b""
    assert not inbox.receive(event_id=event_id, body=b"again", now=now + 91 * DAY)
    assert prune(91, now=now) == {}


@pytest.mark.parametrize("given_up", [True, False])
def test_the_body_of_a_webhook_that_was_not_handled_stays(now, given_up):
    deliver({"id": "pay_1", "status": "captured"}, now=now)
    if given_up:
        InboxEvent.objects.update(due_at=None)

    assert prune(1000, now=now) == {}


# --- buyers --------------------------------------------------------------------------------------


def test_an_old_key_is_deleted_and_its_checkout_stays(now):
    job = cancelled(now=now, key="k")

    assert "idempotency keys" not in prune(29, now=now)
    assert prune(31, now=now)["idempotency keys"] == 1

    assert not IdempotencyKey.objects.exists()
    assert CheckoutJob.objects.filter(pk=job.pk).exists()


def test_guests_who_never_checked_out_are_deleted_with_their_carts(now):
    fill_cart(make_buyer(now=now), make_variant(), now=now)
    make_buyer(now=now)

    assert prune(29, now=now) == {}
    assert prune(31, now=now) == {"guests": 2}

    assert not User.objects.exists()
    assert not CartItem.objects.exists()


def test_a_guest_whose_cart_is_in_use_stays(now):
    guest = make_buyer(now=now)
    fill_cart(guest, make_variant(), now=now + 5 * DAY)

    assert "guests" not in prune(31, now=now)


def test_a_guest_whose_cart_was_in_use_for_days_is_deleted_later(now):
    guest = make_buyer(now=now)
    fill_cart(guest, make_variant(), now=now + 5 * DAY)

    for days in (31, 33, 34.9):  # the mark moves on in between
        assert prune(days, now=now) == {}
    assert prune(35.1, now=now) == {"guests": 1}

    assert not User.objects.exists()


def test_a_guest_who_checked_out_stays_with_an_empty_cart(now):
    job = cancelled(now=now)
    version = Cart.objects.get().version

    assert prune(31, now=now)["guest carts"] == 1

    assert User.objects.filter(pk=job.owner_id).exists()
    assert carts.contents(job.owner_id).lines == ()
    assert carts.contents(job.owner_id).version == version + 1
    assert prune(31, now=now) == {}


def test_a_guest_whose_checkout_has_no_order_stays(now):
    job = _cancel(make_checkout(now=now), now=now)

    prune(31, now=now)

    assert job.order_id is None
    assert User.objects.filter(pk=job.owner_id).exists()


@pytest.mark.parametrize("has_order", [True, False])
def test_a_guest_who_signed_in_stays_if_a_checkout_refers_to_their_cart(now, has_order):
    guest = make_buyer(now=now)
    fill_cart(guest, make_variant(), now=now)
    job = post_checkout(guest, now=now, key="k")
    if has_order:
        place_order(job, now=now)
    account = User.objects.create(email="asha@example.com", created_at=now)
    merge_guest(guest_id=guest.pk, into_id=account.pk, now=now)
    _cancel(CheckoutJob.objects.get(), now=now)
    stranger = make_buyer(now=now)

    deleted = prune(31, now=now)

    assert deleted["guests"] == 1
    assert not User.objects.filter(pk=stranger.pk).exists()
    assert CheckoutJob.objects.get().cart.owner_id == guest.pk


def test_a_guest_who_signed_in_without_a_checkout_is_deleted(now):
    """An idempotency key that the account used before belongs to the guest still."""
    account = User.objects.create(email="asha@example.com", created_at=now)
    fill_cart(account, make_variant(), now=now)
    job = _cancel(post_checkout(account, now=now, key="k"), now=now)
    guest = make_buyer(now=now)
    fill_cart(guest, make_variant(), now=now)
    late = now + 5 * DAY
    IdempotencyKey.objects.create(owner=guest, key="k", request_hash="", job=job, created_at=late)
    SyncEvent.objects.create(owner=guest, kind="stale", at=late)
    merge_guest(guest_id=guest.pk, into_id=account.pk, now=now)

    assert prune(31, now=now)["guests"] == 1

    assert not User.objects.filter(pk=guest.pk).exists()
    assert not SyncEvent.objects.exists()
    assert CheckoutJob.objects.filter(pk=job.pk).exists()


def test_a_guest_who_is_in_the_audit_log_stays(now):
    guest = make_buyer(now=now)
    record(ActionRequest(guest.pk, "was staff then", now), Action.RETRY, subject="a checkout",
         outcome="due now", checkout_id=None)  # fmt: skip

    assert prune(31, now=now) == {}

    assert not retention.failing()
    assert User.objects.filter(pk=guest.pk).exists()


def test_accounts_and_their_carts_are_never_deleted(now):
    account = User.objects.create(email="asha@example.com", created_at=now)
    fill_cart(account, make_variant(), now=now)

    assert prune(10_000, now=now) == {}


# --- the rest ------------------------------------------------------------------------------------


def test_old_sync_events_are_deleted(now):
    account = User.objects.create(email="asha@example.com", created_at=now)
    SyncEvent.objects.create(owner=account, kind="stale", at=now)

    assert prune(29, now=now) == {}
    assert prune(31, now=now) == {"sync events": 1}


def test_sessions_are_deleted_when_they_have_ended(now):
    Session.objects.create(session_key="old", session_data="", expire_date=now)
    Session.objects.create(session_key="new", session_data="", expire_date=now + 2 * DAY)

    assert prune(1, now=now) == {"sessions": 1}
    assert Session.objects.get().session_key == "new"


def test_a_batch_is_bounded(now, monkeypatch):
    monkeypatch.setattr(retention, "BATCH_ROWS", 2)
    for _ in range(5):
        make_buyer(now=now)
    later = now + 31 * DAY

    counts = [retention.prune_some(now=later)["guests"] for _ in range(4)]

    assert counts == [2, 2, 1, 0]


def test_the_command_prints_what_it_deleted(now):
    Session.objects.create(session_key="old", session_data="", expire_date=timezone.now() - DAY)
    said = StringIO()

    call_command("prune", stdout=said)

    assert "sessions: 1" in said.getvalue().splitlines()
    assert "transitions: 0" in said.getvalue().splitlines()


def test_the_sweeper_prunes():
    assert retention.prune_some in [job for _, job in PERIODIC_JOBS]


# --- locks ---------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_locked_rows_are_skipped_and_read_again(now):
    guest = make_buyer(now=now)
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with transaction.atomic():
            User.objects.select_for_update().get(pk=guest.pk)
            held.set()
            assert done.wait(30)
        connection.close()

    holder = threading.Thread(target=hold)
    holder.start()
    assert held.wait(30)
    try:
        assert prune(31, now=now) == {}
    finally:
        done.set()
        holder.join()

    assert prune(31, now=now) == {"guests": 1}
