"""
A machine that does to the shop whatever can happen to money, and then compares the books.

The real shop code runs against the stand-in over HTTP, with faulty calls, crashes between any two
writes, webhooks lost, doubled and shuffled, wrong amounts, twins, refunds from three sides,
disputes, and a clock that jumps. At rest, to the paisa: what Razorpay captured = what paid orders
keep + what went back + what open cases tell of.

    MONEY_RUNS=5000 MONEY_SEED=1 pytest tests/db/test_money_machine.py

A failure prints its seed, the steps that lead to it, and a `@reproduce_failure` line for the test.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

import hypothesis
import pytest
import requests
from django.db import connection, transaction
from django.test import override_settings
from hypothesis import HealthCheck
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from shop import audit
from shop.checkout import accept, steps
from shop.checkout.captures import CapturePayments
from shop.checkout.jobs import CheckoutJob
from shop.checkout.payable import CreateRazorpayOrder
from shop.checkout.questions import CheckPayments
from shop.checkout.sending import SendRefunds
from shop.checkout.states import State
from shop.checkout.webhooks import ReconcileWebhook
from shop.payments import reconcile, refunds
from shop.payments.cases import Case
from shop.payments.gateway import GatewayError
from shop.payments.inbox import InboxEvent
from shop.payments.ledger import GatewayOrder, Payment
from shop.payments.pressure import GatewayPressure
from shop.payments.razorpay import RazorpayGateway
from shop.payments.refunds import Refund, RefundRefused
from tests.support import environment, money_books
from tests.support.events import deliver
from tests.support.shop import (
    make_buyer,
    make_checkout,
    make_variant,
    reload,
    run,
    run_remote,
    stock_of,
)
from tests.support.standin import StandIn

RUNS = int(os.environ.get("MONEY_RUNS", "500"))
SEED = int(os.environ.get("MONEY_SEED", random.randrange(2**32)))
SEEDED_UNITS = 6
PRICE_PAISE = 12345
START = datetime(2026, 11, 22, 6, 30, tzinfo=UTC)
LAG_SECONDS = 8

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
}

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
ROUTES = (
    *("orders.create", "orders.list", "orders.fetch", "orders.payments"),
    *("payments.capture", "payments.fetch", "payments.refund", "payments.refunds"),
)
KINDS = (
    *("reset", "truncated_body", "server_error", "bad_gateway", "gateway_timeout"),
    *("too_many_requests", "operation_in_progress", "conflict"),
)
FAULTS = st.fixed_dictionaries(
    {
        "route": st.sampled_from(ROUTES),
        "kind": st.sampled_from(KINDS),
        "when": st.sampled_from(["before", "after"]),
    }
)
# Where the first worker of a step dies: before its so-manieth write, after its so-manieth call.
BEFORE_A_WRITE = st.tuples(st.just("before a write"), st.integers(0, 9))
AFTER_A_CALL = st.tuples(st.just("after a call"), st.integers(0, 1))
FATES = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(LOCAL, BEFORE_A_WRITE),
        **dict.fromkeys(REMOTE, BEFORE_A_WRITE | AFTER_A_CALL),
    },
)

DUE = """
    SELECT DISTINCT state FROM shop_checkoutjob WHERE due_at <= %(now)s
    UNION ALL SELECT 'reconcile_webhook'
        WHERE EXISTS (SELECT 1 FROM shop_inboxevent WHERE due_at <= %(now)s)
    UNION ALL SELECT 'check_payments'
        WHERE EXISTS (SELECT 1 FROM shop_gatewayorder WHERE check_at <= %(now)s)
    UNION ALL SELECT 'capture'
        WHERE EXISTS (SELECT 1 FROM shop_payment WHERE capture_at <= %(now)s)
    UNION ALL SELECT 'send_refunds'
        WHERE EXISTS (SELECT 1 FROM shop_refund WHERE due_at <= %(now)s)
"""


def due(now: datetime) -> list[str]:
    """The steps that have something to do."""
    with connection.cursor() as cursor:
        cursor.execute(DUE, {"now": now})
        found = [name for (name,) in cursor.fetchall()]
    order = [*LOCAL, *REMOTE]
    return sorted((STEP_OF.get(name, name) for name in found), key=order.index)


class Crash(BaseException):
    """The process dies here."""


WRITES = re.compile(r"\s*(WITH\b.*?\b)?(INSERT INTO|UPDATE|DELETE FROM)\s", re.DOTALL)


@contextlib.contextmanager
def crash_before_write(number: int) -> Iterator[None]:
    """Die before the so-manieth statement that writes, counted from nought."""
    left = number

    def count(execute: Callable[..., Any], sql: str, *rest: Any) -> Any:
        nonlocal left
        if WRITES.match(sql):
            if left == 0:
                raise Crash
            left -= 1
        return execute(sql, *rest)

    with connection.execute_wrapper(count):
        yield


class MortalGateway:
    """Dies when the so-manieth call is answered, counted from nought, and makes no call then."""

    def __init__(self, gateway: RazorpayGateway, number: int) -> None:
        self._gateway = gateway
        self._left = number

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._gateway, name)

        def call(**about: Any) -> Any:
            if self._left < 0:
                raise Crash
            with contextlib.suppress(GatewayError if self._left == 0 else ()):
                self._left -= 1
                answer = method(**about)
                if self._left >= 0:
                    return answer
            raise Crash

        return call


class MoneyMachine(RuleBasedStateMachine):
    seen: ClassVar[Counter[str]] = Counter()
    standin: StandIn
    gateway: RazorpayGateway
    late_payment: override_settings | None = None

    def __init__(self) -> None:
        super().__init__()
        self.standin.reset()
        self.standin.settings(receipt_lag_seconds=LAG_SECONDS)
        self.standin.call("POST", "clock", {"frozen": True})
        self.now = START
        self.variant = make_variant(price_paise=PRICE_PAISE, on_hand=SEEDED_UNITS)
        self.staff = make_buyer(now=self.now)
        self.jobs: list[CheckoutJob] = []
        self.news: list[dict[str, Any]] = []  # what `deliver` takes: entities as they were then
        self.somebody_paid = False  # or tried to. Of what was drawn, not of what came of it
        self.disputes: dict[str, dict[str, Any]] = {}
        self.fates: dict[str, tuple[str, int]] = {}

    # --- buyers and banks ------------------------------------------------------------------------

    @initialize(
        quantity=st.integers(1, 4), late_payment=st.sampled_from(["fulfil", "refund"]), fates=FATES
    )
    def a_buyer_stands_at_the_form(
        self, quantity: int, late_payment: str, fates: dict[str, tuple[str, int]]
    ) -> None:
        """Money needs an order, so that one there is, also if somebody dies on the way to it."""
        self.fates = fates
        self.late_payment = override_settings(LATE_PAYMENT=late_payment)
        self.late_payment.enable()
        self.a_buyer_posts(quantity)
        self.work_off()
        if reload(self.jobs[0]).state != State.AWAITING_PAYMENT:
            self.pass_time(70)

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

    @rule(which=st.integers(0, 9))
    def a_buyer_cancels_and_pays(self, which: int) -> None:
        self.a_buyer_cancels(which)
        self.a_buyer_pays_on_all_tabs(which)

    @rule(which=st.integers(0, 9))
    def a_buyer_pays_on_all_tabs(self, which: int) -> None:
        """Each order of a payable checkout, should Razorpay have twins of it."""
        self.somebody_paid = True
        job = reload(self.jobs[which % len(self.jobs)])
        if not GatewayOrder.objects.filter(order=job.order_id, gateway_order_id__isnull=False):
            return
        for order in self.standin.orders(receipt=job.order.number):
            with contextlib.suppress(requests.HTTPError):  # Razorpay does not take this one
                self.news.append({"payment": self.standin.pay(order["id"])})

    @rule(
        which=st.integers(0, 9),
        outcome=st.sampled_from(["captured", "authorized"]),
        heard=st.booleans(),
    )
    def a_buyer_pays_what_is_asked(self, which: int, outcome: str, heard: bool) -> None:
        self.a_buyer_pays(which, outcome, {})
        if heard and self.news:
            deliver(**self.news[-1], now=self.now)
            run(ReconcileWebhook(), now=self.now)

    @rule(
        which=st.integers(0, 9),
        outcome=st.sampled_from(["captured", "captured", "failed", "authorized", "created"]),
        wrong=st.sampled_from(
            [{}] * 4 + [{"amount": 100}, {"amount": 99999}, {"currency": "USD"}, {"force": True}]
        ),
    )
    def a_buyer_pays(self, which: int, outcome: str, wrong: dict[str, Any]) -> None:
        """On any order a buyer has ever been shown, also one whose checkout has ended."""
        self.somebody_paid = True
        shown = list(
            GatewayOrder.objects.filter(
                order__checkout__in=self.jobs, gateway_order_id__isnull=False
            ).order_by("id")
        )
        if not shown:
            return
        gateway_order_id = str(shown[which % len(shown)].gateway_order_id)
        with contextlib.suppress(requests.HTTPError):  # Razorpay does not take this one
            payment = self.standin.pay(gateway_order_id, outcome, **wrong)
            self.news.append({"payment": payment})

    @precondition(lambda self: self.somebody_paid)
    @rule(which=st.integers(0, 9), move=st.sampled_from(["capture", "authorize", "fail"]))
    def a_bank_thinks_again(self, which: int, move: str) -> None:
        for payment in self.pick_payment(which):
            with contextlib.suppress(requests.HTTPError):  # no such move from there
                self.news.append({"payment": self.standin.move_payment(payment["id"], move)})

    @precondition(lambda self: self.somebody_paid)
    @rule(which=st.integers(0, 9))
    def a_bank_disputes(self, which: int) -> None:
        for payment in self.pick_payment(which):
            with contextlib.suppress(requests.HTTPError):  # nothing was captured
                dispute = self.standin.call("POST", f"payments/{payment['id']}/disputes", {})
                self.tell_of_dispute("created", dispute)

    @precondition(lambda self: self.somebody_paid)
    @rule(
        which=st.integers(0, 9),
        to=st.sampled_from(["under_review", "action_required", "won", "lost", "closed"]),
    )
    def a_dispute_goes_on(self, which: int, to: str) -> None:
        if not self.disputes:
            return
        dispute_id = list(self.disputes)[which % len(self.disputes)]
        with contextlib.suppress(requests.HTTPError):  # it has ended
            dispute = self.standin.call("PATCH", f"disputes/{dispute_id}", {"status": to})
            self.tell_of_dispute(to, dispute)

    def tell_of_dispute(self, name: str, dispute: dict[str, Any]) -> None:
        self.disputes[dispute["id"]] = dispute
        payment = self.standin.call("GET", f"payments/{dispute['payment_id']}")
        news = {"payment": payment, "dispute": dispute, "name": f"payment.dispute.{name}"}
        self.news.append(news)

    def pick_payment(self, which: int) -> list[dict[str, Any]]:
        """One of all payments, if there is any."""
        payments = self.standin.payments()
        return [payments[which % len(payments)]] if payments else []

    @precondition(lambda self: self.jobs)
    @rule(which=st.integers(0, 9))
    def a_browser_comes_back(self, which: int) -> None:
        job = reload(self.jobs[which % len(self.jobs)])
        if job.order_id:
            reconcile.ask_now([job.order_id], now=self.now)

    # --- people who give money back --------------------------------------------------------------

    @precondition(lambda self: self.somebody_paid)
    @rule(
        which=st.integers(0, 9),
        amount_paise=st.none() | st.sampled_from([1, 5000, PRICE_PAISE, PRICE_PAISE * 2]),
    )
    def staff_refunds(self, which: int, amount_paise: int | None) -> None:
        paid = [job for job in map(reload, self.jobs) if job.state == State.PAID]
        if not paid:
            return
        with contextlib.suppress(RefundRefused):
            refunds.request(
                paid[which % len(paid)].order,
                amount_paise=amount_paise,
                note="broken",
                by_id=self.staff.pk,
                now=self.now,
            )

    @precondition(lambda self: self.somebody_paid)
    @rule(which=st.integers(0, 9), amount=st.none() | st.sampled_from([100, 5000]))
    def somebody_refunds_in_the_dashboard(self, which: int, amount: int | None) -> None:
        """Past us. We may hear of it, or not."""
        wanted = {} if amount is None else {"amount": amount}
        for payment in self.pick_payment(which):
            with contextlib.suppress(requests.HTTPError):  # not so much is left
                refund = self.standin.move_payment(payment["id"], "refund", **wanted)
                after = self.standin.call("GET", f"payments/{payment['id']}")
                news = {"payment": after, "refund": refund, "name": "refund.created"}
                self.news.append(news)

    @precondition(lambda self: self.somebody_paid)
    @rule(which=st.integers(0, 9), move=st.sampled_from(["process", "fail"]))
    def a_pending_refund_ends(self, which: int, move: str) -> None:
        for refund in self.pick_refund(which):
            with contextlib.suppress(requests.HTTPError):  # it has ended
                self.standin.move_refund(refund["id"], move)

    @precondition(lambda self: self.somebody_paid)
    @rule(which=st.integers(0, 9))
    def razorpay_tells_of_a_refund(self, which: int) -> None:
        for refund in self.pick_refund(which):
            payment = self.standin.call("GET", f"payments/{refund['payment_id']}")
            news = {"payment": payment, "refund": refund, "name": f"refund.{refund['status']}"}
            self.news.append(news)

    def pick_refund(self, which: int) -> list[dict[str, Any]]:
        """One of all refunds, if there is any."""
        refunds = self.standin.refunds()
        return [refunds[which % len(refunds)]] if refunds else []

    # --- Razorpay and the weather ----------------------------------------------------------------

    @precondition(lambda self: self.somebody_paid)
    @rule(which=st.integers(0, 9), lost=st.booleans())
    def a_webhook_comes(self, which: int, lost: bool) -> None:
        """In any order, late, again and again, or never."""
        if not self.news:
            return
        news = self.news[which % len(self.news)]
        if lost:
            self.news.remove(news)
        else:
            deliver(**news, now=self.now)

    @rule(fault=FAULTS)
    def a_call_will_go_wrong(self, fault: dict[str, Any]) -> None:
        self.standin.set_faults(fault)

    @rule(
        setting=st.sampled_from(
            [
                {"second_payment": "keep"},
                {"refund_status": "pending"},
                {"refund_status": "failed"},
                {"auto_capture": False},
                {"receipt_mode": "reject"},
                {"receipt_mode": "reject_with_id"},
            ]
        )
    )
    def razorpay_changes_its_mind(self, setting: dict[str, Any]) -> None:
        self.standin.settings(**setting)

    @precondition(lambda self: len(self.jobs) < 3)
    @rule(copies=st.integers(1, 3))
    def a_create_arrives_again_and_its_worker_dies(self, copies: int) -> None:
        """Something between us and Razorpay repeats a POST: twins, which the next worker finds."""
        self.a_buyer_posts(quantity=1)
        run(steps.VALIDATE_CART, now=self.now)
        run(steps.CREATE_ORDER, now=self.now)
        with transaction.atomic():
            works = REMOTE["create_razorpay_order"].claim(limit=1, now=self.now)
        for work in works * copies:
            with contextlib.suppress(GatewayError):
                self.gateway.create_order(
                    receipt=work.receipt,
                    amount_paise=work.row.amount_paise,
                    currency=work.row.currency,
                )
        self.time_passes(70)
        run_remote(REMOTE["create_razorpay_order"], self.gateway, now=self.now)

    @rule(seconds=st.sampled_from([1, 9, 70, 400, 1000, 100_000]))
    def time_passes(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)
        self.standin.advance(seconds)

    # --- workers ---------------------------------------------------------------------------------

    @rule(name=st.sampled_from([*LOCAL, *REMOTE]))
    def a_worker_works(self, name: str) -> None:
        if name in due(self.now):
            self.step(name)

    @rule()
    def everybody_works(self) -> None:
        for _ in range(4):
            if not self.work_once():
                return

    # --- the end  -------------------------------------------------------------------------------

    def teardown(self) -> None:
        try:
            self.come_to_rest()
            jobs = [reload(job) for job in self.jobs]
            money_books.compare(
                jobs,
                self.standin,
                self.disputes.values(),
                stock=stock_of(self.variant),
                seeded_units=SEEDED_UNITS,
            )
            self.remember(jobs)
        finally:
            self.leave()

    def come_to_rest(self) -> None:
        """Fair weather, every worker at work, until nothing more can come."""
        self.standin.set_faults()
        self.standin.settings(refund_status="processed")
        for dispute_id in self.disputes:
            with contextlib.suppress(requests.HTTPError):  # it has ended
                dispute = self.standin.call("PATCH", f"disputes/{dispute_id}", {"status": "won"})
                self.disputes[dispute_id] = dispute
        for seconds in (70, 1000, 1000):
            self.pass_time(seconds)
        self.fates = {}
        for seconds in (100_000, 400_000):
            self.pass_time(seconds)
        self.hear_the_last_words()
        for _ in range(refunds.MOST_ATTEMPTS):
            if not Refund.objects.filter(due_at__isnull=False).exists():
                return
            self.pass_time(3601)
        raise AssertionError("a refund is asked for again and again")

    def pass_time(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)
        self.standin.advance(seconds)
        for refund in self.standin.refunds():
            if refund["status"] == "pending":
                self.standin.move_refund(refund["id"], "process")
        self.work_off()

    def work_off(self) -> None:
        """Every worker takes what is due, until nothing is."""
        for _ in range(20):
            if not (names := self.work_once()):
                return
        raise AssertionError(f"{names} do not come to an end")

    def work_once(self) -> list[str]:
        """Each step that has something to do runs. Which these were."""
        names = due(self.now)
        for name in names:
            self.step(name)
        return names

    def step(self, name: str) -> None:
        """A worker takes what is due; the first one meets the fate that was drawn for it."""
        how, number = self.fates.pop(name, ("not at all", 0))
        gateway = MortalGateway(self.gateway, number) if how == "after a call" else self.gateway
        deadly = crash_before_write(number) if how == "before a write" else nullcontext()
        try:
            with deadly:
                if name in LOCAL:
                    run(LOCAL[name], now=self.now)
                else:
                    run_remote(REMOTE[name], gateway, now=self.now)
        except Crash:
            self.seen[f"somebody dies {how} of {name}"] += 1

    def hear_the_last_words(self) -> None:
        """
        Nobody asks about disputes, and refunds made past us: their webhooks may be late, but they
        are not all lost.
        """
        payments = {payment["id"]: payment for payment in self.standin.payments()}
        for refund in self.standin.refunds():
            if not refund["receipt"]:
                name = f"refund.{refund['status']}"
                deliver(payments[refund["payment_id"]], name=name, refund=refund, now=self.now)
        for dispute in self.disputes.values():
            name = f"payment.dispute.{dispute['status']}"
            deliver(payments[dispute["payment_id"]], name=name, dispute=dispute, now=self.now)
        self.work_off()

    def remember(self, jobs: list[CheckoutJob]) -> None:
        self.seen.update(f"a checkout rests as {job.state}" for job in jobs)
        cases = Case.objects.filter(order__checkout__in=jobs)
        self.seen.update(f"a case of {case.kind}" for case in cases)
        refunds = Refund.objects.filter(payment__gateway_order__order__checkout__in=jobs)
        self.seen.update(f"a refund, {it.reason}, {it.status}" for it in refunds)
        if GatewayOrder.objects.filter(order__checkout__in=jobs, is_alias=True).exists():
            self.seen["a twin"] += 1

    def leave(self) -> None:
        """Take what this run left due out of the way of the next."""
        CheckoutJob.objects.update(due_at=None, claim=None)
        GatewayOrder.objects.update(check_at=None)
        Payment.objects.update(capture_at=None)
        Refund.objects.update(due_at=None)
        InboxEvent.objects.update(due_at=None)
        GatewayPressure.objects.all().delete()
        if self.late_payment:
            self.late_payment.disable()


@pytest.mark.django_db(transaction=True)
def test_the_books_agree_whatever_happens(standin_process: StandIn):
    MoneyMachine.standin = standin_process
    MoneyMachine.gateway = RazorpayGateway(
        key_id=environment.KEY_ID,
        key_secret=environment.KEY_SECRET,
        base_url=standin_process.base_url,
        timeout_seconds=30,  # a busy machine is no fault of the gateway's
        connections=4,
    )
    print(f"MONEY_SEED={SEED}")
    run_state_machine_as_test(
        hypothesis.seed(SEED)(MoneyMachine),
        settings=hypothesis.settings(
            max_examples=RUNS,
            stateful_step_count=16,
            deadline=None,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
    with audit.one_moment():
        assert list(audit.books()) == []
    if RUNS >= 500:
        assert WORTH_SEEING - set(MoneyMachine.seen) == set(), "too few runs came far enough"
