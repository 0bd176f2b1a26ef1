"""
A machine that does to the shop whatever can happen to money, and then compares the books.

The real shop code runs against the stand-in over HTTP, with faulty calls, crashes between any two
writes, webhooks lost, doubled and shuffled, and a clock that jumps. At rest, what the stand-in
says it moved and what the shop believes must agree to the paisa.

    MONEY_RUNS=5000 pytest tests/db/test_money_machine.py --hypothesis-seed=1
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import requests
from django.db import connection
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from shop.checkout import accept, steps
from shop.checkout.captures import CapturePayments
from shop.checkout.jobs import CheckoutJob
from shop.checkout.payable import CreateRazorpayOrder
from shop.checkout.questions import CheckPayments
from shop.checkout.sending import SendRefunds
from shop.checkout.states import FINAL, State
from shop.checkout.webhooks import ReconcileWebhook
from shop.payments import reconcile
from shop.payments.cases import Case
from shop.payments.inbox import InboxEvent
from shop.payments.ledger import GatewayOrder, Payment
from shop.payments.pressure import GatewayPressure
from shop.payments.razorpay import RazorpayGateway
from shop.payments.refunds import Refund
from tests.support.events import deliver
from tests.support.shop import make_checkout, make_variant, reload, run, run_remote, stock_of
from tests.support.standin import StandIn

RUNS = int(os.environ.get("MONEY_RUNS", "500"))
SEEDED_UNITS = 6
START = datetime(2026, 11, 22, 6, 30, tzinfo=UTC)
LAG_SECONDS = 8

LOCAL = {
    "validate_cart": steps.VALIDATE_CART,
    "create_order": steps.CREATE_ORDER,
    "reconcile_webhook": ReconcileWebhook(),
    "expire": steps.EXPIRE,
}
REMOTE = {
    "create_razorpay_order": CreateRazorpayOrder(),
    "check_payments": CheckPayments(),
    "capture": CapturePayments(),
    "send_refunds": SendRefunds(),
}
STEP_OF = {
    State.QUEUED: "validate_cart",
    State.VALIDATED: "create_order",
    State.ORDERED: "create_razorpay_order",
    State.AWAITING_PAYMENT: "expire",
}
ROUTES = ("orders.create", "orders.list", "orders.payments", "payments.capture", "payments.refund")
FAULTS = st.fixed_dictionaries(
    {
        "route": st.sampled_from(ROUTES),
        "kind": st.sampled_from(
            ["reset", "server_error", "bad_gateway", "gateway_timeout", "too_many_requests"]
        ),
        "when": st.sampled_from(["before", "after"]),
    }
)


def due(now: datetime) -> list[str]:
    """The steps that have something to do."""
    jobs = set(CheckoutJob.objects.filter(due_at__lte=now).values_list("state", flat=True))
    others = {
        "reconcile_webhook": InboxEvent.objects.filter(due_at__lte=now),
        "check_payments": GatewayOrder.objects.filter(check_at__lte=now),
        "capture": Payment.objects.filter(capture_at__lte=now),
        "send_refunds": Refund.objects.filter(due_at__lte=now),
    }
    return [STEP_OF[State(state)] for state in sorted(jobs)] + [
        name for name, rows in others.items() if rows.exists()
    ]


class Crash(BaseException):
    """The process dies here."""


@contextlib.contextmanager
def crash_before_write(number: int | None) -> Iterator[None]:
    """Die before the so-manieth statement that writes; None: live."""
    left = number

    def count(execute: Callable[..., Any], sql: str, *rest: Any) -> Any:
        nonlocal left
        if left is not None and sql.lstrip().startswith(("INSERT", "UPDATE", "DELETE")):
            if left == 0:
                raise Crash
            left -= 1
        return execute(sql, *rest)

    with connection.execute_wrapper(count), contextlib.suppress(Crash):
        yield


class MoneyMachine(RuleBasedStateMachine):
    standin: StandIn
    gateway: RazorpayGateway

    def __init__(self) -> None:
        super().__init__()
        self.standin.reset()
        self.standin.settings(receipt_lag_seconds=LAG_SECONDS)
        self.now = START
        self.variant = make_variant(price_paise=12345, on_hand=SEEDED_UNITS)
        self.jobs: list[CheckoutJob] = []
        self.news: list[dict[str, Any]] = []  # payments as they were when an event was due

    # --- buyers and banks ------------------------------------------------------------------------

    @precondition(lambda self: len(self.jobs) < 3)
    @rule(quantity=st.integers(1, 4))
    def a_buyer_posts(self, quantity: int) -> None:
        self.jobs.append(make_checkout(self.variant, quantity=quantity, now=self.now))

    @precondition(lambda self: self.jobs)
    @rule(which=st.integers(0, 9))
    def a_buyer_cancels(self, which: int) -> None:
        job = self.jobs[which % len(self.jobs)]
        with contextlib.suppress(accept.Refused):
            accept.cancel(owner_id=job.owner_id, job_id=job.pk, now=self.now)

    @rule(
        which=st.integers(0, 9),
        outcome=st.sampled_from(["captured", "captured", "failed", "authorized", "created"]),
    )
    def a_buyer_pays(self, which: int, outcome: str) -> None:
        """On any order a buyer has ever been shown, also one whose checkout has ended."""
        shown = sorted(
            GatewayOrder.objects.filter(
                order__checkout__in=self.jobs, gateway_order_id__isnull=False
            ).values_list("gateway_order_id", flat=True)
        )
        if not shown:
            return
        with contextlib.suppress(requests.HTTPError):  # Razorpay does not take this one
            self.news.append(self.standin.pay(shown[which % len(shown)], outcome))

    @rule(which=st.integers(0, 9), move=st.sampled_from(["capture", "authorize", "fail"]))
    def a_bank_thinks_again(self, which: int, move: str) -> None:
        payments = self.standin.payments()
        if payments:
            with contextlib.suppress(requests.HTTPError):  # no such move from there
                payment = payments[which % len(payments)]
                self.news.append(self.standin.move_payment(payment["id"], move))

    @precondition(lambda self: self.jobs)
    @rule(which=st.integers(0, 9))
    def a_browser_comes_back(self, which: int) -> None:
        job = reload(self.jobs[which % len(self.jobs)])
        if job.order_id:
            reconcile.ask_now([job.order_id], now=self.now)

    # --- Razorpay and the weather ----------------------------------------------------------------

    @precondition(lambda self: self.news)
    @rule(which=st.integers(0, 9), lost=st.booleans())
    def a_webhook_comes(self, which: int, lost: bool) -> None:
        """In any order, late, again and again, or never."""
        payment = self.news[which % len(self.news)]
        if lost:
            self.news.remove(payment)
        else:
            deliver(payment, now=self.now)

    @rule(fault=FAULTS)
    def a_call_will_go_wrong(self, fault: dict[str, Any]) -> None:
        self.standin.set_faults(fault)

    @rule(setting=st.sampled_from([{"second_payment": "keep"}, {"refund_status": "pending"}]))
    def razorpay_changes_its_mind(self, setting: dict[str, Any]) -> None:
        self.standin.settings(**setting)

    @rule(seconds=st.sampled_from([1, 9, 70, 400, 1000, 100_000]))
    def time_passes(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)
        self.standin.advance(seconds)

    # --- workers ---------------------------------------------------------------------------------

    @rule(name=st.sampled_from(sorted(LOCAL)), dies=st.none() | st.integers(0, 9))
    def a_local_step_runs(self, name: str, dies: int | None) -> None:
        with crash_before_write(dies):
            run(LOCAL[name], now=self.now)

    @rule(name=st.sampled_from(sorted(REMOTE)), dies=st.none() | st.integers(0, 9))
    def a_remote_step_runs(self, name: str, dies: int | None) -> None:
        with crash_before_write(dies):
            run_remote(REMOTE[name], self.gateway, now=self.now)

    # --- the books -------------------------------------------------------------------------------

    def teardown(self) -> None:
        try:
            self.come_to_rest()
            self.compare_the_books()
        finally:
            self.leave()

    def come_to_rest(self) -> None:
        """Fair weather, every worker at work, until nothing more can come."""
        self.standin.set_faults()
        self.standin.settings(refund_status="processed")
        for seconds in (70, 1000, 1000, 100_000, 400_000):
            self.now += timedelta(seconds=seconds)
            self.standin.advance(seconds)
            for refund in self.standin.refunds():
                if refund["status"] == "pending":
                    self.standin.move_refund(refund["id"], "process")
            self.work_off()
        self.hear_of_refunds()

    def work_off(self) -> None:
        """Every worker takes what is due, until nothing is."""
        for _ in range(20):
            names = due(self.now)
            if not names:
                return
            for name in names:
                if name in LOCAL:
                    run(LOCAL[name], now=self.now)
                else:
                    run_remote(REMOTE[name], self.gateway, now=self.now)
        raise AssertionError(f"{names} do not come to an end")

    def hear_of_refunds(self) -> None:
        """`refund.processed` is the final word; it may be late, but it is not always lost."""
        payments = {payment["id"]: payment for payment in self.standin.payments()}
        for refund in self.standin.refunds():
            deliver(
                payments[refund["payment_id"]],
                name=f"refund.{refund['status']}",
                refund=refund,
                now=self.now,
            )
        run(ReconcileWebhook(), now=self.now)

    def compare_the_books(self) -> None:
        moved = self.standin.ledger()
        sold = 0
        for job in map(reload, self.jobs):
            state = State(job.state)
            assert state in FINAL | {State.IN_REVIEW}, f"{job.pk} rests as {state}"
            assert job.moves.filter(new=State.PAID).count() <= 1
            if job.order is None:
                continue
            kept_paise = self.kept_paise(job, moved)
            if state is State.PAID:
                assert kept_paise == job.order.amount_paise
                sold += sum(line.units for line in job.order.lines.all())
            elif state is State.IN_REVIEW:
                assert Case.objects.filter(order=job.order, closed_at=None).exists()
            else:
                assert kept_paise == 0, f"{job.pk} is {state} and {kept_paise} paise are kept"
        self.compare_payments(moved)
        assert stock_of(self.variant) == (SEEDED_UNITS - sold, 0)

    def kept_paise(self, job: CheckoutJob, moved: dict[str, Any]) -> int:
        ids = GatewayOrder.objects.filter(order=job.order, gateway_order_id__isnull=False)
        return sum(
            moved["orders"][gateway_order_id]["net_paise"]
            for gateway_order_id in ids.values_list("gateway_order_id", flat=True)
        )

    def compare_payments(self, moved: dict[str, Any]) -> None:
        """What was captured is known, and what went back went back once."""
        known = set(Payment.objects.values_list("gateway_payment_id", flat=True))
        for payment_id, payment in moved["payments"].items():
            assert payment["refunded_paise"] <= payment["captured_paise"]
            assert payment["refunds"] <= 1
            kept = payment["captured_paise"] - payment["refunded_paise"]
            assert not kept or payment_id in known

    def leave(self) -> None:
        """Take what this run left due out of the way of the next."""
        CheckoutJob.objects.update(due_at=None, claim=None)
        GatewayOrder.objects.update(check_at=None)
        Payment.objects.update(capture_at=None)
        Refund.objects.update(due_at=None)
        InboxEvent.objects.update(due_at=None)
        GatewayPressure.objects.all().delete()


@pytest.mark.django_db(transaction=True)
def test_the_books_agree_whatever_happens(standin_process: StandIn, gateway: RazorpayGateway):
    MoneyMachine.standin = standin_process
    MoneyMachine.gateway = gateway
    run_state_machine_as_test(
        MoneyMachine,
        settings=settings(
            max_examples=RUNS,
            stateful_step_count=25,
            deadline=None,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
