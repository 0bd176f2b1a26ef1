"""`manage.py audit` finds each kind of difference, and none in a shop without one."""

from datetime import UTC, datetime, timedelta

import pytest
from django.core.management import CommandError, call_command
from django.db.models import F
from django.db.utils import Error

from shop.accounts import User
from shop.checkout import start
from shop.checkout.jobs import CheckoutJob
from shop.checkout.states import State
from shop.checkout.steps.reconcile_webhook import ReconcileWebhook
from shop.checkout.steps.send_refunds import SendRefunds
from shop.operations import actions, books
from shop.operations.audit_log import ActionRequest
from shop.orders import Order, OrderLine
from shop.payments import cases
from shop.payments.cases import CaseKind
from shop.payments.ledger import GatewayOrder, Payment
from shop.payments.refunds import Refund, RefundReason
from shop.stock import StockLevel
from tests.support.events import deliver
from tests.support.payments import pay_and_poll
from tests.support.shop import (
    make_checkout,
    make_payable,
    place_order,
    reload,
    run,
    run_remote,
)

pytestmark = pytest.mark.django_db


@pytest.fixture
def paid(gateway, standin, now):
    job = make_payable(make_checkout(now=now), gateway, now=now)
    pay_and_poll(job, gateway, standin, now=now)
    return reload(job)


@pytest.fixture
def person():
    return User.objects.create_superuser("asha@example.com", "x")


def differences():
    return [(found.book, found.subject, found.text) for found in books.differences()]


# --- no differences ------------------------------------------------------------------------------


def test_the_books_agree_whatever_has_happened(paid, gateway, standin, settings, person, now):
    """Paid, cancelled, about to expire, paid twice, paid late, in review, accepted, refunded."""
    by = lambda: ActionRequest(person.pk, "a test", now)  # noqa: E731
    actions.refund(paid.order, amount_paise=100, by=by())
    place_order(make_checkout(now=now), now=now)
    make_payable(make_checkout(now=now), gateway, now=now)
    cancelled = make_payable(make_checkout(now=now), gateway, now=now)
    start.cancel(owner_id=cancelled.owner_id, job_id=cancelled.pk, now=now)
    settings.LATE_PAYMENT = "refund"
    pay_and_poll(cancelled, gateway, standin, now=now)
    for decide in (actions.accept_money, actions.refund_all, None):
        job = make_payable(make_checkout(now=now), gateway, now=now)
        row = GatewayOrder.objects.get(order=job.order)
        deliver(standin.pay(row.gateway_order_id), amount=12_345, now=now)
        run(ReconcileWebhook(), now=now)
        if decide:
            decide(job.pk, by=by())
    assert differences() == []

    run_remote(SendRefunds(), gateway, now=now)

    assert {State.PAID, State.REFUNDED, State.IN_REVIEW} < set(
        CheckoutJob.objects.values_list("state", flat=True)
    )
    assert differences() == []
    [totals] = books.totals()
    assert totals.undecided_paise == 12_345  # in review
    assert totals.captured_paise == sum(Payment.objects.values_list("amount_paise", flat=True))
    assert totals.refunded_paise == 100 + cancelled.amount_paise + 12_345


# --- units ---------------------------------------------------------------------------------------


def test_units_that_nobody_holds_are_found(paid):
    StockLevel.objects.update(held=2)

    sku = StockLevel.objects.get().variant.sku
    assert differences() == [("stock", sku, "2 units are held, but orders hold 0")]


@pytest.mark.parametrize("state", ["held", "released"])
def test_units_of_a_paid_order_that_are_not_sold_are_found(state, paid):
    Order.objects.update(stock_state=state)

    found = [row for row in differences() if row[1] == paid.order.number]
    assert found == [
        ("stock", paid.order.number, f"its units are {state}, but its checkout is paid")
    ]


def test_an_order_without_a_checkout_is_found(paid):
    CheckoutJob.objects.update(order=None)

    assert ("stock", paid.order.number, "its units are sold, but its checkout is missing") in (
        differences()
    )


@pytest.mark.parametrize(
    "wrong", [Order, CheckoutJob, OrderLine], ids=["order", "checkout", "lines"]
)
def test_an_order_whose_amount_is_not_that_of_its_checkout_and_its_lines_is_found(wrong, paid):
    column = "unit_price_paise" if wrong is OrderLine else "amount_paise"
    wrong.objects.update(**{column: F(column) - 100})

    found = [text for book, subject, text in differences() if subject == paid.order.number]
    assert [text for text in found if text.startswith("it asks for")]


# --- money ---------------------------------------------------------------------------------------


def test_an_order_that_nobody_paid_is_found(paid):
    Payment.objects.update(status="failed")

    assert differences() == [("money", paid.order.number, "paid without a captured payment")]


def test_an_order_paid_with_another_amount_that_nobody_accepted_is_found(paid):
    Payment.objects.update(amount_paise=paid.amount_paise - 1)

    [(_, subject, text)] = differences()
    assert (subject, "differs from its amount of ₹22,488.96" in text) == (paid.order.number, True)


@pytest.mark.parametrize(
    "state", [State.FAILED, State.CANCELLED, State.EXPIRED, State.REFUNDING, State.REFUNDED]
)
def test_money_without_an_order_is_found(state, paid):
    CheckoutJob.objects.update(state=state, error_code="x")
    Order.objects.update(stock_state="released", paid_by="", paid_at=None)

    [(_, subject, text)] = differences()
    assert subject == Payment.objects.get().gateway_payment_id
    assert f"₹22,488.96 of it neither pays {paid.order.number} ({state})" in text


def test_money_with_an_open_case_is_no_difference(paid, now):
    CheckoutJob.objects.update(state=State.CANCELLED)
    Order.objects.update(stock_state="released", paid_by="", paid_at=None)
    cases.open_cases([cases.Open(paid.order_id, CaseKind.CONFLICT, "pay", "look")], now=now)

    assert differences() == []


def test_more_refunds_than_was_paid_are_found(paid, now):
    Refund.objects.create(
        payment=Payment.objects.get(), amount_paise=paid.amount_paise + 1, key="k",
        reason=RefundReason.REQUESTED, status="processed", created_at=now, updated_at=now,
    )  # fmt: skip

    assert [text for _, _, text in differences()] == ["₹22,488.97 is refunded of ₹22,488.96"]


def test_a_refund_that_only_razorpay_knows_is_found(paid):
    Payment.objects.update(amount_refunded_paise=500)

    assert [text for _, _, text in differences()] == [
        "Razorpay refunded ₹5.00, but we know of ₹0.00"
    ]


@pytest.mark.django_db(transaction=True)
def test_an_audit_writes_nothing():
    with pytest.raises(Error, match="read-only"), books.snapshot():
        User.objects.create(email="ghost@example.com")


def test_an_audit_costs_the_same_for_one_order_and_for_many(
    paid, gateway, standin, now, django_assert_num_queries, django_assert_max_num_queries
):
    with django_assert_max_num_queries(8) as counted:
        list(books.differences())
    for _ in range(3):
        job = make_payable(make_checkout(now=now), gateway, now=now)
        pay_and_poll(job, gateway, standin, now=now)

    with django_assert_num_queries(len(counted)):
        list(books.differences())


# --- Razorpay's list -----------------------------------------------------------------------------


def compared(gateway, standin):
    """Compare twenty minutes later, when the payments are old enough."""
    span = books.MIN_PAYMENT_AGE + timedelta(minutes=10)
    made = datetime.fromtimestamp(standin.payments()[0]["created_at"], tz=UTC)
    found = books.gateway_differences(gateway, since=made - timedelta(hours=1), now=made + span)
    return [(row.subject, row.text) for row in found]


def test_a_list_of_our_payments_has_no_differences(paid, gateway, standin):
    assert compared(gateway, standin) == []


def test_a_captured_payment_that_we_do_not_know_is_found(gateway, standin, now):
    job = make_payable(make_checkout(now=now), gateway, now=now)
    order_id = GatewayOrder.objects.get(order=job.order).gateway_order_id
    payment = standin.pay(order_id)

    assert compared(gateway, standin) == [
        (payment["id"], f"captured at Razorpay for {order_id}, unknown here")
    ]


def test_an_order_of_our_numbering_that_we_do_not_know_is_found(paid, gateway, standin):
    duplicate = gateway.create_order(receipt="PK-261122-LOST", amount_paise=5000, currency="INR")
    other = gateway.create_order(receipt="T-SHIRT-1", amount_paise=5000, currency="INR")
    standin.pay(other.id)
    payment = standin.pay(duplicate.id)

    assert [subject for subject, _ in compared(gateway, standin)] == [payment["id"]]


def test_a_failed_payment_in_the_list_is_no_difference(gateway, standin, now):
    job = make_payable(make_checkout(now=now), gateway, now=now)
    standin.pay(GatewayOrder.objects.get(order=job.order).gateway_order_id, outcome="failed")

    assert compared(gateway, standin) == []


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"status": "failed"}, "captured at Razorpay, failed here"),
        ({"amount_paise": 1}, "2248896 INR at Razorpay, 1 INR here (in minor units)"),
        ({"currency": "USD"}, "2248896 INR at Razorpay, 2248896 USD here (in minor units)"),
    ],
)
def test_a_payment_that_differs_is_found(changes, text, paid, gateway, standin):
    Payment.objects.update(**changes)

    assert [found for _, found in compared(gateway, standin)] == [text]


def test_a_refund_in_the_list_alone_is_found(paid, gateway, standin):
    payment_id = Payment.objects.get().gateway_payment_id
    gateway.refund(gateway_payment_id=payment_id, amount_paise=700, key="by-hand-there")

    assert compared(gateway, standin) == [
        (payment_id, "₹7.00 of it refunded at Razorpay, ₹0.00 here")
    ]


def test_a_long_list_is_read_page_by_page(paid, gateway, standin, monkeypatch):
    monkeypatch.setattr(books, "PAGE_SIZE", 2)
    unknown = gateway.create_order(receipt="PK-261122-LOST", amount_paise=5000, currency="INR")
    for _ in range(4):
        standin.pay(unknown.id, outcome="failed")
    paid_there = standin.pay(unknown.id)

    assert [subject for subject, _ in compared(gateway, standin)] == [paid_there["id"]]
    assert standin.requests()["payments.list"]["200"] == 4


# --- the command ---------------------------------------------------------------------------------


def test_the_command_says_that_the_books_agree(paid, capsys):
    call_command("audit")

    printed = capsys.readouterr().out
    assert "captured ₹22,488.96 = paid orders ₹22,488.96 + refunds in progress ₹0.00" in printed
    assert printed.endswith("the books agree\n")


def test_the_command_fails_over_a_difference(paid, capsys):
    StockLevel.objects.update(held=2)

    with pytest.raises(SystemExit) as ended:
        call_command("audit")

    assert ended.value.code == 1
    assert "2 units are held, but orders hold 0\n" in capsys.readouterr().out


def test_the_command_asks_razorpay(paid, gateway, monkeypatch, capsys):
    monkeypatch.setattr("shop.management.commands.audit.gateway", lambda: gateway)
    monkeypatch.setattr(books, "MIN_PAYMENT_AGE", timedelta(minutes=-1))  # it was paid a moment ago
    Payment.objects.update(currency="USD")
    Order.objects.update(currency="USD")

    with pytest.raises(SystemExit):
        call_command("audit", "--gateway", "--since", "2020-01-01")

    assert "2248896 INR at Razorpay, 2248896 USD here" in capsys.readouterr().out


@pytest.mark.parametrize("since", ["yesterday", "2026-13-01", "22/11/2026"])
def test_an_invalid_time_is_refused(since):
    with pytest.raises(CommandError, match="--since"):
        call_command("audit", "--gateway", "--since", since)


def test_the_command_fails_if_razorpay_does_not_answer(paid, gateway, standin, monkeypatch):
    monkeypatch.setattr("shop.management.commands.audit.gateway", lambda: gateway)
    standin.set_faults({"kind": "server_error", "route": "payments.list", "count": None})

    with pytest.raises(CommandError, match="could not be read"):
        call_command("audit", "--gateway")
