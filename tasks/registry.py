"""
The tasks that process rows: the queue of each, and which rows are due for it.

Data: Celery's routes, the sweeper, staff actions and the operations page read it. Models are named,
not imported, because Celery reads the routes before Django is set up.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.apps import apps
from django.db.models import QuerySet

from shop.checkout.states import STATES, State

VALIDATE_CART = "checkout.validate_cart"
CREATE_ORDER = "checkout.create_order"
CREATE_RAZORPAY_ORDER = "checkout.create_razorpay_order"
RECONCILE_WEBHOOK = "payments.reconcile_webhook"
RESOLVE_ORDERS = "payments.resolve_orders"
CHECK_PAYMENTS = "payments.check_payments"
CAPTURE = "payments.capture"
SEND_REFUNDS = "payments.send_refunds"


@dataclass(frozen=True, kw_only=True)
class Work:
    """The rows of `model` that `task` processes: those whose `due_column` is not null."""

    task: str
    queue: str
    model: str
    due_column: str
    id_argument: str  # of the task; its value is read from `id_path`
    id_path: str
    state: State | None = None  # of the checkouts that it processes
    row_weight: int = 1  # of a row in the delay until the next run

    def rows(self) -> QuerySet[Any]:
        rows: QuerySet[Any] = QuerySet(apps.get_model("shop", self.model))
        return rows.filter(state=self.state) if self.state else rows

    def overdue(self, *, before: datetime) -> dict[str, str] | None:
        """The task's argument for the row that has been due for longest; None: none is overdue."""
        late = self.rows().filter(**{f"{self.due_column}__lt": before}).order_by(self.due_column)
        found = late.values_list(self.id_path, flat=True).first()
        return None if found is None else {self.id_argument: str(found)}


def _checkouts(state: State, queue: str) -> Work:
    return Work(
        task=STATES[state].task, queue=queue, model="CheckoutJob", due_column="due_at", state=state,
        id_argument="checkout_id", id_path="id",
    )  # fmt: skip


def _events(task: str, queue: str, due_column: str, *, row_weight: int = 1) -> Work:
    return Work(
        task=task, queue=queue, model="InboxEvent", due_column=due_column, row_weight=row_weight,
        id_argument="event_id", id_path="gateway_event_id",
    )  # fmt: skip


def _money(task: str, model: str, due_column: str, order_path: str) -> Work:
    return Work(
        task=task, queue="gateway", model=model, due_column=due_column,
        id_argument="checkout_id", id_path=f"{order_path}__checkout__id",
    )  # fmt: skip


WORK = (
    _checkouts(State.QUEUED, "checkout"),
    _checkouts(State.VALIDATED, "checkout"),
    _checkouts(State.ORDERED, "gateway"),
    # Razorpay sends several events of one payment at once: settled in one run they cost less.
    _events(RECONCILE_WEBHOOK, "webhooks", "due_at", row_weight=2),
    _events(RESOLVE_ORDERS, "gateway", "resolve_at"),
    _money(CHECK_PAYMENTS, "GatewayOrder", "poll_at", "order"),
    _money(CAPTURE, "Payment", "capture_at", "gateway_order__order"),
    _money(SEND_REFUNDS, "Refund", "due_at", "payment__gateway_order__order"),
)

# The task that processes a checkout which has entered a state.
NEXT_TASK: dict[State, str] = {state: info.task for state, info in STATES.items() if info.task}

QUEUES = tuple(dict.fromkeys(work.queue for work in WORK))
