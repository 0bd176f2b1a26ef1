"""What staff do in the admin."""

from __future__ import annotations

import contextlib

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from shop.checkout.jobs import CheckoutJob
from shop.checkout.states import State
from shop.operations import actions
from shop.operations.audit_log import ActionRefused, ActionRequest
from shop.payments import polling, refunds
from shop.payments.refunds import RefundRefused
from tests.db.stateful.base import PRICE_PAISE, ShopMachine
from tests.support.shop import reload


class StaffRules(ShopMachine):
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
            refunds.create_by_staff(
                paid[which % len(paid)].order,
                amount_paise=amount_paise,
                note="broken",
                by_id=self.staff.pk,
                now=self.now,
            )

    @rule(which=st.integers(0, 9), how=st.sampled_from(["accept", "give back", "later"]))
    def staff_decides_a_review(self, which: int, how: str) -> None:
        """If no checkout is in review, a payment of a wrong amount makes one first."""
        self.somebody_paid = True
        if not (waiting := self.in_review()):
            if (job := self.awaiting(which)) and self.pay(
                self.razorpay_order_id(job), "captured", amount=100
            ):
                self.receive(self.reports[-1])
            if not (waiting := self.in_review()):
                return
        job = waiting[which % len(waiting)]
        if how == "later":
            return
        decide = actions.accept_money if how == "accept" else actions.refund_all
        with contextlib.suppress(ActionRefused, RefundRefused):
            decide(job.pk, by=ActionRequest(self.staff.pk, "looked at it", self.now))
            self.seen["staff accepts money" if how == "accept" else "staff gives money back"] += 1

    def in_review(self) -> list[CheckoutJob]:
        return [job for job in map(reload, self.jobs) if job.state == State.IN_REVIEW]

    @rule(which=st.integers(0, 9))
    def staff_polls_razorpay(self, which: int) -> None:
        job = self.pick_job(which)
        if job.order_id:
            polling.poll_now([job.order_id], now=self.now)
