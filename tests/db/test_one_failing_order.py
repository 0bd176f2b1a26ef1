"""Calls about one order never get an answer: other buyers and Razorpay do not notice."""

from datetime import datetime, timedelta

import pytest

from shop.checkout.states import State
from shop.checkout.steps.capture import CapturePayments
from shop.checkout.steps.check_payments import CheckPayments
from shop.checkout.steps.create_razorpay_order import CreateRazorpayOrder
from shop.checkout.steps.send_refunds import SendRefunds
from shop.payments import polling, refunds
from shop.payments.cases import Case, CaseKind
from shop.payments.ledger import GatewayOrder, Payment
from shop.payments.polling import RETRY_FINAL_POLL_FOR
from shop.payments.refunds import Refund, RefundReason
from tests.support.shop import (
    make_checkout,
    make_payable,
    make_variant,
    place_order,
    reload,
    run_remote,
)

pytestmark = pytest.mark.django_db

DAY = timedelta(days=1)
SECOND = timedelta(seconds=1)


@pytest.fixture
def bad_order(gateway, standin, now) -> GatewayOrder:
    """An order whose polls Razorpay answers with a 500."""
    make_payable(make_checkout(now=now), gateway, now=now)
    row = GatewayOrder.objects.get()
    fail_for_ever(standin, "orders.payments", row.gateway_order_id)
    return row


def fail_for_ever(standin, route: str, entity_id: str | None, kind: str = "server_error") -> None:
    standin.set_faults({"kind": kind, "route": route, "id": entity_id, "count": None})


def calls(standin, route: str = "orders.payments") -> int:
    return sum(standin.requests().get(route, {}).values())


def poll_when_due(gateway, *, until: datetime) -> None:
    """Poll as the sweeper does, without its pauses."""
    while (row := GatewayOrder.objects.filter(poll_at__lte=until).first()) and row.poll_at:
        run_remote(CheckPayments(), gateway, now=row.poll_at)


def test_each_of_a_hundred_new_checkouts_is_payable_at_once(bad_order, gateway, now):
    """In a quiet shop, the bad order is the only one that is polled between two buyers."""
    variant = make_variant(on_hand=200)
    for _ in range(100):
        for _ in range(10):
            now += SECOND
            run_remote(CheckPayments(), gateway, now=now)
        job = place_order(make_checkout(variant, now=now), now=now)

        run_remote(CreateRazorpayOrder(), gateway, now=now)

        assert reload(job).state == State.AWAITING_PAYMENT


def test_unanswered_polls_are_retried_with_backoff(bad_order, gateway, standin, now):
    poll_when_due(gateway, until=now + timedelta(minutes=10))
    assert calls(standin) <= 20

    poll_when_due(gateway, until=now + 5 * DAY)
    assert calls(standin) <= 40


def test_a_poll_is_retried_within_seconds(bad_order, gateway, now):
    times = []
    now += timedelta(seconds=30)
    for _ in range(5):
        run_remote(CheckPayments(), gateway, now=now)
        poll_at = GatewayOrder.objects.get().poll_at
        times.append((poll_at - now).total_seconds())
        now = poll_at

    assert times == [1, 2, 4, 8, 15]  # the last is by the schedule


def test_an_answer_resets_the_count(bad_order, gateway, standin, now):
    poll_when_due(gateway, until=now + timedelta(minutes=10))
    assert GatewayOrder.objects.get().failed_polls > 5
    standin.set_faults()

    poll_when_due(gateway, until=now + timedelta(minutes=30))

    assert GatewayOrder.objects.get().failed_polls == 0


def test_when_the_schedule_ends_without_an_answer_operations_have_a_case(bad_order, gateway, now):
    poll_when_due(gateway, until=now + 7 * DAY)

    bad_order.refresh_from_db()
    assert bad_order.poll_at is None
    case = Case.objects.get()
    assert (case.kind, case.reference) == (CaseKind.POLL_FAILED, bad_order.gateway_order_id)
    assert "HTTP 500" in case.text


def test_the_last_poll_is_retried_for_a_day(bad_order, gateway, standin, now):
    """An outage at the time of the final poll must not hide late money."""
    standin.set_faults()
    poll_when_due(gateway, until=now + 4 * DAY)
    fail_for_ever(standin, "orders.payments", bad_order.gateway_order_id)
    last_at = GatewayOrder.objects.get().poll_at

    poll_when_due(gateway, until=last_at + timedelta(hours=6))

    assert not Case.objects.exists()
    assert GatewayOrder.objects.get().poll_at < last_at + RETRY_FINAL_POLL_FOR


def test_a_poll_that_is_refused_to_the_end_is_a_case_too(bad_order, gateway, now):
    GatewayOrder.objects.update(gateway_order_id="order_of_others")

    poll_when_due(gateway, until=now + 7 * DAY)

    assert Case.objects.get().reference == "order_of_others"


@pytest.fixture
def captured(bad_order, gateway, standin, now) -> Payment:
    standin.set_faults()
    standin.pay(bad_order.gateway_order_id)
    polling.poll_now([bad_order.order_id], now=now)
    run_remote(CheckPayments(), gateway, now=now)
    return Payment.objects.get()


@pytest.mark.parametrize("kind", ["operation_in_progress", "conflict", "server_error"])
def test_a_refund_that_never_gets_an_answer_stops_no_other(kind, captured, gateway, standin, now):
    refunds.create_automatic([refunds.AutomaticRefund(captured, RefundReason.LATE)], now=now)
    fail_for_ever(standin, "payments.refund", captured.gateway_payment_id, kind)
    for _ in range(20):
        due_at = Refund.objects.get().due_at
        run_remote(SendRefunds(), gateway, now=due_at)

    job = place_order(make_checkout(now=due_at), now=due_at)
    run_remote(CreateRazorpayOrder(), gateway, now=due_at)

    assert reload(job).state == State.AWAITING_PAYMENT


@pytest.mark.parametrize("kind", ["operation_in_progress", "conflict", "server_error"])
def test_a_capture_that_never_gets_an_answer_stops_no_other(
    kind, bad_order, gateway, standin, now, settings
):
    settings.RAZORPAY_CAPTURE = "manual"
    paid = standin.pay(bad_order.gateway_order_id, outcome="authorized")
    standin.set_faults()
    polling.poll_now([bad_order.order_id], now=now)
    run_remote(CheckPayments(), gateway, now=now)
    fail_for_ever(standin, "payments.capture", paid["id"], kind)
    due_at = now
    for _ in range(9):
        due_at = Payment.objects.get().capture_at
        run_remote(CapturePayments(), gateway, now=due_at)
    assert calls(standin, "payments.capture") == 9

    job = place_order(make_checkout(now=due_at), now=due_at)
    run_remote(CreateRazorpayOrder(), gateway, now=due_at)

    assert reload(job).state == State.AWAITING_PAYMENT
