"""
A machine that does to the shop whatever can happen to money, and then compares the books.

The real shop code runs against the stand-in over HTTP, with buyers of the last unit who post twice,
sign in midway, and buy again after a failed attempt; with faulty calls, crashes between any two
writes, rows that others have locked, webhooks lost, doubled and shuffled, wrong amounts, twins,
refunds from three sides, disputes, and a clock that jumps. At rest, to the paisa: what Razorpay
captured = what paid orders keep + what went back + what open cases tell of. The rules are in
`tests/db/money`.

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

from shop.operations import books
from shop.payments.razorpay.client import RazorpayGateway
from tests.db.money.banks import BankRules
from tests.db.money.buyers import BuyerRules
from tests.db.money.staff import StaffRules
from tests.db.money.weather import WeatherRules
from tests.support import environment
from tests.support.standin import StandIn

RUNS = int(os.environ.get("MONEY_RUNS", "150"))
FULL_RUNS = 500  # enough to require every situation in `WORTH_SEEING`; CI runs these
SEED = int(os.environ.get("MONEY_SEED", random.randrange(2**32)))
MORE_TRIES = 5  # of a fifth of `RUNS` each

# What some of the runs must have come to, or they prove little.
WORTH_SEEING = {
    *(f"a checkout rests as {state}" for state in ("paid", "expired", "cancelled", "refunded")),
    "a checkout rests as in_review",
    "a case of conflict",
    "a case of dispute",
    "a refund, late, processed",
    "a refund, requested, processed",
    "a refund, surplus, processed",
    "a refund, elsewhere, processed",
    "a refund, late, failed",
    "a twin",
    "somebody dies before a write of expire",
    "somebody dies before a write of reconcile_webhook",
    *(
        f"somebody dies before a write of {name}"
        for name in ("create_razorpay_order", "check_payments", "capture", "send_refunds")
    ),
    *(
        f"somebody dies after a call of {name}"
        for name in ("create_razorpay_order", "check_payments", "send_refunds")
    ),
    "an equal POST finds the open checkout",
    "a cart whose units its own checkout holds",
    "a guest whose units are held signs in",
    "a buyer posts again after an attempt",
    "a buyer renews the hold",
    *(
        f"a browser comes back, then: {then}"
        for then in ("nothing", "cancel", "change the cart", "expire")
    ),
    "an order that the gateway cannot answer about",
    *(f"somebody holds a row: {it}" for it in ("stock", "checkout", "cart", "gateway order")),
    "staff accepts money",
    "staff gives money back",
    *(f"retention forgets {it}" for it in ("guests", "guest carts", "moves", "webhook bodies")),
}


class MoneyMachine(BuyerRules, BankRules, StaffRules, WeatherRules):
    """All rules together."""


@pytest.mark.django_db(transaction=True)
def test_the_books_agree_whatever_happens(standin_process: StandIn):
    MoneyMachine.standin = standin_process
    MoneyMachine.razorpay = RazorpayGateway(
        key_id=environment.KEY_ID,
        key_secret=environment.KEY_SECRET,
        base_url=standin_process.base_url,
        timeout_seconds=30,  # a busy machine is no fault of the gateway's
        connections=4,
    )
    print(f"MONEY_SEED={SEED}")
    run_machine(seed=SEED, runs=RUNS)
    for more in range(1, MORE_TRIES + 1) if RUNS >= FULL_RUNS else ():
        if set(MoneyMachine.seen) >= WORTH_SEEING:
            break
        run_machine(seed=SEED + more, runs=RUNS // 5)  # the rarest may need a few histories more
    with books.one_moment():
        assert list(books.books()) == []
    if RUNS >= FULL_RUNS:
        assert WORTH_SEEING - set(MoneyMachine.seen) == set(), "too few runs came far enough"


def run_machine(*, seed: int, runs: int) -> None:
    run_state_machine_as_test(
        hypothesis.seed(seed)(MoneyMachine),
        settings=hypothesis.settings(
            max_examples=runs,
            stateful_step_count=16,
            deadline=None,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
