"""Whatever buyers, banks, clocks and the shop do, in whatever order: the money adds up."""

import random

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from workers.standin import checkout, refunds
from workers.standin.behaviour import Behaviour
from workers.standin.clock import Clock, Timers
from workers.standin.errors import ApiError
from workers.standin.methods import DECLINED
from workers.standin.records import CaptureRule, Order, OrderRequest, Payment, Refund
from workers.standin.world import IllegalMove, Tender, World

AMOUNTS = st.integers(min_value=100, max_value=100_000)
# Nothing falls due; what was left unanswered; what was authorised.
SECONDS = st.sampled_from([1, 601, 4 * 24 * 60 * 60])
FORWARD = {
    "created": {"created", "authorized", "captured", "refunded", "failed"},
    "failed": {"failed", "authorized", "captured", "refunded"},
    "authorized": {"authorized", "captured", "refunded"},
    "captured": {"captured", "refunded"},
    "refunded": {"refunded", "captured"},  # back, when a refund fails
}


class Account(RuleBasedStateMachine):
    orders: Bundle[Order] = Bundle("orders")
    payments: Bundle[Payment] = Bundle("payments")
    pending: Bundle[Refund] = Bundle("pending")

    def __init__(self) -> None:
        super().__init__()
        self.events: list[tuple[str, str]] = []
        self.last_status: dict[str, str] = {}
        clock = Clock()
        clock.freeze()
        self.world = World(
            clock=clock,
            timers=Timers(clock),
            rng=random.Random(0),
            behaviour=Behaviour(),
            emit=lambda name, payment, about=None: self.events.append((name, payment.id)),
        )

    @rule(target=orders, amount_paise=AMOUNTS, automatic=st.booleans())
    def create_order(self, amount_paise: int, automatic: bool) -> Order:
        return self.world.create_order(
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
            return checkout.pay(self.world, order, Tender(), outcome=outcome, force=force)
        except ApiError:
            assert not force
            return order.payments[0]

    @rule(payment=payments, capture=st.sampled_from([True, False, None]))
    def authorize_late(self, payment: Payment, capture: bool | None) -> None:
        self._attempt(checkout.authorize, self.world, payment, capture=capture)

    @rule(payment=payments)
    def capture(self, payment: Payment) -> None:
        self._attempt(self.world.capture, payment)

    @rule(payment=payments)
    def fail(self, payment: Payment) -> None:
        self._attempt(self.world.fail, payment, DECLINED)

    @rule(target=pending, payment=payments, amount_paise=st.none() | AMOUNTS)
    def refund(self, payment: Payment, amount_paise: int | None) -> Refund | None:
        before = len(payment.refunds)
        self._attempt(
            refunds.create, self.world, payment, refunds.RefundRequest(amount_paise=amount_paise)
        )
        return payment.refunds[-1] if len(payment.refunds) > before else None

    @rule(refund=consumes(pending), succeeds=st.booleans())
    def end_refund(self, refund: Refund | None, succeeds: bool) -> None:
        if refund:
            self._attempt(refunds.process if succeeds else refunds.fail, self.world, refund)

    @rule(
        second=st.sampled_from(["refund", "keep"]), status=st.sampled_from(["processed", "pending"])
    )
    def change_behaviour(self, second: str, status: str) -> None:
        self.world.behaviour.change({"second_payment": second, "refund_status": status})

    @rule(seconds=SECONDS)
    def let_time_pass(self, seconds: int) -> None:
        self.world.clock.advance(seconds)
        self.world.timers.run_due()

    def _attempt(self, move, *args: object, **options: object) -> None:
        """A refused move must leave no trace in the money or the events."""
        before = len(self.world.ledger.entries), len(self.events)
        try:
            move(*args, **options)
        except (ApiError, IllegalMove):
            assert (len(self.world.ledger.entries), len(self.events)) == before

    @invariant()
    def no_payment_gives_back_more_than_it_took(self) -> None:
        moved = self.world.ledger.by_payment()
        for payment in self.world.payments.values():
            sums = moved.get(payment.id)
            if not sums:
                assert not payment.captured
                continue
            assert sums["captured_paise"] in (0, payment.amount_paise)
            assert sums["refunded_paise"] <= sums["captured_paise"]
            assert sums["captured_paise"] + sums["released_paise"] <= payment.amount_paise

    @invariant()
    def statuses_say_what_the_journal_says(self) -> None:
        moved = self.world.ledger.by_payment()
        for payment in self.world.payments.values():
            sums = moved.get(payment.id, {})
            assert payment.captured == (sums.get("captured_paise", 0) > 0)
            back_paise = sums.get("refunded_paise", 0) + sums.get("released_paise", 0)
            if payment.status == "refunded" and not payment.refunds[0].is_release:
                assert payment.refunded_paise == payment.amount_paise
            assert back_paise <= payment.refunded_paise
            assert (payment.fee_paise is None) == (not payment.captured)

    @invariant()
    def payments_only_move_forward(self) -> None:
        for payment in self.world.payments.values():
            before = self.last_status.get(payment.id, payment.status)
            assert payment.status in FORWARD[before]
            self.last_status[payment.id] = payment.status

    @invariant()
    def an_order_is_paid_once_and_for_ever(self) -> None:
        for order in self.world.orders.values():
            captured = [payment for payment in order.payments if payment.captured]
            assert (order.status == "paid") == bool(captured)
            assert order.amount_paid_paise in (0, order.amount_paise)
            told = [name for name, payment_id in self.events if name == "order.paid"]
            assert len(told) == sum(o.status == "paid" for o in self.world.orders.values())


Account.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestTheMoneyAddsUp = Account.TestCase
