"""Staff actions: each is carried out once, with a reason, and leaves one entry in the audit log."""

import dataclasses
from datetime import timedelta

import pytest
from django.db import IntegrityError, transaction

from shop.accounts import User
from shop.checkout import jobs
from shop.checkout.states import WITH_TASK, State
from shop.checkout.steps.capture import CapturePayments
from shop.checkout.steps.check_payments import CheckPayments
from shop.checkout.steps.create_razorpay_order import CreateRazorpayOrder
from shop.checkout.steps.reconcile_webhook import ReconcileWebhook
from shop.checkout.steps.send_refunds import SendRefunds
from shop.operations import actions
from shop.operations.audit_log import ActionRefused, ActionRequest, AlreadyDone, AuditEntry
from shop.payments import cases, refunds
from shop.payments.cases import Case, CaseKind
from shop.payments.inbox import EventOutcome, InboxEvent
from shop.payments.ledger import GatewayOrder, Payment
from shop.payments.razorpay import webhooks
from shop.payments.refunds import Refund, RefundReason, RefundRefused, RefundStatus
from tests.support.events import deliver
from tests.support.payments import pay_and_poll
from tests.support.shop import (
    make_checkout,
    make_payable,
    make_variant,
    place_order,
    reload,
    run,
    run_remote,
    stock_of,
)

pytestmark = pytest.mark.django_db


@pytest.fixture
def by(now):
    person = User.objects.create_superuser("asha@example.com", "x")
    return ActionRequest(person.pk, "the buyer asked for it", now)


@pytest.fixture
def variant():
    return make_variant(on_hand=3)


@pytest.fixture
def payable(variant, gateway, now):
    return make_payable(make_checkout(variant, now=now), gateway, now=now)


@pytest.fixture
def paid(payable, gateway, standin, now):
    pay_and_poll(payable, gateway, standin, now=now)
    return reload(payable)


@pytest.fixture
def in_review(payable, standin, now):
    """A webhook reports a payment of one rupee less than the order."""
    payment = standin.pay(gateway_order_id(payable))
    deliver(payment, now=now, amount=payable.amount_paise - 100)
    run(ReconcileWebhook(), now=now)
    assert reload(payable).state == State.IN_REVIEW
    return reload(payable)


def again(by):
    """Another request of the same person."""
    return ActionRequest(by.by_id, by.reason, by.now)


def gateway_order_id(job):
    return GatewayOrder.objects.get(order=job.order, is_duplicate=False).gateway_order_id


def the_entry():
    """Action, checkout and outcome of the only entry."""
    entry = AuditEntry.objects.get()
    assert entry.reason == "the buyer asked for it"
    return entry.action, entry.checkout_id, entry.outcome


# --- requests ------------------------------------------------------------------------------------


@pytest.mark.parametrize("reason", ["", "  \n ", "x" * 501])
def test_a_reason_is_asked_for_and_fits(reason, by):
    with pytest.raises(ActionRefused):
        dataclasses.replace(by, reason=reason)


def test_the_same_form_sent_twice_is_carried_out_once(paid, by):
    actions.refund(paid.order, amount_paise=100, by=by)

    with pytest.raises(AlreadyDone):
        actions.refund(paid.order, amount_paise=100, by=by)

    assert Refund.objects.count() == 1


@pytest.mark.parametrize(
    "tamper", [lambda: AuditEntry.objects.update(reason="none"), AuditEntry.objects.all().delete]
)
def test_nobody_changes_or_deletes_an_entry(tamper, paid, by):
    actions.refund(paid.order, amount_paise=100, by=by)

    with pytest.raises(IntegrityError, match="cannot be changed"), transaction.atomic():
        tamper()

    assert AuditEntry.objects.count() == 1


# --- an open checkout ----------------------------------------------------------------------------


def test_a_checkout_that_backs_off_is_due_at_once(gateway, standin, by, now):
    standin.set_faults({"kind": "reset", "route": "orders.create", "count": None})
    job = make_payable(make_checkout(now=now), gateway, now=now)
    standin.set_faults()
    assert (job.state, job.attempts) == (State.ORDERED, 1)

    actions.retry(job.pk, by=by)
    run_remote(CreateRazorpayOrder(), gateway, now=now + timedelta(minutes=2))

    assert reload(job).state == State.AWAITING_PAYMENT
    assert the_entry() == ("retry", job.pk, "due now in state ordered, after 1 attempts")


def test_a_retry_resets_the_attempts(by, now):
    job = make_checkout(now=now)
    jobs.CheckoutJob.objects.update(attempts=5, due_at=now + timedelta(minutes=1))

    actions.retry(job.pk, by=by)

    assert (reload(job).attempts, reload(job).due_at) == (0, now)


def test_a_checkout_that_a_worker_processes_is_not_retried(by, now):
    job = place_order(make_checkout(now=now), now=now)
    with transaction.atomic():
        jobs.claim_due(State.ORDERED, limit=1, now=now)

    with pytest.raises(ActionRefused, match="is processing"):
        actions.retry(job.pk, by=by)

    assert reload(job).claim is not None


@pytest.mark.parametrize("state", sorted(set(State) - WITH_TASK))
def test_a_checkout_that_cannot_be_retried_says_why(state, by, now):
    job = make_checkout(now=now)
    jobs.CheckoutJob.objects.update(state=state, error_code="out_of_stock")

    with pytest.raises(ActionRefused) as refused:
        actions.retry(job.pk, by=by)

    assert str(refused.value).endswith(".")
    assert ("out_of_stock" in str(refused.value)) is (state == State.FAILED)
    assert not AuditEntry.objects.exists()


def test_a_poll_by_staff_finds_a_payment(payable, gateway, standin, by, now):
    standin.pay(gateway_order_id(payable))

    actions.poll(payable.pk, by=by)
    run_remote(CheckPayments(), gateway, now=now)

    assert reload(payable).state == State.PAID
    assert the_entry()[:2] == ("poll", payable.pk)


def test_a_checkout_without_a_razorpay_order_is_not_polled(by, now):
    job = place_order(make_checkout(now=now), now=now)

    with pytest.raises(ActionRefused, match="no Razorpay order"):
        actions.poll(job.pk, by=by)

    assert not AuditEntry.objects.exists()


def test_an_unpaid_checkout_is_cancelled_and_its_units_return(payable, variant, by):
    assert stock_of(variant) == (3, 1)

    actions.cancel(payable.pk, by=by)

    assert reload(payable).state == State.CANCELLED
    assert stock_of(variant) == (3, 0)
    assert the_entry() == (
        "cancel", payable.pk, "cancelled while awaiting_payment, units released",
    )  # fmt: skip


@pytest.mark.parametrize("status", ["authorized", "captured"])
def test_nothing_is_cancelled_while_a_payment_is_in_progress(status, payable, standin, by, now):
    payment = standin.pay(gateway_order_id(payable))
    deliver(payment, status="authorized", captured=False, now=now)
    run(ReconcileWebhook(), now=now)
    Payment.objects.update(status=status)

    with pytest.raises(ActionRefused, match="payment is in progress"):
        actions.cancel(payable.pk, by=by)

    assert reload(payable).state == State.AWAITING_PAYMENT


def test_an_ended_checkout_is_not_cancelled(payable, by):
    actions.cancel(payable.pk, by=by)

    with pytest.raises(ActionRefused, match="cancelled"):
        actions.cancel(payable.pk, by=again(by))


def test_an_authorised_payment_is_captured_now(payable, gateway, standin, by, now):
    payment = standin.pay(gateway_order_id(payable), outcome="authorized")
    deliver(payment, now=now)
    run(ReconcileWebhook(), now=now)
    [row] = Payment.objects.all()

    actions.capture(row.pk, by=by)
    run_remote(CapturePayments(), gateway, now=now)

    assert reload(payable).state == State.PAID
    assert the_entry()[:2] == ("capture", payable.pk)


def test_a_captured_payment_is_not_captured_again(paid, by):
    with pytest.raises(ActionRefused, match="Only an authorised one"):
        actions.capture(Payment.objects.get().pk, by=by)


# --- refunds -------------------------------------------------------------------------------------


def test_a_part_of_a_paid_order_is_refunded(paid, gateway, standin, by, now):
    actions.refund(paid.order, amount_paise=50_000, by=by)
    run_remote(SendRefunds(), gateway, now=now)

    assert [refund["amount"] for refund in standin.refunds()] == [50_000]
    payment = Payment.objects.get().gateway_payment_id
    assert the_entry() == ("refund", paid.pk, f"refund of ₹500.00 of {payment}")


@pytest.mark.parametrize("more_paise", [1, 10_000_000])
def test_no_more_is_refunded_than_was_paid(more_paise, paid, by):
    with pytest.raises(RefundRefused):
        actions.refund(paid.order, amount_paise=paid.amount_paise + more_paise, by=by)

    assert not AuditEntry.objects.exists()


def test_an_unpaid_order_is_not_refunded(payable, by):
    with pytest.raises(RefundRefused):
        actions.refund(payable.order, amount_paise=None, by=by)


@pytest.fixture
def failed_refund(paid, gateway, by, now):
    """Razorpay says that it failed."""
    failed = actions.refund(paid.order, amount_paise=50_000, by=again(by)).refund
    Refund.objects.update(status=RefundStatus.FAILED, due_at=None, gateway_refund_id="rfnd_gone")
    case = cases.Open(paid.order_id, CaseKind.REFUND_FAILED, failed.key, "it failed")
    cases.open_cases([case], now=now)
    return failed


def test_a_failed_refund_is_sent_again_under_a_new_key(failed_refund, gateway, standin, by, now):
    entry = actions.resend_refund(failed_refund.pk, by=by)
    run_remote(SendRefunds(), gateway, now=now)

    old, new = Refund.objects.order_by("id")
    assert (old.status, new.status) == (RefundStatus.FAILED, RefundStatus.PROCESSED)
    assert old.key != new.key
    assert [refund["amount"] for refund in standin.refunds()] == [50_000]
    case = Case.objects.get()
    assert (case.closed_by_id, case.closed_because) == (by.by_id, by.reason)
    assert entry.action == "resend"


def test_a_refund_that_fails_again_is_a_case_again(failed_refund, by, now):
    actions.resend_refund(failed_refund.pk, by=by)
    replacement = Refund.objects.latest("id")

    case = cases.Open(
        replacement.payment.gateway_order.order_id, CaseKind.REFUND_FAILED, replacement.key, "again"
    )
    cases.open_cases([case], now=now)

    assert Case.objects.filter(closed_at=None).count() == 1


def test_a_refund_that_has_not_failed_is_not_sent_again(paid, by):
    due = actions.refund(paid.order, amount_paise=100, by=again(by)).refund

    with pytest.raises(RefundRefused, match="not failed"):
        actions.resend_refund(due.pk, by=by)

    assert Refund.objects.count() == 1


def test_a_failed_refund_is_not_sent_again_beyond_what_is_left(failed_refund, paid, by):
    actions.refund(paid.order, amount_paise=None, by=again(by))

    with pytest.raises(RefundRefused, match="Less is left"):
        actions.resend_refund(failed_refund.pk, by=by)


# --- a checkout in review ------------------------------------------------------------------------


def test_a_payment_of_another_amount_is_accepted(in_review, variant, by, now):
    actions.accept_money(in_review.pk, by=by)

    job = reload(in_review)
    assert (job.state, job.order.paid_at) == (State.PAID, now)
    assert job.order.paid_by == Payment.objects.get().gateway_payment_id
    assert stock_of(variant) == (2, 0)
    assert not Case.objects.filter(closed_at=None).exists()
    assert the_entry()[:2] == ("accept_money", job.pk)
    assert "₹22,487.96 for ₹22,488.96; cases closed: 1" in the_entry()[2]


def test_accepted_money_is_not_settled_again_by_a_later_webhook(
    in_review, gateway, standin, by, now
):
    actions.accept_money(in_review.pk, by=by)

    deliver(standin.payments()[0], now=now)
    run(ReconcileWebhook(), now=now)

    assert reload(in_review).state == State.PAID
    assert not Refund.objects.exists()


def test_money_beside_the_accepted_payment_is_refunded(in_review, standin, by, now):
    deliver(standin.payments()[0], id="pay_second", now=now)
    run(ReconcileWebhook(), now=now)

    actions.accept_money(in_review.pk, by=by)

    assert reload(in_review).order.paid_by == "pay_second"  # the one that fits the order
    [refund] = Refund.objects.all()
    assert (refund.reason, refund.amount_paise) == (
        RefundReason.SURPLUS, in_review.amount_paise - 100,
    )  # fmt: skip


def test_the_rest_of_a_payment_beside_the_accepted_one_is_refunded(in_review, standin, by, now):
    """A part of it was refunded before."""
    deliver(standin.payments()[0], id="pay_second", now=now)
    run(ReconcileWebhook(), now=now)
    first, second = Payment.objects.order_by("id")
    part = {"id": "rfnd_part", "payment_id": second.gateway_payment_id, "amount": 100}
    deliver(
        standin.payments()[0], id="pay_second", name="refund.processed",
        refund=part | {"status": "processed"}, now=now,
    )  # fmt: skip
    run(ReconcileWebhook(), now=now)

    actions.accept_money(in_review.pk, by=by)

    assert reload(in_review).order.paid_by == first.gateway_payment_id
    rest = Refund.objects.get(payment=second, reason=RefundReason.SURPLUS)
    assert rest.amount_paise == second.amount_paise - 100


def test_money_beside_the_accepted_payment_is_refunded_again_if_its_automatic_refund_failed(
    in_review, standin, by, now
):
    deliver(standin.payments()[0], id="pay_second", now=now)
    run(ReconcileWebhook(), now=now)
    first = Payment.objects.earliest("id")
    refunds.create_automatic([refunds.AutomaticRefund(first, RefundReason.LATE)], now=now)
    Refund.objects.update(status=RefundStatus.FAILED, due_at=None)

    actions.accept_money(in_review.pk, by=by)

    assert reload(in_review).order.paid_by == "pay_second"
    refund = Refund.objects.get(payment=first, reason=RefundReason.REQUESTED)
    assert (refund.amount_paise, refund.due_at) == (first.amount_paise, now)


def test_accepted_money_does_not_buy_units_that_others_bought(in_review, variant, by, now):
    in_review.order.stock_state = "released"
    in_review.order.save()
    variant.stock.on_hand = variant.stock.held = 0
    variant.stock.save()

    with pytest.raises(ActionRefused, match="sold to other buyers"):
        actions.accept_money(in_review.pk, by=by)

    assert reload(in_review).state == State.IN_REVIEW
    assert Case.objects.get().closed_at is None


def test_units_that_are_free_are_held_again(in_review, variant, by):
    in_review.order.stock_state = "released"
    in_review.order.save()
    variant.stock.held = 0
    variant.stock.save()

    actions.accept_money(in_review.pk, by=by)

    assert stock_of(variant) == (2, 0)


def test_money_that_is_only_authorised_is_not_accepted(in_review, by):
    Payment.objects.update(status="authorized")

    for decide in (actions.accept_money, actions.refund_all):
        with pytest.raises(ActionRefused, match="only authorised"):
            decide(in_review.pk, by=again(by))


def test_all_money_of_a_checkout_in_review_is_refunded(
    in_review, variant, gateway, standin, by, now
):
    actions.refund_all(in_review.pk, by=by)
    assert reload(in_review).state == State.REFUNDING
    assert stock_of(variant) == (3, 0)

    run_remote(SendRefunds(), gateway, now=now)

    assert reload(in_review).state == State.REFUNDED
    assert [refund["amount"] for refund in standin.refunds()] == [in_review.amount_paise - 100]
    assert not Case.objects.filter(closed_at=None).exists()
    assert the_entry()[:2] == ("refund_all", in_review.pk)


def test_money_is_refunded_again_after_its_refund_failed(in_review, gateway, by, now):
    actions.refund_all(in_review.pk, by=again(by))
    failed = Refund.objects.get()
    Refund.objects.update(status=RefundStatus.FAILED, due_at=None, gateway_refund_id="rfnd_gone")
    jobs.CheckoutJob.objects.update(state=State.IN_REVIEW)
    with pytest.raises(ActionRefused, match="is in review"):
        actions.resend_refund(failed.pk, by=by)

    actions.refund_all(in_review.pk, by=again(by))
    run_remote(SendRefunds(), gateway, now=now)

    assert reload(in_review).state == State.REFUNDED


def test_a_failed_refund_by_staff_is_left_to_staff_too(in_review, gateway, standin, by, now):
    standin.settings(refund_status="pending")
    actions.refund_all(in_review.pk, by=by)
    run_remote(SendRefunds(), gateway, now=now)
    [refund], [payment] = standin.refunds(), standin.payments()

    failed = refund | {"status": "failed"}
    deliver(
        payment, amount=in_review.amount_paise - 100, name="refund.failed", refund=failed, now=now
    )
    run(ReconcileWebhook(), now=now)

    assert reload(in_review).state == State.IN_REVIEW
    assert Refund.objects.get().status == RefundStatus.FAILED  # and there is no other


def test_refunded_money_is_not_accepted(in_review, by):
    actions.refund_all(in_review.pk, by=again(by))
    jobs.CheckoutJob.objects.update(state=State.IN_REVIEW)

    for decide in (actions.accept_money, actions.refund_all):
        with pytest.raises(ActionRefused, match=r"No whole payment|not confirmed a refund"):
            decide(in_review.pk, by=again(by))


def deliver_refund(payment, word, *, now, **changes):
    """Somebody refunded this payment in full in Razorpay's dashboard."""
    amount = Payment.objects.get(gateway_payment_id=payment["id"]).amount_paise
    refund = {"id": "rfnd_dashboard", "payment_id": payment["id"], "amount": amount}
    deliver(
        payment, amount=amount, name=f"refund.{word}", refund=refund | {"status": word},
        now=now, **changes,
    )  # fmt: skip
    run(ReconcileWebhook(), now=now)


@pytest.mark.parametrize("status", ["refunded", "captured"])
def test_staff_end_a_review_whose_money_was_refunded_elsewhere(
    status, in_review, variant, standin, by, now
):
    deliver_refund(standin.payments()[0], "processed", now=now, status=status)
    assert reload(in_review).state == State.IN_REVIEW
    with pytest.raises(ActionRefused, match=r"No whole payment|refunded before"):
        actions.accept_money(in_review.pk, by=again(by))

    actions.refund_all(in_review.pk, by=by)

    assert reload(in_review).state == State.REFUNDED
    assert stock_of(variant) == (3, 0)
    assert not Case.objects.filter(closed_at=None).exists()
    assert Refund.objects.get().reason == RefundReason.ELSEWHERE
    assert the_entry() == (
        "refund_all", in_review.pk, "all money was refunded before; cases closed: 1",
    )  # fmt: skip


def test_staff_end_a_review_whose_payment_was_never_captured(in_review, variant, standin, by, now):
    Payment.objects.update(status="authorized")
    deliver(standin.payments()[0], status="refunded", captured=False, now=now)
    run(ReconcileWebhook(), now=now)

    actions.refund_all(in_review.pk, by=by)

    assert reload(in_review).state == State.REFUNDED
    assert stock_of(variant) == (3, 0)


def test_a_review_is_not_ended_before_razorpay_confirms_its_refund(in_review, standin, by, now):
    deliver_refund(standin.payments()[0], "created", now=now)
    with pytest.raises(ActionRefused, match="not confirmed a refund"):
        actions.refund_all(in_review.pk, by=again(by))

    deliver_refund(standin.payments()[0], "processed", now=now)
    actions.refund_all(in_review.pk, by=by)

    assert reload(in_review).state == State.REFUNDED


def test_a_review_is_not_ended_while_a_payment_of_it_is_authorised(in_review, standin, by, now):
    [payment] = standin.payments()
    deliver(payment, id="pay_second", status="authorized", captured=False, now=now)
    deliver_refund(payment, "processed", now=now)

    with pytest.raises(ActionRefused, match="only authorised"):
        actions.refund_all(in_review.pk, by=by)

    assert reload(in_review).state == State.IN_REVIEW


def test_money_that_comes_after_a_review_was_ended_is_refunded(in_review, standin, by, now):
    [payment] = standin.payments()
    deliver_refund(payment, "processed", now=now)
    actions.refund_all(in_review.pk, by=by)

    deliver(payment, id="pay_second", now=now)
    run(ReconcileWebhook(), now=now)

    assert reload(in_review).state == State.REFUNDED
    assert Refund.objects.get(payment__gateway_payment_id="pay_second").reason == RefundReason.LATE


@pytest.mark.parametrize("decide", [actions.accept_money, actions.refund_all])
def test_only_a_checkout_in_review_waits_for_a_decision(decide, paid, by):
    with pytest.raises(ActionRefused, match="Only one in review"):
        decide(paid.pk, by=by)

    assert not AuditEntry.objects.exists()


def test_a_case_is_closed_with_a_reason_once(paid, by, now):
    cases.open_cases([cases.Open(paid.order_id, CaseKind.DISPUTE, "disp_1", "a bank")], now=now)
    case = Case.objects.get()

    actions.close_case(case.pk, by=by)
    with pytest.raises(ActionRefused, match="closed already"):
        actions.close_case(case.pk, by=again(by))

    case.refresh_from_db()
    assert (case.closed_at, case.closed_because) == (now, by.reason)
    assert the_entry()[:2] == ("close_case", paid.pk)


def test_the_case_of_a_checkout_in_review_is_closed_by_the_decision(in_review, by):
    with pytest.raises(ActionRefused, match="is in review"):
        actions.close_case(Case.objects.get().pk, by=by)


# --- webhooks ------------------------------------------------------------------------------------


def test_a_webhook_that_was_given_up_is_handled_after_the_fix(
    payable, standin, by, now, monkeypatch
):
    deliver(standin.pay(gateway_order_id(payable)), now=now)
    with monkeypatch.context() as patched:
        patched.setattr(webhooks, "read", lambda body: 1 / 0)
        for minutes in range(jobs.MAX_ATTEMPTS):
            run(ReconcileWebhook(), now=now + timedelta(minutes=minutes))
    event = InboxEvent.objects.get()
    assert (event.due_at, event.handled_at) == (None, None)
    assert event.gateway_order_id == gateway_order_id(payable)

    actions.replay_webhook(event.pk, by=by)
    run(ReconcileWebhook(), now=now)

    assert reload(payable).state == State.PAID
    assert the_entry() == ("replay", payable.pk, "due now, after 6 attempts")


def test_a_handled_webhook_may_be_replayed_and_changes_nothing(payable, variant, standin, by, now):
    deliver(standin.pay(gateway_order_id(payable)), now=now)
    run(ReconcileWebhook(), now=now)

    actions.replay_webhook(InboxEvent.objects.get().pk, by=by)
    run(ReconcileWebhook(), now=now)

    assert InboxEvent.objects.get().outcome == EventOutcome.SETTLED
    assert stock_of(variant) == (2, 0)
    assert Payment.objects.count() == 1


def test_a_webhook_that_is_not_handled_yet_is_not_replayed(payable, standin, by, now):
    deliver(standin.pay(gateway_order_id(payable)), now=now)

    with pytest.raises(ActionRefused, match="not handled yet"):
        actions.replay_webhook(InboxEvent.objects.get().pk, by=by)


def test_a_webhook_without_its_body_is_not_replayed(payable, standin, by, now):
    deliver(standin.pay(gateway_order_id(payable)), now=now)
    run(ReconcileWebhook(), now=now)
    InboxEvent.objects.update(body=b"")

    with pytest.raises(ActionRefused, match="was deleted"):
        actions.replay_webhook(InboxEvent.objects.get().pk, by=by)
