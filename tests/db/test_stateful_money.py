"""
A stateful test by Hypothesis: random histories of a shop, after each of which the books agree.

The real shop code runs against the stand-in over HTTP. Buyers of the last unit post twice, sign in
midway and buy again after a failed attempt. Gateway calls fail, workers crash between any two
writes, rows are locked, webhooks are lost, repeated and reordered, amounts are wrong, Razorpay
orders are duplicated, refunds come from three sides, payments are disputed, and the clock jumps. At
the end, to the paisa: money captured by Razorpay = money kept by paid orders + money refunded +
money in open cases. The rules are in `tests/db/stateful`.

    MONEY_RUNS=5000 MONEY_SEED=1 pytest tests/db/test_stateful_money.py

A failure prints its seed, the steps that lead to it, and a `@reproduce_failure` line for the test.
"""

from __future__ import annotations

import os
import random

import hypothesis
import pytest
from hypothesis import HealthCheck
from hypothesis.stateful import run_state_machine_as_test

from shop.operations import books, retention
from shop.payments.razorpay.client import RazorpayGateway
from tests.db.stateful.buyer_rules import BuyerRules
from tests.db.stateful.fault_rules import FaultRules
from tests.db.stateful.gateway_rules import GatewayRules
from tests.db.stateful.staff_rules import StaffRules
from tests.support import environment
from tests.support.standin import StandIn

RUNS = int(os.environ.get("MONEY_RUNS", "60"))
FULL_RUNS = 500  # enough to require every situation in `REQUIRED_SITUATIONS`; CI runs these
SEED = int(os.environ.get("MONEY_SEED", random.randrange(2**32)))
MAX_MORE_RUNS = 5  # each of `RUNS` / 5 histories

RETENTION_RULES = ("guests", "guest carts", "transitions", "webhook bodies")
# Each must occur in some history of a full run, or the test proves little.
REQUIRED_SITUATIONS = {
    *(f"a checkout rests as {state}" for state in ("paid", "expired", "cancelled", "refunded")),
    "a checkout rests as in_review",
    "a case of conflict",
    "a case of dispute",
    "a refund, late, processed",
    "a refund, requested, processed",
    "a refund, surplus, processed",
    "a refund, elsewhere, processed",
    "a refund, late, failed",
    "a duplicate order",
    "a crash before a write of expire",
    "a crash before a write of reconcile_webhook",
    *(
        f"a crash before a write of {name}"
        for name in ("create_razorpay_order", "check_payments", "capture", "send_refunds")
    ),
    *(
        f"a crash after a call of {name}"
        for name in ("create_razorpay_order", "check_payments", "send_refunds")
    ),
    "an equal POST finds the open checkout",
    "a cart whose units its own checkout holds",
    "a guest whose units are held signs in",
    "a buyer posts again after an attempt",
    "a buyer renews the hold",
    *(
        f"a browser returns, then: {then}"
        for then in ("nothing", "cancel", "change the cart", "expire")
    ),
    "an order that the gateway cannot answer about",
    *(f"a locked row: {row}" for row in ("stock", "checkout", "cart", "gateway order")),
    "staff accepts money",
    "staff gives money back",
    *(f"retention forgets {rule}" for rule in RETENTION_RULES),
}


class MoneyStateMachine(BuyerRules, GatewayRules, StaffRules, FaultRules):
    """All rules."""


@pytest.mark.django_db(transaction=True)
def test_the_books_agree_whatever_happens(standin_process: StandIn):
    MoneyStateMachine.standin = standin_process
    MoneyStateMachine.razorpay = RazorpayGateway(
        key_id=environment.KEY_ID,
        key_secret=environment.KEY_SECRET,
        base_url=standin_process.base_url,
        timeout_seconds=30,  # a slow machine is not a gateway fault
        connections=4,
    )
    assert set(RETENTION_RULES) <= {rule.name for rule in retention.RULES}
    print(f"MONEY_SEED={SEED}")
    run_histories(seed=SEED, runs=RUNS)
    for more in range(1, MAX_MORE_RUNS + 1) if RUNS >= FULL_RUNS else ():
        if set(MoneyStateMachine.seen) >= REQUIRED_SITUATIONS:
            break
        run_histories(seed=SEED + more, runs=RUNS // 5)  # the rarest may need more histories
    with books.snapshot():
        assert list(books.differences()) == []
    if RUNS >= FULL_RUNS:
        assert REQUIRED_SITUATIONS - set(MoneyStateMachine.seen) == set(), "never occurred"


def run_histories(*, seed: int, runs: int) -> None:
    run_state_machine_as_test(
        hypothesis.seed(seed)(MoneyStateMachine),
        settings=hypothesis.settings(
            max_examples=runs,
            stateful_step_count=16,
            deadline=None,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
