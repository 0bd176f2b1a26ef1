"""A refund that the bank returns after Razorpay had processed it."""

import pytest

from shop.accounts import User
from shop.checkout import snapshots, start, status
from shop.checkout.states import State
from shop.checkout.steps.reconcile_webhook import ReconcileWebhook
from shop.checkout.steps.send_refunds import SendRefunds
from shop.operations import actions, books
from shop.operations.audit_log import ActionRequest
from shop.payments.cases import Case
from shop.payments.ledger import Payment
from shop.payments.refunds import Refund
from tests.support.events import deliver
from tests.support.payments import pay_and_poll
from tests.support.shop import make_checkout, make_payable, reload, run, run_remote

pytestmark = pytest.mark.django_db

STEP = SendRefunds()


@pytest.fixture
def by(now):
    person = User.objects.create_superuser("asha@example.com", "x")
    return lambda: ActionRequest(person.pk, "the bank sent it back", now)


@pytest.fixture
def paid(gateway, standin, now):
    job = make_payable(make_checkout(now=now), gateway, now=now)
    pay_and_poll(job, gateway, standin, now=now)
    return reload(job)


@pytest.fixture
def refunded(gateway, standin, settings, now):
    """Paid after it was cancelled, and refunded."""
    settings.LATE_PAYMENT = "refund"
    job = make_payable(make_checkout(now=now), gateway, now=now)
    start.cancel(owner_id=job.owner_id, job_id=job.pk, now=now)
    pay_and_poll(job, gateway, standin, now=now)
    run_remote(STEP, gateway, now=now)
    hear(standin, "processed", now=now)
    assert reload(job).state == State.REFUNDED
    return reload(job)


def hear(standin, word, *, now):
    """Handle a webhook about the newest refund, with its payment in its present state."""
    refund = standin.refunds()[-1]
    [payment] = [it for it in standin.payments() if it["id"] == refund["payment_id"]]
    deliver(payment, name=f"refund.{word}", refund=refund | {"status": word}, now=now)
    run(ReconcileWebhook(), now=now)


def comes_back(standin, *, now):
    standin.move_refund(standin.refunds()[-1]["id"], "fail")
    hear(standin, "failed", now=now)


def shown(job, *, now):
    return status.resource(snapshots.read(job.pk, owner_id=job.owner_id), key_id="k", now=now)


def test_a_refunded_checkout_goes_to_review_and_its_status_says_so(refunded, standin, now):
    comes_back(standin, now=now)

    assert reload(refunded).state == State.IN_REVIEW
    assert Case.objects.get().kind == "refund_failed"
    told = shown(refunded, now=now)
    assert told["refund"]["status"] == "failed"
    assert "₹22,488.96 could not be sent back to you" in told["message"]
    assert "was sent back" not in told["message"]


def test_the_books_count_its_money_as_the_shops_again(refunded, standin, now):
    comes_back(standin, now=now)

    assert list(books.differences()) == []
    payment = Payment.objects.get()
    assert (payment.status, payment.amount_refunded_paise) == ("captured", 0)
    [totals] = books.totals()
    assert (totals.refunded_paise, totals.undecided_paise) == (0, refunded.amount_paise)


def test_staff_can_refund_its_money_again(refunded, gateway, standin, by, now):
    comes_back(standin, now=now)

    actions.refund_all(refunded.pk, by=by())
    run_remote(STEP, gateway, now=now)

    assert reload(refunded).state == State.REFUNDED
    assert standin.ledger()["totals"]["refunded_paise"] == refunded.amount_paise
    assert "was sent back to you" in shown(refunded, now=now)["message"]
    assert list(books.differences()) == []


def test_a_refund_of_a_paid_order_is_sent_again(paid, gateway, standin, by, now):
    actions.refund(paid.order, amount_paise=None, by=by())
    run_remote(STEP, gateway, now=now)
    hear(standin, "processed", now=now)
    assert Payment.objects.get().status == "refunded"
    comes_back(standin, now=now)
    assert "could not be sent back" in shown(paid, now=now)["message"]

    actions.resend_refund(Refund.objects.get(status="failed").pk, by=by())
    run_remote(STEP, gateway, now=now)

    assert standin.ledger()["totals"]["refunded_paise"] == paid.amount_paise
    assert not Case.objects.filter(closed_at=None)
    assert shown(paid, now=now)["refund"]["status"] == "processed"
    assert list(books.differences()) == []


def test_an_old_report_that_it_was_processed_changes_nothing(refunded, gateway, standin, by, now):
    [payment] = standin.payments()
    old = {"name": "refund.processed", "refund": standin.refunds()[0]}
    comes_back(standin, now=now)

    deliver(payment, now=now, **old)
    run(ReconcileWebhook(), now=now)
    assert reload(refunded).state == State.IN_REVIEW
    run_remote(STEP, gateway, now=now)

    payment = Payment.objects.get()
    assert (payment.status, payment.amount_refunded_paise) == ("captured", 0)
    assert [it.status for it in Refund.objects.all()] == ["failed"]
    actions.refund_all(refunded.pk, by=by())
    assert Refund.objects.filter(status="due").count() == 1


def test_a_wrong_report_that_it_failed_is_corrected(refunded, gateway, standin, now):
    hear(standin, "failed", now=now)  # at Razorpay it is processed
    assert reload(refunded).state == State.IN_REVIEW

    run_remote(STEP, gateway, now=now)

    assert reload(refunded).state == State.REFUNDED
    assert Case.objects.get().closed_because == "Razorpay has processed it after all"
    assert "was sent back to you" in shown(refunded, now=now)["message"]
    assert list(books.differences()) == []
