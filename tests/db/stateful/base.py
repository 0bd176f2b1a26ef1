"""What all rules share: the shop, its buyers, the stand-in, the workers and the final checks."""

from __future__ import annotations

import contextlib
from collections import Counter
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

import requests
from django.test import override_settings
from hypothesis.stateful import RuleBasedStateMachine, invariant

from shop.catalogue import Variant
from shop.checkout.jobs import CheckoutJob
from shop.checkout.states import OPEN, State
from shop.operations import retention
from shop.payments import circuit_breaker, refunds
from shop.payments.cases import Case
from shop.payments.circuit_breaker import BreakerState, CircuitBreaker
from shop.payments.inbox import InboxEvent
from shop.payments.ledger import GatewayOrder, Payment
from shop.payments.razorpay.client import RazorpayGateway
from shop.payments.refunds import Refund
from tests.db.stateful.workers import (
    LOCAL,
    REMOTE,
    Crash,
    CrashingGateway,
    RecordingGateway,
    crash_before_write,
    due,
)
from tests.support import money_books
from tests.support.events import deliver
from tests.support.shop import make_buyer, make_variant, reload, run, run_remote, stock_of
from tests.support.standin import StandIn

PRICE_PAISE = 12345
START = datetime(2026, 11, 22, 6, 30, tzinfo=UTC)
LAG_SECONDS = 8
PLENTY = 50  # units of the product that never runs out
MAX_CHECKOUTS = 5
LONG_AFTER_SECONDS = 8 * 24 * 60 * 60  # later than what `KEPT_BRIEFLY` keeps

# As short as the settings allow; see shop/settings.py.
KEPT_BRIEFLY = {
    "KEEP_PERSONAL_DATA_DAYS": 1,
    "KEEP_TRANSITIONS_DAYS": 7,
    "KEEP_KEYS_DAYS": 1,
    "KEEP_SYNC_EVENTS_DAYS": 1,
    "KEEP_GUESTS_DAYS": 1,
}
# A buyer who comes while polls of one order stay unanswered can pay within this time.
PAYABLE_SECONDS = 10


@dataclass
class Buyer:
    """A guest or an account with a cart."""

    owner_id: int
    is_guest: bool = True


class ShopMachine(RuleBasedStateMachine):
    seen: ClassVar[Counter[str]] = Counter()
    standin: ClassVar[StandIn]
    razorpay: ClassVar[RazorpayGateway]

    def __init__(self) -> None:
        super().__init__()
        self.standin.reset()
        self.standin.settings(receipt_lag_seconds=LAG_SECONDS)
        self.standin.call("POST", "clock", {"frozen": True})
        self.gateway = RecordingGateway(self.razorpay, self.standin)
        self.now = START
        self.seeded: dict[Variant, int] = {}
        self.staff = make_buyer(now=self.now)
        self.buyers: list[Buyer] = []
        self.jobs: list[CheckoutJob] = []
        self.reports: list[dict[str, Any]] = []  # arguments of `deliver`: webhooks that can arrive
        self.somebody_paid = False  # or tried to; depends on the rules drawn only, not on results
        self.disputes: dict[str, dict[str, Any]] = {}
        self.crashes: dict[str, tuple[str, int]] = {}
        self.has_merged = False  # a guest has signed in
        self.unanswered_orders: dict[str, dict[str, Any]] = {}  # Razorpay order: fault
        self.overrides = contextlib.ExitStack()

    def set_up_shop(self, *, scarce_units: int, **settings: Any) -> None:
        """Make two products, one of which may run out, and apply the settings of this history."""
        self.scarce = make_variant(price_paise=PRICE_PAISE, on_hand=scarce_units)
        self.plenty = make_variant(price_paise=PRICE_PAISE, on_hand=PLENTY)
        self.seeded = {self.scarce: scarce_units, self.plenty: PLENTY}
        self.overrides.enter_context(override_settings(**settings, **KEPT_BRIEFLY))

    # --- finding rows -------------------------------------------------------------------------

    def pick_job(self, which: int) -> CheckoutJob:
        return reload(self.jobs[which % len(self.jobs)])

    def pick_awaiting(self, which: int) -> CheckoutJob | None:
        """A checkout that can be paid, if there is one."""
        waiting = [job for job in map(reload, self.jobs) if job.state == State.AWAITING_PAYMENT]
        return waiting[which % len(waiting)] if waiting else None

    def awaiting(self, which: int) -> CheckoutJob | None:
        """A checkout that can be paid, made now if there is none. None if that fails."""
        if (job := self.pick_awaiting(which)) or len(self.jobs) >= MAX_CHECKOUTS:
            return job
        made = self.new_checkout(self.scarce)
        self.work_until_idle()
        made = reload(made)
        return made if made.state == State.AWAITING_PAYMENT else None

    def buyer_of(self, job: CheckoutJob) -> Buyer:
        return next(buyer for buyer in self.buyers if buyer.owner_id == job.owner_id)

    def razorpay_order_id(self, job: CheckoutJob) -> str:
        row = GatewayOrder.objects.get(order=job.order_id, is_duplicate=False)
        return str(row.gateway_order_id)

    def pick_payment(self, which: int) -> list[dict[str, Any]]:
        """A list of one payment, or empty."""
        payments = self.standin.payments()
        return [payments[which % len(payments)]] if payments else []

    def pick_refund(self, which: int) -> list[dict[str, Any]]:
        """A list of one refund, or empty."""
        found = self.standin.refunds()
        return [found[which % len(found)]] if found else []

    def pay(self, gateway_order_id: str, outcome: str, **wrong: Any) -> dict[str, Any] | None:
        """Pay at the form. None if Razorpay refuses. Its webhook can arrive from now on."""
        with contextlib.suppress(requests.HTTPError):  # refused
            payment = self.standin.pay(gateway_order_id, outcome, **wrong)
            self.reports.append({"payment": payment})
            return payment
        return None

    def move(self, payment_id: str, move: str) -> None:
        """A bank changes the status of a payment, if that transition exists."""
        with contextlib.suppress(requests.HTTPError):  # no such transition
            self.reports.append({"payment": self.standin.move_payment(payment_id, move)})

    def receive(self, report: dict[str, Any]) -> None:
        """Deliver the webhook and handle it at once."""
        deliver(**report, now=self.now)
        self.step("reconcile_webhook")

    def set_faults(self, *faults: dict[str, Any]) -> None:
        """Replace the faults in force, except those of `unanswered_orders`."""
        self.standin.set_faults(*self.unanswered_orders.values(), *faults)

    # --- workers ---------------------------------------------------------------------------------

    def work_until_idle(self) -> None:
        """Run all workers until nothing is due, or until the circuit breaker stops them."""
        names: list[str] = []
        for _ in range(20):
            before, names = names, self.work_once()
            if not names or (
                names == before and circuit_breaker.read(now=self.now).state != BreakerState.CLOSED
            ):
                return
        raise AssertionError(f"{names} never end")

    def work_once(self) -> list[str]:
        """Run each step that has due rows. Returns the names of those steps."""
        names = due(self.now)
        for name in names:
            self.step(name)
        return names

    def step(self, name: str) -> None:
        """Run one step. Its first run crashes if a crash was drawn for it."""
        how, number = self.crashes.pop(name, ("not at all", 0))
        gateway = CrashingGateway(self.gateway, number) if how == "after a call" else self.gateway
        crashing = crash_before_write(number) if how == "before a write" else nullcontext()
        try:
            with crashing:
                if name in LOCAL:
                    run(LOCAL[name], now=self.now)
                else:
                    run_remote(REMOTE[name], gateway, now=self.now)
        except Crash:
            self.seen[f"a crash {how} of {name}"] += 1

    def run_retention(self) -> None:
        """Run the retention rules once. A rule that raises fails the test."""
        for name, rows in retention.prune_some(now=self.now).items():
            self.seen[f"retention forgets {name}"] += bool(rows)

    def advance(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)
        self.standin.advance(seconds)

    def pass_time(self, seconds: int) -> None:
        self.advance(seconds)
        for refund in self.standin.refunds():
            if refund["status"] == "pending":
                self.standin.move_refund(refund["id"], "process")
        self.work_until_idle()

    # --- true after every step -------------------------------------------------------------------

    @invariant()
    def a_bought_cart_has_no_open_checkout_without_money(self) -> None:
        if self.somebody_paid and len(self.jobs) > 1:
            money_books.no_open_checkout_of_a_bought_cart(self.jobs)

    # --- the end of a history ---------------------------------------------------------------------

    def teardown(self) -> None:
        try:
            self.run_until_idle()
            jobs = [reload(job) for job in self.jobs]
            money_books.compare(
                jobs,
                self.standin,
                self.disputes.values(),
                stock={variant.pk: stock_of(variant) for variant in self.seeded},
                seeded_units={variant.pk: units for variant, units in self.seeded.items()},
                captured_by_us=self.gateway.captured_by_us,
            )
            self.count_outcomes(jobs)
            if self.has_merged:
                self.advance(LONG_AFTER_SECONDS)
                self.run_retention()
        finally:
            self.clear_due_rows()

    def run_until_idle(self) -> None:
        """End all faults, then let time pass and workers run until nothing more is due."""
        self.set_faults()
        self.standin.settings(refund_status="processed")
        self.end_disputes()
        for seconds in (70, 1000, 1000):
            self.pass_time(seconds)
        self.crashes = {}
        if self.unanswered_orders:
            self.assert_a_new_buyer_can_pay()
        for seconds in (100_000, 400_000):
            self.pass_time(seconds)
        if self.unanswered_orders:  # the last poll is retried for a day
            self.pass_time(100_000)
        self.assert_polls_have_ended()
        self.deliver_last_webhooks()
        for _ in range(refunds.MAX_ATTEMPTS):
            if not Refund.objects.filter(due_at__isnull=False).exists():
                return
            self.pass_time(3601)
        raise AssertionError("a refund is sent again without end")

    def end_disputes(self) -> None:
        for dispute_id in self.disputes:
            with contextlib.suppress(requests.HTTPError):  # it has ended already
                dispute = self.standin.call("PATCH", f"disputes/{dispute_id}", {"status": "won"})
                self.disputes[dispute_id] = dispute

    def assert_a_new_buyer_can_pay(self) -> None:
        """Failing polls of one order keep no other buyer from paying."""
        for _ in range(8):
            self.pass_time(8)
        job = self.new_checkout(self.plenty)
        for _ in range(PAYABLE_SECONDS):
            self.pass_time(1)
        state = reload(job).state
        assert state == State.AWAITING_PAYMENT, f"a new checkout is {state}: circuit open for all"

    def new_checkout(self, variant: Variant, *, quantity: int = 1) -> CheckoutJob:
        raise NotImplementedError

    def assert_polls_have_ended(self) -> None:
        """No order is polled for ever. An order whose polls all failed has a case."""
        polled = GatewayOrder.objects.filter(order__checkout__in=self.jobs, poll_at__isnull=False)
        assert not polled, f"still polled: {list(polled.values_list('poll_count', 'poll_at'))}"
        for row in GatewayOrder.objects.filter(gateway_order_id__in=self.unanswered_orders):
            if not row.order.paid_at:
                assert Case.objects.filter(order=row.order).exists(), f"no case about {row}"

    def deliver_last_webhooks(self) -> None:
        """
        The shop does not poll disputes, refunds made in Razorpay's dashboard, refunds that failed
        late, or `unanswered_orders`. Their webhooks may be late, but not all are lost.
        """
        payments = {payment["id"]: payment for payment in self.standin.payments()}
        for payment in payments.values():
            if payment["order_id"] in self.unanswered_orders and payment["status"] != "created":
                deliver(payment, now=self.now)
        self.work_until_idle()
        for refund in self.standin.refunds():
            if not refund["receipt"] or refund["status"] == "failed":
                name = f"refund.{refund['status']}"
                deliver(payments[refund["payment_id"]], name=name, refund=refund, now=self.now)
        for dispute in self.disputes.values():
            name = f"payment.dispute.{dispute['status']}"
            deliver(payments[dispute["payment_id"]], name=name, dispute=dispute, now=self.now)
        self.work_until_idle()

    def count_outcomes(self, jobs: list[CheckoutJob]) -> None:
        self.seen.update(f"a checkout rests as {job.state}" for job in jobs)
        cases = Case.objects.filter(order__checkout__in=jobs)
        self.seen.update(f"a case of {case.kind}" for case in cases)
        found = Refund.objects.filter(payment__gateway_order__order__checkout__in=jobs)
        self.seen.update(f"a refund, {refund.reason}, {refund.status}" for refund in found)
        if GatewayOrder.objects.filter(order__checkout__in=jobs, is_duplicate=True).exists():
            self.seen["a duplicate order"] += 1

    def clear_due_rows(self) -> None:
        """Clear what this history left due, so that the next one does not run it."""
        CheckoutJob.objects.filter(due_at__isnull=False).update(due_at=None, claim=None)
        GatewayOrder.objects.filter(poll_at__isnull=False).update(poll_at=None)
        Payment.objects.filter(capture_at__isnull=False).update(capture_at=None)
        Refund.objects.filter(due_at__isnull=False).update(due_at=None)
        InboxEvent.objects.filter(due_at__isnull=False).update(due_at=None)
        CircuitBreaker.objects.all().delete()
        self.overrides.close()


def open_checkouts(owner_id: int) -> list[CheckoutJob]:
    """The open checkouts of this owner, with their orders, in id order."""
    found = CheckoutJob.objects.filter(owner_id=owner_id, state__in=sorted(OPEN))
    return list(found.select_related("order").order_by("id"))
