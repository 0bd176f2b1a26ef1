"""One Razorpay order for each order, whatever happens to the calls."""

import json
from datetime import timedelta

import pytest
from django.db import transaction

from shop.checkout.outcomes import Counted
from shop.checkout.states import State
from shop.checkout.steps.create_razorpay_order import CreateRazorpayOrder
from shop.payments.gateway import Unreachable, refuse_inside_transaction
from shop.payments.ledger import GatewayOrder
from shop.payments.razorpay.client import RazorpayGateway
from tests.support import environment
from tests.support.shop import (
    make_checkout,
    make_variant,
    place_order,
    reload,
    run_remote,
    stock_of,
)

pytestmark = pytest.mark.django_db

STEP = CreateRazorpayOrder()
LAG = timedelta(seconds=61)
UNKNOWN = ["hang", "reset", "slow_body", "truncated_body", "server_error", "bad_gateway"]


@pytest.fixture
def job(now):
    return place_order(make_checkout(now=now), now=now)


@pytest.fixture
def impatient(standin):
    return RazorpayGateway(
        key_id=environment.KEY_ID,
        key_secret=environment.KEY_SECRET,
        base_url=standin.base_url,
        timeout_seconds=0.3,
        connections=2,
    )


def payable_order(job) -> str | None:
    return GatewayOrder.objects.get(order=job.order, is_duplicate=False).gateway_order_id


def test_a_gateway_that_cannot_be_reached_is_tried_again(job, now):
    nobody = RazorpayGateway(
        key_id="k", key_secret="s", base_url="http://127.0.0.1:9", timeout_seconds=1, connections=1
    )

    run_remote(STEP, nobody, now=now)

    job = reload(job)
    assert job.state == State.ORDERED
    assert job.due_at == now + timedelta(seconds=1)
    assert "nothing was charged" in job.waiting_for


def test_a_call_that_was_never_sent_waits_for_no_lag(job, gateway, standin, now):
    nobody = RazorpayGateway(
        key_id="k", key_secret="s", base_url="http://127.0.0.1:9", timeout_seconds=1, connections=1
    )
    run_remote(STEP, nobody, now=now)

    run_remote(STEP, gateway, now=now + timedelta(seconds=1))

    assert reload(job).state == State.AWAITING_PAYMENT


@pytest.mark.parametrize("kind", UNKNOWN)
def test_an_order_whose_answer_was_lost_is_found_again(kind, job, impatient, gateway, standin, now):
    standin.set_faults({"kind": kind, "route": "orders.create", "when": "after", "seconds": 1})
    run_remote(STEP, impatient, now=now)
    assert reload(job).state == State.ORDERED
    standin.advance(60)

    run_remote(STEP, gateway, now=now + LAG)

    assert reload(job).state == State.AWAITING_PAYMENT
    assert [order["id"] for order in standin.orders()] == [payable_order(job)]


def test_searching_does_not_extend_the_lag(job, impatient, gateway, standin, now):
    standin.set_faults({"kind": "server_error", "route": "orders.create"})
    run_remote(STEP, impatient, now=now)
    for seconds in (5, 20, 40):
        run_remote(STEP, gateway, now=now + timedelta(seconds=seconds))

    run_remote(STEP, gateway, now=now + LAG)

    assert reload(job).state == State.AWAITING_PAYMENT


def test_each_attempt_that_failed_is_kept_with_its_reason(job, impatient, gateway, standin, now):
    standin.set_faults({"kind": "server_error", "route": "orders.create"})
    run_remote(STEP, impatient, now=now)
    run_remote(STEP, gateway, now=now + timedelta(seconds=5))
    assert "no order with our receipt" in reload(job).last_error

    run_remote(STEP, gateway, now=now + LAG)

    assert (reload(job).state, reload(job).last_error) == (State.AWAITING_PAYMENT, "")
    created, searched = job.failed_attempts.all()
    assert (created.step, created.number, created.at) == ("create_razorpay_order", 1, now)
    assert "HTTP 500" in created.error
    assert (searched.number, searched.error) == (2, "no order with our receipt is listed yet")


def test_after_the_hold_it_is_given_up_with_the_reason(job, impatient, gateway, standin, now):
    standin.set_faults({"kind": "server_error", "route": "orders.create"})
    run_remote(STEP, impatient, now=now)
    late = job.order.created_at + timedelta(hours=1)
    GatewayOrder.objects.update(create_sent_at=late)

    run_remote(STEP, gateway, now=late)

    job = reload(job)
    assert (job.state, job.error_code) == (State.FAILED, "gateway_unavailable")
    assert job.last_error == job.failed_attempts.last().error != "None"


def test_after_the_lag_it_is_created_with_the_same_receipt(job, impatient, gateway, standin, now):
    standin.set_faults({"kind": "server_error", "route": "orders.create"})
    run_remote(STEP, impatient, now=now)

    run_remote(STEP, gateway, now=now + LAG)

    [order] = standin.orders()
    assert order["receipt"] == job.order.number
    assert reload(job).state == State.AWAITING_PAYMENT


def test_duplicates_are_kept(job, gateway, standin, now):
    for _ in range(2):
        gateway.create_order(
            receipt=job.order.number, amount_paise=job.amount_paise, currency="INR"
        )
    standin.advance(60)
    GatewayOrder.objects.update(create_sent_at=now - LAG)

    run_remote(STEP, gateway, now=now)

    rows = GatewayOrder.objects.filter(order=job.order)
    assert {row.gateway_order_id for row in rows} == {order["id"] for order in standin.orders()}
    assert rows.filter(is_duplicate=False).count() == 1


@pytest.mark.parametrize("kind", ["list", "duplicate"])
def test_an_order_of_another_shop_is_not_adopted(kind, job, gateway, standin, now):
    """As if Razorpay ignored the filter by receipt."""
    theirs = gateway.create_order(receipt="theirs-1", amount_paise=job.amount_paise, currency="INR")
    fault = {"kind": "answer", "route": "orders.list", "status": 200}
    entity = next(order for order in standin.orders() if order["id"] == theirs.id)
    fault["body"] = json.dumps({"items": [entity]})
    if kind == "duplicate":
        error = {"description": "Duplicate request", "metadata": {"order_id": theirs.id}}
        fault |= {"route": "orders.create", "status": 400, "body": json.dumps({"error": error})}
    standin.set_faults(fault)
    GatewayOrder.objects.update(create_sent_at=None if kind == "duplicate" else now - LAG)

    run_remote(STEP, gateway, now=now)

    assert payable_order(job) != theirs.id
    assert not GatewayOrder.objects.filter(gateway_order_id=theirs.id).exists()


def test_an_order_made_by_a_worker_whose_claim_had_lapsed_is_a_duplicate(
    job, gateway, standin, now
):
    [slow] = STEP.claim(limit=1, now=now)
    made = STEP.call(gateway, slow)
    standin.settings(receipt_lag_seconds=600)  # longer than RECEIPT_LAG_SECONDS
    run_remote(STEP, gateway, now=now + LAG)

    STEP.record([(slow, made)], now=now + LAG)

    rows = GatewayOrder.objects.filter(order=job.order)
    assert {row.gateway_order_id for row in rows} == {order["id"] for order in standin.orders()}
    assert rows.get(is_duplicate=True).gateway_order_id == made.orders[0].id


def test_a_worker_whose_claim_had_lapsed_does_not_confirm_the_call_of_another(job, now):
    [slow] = STEP.claim(limit=1, now=now)
    STEP.claim(limit=1, now=now + LAG)  # its call may be under way

    STEP.record([(slow, Unreachable("no connection"))], now=now + LAG)

    assert GatewayOrder.objects.get().create_sent_at == now + LAG


def test_a_paid_duplicate_is_adopted_before_an_older_one(job, gateway, standin, now):
    gateway.create_order(receipt=job.order.number, amount_paise=job.amount_paise, currency="INR")
    second = gateway.create_order(
        receipt=job.order.number, amount_paise=job.amount_paise, currency="INR"
    )
    standin.pay(second.id)
    standin.advance(60)
    GatewayOrder.objects.update(create_sent_at=now - LAG)

    run_remote(STEP, gateway, now=now)

    assert payable_order(job) == second.id
    assert GatewayOrder.objects.get(gateway_order_id=second.id).poll_at == now


def test_an_order_of_another_amount_is_not_adopted(job, gateway, standin, now):
    gateway.create_order(receipt=job.order.number, amount_paise=100, currency="INR")
    standin.advance(60)
    GatewayOrder.objects.update(create_sent_at=now - LAG)

    run_remote(STEP, gateway, now=now)

    [right] = [order for order in standin.orders() if order["amount"] == job.amount_paise]
    assert payable_order(job) == right["id"]


@pytest.mark.parametrize("mode", ["reject", "reject_with_id"])
def test_an_account_that_wants_unique_receipts_gives_the_order_it_has(
    mode, job, gateway, standin, now
):
    existing = gateway.create_order(
        receipt=job.order.number, amount_paise=job.amount_paise, currency="INR"
    )
    standin.settings(receipt_mode=mode)
    standin.advance(60)

    run_remote(STEP, gateway, now=now)

    assert payable_order(job) == existing.id
    assert len(standin.orders()) == 1


def test_a_refused_order_fails_and_frees_its_units(gateway, standin, now):
    standin.settings(maximum_amount_paise=1000)
    variant = make_variant()
    job = place_order(make_checkout(variant, now=now), now=now)

    run_remote(STEP, gateway, now=now)

    job = reload(job)
    assert (job.state, job.error_code) == (State.FAILED, "gateway_rejected")
    assert stock_of(variant) == (10, 0)


def test_retry_after_is_kept_for_all_checkouts(job, gateway, standin, now):
    standin.set_faults(
        {"kind": "too_many_requests", "route": "orders.create", "retry_after_seconds": 7}
    )

    run_remote(STEP, gateway, now=now)

    run_remote(STEP, gateway, now=now + timedelta(seconds=6))
    assert standin.requests() == {"orders.create": {"429": 1}}
    run_remote(STEP, gateway, now=now + timedelta(seconds=7))
    assert reload(job).state == State.AWAITING_PAYMENT


def test_a_checkout_waits_no_longer_than_it_may_hold_units(now, settings):
    variant = make_variant()
    job = place_order(make_checkout(variant, now=now), now=now)
    nobody = RazorpayGateway(
        key_id="k", key_secret="s", base_url="http://127.0.0.1:9", timeout_seconds=1, connections=1
    )

    run_remote(STEP, nobody, now=now + timedelta(seconds=settings.HOLD_SECONDS))

    job = reload(job)
    assert (job.state, job.error_code) == (State.FAILED, "gateway_unavailable")
    assert stock_of(variant) == (10, 0)


def test_an_order_made_for_a_checkout_that_was_cancelled_is_kept(job, gateway, now):
    [work] = STEP.claim(limit=1, now=now)
    answer = STEP.call(gateway, work)
    type(job).objects.filter(pk=job.pk).update(state=State.CANCELLED, claim=None)

    report = STEP.record([(work, answer)], now=now)

    assert report.counts[Counted.LOST] == 1
    assert payable_order(job) == answer.orders[0].id


def test_no_call_is_made_while_a_transaction_is_open():
    with transaction.atomic(), pytest.raises(RuntimeError, match="inside a transaction"):
        refuse_inside_transaction()
