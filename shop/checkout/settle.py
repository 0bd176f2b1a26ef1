"""
Settle: the one place where what we know about money becomes a move of the checkout.

Fed by webhooks, by our own polls and by the answers to captures and refunds alike. Locks, in this
order: the jobs of the orders and those that they may compete with (`purchase`) in id order, stock
rows in variant order, carts in id order. The lock of the job keeps two reports about one order
apart; the second finds everything written.
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
from shop.checkout.purchase import Room
from shop.checkout.states import OPEN, UNPAID_ENDS, State
from shop.money import format_amount
from shop.orders import Order
from shop.payments import cases, ledger, polling, refund_reports, refunds
from shop.payments.cases import Case, CaseKind
from shop.payments.gateway import DisputeFact, GatewayReport
from shop.payments.ledger import Assessment, GatewayOrder, Payment, PaymentStatus
from shop.payments.refunds import Refund, RefundReason, RefundStatus

GIVEN_BACK = frozenset({State.REFUNDING, State.REFUNDED})
MAY_SEND_BACK = GIVEN_BACK | {State.IN_REVIEW}

# A dispute goes forward only, as far as a case shows it. Its end may be reported before what led
# to it, and that the money is gone is never taken back.
DISPUTE_STAGES = ("open", "under_review", "action_required", "closed", "won", "lost")

# With automatic capture Razorpay does it; what is still only authorised after this time, we do.
CAPTURE_GRACE = timedelta(minutes=2)
# Razorpay captures within moments. Should the webhook be lost that says so, a poll finds it.
POLL_AFTER_AUTHORISATION = timedelta(seconds=7)


@dataclass(frozen=True, slots=True)
class Decision:
    """What the checkout does about its money: a move, and what is to be done about payments."""

    outcome: Outcome
    refund: tuple[refunds.AutomaticRefund, ...] = ()
    capture: tuple[Payment, ...] = ()
    leave: tuple[Payment, ...] = ()  # authorised money that is not captured: it would be given back
    cases: tuple[cases.Open, ...] = ()


def settle(
    gateway_report: GatewayReport,
    *,
    via: str,
    now: datetime,
    rejected: Sequence[refunds.RejectedRefund] = (),
    ours: dict[str, GatewayOrder] | None = None,
    anew: Collection[int] = (),
) -> RunReport:
    """
    Record `news` and let the checkouts it concerns follow. Call inside a transaction.

    `ours`: what `ledger.find` says of the payments, from whoever has asked already. `hopeless`:
    refunds that are given up, unless `news` says that they were made. `anew`: orders that are
    decided again although nothing may be new about them. News about orders that are not ours is
    passed over. Nothing changes on a repeat.
    """
    if ours is None:
        ours = ledger.find(fact.gateway_order_id for fact in gateway_report.payments)
    beside = {fact.gateway_payment_id for fact in gateway_report.refunds}
    beside |= {fact.gateway_payment_id for fact in gateway_report.disputes}
    beside |= {it.refund.payment.gateway_payment_id for it in rejected}
    known = ledger.orders_of_payments(beside)
    order_ids = {*known.values(), *(row.order_id for row in ours.values()), *anew}
    locked = purchase.lock_with_competing(order_ids)
    changed = set(anew) | ledger.record(gateway_report.payments, ours, via=via, now=now)
    changed |= refund_reports.record(gateway_report.refunds, via=via, now=now)
    changed |= refunds.give_up(rejected, now=now)
    changed |= _account_for_refunds(gateway_report, now=now)
    _dispute(gateway_report.disputes, now=now)
    return _follow_money([job for job in locked if job.order_id in changed], locked, now=now)


def _account_for_refunds(gateway_report: GatewayReport, *, now: datetime) -> set[int]:
    touched = {fact.id for fact in gateway_report.payments if fact.amount_refunded_paise}
    touched |= {fact.gateway_payment_id for fact in gateway_report.refunds}
    if not touched and not gateway_report.looked_at:
        return set()
    return refund_reports.account_for(touched, looked_at=gateway_report.looked_at, now=now)


def _follow_money(
    concerned: Sequence[CheckoutJob], locked: Sequence[CheckoutJob], *, now: datetime
) -> RunReport:
    if not concerned:
        return RunReport()
    placed = orders.of_ids([_order_id(job) for job in concerned])
    assessments = ledger.assess_orders(list(placed.values()))
    room = _make_room(concerned, locked, assessments, now=now)
    sent_back = refunds.of_orders(
        [_order_id(job) for job in concerned if State(job.state) in MAY_SEND_BACK]
    )
    decided = [
        (
            job,
            decide(
                job,
                order,
                assessments[order.pk],
                sent_back.get(order.pk, ()),
                refusal=room.refused.get(job.pk),
                waits=job.pk in room.waiting,
                now=now,
            ),
        )
        for job in concerned
        for order in [placed[_order_id(job)]]
    ]
    report = jobs.apply([(job, decision.outcome) for job, decision in decided], now=now)
    report.add(room.report)
    _deliver([(job, assessments[_order_id(job)]) for job, it in decided if _pays(it)], now=now)
    refunds.create_automatic(
        [wanted for _, decision in decided for wanted in decision.refund], now=now
    )
    ledger.cancel_capture([payment for _, decision in decided for payment in decision.leave])
    _capture([payment for _, decision in decided for payment in decision.capture], now=now)
    cases.open_cases([case for _, decision in decided for case in decision.cases], now=now)
    _close_reviews([(job, it.outcome) for job, it in decided], now=now)
    if stayed := [job.pk for job, it in decided if isinstance(it.outcome, Ignore)]:
        jobs.touch(stayed, now=now)
    return report


def _make_room(
    concerned: Sequence[CheckoutJob],
    locked: Sequence[CheckoutJob],
    assessments: Mapping[int, Assessment],
    *,
    now: datetime,
) -> Room:
    """Let each buyer's money buy the same goods once, and hold the units of late money again."""
    paying, ended, reviewed = [], [], set()
    for job in concerned:
        assessment = assessments[_order_id(job)]
        if assessment.conflicts:
            reviewed.add(job.pk)  # it makes way for nobody: people decide about its money
            continue
        if not (assessment.paid_by or assessment.to_capture):
            continue
        if State(job.state) in UNPAID_ENDS:
            ended.append(job)
        elif State(job.state) in OPEN and assessment.paid_by:
            paying.append(job)
    if ended:
        # A POST may have made a competing checkout between our first look and our locks. It waits
        # for the lock of an ended one of the same buyer, so from now on there is no further one.
        known = {job.pk for job in locked}
        again = purchase.lock_with_competing({_order_id(job) for job in ended})
        locked = [*locked, *(job for job in again if job.pk not in known)]
    return purchase.make_room(
        paying=paying,
        ended=ended,
        uncaptured={job.pk for job in ended if assessments[_order_id(job)].paid_by is None},
        beside=[job for job in locked if job.pk not in reviewed],
        now=now,
    )


def serve(
    job: CheckoutJob, payment: Payment, surplus: Sequence[Payment], *, because: str, now: datetime
) -> None:
    """
    Operations take `payment` for the order's, whatever its amount: paid, units sold. `surplus`, the
    captured money beside it, goes back by rule, as far as it has not yet. Call under the job's
    lock, with its units held.
    """
    jobs.apply([(job, Advance(State.PAID, because))], now=now)
    _deliver([(job, Assessment(paid_by=payment))], now=now)
    refunds.create_automatic(_all(surplus, RefundReason.SURPLUS), now=now)


def _order_id(job: CheckoutJob) -> int:
    assert job.order_id is not None
    return job.order_id


def _pays(decision: Decision) -> bool:
    return isinstance(decision.outcome, Advance) and decision.outcome.to is State.PAID


def decide(  # noqa: PLR0911 - one answer for each state of affairs
    job: CheckoutJob,
    order: Order,
    assessment: Assessment,
    sent_back: Sequence[Refund],
    *,
    refusal: str | None = None,
    waits: bool = False,
    now: datetime,
) -> Decision:
    """
    What `job` does about the money of its order. Pure.

    `refusal`: why money that came after its end cannot be served; None where its units are held
    again, or where it `waits` until its cart has no other open checkout. Surplus money goes back,
    whatever else is decided: once a payment, the table sees to that. Only where a refund failed,
    all of it waits for people.
    """
    state = State(job.state)
    if state is State.IN_REVIEW:
        return _reviewed(order, assessment, sent_back)
    if state in GIVEN_BACK:
        outcome = _given_back(state, sent_back)
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
    Nothing is captured that would only be given back: it lapses by itself, free of charge. What
    waits is planned, and the step `capture` has it decided anew.
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


def _given_back(state: State, sent_back: Sequence[Refund]) -> Outcome:
    """
    Refunded once Razorpay has processed every refund; back to people if one failed, then or later,
    unless others have taken its place.
    """
    standing = [refund for refund in sent_back if refund.status != RefundStatus.FAILED]
    if not sent_back:
        return Ignore()
    failed = {refund.payment_id for refund in sent_back if refund not in standing}
    if failed - refunds.fully_refunded(standing):
        return Advance(State.IN_REVIEW, "the refund failed")
    if state is State.REFUNDED:
        return Ignore()
    if {refund.status for refund in standing} == {RefundStatus.PROCESSED}:
        return Advance(State.REFUNDED, "refund processed")
    return Ignore()


def _reviewed(order: Order, assessment: Assessment, sent_back: Sequence[Refund]) -> Decision:
    """
    People decide, unless nothing is left to be decided: what was authorised was not captured, or a
    refund of ours that had failed was processed after all.
    """
    if assessment.is_nothing:
        return Decision(Advance(State.CANCELLED, "no payment of it came to anything"))
    money = {it.pk for it in (*assessment.conflicts, *assessment.to_capture, *assessment.excess)}
    money |= {assessment.paid_by.pk} if assessment.paid_by else set()
    unfinished = {RefundStatus.DUE, RefundStatus.PENDING} & {it.status for it in sent_back}
    processed = [it for it in sent_back if it.status == RefundStatus.PROCESSED]
    decided = any(it.reason != RefundReason.ELSEWHERE for it in processed)
    if decided and not unfinished and money <= refunds.fully_refunded(processed):
        return Decision(Advance(State.REFUNDED, "refund processed"))
    return Decision(Ignore(), cases=_conflicts(order, assessment))


def _close_reviews(decided: Sequence[tuple[CheckoutJob, Outcome]], *, now: datetime) -> None:
    """The conflicts of reviews that ended by themselves are no cases any more."""
    ended = [
        _order_id(job)
        for job, outcome in decided
        if job.state == State.IN_REVIEW and isinstance(outcome, Advance)
    ]
    if ended:
        conflicts = Case.objects.filter(order_id__in=ended, kind=CaseKind.CONFLICT)
        cases.close_by_itself(conflicts, because="no payment of it came to anything", now=now)


def _review(order: Order, assessment: Assessment) -> Decision:
    """Hand it to operations; the units stay held until they have decided."""
    opened = _conflicts(order, assessment)
    return Decision(Advance(State.IN_REVIEW, opened[0].text), cases=opened)


def _conflicts(order: Order, assessment: Assessment) -> tuple[cases.Open, ...]:
    """A case for each payment that is not what the order asks for."""
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
    """Those that can be refunded. What is only authorised goes back by itself, uncaptured."""
    return [payment for payment in payments if payment.status == PaymentStatus.CAPTURED]


def _all(
    payments: Iterable[Payment | None], reason: RefundReason
) -> tuple[refunds.AutomaticRefund, ...]:
    return tuple(
        refunds.AutomaticRefund(payment, reason) for payment in payments if payment is not None
    )


def _deliver(paid: Sequence[tuple[CheckoutJob, Assessment]], *, now: datetime) -> None:
    """The held units become the buyers', and leave their carts."""
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
    """Have these captured: at once if that is our business, else if Razorpay does not do it."""
    if settings.RAZORPAY_CAPTURE == "manual":
        ledger.plan_capture(payments, at=now)
    elif payments:
        ledger.plan_capture(payments, at=now + CAPTURE_GRACE)
        row_ids = [payment.gateway_order_id for payment in payments]
        polling.poll_by(row_ids, at=now + POLL_AFTER_AUTHORISATION)


def _dispute(facts: Sequence[DisputeFact], *, now: datetime) -> None:
    """A dispute is a case that follows it to its end; the order stays what it is."""
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
