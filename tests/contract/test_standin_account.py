"""The money adds up after any sequence of calls, tested with random sequences."""

import random

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from workers.standin import checkout, refunds
from workers.standin.account import Account, InvalidTransition, PaymentRequest
from workers.standin.behaviour import Behaviour
from workers.standin.clock import Clock, Timers
from workers.standin.errors import ApiError
from workers.standin.methods import DECLINED
from workers.standin.records import CaptureRule, Order, OrderRequest, Payment, Refund

AMOUNTS = st.integers(min_value=100, max_value=100_000)
# Nothing becomes due; unanswered payments fail; authorised payments are released.
SECONDS = st.sampled_from([1, 601, 4 * 24 * 60 * 60])
FORWARD = {
    "created": {"created", "authorized", "captured", "refunded", "failed"},
    "failed": {"failed", "authorized", "captured", "refunded"},
    "authorized": {"authorized", "captured", "refunded"},
    "captured": {"captured", "refunded"},
    "refunded": {"refunded", "captured"},  # back, when a refund fails
}


class MoneyRules(RuleBasedStateMachine):
    orders: Bundle[Order] = Bundle("orders")
    payments: Bundle[Payment] = Bundle("payments")
    pending: Bundle[Refund] = Bundle("pending")

    def __init__(self) -> None:
        super().__init__()
        self.events: list[tuple[str, str]] = []
        self.last_status: dict[str, str] = {}
        clock = Clock()
        clock.freeze()
        self.account = Account(
            clock=clock,
            timers=Timers(clock),
            rng=random.Random(0),
            behaviour=Behaviour(),
            emit=lambda name, payment, about=None: self.events.append((name, payment.id)),
        )

    @rule(target=orders, amount_paise=AMOUNTS, automatic=st.booleans())
    def create_order(self, amount_paise: int, automatic: bool) -> Order:
        return self.account.create_order(
            OrderRequest(
                amount_paise=amount_paise,
                currency="INR",
                receipt=None,
                notes={},
                capture=CaptureRule(automatic=automatic),
                partial_payment=False,
                unique_receipt=False,
            )
        )

    @rule(
        target=payments,
        order=orders,
        outcome=st.sampled_from(checkout.OUTCOMES),
        force=st.booleans(),
    )
    def pay(self, order: Order, outcome: checkout.Outcome, force: bool) -> Payment | None:
        try:
            return checkout.pay(self.account, order, PaymentRequest(), outcome=outcome, force=force)
        except ApiError:
            assert not force
            return order.payments[0]

    @rule(payment=payments, capture=st.sampled_from([True, False, None]))
    def authorize_late(self, payment: Payment, capture: bool | None) -> None:
        self._attempt(checkout.authorize, self.account, payment, capture=capture)

    @rule(payment=payments)
    def capture(self, payment: Payment) -> None:
        self._attempt(self.account.capture, payment)

    @rule(payment=payments)
    def fail(self, payment: Payment) -> None:
        self._attempt(self.account.fail, payment, DECLINED)

    @rule(target=pending, payment=payments, amount_paise=st.none() | AMOUNTS)
    def refund(self, payment: Payment, amount_paise: int | None) -> Refund | None:
        before = len(payment.refunds)
        self._attempt(
            refunds.create, self.account, payment, refunds.RefundRequest(amount_paise=amount_paise)
        )
        return payment.refunds[-1] if len(payment.refunds) > before else None

    @rule(refund=consumes(pending), succeeds=st.booleans())
    def end_refund(self, refund: Refund | None, succeeds: bool) -> None:
        if refund:
            self._attempt(refunds.process if succeeds else refunds.fail, self.account, refund)

    @rule(
        second=st.sampled_from(["refund", "keep"]), status=st.sampled_from(["processed", "pending"])
    )
    def change_behaviour(self, second: str, status: str) -> None:
        self.account.behaviour.change({"second_payment": second, "refund_status": status})

    @rule(seconds=SECONDS)
    def let_time_pass(self, seconds: int) -> None:
        self.account.clock.advance(seconds)
        self.account.timers.run_due()

    def _attempt(self, change, *args: object, **options: object) -> None:
        """A refused transition changes neither the money nor the events."""
        before = len(self.account.ledger.entries), len(self.events)
        try:
            change(*args, **options)
        except (ApiError, InvalidTransition):
            assert (len(self.account.ledger.entries), len(self.events)) == before

    @invariant()
    def no_payment_gives_back_more_than_it_took(self) -> None:
        money = self.account.ledger.by_payment()
        for payment in self.account.payments.values():
            sums = money.get(payment.id)
            if not sums:
                assert not payment.captured
                continue
            assert sums["captured_paise"] in (0, payment.amount_paise)
            assert sums["refunded_paise"] <= sums["captured_paise"]
            assert sums["captured_paise"] + sums["released_paise"] <= payment.amount_paise

    @invariant()
    def statuses_say_what_the_journal_says(self) -> None:
        money = self.account.ledger.by_payment()
        for payment in self.account.payments.values():
            sums = money.get(payment.id, {})
            assert payment.captured == (sums.get("captured_paise", 0) > 0)
            back_paise = sums.get("refunded_paise", 0) + sums.get("released_paise", 0)
            if payment.status == "refunded" and not payment.refunds[0].is_release:
                assert payment.refunded_paise == payment.amount_paise
            assert back_paise <= payment.refunded_paise
            assert (payment.fee_paise is None) == (not payment.captured)

    @invariant()
    def payment_statuses_only_go_forward(self) -> None:
        for payment in self.account.payments.values():
            before = self.last_status.get(payment.id, payment.status)
            assert payment.status in FORWARD[before]
            self.last_status[payment.id] = payment.status

    @invariant()
    def an_order_is_paid_once_and_stays_paid(self) -> None:
        for order in self.account.orders.values():
            captured = [payment for payment in order.payments if payment.captured]
            assert (order.status == "paid") == bool(captured)
            assert order.amount_paid_paise in (0, order.amount_paise)
            sent = [name for name, payment_id in self.events if name == "order.paid"]
            assert len(sent) == sum(o.status == "paid" for o in self.account.orders.values())


MoneyRules.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestTheMoneyAddsUp = MoneyRules.TestCase
