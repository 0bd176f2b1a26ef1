"""Concurrent actions on the money of one order."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.db import transaction

from shop.accounts import User
from shop.checkout import confirm, start
from shop.checkout.jobs import CheckoutJob
from shop.checkout.states import State
from shop.checkout.steps.check_payments import CheckPayments
from shop.checkout.steps.expire import EXPIRE, FINAL_POLL_GRACE
from shop.checkout.steps.reconcile_webhook import ReconcileWebhook
from shop.checkout.steps.send_refunds import SendRefunds
from shop.payments import polling, refunds
from shop.payments.ledger import GatewayOrder, Payment
from shop.payments.refunds import Refund, RefundRefused, RefundStatus
from tests.support import environment
from tests.support.events import deliver
from tests.support.shop import (
    make_checkout,
    make_payable,
    make_variant,
    reload,
    run,
    run_remote,
    stock_of,
)
from tests.support.threads import all_at_once

pytestmark = pytest.mark.django_db(transaction=True)

NOW = datetime(2026, 11, 22, 6, 30, tzinfo=UTC)


@pytest.fixture
def variant():
    return make_variant(on_hand=5)


@pytest.fixture
def job(variant, gateway):
    return make_payable(make_checkout(variant, now=NOW), gateway, now=NOW)


def razorpay_order_id(job: CheckoutJob) -> str:
    return str(GatewayOrder.objects.get(order=job.order).gateway_order_id)


def errors(results: list) -> list[Exception]:
    return [result for result in results if isinstance(result, Exception)]


def test_expiry_against_payment_ends_as_paid(job, variant, standin):
    deliver(standin.pay(razorpay_order_id(job)), now=NOW)
    too_late = job.expires_at + FINAL_POLL_GRACE

    results = all_at_once(
        lambda: run(EXPIRE, now=too_late), lambda: run(ReconcileWebhook(), now=too_late)
    )

    assert not errors(results)
    assert reload(job).state == State.PAID  # late money finds the units it freed
    assert stock_of(variant) == (4, 0)


def test_the_browser_the_webhook_and_our_question_pay_once(job, variant, gateway, standin):
    payment = standin.pay(razorpay_order_id(job))
    deliver(payment, now=NOW)
    fields = payment["checkout"]

    def come_back() -> None:
        confirm.confirm(
            job,
            gateway_payment_id=fields["razorpay_payment_id"],
            gateway_order_id=fields["razorpay_order_id"],
            signature=fields["razorpay_signature"],
            key_secret=environment.KEY_SECRET,
            now=NOW,
        )
        run_remote(CheckPayments(), gateway, now=NOW)

    results = all_at_once(come_back, lambda: run(ReconcileWebhook(), now=NOW), come_back)

    assert not errors(results)
    assert reload(job).transitions.filter(new=State.PAID).count() == 1
    assert Payment.objects.count() == 1
    assert stock_of(variant) == (4, 0)


@pytest.fixture
def paid(job, gateway, standin):
    standin.pay(razorpay_order_id(job))
    polling.poll_now([job.order_id], now=NOW)
    run_remote(CheckPayments(), gateway, now=NOW)
    return reload(job)


@pytest.mark.parametrize("wanted_paise", [None, 1_500_000])
def test_two_who_give_the_same_money_back_at_once_give_it_once(paid, wanted_paise):
    staff = User.objects.create_superuser("staff@example.com", "x")

    results = all_at_once(
        *[
            lambda: refunds.create_by_staff(
                paid.order, amount_paise=wanted_paise, note="broken", by_id=staff.pk, now=NOW
            )
        ]
        * 4
    )

    assert [type(error) for error in errors(results)] == [RefundRefused] * 3
    assert Refund.objects.count() == 1


def test_two_senders_of_one_refund_send_it_once(paid, gateway, standin):
    staff = User.objects.create_superuser("staff@example.com", "x")
    refunds.create_by_staff(paid.order, amount_paise=None, note="broken", by_id=staff.pk, now=NOW)

    results = all_at_once(*[lambda: run_remote(SendRefunds(), gateway, now=NOW)] * 4)

    assert not errors(results)
    assert sum(standin.requests()["payments.refund"].values()) == 1
    assert Refund.objects.get().status == RefundStatus.PROCESSED


def test_a_due_refund_is_claimed_by_one_of_many(paid):
    staff = User.objects.create_superuser("staff@example.com", "x")
    refunds.create_by_staff(paid.order, amount_paise=None, note="broken", by_id=staff.pk, now=NOW)

    def claimed() -> list[Refund]:
        with transaction.atomic():
            return refunds.claim_due(limit=5, now=NOW)

    results = all_at_once(*[claimed] * 8)

    assert sorted(map(len, results)) == [0] * 7 + [1]


def test_a_sender_that_slept_past_its_claim_does_not_send_again(paid, gateway, standin):
    staff = User.objects.create_superuser("staff@example.com", "x")
    refunds.create_by_staff(paid.order, amount_paise=None, note="broken", by_id=staff.pk, now=NOW)
    slow, later = SendRefunds(), NOW + timedelta(hours=1)
    with transaction.atomic():
        [sleeping] = slow.claim(limit=1, now=NOW)

    run_remote(SendRefunds(), gateway, now=later)
    answer = slow.call(gateway, sleeping)
    with transaction.atomic():
        slow.record([(sleeping, answer)], now=later)

    assert len(standin.refunds()) == 1
    assert Refund.objects.count() == 1


def test_a_status_read_while_the_money_comes_is_one_of_the_two(job, standin):
    deliver(standin.pay(razorpay_order_id(job)), now=NOW)

    def look() -> str:
        return str(CheckoutJob.objects.get(pk=job.pk).state)

    results = all_at_once(look, look, lambda: run(ReconcileWebhook(), now=NOW), look, look)

    seen = {result for result in results if isinstance(result, str)}
    assert seen <= {State.AWAITING_PAYMENT, State.PAID}
    with pytest.raises(start.CannotCancel):
        start.cancel(owner_id=job.owner_id, job_id=job.pk, now=NOW)
