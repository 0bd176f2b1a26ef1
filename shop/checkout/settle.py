"""
Settle: turn what we know about money into transitions of checkouts. Only this module does it.

Webhooks, polls and the answers to captures and refunds all come here. Locks, in this order: the
jobs of the orders and those that they may compete with (`purchase`) in id order, stock rows in
variant order, carts in id order. The job's lock keeps two reports about one order apart; the second
sees all that the first wrote.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings

from shop import carts, orders, stock
from shop.checkout import jobs, purchase
from shop.checkout.jobs import CheckoutJob
from shop.checkout.outcomes import Advance, Ignore, Outcome, RunReport
from shop.checkout.purchase import Allocation
from shop.checkout.states import GIVEN_BACK, OPEN, UNPAID_ENDS, State
from shop.money import format_amount
from shop.orders import Order
from shop.payments import cases, ledger, polling, refund_reports, refunds
from shop.payments.assessment import Assessment, assess_orders
from shop.payments.cases import Case, CaseKind
from shop.payments.gateway import DisputeFact, GatewayReport
from shop.payments.ledger import GatewayOrder, Payment, PaymentStatus
from shop.payments.refunds import Refund, RefundReason, RefundStatus

NO_MONEY_CAME = "no payment of it came to anything"
UNFINISHED = {RefundStatus.DUE, RefundStatus.PENDING}
WITH_REFUNDS = GIVEN_BACK | {State.IN_REVIEW}

# The stage of a dispute, as its case shows it, only goes forward. Reports may come out of order,
# and a lost dispute stays lost.
DISPUTE_STAGES = ("open", "under_review", "action_required", "closed", "won", "lost")

# With automatic capture, we capture a payment that Razorpay has not captured after this time.
CAPTURE_GRACE = timedelta(minutes=2)
# Razorpay captures within moments. This poll finds the capture if its webhook is lost.
POLL_AFTER_AUTHORISATION = timedelta(seconds=7)


@dataclass(frozen=True, slots=True)
class Decision:
    """What a checkout does about its money: its outcome, and what happens to its payments."""

    outcome: Outcome
    refund: tuple[refunds.AutomaticRefund, ...] = ()
    capture: tuple[Payment, ...] = ()
    leave: tuple[Payment, ...] = ()  # not to be captured: the money would only be refunded
    cases: tuple[cases.Open, ...] = ()


def settle(
    gateway_report: GatewayReport,
    *,
    via: str,
    now: datetime,
    rejected: Sequence[refunds.RejectedRefund] = (),
    ours: dict[str, GatewayOrder] | None = None,
    decide_again: Collection[int] = (),
) -> RunReport:
    """
    Record a report, and decide what the checkouts do about their money. Call in a transaction.

    `ours`: the result of `ledger.find` for the payments, if the caller has it. `rejected`: refunds
    to give up, unless the report says that they were made. `decide_again`: orders that are decided
    even if the report has nothing new about them. Facts about orders that are not ours are ignored.
    A repeat changes nothing.
    """
    if ours is None:
        ours = ledger.find(fact.gateway_order_id for fact in gateway_report.payments)
    payment_ids = {fact.gateway_payment_id for fact in gateway_report.refunds}
    payment_ids |= {fact.gateway_payment_id for fact in gateway_report.disputes}
    payment_ids |= {refund.payment.gateway_payment_id for refund, _ in rejected}
    known = ledger.orders_of_payments(payment_ids)
    order_ids = {*known.values(), *(row.order_id for row in ours.values()), *decide_again}
    locked = purchase.lock_with_competing(order_ids)
    changed = set(decide_again) | ledger.record(gateway_report.payments, ours, via=via, now=now)
    changed |= refund_reports.record(gateway_report.refunds, via=via, now=now)
    changed |= refunds.give_up(rejected, now=now)
    changed |= _account_for_refunds(gateway_report, now=now)
    _follow_disputes(gateway_report.disputes, now=now)
    return _decide_all([job for job in locked if job.order_id in changed], locked, now=now)


def _account_for_refunds(gateway_report: GatewayReport, *, now: datetime) -> set[int]:
    touched = {fact.id for fact in gateway_report.payments if fact.amount_refunded_paise}
    touched |= {fact.gateway_payment_id for fact in gateway_report.refunds}
    if not touched and not gateway_report.looked_at:
        return set()
    return refund_reports.account_for(touched, looked_at=gateway_report.looked_at, now=now)


def _decide_all(
    concerned: Sequence[CheckoutJob], locked: Sequence[CheckoutJob], *, now: datetime
) -> RunReport:
    if not concerned:
        return RunReport()
    placed = orders.of_ids([_order_id(job) for job in concerned])
    assessments = assess_orders(list(placed.values()))
    allocation = _allocate(concerned, locked, assessments, now=now)
    refunds_of = refunds.of_orders(
        [_order_id(job) for job in concerned if State(job.state) in WITH_REFUNDS]
    )
    decided = [
        (
            job,
            decide(
                job,
                order,
                assessments[order.pk],
                refunds_of.get(order.pk, ()),
                refusal=allocation.refused.get(job.pk),
                waits=job.pk in allocation.waiting,
                now=now,
            ),
        )
        for job in concerned
        for order in [placed[_order_id(job)]]
    ]
    outcomes = [(job, decision.outcome) for job, decision in decided]
    decisions = [decision for _, decision in decided]
    report = jobs.apply(outcomes, now=now)
    report.add(allocation.report)
    paid = [job for job, outcome in outcomes if _is_paid(outcome)]
    _deliver([(job, assessments[_order_id(job)]) for job in paid], now=now)
    refunds.create_automatic([each for decision in decisions for each in decision.refund], now=now)
    ledger.cancel_capture([payment for decision in decisions for payment in decision.leave])
    _capture([payment for decision in decisions for payment in decision.capture], now=now)
    cases.open_cases([case for decision in decisions for case in decision.cases], now=now)
    _close_reviews(outcomes, now=now)
    if unchanged := [job.pk for job, outcome in outcomes if isinstance(outcome, Ignore)]:
        jobs.touch(unchanged, now=now)
    return report


def _allocate(
    concerned: Sequence[CheckoutJob],
    locked: Sequence[CheckoutJob],
    assessments: Mapping[int, Assessment],
    *,
    now: datetime,
) -> Allocation:
    """See that each buyer's money buys the same goods once; hold the units of late money again."""
    paying, ended, reviewed = [], [], set()
    for job in concerned:
        assessment = assessments[_order_id(job)]
        if assessment.conflicts:
            reviewed.add(job.pk)  # not cancelled for another: staff decide about its money
            continue
        if not (assessment.paid_by or assessment.to_capture):
            continue
        if State(job.state) in UNPAID_ENDS:
            ended.append(job)
        elif State(job.state) in OPEN and assessment.paid_by:
            paying.append(job)
    if ended:
        # A POST may have made a competing checkout before we had our locks. A POST locks the ended
        # checkouts of the buyer too, so from now on it waits for us.
        known = {job.pk for job in locked}
        competing = purchase.lock_with_competing({_order_id(job) for job in ended})
        locked = [*locked, *(job for job in competing if job.pk not in known)]
    return purchase.allocate(
        paying=paying,
        ended=ended,
        uncaptured={job.pk for job in ended if assessments[_order_id(job)].paid_by is None},
        locked=[job for job in locked if job.pk not in reviewed],
        now=now,
    )


def serve(
    job: CheckoutJob, payment: Payment, surplus: Sequence[Payment], *, because: str, now: datetime
) -> None:
    """
    Accept `payment` for the order on behalf of staff, whatever its amount: the order is paid, its
    units are sold. `surplus`, the other captured payments, are refunded as far as they are not yet.
    Call under the job's lock, with its units held.
    """
    jobs.apply([(job, Advance(State.PAID, because))], now=now)
    _deliver([(job, Assessment(paid_by=payment))], now=now)
    refunds.create_automatic(_all(surplus, RefundReason.SURPLUS), now=now)


def _order_id(job: CheckoutJob) -> int:
    assert job.order_id is not None
    return job.order_id


def _is_paid(outcome: Outcome) -> bool:
    return isinstance(outcome, Advance) and outcome.to is State.PAID


def decide(  # noqa: PLR0911 - one decision for each situation
    job: CheckoutJob,
    order: Order,
    assessment: Assessment,
    its_refunds: Sequence[Refund],
    *,
    refusal: str | None = None,
    waits: bool = False,
    now: datetime,
) -> Decision:
    """
    Decide what `job` does about the money of its order. Pure.

    `refusal`: why money that came after the checkout's end cannot be served. None if the units are
    held again, or if the job `waits` until its cart has no other open checkout. Surplus money is
    refunded in any case; a constraint allows one automatic refund a payment. Where a refund failed,
    staff decide about all of the money.
    """
    state = State(job.state)
    if state is State.IN_REVIEW:
        return _in_review(order, assessment, its_refunds)
    if state in GIVEN_BACK:
        outcome = _given_back(state, its_refunds)
        if isinstance(outcome, Advance) and outcome.to is State.IN_REVIEW:
            return Decision(outcome)
        surplus = [assessment.paid_by, *assessment.excess, *_captured(assessment.conflicts)]
        return Decision(outcome, _all(surplus, RefundReason.LATE), leave=assessment.to_capture)
    if state is State.PAID:
        return Decision(
            Ignore(), _all([*assessment.excess, *assessment.conflicts], RefundReason.SURPLUS)
        )
    if assessment.conflicts:
        return _review(order, assessment)
    if assessment.paid_by is None:
        return _authorised(state, assessment, refusal=refusal, waits=waits, now=now)
    if refusal:
        return _give_back(assessment, because=refusal)
    return Decision(
        Advance(State.PAID, f"{assessment.paid_by.gateway_payment_id} captured"),
        _all(assessment.excess, RefundReason.SURPLUS),
    )


def _authorised(
    state: State, assessment: Assessment, *, refusal: str | None, waits: bool, now: datetime
) -> Decision:
    """
    Money that would only be refunded is not captured: it lapses by itself, free of charge. If the
    job `waits`, the capture is planned, and the step `capture` calls `settle` to decide again.
    """
    if refusal:
        return Decision(Ignore(), leave=assessment.to_capture)
    if state in UNPAID_ENDS and assessment.to_capture and not waits:
        reopened = Advance(
            State.AWAITING_PAYMENT,
            f"{assessment.to_capture[0].gateway_payment_id} authorised after the end",
            due_at=now,
            expires_at=now,
            buyer_sees=purchase.CONFIRMING,
        )
        return Decision(reopened, capture=assessment.to_capture[:1])
    return Decision(Ignore(), capture=assessment.to_capture[:1])


def _give_back(assessment: Assessment, *, because: str) -> Decision:
    return Decision(
        Advance(State.REFUNDING, because),
        _all([assessment.paid_by, *assessment.excess], RefundReason.LATE),
        leave=assessment.to_capture,
    )


def _given_back(state: State, its_refunds: Sequence[Refund]) -> Outcome:
    """
    Refunded once Razorpay has processed all refunds. In review if one failed, then or later, unless
    other refunds have replaced it.
    """
    standing = [refund for refund in its_refunds if refund.status != RefundStatus.FAILED]
    if not its_refunds:
        return Ignore()
    failed = {refund.payment_id for refund in its_refunds if refund not in standing}
    if failed - refunds.fully_refunded(standing):
        return Advance(State.IN_REVIEW, "the refund failed")
    if state is State.REFUNDED:
        return Ignore()
    if {refund.status for refund in standing} == {RefundStatus.PROCESSED}:
        return Advance(State.REFUNDED, "refund processed")
    return Ignore()


def _in_review(order: Order, assessment: Assessment, its_refunds: Sequence[Refund]) -> Decision:
    """
    Staff decide, unless nothing is left to decide: authorised money has lapsed, or a refund of ours
    that had failed was processed after all.
    """
    if assessment.is_nothing:
        return Decision(Advance(State.CANCELLED, NO_MONEY_CAME))
    payments = [*assessment.conflicts, *assessment.to_capture, *assessment.excess]
    payments += [assessment.paid_by] if assessment.paid_by else []
    is_unfinished = any(refund.status in UNFINISHED for refund in its_refunds)
    processed = [refund for refund in its_refunds if refund.status == RefundStatus.PROCESSED]
    has_ours = any(refund.reason != RefundReason.ELSEWHERE for refund in processed)
    all_refunded = {payment.pk for payment in payments} <= refunds.fully_refunded(processed)
    if has_ours and not is_unfinished and all_refunded:
        return Decision(Advance(State.REFUNDED, "refund processed"))
    return Decision(Ignore(), cases=_conflicts(order, assessment))


def _close_reviews(decided: Sequence[tuple[CheckoutJob, Outcome]], *, now: datetime) -> None:
    """Close the conflict cases of checkouts whose review has ended without staff."""
    ended = [
        _order_id(job)
        for job, outcome in decided
        if job.state == State.IN_REVIEW and isinstance(outcome, Advance)
    ]
    if ended:
        conflicts = Case.objects.filter(order_id__in=ended, kind=CaseKind.CONFLICT)
        cases.close_by_itself(conflicts, because=NO_MONEY_CAME, now=now)


def _review(order: Order, assessment: Assessment) -> Decision:
    """Hand the checkout to staff; its units stay held until they decide."""
    opened = _conflicts(order, assessment)
    return Decision(Advance(State.IN_REVIEW, opened[0].text), cases=opened)


def _conflicts(order: Order, assessment: Assessment) -> tuple[cases.Open, ...]:
    """A case for each payment whose amount or currency is not the order's."""
    return tuple(
        cases.Open(
            order.pk,
            CaseKind.CONFLICT,
            payment.gateway_payment_id,
            f"{payment.gateway_payment_id} does not fit the order:"
            f" {format_amount(payment.amount_paise, payment.currency)},"
            f" not {format_amount(order.amount_paise, order.currency)}",
        )
        for payment in assessment.conflicts
    )


def _captured(payments: Iterable[Payment]) -> list[Payment]:
    """The payments that can be refunded. Authorised ones lapse by themselves."""
    return [payment for payment in payments if payment.status == PaymentStatus.CAPTURED]


def _all(
    payments: Iterable[Payment | None], reason: RefundReason
) -> tuple[refunds.AutomaticRefund, ...]:
    return tuple(
        refunds.AutomaticRefund(payment, reason) for payment in payments if payment is not None
    )


def _deliver(paid: Sequence[tuple[CheckoutJob, Assessment]], *, now: datetime) -> None:
    """Sell the held units, mark the orders as paid, and remove the goods from the carts."""
    if not paid:
        return
    stock.sell([_order_id(job) for job, _ in paid])
    by = [(_order_id(job), assessment.paid_by) for job, assessment in paid if assessment.paid_by]
    orders.pay([(order_id, payment.gateway_payment_id) for order_id, payment in by], now=now)
    polling.schedule_final_poll([payment.gateway_order_id for _, payment in by])
    bought: Counter[tuple[int, int]] = Counter()
    for job, _ in paid:
        for line in job.frozen_lines:
            bought[job.owner_id, line.variant_id] += line.units
    carts.remove_bought(bought, now=now)


def _capture(payments: Sequence[Payment], *, now: datetime) -> None:
    """Plan captures: now with manual capture, else later, in case Razorpay does not capture."""
    if settings.RAZORPAY_CAPTURE == "manual":
        ledger.plan_capture(payments, at=now)
    elif payments:
        ledger.plan_capture(payments, at=now + CAPTURE_GRACE)
        row_ids = [payment.gateway_order_id for payment in payments]
        polling.poll_by(row_ids, at=now + POLL_AFTER_AUTHORISATION)


def _follow_disputes(facts: Sequence[DisputeFact], *, now: datetime) -> None:
    """Keep a case for each dispute up to date. The order and its checkout stay as they are."""
    known = ledger.orders_of_payments({fact.gateway_payment_id for fact in facts})
    for fact in facts:
        if order_id := known.get(fact.gateway_payment_id):
            amount = format_amount(fact.amount_paise, fact.currency)
            text = f"is disputed: {amount}, {fact.phase} {fact.status}"
            if fact.status == "lost":
                text = f"dispute is lost: {amount} are gone"
            case = cases.Open(
                order_id,
                CaseKind.DISPUTE,
                fact.id,
                f"{fact.gateway_payment_id} {text}",
                stage=fact.status if fact.status in DISPUTE_STAGES else "",
            )
            cases.follow(case, stages=DISPUTE_STAGES, now=now)
