"""What banks and Razorpay do, and the webhooks about it."""

from __future__ import annotations

import contextlib
from typing import Any

import requests
from django.db import transaction
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from shop.checkout.steps.create_order import CREATE_ORDER
from shop.checkout.steps.validate_cart import VALIDATE_CART
from shop.payments.gateway import GatewayError
from tests.db.stateful.base import MAX_CHECKOUTS, ShopMachine
from tests.db.stateful.workers import REMOTE
from tests.support.events import deliver
from tests.support.shop import run, run_remote


class GatewayRules(ShopMachine):
    @precondition(lambda self: self.somebody_paid)
    @rule(which=st.integers(0, 9), move=st.sampled_from(["capture", "authorize", "fail"]))
    def a_bank_changes_a_payment(self, which: int, move: str) -> None:
        for payment in self.pick_payment(which):
            self.move(payment["id"], move)

    @precondition(lambda self: self.somebody_paid)
    @rule(which=st.integers(0, 9))
    def a_bank_disputes(self, which: int) -> None:
        for payment in self.pick_payment(which):
            with contextlib.suppress(requests.HTTPError):  # nothing was captured
                dispute = self.standin.call("POST", f"payments/{payment['id']}/disputes", {})
                self.report_dispute("created", dispute)

    @precondition(lambda self: self.disputes)
    @rule(
        which=st.integers(0, 9),
        to=st.sampled_from(["under_review", "action_required", "won", "lost", "closed"]),
    )
    def a_dispute_goes_on(self, which: int, to: str) -> None:
        dispute_id = list(self.disputes)[which % len(self.disputes)]
        with contextlib.suppress(requests.HTTPError):  # it has ended already
            dispute = self.standin.call("PATCH", f"disputes/{dispute_id}", {"status": to})
            self.report_dispute(to, dispute)

    def report_dispute(self, name: str, dispute: dict[str, Any]) -> None:
        self.disputes[dispute["id"]] = dispute
        payment = self.standin.call("GET", f"payments/{dispute['payment_id']}")
        report = {"payment": payment, "dispute": dispute, "name": f"payment.dispute.{name}"}
        self.reports.append(report)

    @precondition(lambda self: self.somebody_paid)
    @rule(which=st.integers(0, 9), amount=st.none() | st.sampled_from([100, 5000]))
    def somebody_refunds_in_the_dashboard(self, which: int, amount: int | None) -> None:
        """Without the shop. A webhook about it may come, or not."""
        wanted = {} if amount is None else {"amount": amount}
        for payment in self.pick_payment(which):
            with contextlib.suppress(requests.HTTPError):  # the payment has less left
                refund = self.standin.move_payment(payment["id"], "refund", **wanted)
                after = self.standin.call("GET", f"payments/{payment['id']}")
                report = {"payment": after, "refund": refund, "name": "refund.created"}
                self.reports.append(report)

    @precondition(lambda self: self.somebody_paid)
    @rule(which=st.integers(0, 9), move=st.sampled_from(["process", "fail"]))
    def a_refund_ends(self, which: int, move: str) -> None:
        """A processed refund can fail too, for example when the bank account is closed."""
        for refund in self.pick_refund(which):
            with contextlib.suppress(requests.HTTPError):  # it has ended already
                self.standin.move_refund(refund["id"], move)

    @precondition(lambda self: self.somebody_paid)
    @rule(which=st.integers(0, 9))
    def razorpay_reports_a_refund(self, which: int) -> None:
        for refund in self.pick_refund(which):
            payment = self.standin.call("GET", f"payments/{refund['payment_id']}")
            report = {
                "payment": payment,
                "refund": refund,
                "name": f"refund.{refund['status']}",
            }
            self.reports.append(report)

    @precondition(lambda self: self.reports)
    @rule(which=st.integers(0, 9), lost=st.booleans())
    def a_webhook_comes(self, which: int, lost: bool) -> None:
        """In any order, late, repeated, or never."""
        report = self.reports[which % len(self.reports)]
        if lost:
            self.reports.remove(report)
        else:
            deliver(**report, now=self.now)

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
    def razorpay_settings_change(self, setting: dict[str, Any]) -> None:
        self.standin.settings(**setting)

    @precondition(lambda self: len(self.jobs) < MAX_CHECKOUTS)
    @rule(copies=st.integers(1, 3))
    def a_repeated_create_makes_duplicates(self, copies: int) -> None:
        """A proxy repeats the POST and the worker dies. The next worker finds the duplicates."""
        self.new_checkout(self.plenty)
        run(VALIDATE_CART, now=self.now)
        run(CREATE_ORDER, now=self.now)
        with transaction.atomic():
            works = REMOTE["create_razorpay_order"].claim(limit=1, now=self.now)
        for work in works * copies:
            with contextlib.suppress(GatewayError):
                self.gateway.create_order(
                    receipt=work.receipt,
                    amount_paise=work.row.amount_paise,
                    currency=work.row.currency,
                )
        self.advance(70)
        run_remote(REMOTE["create_razorpay_order"], self.gateway, now=self.now)
