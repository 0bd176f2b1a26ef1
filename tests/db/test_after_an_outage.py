"""Buyers who wait during an outage of Razorpay can pay seconds after it ends."""

from datetime import datetime, timedelta

import pytest

from shop.checkout.jobs import CheckoutJob
from shop.checkout.states import State
from shop.checkout.steps.check_payments import CheckPayments
from shop.checkout.steps.create_razorpay_order import CreateRazorpayOrder
from shop.payments.gateway import Gateway
from shop.payments.razorpay.client import RazorpayGateway
from tests.support.shop import make_checkout, make_payable, place_order, reload, run_remote

pytestmark = pytest.mark.django_db

SECOND = timedelta(seconds=1)
OUTAGE = timedelta(seconds=40)
SOON = timedelta(seconds=10)


@pytest.fixture
def nobody() -> RazorpayGateway:
    return RazorpayGateway(
        key_id="k", key_secret="s", base_url="http://127.0.0.1:9", timeout_seconds=1, connections=1
    )


def live(gateway: Gateway, start: datetime, end: datetime) -> datetime:
    """Run the step each second for what is due, as the sweeper does."""
    while start < end:
        run_remote(CheckPayments(), gateway, now=start)
        run_remote(CreateRazorpayOrder(), gateway, now=start)
        start += SECOND
    return start


def waiting(count: int, *, now: datetime) -> list[CheckoutJob]:
    return [place_order(make_checkout(now=now), now=now) for _ in range(count)]


@pytest.mark.parametrize("buyers", [1, 8])
def test_checkouts_that_never_reached_razorpay(buyers, gateway, nobody, now):
    jobs = waiting(buyers, now=now)
    end = live(nobody, now, now + OUTAGE)

    live(gateway, end, end + SOON)

    assert {reload(job).state for job in jobs} == {State.AWAITING_PAYMENT}


@pytest.mark.parametrize("buyers", [1, 8])
def test_checkouts_that_came_while_razorpay_answered_500(buyers, gateway, standin, now):
    """An order whose create call was cut off waits for the lag of the list of orders."""
    waiting(5, now=now)
    standin.set_faults({"kind": "server_error", "count": None})
    start = live(gateway, now, now + SOON)
    jobs = waiting(buyers, now=start)
    end = live(gateway, start, now + OUTAGE)
    standin.set_faults()

    live(gateway, end, end + SOON)

    assert {reload(job).state for job in jobs} == {State.AWAITING_PAYMENT}
    assert len({order["receipt"] for order in standin.orders()}) == len(standin.orders())


def test_waiting_checkouts_make_few_calls_during_an_outage(gateway, standin, now):
    waiting(30, now=now)
    standin.set_faults({"kind": "server_error", "count": None})

    live(gateway, now, now + timedelta(seconds=2))
    before = sum_of(standin)
    live(gateway, now + timedelta(seconds=2), now + timedelta(seconds=62))

    assert sum_of(standin) - before <= 3 * 21 + 10


def sum_of(standin) -> int:
    return sum(sum(answers.values()) for answers in standin.requests().values())


def test_after_an_outage_polls_go_on_too(gateway, nobody, now):
    jobs = [make_payable(make_checkout(now=now), gateway, now=now) for _ in range(8)]
    end = live(nobody, now + timedelta(seconds=30), now + timedelta(seconds=30) + OUTAGE)

    live(gateway, end, end + timedelta(minutes=2))

    assert {job.order.gateway_orders.get().failed_polls for job in jobs} == {0}
