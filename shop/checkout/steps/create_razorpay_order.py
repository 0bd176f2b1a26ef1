"""
The remote step `create_razorpay_order`: make one Razorpay order for each of ours.

The receipt is the order's number, committed before any call. `GatewayOrder.create_sent_at` is set
before a create call and cleared only by an answer that leaves no doubt; while it is set, the step
searches Razorpay before it creates. Razorpay's list of orders lags (8 seconds were measured), so an
empty search proves nothing until `RECEIPT_LAG_SECONDS` have passed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings

from shop.checkout import jobs
from shop.checkout.jobs import CheckoutJob, retry_pause
from shop.checkout.outcomes import Advance, Fail, Outcome, RunReport, Wait
from shop.checkout.states import State, Step
from shop.checkout.steps.base import JobStep, payable_until
from shop.checkout.steps.runner import RemoteStep
from shop.payments import ledger, polling
from shop.payments.gateway import (
    Declined,
    DuplicateReceipt,
    Gateway,
    GatewayError,
    Listing,
    NothingAsked,
    OutcomeUnknown,
    RemoteOrder,
    Unreachable,
    Unreadable,
)
from shop.payments.ledger import GatewayOrder

BUSY = "The payment service does not answer. We keep trying; nothing was charged."
CONFIRMING = "We are confirming your order with the payment service."
GIVEN_UP = "The payment service did not answer in time. Nothing was charged; please try again."
REJECTED = "The payment service refused this order. Nothing was charged."

# The longest pause while Razorpay does not answer. The circuit breaker keeps the calls few.
MAX_RETRY_PAUSE = timedelta(seconds=4)

# Of several orders with our receipt, adopt one with money on it, else the first.
ADOPT_FIRST = {"paid": 0, "attempted": 1, "created": 2}


@dataclass(frozen=True, slots=True)
class Creation:
    """One Razorpay order to create, with all that the call needs."""

    job: CheckoutJob
    row: GatewayOrder
    receipt: str
    create_sent_before_at: datetime | None  # an earlier create call
    claimed_at: datetime

    @property
    def lag_ends_at(self) -> datetime | None:
        """From then on an empty search proves that no earlier call made an order; None: no call."""
        if self.create_sent_before_at is None:
            return None
        return self.create_sent_before_at + timedelta(seconds=settings.RECEIPT_LAG_SECONDS)


@dataclass(frozen=True, slots=True)
class Found:
    """Razorpay orders with our receipt, the one to adopt first. Never empty."""

    orders: tuple[RemoteOrder, ...]


class CreateRazorpayOrder(RemoteStep[Creation, Found]):
    name: str = Step.CREATE_RAZORPAY_ORDER
    for_buyers = True

    def claim(self, *, limit: int, now: datetime) -> list[Creation]:
        claimed = jobs.claim_due(State.ORDERED, limit=limit, now=now)
        begun = ledger.begin_create([_order_id(job) for job in claimed], now=now)
        # A job whose row is locked is missing; it is due again when its claim lapses.
        return [
            Creation(job, *begun[_order_id(job)], now) for job in claimed if job.order_id in begun
        ]

    def call(self, gateway: Gateway, work: Creation) -> Found:
        if work.create_sent_before_at is not None or work.row.gateway_order_id:
            return self.probe(gateway, work)
        return Found((_create(gateway, work),))

    def probe(self, gateway: Gateway, work: Creation) -> Found:
        """Search before creating: a lost answer to a create call costs a wait for the lag."""
        try:
            if made_id := work.row.gateway_order_id:  # known from a webhook
                found = Listing([gateway.fetch_order(gateway_order_id=made_id)])
            else:
                found = gateway.find_orders(receipt=work.receipt)
        except GatewayError as error:
            raise NothingAsked(error) from error
        if usable := _usable(found, work):
            return Found(usable)
        if any(_may_be_ours(order, work) for order in found.unreadable):
            raise NothingAsked(OutcomeUnknown("an order with our receipt cannot be read"))
        if work.lag_ends_at and work.claimed_at < work.lag_ends_at:
            raise NothingAsked
        return Found((_create(gateway, work),))

    def order_of(self, work: Creation) -> int:
        return work.row.order_id

    def on_gateway_unavailable(self, *, now: datetime) -> None:
        jobs.mark_waiting(State.ORDERED, BUSY, now=now)

    def record(
        self, answers: Sequence[tuple[Creation, Found | GatewayError]], *, now: datetime
    ) -> RunReport:
        outcomes = [(work.job, _outcome(work, answer, now=now)) for work, answer in answers]
        report = jobs.apply(outcomes, now=now)
        _keep_order_ids(answers, now=now)  # after the jobs: their rows are locked first everywhere
        return report


def _order_id(job: CheckoutJob) -> int:
    assert job.order_id is not None
    return job.order_id


def _create(gateway: Gateway, work: Creation) -> RemoteOrder:
    row = work.row
    try:
        return gateway.create_order(
            receipt=work.receipt, amount_paise=row.amount_paise, currency=row.currency
        )
    except DuplicateReceipt as error:
        if error.existing_order_id:
            found = Listing([gateway.fetch_order(gateway_order_id=error.existing_order_id)])
        else:
            found = gateway.find_orders(receipt=work.receipt)
        if usable := _usable(found, work):
            return usable[0]
        raise OutcomeUnknown("an order with our receipt exists and is not listed yet") from error


def _usable(found: Iterable[RemoteOrder], work: Creation) -> tuple[RemoteOrder, ...]:
    """The orders with our receipt and amount, in the order in which to adopt them."""
    wanted = (work.receipt, work.row.amount_paise, work.row.currency)
    right = [
        order for order in found if (order.receipt, order.amount_paise, order.currency) == wanted
    ]
    right.sort(key=lambda order: (ADOPT_FIRST.get(order.status, 3), order.created_at, order.id))
    return tuple(right)


def _may_be_ours(order: Unreadable, work: Creation) -> bool:
    receipt = order.raw.get("receipt") if isinstance(order.raw, dict) else None
    return not isinstance(receipt, str) or receipt == work.receipt


def _keep_order_ids(
    answers: Sequence[tuple[Creation, Found | GatewayError]], *, now: datetime
) -> None:
    """
    Keep the ids of the orders found, also where the job has changed since, and whether a create
    call is still unconfirmed.
    """
    ledger.adopt(
        [
            ledger.Adoption(work.row, answer.orders, _first_poll_at(answer.orders, now=now))
            for work, answer in answers
            if isinstance(answer, Found)
        ],
        now=now,
    )
    for work, answer in answers:
        match answer:
            case NothingAsked() | Unreachable():
                ledger.set_create_sent_at(work.row, at=work.create_sent_before_at)
            case Declined():
                ledger.set_create_sent_at(work.row, at=None)


def _first_poll_at(orders: Sequence[RemoteOrder], *, now: datetime) -> datetime | None:
    """Now if a buyer has tried to pay one, as after a long outage; else by the poll schedule."""
    if any(order.status != "created" for order in orders):
        return now
    return polling.next_poll_at(placed_at=now, now=now)


def _outcome(work: Creation, answer: Found | GatewayError, *, now: datetime) -> Outcome:
    match answer:
        case Found():
            until = payable_until(work.job, now=now)
            return Advance(
                State.AWAITING_PAYMENT, "ready to be paid", due_at=until, expires_at=until
            )
        case Declined():
            return Fail("gateway_rejected", REJECTED, {"reason": answer.code}, str(answer))
        case Unreachable():
            return _retry(work, BUSY, answer, at=now + MAX_RETRY_PAUSE, now=now)
        case NothingAsked(because=GatewayError() as error):
            return _retry(work, BUSY, error, at=now + MAX_RETRY_PAUSE, now=now)
        case NothingAsked():
            return _retry(work, CONFIRMING, answer, at=work.lag_ends_at, now=now)
        case _:
            return _retry(work, CONFIRMING, answer, at=None, now=now)


def _retry(
    work: Creation, buyer_sees: str, error: GatewayError, *, at: datetime | None, now: datetime
) -> Outcome:
    """Retry with backoff, at `at` at the latest, until the hold on the units ends."""
    held_until = work.row.created_at + timedelta(seconds=settings.HOLD_SECONDS)
    if work.job.hold_until is not None:
        held_until = min(held_until, work.job.hold_until)
    if now >= held_until:
        return Fail("gateway_unavailable", GIVEN_UP, last_error=str(error))
    times = (now + retry_pause(work.job.attempts), held_until, at or held_until)
    return Wait(min(times), buyer_sees, last_error=str(error))


class _GiveUp(JobStep):
    def lock_due(self, *, limit: int, now: datetime) -> list[CheckoutJob]:
        since = now - timedelta(seconds=settings.HOLD_SECONDS)
        return jobs.lock_due_and_held(self.state, since=since, limit=limit, now=now)


def _give_up(batch: Sequence[CheckoutJob], _now: datetime) -> list[Outcome]:
    return [Fail("gateway_unavailable", GIVEN_UP, last_error=job.last_error) for job in batch]


# A local step, as `_retry` sees claimed jobs alone, and few are claimed while Razorpay is down.
GIVE_UP = _GiveUp("give_up", State.ORDERED, _give_up)
