"""Which task processes the rows that a staff action made due."""

from __future__ import annotations

from shop.checkout.jobs import CheckoutJob
from shop.checkout.states import State
from shop.operations.audit_log import Action, AuditEntry
from tasks.notify import notify
from tasks.registry import CAPTURE, CHECK_PAYMENTS, NEXT_TASK, RECONCILE_WEBHOOK, SEND_REFUNDS

TASKS: dict[str, str] = {
    Action.POLL: CHECK_PAYMENTS,
    Action.CAPTURE: CAPTURE,
    Action.REFUND: SEND_REFUNDS,
    Action.ACCEPT_MONEY: SEND_REFUNDS,  # of the other payments
    Action.REFUND_ALL: SEND_REFUNDS,
    Action.RESEND: SEND_REFUNDS,
}


def notify_for(entry: AuditEntry) -> None:
    """Notify the task for what `entry` made due. Call after the commit; see `notify`."""
    if entry.action == Action.REPLAY:
        notify(RECONCILE_WEBHOOK, event_id=entry.subject.removeprefix("event "))
    elif task := _task(entry):
        notify(task, checkout_id=str(entry.checkout_id))


def _task(entry: AuditEntry) -> str | None:
    if entry.action != Action.RETRY:
        return TASKS.get(entry.action)
    jobs = CheckoutJob.objects.filter(pk__in=[entry.checkout_id]).values_list("state", flat=True)
    return next((NEXT_TASK.get(State(state)) for state in jobs), None)
