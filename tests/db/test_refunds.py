"""Refunds: each is sent once, never more than was paid, and none is lost."""

from datetime import timedelta

import pytest

from shop.accounts import User
from shop.checkout import snapshots, start, status
from shop.checkout.states import State
from shop.checkout.steps.check_payments import CheckPayments
from shop.checkout.steps.reconcile_webhook import ReconcileWebhook
from shop.checkout.steps.send_refunds import SendRefunds
from shop.payments import polling, refunds
from shop.payments.cases import Case
from shop.payments.refunds import Refund, RefundReason, RefundStatus
from tests.support.events import deliver
from tests.support.payments import pay_and_poll
from tests.support.shop import make_checkout, make_payable, reload, run, run_remote

pytestmark = pytest.mark.django_db

STEP = SendRefunds()


@pytest.fixture
def staff():
    return User.objects.create_superuser("staff@example.com", "x")


@pytest.fixture
def paid(gateway, standin, now):
    job = make_payable(make_checkout(now=now), gateway, now=now)
    pay_and_poll(job, gateway, standin, now=now)
    return reload(job)


@pytest.fixture
def late(gateway, standin, settings, now):
    """Paid after it was cancelled, in a shop that refunds late payments."""
    settings.LATE_PAYMENT = "refund"
    job = make_payable(make_checkout(now=now), gateway, now=now)
    start.cancel(owner_id=job.owner_id, job_id=job.pk, now=now)
    pay_and_poll(job, gateway, standin, now=now)
    return reload(job)


def request(job, staff, *, amount_paise=None, now):
    return refunds.create_by_staff(
        job.order, amount_paise=amount_paise, note="broken", by_id=staff.pk, now=now
    )


def test_a_late_payment_is_refunded_in_full(late, gateway, standin, now):
    assert late.state == State.REFUNDING

    run_remote(STEP, gateway, now=now)

    assert reload(late).state == State.REFUNDED
    assert standin.ledger()["totals"]["refunded_paise"] == late.amount_paise


def test_the_status_shows_the_refunded_amount_and_its_reference(late, gateway, standin, now):
    run_remote(STEP, gateway, now=now)

    job = reload(late)
    shown = status.resource(snapshots.read(job.pk, owner_id=job.owner_id), key_id="k", now=now)

    [refund] = standin.refunds()
    assert shown["status"] == "refunded"
    assert shown["refund"]["amount_paise"] == late.amount_paise
    assert shown["refund"]["reference"] == refund["id"]
    assert "₹22,488.96 was sent back" in shown["message"]


def test_the_same_report_again_creates_no_second_refund(late, gateway, standin, now):
    polling.poll_now([late.order_id], now=now)
    run_remote(CheckPayments(), gateway, now=now)

    assert Refund.objects.count() == 1


@pytest.mark.parametrize("kind", ["reset", "server_error", "bad_gateway", "truncated_body"])
def test_a_refund_whose_answer_was_lost_is_not_sent_twice(kind, late, gateway, standin, now):
    standin.set_faults({"kind": kind, "route": "payments.refund", "when": "after"})
    run_remote(STEP, gateway, now=now)
    assert Refund.objects.get().status == RefundStatus.DUE

    run_remote(STEP, gateway, now=now + timedelta(minutes=1))

    assert reload(late).state == State.REFUNDED
    assert len(standin.refunds()) == 1


def test_a_failed_automatic_refund_is_left_to_staff_and_not_created_again(late, now):
    [refund] = Refund.objects.all()
    Refund.objects.update(status=RefundStatus.FAILED)

    refunds.create_automatic([refunds.AutomaticRefund(refund.payment, RefundReason.LATE)], now=now)

    assert Refund.objects.count() == 1


def test_a_refund_is_looked_up_before_it_is_sent_again(late, gateway, standin, now):
    standin.set_faults({"kind": "reset", "route": "payments.refund", "when": "after"})
    run_remote(STEP, gateway, now=now)

    run_remote(STEP, gateway, now=now + timedelta(minutes=1))

    assert sum(standin.requests()["payments.refund"].values()) == 1


def test_the_same_key_gives_the_same_refund(paid, gateway, standin):
    payment_id = standin.payments()[0]["id"]

    for _ in range(2):
        gateway.refund(gateway_payment_id=payment_id, amount_paise=100, key="a" * 32)

    assert len(standin.refunds()) == 1


def test_a_pending_refund_is_refunding_until_razorpay_says_otherwise(late, gateway, standin, now):
    standin.settings(refund_status="pending")
    run_remote(STEP, gateway, now=now)
    assert reload(late).state == State.REFUNDING
    [refund] = standin.refunds()

    [payment] = standin.payments()
    deliver(payment, name="refund.processed", refund=refund | {"status": "processed"}, now=now)
    run(ReconcileWebhook(), now=now)

    assert reload(late).state == State.REFUNDED


def test_a_pending_refund_is_polled_in_case_its_webhook_is_lost(late, gateway, standin, now):
    standin.settings(refund_status="pending")
    run_remote(STEP, gateway, now=now)
    [refund] = standin.refunds()
    standin.move_refund(refund["id"], "process")

    run_remote(STEP, gateway, now=now + refunds.POLL_PENDING_AFTER)

    assert reload(late).state == State.REFUNDED
    assert Refund.objects.get().due_at is None
    assert sum(standin.requests()["payments.refund"].values()) == 1


def test_a_refund_that_stays_pending_is_polled_less_and_less_often(late, gateway, standin, now):
    standin.settings(refund_status="pending")
    pauses = []
    for _ in range(7):
        run_remote(STEP, gateway, now=now)
        due_at = Refund.objects.get().due_at
        pauses.append((due_at - now).total_seconds() / 3600)
        now = due_at

    assert pauses == [1, 4, 8, 16, 24, 24, 24]
    assert len(standin.refunds()) == 1


def test_a_pending_refund_made_elsewhere_is_polled_and_never_sent(paid, gateway, standin, now):
    standin.settings(refund_status="pending")
    [payment] = standin.payments()
    refund = standin.move_payment(payment["id"], "refund", amount=100)
    deliver(payment, name="refund.created", refund=refund, now=now)
    run(ReconcileWebhook(), now=now)
    standin.move_refund(refund["id"], "process")

    run_remote(STEP, gateway, now=now + refunds.POLL_PENDING_AFTER)

    [kept] = Refund.objects.all()
    assert (kept.reason, kept.status) == (RefundReason.ELSEWHERE, RefundStatus.PROCESSED)
    assert "payments.refund" not in standin.requests()


@pytest.mark.parametrize("words", [("failed", "processed"), ("processed", "failed")])
@pytest.mark.parametrize("truth", ["fail", "process"])
def test_a_fetch_decides_whether_a_refund_failed_whatever_the_order_of_webhooks(
    truth, words, late, gateway, standin, now
):
    standin.settings(refund_status="pending")
    run_remote(STEP, gateway, now=now)
    [refund], [payment] = standin.refunds(), standin.payments()

    for word in words:
        deliver(payment, name=f"refund.{word}", refund=refund | {"status": word}, now=now)
        run(ReconcileWebhook(), now=now)
    ours = Refund.objects.filter(gateway_refund_id=refund["id"])
    assert ours.get().status == RefundStatus.FAILED
    assert Case.objects.get().kind == "refund_failed"

    standin.move_refund(refund["id"], truth)
    run_remote(STEP, gateway, now=now)

    failed = truth == "fail"
    assert ours.get().status == ("failed" if failed else "processed")
    assert (Case.objects.get().closed_at is None) is failed
    assert reload(late).state == (State.IN_REVIEW if failed else State.REFUNDED)
    assert Refund.objects.get().due_at is None


def test_a_refund_that_fails_is_a_case(late, gateway, standin, now):
    standin.settings(refund_status="pending")
    run_remote(STEP, gateway, now=now)
    [refund] = standin.refunds()

    [payment] = standin.payments()
    deliver(payment, name="refund.failed", refund=refund | {"status": "failed"}, now=now)
    run(ReconcileWebhook(), now=now)

    assert reload(late).state == State.IN_REVIEW
    assert Case.objects.get().kind == "refund_failed"


def test_a_second_payment_is_refunded_and_the_order_stays_paid(paid, gateway, standin, now):
    first = standin.payments()[0]
    deliver(first, id="pay_second", now=now)
    run(ReconcileWebhook(), now=now)

    [refund] = Refund.objects.all()
    assert refund.payment.gateway_payment_id == "pay_second"
    assert reload(paid).state == State.PAID


def test_money_that_razorpay_refunded_itself_is_not_refunded_twice(paid, gateway, standin, now):
    first = standin.payments()[0]
    deliver(first, id="pay_second", now=now)
    run(ReconcileWebhook(), now=now)

    auto = {
        "id": "rfnd_auto",
        "payment_id": "pay_second",
        "amount": first["amount"],
        "status": "processed",
    }
    deliver(first, id="pay_second", name="refund.processed", refund=auto, now=now)
    run(ReconcileWebhook(), now=now)

    [refund] = Refund.objects.all()
    assert (refund.gateway_refund_id, refund.status) == ("rfnd_auto", RefundStatus.PROCESSED)
    assert not STEP.claim(limit=1, now=now + timedelta(days=1))


def test_staff_can_refund_a_part_and_then_the_rest(paid, staff, gateway, standin, now):
    request(paid, staff, amount_paise=10_000, now=now)
    request(paid, staff, now=now)

    run_remote(STEP, gateway, now=now)

    assert standin.ledger()["totals"]["refunded_paise"] == paid.amount_paise
    assert reload(paid).state == State.PAID


@pytest.mark.parametrize("amount_paise", [0, -1, 2248897])
def test_no_one_can_refund_more_than_was_paid(amount_paise, paid, staff, now):
    with pytest.raises(refunds.RefundRefused):
        request(paid, staff, amount_paise=amount_paise, now=now)

    assert not Refund.objects.exists()


def test_an_amount_that_is_being_refunded_is_not_refundable(paid, staff, now):
    request(paid, staff, amount_paise=2248896, now=now)

    with pytest.raises(refunds.RefundRefused) as refused:
        request(paid, staff, amount_paise=1, now=now)

    assert refused.value.left_paise == 0


def test_a_refund_refused_for_an_empty_balance_is_retried(late, gateway, standin, now):
    standin.settings(balance_paise=0)
    run_remote(STEP, gateway, now=now)
    assert Refund.objects.get().status == RefundStatus.DUE
    standin.settings(balance_paise=100_000_000)

    run_remote(STEP, gateway, now=now + timedelta(hours=1))

    assert reload(late).state == State.REFUNDED


def test_a_lasting_refusal_opens_a_case(late, gateway, standin, now):
    standin.settings(balance_paise=0)
    Refund.objects.update(attempts=refunds.MAX_ATTEMPTS - 1)

    run_remote(STEP, gateway, now=now)

    assert Refund.objects.get().status == RefundStatus.FAILED
    assert Case.objects.get().kind == "refund_failed"
    assert reload(late).state == State.IN_REVIEW


def test_a_refund_made_needless_by_refunds_elsewhere_is_given_up(late, gateway, standin, now):
    [payment] = standin.payments()
    for amount in (100, late.amount_paise - 100):
        standin.move_payment(payment["id"], "refund", amount=amount)

    run_remote(STEP, gateway, now=now)

    assert not Refund.objects.filter(due_at__isnull=False)
    ours = Refund.objects.get(reason=RefundReason.LATE)
    assert (ours.status, Case.objects.get().reference) == (RefundStatus.FAILED, ours.key)
    assert reload(late).state == State.REFUNDED


def test_the_rest_after_a_partial_refund_elsewhere_is_left_to_staff(late, gateway, standin, now):
    [payment] = standin.payments()
    standin.move_payment(payment["id"], "refund", amount=100)

    run_remote(STEP, gateway, now=now)

    assert sum(standin.requests()["payments.refund"].values()) == 1
    ours, elsewhere = Refund.objects.all()
    assert (ours.status, elsewhere.amount_paise) == (RefundStatus.FAILED, 100)
    assert reload(late).state == State.IN_REVIEW
    assert refunds.refundable_paise([ours.payment]) == {ours.payment_id: late.amount_paise - 100}


def test_an_authorised_payment_of_a_wrong_amount_is_not_refunded(late, standin, now):
    [payment] = standin.payments()
    other = {"id": "pay_second", "amount": 5, "status": "authorized", "captured": False}

    deliver(payment | other, now=now)
    run(ReconcileWebhook(), now=now)

    assert [refund.payment.gateway_payment_id for refund in Refund.objects.all()] == [payment["id"]]


def test_a_worker_whose_claim_lapsed_cannot_postpone_a_refund(late, now):
    [slow] = STEP.claim(limit=1, now=now)
    [taken_over] = STEP.claim(limit=1, now=now + timedelta(hours=1))

    refunds.postpone(slow, until=now, last_error="woke up late")

    assert Refund.objects.get().claim == taken_over.claim
