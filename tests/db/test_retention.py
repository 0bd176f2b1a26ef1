"""What is forgotten, and what never is."""

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


def forget(days: float, *, now) -> dict[str, int]:
    """So many days later; the counts that are not 0."""
    found = retention.prune_all(now=now + timedelta(days=days))
    return {name: rows for name, rows in found.items() if rows}


# --- money ---------------------------------------------------------------------------------------


def test_nothing_of_a_paid_checkout_is_ever_forgotten_but_its_key_and_bytes(gateway, standin, now):
    job = paid(gateway, standin, now=now)
    moves = job.transitions.count()

    forgotten = forget(10_000, now=now)

    assert set(forgotten) == {"webhook bodies"}
    assert job.transitions.count() == moves == 4
    assert Order.objects.filter(checkout=job).exists()
    assert Payment.objects.exists()
    assert InboxEvent.objects.exists()
    assert User.objects.filter(pk=job.owner_id).exists()


@pytest.mark.parametrize("status_of_payment", ["failed", "captured"])
def test_moves_stay_where_there_was_a_payment(gateway, now, status_of_payment):
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

    assert "moves" not in forget(1000, now=now)


def test_moves_stay_where_there_was_a_case(now):
    job = cancelled(now=now)
    case = cases.Open(job.order_id, cases.CaseKind.CONFLICT, "pay_1", "what is this?")
    cases.open_cases([case], now=now)

    assert "moves" not in forget(1000, now=now)


def test_moves_stay_where_a_person_did_something(now):
    job = cancelled(now=now)
    staff = User.objects.create(email="ops@example.com", is_staff=True)
    by = ActionRequest(by_id=staff.pk, reason="asked to", now=now)
    record(by, Action.CANCEL, subject="a checkout", outcome="cancelled", checkout_id=job.pk)

    assert "moves" not in forget(1000, now=now)


# --- moves ---------------------------------------------------------------------------------------


def test_the_moves_of_an_unpaid_end_go_when_their_time_has_come(now):
    job = cancelled(now=now)

    assert "moves" not in forget(179, now=now)
    assert forget(181, now=now)["moves"] == 3

    assert CheckoutJob.objects.filter(pk=job.pk).exists()
    assert forget(181, now=now) == {}


def test_why_attempts_failed_goes_with_the_moves(now):
    job = cancelled(now=now)
    FailedAttempt.objects.create(job=job, state="queued", number=1, error="a bug", at=now)

    assert "failed attempts" not in forget(179, now=now)
    assert forget(181, now=now)["failed attempts"] == 1


def test_a_checkout_without_moves_can_still_be_read(now):
    job = cancelled(now=now)
    Transition.objects.all().delete()

    shown = status.resource(snapshots.read(job.pk, owner_id=job.owner_id), key_id="k", now=now)

    assert shown["status"] == "cancelled"


def test_open_checkouts_keep_their_moves(now):
    place_order(make_checkout(now=now), now=now)

    assert "moves" not in forget(1000, now=now)


# --- webhooks ------------------------------------------------------------------------------------


def test_the_bytes_of_handled_webhooks_go_and_the_row_stays(now):
    event_id = deliver({"id": "pay_1", "status": "captured"}, now=now)
    InboxEvent.objects.update(handled_at=now, due_at=None)

    assert forget(89, now=now) == {}
    assert forget(91, now=now) == {"webhook bodies": 1}

    assert bytes(InboxEvent.objects.get().body) == b""
    assert not inbox.receive(event_id=event_id, body=b"again", now=now + 91 * DAY)
    assert forget(91, now=now) == {}


@pytest.mark.parametrize("given_up", [True, False])
def test_the_bytes_of_a_webhook_that_was_not_handled_stay(now, given_up):
    deliver({"id": "pay_1", "status": "captured"}, now=now)
    if given_up:
        InboxEvent.objects.update(due_at=None)

    assert forget(1000, now=now) == {}


# --- buyers --------------------------------------------------------------------------------------


def test_an_old_key_is_forgotten_and_its_checkout_kept(now):
    job = cancelled(now=now, key="k")

    assert "idempotency keys" not in forget(29, now=now)
    assert forget(31, now=now)["idempotency keys"] == 1

    assert not IdempotencyKey.objects.exists()
    assert CheckoutJob.objects.filter(pk=job.pk).exists()


def test_guests_who_never_checked_out_go_with_their_carts(now):
    fill_cart(make_buyer(now=now), make_variant(), now=now)
    make_buyer(now=now)

    assert forget(29, now=now) == {}
    assert forget(31, now=now) == {"guests": 2}

    assert not User.objects.exists()
    assert not CartItem.objects.exists()


def test_a_guest_whose_cart_is_in_use_stays(now):
    guest = make_buyer(now=now)
    fill_cart(guest, make_variant(), now=now + 5 * DAY)

    assert "guests" not in forget(31, now=now)


def test_a_guest_whose_cart_was_in_use_for_days_goes_that_much_later(now):
    guest = make_buyer(now=now)
    fill_cart(guest, make_variant(), now=now + 5 * DAY)

    for days in (31, 33, 34.9):  # the mark moves on meanwhile
        assert forget(days, now=now) == {}
    assert forget(35.1, now=now) == {"guests": 1}

    assert not User.objects.exists()


def test_a_guest_who_checked_out_stays_with_an_empty_cart(now):
    job = cancelled(now=now)
    version = Cart.objects.get().version

    assert forget(31, now=now)["guest carts"] == 1

    assert User.objects.filter(pk=job.owner_id).exists()
    assert carts.contents(job.owner_id).lines == ()
    assert carts.contents(job.owner_id).version == version + 1
    assert forget(31, now=now) == {}


def test_a_guest_whose_checkout_came_to_no_order_stays(now):
    job = _cancel(make_checkout(now=now), now=now)

    forget(31, now=now)

    assert job.order_id is None
    assert User.objects.filter(pk=job.owner_id).exists()


@pytest.mark.parametrize("has_order", [True, False])
def test_a_guest_who_signed_in_stays_if_a_checkout_names_their_cart(now, has_order):
    guest = make_buyer(now=now)
    fill_cart(guest, make_variant(), now=now)
    job = post_checkout(guest, now=now, key="k")
    if has_order:
        place_order(job, now=now)
    account = User.objects.create(email="asha@example.com", created_at=now)
    merge_guest(guest_id=guest.pk, into_id=account.pk, now=now)
    _cancel(CheckoutJob.objects.get(), now=now)
    stranger = make_buyer(now=now)

    forgotten = forget(31, now=now)

    assert forgotten["guests"] == 1
    assert not User.objects.filter(pk=stranger.pk).exists()
    assert CheckoutJob.objects.get().cart.owner_id == guest.pk


def test_a_guest_who_signed_in_without_a_checkout_goes_with_all_that_is_left(now):
    """A key that the account had used before stays with the guest, and refers to the checkout."""
    account = User.objects.create(email="asha@example.com", created_at=now)
    fill_cart(account, make_variant(), now=now)
    job = _cancel(post_checkout(account, now=now, key="k"), now=now)
    guest = make_buyer(now=now)
    fill_cart(guest, make_variant(), now=now)
    late = now + 5 * DAY
    IdempotencyKey.objects.create(owner=guest, key="k", request_hash="", job=job, created_at=late)
    SyncEvent.objects.create(owner=guest, kind="stale", at=late)
    merge_guest(guest_id=guest.pk, into_id=account.pk, now=now)

    assert forget(31, now=now)["guests"] == 1

    assert not User.objects.filter(pk=guest.pk).exists()
    assert not SyncEvent.objects.exists()
    assert CheckoutJob.objects.filter(pk=job.pk).exists()


def test_a_guest_who_is_named_in_what_people_did_stays(now):
    guest = make_buyer(now=now)
    record(ActionRequest(guest.pk, "was staff then", now), Action.RETRY, subject="a checkout",
         outcome="due now", checkout_id=None)  # fmt: skip

    assert forget(31, now=now) == {}

    assert not retention.failing()
    assert User.objects.filter(pk=guest.pk).exists()


def test_accounts_and_their_carts_are_never_forgotten(now):
    account = User.objects.create(email="asha@example.com", created_at=now)
    fill_cart(account, make_variant(), now=now)

    assert forget(10_000, now=now) == {}


# --- the rest ------------------------------------------------------------------------------------


def test_sync_events_go(now):
    account = User.objects.create(email="asha@example.com", created_at=now)
    SyncEvent.objects.create(owner=account, kind="stale", at=now)

    assert forget(29, now=now) == {}
    assert forget(31, now=now) == {"sync events": 1}


def test_sessions_go_when_they_have_ended(now):
    Session.objects.create(session_key="old", session_data="", expire_date=now)
    Session.objects.create(session_key="new", session_data="", expire_date=now + 2 * DAY)

    assert forget(1, now=now) == {"sessions": 1}
    assert Session.objects.get().session_key == "new"


def test_a_batch_is_bounded(now, monkeypatch):
    monkeypatch.setattr(retention, "ROWS_LOOKED_AT", 2)
    for _ in range(5):
        make_buyer(now=now)
    later = now + 31 * DAY

    counts = [retention.prune_some(now=later)["guests"] for _ in range(4)]

    assert counts == [2, 2, 1, 0]


def test_the_command_prints_what_it_forgot(now):
    Session.objects.create(session_key="old", session_data="", expire_date=timezone.now() - DAY)
    said = StringIO()

    call_command("prune", stdout=said)

    assert "sessions: 1" in said.getvalue().splitlines()
    assert "moves: 0" in said.getvalue().splitlines()


def test_the_sweeper_prunes():
    assert retention.prune_some in [job for _, job in PERIODIC_JOBS]


# --- others at work ------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_rows_that_somebody_has_locked_are_passed_over_and_met_again(now):
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
        assert forget(31, now=now) == {}
    finally:
        done.set()
        holder.join()

    assert forget(31, now=now) == {"guests": 1}
