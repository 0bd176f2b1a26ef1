"""Gateway faults, the passing of time, locked rows, and retention."""

from __future__ import annotations

from typing import Any

from django.db import Error
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from shop.checkout.jobs import CheckoutJob
from shop.checkout.states import State
from shop.payments import polling
from shop.payments.ledger import GatewayOrder
from tests.db.stateful.base import ShopMachine
from tests.db.stateful.workers import LOCAL, REMOTE, due, locked_rows
from tests.support.shop import reload, run, run_remote

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
NO_ANSWER = (
    {"kind": "server_error"},
    {"kind": "answer", "when": "after", "status": 200, "body": '{"items": 7}'},
)
LOCKED = ("stock", "checkout", "cart", "gateway order")


class FaultRules(ShopMachine):
    @rule(fault=FAULTS)
    def a_call_fails(self, fault: dict[str, Any]) -> None:
        self.set_faults(fault)

    @precondition(lambda self: not self.unanswered_orders)
    @rule(which=st.integers(0, 9), kind=st.sampled_from(NO_ANSWER))
    def polls_of_an_order_fail(self, which: int, kind: dict[str, Any]) -> None:
        """Every poll of one order fails until the history ends."""
        job = self.pick_awaiting(which)
        if job is None:
            return
        order_id = self.razorpay_order_id(job)
        self.unanswered_orders[order_id] = {
            "route": "orders.payments",
            "id": order_id,
            "count": None,
            **kind,
        }
        self.set_faults()
        self.seen["an order that the gateway cannot answer about"] += 1

    @rule(seconds=st.sampled_from([1, 9, 70, 400, 1000, 100_000]))
    def time_passes(self, seconds: int) -> None:
        self.advance(seconds)

    @rule()
    def retention_runs(self) -> None:
        self.run_retention()

    @rule(name=st.sampled_from([*LOCAL, *REMOTE]))
    def a_worker_runs(self, name: str) -> None:
        if name in due(self.now):
            self.step(name)

    @rule()
    def all_workers_run(self) -> None:
        for _ in range(4):
            if not self.work_once():
                return

    @rule(which=st.integers(0, 9), what=st.sampled_from(LOCKED))
    def a_row_is_locked(self, which: int, what: str) -> None:
        """
        Another session locks one row. No step raises, and checkouts that do not need the row go on.
        """
        job = self.pick_job(which)
        row = self.row_of(job, what)
        if job.order_id:
            polling.poll_now([job.order_id], now=self.now)
        if row is None or not due(self.now):
            return
        with locked_rows(*row):
            for name in (*LOCAL, *REMOTE):
                try:
                    if name in LOCAL:
                        run(LOCAL[name], now=self.now)
                    else:
                        run_remote(REMOTE[name], self.gateway, now=self.now)
                except Error as error:
                    raise AssertionError(f"{name} raised over a locked {what}: {error}") from error
            left = [other for other in self.jobs if self.is_left(reload(other), job)]
        self.seen[f"a locked row: {what}"] += 1
        assert not left, f"a locked {what} of {job} kept others waiting: {left}"

    def row_of(self, job: CheckoutJob, what: str) -> tuple[str, str, list[Any]] | None:
        """Table, column and keys of a row that belongs to the checkout; None if there is none."""
        match what:
            case "stock":
                return "shop_stocklevel", "variant_id", [job.frozen_lines[0].variant_id]
            case "checkout":
                return "shop_checkoutjob", "id", [job.pk]
            case "cart":
                return "shop_cart", "id", [job.cart_id]
            case _:
                ids = list(
                    GatewayOrder.objects.filter(order=job.order_id).values_list("id", flat=True)
                )
                return ("shop_gatewayorder", "id", ids) if ids else None

    def is_left(self, other: CheckoutJob, job: CheckoutJob) -> bool:
        """Whether `other` shares no row with `job` and is still due at a local step."""
        shared = {line.variant_id for line in job.frozen_lines}
        if other.owner_id == job.owner_id or shared & {
            line.variant_id for line in other.frozen_lines
        }:
            return False
        is_due = other.due_at is not None and other.due_at <= self.now
        return is_due and other.state in {State.QUEUED, State.VALIDATED}
