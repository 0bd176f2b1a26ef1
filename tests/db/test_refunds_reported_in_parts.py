"""Reports about refunds come in parts, twice or not at all; the rows end up right."""

import pytest

from shop.accounts import User
from shop.checkout.states import State
from shop.checkout.steps.check_payments import CheckPayments
from shop.checkout.steps.reconcile_webhook import ReconcileWebhook
from shop.checkout.steps.send_refunds import SendRefunds
from shop.operations import actions, books
from shop.operations.audit_log import ActionRequest
from shop.payments import cases, polling, refunds
from shop.payments.cases import Case
from shop.payments.ledger import GatewayOrder, Payment
from shop.payments.refunds import Refund, RefundReason
from tests.support.events import deliver
from tests.support.payments import pay_and_poll
from tests.support.shop import make_checkout, make_payable, reload, run, run_remote

pytestmark = pytest.mark.django_db

STEP = SendRefunds()


@pytest.fixture
def by(now):
    person = User.objects.create_superuser("asha@example.com", "x")
    return lambda: ActionRequest(person.pk, "the buyer asked for it", now)


@pytest.fixture
def paid(gateway, standin, now):
    job = make_payable(make_checkout(now=now), gateway, now=now)
    pay_and_poll(job, gateway, standin, now=now)
    return reload(job)


@pytest.fixture
def asked_for(paid, by):
    """Staff asks for a part; it is not sent yet."""
    return actions.refund(paid.order, amount_paise=50_000, by=by()).refund


def hear(standin, refund, *, now, **changes):
    [payment] = [it for it in standin.payments() if it["id"] == refund["payment_id"]]
    deliver(payment, name="refund.processed", refund=refund | changes, now=now)
    return run(ReconcileWebhook(), now=now)


def poll(job, gateway, *, now):
    polling.poll_now([job.order_id], now=now)
    run_remote(CheckPayments(), gateway, now=now)


def rows():
    found = Refund.objects.order_by("id").values_list("gateway_refund_id", "reason", "status")
    return list(found)


# --- the same refund, reported twice -------------------------------------------------------------


def test_a_refund_reported_without_its_receipt_and_then_with_it_is_one(
    asked_for, gateway, standin, now
):
    standin.set_faults({"kind": "reset", "route": "payments.refund", "when": "after"})
    run_remote(STEP, gateway, now=now)
    [refund] = standin.refunds()

    hear(standin, refund, receipt=None, now=now)
    hear(standin, refund, now=now)

    assert rows() == [(refund["id"], "requested", "processed")]
    assert Refund.objects.get().key == asked_for.key
    assert list(books.differences()) == []


def test_its_failure_is_one_case_under_our_key(asked_for, gateway, standin, now):
    standin.set_faults({"kind": "reset", "route": "payments.refund", "when": "after"})
    run_remote(STEP, gateway, now=now)
    [refund] = standin.refunds()
    standin.move_refund(refund["id"], "fail")
    [refund] = standin.refunds()

    hear(standin, refund, receipt=None, now=now)
    hear(standin, refund, now=now)

    assert rows() == [(refund["id"], "requested", "failed")]
    assert Case.objects.get().reference == asked_for.key


# --- more than we asked for ----------------------------------------------------------------------


@pytest.fixture
def sent_twice(asked_for, gateway, standin, now):
    """Razorpay made two refunds under one key of ours."""
    run_remote(STEP, gateway, now=now)
    [first] = standin.refunds()
    second = standin.move_payment(first["payment_id"], "refund", amount=50_000)
    hear(standin, second, receipt=first["receipt"], now=now)
    return second


def test_a_refund_sent_twice_is_a_difference_and_a_case(sent_twice, paid):
    assert rows()[1] == (sent_twice["id"], "twice", "processed")
    [found] = books.differences()
    assert found.subject == sent_twice["id"]
    assert "₹500.00 of pay_" in found.text
    assert found.text.endswith("was refunded twice")
    assert Case.objects.get().kind == "refund_twice"


def test_a_closed_case_settles_the_difference(sent_twice, by, now):
    by_id = by().by_id
    cases.close(Case.objects.all(), because="the buyer paid it back", by_id=by_id, now=now)

    assert list(books.differences()) == []


@pytest.mark.parametrize("receipt", ["0123456789abcdef0123456789abcdef", None])
def test_a_refund_that_resembles_ours_is_a_difference_too(
    receipt, asked_for, gateway, standin, now
):
    """It has a key of no row, or none and the amount of ours."""
    run_remote(STEP, gateway, now=now)
    [first] = standin.refunds()
    second = standin.move_payment(first["payment_id"], "refund", amount=50_000)

    hear(standin, second, receipt=receipt, now=now)

    assert [it.subject for it in books.differences()] == [second["id"]]


@pytest.mark.parametrize("receipt", ["credit note 7", None])
def test_a_refund_from_the_dashboard_is_shown_and_no_difference(receipt, paid, standin, now):
    [payment] = standin.payments()
    refund = standin.move_payment(payment["id"], "refund", amount=700)

    hear(standin, refund, receipt=receipt, now=now)

    assert list(books.differences()) == []
    assert books.external_refunds() == [books.ExternalRefunds("INR", 1, 700)]
    assert not Case.objects.exists()


# --- refunds that only the payment reports -------------------------------------------------------


def test_refunds_that_only_the_payment_reports_are_fetched(paid, gateway, standin, now):
    [payment] = standin.payments()
    made = [standin.move_payment(payment["id"], "refund", amount=paise) for paise in (300, 400)]

    poll(paid, gateway, now=now)
    assert refunds.refundable_paise([Payment.objects.get()]) == {
        Payment.objects.get().pk: paid.amount_paise - 700
    }
    assert list(books.differences()) == []
    run_remote(STEP, gateway, now=now)

    assert sorted(rows()) == sorted((it["id"], "elsewhere", "processed") for it in made)
    assert list(books.differences()) == []
    assert books.external_refunds() == [books.ExternalRefunds("INR", 2, 700)]


def test_an_amount_refunded_elsewhere_is_not_refunded_again(paid, gateway, standin, by, now):
    [payment] = standin.payments()
    standin.move_payment(payment["id"], "refund", amount=paid.amount_paise)
    poll(paid, gateway, now=now)

    with pytest.raises(refunds.RefundRefused):
        actions.refund(paid.order, amount_paise=100, by=by())


def test_fetching_refunds_is_retried_after_an_error(paid, gateway, standin, now):
    [payment] = standin.payments()
    standin.move_payment(payment["id"], "refund", amount=300)
    poll(paid, gateway, now=now)
    standin.set_faults({"kind": "server_error", "route": "payments.refunds", "count": None})

    run_remote(STEP, gateway, now=now)

    waiting = Refund.objects.get()
    assert waiting.due_at > now
    standin.set_faults()
    run_remote(STEP, gateway, now=waiting.due_at)
    assert [status for _, _, status in rows()] == ["processed"]


# --- authorisations that were never captured -----------------------------------------------------


@pytest.fixture
def voided(gateway, standin, now):
    """Authorised, never captured, returned by Razorpay."""
    job = make_payable(make_checkout(now=now), gateway, now=now)
    order_id = GatewayOrder.objects.get(order=job.order).gateway_order_id
    payment = standin.pay(order_id, outcome="authorized")
    poll(job, gateway, now=now)
    standin.move_payment(payment["id"], "release")
    poll(job, gateway, now=now)
    return reload(job)


def test_a_voided_authorisation_is_not_captured_money(voided, gateway, standin, now):
    assert Payment.objects.get().status == "refunded"
    assert Payment.objects.get().captured_at is None
    [totals] = books.totals()
    assert (totals.captured_paise, totals.refunded_paise, totals.undecided_paise) == (0, 0, 0)
    hear(standin, standin.refunds()[0], now=now)
    assert books.external_refunds() == []
    assert list(books.differences()) == []
    assert voided.state == State.AWAITING_PAYMENT


def test_a_refund_that_razorpay_made_takes_the_place_of_the_automatic_one(paid, standin, now):
    """Of a second payment."""
    deliver(standin.payments()[0], id="pay_second", now=now)
    run(ReconcileWebhook(), now=now)
    auto = {"id": "rfnd_auto", "payment_id": "pay_second", "amount": paid.amount_paise}

    deliver(
        standin.payments()[0], id="pay_second", name="refund.processed",
        refund=auto | {"status": "processed"}, now=now,
    )  # fmt: skip
    run(ReconcileWebhook(), now=now)

    assert rows() == [("rfnd_auto", RefundReason.SURPLUS, "processed")]
